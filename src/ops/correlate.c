/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of rows over positions. Blocks of positions are transposed, so that rows of the result are broadcast against
 * lanes of columns and every sum runs over positions in order. A task is a chunk of positions and a part of the result:
 * chunks, whose sums are added in order, depend on the per-sample shape alone; parts keep all threads busy and change
 * nothing. Of a Gram matrix only tiles on or above the diagonal are computed.
 */
#include "../arena.h"
#include "../memory.h"
#include "../error.h"
#include "../plan.h"
#include "ops.h"

enum {
    CHUNK_BLOCKS = 4, /* of a chunk, at least */
    CHUNKS_MAX = 32,
    ROW_GROUP = 96,   /* rows that stay in the second-level cache while columns pass; a multiple of every tile's */
    MERGE_ROWS = 48,  /* of a task, at most */
    MERGE_UNIT = 16,  /* whole cache lines of what is mirrored */
    ENOUGH_TILES = 4, /* of a thread */
    LOAD_TILES = 8    /* of the result take as long as it takes a task to load its rows and columns */
};

/* ---- plan ---- */

/* Frozen: changes bits. All chunks together take up no more than half of what they are made from. */
static void split_positions(atl_correlate_op *op, int64_t positions) {
    int64_t blocks = atl_ceil_div(positions, ATL_BLOCK);
    int64_t wanted = atl_min(atl_ceil_div(blocks, CHUNK_BLOCKS), positions / (2 * op->rows));
    wanted = atl_max(1, atl_min(wanted, CHUNKS_MAX));
    op->chunk_blocks = atl_ceil_div(blocks, wanted);
    op->chunks = atl_ceil_div(blocks, op->chunk_blocks);
}

atl_status atl_correlate_plan(atl_plan *plan, atl_correlate_op *op, atl_error *error) {
    split_positions(op, plan->positions);
    op->row = atl_matrix_row(op->rows);
    atl_status status = atl_reserve_sample(plan, &op->result, op->chunks, op->rows + op->gram, op->row, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->lanes, op->gram ? 1 : 2, ATL_BLOCK, op->row, error);
    return status;
}

/* ---- sums over chunks ---- */

/* The row below a Gram matrix: multiplied with the centred input it sums what rounding of the means has left. */
static const float ones[ATL_BLOCK] = {[0 ... ATL_BLOCK - 1] = 1.0f};

typedef struct job {
    const atl_run_state *run;
    const atl_correlate_op *op;
    const atl_kernels *kernels;
    int64_t tile_rows;    /* a divisor of a lane panel: tiles of the result are as wide as that */
    int64_t tiles, parts; /* tiles, and tasks of a chunk that share them */
    atl_grid merge;
} job;

/* The tiles of a column, which is a lane panel: of a Gram matrix those on or above the diagonal. */
static int64_t column_tiles(const job *j, int64_t panel) {
    int64_t above = (panel + 1) * j->kernels->gemm.nr;
    return atl_ceil_div(j->op->gram ? atl_min(above, j->op->rows) : j->op->rows, j->tile_rows);
}

/* Those of the first columns. */
static int64_t tiles_before(const job *j, int64_t panel) {
    return j->op->gram ? panel * (panel + 1) / 2 * (j->kernels->gemm.nr / j->tile_rows) : panel * column_tiles(j, 0);
}

/* The rows that a part has of a column; none unless first < end. */
typedef struct rows_range {
    int64_t first, end;
} rows_range;

static rows_range part_rows(const job *j, int64_t part, int64_t panel) {
    int64_t before = tiles_before(j, panel);
    int64_t first = part * j->tiles / j->parts - before, end = (part + 1) * j->tiles / j->parts - before;
    return (rows_range){atl_max(0, first) * j->tile_rows,
                        atl_min(atl_min(end, column_tiles(j, panel)) * j->tile_rows, j->op->rows)};
}

static float *chunk_result(const job *j, int64_t b, int64_t chunk) {
    return atl_run_workspace(j->run, b) + j->op->result + chunk * (j->op->rows + j->op->gram) * j->op->row;
}

/* What a part reads: its columns, and the rows of all of them. */
typedef struct part {
    int64_t index, column, column_end, row, row_end;
} part;

static part find_part(const job *j, int64_t index) {
    int64_t nr = j->kernels->gemm.nr, panels = atl_ceil_div(j->op->rows, nr);
    part p = {.index = index, .row = j->op->rows};
    for (int64_t panel = 0; panel < panels; panel++) {
        rows_range r = part_rows(j, index, panel);
        if (r.first >= r.end)
            continue;
        p.column = p.column_end ? p.column : panel * nr;
        p.column_end = atl_min((panel + 1) * nr, j->op->rows);
        p.row = atl_min(p.row, r.first);
        p.row_end = atl_max(p.row_end, r.end);
    }
    return p;
}

/* One block of positions, transposed: rows and columns of the result, which lie side by side of a Gram matrix. */
static void load_lanes(const job *j, int64_t b, int64_t block, const part *p, float *columns, float *rows) {
    const atl_correlate_op *op = j->op;
    const atl_run_state *run = j->run;
    int64_t count = atl_min(ATL_BLOCK, run->plan->positions - block * ATL_BLOCK), x_row = ATL_PANEL_ROW;
    const float *column_x, *row_x, *means = NULL;
    if (op->gram) {
        row_x = column_x = atl_run_sample(run, b).x + block * ATL_BLOCK;
        x_row = run->x_row;
        means = atl_run_workspace(run, b) + op->means;
    } else {
        row_x = atl_panels_block(run, b, &op->row_panels, block);
        column_x = atl_panels_block(run, b, &op->column_panels, block);
    }
    j->kernels->transpose.fn(row_x + p->row * x_row, p->row_end - p->row, count, x_row, means ? means + p->row : NULL,
                             rows + p->row, op->row);
    if (!op->gram || p->column < p->row || p->column_end > p->row_end)
        j->kernels->transpose.fn(column_x + p->column * x_row, p->column_end - p->column, count, x_row,
                                 means ? means + p->column : NULL, columns + p->column, op->row);
}

/* result[i][k] += sums over one block, or = with the first one, for the rows and columns of a part. */
static void add_block(const job *j, const part *p, const float *columns, const float *rows, int64_t count, int is_first,
                      float *result) {
    const atl_correlate_op *op = j->op;
    int64_t mr = j->kernels->gemm.mr, nr = j->kernels->gemm.nr;
    atl_gemm g = {.n = nr, .k = count, .a_tile = mr, .a_step = op->row, .b_row = op->row};
    g.y_row = g.residual_row = g.sums_row = op->row;
    for (int64_t group = p->row; group < p->row_end; group += ROW_GROUP)
        for (int64_t k = p->column; k < p->column_end; k += nr) {
            rows_range r = part_rows(j, p->index, k / nr);
            int64_t i = atl_max(group, r.first);
            g.m = atl_min(group + ROW_GROUP, r.end) - i;
            if (g.m <= 0)
                continue;
            g.a = rows + i;
            g.b = columns + k;
            g.y = g.sums = result + i * op->row + k;
            g.residual = is_first ? NULL : g.y;
            j->kernels->gemm.fn(&g);
        }
    for (int64_t k = p->column; k < p->column_end && op->gram; k += nr) {
        if (part_rows(j, p->index, k / nr).first > 0)
            continue; /* the row below belongs to who has the first */
        g.m = 1;
        g.a = ones, g.a_step = 1;
        g.b = columns + k;
        g.y = g.sums = result + op->rows * op->row + k;
        g.residual = is_first ? NULL : g.y;
        j->kernels->gemm.fn(&g);
    }
}

static void correlate_chunk(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_correlate_op *op = j->op;
    int64_t chunk = task / j->parts % op->chunks, b = task / j->parts / op->chunks;
    part p = find_part(j, task % j->parts);
    int64_t positions = j->run->plan->positions, from = chunk * op->chunk_blocks;
    int64_t to = atl_min(from + op->chunk_blocks, atl_ceil_div(positions, ATL_BLOCK));
    float *columns = atl_run_scratch(j->run, slot) + op->lanes;
    float *rows = op->gram ? columns : columns + ATL_BLOCK * op->row;
    for (int64_t block = from; block < to; block++) {
        load_lanes(j, b, block, &p, columns, rows);
        add_block(j, &p, columns, rows, atl_min(ATL_BLOCK, positions - block * ATL_BLOCK), block == from,
                  chunk_result(j, b, chunk));
    }
}

/* ---- chunks together ---- */

/* Rows [first, end) of the upper triangle also become columns. */
static void mirror(const job *j, float *result, int64_t first, int64_t end) {
    int64_t row = j->op->row;
    for (int64_t i = first; i < end; i++)
        for (int64_t k = first; k < i; k++)
            result[i * row + k] = result[k * row + i];
    j->kernels->transpose.fn(result + first * row + end, end - first, j->op->rows - end, row, NULL,
                             result + end * row + first, row);
}

static void add_rows(const job *j, int64_t b, int64_t chunk, int64_t first, int64_t end) {
    const atl_correlate_op *op = j->op;
    float *result = chunk_result(j, b, 0);
    const float *other = chunk_result(j, b, chunk);
    for (int64_t i = first; i < end; i++)
        for (int64_t k = op->gram && i < op->rows ? i : 0; k < op->rows; k++)
            result[i * op->row + k] += other[i * op->row + k];
}

static void merge_rows(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_correlate_op *op = j->op;
    const atl_cell cell = atl_grid_cell(&j->merge, task);
    int64_t b = cell.sample, first = cell.column, end = cell.column_end;
    float *result = chunk_result(j, b, 0);
    for (int64_t chunk = 1; chunk < op->chunks; chunk++)
        add_rows(j, b, chunk, first, end == op->rows ? op->rows + op->gram : end);
    if (op->gram)
        mirror(j, result, first, end);
}

static void cut_tiles(job *j, int64_t rows) {
    int64_t last = atl_ceil_div(j->op->rows, j->kernels->gemm.nr) - 1;
    j->tile_rows = rows;
    j->tiles = tiles_before(j, last) + column_tiles(j, last);
}

/* Square tiles where these are enough. */
static void choose_tiles(job *j) {
    int64_t nr = j->kernels->gemm.nr, threads = atl_pool_threads(j->run->plan->engine->pool);
    cut_tiles(j, nr);
    if (j->run->batch * j->op->chunks * j->tiles < ENOUGH_TILES * threads)
        cut_tiles(j, nr / 4);
}

void atl_correlate_run(const atl_run_state *run, const atl_correlate_op *op) {
    const atl_kernels *kernels = &run->plan->engine->kernels;
    job j = {.run = run, .op = op, .kernels = kernels};
    choose_tiles(&j);
    atl_grid grid = {.samples = run->batch * op->chunks,
                     .columns = j.tiles,
                     .rows = 1,
                     .column_unit = 1,
                     .column_least = 1,
                     .column_most = j.tiles,
                     .row_unit = 1,
                     .row_cost = LOAD_TILES * (kernels->gemm.nr / j.tile_rows)};
    atl_run_split(run, &grid);
    j.parts = grid.across;
    atl_run_tasks(run, correlate_chunk, &j, atl_grid_tasks(&grid));
    if (op->gram || op->chunks > 1) {
        j.merge = atl_run_split_columns(run, op->rows, MERGE_UNIT, MERGE_UNIT, MERGE_ROWS);
        atl_run_tasks(run, merge_rows, &j, atl_grid_tasks(&j.merge));
    }
}

void atl_correlate_describe(const atl_plan *plan, const atl_correlate_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_text_add(text, "correlate: %s of %lld rows over %lld positions, blocks of %d, %lld chunk%s (%s, %s)\n",
                 op->gram ? "Gram matrix" : "products", (long long)op->rows, (long long)plan->positions, ATL_BLOCK,
                 (long long)op->chunks, op->chunks == 1 ? "" : "s", k->transpose.variant, k->gemm.variant);
}
