/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channel attention's matrices of a sample, by lane panels of queries: a panel goes through all products at once, or, where
 * panels are too few for the threads, each product is a stage whose rows are cut as well.
 */
#include "../memory.h"
#include "channel_attend.h"

enum {
    WEIGH_LANES = 16, /* queries of the smallest softmax: whole cache lines */
    SCALE_ROWS = 4    /* of products take as long as it takes to scale their lanes */
};

typedef atl_channel_job job;

/* ---- products: those of a cell, whose columns are a lane panel ---- */

/* Rows of the Gram matrix times Wq^T. */
static void gram_rows(const job *j, float *w, const atl_cell *c, float *products, int64_t products_row) {
    const atl_channel_attend_op *op = j->op;
    atl_gemm g = {.m = c->row_end - c->row, .n = j->kernels->gemm.nr, .k = op->channels, .a_tile = j->kernels->gemm.mr};
    g.a = w + op->correlate.result + c->row, g.a_step = op->correlate.row;
    g.b = op->query + c->column, g.b_row = op->row;
    g.y = g.sums = products + c->row * products_row;
    g.y_row = g.sums_row = products_row;
    j->kernels->gemm.fn(&g);
}

/* Scores of keys, without the rank-one term: Wk (G Wq^T). */
static void score_rows(const job *j, float *w, const atl_cell *c, const float *products, int64_t products_row) {
    const atl_channel_attend_op *op = j->op;
    atl_gemm g = {.m = c->row_end - c->row, .n = j->kernels->gemm.nr, .k = op->channels, .a_tile = j->kernels->gemm.mr};
    g.a = op->key + c->row, g.a_step = op->row;
    g.b = products, g.b_row = products_row;
    g.y = g.sums = w + op->map + c->row * op->row + c->column;
    g.y_row = g.sums_row = op->row;
    j->kernels->gemm.fn(&g);
}

static void weigh_keys(const job *j, float *w, const atl_cell *c) {
    const atl_channel_attend_op *op = j->op;
    const float *keys = op->correlate.gram ? w + op->key_mean : NULL;
    j->kernels->softmax.fn(w + op->map + c->column, op->outputs, c->column_end - c->column, op->row, op->scale, keys,
                           w + op->query_mean + c->column);
}

/* Rows of M^T = Wv^T (gamma A)^T + Wx^T; in a row below, the bias gamma A bv + bx. */
static void mix_rows(const job *j, float *w, const atl_cell *c, float *inner) {
    const atl_channel_attend_op *op = j->op;
    int64_t nr = j->kernels->gemm.nr, n = c->column_end - c->column;
    j->kernels->scale.fn(w + op->map + c->column, inner, n, op->outputs, op->row, nr, op->gammas, 0, NULL, NULL, NULL);
    atl_gemm g = {.m = c->row_end - c->row, .n = n, .k = op->outputs, .a_tile = j->kernels->gemm.mr};
    g.a = op->value + c->row, g.a_step = op->channels;
    g.b = inner, g.b_row = nr;
    g.residual = op->skip + c->row * op->row + c->column, g.residual_row = op->row;
    g.y = g.sums = atl_channel_mixed(op, w, c->column) + c->row * ATL_CHANNEL_ROWS;
    g.y_row = g.sums_row = ATL_CHANNEL_ROWS;
    j->kernels->gemm.fn(&g);
    if (!op->value_bias || c->row_end < op->channels)
        return;
    g.m = 1;
    g.a = op->value_bias, g.a_step = 1;
    g.residual = NULL;
    g.lane_bias = op->skip_bias ? op->skip_bias + c->column : NULL;
    g.y = g.sums = atl_channel_mixed(op, w, c->column) + op->channels * ATL_CHANNEL_ROWS;
    j->kernels->gemm.fn(&g);
}

/* ---- tasks ---- */

static void attend_panel(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_channel_attend_op *op = j->op;
    atl_cell cell = atl_grid_cell(&j->grid, task), outputs = cell;
    float *w = atl_run_workspace(j->run, cell.sample), *inner = atl_run_scratch(j->run, slot) + op->inner;
    outputs.row_end = op->outputs;
    if (op->correlate.gram) {
        gram_rows(j, w, &cell, inner, j->kernels->gemm.nr);
        score_rows(j, w, &outputs, inner, j->kernels->gemm.nr);
    }
    weigh_keys(j, w, &cell);
    if (op->fold)
        mix_rows(j, w, &cell, inner);
}

static void gram_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    atl_cell cell = atl_grid_cell(&j->grid, task);
    float *w = atl_run_workspace(j->run, cell.sample);
    gram_rows(j, w, &cell, w + j->op->products + cell.column, j->op->products_row);
}

static void score_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    atl_cell cell = atl_grid_cell(&j->grid, task);
    float *w = atl_run_workspace(j->run, cell.sample);
    score_rows(j, w, &cell, w + j->op->products + cell.column, j->op->products_row);
}

static void weigh_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    atl_cell cell = atl_grid_cell(&j->grid, task);
    weigh_keys(j, atl_run_workspace(j->run, cell.sample), &cell);
}

static void mix_task(void *context, int64_t task, int slot) {
    const job *j = context;
    atl_cell cell = atl_grid_cell(&j->grid, task);
    mix_rows(j, atl_run_workspace(j->run, cell.sample), &cell, atl_run_scratch(j->run, slot) + j->op->inner);
}

/* ---- run ---- */

/* Lane panels of queries, each with `rows` rows that may be cut. */
static atl_grid split_panels(const job *j, int64_t rows, int64_t row_unit, int64_t load) {
    int64_t nr = j->kernels->gemm.nr;
    atl_grid grid = {.samples = j->run->batch,
                     .columns = j->op->outputs,
                     .rows = rows,
                     .column_unit = nr,
                     .column_least = nr,
                     .column_most = nr,
                     .row_unit = row_unit,
                     .column_cost = load};
    atl_run_split(j->run, &grid);
    return grid;
}

void atl_channel_panels(job *j) {
    const atl_channel_attend_op *op = j->op;
    int64_t threads = atl_pool_threads(j->run->plan->engine->pool), mr = j->kernels->gemm.mr;
    j->grid = split_panels(j, op->channels, op->channels, 0);
    int64_t tasks = atl_grid_tasks(&j->grid);
    if (atl_run_alone(j->run) || atl_ceil_div(tasks, threads) * threads * 7 <= tasks * 8) {
        atl_channel_stage(j, attend_panel);
        return;
    }
    if (op->correlate.gram) {
        j->grid = split_panels(j, op->channels, mr, 0);
        atl_channel_stage(j, gram_task);
        j->grid = split_panels(j, op->outputs, mr, 0);
        atl_channel_stage(j, score_task);
    }
    j->grid =
        atl_run_split_columns(j->run, op->outputs, WEIGH_LANES, WEIGH_LANES, atl_max(WEIGH_LANES, j->kernels->gemm.nr));
    atl_channel_stage(j, weigh_task);
    if (op->fold) {
        j->grid = split_panels(j, op->channels, mr, SCALE_ROWS);
        atl_channel_stage(j, mix_task);
    }
}
