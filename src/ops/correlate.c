/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of rows over positions. Blocks of positions are transposed, so that rows of the result are broadcast against
 * lanes of columns and every sum runs over positions in order. A task is a chunk of positions and a part of the columns:
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
    TASKS_PER_THREAD = 2,
    ROW_GROUP = 96, /* rows that stay in the second-level cache while columns pass; a multiple of every tile's */
    MERGE_ROWS = 48
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
    int64_t parts, groups;
} job;

static float *chunk_result(const job *j, int64_t b, int64_t chunk) {
    return atl_run_workspace(j->run, b) + j->op->result + chunk * (j->op->rows + j->op->gram) * j->op->row;
}

/* The first column of a part: equal areas, of a triangle or of a square, in whole lane panels. */
static int64_t part_start(const job *j, int64_t part) {
    int64_t nr = j->kernels->gemm.nr, panels = atl_ceil_div(j->op->rows, nr), panel = 0;
    while (j->op->gram ? panel * panel * j->parts < part * panels * panels : panel * j->parts < part * panels)
        panel++;
    return atl_min(panel * nr, j->op->rows);
}

/* One block of positions, transposed: rows [0, end) and columns [first, end) of the result, which are the same of a Gram
 * matrix. */
static void load_lanes(const job *j, int64_t b, int64_t block, int64_t first, int64_t end, float *columns,
                       float *rows) {
    const atl_correlate_op *op = j->op;
    const atl_run_state *run = j->run;
    int64_t count = atl_min(ATL_BLOCK, run->plan->positions - block * ATL_BLOCK);
    if (op->gram) {
        j->kernels->transpose.fn(atl_run_sample(run, b).x + block * ATL_BLOCK, end, count, run->x_row,
                                 atl_run_workspace(run, b) + op->means, columns, op->row);
        return;
    }
    j->kernels->transpose.fn(atl_panels_block(run, b, &op->row_panels, block), op->rows, count, ATL_PANEL_ROW, NULL,
                             rows, op->row);
    j->kernels->transpose.fn(atl_panels_block(run, b, &op->column_panels, block) + first * ATL_PANEL_ROW, end - first,
                             count, ATL_PANEL_ROW, NULL, columns + first, op->row);
}

/* result[i][k] += sums over one block, or = with the first one, for columns k of [first, end). */
static void add_block(const job *j, const float *columns, const float *rows, int64_t count, int64_t first, int64_t end,
                      int is_first, float *result) {
    const atl_correlate_op *op = j->op;
    int64_t mr = j->kernels->gemm.mr, nr = j->kernels->gemm.nr, last = op->gram ? end : op->rows;
    atl_gemm g = {.n = nr, .k = count, .a_tile = mr, .a_step = op->row, .b_row = op->row};
    g.y_row = g.residual_row = g.sums_row = op->row;
    for (int64_t i = 0; i < last; i += ROW_GROUP)
        for (int64_t k = op->gram ? atl_max(first, i / nr * nr) : first; k < end; k += nr) {
            g.m = atl_min(ROW_GROUP, (op->gram ? atl_min(k + nr, last) : last) - i);
            g.a = rows + i;
            g.b = columns + k;
            g.y = g.sums = result + i * op->row + k;
            g.residual = is_first ? NULL : g.y;
            j->kernels->gemm.fn(&g);
        }
    for (int64_t k = first; k < end && op->gram; k += nr) {
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
    int64_t part = task % j->parts, chunk = task / j->parts % op->chunks, b = task / j->parts / op->chunks;
    int64_t first = part_start(j, part), end = part_start(j, part + 1);
    int64_t positions = j->run->plan->positions, from = chunk * op->chunk_blocks;
    int64_t to = atl_min(from + op->chunk_blocks, atl_ceil_div(positions, ATL_BLOCK));
    float *columns = atl_run_scratch(j->run, slot) + op->lanes;
    float *rows = op->gram ? columns : columns + ATL_BLOCK * op->row;
    for (int64_t block = from; block < to && first < end; block++) {
        load_lanes(j, b, block, first, end, columns, rows);
        add_block(j, columns, rows, atl_min(ATL_BLOCK, positions - block * ATL_BLOCK), first, end, block == from,
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
    int64_t b = task / j->groups, first = task % j->groups * MERGE_ROWS, end = atl_min(first + MERGE_ROWS, op->rows);
    float *result = chunk_result(j, b, 0);
    for (int64_t chunk = 1; chunk < op->chunks; chunk++)
        add_rows(j, b, chunk, first, end == op->rows ? op->rows + op->gram : end);
    if (op->gram)
        mirror(j, result, first, end);
}

void atl_correlate_run(const atl_run_state *run, const atl_correlate_op *op) {
    const atl_kernels *kernels = &run->plan->engine->kernels;
    int64_t wanted = TASKS_PER_THREAD * (int64_t)atl_pool_threads(run->plan->engine->pool),
            chunks = run->batch * op->chunks;
    int64_t parts = atl_min(atl_ceil_div(wanted, chunks), atl_ceil_div(op->rows, kernels->gemm.nr));
    job j = {run, op, kernels, parts, atl_ceil_div(op->rows, MERGE_ROWS)};
    atl_run_tasks(run, correlate_chunk, &j, chunks * parts);
    if (op->gram || op->chunks > 1)
        atl_run_tasks(run, merge_rows, &j, run->batch * j.groups);
}

void atl_correlate_describe(const atl_plan *plan, const atl_correlate_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_text_add(text, "correlate: %s of %lld rows over %lld positions, blocks of %d, %lld chunk%s (%s, %s)\n",
                 op->gram ? "Gram matrix" : "products", (long long)op->rows, (long long)plan->positions, ATL_BLOCK,
                 (long long)op->chunks, op->chunks == 1 ? "" : "s", k->transpose.variant, k->gemm.variant);
}
