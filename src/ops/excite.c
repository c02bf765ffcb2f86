/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mean over positions, two fully connected layers, a gate, scaling. Whole samples are tasks while there are enough of them,
 * so that the second read comes from the cache; otherwise their channels are split. Outputs past the last-level cache
 * go straight to memory, and tasks are then runs of samples of which the next is summed while one is scaled.
 */
#include "../arena.h"
#include "../memory.h"
#include "../error.h"
#include "../plan.h"
#include "ops.h"

enum {
    FC_LANES = 16,              /* the fc kernel's packing */
    GROUP_FLOATS = 64 * 1024,   /* channels of a split sample's task hold about this much */
    STREAM_MIN_POSITIONS = 256, /* below, rows are mostly ragged ends */
    RUNS_PER_THREAD = 2
};

atl_status atl_excite_plan(atl_plan *plan, atl_linear *fc1, atl_linear *fc2, atl_excite_op *op, atl_error *error) {
    op->w1 = atl_linear_pack(fc1, FC_LANES);
    op->w2 = atl_linear_pack(fc2, FC_LANES);
    if (!op->w1 || !op->w2)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for packed weights");
    op->b1 = fc1->bias;
    op->b2 = fc2->bias;
    op->hidden = fc1->m;
    op->channel_group = atl_max(1, GROUP_FLOATS / plan->positions);
    atl_status status = atl_reserve_sample(plan, &op->mean, plan->channels, 1, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->inner, op->hidden, 1, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->factor, plan->channels, 1, 1, error);
    return status;
}

typedef struct job {
    const atl_run_state *run;
    const atl_excite_op *op;
    const atl_kernels *kernels;
    int stream;
    int64_t groups;     /* of a split sample */
    int64_t run_length; /* samples of a task otherwise */
} job;

/* Sums of channels [from, from + count) of sample b. */
static void squeeze(const job *j, int64_t b, int64_t from, int64_t count) {
    const atl_run_state *run = j->run;
    j->kernels->sum.fn(atl_run_sample(run, b).x + from * run->x_row, run->plan->positions, count, run->x_row,
                       atl_run_workspace(run, b) + j->op->mean + from);
}

/* The factor of every channel of sample b, from its sums. */
static void excite(const job *j, int64_t b) {
    const atl_excite_op *op = j->op;
    const atl_kernels *k = j->kernels;
    int64_t channels = j->run->plan->channels;
    float *w = atl_run_workspace(j->run, b);
    for (int64_t i = 0; i < channels; i++)
        w[op->mean + i] /= (float)j->run->plan->positions;
    k->fc.fn(w + op->mean, channels, op->w1, op->b1, op->hidden, w + op->inner);
    k->unary.fn(w + op->inner, w + op->inner, op->hidden, op->activation, 0.0f);
    k->fc.fn(w + op->inner, op->hidden, op->w2, op->b2, channels, w + op->factor);
    k->unary.fn(w + op->factor, w + op->factor, channels, op->gate, op->alpha);
}

/* Scales channels [from, from + count) of sample b; those of sample `next` are summed meanwhile, unless it is negative. */
static void scale(const job *j, int64_t b, int64_t from, int64_t count, int64_t next) {
    const atl_run_state *run = j->run;
    atl_sample sample = atl_run_sample(run, b);
    const float *factor = atl_run_workspace(run, b) + j->op->factor + from;
    const float *ahead = next < 0 ? NULL : atl_run_sample(run, next).x + from * run->x_row;
    float *sums = next < 0 ? NULL : atl_run_workspace(run, next) + j->op->mean + from;
    j->kernels->scale.fn(sample.x + from * run->x_row, sample.y + from * run->y_row, run->plan->positions, count,
                         run->x_row, run->y_row, factor, j->stream && sample.x != sample.y, ahead, sums, NULL);
}

/* A run of samples, the next one summed while one is scaled. */
static void sample_run(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    int64_t channels = j->run->plan->channels, first = task * j->run_length;
    int64_t end = atl_min(first + j->run_length, j->run->batch);
    squeeze(j, first, 0, channels);
    for (int64_t b = first; b < end; b++) {
        excite(j, b);
        scale(j, b, 0, channels, b + 1 < end ? b + 1 : -1);
    }
}

static int64_t group_size(const job *j, int64_t group) {
    return atl_min(j->op->channel_group, j->run->plan->channels - group * j->op->channel_group);
}

static void squeeze_group(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    int64_t group = task % j->groups;
    squeeze(j, task / j->groups, group * j->op->channel_group, group_size(j, group));
}

static void excite_sample(void *context, int64_t task, int slot) {
    (void)slot;
    excite(context, task);
}

static void scale_group(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    int64_t group = task % j->groups;
    scale(j, task / j->groups, group * j->op->channel_group, group_size(j, group), -1);
}

void atl_excite_run(const atl_run_state *run, const atl_excite_op *op) {
    const atl_plan *plan = run->plan;
    int64_t threads = atl_pool_threads(plan->engine->pool);
    int64_t output = run->batch * plan->channels * plan->positions * (int64_t)sizeof(float);
    job j = {run,
             op,
             &plan->engine->kernels,
             output > atl_engine_cache(plan->engine) && plan->positions >= STREAM_MIN_POSITIONS,
             atl_ceil_div(plan->channels, op->channel_group),
             1};
    if (j.stream)
        j.run_length = atl_max(1, run->batch / (RUNS_PER_THREAD * threads));
    if (threads == 1 || plan->small || run->batch % threads == 0 || run->batch >= 4 * threads) {
        atl_run_tasks(run, sample_run, &j, atl_ceil_div(run->batch, j.run_length));
        return;
    }
    atl_run_tasks(run, squeeze_group, &j, run->batch * j.groups);
    atl_run_tasks(run, excite_sample, &j, run->batch);
    atl_run_tasks(run, scale_group, &j, run->batch * j.groups);
}

void atl_excite_describe(const atl_plan *plan, const atl_excite_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_text_add(text, "squeeze: mean over %lld positions, 16 lanes, restarted every %d (%s)\n",
                 (long long)plan->positions, ATL_SUM_RESTART, k->sum.variant);
    atl_text_add(text, "excite: %lld -> %lld -> %lld, blocks of %d (%s, %s)\n", (long long)plan->channels,
                 (long long)op->hidden, (long long)plan->channels, ATL_BLOCK, k->fc.variant, k->unary.variant);
    atl_text_add(text, "scale: sample per task, or groups of %lld channels when samples are few (%s)\n",
                 (long long)op->channel_group, k->scale.variant);
}
