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
    NEAR_FLOATS = 512 * 1024, /* samples of together as many are scaled last part first, ... */
    PARTS = 3,                /* ... in so many */
    TOGETHER = 8,             /* samples that share a read of weights: as many as the fc kernel takes at once */
    GROUPS_PER_THREAD = 2,
    UNIT_FLOATS = 512,   /* where channels hold as much, any few of them are a task, ... */
    FEW = 4,             /* ... so many */
    FACTORS = 256,       /* of a split sample's task at a time; a multiple of FC_LANES */
    SPLIT_TERMS = 32768, /* products of a sample's factors that are shared, a sample's fewer are not */
    CHAIN = 16           /* samples of a task at most: other callers get their turn between tasks */
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
    op->channel_unit = positions < UNIT_FLOATS ? FC_LANES : FEW;
    op->channel_group = atl_max(1, GROUP_FLOATS / positions / op->channel_unit) * op->channel_unit;
    atl_status status = atl_reserve_sample(plan, &op->mean, op->channels, 1, 1, error);
    if (status == ATL_OK && op->with_max)
        status = atl_reserve_sample(plan, &op->max, op->channels, 1, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->inner, op->hidden, 1, 1, error);
    if (status == ATL_OK && op->with_max)
        status = atl_reserve_sample(plan, &op->inner_max, op->hidden, 1, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->factor, op->channels, 1, 1, error);
    return status;
}

/* ---- the pieces, in one sample's workspace ---- */

/* Means of channels [from, from + count), from their sums. */
static void divide(const atl_excite_op *op, float *workspace, int64_t from, int64_t count) {
    float *means = workspace + op->mean + from;
    for (int64_t i = 0; i < count; i++)
        means[i] /= (float)op->positions;
}

void atl_excite_squeeze(const atl_kernels *kernels, const atl_excite_op *op, float *workspace, const float *x,
                        int64_t x_row, int64_t from, int64_t count) {
    float *sums = workspace + op->mean + from;
    if (op->with_max)
        kernels->sum_max.fn(x + from * x_row, op->positions, count, x_row, sums, workspace + op->max + from);
    else
        kernels->sum.fn(x + from * x_row, op->positions, count, x_row, sums);
    divide(op, workspace, from, count);
}

/* Hidden units [first, first + count) of samples that are `step` floats apart; first is a multiple of FC_LANES, here and
 * below. */
static void hidden_units(const atl_kernels *k, const atl_excite_op *op, int64_t samples, int64_t step, float *workspace,
                         int64_t first, int64_t count) {
    const atl_offset pooled[] = {op->mean, op->max}, inner[] = {op->inner, op->inner_max};
    const float *w = op->w1 + first * op->channels, *bias = op->b1 ? op->b1 + first : NULL;
    for (int i = 0; i < 1 + op->with_max; i++) {
        float *to = workspace + inner[i] + first;
        k->fc.fn(workspace + pooled[i], samples, step, op->channels, w, bias, count, to, step);
        for (int64_t s = 0; s < samples; s++)
            k->unary.fn(to + s * step, to + s * step, count, op->activation, 0.0f);
    }
}

/* Factors of channels [first, first + count); `other` is as large. Both are `to_step` floats apart. */
static void channel_factors(const atl_kernels *k, const atl_excite_op *op, int64_t samples, int64_t step,
                            const float *workspace, int64_t first, int64_t count, float *to, float *other,
                            int64_t to_step) {
    const float *w = op->w2 + first * op->hidden, *bias = op->b2 ? op->b2 + first : NULL;
    k->fc.fn(workspace + op->inner, samples, step, op->hidden, w, bias, count, to, to_step);
    if (op->with_max)
        k->fc.fn(workspace + op->inner_max, samples, step, op->hidden, w, bias, count, other, to_step);
    for (int64_t s = 0; s < samples; s++, to += to_step, other += to_step) {
        for (int64_t i = 0; i < count && op->with_max; i++)
            to[i] += other[i];
        k->unary.fn(to, to, count, op->gate, op->alpha);
    }
}

void atl_excite_factors(const atl_kernels *kernels, const atl_excite_op *op, int64_t samples, int64_t step,
                        float *workspace) {
    hidden_units(kernels, op, samples, step, workspace, 0, op->hidden);
    channel_factors(kernels, op, samples, step, workspace, 0, op->channels, workspace + op->factor, workspace + op->max,
                    step);
}

/* ---- factors as stages of their own ---- */

typedef struct factors_job {
    const atl_run_state *run;
    const atl_excite_op *op;
    const atl_kernels *kernels;
    atl_grid grid;
} factors_job;

static void hidden_task(void *context, int64_t task, int slot) {
    (void)slot;
    const factors_job *j = context;
    const atl_cell c = atl_grid_cell(&j->grid, task);
    hidden_units(j->kernels, j->op, 1, 0, atl_run_workspace(j->run, c.sample), c.column, c.column_end - c.column);
}

static void factors_task(void *context, int64_t task, int slot) {
    (void)slot;
    const factors_job *j = context;
    const atl_cell c = atl_grid_cell(&j->grid, task);
    float *workspace = atl_run_workspace(j->run, c.sample);
    channel_factors(j->kernels, j->op, 1, 0, workspace, c.column, c.column_end - c.column,
                    workspace + j->op->factor + c.column, workspace + j->op->max + c.column, 0);
}

static void all_factors_task(void *context, int64_t b, int slot) {
    (void)slot;
    const factors_job *j = context;
    atl_excite_factors(j->kernels, j->op, 1, 0, atl_run_workspace(j->run, b));
}

static void run_hidden(factors_job *j) {
    int64_t most = atl_round_up(j->op->hidden, FC_LANES);
    j->grid = atl_run_split_columns(j->run, j->op->hidden, FC_LANES, FC_LANES, most);
    atl_run_tasks(j->run, hidden_task, j, atl_grid_tasks(&j->grid));
}

void atl_excite_run_factors(const atl_run_state *run, const atl_excite_op *op) {
    factors_job j = {run, op, &run->plan->engine->kernels, {0}};
    if (2 * (1 + op->with_max) * op->channels * op->hidden < SPLIT_TERMS) {
        atl_run_tasks(run, all_factors_task, &j, run->batch);
        return;
    }
    run_hidden(&j);
    j.grid = atl_run_split_columns(run, op->channels, FC_LANES, FC_LANES, atl_round_up(op->channels, FC_LANES));
    atl_run_tasks(run, factors_task, &j, atl_grid_tasks(&j.grid));
}

/* ---- the whole layer ---- */

typedef struct job {
    const atl_run_state *run;
    const atl_excite_op *op;
    const atl_kernels *kernels;
    atl_schedule schedule;
    atl_grid grid;           /* of channels, of split samples */
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

/* Scales channels [from, from + count) of sample b; those of sample `next` are reduced meanwhile, unless it is negative. */
static void scale(const job *j, int64_t b, int64_t from, int64_t count, int64_t next) {
    const atl_run_state *run = j->run;
    atl_sample sample = atl_run_sample(run, b);
    const float *factor = atl_run_workspace(run, b) + j->op->factor + from;
    const float *ahead = next < 0 ? NULL : atl_run_sample(run, next).x + from * run->x_row;
    float *sums = next < 0 ? NULL : atl_run_workspace(run, next) + j->op->mean + from;
    float *maxima = next < 0 || !j->op->with_max ? NULL : atl_run_workspace(run, next) + j->op->max + from;
    j->kernels->scale.fn(sample.x + from * run->x_row, sample.y + from * run->y_row, j->op->positions, count,
                         run->x_row, run->y_row, factor, j->schedule.stream && sample.x != sample.y, ahead, sums,
                         maxima);
    if (next >= 0)
        divide(j->op, atl_run_workspace(run, next), from, count);
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
        scale(j, b, 0, channels, next < batch ? next : -1);
        b = next;
    }
}

/* Scales all of sample b. The part that was reduced last, which is in a nearer cache than others, comes first. */
static void scale_back(const job *j, int64_t b) {
    int64_t step = atl_round_up(atl_ceil_div(j->op->channels, PARTS), FC_LANES);
    for (int64_t end = j->op->channels, from; end > 0; end = from) {
        from = (end - 1) / step * step;
        scale(j, b, from, end - from, -1);
    }
}

/* Samples that share a read of the weights. */
static void sample_group(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    int64_t channels = j->op->channels, first = task * j->together;
    int64_t count = atl_min(j->together, j->run->batch - first);
    int near = count * channels * j->op->positions <= NEAR_FLOATS;
    for (int64_t b = first; b < first + count; b++)
        squeeze(j, b, 0, channels);
    excite(j, first, count);
    for (int64_t i = 0; i < count; i++)
        if (near)
            scale_back(j, first + count - 1 - i);
        else
            scale(j, first + i, 0, channels, -1);
}

/* How many samples share a read of the weights, where these are more than a sample. */
static int64_t samples_together(const atl_run_state *run, const atl_excite_op *op) {
    int64_t fair = run->batch / (GROUPS_PER_THREAD * atl_pool_threads(run->plan->engine->pool));
    return 2 * op->hidden < op->positions ? 1 : atl_max(1, atl_min(TOGETHER, fair));
}

static void squeeze_group(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_cell c = atl_grid_cell(&j->grid, task);
    squeeze(j, c.sample, c.column, c.column_end - c.column);
}

/* Channels find their factors themselves: those of whole groups of the fc kernel's outputs that they are in. */
static void scale_group(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_run_state *run = j->run;
    const atl_cell c = atl_grid_cell(&j->grid, task);
    atl_sample sample = atl_run_sample(run, c.sample);
    float factors[FACTORS], others[FACTORS];
    for (int64_t from = c.column, end; from < c.column_end; from = end) {
        int64_t first = from / FC_LANES * FC_LANES;
        end = atl_min(c.column_end, first + FACTORS);
        channel_factors(j->kernels, j->op, 1, 0, atl_run_workspace(run, c.sample), first, end - first, factors, others,
                        0);
        j->kernels->scale.fn(sample.x + from * run->x_row, sample.y + from * run->y_row, j->op->positions, end - from,
                             run->x_row, run->y_row, factors + (from - first),
                             j->schedule.stream && sample.x != sample.y, NULL, NULL, NULL);
    }
}

static void run_split(job *j) {
    const atl_run_state *run = j->run;
    factors_job factors = {run, j->op, j->kernels, {0}};
    j->grid =
        atl_run_split_columns(run, j->op->channels, j->op->channel_unit, j->op->channel_unit, j->op->channel_group);
    atl_run_tasks(run, squeeze_group, j, atl_grid_tasks(&j->grid));
    run_hidden(&factors);
    atl_run_tasks(run, scale_group, j, atl_grid_tasks(&j->grid));
}

void atl_excite_run(const atl_run_state *run, const atl_excite_op *op) {
    const atl_plan *plan = run->plan;
    job j = {run, op, &plan->engine->kernels, atl_run_schedule(run), {0}, samples_together(run, op), 0};
    if (j.schedule.whole && j.schedule.stream) {
        int64_t threads = atl_pool_threads(plan->engine->pool);
        atl_run_tasks(run, sample_chain, &j, atl_ceil_div(run->batch, CHAIN) + threads - 1);
        return;
    }
    if (j.schedule.whole) {
        atl_run_tasks(run, sample_group, &j, atl_ceil_div(run->batch, j.together));
        return;
    }
    run_split(&j);
}

void atl_excite_describe(const atl_plan *plan, const atl_excite_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_text_add(text, "squeeze: %s over %lld positions, 16 lanes, restarted every %d (%s)\n",
                 op->with_max ? "mean and maximum" : "mean", (long long)op->positions, ATL_SUM_RESTART,
                 op->with_max ? k->sum_max.variant : k->sum.variant);
    atl_text_add(text, "excite: %s%lld -> %lld -> %lld, blocks of %d (%s, %s)\n", op->with_max ? "the sum of two " : "",
                 (long long)op->channels, (long long)op->hidden, (long long)op->channels, ATL_BLOCK, k->fc.variant,
                 k->unary.variant);
    atl_text_add(text, "scale: sample per task, or groups of up to %lld channels when samples are few (%s)\n",
                 (long long)op->channel_group, k->scale.variant);
}
