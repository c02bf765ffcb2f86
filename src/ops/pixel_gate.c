/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mean and maximum over channels, a convolution of the two planes, a gate per pixel, scaling. Whole samples are tasks while
 * there are enough of them, and go by strips of image rows: a strip is scaled as soon as the next one is pooled, so that the
 * second read comes from a cache. Where input and output exceed the last-level cache, strips are long, outputs go straight to
 * memory and the next strip but one is pooled meanwhile. Few samples are split: pooled and gated by image rows, then scaled by
 * about the same pixels, which the thread is likely to have in its cache, or by channels where threads are many for these.
 */
#include <stdatomic.h>
#include <string.h>

#include "../arena.h"
#include "../error.h"
#include "../memory.h"
#include "../plan.h"
#include "ops.h"

enum {
    STRIP_FLOATS = 64 * 1024, /* of a strip, all channels, ... */
    STRIP_PIXELS = 1024,      /* ... but rows of this many at least, which memory likes better, ... */
    LEAST_PIXELS = 16,        /* ... or of this many where strips have to feed every thread: a cache line */
    TASK_FLOATS = 2048,       /* of scaled channels, at least */
    LINE = ATL_ALIGN / (int)sizeof(float),
    LINES_PER_THREAD = 8, /* of pixels, at least, where these are split */
    STREAM_PIXELS = 512,  /* Likewise when outputs go straight to memory; at most STRIP_PIXELS then, ... */
    STREAM_PLANE = 4096,  /* ... or a whole plane of up to this many */
    TASK_PIXELS = 32,     /* of all channels take as long as a task's start */
    CHAIN = 16            /* samples of a task at most: other callers get their turn between tasks */
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
    int64_t stream_pixels = atl_min(atl_max(STREAM_PIXELS, STRIP_FLOATS / channels), STRIP_PIXELS);
    op->strip_rows = atl_pixel_gate_rows(op, atl_max(STRIP_PIXELS, STRIP_FLOATS / channels));
    op->stream_rows = height * width <= STREAM_PLANE ? height : atl_pixel_gate_rows(op, stream_pixels);
    atl_status status = atl_reserve_sample(plan, &op->planes, 2, height + k - 1, op->row, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->mean, height, width, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->max, height, width, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->sum, op->stream_rows, width, 1, error);
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

/* Pooled rows into their planes. */
static void place_rows(const atl_pixel_gate_op *op, float *workspace, int64_t from, int64_t end) {
    float *planes = workspace + op->planes;
    place(op, workspace + op->mean, planes, from, end);
    place(op, workspace + op->max, planes + (op->height + op->k - 1) * op->row, from, end);
}

void atl_pixel_gate_pool(const atl_kernels *kernels, const atl_pixel_gate_op *op, float *workspace, const float *x,
                         int64_t x_row, const float *scale, int64_t from, int64_t end) {
    int64_t at = from * op->width, count = (end - from) * op->width;
    kernels->channel_pool.fn(x + at, count, op->channels, x_row, scale, workspace + op->mean + at,
                             workspace + op->max + at);
    place_rows(op, workspace, from, end);
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
    int stream;
    int64_t strip_rows, strips; /* of a sample */
    atl_grid pool, scale;       /* of split samples: image rows; pixels or channels, of all of the other */
    int by_pixels;
    _Atomic int64_t claimed; /* samples that chains have taken */
} job;

/* A strip of a sample; b = the batch's size: none. */
typedef struct strip {
    int64_t b, index;
} strip;

static int64_t first_row(const job *j, strip s) {
    return s.index * j->strip_rows;
}

static int64_t end_row(const job *j, strip s) {
    return atl_min((s.index + 1) * j->strip_rows, j->op->height);
}

static void pool_strip(const job *j, strip s) {
    const atl_run_state *run = j->run;
    if (s.b < run->batch)
        atl_pixel_gate_pool(j->kernels, j->op, atl_run_workspace(run, s.b), atl_run_sample(run, s.b).x, run->x_row,
                            NULL, first_row(j, s), end_row(j, s));
}

static void gate_strip(const job *j, strip s) {
    atl_pixel_gate_factors(j->kernels, j->op, atl_run_workspace(j->run, s.b), first_row(j, s), end_row(j, s));
}

/* Scales a gated strip while the one `ahead` is pooled, unless there is none. */
static void scale_strip(const job *j, strip s, strip ahead, int slot) {
    const atl_pixel_gate_op *op = j->op;
    const atl_run_state *run = j->run;
    atl_sample sample = atl_run_sample(run, s.b);
    int64_t at = first_row(j, s) * op->width;
    atl_scale_pixels_args args = {.x = sample.x + at,
                                  .y = sample.y + at,
                                  .n = end_row(j, s) * op->width - at,
                                  .channels = op->channels,
                                  .x_stride = run->x_row,
                                  .y_stride = run->y_row,
                                  .factor = atl_run_workspace(run, s.b) + op->mean + at,
                                  .stream = j->stream && sample.x != sample.y};
    if (ahead.b < run->batch) {
        float *workspace = atl_run_workspace(run, ahead.b);
        int64_t pooled = first_row(j, ahead) * op->width;
        args.ahead = atl_run_sample(run, ahead.b).x + pooled;
        args.ahead_n = end_row(j, ahead) * op->width - pooled;
        args.sum = atl_run_scratch(run, slot) + op->sum;
        args.mean = workspace + op->mean + pooled;
        args.max = workspace + op->max + pooled;
    }
    j->kernels->scale_pixels.fn(&args);
    if (args.ahead)
        place_rows(op, atl_run_workspace(run, ahead.b), first_row(j, ahead), end_row(j, ahead));
}

/* The strip after this one: the sample's next, or the first of a sample that no chain has taken yet. */
static strip following(job *j, strip s, int *taken) {
    int64_t batch = j->run->batch;
    if (s.index + 1 < j->strips)
        return (strip){s.b, s.index + 1};
    if (s.b == batch || *taken == CHAIN)
        return (strip){batch, j->strips};
    ++*taken;
    s.b = atomic_fetch_add(&j->claimed, 1);
    return (strip){atl_min(s.b, batch), s.b < batch ? 0 : j->strips};
}

/* Samples claimed one by one, so that no thread ends far behind the others. A strip's convolution reaches no further than into
 * the next: strips have at least as many rows as it reaches. */
static void sample_chain(void *context, int64_t task, int slot) {
    (void)task;
    job *j = context;
    int64_t batch = j->run->batch;
    int taken = 0, ahead = (j->strips > 1) + j->stream; /* strips between the one pooled and the one scaled */
    strip queue[3], last = {-1, j->strips}, none = {batch, 0};
    for (int i = 0; i < ahead; i++)
        pool_strip(j, queue[i] = last = following(j, last, &taken));
    for (;;) {
        queue[ahead] = last = following(j, last, &taken);
        if (!j->stream)
            pool_strip(j, last);
        if (queue[0].b == batch)
            return;
        gate_strip(j, queue[0]);
        scale_strip(j, queue[0], j->stream ? last : none, slot);
        queue[0] = queue[1], queue[1] = queue[2];
    }
}

static void pool_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_run_state *run = j->run;
    const atl_cell c = atl_grid_cell(&j->pool, task);
    atl_pixel_gate_pool(j->kernels, j->op, atl_run_workspace(run, c.sample), atl_run_sample(run, c.sample).x,
                        run->x_row, NULL, c.column, c.column_end);
}

static void gate_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_cell c = atl_grid_cell(&j->pool, task);
    atl_pixel_gate_factors(j->kernels, j->op, atl_run_workspace(j->run, c.sample), c.column, c.column_end);
}

static void scale_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_run_state *run = j->run;
    const atl_cell c = atl_grid_cell(&j->scale, task);
    atl_sample sample = atl_run_sample(run, c.sample);
    int64_t count = c.column_end - c.column, pixel = j->by_pixels ? c.column : 0, channel = c.column - pixel;
    j->kernels->scale_pixels.fn(
        &(atl_scale_pixels_args){.x = sample.x + channel * run->x_row + pixel,
                                 .y = sample.y + channel * run->y_row + pixel,
                                 .n = j->by_pixels ? count : run->plan->positions,
                                 .channels = j->by_pixels ? j->op->channels : count,
                                 .x_stride = run->x_row,
                                 .y_stride = run->y_row,
                                 .factor = atl_run_workspace(run, c.sample) + j->op->mean + pixel,
                                 .stream = j->stream && sample.x != sample.y});
}

atl_grid atl_pixel_gate_grid(const atl_run_state *run, const atl_pixel_gate_op *op, int64_t most) {
    int64_t least = atl_min(op->height, atl_ceil_div(LEAST_PIXELS, op->width));
    return atl_run_split_costly(run, op->height, 1, least, atl_max(least, most), atl_ceil_div(TASK_PIXELS, op->width));
}

/* Pixels by whole cache lines: no two threads write the same one. */
static void split_scaling(job *j) {
    const atl_run_state *run = j->run;
    int64_t positions = run->plan->positions, channels = j->op->channels;
    int64_t threads = atl_pool_threads(run->plan->engine->pool), lines = run->batch * (positions / LINE);
    j->by_pixels = lines >= LINES_PER_THREAD * threads;
    int64_t least = atl_max(1, TASK_FLOATS / positions);
    j->scale = j->by_pixels
                   ? atl_run_split_costly(run, positions, LINE, LINE, atl_round_up(positions, LINE), TASK_PIXELS)
                   : atl_run_split_columns(run, channels, least, least, atl_round_up(channels, least));
}

/* Few samples. */
static void run_split(job *j) {
    const atl_run_state *run = j->run;
    j->pool = atl_pixel_gate_grid(run, j->op, j->op->strip_rows);
    split_scaling(j);
    atl_run_tasks(run, pool_task, j, atl_grid_tasks(&j->pool));
    atl_run_tasks(run, gate_task, j, atl_grid_tasks(&j->pool));
    atl_run_tasks(run, scale_task, j, atl_grid_tasks(&j->scale));
}

void atl_pixel_gate_run(const atl_run_state *run, const atl_pixel_gate_op *op) {
    const atl_plan *plan = run->plan;
    atl_schedule schedule = atl_run_schedule(run);
    job j = {.run = run, .op = op, .kernels = &plan->engine->kernels, .stream = schedule.stream};
    if (!schedule.whole) {
        run_split(&j);
        return;
    }
    j.strip_rows = j.stream ? op->stream_rows : op->strip_rows;
    j.strips = atl_ceil_div(op->height, j.strip_rows);
    atl_run_tasks(run, sample_chain, &j, atl_ceil_div(run->batch, CHAIN) + atl_pool_threads(plan->engine->pool) - 1);
}

void atl_pixel_gate_describe(const atl_plan *plan, const atl_pixel_gate_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_text_add(text, "pool: mean and maximum over %lld channels, blocks of %d (%s)\n", (long long)op->channels,
                 ATL_BLOCK, k->channel_pool.variant);
    atl_text_add(text, "gate: %lld x %lld convolution of both planes, sigmoid (%s)\n", (long long)op->k,
                 (long long)op->k, k->conv_gate.variant);
    atl_text_add(
        text,
        "scale: sample per task, in strips of %lld rows, of %lld where the run exceeds the last-level cache; by "
        "pixels or channels when samples are few (%s)\n",
        (long long)op->strip_rows, (long long)op->stream_rows, k->scale_pixels.variant);
}
