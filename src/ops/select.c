/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Branches of a convolution, weighted per channel by a softmax over them. Whole samples are tasks while there are enough of
 * them: a thread's features then stay where they are from sample to sample, in its caches. Otherwise groups are split, then
 * lines and then the channels of a group, so that as few input planes as possible are copied twice.
 */
#include "../arena.h"
#include "../error.h"
#include "../memory.h"
#include "../plan.h"
#include "ops.h"

enum {
    FC_LANES = 16,            /* the fc kernel's packing */
    GROUP_FLOATS = 32 * 1024, /* channels of a task that blends hold about this much, ... */
    TASK_FLOATS = 2048,       /* ... and no less than this */
    SPLIT_TERMS = 16384       /* products of a sample's factors that are shared, a sample's fewer are not */
};

atl_status atl_select_plan(atl_plan *plan, atl_linear *fc, atl_linear *fcs, atl_select_op *op, atl_error *error) {
    const atl_conv_op *conv = &op->conv;
    op->w1 = atl_linear_pack(fc, FC_LANES);
    op->w2 = atl_linear_pack(fcs, FC_LANES);
    if (!op->w1 || !op->w2)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for packed weights");
    op->b1 = fc->bias;
    op->b2 = fcs->bias;
    op->hidden = fc->m;
    op->positions = conv->out_height * conv->out_width;
    op->channel_group = atl_max(1, GROUP_FLOATS / op->positions);
    plan->info.workspace_samples = atl_pool_threads(plan->engine->pool);
    atl_status status = atl_reserve_sample(plan, &op->features, conv->count, conv->rows, op->positions, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->factor, conv->count, conv->rows, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->mean, conv->rows, 1, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->inner, op->hidden, 1, 1, error);
    return status;
}

typedef struct job {
    const atl_run_state *run;
    const atl_select_op *op;
    const atl_kernels *kernels;
    int stream;
    atl_grid conv, hidden, weigh, blend; /* of split samples: lines x pieces, hidden units, channels twice */
} job;

/* Lines of a piece of sample b's features, in workspace w. */
static void convolve(const job *j, int64_t b, float *w, int slot, int64_t piece, int64_t pieces, int64_t line,
                     int64_t end) {
    const atl_conv_op *conv = &j->op->conv;
    int64_t n = j->op->positions, next = b + atl_pool_threads(j->run->plan->engine->pool);
    atl_conv_lines(j->run, conv, slot, piece, pieces, line, end,
                   &(atl_conv_io){.x = atl_run_sample(j->run, b).x,
                                  .next = next < j->run->batch ? atl_run_sample(j->run, next).x : NULL,
                                  .x_row = j->run->x_row,
                                  .y = w + j->op->features,
                                  .y_filter = conv->rows * n,
                                  .y_row = n});
}

/* Sums of channels [first, first + count) of every branch. */
static void sum(const job *j, float *w, int64_t first, int64_t count) {
    const atl_select_op *op = j->op;
    int64_t n = op->positions;
    for (int64_t f = 0; f < op->conv.count; f++)
        j->kernels->sum.fn(w + op->features + (f * op->conv.rows + first) * n, n, count, n,
                           w + op->factor + f * op->conv.rows + first);
}

/* The means of channels [first, first + count) of the branches' sum. */
static void squeeze(const atl_select_op *op, float *w, int64_t first, int64_t count) {
    const float *sums = w + op->factor;
    for (int64_t c = first; c < first + count; c++) {
        float sum = sums[c];
        for (int64_t f = 1; f < op->conv.count; f++)
            sum += sums[f * op->conv.rows + c];
        w[op->mean + c] = sum / (float)op->positions;
    }
}

/* Hidden units [first, first + count); first is a multiple of FC_LANES. */
static void reduce(const job *j, float *w, int64_t first, int64_t count) {
    const atl_select_op *op = j->op;
    j->kernels->fc.fn(w + op->mean, 1, 0, op->conv.rows, op->w1 + first * op->conv.rows, op->b1 ? op->b1 + first : NULL,
                      count, w + op->inner + first, 0);
}

/* Softmax over the branches, per channel: of `count` channels. NaN among the logits of a channel makes all its factors NaN. */
static void softmax(const job *j, float *a, int64_t count) {
    int64_t rows = j->op->conv.rows, branches = j->op->conv.count;
    for (int64_t c = 0; c < count; c++) {
        float largest = a[c];
        for (int64_t f = 1; f < branches; f++)
            largest = a[f * rows + c] > largest ? a[f * rows + c] : largest;
        for (int64_t f = 0; f < branches; f++)
            a[f * rows + c] -= largest;
    }
    for (int64_t f = 0; f < branches; f++)
        j->kernels->unary.fn(a + f * rows, a + f * rows, count, ATL_UNARY_EXP, 0.0f);
    for (int64_t c = 0; c < count; c++) {
        float sum = a[c];
        for (int64_t f = 1; f < branches; f++)
            sum += a[f * rows + c];
        for (int64_t f = 0; f < branches; f++)
            a[f * rows + c] /= sum;
    }
}

/* The factors of some channels, which are whole groups of the fc kernel's outputs, in every branch. */
static void weigh_channels(const job *j, float *w, int64_t first, int64_t count) {
    const atl_select_op *op = j->op;
    for (int64_t f = 0; f < op->conv.count; f++) {
        int64_t row = f * op->conv.rows + first;
        j->kernels->fc.fn(w + op->inner, 1, 0, op->hidden, op->w2 + row * op->hidden, op->b2 ? op->b2 + row : NULL,
                          count, w + op->factor + row, 0);
    }
    softmax(j, w + op->factor + first, count);
}

/* The factors of a sample, from its means. */
static void weigh(const job *j, float *w) {
    const atl_select_op *op = j->op;
    reduce(j, w, 0, op->hidden);
    j->kernels->fc.fn(w + op->inner, 1, 0, op->hidden, op->w2, op->b2, op->conv.count * op->conv.rows, w + op->factor,
                      0);
    softmax(j, w + op->factor, op->conv.rows);
}

static void blend(const job *j, int64_t b, const float *w, int64_t first, int64_t count) {
    const atl_select_op *op = j->op;
    int64_t n = op->positions, rows = op->conv.rows;
    j->kernels->blend.fn(w + op->features + first * n, atl_run_sample(j->run, b).y + first * j->run->y_row, n, count,
                         op->conv.count, rows * n, n, j->run->y_row, w + op->factor + first, rows, j->stream);
}

/* There is a workspace for every thread. Groups are summed while they are in a cache. */
static void sample_task(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_conv_op *conv = &j->op->conv;
    float *w = atl_run_workspace(j->run, slot);
    for (int64_t group = 0; group < conv->groups; group++) {
        int64_t first, count;
        convolve(j, task, w, slot, group, conv->groups, 0, conv->out_height);
        atl_conv_range(conv, group, conv->groups, &first, &count);
        sum(j, w, first, count);
    }
    squeeze(j->op, w, 0, conv->rows);
    weigh(j, w);
    blend(j, task, w, 0, conv->rows);
}

static void convolve_task(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_cell c = atl_grid_cell(&j->conv, task);
    convolve(j, c.sample, atl_run_workspace(j->run, c.sample), slot, c.row / j->conv.height, j->conv.down, c.column,
             c.column_end);
}

static void sum_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_cell c = atl_grid_cell(&j->blend, task);
    sum(j, atl_run_workspace(j->run, c.sample), c.column, c.column_end - c.column);
    squeeze(j->op, atl_run_workspace(j->run, c.sample), c.column, c.column_end - c.column);
}

static void reduce_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_cell c = atl_grid_cell(&j->hidden, task);
    reduce(j, atl_run_workspace(j->run, c.sample), c.column, c.column_end - c.column);
}

static void weigh_channels_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_cell c = atl_grid_cell(&j->weigh, task);
    weigh_channels(j, atl_run_workspace(j->run, c.sample), c.column, c.column_end - c.column);
}

static void weigh_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    weigh(j, atl_run_workspace(j->run, task));
}

static void blend_task(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_cell c = atl_grid_cell(&j->blend, task);
    blend(j, c.sample, atl_run_workspace(j->run, c.sample), c.column, c.column_end - c.column);
}

/* Outputs of the fc kernel. */
static atl_grid split_outputs(const atl_run_state *run, int64_t outputs) {
    return atl_run_split_columns(run, outputs, FC_LANES, FC_LANES, atl_round_up(outputs, FC_LANES));
}

/* At most as many samples as there are workspaces. */
static void run_split(const atl_run_state *run, const job *whole) {
    job j = *whole;
    const atl_select_op *op = j.op;
    int64_t rows = op->conv.rows, least = atl_max(1, TASK_FLOATS / op->positions);
    j.run = run;
    j.conv = atl_conv_grid(run, &op->conv);
    j.blend = atl_run_split_columns(run, rows, least, least, atl_round_up(op->channel_group, least));
    atl_run_tasks(run, convolve_task, &j, atl_grid_tasks(&j.conv));
    atl_run_tasks(run, sum_task, &j, atl_grid_tasks(&j.blend));
    if (rows % FC_LANES || rows * op->hidden * (op->conv.count + 1) < SPLIT_TERMS) {
        atl_run_tasks(run, weigh_task, &j, run->batch);
    } else {
        j.hidden = split_outputs(run, op->hidden);
        atl_run_tasks(run, reduce_task, &j, atl_grid_tasks(&j.hidden));
        j.weigh = split_outputs(run, rows);
        atl_run_tasks(run, weigh_channels_task, &j, atl_grid_tasks(&j.weigh));
    }
    atl_run_tasks(run, blend_task, &j, atl_grid_tasks(&j.blend));
}

void atl_select_run(const atl_run_state *run, const atl_select_op *op) {
    const atl_plan *plan = run->plan;
    int64_t threads = atl_pool_threads(plan->engine->pool);
    atl_schedule schedule = atl_run_schedule(run);
    job j = {run, op, &plan->engine->kernels, schedule.stream, {0}, {0}, {0}, {0}};
    if (schedule.whole && run->batch >= threads) {
        atl_run_tasks(run, sample_task, &j, run->batch);
        return;
    }
    for (int64_t first = 0; first < run->batch; first += threads) {
        atl_run_state part = atl_run_part(run, first, atl_min(threads, run->batch - first));
        run_split(&part, &j);
    }
}

void atl_select_describe(const atl_plan *plan, const atl_select_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_conv_describe(plan, &op->conv, text);
    atl_text_add(text,
                 "weigh: mean of %lld positions, %lld -> %lld -> %lld x %lld, softmax over the last (%s, %s, %s)\n",
                 (long long)op->positions, (long long)op->conv.rows, (long long)op->hidden, (long long)op->conv.rows,
                 (long long)op->conv.count, k->sum.variant, k->fc.variant, k->unary.variant);
    atl_text_add(text, "select: sample per task, or groups of %lld channels when samples are few (%s)\n",
                 (long long)op->channel_group, k->blend.variant);
}
