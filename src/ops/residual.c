/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The residual block of CBAM. The convolution's output stays in the workspace, where a whole sample of it fits a cache; it is
 * summed as it is made, and neither of its two gated forms is ever written: pooling multiplies by the channels' factors
 * again, and so does the last pass, which finds the shortcut in y. That pass and the pooling before it go by strips of image
 * rows. Whole samples are tasks while there are enough of them, otherwise their channels and then their strips.
 */
#include "../arena.h"
#include "../error.h"
#include "../memory.h"
#include "../plan.h"
#include "ops.h"

enum {
    LEAST_PIXELS = 28,   /* of the image rows that a task finishes, about: a lane panel */
    WEIGHT_FLOATS = 8192 /* of the shortcut, which stay in the first-level cache while the pixels of a chunk pass */
};

/* ---- plan ---- */

/* An odd number of cache lines, so that the rows of many channels spread over all sets of a cache. */
static int64_t spread_row(int64_t n) {
    const int64_t line = ATL_ALIGN / (int64_t)sizeof(float);
    int64_t lines = atl_ceil_div(n, line);
    return (lines + (lines % 2 == 0)) * line;
}

static atl_status plan_shortcut(atl_plan *plan, atl_linear *linear, atl_residual_op *op, atl_error *error) {
    int64_t mr = plan->engine->kernels.gemm.mr, nr = plan->engine->kernels.gemm.nr;
    op->weight = atl_linear_pack(linear, (int)mr);
    if (!op->weight)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for packed weights");
    op->bias = linear->bias;
    op->weight_rows = mr * atl_max(1, WEIGHT_FLOATS / (linear->k * mr));
    int64_t width = op->conv.out_width;
    op->chunk = width < ATL_BLOCK ? atl_conv_full_lines(&op->conv, ATL_BLOCK / width) * width : ATL_BLOCK;
    /* a row more, and one of nr at least: what products read beyond the last position */
    atl_status status = atl_reserve_sample(plan, &op->pooled, linear->k + 1, atl_max(op->row, nr), 1, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->sums, op->weight_rows, nr, 1, error);
    return status;
}

atl_status atl_residual_plan(atl_plan *plan, atl_linear *linears, int64_t conv_k, int64_t gate_k, atl_residual_op *op,
                             atl_error *error) {
    atl_conv_op *conv = &op->conv;
    conv->groups = conv->count = 1;
    conv->relu = conv->with_pool = 1;
    conv->rows = linears[ATL_RESIDUAL_CONV].m;
    atl_status status = atl_conv_plan(plan, &linears[ATL_RESIDUAL_CONV], &conv_k, conv, error);
    if (status != ATL_OK)
        return status;
    int64_t positions = conv->out_height * conv->out_width;
    op->row = spread_row(positions);
    op->excite = (atl_excite_op){.activation = ATL_UNARY_RELU, .gate = ATL_UNARY_SIGMOID, .with_max = 1};
    status = atl_reserve_sample(plan, &op->features, conv->rows, op->row, 1, error);
    if (status == ATL_OK)
        status = atl_excite_plan(plan, &linears[ATL_RESIDUAL_FC1], &linears[ATL_RESIDUAL_FC2], positions, &op->excite,
                                 error);
    if (status == ATL_OK)
        status = atl_pixel_gate_plan(plan, &linears[ATL_RESIDUAL_GATE], gate_k, conv->rows, conv->out_height,
                                     conv->out_width, &op->gate, error);
    if (status == ATL_OK)
        status = plan_shortcut(plan, &linears[ATL_RESIDUAL_SHORTCUT], op, error);
    if (status != ATL_OK)
        return status;
    op->strip_rows = atl_pixel_gate_rows(&op->gate, op->chunk);
    /* whole samples need as many as there are threads, and samples that are split are fewer than these */
    plan->info.workspace_samples = ATL_ENOUGH_SAMPLES * (int64_t)atl_pool_threads(plan->engine->pool);
    return ATL_OK;
}

/* ---- the pieces, of one sample ---- */

typedef struct job {
    const atl_run_state *run;
    const atl_residual_op *op;
    const atl_kernels *kernels;
    int64_t strips; /* of a whole sample */
    atl_grid conv, sum, pool,
        finish; /* of split samples: lines x pieces, channels, image rows, image rows x channels */
} job;

/* Where a task works: a sample, its workspace, and the scratch of the task's slot. */
typedef struct place {
    atl_sample sample;
    const float *next; /* x of the sample after it, or NULL */
    float *workspace, *scratch;
    int slot;
} place;

static place sample_place(const job *j, int64_t b, int64_t workspace, int slot) {
    return (place){.sample = atl_run_sample(j->run, b),
                   .workspace = atl_run_workspace(j->run, workspace),
                   .scratch = atl_run_scratch(j->run, slot),
                   .slot = slot};
}

/* Lines [line, end) of the features of some of the channels, and of some channels of x pooled; all lines with the sums and
 * maxima of the features. */
static void convolve(const job *j, const place *p, int64_t piece, int64_t pieces, int64_t line, int64_t end) {
    const atl_residual_op *op = j->op;
    float *features = p->workspace + op->features;
    int64_t first, count;
    atl_conv_lines(j->run, &op->conv, p->slot, piece, pieces, line, end,
                   &(atl_conv_io){.x = p->sample.x,
                                  .next = p->next,
                                  .x_row = j->run->x_row,
                                  .y = features,
                                  .y_row = op->row,
                                  .pooled = p->workspace + op->pooled,
                                  .pooled_row = op->row});
    if (end - line < op->conv.out_height)
        return;
    atl_conv_range(&op->conv, piece, pieces, &first, &count);
    atl_excite_squeeze(j->kernels, &op->excite, p->workspace, features, op->row, first, count);
}

static void pool_rows(const job *j, const place *p, int64_t from, int64_t end) {
    const atl_residual_op *op = j->op;
    atl_pixel_gate_pool(j->kernels, &op->gate, p->workspace, p->workspace + op->features, op->row,
                        p->workspace + op->excite.factor, from, end);
}

/* Channels [first, end) of y = the shortcut, at n positions from `at` on. */
static void shortcut(const job *j, const place *p, int64_t first, int64_t end, int64_t at, int64_t n) {
    const atl_residual_op *op = j->op;
    const atl_conv_op *conv = &op->conv;
    int64_t mr = j->kernels->gemm.mr, nr = j->kernels->gemm.nr, k = conv->channels, y_row = j->run->y_row;
    const float *pooled = p->workspace + op->pooled + at;
    for (int64_t m = first; m < end; m += op->weight_rows)
        for (int64_t i = 0; i < n; i += nr)
            j->kernels->gemm.fn(&(atl_gemm){.m = atl_min(op->weight_rows, end - m),
                                            .n = atl_min(nr, n - i),
                                            .k = k,
                                            .a = op->weight + m * k,
                                            .a_tile = k * mr,
                                            .a_step = mr,
                                            .b = pooled + i,
                                            .b_row = op->row,
                                            .row_bias = op->bias ? op->bias + m : NULL,
                                            .y = p->sample.y + m * y_row + at + i,
                                            .y_row = y_row,
                                            .sums = p->scratch + op->sums,
                                            .sums_row = nr});
}

/* Image rows and channels of y; `factor` are the gate's. */
static void finish(const job *j, const place *p, const atl_cell *c, const float *factor) {
    const atl_residual_op *op = j->op;
    int64_t width = op->conv.out_width, from = c->column * width, end = c->column_end * width, y_row = j->run->y_row;
    for (int64_t at = from; at < end; at += op->chunk) {
        int64_t n = atl_min(op->chunk, end - at);
        shortcut(j, p, c->row, c->row_end, at, n);
        j->kernels->gate_add_relu.fn(p->workspace + op->features + c->row * op->row + at, n, c->row_end - c->row,
                                     op->row, p->workspace + op->excite.factor + c->row, factor + at - from,
                                     p->sample.y + c->row * y_row + at, y_row);
    }
}

/* ---- tasks ---- */

static atl_cell strip_rows(const atl_residual_op *op, int64_t strip) {
    return (atl_cell){.column = strip * op->strip_rows,
                      .column_end = atl_min((strip + 1) * op->strip_rows, op->conv.out_height),
                      .row_end = op->conv.rows};
}

static void pool_strip(const job *j, const place *p, int64_t strip) {
    atl_cell c = strip_rows(j->op, strip);
    pool_rows(j, p, c.column, c.column_end);
}

static void finish_strip(const job *j, const place *p, int64_t strip) {
    atl_cell c = strip_rows(j->op, strip);
    finish(j, p, &c, atl_pixel_gate_factors(j->kernels, &j->op->gate, p->workspace, c.column, c.column_end));
}

/* A strip reaches no further than into the next: strips have at least as many rows as the gate's convolution reaches. The
 * workspace is the slot's, which its last sample has left in the cache. */
static void whole_sample(void *context, int64_t task, int slot) {
    const job *j = context;
    int64_t threads = atl_pool_threads(j->run->plan->engine->pool);
    place p = sample_place(j, task, j->run->batch < threads ? task : slot, slot);
    if (task + threads < j->run->batch)
        p.next = atl_run_sample(j->run, task + threads).x;
    convolve(j, &p, 0, 1, 0, j->op->conv.out_height);
    atl_excite_factors(j->kernels, &j->op->excite, 1, 0, p.workspace);
    pool_strip(j, &p, 0);
    for (int64_t strip = 1; strip < j->strips; strip++) {
        pool_strip(j, &p, strip);
        finish_strip(j, &p, strip - 1);
    }
    finish_strip(j, &p, j->strips - 1);
}

static void convolve_task(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_cell c = atl_grid_cell(&j->conv, task);
    place p = sample_place(j, c.sample, c.sample, slot);
    convolve(j, &p, c.row / j->conv.height, j->conv.down, c.column, c.column_end);
}

static void sum_task(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_cell c = atl_grid_cell(&j->sum, task);
    place p = sample_place(j, c.sample, c.sample, slot);
    atl_excite_squeeze(j->kernels, &j->op->excite, p.workspace, p.workspace + j->op->features, j->op->row, c.column,
                       c.column_end - c.column);
}

static void pool_task(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_cell c = atl_grid_cell(&j->pool, task);
    place p = sample_place(j, c.sample, c.sample, slot);
    pool_rows(j, &p, c.column, c.column_end);
}

static void gate_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_cell c = atl_grid_cell(&j->pool, task);
    atl_pixel_gate_factors(j->kernels, &j->op->gate, atl_run_workspace(j->run, c.sample), c.column, c.column_end);
}

static void finish_task(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_cell c = atl_grid_cell(&j->finish, task);
    place p = sample_place(j, c.sample, c.sample, slot);
    finish(j, &p, &c,
           j->finish.down > 1 ? p.workspace + j->op->gate.mean + c.column * j->op->conv.out_width
                              : atl_pixel_gate_factors(j->kernels, &j->op->gate, p.workspace, c.column, c.column_end));
}

/* Few samples. */
static void run_split(job *j) {
    const atl_run_state *run = j->run;
    const atl_residual_op *op = j->op;
    int64_t least = atl_min(op->conv.out_height, atl_ceil_div(LEAST_PIXELS, op->conv.out_width));
    j->conv = atl_conv_grid(run, &op->conv);
    j->sum = atl_run_split_columns(run, op->conv.rows, 1, 1, op->conv.rows);
    j->pool = atl_pixel_gate_grid(run, &op->gate, op->strip_rows);
    j->finish = (atl_grid){.samples = run->batch,
                           .columns = op->conv.out_height,
                           .rows = op->conv.rows,
                           .column_unit = 1,
                           .column_least = least,
                           .column_most = atl_max(least, op->strip_rows),
                           .row_unit = j->kernels->gemm.mr,
                           .column_cost = 1,
                           .row_cost = 1};
    atl_run_split(run, &j->finish);
    atl_run_tasks(run, convolve_task, j, atl_grid_tasks(&j->conv));
    if (j->conv.across > 1)
        atl_run_tasks(run, sum_task, j, atl_grid_tasks(&j->sum));
    atl_excite_run_factors(run, &op->excite);
    atl_run_tasks(run, pool_task, j, atl_grid_tasks(&j->pool));
    if (j->finish.down > 1) /* tasks share the factors of image rows */
        atl_run_tasks(run, gate_task, j, atl_grid_tasks(&j->pool));
    atl_run_tasks(run, finish_task, j, atl_grid_tasks(&j->finish));
}

void atl_residual_run(const atl_run_state *run, const atl_residual_op *op) {
    job j = {.run = run, .op = op, .kernels = &run->plan->engine->kernels};
    if (!atl_run_schedule(run).whole) {
        run_split(&j);
        return;
    }
    j.strips = atl_ceil_div(op->conv.out_height, op->strip_rows);
    atl_run_tasks(run, whole_sample, &j, run->batch);
}

void atl_residual_describe(const atl_plan *plan, const atl_residual_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_conv_describe(plan, &op->conv, text);
    atl_text_add(
        text, "gate channels: mean and maximum with the convolution, %lld -> %lld -> %lld, blocks of %d (%s, %s, %s)\n",
        (long long)op->excite.channels, (long long)op->excite.hidden, (long long)op->excite.channels, ATL_BLOCK,
        k->sum_max.variant, k->fc.variant, k->unary.variant);
    atl_text_add(text, "gate pixels: mean and maximum over channels, %lld x %lld convolution (%s, %s)\n",
                 (long long)op->gate.k, (long long)op->gate.k, k->channel_pool.variant, k->conv_gate.variant);
    atl_text_add(text, "shortcut: max-pool 3 x 3, %lld x %lld over %lld positions at a time, blocks of %d (%s, %s)\n",
                 (long long)op->conv.rows, (long long)op->conv.channels, (long long)op->chunk, ATL_BLOCK,
                 k->max_pool.variant, k->gemm.variant);
    atl_text_add(text, "finish: strips of %lld rows; sample per task, or pieces of it when samples are few (%s)\n",
                 (long long)op->strip_rows, k->gate_add_relu.variant);
}
