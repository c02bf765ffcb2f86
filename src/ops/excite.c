/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mean (and maximum) over positions, two fully connected layers, a gate, scaling. Whole samples are tasks while there are
 * enough of them, so that the second read comes from the cache; otherwise their channels are split. Outputs past the
 * last-level cache go straight to memory, and tasks are then chains of samples of which the next is reduced while one is
 * scaled.
 */
#include <stdatomic.h>

#include "../arena.h"
#include "../memory.h"
#include "../error.h"
#include "../plan.h"
#include "ops.h"

enum {
    FC_LANES = 16,            /* the fc kernel's packing */
    GROUP_FLOATS = 64 * 1024, /* channels of a split sample's task hold about this much */
    TOGETHER = 8,             /* samples that share a read of weights: twice what the fc kernel takes at once */
    GROUPS_PER_THREAD = 2,
    CHAIN = 16 /* samples of a task at most: other callers get their turn between tasks */
};

atl_status atl_excite_plan(atl_plan *plan, atl_linear *fc1, atl_linear *fc2, int64_t positions, atl_excite_op *op,
                           atl_error *error) {
    op->w1 = atl_linear_pack(fc1, FC_LANES);
    op->w2 = atl_linear_pack(fc2, FC_LANES);
    if (!op->w1 || !op->w2)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for packed weights");
    op->b1 = fc1->bias;
    op->b2 = fc2->bias;
    op->hidden = fc1->m;
    op->channels = fc2->m;
    op->positions = positions;
    op->channel_group = atl_max(1, GROUP_FLOATS / positions);
    atl_status status = atl_reserve_sample(plan, &op->mean, op->channels, 1, 1, error);
    if (status == ATL_OK && op->with_max)
        status = atl_reserve_sample(plan, &op->max, op->channels, 1, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->inner, op->hidden, 1 + op->with_max, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->factor, op->channels, 1, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->group, atl_min(op->channel_group, op->channels) + 2 * FC_LANES,
                                  1 + op->with_max, 1, error);
    return status;
}

/* ---- the pieces, in one sample's workspace ---- */

void atl_excite_squeeze(const atl_kernels *kernels, const atl_excite_op *op, float *workspace, const float *x,
                        int64_t x_row, int64_t from, int64_t count) {
    float *sums = workspace + op->mean + from;
    if (op->with_max)
        kernels->sum_max.fn(x + from * x_row, op->positions, count, x_row, sums, workspace + op->max + from);
    else
        kernels->sum.fn(x + from * x_row, op->positions, count, x_row, sums);
}

/* From the pooled channels of `samples` samples, `step` floats apart; out may be these themselves. */
static void mlp(const atl_kernels *k, const atl_excite_op *op, int64_t samples, int64_t step, float *workspace,
                atl_offset pooled, atl_offset out) {
    float *inner = workspace + op->inner;
    k->fc.fn(workspace + pooled, samples, step, op->channels, op->w1, op->b1, op->hidden, inner, step);
    for (int64_t s = 0; s < samples; s++)
        k->unary.fn(inner + s * step, inner + s * step, op->hidden, op->activation, 0.0f);
    k->fc.fn(inner, samples, step, op->hidden, op->w2, op->b2, op->channels, workspace + out, step);
}

void atl_excite_factors(const atl_kernels *kernels, const atl_excite_op *op, int64_t samples, int64_t step,
                        float *workspace) {
    for (int64_t s = 0; s < samples; s++)
        for (int64_t i = 0; i < op->channels; i++)
            workspace[s * step + op->mean + i] /= (float)op->positions;
    mlp(kernels, op, samples, step, workspace, op->mean, op->factor);
    if (op->with_max)
        mlp(kernels, op, samples, step, workspace, op->max, op->max);
    for (int64_t s = 0; s < samples; s++) {
        float *factor = workspace + s * step + op->factor, *max = workspace + s * step + op->max;
        for (int64_t i = 0; i < op->channels && op->with_max; i++)
            factor[i] += max[i];
        kernels->unary.fn(factor, factor, op->channels, op->gate, op->alpha);
    }
}

/* ---- the whole layer ---- */

typedef struct job {
    const atl_run_state *run;
    const atl_excite_op *op;
    const atl_kernels *kernels;
    atl_schedule schedule;
    int64_t group, groups;   /* channels of a split sample that a task takes, and how many of these there are */
    int64_t parts;           /* of its hidden units */
    int64_t together;        /* samples that share a read of the weights */
    _Atomic int64_t claimed; /* samples that chains have taken */
} job;

/* Sums (and maxima) of channels [from, from + count) of sample b. */
static void squeeze(const job *j, int64_t b, int64_t from, int64_t count) {
    const atl_run_state *run = j->run;
    atl_excite_squeeze(j->kernels, j->op, atl_run_workspace(run, b), atl_run_sample(run, b).x, run->x_row, from, count);
}

static void excite(const job *j, int64_t b, int64_t samples) {
    atl_excite_factors(j->kernels, j->op, samples, j->run->plan->info.workspace_per_sample / (int64_t)sizeof(float),
                       atl_run_workspace(j->run, b));
}

/* Scales sample b; sample `next` is reduced meanwhile, unless it is negative. */
static void scale(const job *j, int64_t b, int64_t next) {
    const atl_run_state *run = j->run;
    atl_sample sample = atl_run_sample(run, b);
    const float *factor = atl_run_workspace(run, b) + j->op->factor;
    const float *ahead = next < 0 ? NULL : atl_run_sample(run, next).x;
    float *sums = next < 0 ? NULL : atl_run_workspace(run, next) + j->op->mean;
    float *maxima = next < 0 || !j->op->with_max ? NULL : atl_run_workspace(run, next) + j->op->max;
    j->kernels->scale.fn(sample.x, sample.y, j->op->positions, j->op->channels, run->x_row, run->y_row, factor,
                         j->schedule.stream && sample.x != sample.y, ahead, sums, maxima);
}

static void one_sample(void *context, int64_t b, int slot) {
    (void)slot;
    const job *j = context;
    squeeze(j, b, 0, j->op->channels);
    excite(j, b, 1);
    scale(j, b, -1);
}

/* A chain of samples, claimed one by one so that no thread ends far behind the others: the next one is reduced while one is
 * scaled. */
static void sample_chain(void *context, int64_t task, int slot) {
    (void)task, (void)slot;
    job *j = context;
    int64_t channels = j->op->channels, batch = j->run->batch;
    int64_t b = atomic_fetch_add(&j->claimed, 1);
    if (b < batch)
        squeeze(j, b, 0, channels);
    for (int length = 1; b < batch; length++) {
        int64_t next = length < CHAIN ? atomic_fetch_add(&j->claimed, 1) : batch;
        excite(j, b, 1);
        scale(j, b, next < batch ? next : -1);
        b = next;
    }
}

/* A few samples that share a read of the weights. */
static void sample_group(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    int64_t channels = j->op->channels, first = task * j->together;
    int64_t count = atl_min(j->together, j->run->batch - first);
    for (int64_t b = first; b < first + count; b++)
        squeeze(j, b, 0, channels);
    excite(j, first, count);
    for (int64_t b = first; b < first + count; b++)
        scale(j, b, -1);
}

/* How many samples share a read of the weights, where these are more than a sample. */
static int64_t samples_together(const atl_run_state *run, const atl_excite_op *op) {
    int64_t fair = run->batch / (GROUPS_PER_THREAD * atl_pool_threads(run->plan->engine->pool));
    return 2 * op->hidden < op->positions ? 1 : atl_max(1, atl_min(TOGETHER, fair));
}

/* ---- a split sample ---- */

static int64_t group_size(const job *j, int64_t group) {
    return atl_min(j->group, j->op->channels - group * j->group);
}

/* The means and maxima of some channels. */
static void squeeze_group(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    int64_t b = task / j->groups, group = task % j->groups, from = group * j->group;
    squeeze(j, b, from, group_size(j, group));
    float *mean = atl_run_workspace(j->run, b) + j->op->mean + from;
    for (int64_t i = 0; i < group_size(j, group); i++)
        mean[i] /= (float)j->op->positions;
}

static int64_t part_start(const job *j, int64_t part) {
    return atl_min(j->op->hidden, atl_ceil_div(j->op->hidden, FC_LANES) * part / j->parts * FC_LANES);
}

/* Some hidden units of the means, and of the maxima. */
static void excite_part(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_excite_op *op = j->op;
    int64_t from = part_start(j, task % j->parts), count = part_start(j, task % j->parts + 1) - from;
    float *workspace = atl_run_workspace(j->run, task / j->parts);
    for (int which = 0; which <= op->with_max; which++) {
        float *inner = workspace + op->inner + which * op->hidden + from;
        j->kernels->fc.fn(workspace + (which ? op->max : op->mean), 1, 0, op->channels, op->w1 + from * op->channels,
                          op->b1 ? op->b1 + from : NULL, count, inner, 0);
        j->kernels->unary.fn(inner, inner, count, op->activation, 0.0f);
    }
}

/* The factors of channels [from, from + count), which is whole lanes of the weights, or up to the last channel. */
static void group_factors(const job *j, const float *workspace, int64_t from, int64_t count, float *factor) {
    const atl_excite_op *op = j->op;
    for (int which = 0; which <= op->with_max; which++)
        j->kernels->fc.fn(workspace + op->inner + which * op->hidden, 1, 0, op->hidden, op->w2 + from * op->hidden,
                          op->b2 ? op->b2 + from : NULL, count, factor + which * count, 0);
    for (int64_t i = 0; i < count && op->with_max; i++)
        factor[i] += factor[count + i];
    j->kernels->unary.fn(factor, factor, count, op->gate, op->alpha);
}

static void scale_group(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_run_state *run = j->run;
    int64_t b = task / j->groups, group = task % j->groups, from = group * j->group;
    int64_t count = group_size(j, group), first = from / FC_LANES * FC_LANES;
    int64_t end = atl_min(atl_round_up(from + count, FC_LANES), j->op->channels);
    atl_sample sample = atl_run_sample(run, b);
    float *factor = atl_run_scratch(run, slot) + j->op->group;
    group_factors(j, atl_run_workspace(run, b), first, end - first, factor);
    j->kernels->scale.fn(sample.x + from * run->x_row, sample.y + from * run->y_row, j->op->positions, count,
                         run->x_row, run->y_row, factor + from - first, j->schedule.stream && sample.x != sample.y,
                         NULL, NULL, NULL);
}

static void split(job *j, int64_t threads) {
    int64_t fair = atl_ceil_div(j->op->channels * j->run->batch, GROUPS_PER_THREAD * threads);
    j->group = atl_min(j->op->channel_group, atl_round_up(fair, FC_LANES));
    j->groups = atl_ceil_div(j->op->channels, j->group);
    j->parts = atl_min(threads, atl_ceil_div(j->op->hidden, FC_LANES));
}

void atl_excite_run(const atl_run_state *run, const atl_excite_op *op) {
    const atl_plan *plan = run->plan;
    int64_t threads = atl_pool_threads(plan->engine->pool);
    job j = {.run = run,
             .op = op,
             .kernels = &plan->engine->kernels,
             .schedule = atl_run_schedule(run),
             .together = samples_together(run, op)};
    if (j.schedule.whole && !j.schedule.stream && j.together > 1) {
        atl_run_tasks(run, sample_group, &j, atl_ceil_div(run->batch, j.together));
        return;
    }
    if (j.schedule.whole && j.schedule.stream) {
        atl_run_tasks(run, sample_chain, &j, atl_ceil_div(run->batch, CHAIN) + threads - 1);
        return;
    }
    if (j.schedule.whole) {
        atl_run_tasks(run, one_sample, &j, run->batch);
        return;
    }
    split(&j, threads);
    atl_run_tasks(run, squeeze_group, &j, run->batch * j.groups);
    atl_run_tasks(run, excite_part, &j, run->batch * j.parts);
    atl_run_tasks(run, scale_group, &j, run->batch * j.groups);
}

void atl_excite_describe(const atl_plan *plan, const atl_excite_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_text_add(text, "squeeze: %s over %lld positions, 16 lanes, restarted every %d (%s)\n",
                 op->with_max ? "mean and maximum" : "mean", (long long)op->positions, ATL_SUM_RESTART,
                 op->with_max ? k->sum_max.variant : k->sum.variant);
    atl_text_add(text, "excite: %s%lld -> %lld -> %lld, blocks of %d (%s, %s)\n", op->with_max ? "the sum of two " : "",
                 (long long)op->channels, (long long)op->hidden, (long long)op->channels, ATL_BLOCK, k->fc.variant,
                 k->unary.variant);
    atl_text_add(text, "scale: sample per task, or groups of %lld channels when samples are few (%s)\n",
                 (long long)op->channel_group, k->scale.variant);
}
