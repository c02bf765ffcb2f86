/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention between channels. The logits come from the Gram matrix of the centred input, E = Wq G Wk^T + N q k^T with q and k the
 * projections of the means, or from projected queries and keys; the output from one matrix per sample, M = gamma A Wv + Wx, or
 * from projected values. Which is cheaper depends on the per-sample shape alone. Matrices of a sample are kept transposed
 * with lanes = queries, so that every product reads the one before as it stands.
 */

#include "../arena.h"
#include "../memory.h"
#include "../error.h"
#include "../plan.h"
#include "channel_attend.h"
#include "lanes.h"

enum {
    MEAN_ROWS = 16,    /* channels of a task at most */
    MEAN_OUTPUTS = 32, /* likewise, projected */
    MEAN_UNIT = 4,     /* at least, ... */
    OUTPUT_UNIT = 8,   /* ... and projected */
    MAP_ROWS = 32,     /* likewise, of the map */
    PACK_ROWS = 16     /* of products take as long as it takes to load their lanes */
};

enum { QUERY_KEY, VALUES_SKIP, PROJECTIONS };

/* Of a thread, between two waits for the whole team: blocks of positions, work, and samples at most. */
#define BUSY_BLOCKS  8.0
#define BUSY_FLOPS   1e8
#define BUSY_SAMPLES 32.0

/* ---- plan ---- */

/* Frozen: changes bits. Multiplications and additions of either way; where the Gram matrix is cheaper, folding is. */
static void choose_ways(atl_channel_attend_op *op, int64_t positions) {
    double c = (double)op->channels, m = (double)op->outputs, n = (double)positions;
    double gram = c * c * n + 2 * c * m * (c + m), direct = 4 * m * c * n + 2 * m * m * n;
    double folded = 2 * m * m * c + 2 * m * c * n, unfolded = 4 * m * c * n + 2 * m * m * n;
    op->correlate.gram = gram <= direct && !op->no_gram;
    op->fold = folded <= unfolded && !op->no_fold;
    op->flops = (op->correlate.gram ? gram : direct) + (op->fold ? folded : unfolded);
}

static atl_status plan_logits(atl_plan *plan, atl_linear *query_key, atl_channel_attend_op *op, atl_error *error) {
    atl_correlate_op *correlate = &op->correlate;
    atl_status status = ATL_OK;
    correlate->rows = correlate->gram ? op->channels : op->outputs;
    if (correlate->gram) {
        const struct {
            atl_offset *at;
            int64_t a, b;
        } arrays[] = {{&correlate->means, op->channels, 1},
                      {&op->query_mean, op->row, 1},
                      {&op->key_mean, op->row, 1},
                      {&op->map, op->outputs, op->row}};
        for (size_t i = 0; status == ATL_OK && i < sizeof arrays / sizeof *arrays; i++)
            status = atl_reserve_sample(plan, arrays[i].at, arrays[i].a, arrays[i].b, 1, error);
    } else {
        op->project[QUERY_KEY] = (atl_project_op){.source = ATL_SOURCE_X, .positions = plan->positions};
        status = atl_project_plan(plan, query_key, &op->project[QUERY_KEY], error);
        correlate->row_panels = correlate->column_panels = op->project[QUERY_KEY].to;
        correlate->row_panels.row = op->outputs;
    }
    if (status == ATL_OK)
        status = atl_correlate_plan(plan, correlate, error);
    if (!correlate->gram)
        op->map = correlate->result;
    return status;
}

/* Either the matrix M, or values and skip. */
static atl_status plan_output(atl_plan *plan, atl_linear *values_skip, atl_channel_attend_op *op, atl_error *error) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_status status;
    if (op->fold) {
        status = atl_reserve_sample(plan, &op->mixed, op->channels + 1, atl_ceil_div(op->outputs, ATL_CHANNEL_ROWS),
                                    ATL_CHANNEL_ROWS, error);
        op->products = op->mixed; /* they are gone by then */
        op->products_row = atl_round_up(op->outputs, ATL_CHANNEL_ROWS);
    } else {
        op->project[VALUES_SKIP] = (atl_project_op){.source = ATL_SOURCE_X, .positions = plan->positions};
        status = atl_project_plan(plan, values_skip, &op->project[VALUES_SKIP], error);
        if (status == ATL_OK && op->correlate.gram)
            status = atl_reserve_sample(plan, &op->products, op->channels, op->row, 1, error);
        op->products_row = op->row;
    }
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->inner, atl_max(op->channels, op->outputs), k->gemm.nr, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->lanes, op->channels, ATL_BLOCK, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->sums, atl_min(ATL_CHANNEL_ROWS, op->outputs), k->gemm.nr, 1, error);
    return status;
}

atl_status atl_channel_attend_plan(atl_plan *plan, atl_linear *query_key, atl_linear *values_skip,
                                   atl_channel_attend_op *op, atl_error *error) {
    double threads = atl_pool_threads(plan->engine->pool);
    choose_ways(op, plan->positions);
    atl_status status = plan_logits(plan, query_key, op, error);
    if (status == ATL_OK)
        status = plan_output(plan, values_skip, op, error);
    double blocks = BUSY_BLOCKS / (double)atl_ceil_div(plan->positions, ATL_BLOCK), work = BUSY_FLOPS / op->flops;
    double samples = work < blocks ? blocks : work < BUSY_SAMPLES ? work : BUSY_SAMPLES;
    plan->info.workspace_samples = (int64_t)(threads * samples) + 1;
    return status;
}

/* ---- means, and their projections ---- */

typedef atl_channel_job job;

static void mean_rows(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_run_state *run = j->run;
    const atl_cell cell = atl_grid_cell(&j->grid, task);
    int64_t first = cell.column, count = cell.column_end - first, n = run->plan->positions;
    float *means = atl_run_workspace(run, cell.sample) + j->op->correlate.means + first;
    j->kernels->sum.fn(atl_run_sample(run, cell.sample).x + first * run->x_row, n, count, run->x_row, means);
    for (int64_t i = 0; i < count; i++)
        means[i] /= (float)n;
}

/* Outputs [first, first + n) of w . m + bias for the means m of sample b, in double: of a common offset that queries and keys do
 * not see, no rounding may be left. */
static void project_means(const job *j, int64_t b, const float *w, const float *bias, int64_t first, int64_t n,
                          double *out) {
    const atl_channel_attend_op *op = j->op;
    const float *means = atl_run_workspace(j->run, b) + op->correlate.means;
    const float *rest = atl_run_workspace(j->run, b) + op->correlate.result + op->channels * op->correlate.row;
    for (int64_t i = 0; i < n; i++)
        out[i] = 0;
    for (int64_t c = 0; c < op->channels; c++) {
        double mean = means[c] + (double)rest[c] / (double)j->run->plan->positions;
        for (int64_t i = 0; i < n; i++)
            out[i] += mean * w[c * op->row + first + i];
    }
    for (int64_t i = 0; i < n && bias; i++)
        out[i] += bias[first + i];
}

static void project_group(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_channel_attend_op *op = j->op;
    double query[MEAN_OUTPUTS], key[MEAN_OUTPUTS];
    const atl_cell cell = atl_grid_cell(&j->grid, task);
    int64_t b = cell.sample, first = cell.column, n = atl_min(MEAN_OUTPUTS, cell.column_end - first);
    float *w = atl_run_workspace(j->run, b) + first;
    project_means(j, b, op->query, op->query_bias, first, n, query);
    project_means(j, b, op->key, op->key_bias, first, n, key);
    for (int64_t i = 0; i < n; i++) {
        w[op->query_mean + i] = (float)query[i];
        w[op->key_mean + i] = (float)(key[i] * (double)j->run->plan->positions);
    }
}

/* ---- output: M x + b, or gamma A v + skip ---- */

/* Rows of A^T, or of M^T, from output i on against positions of sample b: what both ways share. */
static atl_gemm output_rows(const job *j, int64_t i, int64_t row_end, float *y, float *sums) {
    return (atl_gemm){.m = atl_min(row_end - i, ATL_CHANNEL_ROWS - i % ATL_CHANNEL_ROWS),
                      .a_tile = j->kernels->gemm.mr,
                      .y_row = j->run->y_row,
                      .sums = sums,
                      .sums_row = j->kernels->gemm.nr,
                      .stream = atl_run_streams(j->run, y)};
}

/* y may be x: then a task has all rows of its positions, and has packed them before it writes. */
static void mix_strip(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_channel_attend_op *op = j->op;
    const atl_run_state *run = j->run;
    const atl_cell cell = atl_grid_cell(&j->grid, task);
    int64_t from = cell.column, nr = j->kernels->gemm.nr, c = op->channels, count = cell.column_end - from;
    float *scratch = atl_run_scratch(run, slot), *lanes = scratch + op->lanes, *w = atl_run_workspace(run, cell.sample);
    atl_sample sample = atl_run_sample(run, cell.sample);
    atl_lanes_copy(sample.x + from, run->x_row, c, c, count, 0, nr, lanes);
    atl_lanes_clear(c, count, nr, lanes);
    atl_gemm g;
    for (int64_t i = cell.row; i < cell.row_end; i += g.m) {
        float *y = sample.y + i * run->y_row + from;
        g = output_rows(j, i, cell.row_end, y, scratch + op->sums);
        g.k = c;
        g.a = atl_channel_mixed(op, w, i);
        g.a_step = ATL_CHANNEL_ROWS;
        g.b_row = nr;
        g.row_bias = op->value_bias ? g.a + c * ATL_CHANNEL_ROWS : op->skip_bias ? op->skip_bias + i : NULL;
        for (int64_t p = 0; p < count; p += nr) {
            g.n = atl_min(nr, count - p);
            g.b = lanes + p * c;
            g.y = y + p;
            j->kernels->gemm.fn(&g);
        }
    }
}

static void attend_strip(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_channel_attend_op *op = j->op;
    const atl_run_state *run = j->run;
    const atl_cell cell = atl_grid_cell(&j->grid, task);
    int64_t b = cell.sample, from = cell.column, nr = j->kernels->gemm.nr;
    float *sums = atl_run_scratch(run, slot) + op->sums;
    atl_gemm g;
    for (int64_t i = cell.row; i < cell.row_end; i += g.m) {
        float *y = atl_run_sample(run, b).y + i * run->y_row + from;
        g = output_rows(j, i, cell.row_end, y, sums);
        g.k = op->outputs;
        g.a = atl_run_workspace(run, b) + op->map + i;
        g.a_step = op->row;
        g.b_row = g.residual_row = ATL_PANEL_ROW;
        g.row_scale = op->gammas + i;
        g.row_shift = op->zeros + i;
        for (int64_t at = from; at < cell.column_end; at += nr) {
            g.n = atl_min(nr, cell.column_end - at);
            g.b = atl_panels_block(run, b, &op->project[VALUES_SKIP].to, at / ATL_BLOCK) + at % ATL_BLOCK;
            g.residual = g.b + (op->outputs + i) * ATL_PANEL_ROW;
            g.y = y + (at - from);
            j->kernels->gemm.fn(&g);
        }
    }
}

/* ---- the map ---- */

static void map_rows(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_channel_attend_op *op = j->op;
    const atl_map_rows *rows = &j->run->map_rows;
    const atl_cell cell = atl_grid_cell(&j->grid, task);
    int64_t first = cell.column, count = cell.column_end - first, m = op->outputs;
    const float *attention = atl_run_workspace(j->run, cell.sample) + op->map;
    float *map = atl_run_sample(j->run, cell.sample).map + first * m;
    if (!rows->rows)
        j->kernels->transpose.fn(attention + first, m, count, op->row, NULL, map, m);
    for (int64_t i = 0; rows->rows && i < count; i++)
        j->kernels->transpose.fn(attention + rows->rows[first + i], m, 1, op->row, NULL, map + i * m, m);
}

/* ---- run ---- */

static atl_grid split_columns(const job *j, int64_t columns, int64_t unit, int64_t most) {
    return atl_run_split_columns(j->run, columns, unit, unit, most);
}

/* Whether a sample's y is its x. */
static int in_place(const atl_run_state *run) {
    int64_t samples = run->samples ? run->batch : 1;
    for (int64_t b = 0; b < samples; b++)
        if (atl_run_sample(run, b).x == atl_run_sample(run, b).y)
            return 1;
    return 0;
}

void atl_channel_attend_run(const atl_run_state *run, const atl_channel_attend_op *op) {
    const atl_kernels *kernels = &run->plan->engine->kernels;
    job j = {.run = run, .op = op, .kernels = kernels};
    if (op->correlate.gram) {
        j.grid = split_columns(&j, op->channels, MEAN_UNIT, MEAN_ROWS);
        atl_channel_stage(&j, mean_rows);
    }
    if (!op->correlate.gram && !op->fold)
        atl_project_run_together(run, op->project, PROJECTIONS);
    else if (!op->correlate.gram || !op->fold)
        atl_project_run(run, &op->project[op->correlate.gram ? VALUES_SKIP : QUERY_KEY]);
    atl_correlate_run(run, &op->correlate);
    if (op->correlate.gram) {
        j.grid = split_columns(&j, op->outputs, OUTPUT_UNIT, MEAN_OUTPUTS);
        atl_channel_stage(&j, project_group);
    }
    atl_channel_panels(&j);
    j.grid = (atl_grid){.samples = run->batch,
                        .columns = run->plan->positions,
                        .rows = op->outputs,
                        .column_unit = kernels->gemm.nr,
                        .column_least = kernels->gemm.nr,
                        .column_most = ATL_BLOCK,
                        .row_unit = op->fold && in_place(run) ? op->outputs : kernels->gemm.mr,
                        .column_cost = op->fold ? PACK_ROWS : 0,
                        .row_cost = kernels->gemm.nr / 2};
    atl_run_split(run, &j.grid);
    if (op->fold)
        atl_channel_stage(&j, mix_strip);
    else
        atl_channel_stage(&j, attend_strip);
    if (atl_run_sample(run, 0).map) {
        j.grid = atl_run_split_columns(run, run->map_rows.count, 1, 1, MAP_ROWS);
        atl_channel_stage(&j, map_rows);
    }
}

void atl_channel_attend_describe(const atl_plan *plan, const atl_channel_attend_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    long long c = op->channels, m = op->outputs;
    if (op->correlate.gram)
        atl_text_add(text, "means: %lld channels (%s)\n", c, k->sum.variant);
    else
        atl_project_describe(plan, &op->project[QUERY_KEY], text);
    if (!op->fold)
        atl_project_describe(plan, &op->project[VALUES_SKIP], text);
    atl_correlate_describe(plan, &op->correlate, text);
    if (op->correlate.gram)
        atl_text_add(text, "logits: %lld x %lld through %lld channels (%s)\n", m, m, c, k->gemm.variant);
    atl_text_add(text, "softmax: %lld x %lld%s (%s)\n", m, m,
                 op->fold ? ", then values and skip folded into one matrix" : "", k->softmax.variant);
    atl_text_add(text, "output: %lld x %lld over positions%s (%s)\n", m, op->fold ? c : c + m,
                 op->fold ? "" : ", values and input", k->gemm.variant);
}
