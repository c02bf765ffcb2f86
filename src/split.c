/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a stage's work is cut into tasks. Results never depend on it: whatever is cut here belongs to one output element or
 * another.
 */
#include "memory.h"
#include "plan.h"

enum {
    ROUNDS = 8,      /* tasks of a thread that are tried beyond those that the largest tasks make, ... */
    CUT_ROUNDS = 3,  /* ... and once rows are cut */
    LAST_PIECES = 32 /* of each of the last tasks, at most */
};

/* Threads neither start at the same time nor take the same for equal tasks, and the slowest of a team counts: as much is lost as
 * these shares of a task, once and for every doubling of the team. */
#define RAGGED        0.1
#define RAGGED_DOUBLE 0.05
/* Operations of a run so short (about 100 us on a core of today) that looking at cut rows takes as long as it saves. Where columns
 * leave a single task, it is looked at a few. */
#define SHORT 2e7
enum { SHORT_PARTS = 4 };
/* Columns alone share the work so evenly that cutting rows as well, which loads columns repeatedly, is not looked at. */
#define NEAR 1.15

/* What the slowest thread does, in elements. The last column of tasks is narrower than the others: such tasks fill up what the
 * others leave of their last round, before they make rounds of their own. */
static double slowest(const atl_grid *g, int64_t team) {
    int64_t strips = g->samples * g->down, full = strips * (g->columns / g->width), rest = g->columns % g->width;
    int64_t rounds = atl_ceil_div(full, team), narrow = 0;
    if (rest)
        narrow = atl_ceil_div(atl_max(0, strips - (rounds * team - full) * (g->width / rest)), team);
    double columns = (double)(rounds * (g->width + g->row_cost)) + (double)(narrow * (rest + g->row_cost));
    double ragged = (RAGGED + RAGGED_DOUBLE * (63 - __builtin_clzll((uint64_t)team))) * (double)g->width;
    return (columns + ragged) * (double)(g->height + g->column_cost);
}

static void set_width(atl_grid *g, int64_t width) {
    g->width = atl_max(g->column_least, atl_min(g->column_most, atl_round_up(width, g->column_unit)));
    g->across = atl_ceil_div(g->columns, g->width);
}

/* The best width for rows that are cut already. */
static double best_width(atl_grid *g, int64_t team, int64_t rounds) {
    int64_t best = 0;
    double least = 0;
    set_width(g, g->column_most);
    int64_t first = atl_ceil_div(g->samples * g->across * g->down, team);
    for (int64_t round = first; round <= first + rounds; round++) {
        set_width(g, atl_ceil_div(g->columns, round * team / (g->samples * g->down)));
        double cost = slowest(g, team);
        if (!best || cost < least) {
            best = g->width;
            least = cost;
        }
        if (g->width == g->column_least)
            break;
    }
    set_width(g, best);
    return least;
}

/* Cuts the rows of the tasks that all threads do last, one each at most, so that they finish together. */
static void cut_last(atl_grid *grid, int64_t team) {
    int64_t units = atl_ceil_div(grid->rows, grid->row_unit), tasks = grid->samples * grid->across;
    int64_t last = (tasks - 1) % team + 1;
    atl_grid g = *grid;
    g.samples = 1;
    g.columns -= (grid->across - last) * grid->width;
    double least = slowest(&g, team);
    for (int64_t pieces = 2; pieces <= atl_min(units, LAST_PIECES); pieces++) {
        g.height = atl_ceil_div(units, pieces) * g.row_unit;
        g.down = atl_ceil_div(g.rows, g.height);
        double cost = slowest(&g, team);
        if (cost >= least)
            continue;
        least = cost;
        grid->last = last;
        grid->pieces = g.down;
    }
}

void atl_run_split(const atl_run_state *run, atl_grid *grid) {
    int64_t team = atl_run_alone(run) ? 1 : atl_pool_threads(run->plan->engine->pool);
    int64_t units = atl_ceil_div(grid->rows, grid->row_unit);
    grid->height = grid->rows;
    grid->down = 1;
    set_width(grid, grid->column_most);
    if (team == 1)
        return;
    int64_t most = atl_min(units, ROUNDS / 2 * team / (grid->samples * grid->across));
    atl_grid g = *grid;
    double even = (double)grid->samples * (double)(grid->columns + grid->across * grid->row_cost) *
                  (double)(grid->rows + grid->column_cost) / (double)team;
    double least = best_width(grid, team, ROUNDS);
    if (run->plan->info.flops * (double)run->batch < SHORT)
        most = atl_grid_tasks(grid) > 1 ? 1 : atl_min(most, SHORT_PARTS);
    for (int64_t down = 2; down <= most && least > NEAR * even; down++) {
        g.height = atl_ceil_div(units, down) * g.row_unit;
        g.down = atl_ceil_div(g.rows, g.height);
        double cost = g.down < down ? least : best_width(&g, team, CUT_ROUNDS);
        if (cost < least) {
            *grid = g;
            least = cost;
        }
    }
    if (grid->cuts_last && grid->down == 1 && run->plan->info.flops * (double)run->batch >= SHORT)
        cut_last(grid, team);
}

atl_grid atl_run_split_costly(const atl_run_state *run, int64_t columns, int64_t unit, int64_t least, int64_t most,
                              int64_t cost) {
    atl_grid grid = {.samples = run->batch,
                     .columns = columns,
                     .rows = 1,
                     .column_unit = unit,
                     .column_least = least,
                     .column_most = most,
                     .row_unit = 1,
                     .row_cost = cost};
    atl_run_split(run, &grid);
    return grid;
}

atl_grid atl_run_split_columns(const atl_run_state *run, int64_t columns, int64_t unit, int64_t least, int64_t most) {
    return atl_run_split_costly(run, columns, unit, least, most, atl_max(1, unit / 2));
}

atl_cell atl_grid_cell(const atl_grid *grid, int64_t task) {
    int64_t whole = grid->samples * grid->across - grid->last, down = grid->down, height = grid->height, first = 0;
    if (grid->last && task >= whole) {
        first = whole;
        down = grid->pieces;
        height = atl_ceil_div(atl_ceil_div(grid->rows, grid->row_unit), down) * grid->row_unit;
    }
    int64_t strip = first + (task - first) / down, row = (task - first) % down * height;
    int64_t column = strip % grid->across * grid->width;
    return (atl_cell){.sample = strip / grid->across,
                      .column = column,
                      .column_end = atl_min(column + grid->width, grid->columns),
                      .row = row,
                      .row_end = atl_min(row + height, grid->rows)};
}

int64_t atl_grid_tasks(const atl_grid *grid) {
    return grid->samples * grid->across * grid->down + grid->last * (grid->pieces - 1);
}
