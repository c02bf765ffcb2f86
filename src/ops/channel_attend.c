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
#include "ops.h"

enum {
    MEAN_ROWS = 16,    /* channels of a task */
    MEAN_OUTPUTS = 32, /* likewise, projected */
    MAP_ROWS = 32,     /* likewise, of the map */
    STRIP_MIN = 64,    /* positions of a task when blocks are few; a multiple of every gemm tile's lanes */
    OUTPUT_ROWS = 96,  /* that stay in the second-level cache while positions pass; a multiple of every tile's */
    TASKS_PER_THREAD = 4
};

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
        op->project = (atl_project_op){.source = ATL_SOURCE_X, .positions = plan->positions};
        status = atl_project_plan(plan, query_key, &op->project, error);
        correlate->row_panels = correlate->column_panels = op->project.to;
        correlate->row_panels.row = op->outputs;
    }
    if (status == ATL_OK)
        status = atl_correlate_plan(plan, correlate, error);
    if (!correlate->gram)
        op->map = correlate->result;
    return status;
}

/* Either the matrix M or the values. */
static atl_status plan_output(atl_plan *plan, atl_linear *values, atl_channel_attend_op *op, atl_error *error) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_status status;
    if (op->fold) {
        status = atl_reserve_sample(plan, &op->mixed, op->channels + 1, atl_ceil_div(op->outputs, OUTPUT_ROWS),
                                    OUTPUT_ROWS, error);
    } else {
        op->project_values = (atl_project_op){.source = ATL_SOURCE_X, .positions = plan->positions};
        status = atl_project_plan(plan, values, &op->project_values, error);
    }
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->inner, atl_max(op->channels, op->outputs), k->gemm.nr, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->lanes, op->channels, ATL_BLOCK, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->sums, atl_min(OUTPUT_ROWS, op->outputs), k->gemm.nr, 1, error);
    return status;
}

atl_status atl_channel_attend_plan(atl_plan *plan, atl_linear *query_key, atl_linear *values, atl_channel_attend_op *op,
                                   atl_error *error) {
    double threads = atl_pool_threads(plan->engine->pool);
    choose_ways(op, plan->positions);
    atl_status status = plan_logits(plan, query_key, op, error);
    if (status == ATL_OK)
        status = plan_output(plan, values, op, error);
    double blocks = BUSY_BLOCKS / (double)atl_ceil_div(plan->positions, ATL_BLOCK), work = BUSY_FLOPS / op->flops;
    double samples = work < blocks ? blocks : work < BUSY_SAMPLES ? work : BUSY_SAMPLES;
    plan->info.workspace_samples = (int64_t)(threads * samples) + 1;
    return status;
}

/* ---- means, and their projections ---- */

typedef struct job {
    const atl_run_state *run;
    const atl_channel_attend_op *op;
    const atl_kernels *kernels;
    int64_t groups; /* tasks of a sample */
    int64_t width;  /* positions of an output task, a divisor of ATL_BLOCK */
} job;

static void mean_rows(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_run_state *run = j->run;
    int64_t b = task / j->groups, first = task % j->groups * MEAN_ROWS;
    int64_t count = atl_min(MEAN_ROWS, j->op->channels - first), n = run->plan->positions;
    float *means = atl_run_workspace(run, b) + j->op->correlate.means + first;
    j->kernels->sum.fn(atl_run_sample(run, b).x + first * run->x_row, n, count, run->x_row, means);
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
    int64_t b = task / j->groups, first = task % j->groups * MEAN_OUTPUTS;
    int64_t n = atl_min(MEAN_OUTPUTS, op->outputs - first);
    float *w = atl_run_workspace(j->run, b) + first;
    project_means(j, b, op->query, op->query_bias, first, n, query);
    project_means(j, b, op->key, op->key_bias, first, n, key);
    for (int64_t i = 0; i < n; i++) {
        w[op->query_mean + i] = (float)query[i];
        w[op->key_mean + i] = (float)(key[i] * (double)j->run->plan->positions);
    }
}

/* ---- from G or the logits to A and M, a lane panel of queries at a time ---- */

/* Scores of queries [first, first + nr) from the Gram matrix, without the rank-one term: Wk (G Wq^T). */
static void score_panel(const job *j, float *w, int64_t first, float *inner) {
    const atl_channel_attend_op *op = j->op;
    int64_t mr = j->kernels->gemm.mr, nr = j->kernels->gemm.nr;
    atl_gemm g = {.m = op->channels, .n = nr, .k = op->channels, .a_tile = mr};
    g.a = w + op->correlate.result, g.a_step = op->correlate.row;
    g.b = op->query + first, g.b_row = op->row;
    g.y = g.sums = inner;
    g.y_row = g.sums_row = nr;
    j->kernels->gemm.fn(&g);
    g.m = op->outputs;
    g.a = op->key, g.a_step = op->row;
    g.b = inner, g.b_row = nr;
    g.y = g.sums = w + op->map + first;
    g.y_row = g.sums_row = op->row;
    j->kernels->gemm.fn(&g);
}

/* Columns of M^T, and of the row below, from output i on: [][channels + 1][OUTPUT_ROWS], so that what the rows of an output
 * task read lies together. */
static float *mixed_columns(const atl_channel_attend_op *op, float *w, int64_t i) {
    return w + op->mixed + i / OUTPUT_ROWS * OUTPUT_ROWS * (op->channels + 1) + i % OUTPUT_ROWS;
}

/* Columns [first, first + n) of M^T = Wv^T (gamma A)^T + Wx^T; in a row below, the bias gamma A bv + bx. */
static void mix_panel(const job *j, float *w, int64_t first, int64_t n, float *inner) {
    const atl_channel_attend_op *op = j->op;
    int64_t nr = j->kernels->gemm.nr;
    j->kernels->scale.fn(w + op->map + first, inner, n, op->outputs, op->row, nr, op->gammas, 0, NULL, NULL, NULL);
    atl_gemm g = {.m = op->channels, .n = n, .k = op->outputs, .a_tile = j->kernels->gemm.mr};
    g.a = op->value, g.a_step = op->channels;
    g.b = inner, g.b_row = nr;
    g.residual = op->skip + first, g.residual_row = op->row;
    g.y = g.sums = mixed_columns(op, w, first);
    g.y_row = g.sums_row = OUTPUT_ROWS;
    j->kernels->gemm.fn(&g);
    if (!op->value_bias)
        return;
    g.m = 1;
    g.a = op->value_bias, g.a_step = 1;
    g.residual = NULL;
    g.lane_bias = op->skip_bias ? op->skip_bias + first : NULL;
    g.y = g.sums = mixed_columns(op, w, first) + op->channels * OUTPUT_ROWS;
    j->kernels->gemm.fn(&g);
}

static void attend_panel(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_channel_attend_op *op = j->op;
    int64_t b = task / j->groups, first = task % j->groups * j->kernels->gemm.nr;
    int64_t n = atl_min(j->kernels->gemm.nr, op->outputs - first);
    float *w = atl_run_workspace(j->run, b), *inner = atl_run_scratch(j->run, slot) + op->inner;
    const float *keys = op->correlate.gram ? w + op->key_mean : NULL;
    if (op->correlate.gram)
        score_panel(j, w, first, inner);
    j->kernels->softmax.fn(w + op->map + first, op->outputs, n, op->row, op->scale, keys, w + op->query_mean + first);
    if (op->fold)
        mix_panel(j, w, first, n, inner);
}

/* ---- output: M x + b, or gamma A v + Wx x + b ---- */

/* Rows g->m of y over all lane panels: a . lanes + bias, added to what is there with `more`. */
static void output_rows(const job *j, atl_gemm *g, const float *lanes, int64_t panel, int more, float *y,
                        int64_t count) {
    int64_t nr = j->kernels->gemm.nr;
    for (int64_t p = 0; p < count; p += nr) {
        g->n = atl_min(nr, count - p);
        g->b = lanes + p / nr * panel;
        g->y = y + p;
        g->residual = more ? g->y : NULL;
        j->kernels->gemm.fn(g);
    }
}

/* y may be x: this task alone reads and writes these positions, and has packed them before it writes. */
static void output_strip(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_channel_attend_op *op = j->op;
    const atl_run_state *run = j->run;
    int64_t b = task / j->groups, from = task % j->groups * j->width, nr = j->kernels->gemm.nr, c = op->channels;
    int64_t count = atl_min(j->width, run->plan->positions - from);
    float *scratch = atl_run_scratch(run, slot), *lanes = scratch + op->lanes, *w = atl_run_workspace(run, b);
    atl_sample sample = atl_run_sample(run, b);
    atl_lanes_copy(sample.x + from, run->x_row, c, count, 0, nr, lanes);
    atl_lanes_clear(c, count, nr, lanes);
    for (int64_t i = 0; i < op->outputs; i += OUTPUT_ROWS) {
        float *y = sample.y + i * run->y_row + from;
        atl_gemm g = {.m = atl_min(OUTPUT_ROWS, op->outputs - i), .a_tile = j->kernels->gemm.mr, .a_step = op->row};
        g.y_row = g.residual_row = run->y_row;
        g.sums = scratch + op->sums, g.sums_row = nr;
        if (!op->fold) {
            const float *v = atl_panels_block(run, b, &op->project_values.to, from / ATL_BLOCK) + from % ATL_BLOCK;
            g.k = op->outputs;
            g.a = w + op->map + i;
            g.b_row = ATL_PANEL_ROW;
            output_rows(j, &g, v, nr, 0, y, count);
            j->kernels->scale.fn(y, y, count, g.m, run->y_row, run->y_row, op->gammas, 0, NULL, NULL, NULL);
        }
        g.stream = atl_run_streams(run, y);
        g.k = c;
        g.a = op->fold ? mixed_columns(op, w, i) : op->skip + i;
        g.a_step = op->fold ? OUTPUT_ROWS : op->row;
        g.b_row = nr;
        g.row_bias = op->skip_bias ? op->skip_bias + i : NULL;
        if (op->fold && op->value_bias)
            g.row_bias = g.a + c * OUTPUT_ROWS;
        output_rows(j, &g, lanes, nr * c, !op->fold, y, count);
    }
}

/* ---- the map ---- */

static void map_rows(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_channel_attend_op *op = j->op;
    const atl_map_rows *rows = &j->run->map_rows;
    int64_t b = task / j->groups, first = task % j->groups * MAP_ROWS, m = op->outputs;
    int64_t count = atl_min(MAP_ROWS, rows->count - first);
    const float *attention = atl_run_workspace(j->run, b) + op->map;
    float *map = atl_run_sample(j->run, b).map + first * m;
    if (!rows->rows)
        j->kernels->transpose.fn(attention + first, m, count, op->row, NULL, map, m);
    for (int64_t i = 0; rows->rows && i < count; i++)
        j->kernels->transpose.fn(attention + rows->rows[first + i], m, 1, op->row, NULL, map + i * m, m);
}

/* ---- run ---- */

static void run_stage(job *j, const char *stage, atl_task_fn *function, int64_t groups) {
    j->groups = groups;
    atl_run_stage(j->run, stage, function, j, j->run->batch * groups);
}
#define run_groups(job, function, groups) run_stage(job, #function, function, groups)

void atl_channel_attend_run(const atl_run_state *run, const atl_channel_attend_op *op) {
    const atl_kernels *kernels = &run->plan->engine->kernels;
    int64_t n = run->plan->positions, threads = atl_pool_threads(run->plan->engine->pool);
    int64_t panels = atl_ceil_div(op->outputs, kernels->gemm.nr);
    int many = run->batch * atl_ceil_div(n, ATL_BLOCK) >= TASKS_PER_THREAD * threads;
    job j = {.run = run, .op = op, .kernels = kernels, .width = many ? ATL_BLOCK : STRIP_MIN};
    if (op->correlate.gram)
        run_groups(&j, mean_rows, atl_ceil_div(op->channels, MEAN_ROWS));
    else
        atl_project_run(run, &op->project);
    if (!op->fold)
        atl_project_run(run, &op->project_values);
    atl_correlate_run(run, &op->correlate);
    if (op->correlate.gram)
        run_groups(&j, project_group, atl_ceil_div(op->outputs, MEAN_OUTPUTS));
    run_groups(&j, attend_panel, panels);
    run_groups(&j, output_strip, atl_ceil_div(n, j.width));
    if (atl_run_sample(run, 0).map)
        run_groups(&j, map_rows, atl_ceil_div(run->map_rows.count, MAP_ROWS));
}

void atl_channel_attend_describe(const atl_plan *plan, const atl_channel_attend_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    long long c = op->channels, m = op->outputs;
    if (op->correlate.gram)
        atl_text_add(text, "means: %lld channels (%s)\n", c, k->sum.variant);
    else
        atl_project_describe(plan, &op->project, text);
    if (!op->fold)
        atl_project_describe(plan, &op->project_values, text);
    atl_correlate_describe(plan, &op->correlate, text);
    if (op->correlate.gram)
        atl_text_add(text, "logits: %lld x %lld through %lld channels (%s)\n", m, m, c, k->gemm.variant);
    atl_text_add(text, "softmax: %lld x %lld%s (%s)\n", m, m,
                 op->fold ? ", then values and skip folded into one matrix" : "", k->softmax.variant);
    atl_text_add(text, "output: %lld x %lld over positions%s (%s)\n", m, op->fold ? c : c + m,
                 op->fold ? "" : ", values and input", k->gemm.variant);
}
