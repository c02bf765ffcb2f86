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
    TASKS_PER_THREAD = 2,
    WEIGHT_FLOATS = 4096 /* of the shortcut, which stay in the first-level cache while the pixels of a chunk pass */
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
    op->chunk = width < ATL_BLOCK ? ATL_BLOCK / width * width : ATL_BLOCK;
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
    int64_t pieces;             /* of the convolution of a sample that is split */
    int64_t strip_rows, strips; /* of a sample */
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

/* Features of some of the channels, with their sums and maxima, and some channels of x pooled. */
static void convolve(const job *j, const place *p, int64_t piece, int64_t pieces) {
    const atl_residual_op *op = j->op;
    float *features = p->workspace + op->features;
    int64_t first, count;
    atl_conv_piece(j->run, &op->conv, p->slot, piece, pieces,
                   &(atl_conv_io){.x = p->sample.x,
                                  .next = p->next,
                                  .x_row = j->run->x_row,
                                  .y = features,
                                  .y_row = op->row,
                                  .pooled = p->workspace + op->pooled,
                                  .pooled_row = op->row});
    atl_conv_range(&op->conv, piece, pieces, &first, &count);
    atl_excite_squeeze(j->kernels, &op->excite, p->workspace, features, op->row, first, count);
}

static int64_t strip_end(const job *j, int64_t strip) {
    return atl_min((strip + 1) * j->strip_rows, j->op->conv.out_height);
}

static void pool_strip(const job *j, const place *p, int64_t strip) {
    const atl_residual_op *op = j->op;
    atl_pixel_gate_pool(j->kernels, &op->gate, p->workspace, p->workspace + op->features, op->row,
                        p->workspace + op->excite.factor, strip * j->strip_rows, strip_end(j, strip));
}

/* y = the shortcut, at n positions from `at` on. */
static void shortcut(const job *j, const place *p, int64_t at, int64_t n) {
    const atl_residual_op *op = j->op;
    const atl_conv_op *conv = &op->conv;
    int64_t mr = j->kernels->gemm.mr, nr = j->kernels->gemm.nr, k = conv->channels, y_row = j->run->y_row;
    const float *pooled = p->workspace + op->pooled + at;
    for (int64_t m = 0; m < conv->rows; m += op->weight_rows)
        for (int64_t i = 0; i < n; i += nr)
            j->kernels->gemm.fn(&(atl_gemm){.m = atl_min(op->weight_rows, conv->rows - m),
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

static void finish_strip(const job *j, const place *p, int64_t strip) {
    const atl_residual_op *op = j->op;
    int64_t width = op->conv.out_width, from = strip * j->strip_rows, end = strip_end(j, strip), y_row = j->run->y_row;
    const float *factor = atl_pixel_gate_factors(j->kernels, &op->gate, p->workspace, from, end);
    for (int64_t at = from * width; at < end * width; at += op->chunk) {
        int64_t n = atl_min(op->chunk, end * width - at);
        shortcut(j, p, at, n);
        j->kernels->gate_add_relu.fn(p->workspace + op->features + at, n, op->conv.rows, op->row,
                                     p->workspace + op->excite.factor, factor + at - from * width, p->sample.y + at,
                                     y_row);
    }
}

/* ---- tasks ---- */

/* A strip reaches no further than into the next: strips have at least as many rows as the gate's convolution reaches. The
 * workspace is the slot's, which its last sample has left in the cache. */
static void whole_sample(void *context, int64_t task, int slot) {
    const job *j = context;
    int64_t threads = atl_pool_threads(j->run->plan->engine->pool);
    place p = sample_place(j, task, j->run->batch < threads ? task : slot, slot);
    if (task + threads < j->run->batch)
        p.next = atl_run_sample(j->run, task + threads).x;
    convolve(j, &p, 0, 1);
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
    place p = sample_place(j, task / j->pieces, task / j->pieces, slot);
    convolve(j, &p, task % j->pieces, j->pieces);
}

static void excite_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    atl_excite_factors(j->kernels, &j->op->excite, 1, 0, atl_run_workspace(j->run, task));
}

static void pool_task(void *context, int64_t task, int slot) {
    const job *j = context;
    place p = sample_place(j, task / j->strips, task / j->strips, slot);
    pool_strip(j, &p, task % j->strips);
}

static void finish_task(void *context, int64_t task, int slot) {
    const job *j = context;
    place p = sample_place(j, task / j->strips, task / j->strips, slot);
    finish_strip(j, &p, task % j->strips);
}

/* Enough pieces and strips of few samples for every thread. A piece copies all of x with its padding: a sample alone is cut
 * into as few as there are threads. */
static void split(job *j) {
    const atl_conv_op *conv = &j->op->conv;
    int64_t threads = atl_pool_threads(j->run->plan->engine->pool), batch = j->run->batch;
    int64_t wanted = atl_ceil_div(TASKS_PER_THREAD * threads, batch);
    j->pieces = atl_min(atl_conv_pieces(conv), batch == 1 ? threads : wanted);
    j->strip_rows = atl_min(j->op->strip_rows, atl_ceil_div(conv->out_height, wanted));
}

void atl_residual_run(const atl_run_state *run, const atl_residual_op *op) {
    job j = {run, op, &run->plan->engine->kernels, 1, op->strip_rows, 0};
    int whole = atl_run_schedule(run).whole;
    if (!whole)
        split(&j);
    j.strips = atl_ceil_div(op->conv.out_height, j.strip_rows);
    if (whole) {
        atl_run_tasks(run, whole_sample, &j, run->batch);
        return;
    }
    atl_run_tasks(run, convolve_task, &j, run->batch * j.pieces);
    atl_run_tasks(run, excite_task, &j, run->batch);
    atl_run_tasks(run, pool_task, &j, run->batch * j.strips);
    atl_run_tasks(run, finish_task, &j, run->batch * j.strips);
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
