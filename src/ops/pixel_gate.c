/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mean and maximum over channels, a convolution of the two planes, a gate per pixel, scaling. Work goes by strips of image
 * rows. Whole samples are tasks while there are enough of them: a strip is then pooled just before the one above it is
 * scaled, so that the second read comes from the cache; outputs past the last-level cache go straight to memory, and what is
 * pooled next is fetched meanwhile. Otherwise strips are tasks, pooled first and scaled after.
 */
#include <string.h>

#include "../arena.h"
#include "../error.h"
#include "../memory.h"
#include "../plan.h"
#include "ops.h"

enum {
    STRIP_FLOATS = 64 * 1024, /* of a strip, all channels, ... */
    STRIP_PIXELS = 1024,      /* ... but rows of this many at least, which memory likes better, ... */
    SPLIT_PIXELS = 64,        /* ... or of this many where strips have to feed every thread */
    TASKS_PER_THREAD = 2
};

int64_t atl_pixel_gate_rows(const atl_pixel_gate_op *op, int64_t pixels) {
    int64_t rows = atl_max(atl_ceil_div(pixels, op->width), op->k / 2);
    return atl_min(rows, op->height);
}

atl_status atl_pixel_gate_plan(atl_plan *plan, const atl_linear *conv, int64_t k, int64_t channels, int64_t height,
                               int64_t width, atl_pixel_gate_op *op, atl_error *error) {
    *op = (atl_pixel_gate_op){.weight = conv->weight,
                              .bias = conv->bias,
                              .k = k,
                              .channels = channels,
                              .height = height,
                              .width = width,
                              .row = width + k - 1};
    op->strip_rows = atl_pixel_gate_rows(op, atl_max(STRIP_PIXELS, STRIP_FLOATS / channels));
    atl_status status = atl_reserve_sample(plan, &op->planes, 2, height + k - 1, op->row, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->mean, height, width, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->max, height, width, 1, error);
    return status;
}

/* ---- the pieces, in one sample's workspace ---- */

static void clear(float *x, int64_t count) {
    memset(x, 0, (size_t)count * sizeof *x);
}

/* Rows [from, end) of a plane, and the zeros around them. */
static void place(const atl_pixel_gate_op *op, const float *pixels, float *plane, int64_t from, int64_t end) {
    int64_t reach = op->k / 2;
    if (from == 0)
        clear(plane, reach * op->row);
    if (end == op->height)
        clear(plane + (op->height + reach) * op->row, reach * op->row);
    for (int64_t r = from; r < end; r++) {
        float *row = plane + (r + reach) * op->row;
        clear(row, reach);
        memcpy(row + reach, pixels + r * op->width, (size_t)op->width * sizeof *row);
        clear(row + reach + op->width, reach);
    }
}

void atl_pixel_gate_pool(const atl_kernels *kernels, const atl_pixel_gate_op *op, float *workspace, const float *x,
                         int64_t x_row, const float *scale, int64_t from, int64_t end) {
    float *mean = workspace + op->mean, *max = workspace + op->max, *planes = workspace + op->planes;
    int64_t at = from * op->width, count = (end - from) * op->width;
    kernels->channel_pool.fn(x + at, count, op->channels, x_row, scale, mean + at, max + at);
    place(op, mean, planes, from, end);
    place(op, max, planes + (op->height + op->k - 1) * op->row, from, end);
}

/* The factors take the place of the means, which by now lie in their plane. */
const float *atl_pixel_gate_factors(const atl_kernels *kernels, const atl_pixel_gate_op *op, float *workspace,
                                    int64_t from, int64_t end) {
    float *factor = workspace + op->mean;
    for (int64_t r = from; r < end; r++)
        kernels->conv_gate.fn(workspace + op->planes + r * op->row, op->row, (op->height + op->k - 1) * op->row, op->k,
                              op->weight, op->bias, op->width, factor + r * op->width);
    return factor + from * op->width;
}

/* ---- the whole layer ---- */

typedef struct job {
    const atl_run_state *run;
    const atl_pixel_gate_op *op;
    const atl_kernels *kernels;
    atl_schedule schedule;
    int64_t strip_rows, strips; /* of a sample */
} job;

static int64_t strip_end(const job *j, int64_t strip) {
    return atl_min((strip + 1) * j->strip_rows, j->op->height);
}

static void pool_strip(const job *j, int64_t b, int64_t strip) {
    const atl_run_state *run = j->run;
    atl_pixel_gate_pool(j->kernels, j->op, atl_run_workspace(run, b), atl_run_sample(run, b).x, run->x_row, NULL,
                        strip * j->strip_rows, strip_end(j, strip));
}

/* The pixels from `ahead` on, which are pooled next, come from memory while others are written. */
static void scale_strip(const job *j, int64_t b, int64_t strip, const float *ahead) {
    const atl_pixel_gate_op *op = j->op;
    const atl_run_state *run = j->run;
    int64_t from = strip * j->strip_rows, end = strip_end(j, strip), at = from * op->width;
    const float *factor = atl_pixel_gate_factors(j->kernels, op, atl_run_workspace(run, b), from, end);
    atl_sample sample = atl_run_sample(run, b);
    j->kernels->scale_pixels.fn(sample.x + at, sample.y + at, (end - from) * op->width, op->channels, run->x_row,
                                run->y_row, factor, j->schedule.stream && sample.x != sample.y, ahead);
}

/* Where that strip of sample b begins; past its last they are those of the next sample, NULL when that is `end`. */
static const float *strip_ahead(const job *j, int64_t b, int64_t strip, int64_t end) {
    b += strip / j->strips;
    return b < end ? atl_run_sample(j->run, b).x + strip % j->strips * j->strip_rows * j->op->width : NULL;
}

/* A strip reaches no further than into the next: strips have at least as many rows as the convolution reaches. */
static void gate_sample(const job *j, int64_t b, int64_t end) {
    pool_strip(j, b, 0);
    for (int64_t strip = 1; strip < j->strips; strip++) {
        pool_strip(j, b, strip);
        scale_strip(j, b, strip - 1, strip_ahead(j, b, strip + 1, end));
    }
    scale_strip(j, b, j->strips - 1, strip_ahead(j, b, j->strips + (j->strips > 1), end));
}

static void sample_run(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    int64_t first = task * j->schedule.run_length, end = atl_min(first + j->schedule.run_length, j->run->batch);
    for (int64_t b = first; b < end; b++)
        gate_sample(j, b, end);
}

static void pool_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    pool_strip(j, task / j->strips, task % j->strips);
}

static void scale_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    scale_strip(j, task / j->strips, task % j->strips, NULL);
}

void atl_pixel_gate_run(const atl_run_state *run, const atl_pixel_gate_op *op) {
    const atl_plan *plan = run->plan;
    job j = {run,
             op,
             &plan->engine->kernels,
             atl_run_schedule(run),
             op->strip_rows,
             atl_ceil_div(op->height, op->strip_rows)};
    if (j.schedule.whole) {
        atl_run_tasks(run, sample_run, &j, atl_ceil_div(run->batch, j.schedule.run_length));
        return;
    }
    int64_t threads = atl_pool_threads(plan->engine->pool);
    int64_t wanted = atl_ceil_div(TASKS_PER_THREAD * threads, run->batch);
    j.strip_rows = atl_min(op->strip_rows, atl_pixel_gate_rows(op, atl_max(SPLIT_PIXELS, plan->positions / wanted)));
    j.strips = atl_ceil_div(op->height, j.strip_rows);
    atl_run_tasks(run, pool_task, &j, run->batch * j.strips);
    atl_run_tasks(run, scale_task, &j, run->batch * j.strips);
}

void atl_pixel_gate_describe(const atl_plan *plan, const atl_pixel_gate_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_text_add(text, "pool: mean and maximum over %lld channels, blocks of %d (%s)\n", (long long)op->channels,
                 ATL_BLOCK, k->channel_pool.variant);
    atl_text_add(text, "gate: %lld x %lld convolution of both planes, sigmoid (%s)\n", (long long)op->k,
                 (long long)op->k, k->conv_gate.variant);
    atl_text_add(text, "scale: sample per task, in strips of %lld rows, or shorter strips when samples are few (%s)\n",
                 (long long)op->strip_rows, k->scale_pixels.variant);
}
