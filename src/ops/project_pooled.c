/* SPDX-License-Identifier: Apache-2.0 */
/* A linear layer over positions with max pooling behind it, lanes = positions of windows. */
#include "../arena.h"
#include "../error.h"
#include "../memory.h"
#include "../plan.h"
#include "lanes.h"
#include "ops.h"

enum {
    LANES_BYTES = 512 * 1024, /* of a task's lanes, so that a second-level cache keeps them while all rows pass */
    PACK_ROWS = 16            /* of products take as long as it takes to load their lanes */
};

/* ---- plan ---- */

atl_status atl_project_pooled_plan(atl_plan *plan, atl_linear *linear, atl_project_pooled_op *op, atl_error *error) {
    const atl_kernels *kernels = &plan->engine->kernels;
    op->weight = atl_linear_pack(linear, kernels->gemm.mr);
    if (!op->weight)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for packed weights");
    op->bias = linear->bias;
    op->m = linear->m;
    op->k = linear->k;
    op->positions = op->planes * (op->height / op->window_rows) * (op->width / 2);
    atl_status status = atl_panels_reserve(plan, op->m, op->positions, &op->to, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->lanes, op->k, ATL_BLOCK, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->products, atl_project_rows(kernels, op->k), ATL_PANEL_ROW, 1, error);
    return status;
}

/* ---- run ---- */

typedef struct job {
    const atl_run_state *run;
    const atl_project_pooled_op *op;
    int by_lines; /* the grid's columns are lines of windows, else windows of a line, and each line counts as a sample */
    atl_grid grid; /* of windows x rows */
} job;

/* Windows of a task, of one sample. */
typedef struct strip {
    int64_t b, line, lines, column, columns;
} strip;

static int64_t window_lines(const atl_project_pooled_op *op) {
    return op->planes * (op->height / op->window_rows);
}

static strip find_strip(const job *j, const atl_cell *cell) {
    int64_t count = cell->column_end - cell->column, lines = window_lines(j->op);
    if (j->by_lines)
        return (strip){cell->sample, cell->column, count, 0, j->op->width / 2};
    return (strip){cell->sample / lines, cell->sample % lines, 1, cell->column, count};
}

/* The rows of x below a strip's windows, line by line, as lane panels; zero beyond. Returns the number of lanes. */
static int64_t pack_strip(const job *j, const strip *s, float *lanes) {
    const atl_project_pooled_op *op = j->op;
    int64_t nr = j->run->plan->engine->kernels.gemm.nr, lane = 0, n = 2 * s->columns, rows = s->lines * op->window_rows;
    int64_t per_plane = op->height / op->window_rows;
    const float *x = atl_run_sample(j->run, s->b).x + 2 * s->column;
    int together = n == op->width && op->height % op->window_rows == 0; /* nothing is left out between rows */
    n *= together ? rows : 1;
    for (int64_t i = 0; i < (together ? 1 : rows); i++, lane += n) {
        int64_t q = s->line + i / op->window_rows;
        int64_t row = q / per_plane * op->height + q % per_plane * op->window_rows + i % op->window_rows;
        atl_lanes_copy(x + row * op->width, j->run->x_row, op->k, op->k, n, lane, nr, lanes);
    }
    atl_lanes_clear(op->k, lane, nr, lanes);
    return lane;
}

/* Maxima of rows [m, m + rows) of products over a strip's windows. */
static void pool_rows(const job *j, const strip *s, int64_t m, int64_t rows, const float *products) {
    const atl_project_pooled_op *op = j->op;
    int64_t line = 2 * s->columns;
    for (int64_t q = 0; q < s->lines; q++)
        for (int64_t i = 0, n; i < s->columns; i += n) {
            int64_t to = (s->line + q) * (op->width / 2) + s->column + i;
            n = atl_min(s->columns - i, ATL_BLOCK - to % ATL_BLOCK);
            float *y = atl_panels_block(j->run, s->b, &op->to, to / ATL_BLOCK) + m * ATL_PANEL_ROW + to % ATL_BLOCK;
            j->run->plan->engine->kernels.window_max.fn(products + q * op->window_rows * line + 2 * i, n, rows,
                                                        ATL_PANEL_ROW, op->window_rows, line, y, ATL_PANEL_ROW);
        }
}

static void pooled_strip(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_project_pooled_op *op = j->op;
    const atl_kernels *kernels = &j->run->plan->engine->kernels;
    int64_t mr = kernels->gemm.mr, nr = kernels->gemm.nr, chunk = atl_project_rows(kernels, op->k);
    atl_cell cell = atl_grid_cell(&j->grid, task);
    strip s = find_strip(j, &cell);
    float *scratch = atl_run_scratch(j->run, slot), *products = scratch + op->products;
    int64_t lanes = pack_strip(j, &s, scratch + op->lanes);
    atl_gemm g = {
        .k = op->k, .a_tile = op->k * mr, .a_step = mr, .b_row = nr, .y_row = ATL_PANEL_ROW, .sums_row = ATL_PANEL_ROW};
    for (int64_t m = cell.row; m < cell.row_end; m += chunk) {
        g.m = atl_min(chunk, cell.row_end - m);
        g.a = op->weight + m * op->k;
        g.row_bias = op->bias ? op->bias + m : NULL;
        for (int64_t p = 0; p < lanes; p += nr) {
            g.n = atl_min(nr, lanes - p);
            g.b = scratch + op->lanes + p * op->k;
            g.y = g.sums = products + p;
            kernels->gemm.fn(&g);
        }
        pool_rows(j, &s, m, g.m, products);
    }
}

/* Lines of `line` lanes that fill halves of lane panels best, of at most `most`. */
static int64_t full_lines(int64_t line, int64_t most, int64_t half) {
    int64_t best = 1;
    for (int64_t lines = 2; lines <= most; lines++)
        if (atl_round_up(lines * line, half) * best < atl_round_up(best * line, half) * lines)
            best = lines;
    return best;
}

void atl_project_pooled_run(const atl_run_state *run, const atl_project_pooled_op *op) {
    int64_t mr = run->plan->engine->kernels.gemm.mr, nr = run->plan->engine->kernels.gemm.nr;
    int64_t windows = op->width / 2, line = 2 * windows * op->window_rows, lines = window_lines(op);
    int64_t lanes = atl_max(2 * nr, atl_min(ATL_BLOCK, LANES_BYTES / (int64_t)sizeof(float) / op->k));
    job j = {run, op, line <= lanes, {.rows = op->m, .row_unit = mr, .column_cost = PACK_ROWS, .cuts_last = 1}};
    int64_t unit = full_lines(line, atl_min(lines, lanes / line), nr / 2), most = lanes / line;
    if (!j.by_lines) {
        unit = atl_max(1, nr / (2 * op->window_rows));
        most = lanes / (2 * op->window_rows);
    }
    j.grid.samples = j.by_lines ? run->batch : run->batch * lines;
    j.grid.columns = j.by_lines ? lines : windows;
    j.grid.column_unit = j.grid.column_least = unit;
    j.grid.column_most = most / unit * unit;
    j.grid.row_cost = atl_max(1, unit / 2);
    atl_run_split(run, &j.grid);
    atl_run_tasks(run, pooled_strip, &j, atl_grid_tasks(&j.grid));
}

void atl_project_pooled_describe(const atl_plan *plan, const atl_project_pooled_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_text_add(
        text,
        "project: %lld x %lld, maxima over windows of %lld x 2 at %lld positions into panels, blocks of %d (%s, %s)\n",
        (long long)op->m, (long long)op->k, (long long)op->window_rows, (long long)op->positions, ATL_BLOCK,
        k->gemm.variant, k->window_max.variant);
}
