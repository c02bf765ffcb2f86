/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cpu.h"
#include "error.h"
#include "memory.h"
#include "options.h"
#include "plan.h"
#include "sync.h"

void atl_run_options_init(atl_run_options *options) {
    if (options)
        *options = (atl_run_options){.size = sizeof *options};
}

/* ---- what stages ask ---- */

/* Any pointer may be NULL still: atl_check_run asks as well. */
static atl_sample dense_sample(const atl_run_state *run, int64_t b) {
    const atl_sample *f = &run->first;
    return (atl_sample){.x = f->x ? f->x + b * run->x_stride : NULL,
                        .y = f->y ? f->y + b * run->y_stride : NULL,
                        .map = f->map ? f->map + b * run->map_stride : NULL,
                        .key = f->key ? f->key + b * run->key_stride : NULL,
                        .value = f->value ? f->value + b * run->value_stride : NULL,
                        .mask = f->mask ? f->mask + b * run->mask.sample : NULL,
                        .additive = f->additive ? f->additive + b * run->additive.sample : NULL};
}

atl_sample atl_run_given(const atl_run_state *run, int64_t b) {
    atl_sample sample = {0};
    if (!run->samples)
        return dense_sample(run, b);
    memcpy(&sample, run->samples + (size_t)b * run->sample_size,
           run->sample_size < sizeof sample ? run->sample_size : sizeof sample);
    return sample;
}

atl_sample atl_run_sample(const atl_run_state *run, int64_t b) {
    atl_sample sample = atl_run_given(run, b);
    if (run->plan->heads) {
        sample.key = sample.key ? sample.key : sample.x;
        sample.value = sample.value ? sample.value : sample.x;
    }
    return sample;
}

atl_run_state atl_run_part(const atl_run_state *run, int64_t first, int64_t count) {
    atl_run_state part = *run;
    part.batch = count;
    if (run->samples)
        part.samples = run->samples + (size_t)first * run->sample_size;
    else
        part.first = atl_run_sample(run, first);
    return part;
}

float *atl_run_workspace(const atl_run_state *run, int64_t b) {
    const atl_plan_info *info = &run->plan->info;
    return (float *)(run->workspace + info->workspace_fixed + b * info->workspace_per_sample);
}

float *atl_run_scratch(const atl_run_state *run, int slot) {
    int threads = atl_pool_threads(run->plan->engine->pool);
    return (float *)(run->workspace + run->plan->info.workspace_fixed / threads * slot);
}

/* Below, rows are mostly ragged ends of cache lines. */
enum { STREAM_MIN_POSITIONS = 256 };

static int64_t output_bytes(const atl_run_state *run) {
    return run->total * run->plan->channels * run->plan->positions * (int64_t)sizeof(float);
}

atl_schedule atl_run_schedule(const atl_run_state *run) {
    const atl_plan *plan = run->plan;
    int64_t threads = atl_pool_threads(plan->engine->pool), batch = run->batch;
    return (atl_schedule){
        .whole = threads == 1 || plan->small || batch % threads == 0 || batch >= ATL_ENOUGH_SAMPLES * threads,
        .stream = 2 * output_bytes(run) > atl_engine_cache(plan->engine) && plan->positions >= STREAM_MIN_POSITIONS};
}

int atl_run_streams(const atl_run_state *run, const float *y) {
    return 4 * output_bytes(run) > atl_engine_cache(run->plan->engine) &&
           ((uintptr_t)y | (uintptr_t)run->y_row * sizeof(float)) % ATL_ALIGN == 0;
}

/* ---- the workspace ---- */

static atl_status check_workspace(const atl_run_options *options, int64_t size, atl_error *error) {
    if ((uintptr_t)options->workspace % ATL_ALIGN)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "workspace: misaligned (expected a multiple of %d, got %p)",
                        ATL_ALIGN, options->workspace);
    if (options->workspace_size < size)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "workspace: too small (expected %lld bytes, got %lld)",
                        (long long)size, (long long)options->workspace_size);
    return ATL_OK;
}

static void compute(const atl_run_state *run) {
    atl_fp_state caller = atl_fp_enter();
    run->plan->layer->kind->run(run);
    atl_fp_leave(caller);
}

static atl_status run_with_workspace(atl_run_state *run, const atl_run_options *options, atl_error *error) {
    int64_t size = atl_plan_workspace_size(run->plan, run->batch);
    if (size < 0)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "batch: the workspace of %lld samples cannot be represented",
                        (long long)run->batch);
    if (options->workspace) {
        atl_status status = check_workspace(options, size, error);
        if (status != ATL_OK)
            return status;
        run->workspace = options->workspace;
        compute(run);
        return ATL_OK;
    }
    atl_engine *engine = run->plan->engine;
    atl_workspace *workspace = atl_engine_borrow(engine, size);
    if (!workspace)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "run: no memory for a workspace of %lld bytes", (long long)size);
    run->workspace = workspace->memory;
    compute(run);
    atl_engine_return(engine, workspace);
    return ATL_OK;
}

/* ---- entry ---- */

atl_status atl_bind_map(atl_run_state *run, int has_map, const atl_run_options *options, atl_error *error) {
    int64_t queries = atl_map_queries(run->plan);
    if (has_map && !queries)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "map: %s has none (expected NULL)", run->plan->layer->kind->name);
    if (!options->map_rows && options->map_row_count)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "map_rows: expected %lld positions, got NULL",
                        (long long)options->map_row_count);
    if (!options->map_rows) {
        run->map_rows = (atl_map_rows){NULL, queries};
        return ATL_OK;
    }
    if (!has_map)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "map_rows: given without a map");
    if (options->map_row_count < 1)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "map_row_count: expected 1 or more, got %lld",
                        (long long)options->map_row_count);
    for (int64_t i = 0; i < options->map_row_count; i++)
        if (options->map_rows[i] < 0 || options->map_rows[i] >= queries)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "map_rows[%lld]: out of range (expected 0 to %lld, got %lld)",
                            (long long)i, (long long)queries - 1, (long long)options->map_rows[i]);
    run->map_rows = (atl_map_rows){options->map_rows, options->map_row_count};
    return ATL_OK;
}

static atl_status check_batch(const atl_plan *plan, int64_t batch, atl_error *error) {
    int64_t floats;
    if (!plan)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "plan: expected a pointer, got NULL");
    if (batch < 1)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "batch: expected 1 or more, got %lld", (long long)batch);
    int64_t sample = atl_max(plan->channels * plan->positions, plan->out_channels * plan->out_positions);
    if (!atl_mul(sample, batch, &floats) || floats > ATL_MOST_FLOATS)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "batch: more bytes than an address space has (got %lld)",
                        (long long)batch);
    return ATL_OK;
}

/* Distances between the samples of dense tensors: the caller's, or those that leave no gaps. */
static atl_status set_strides(atl_run_state *run, const atl_run_options *options, atl_error *error) {
    const atl_plan *plan = run->plan;
    int64_t x = plan->batch_inside ? plan->positions : plan->channels * plan->positions;
    int64_t y = plan->batch_inside ? plan->out_positions : plan->out_channels * plan->out_positions;
    int64_t map = 0;
    if (run->first.map &&
        (!atl_mul(run->map_rows.count, atl_map_keys(plan) * atl_map_heads(plan), &map) || map > ATL_MOST_FLOATS))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "map: more bytes than an address space has");
    const struct {
        const char *name;
        int64_t got, dense, rows, *to;
    } strides[] = {
        {"x_stride", options->x_stride, x, plan->batch_inside ? plan->channels : 1, &run->x_stride},
        {"y_stride", options->y_stride, y, plan->batch_inside ? plan->out_channels : 1, &run->y_stride},
        {"map_stride", options->map_stride, map, 1, &run->map_stride},
    };
    for (size_t i = 0; i < sizeof strides / sizeof *strides; i++) {
        int64_t floats; /* of the whole tensor */
        *strides[i].to = strides[i].got ? strides[i].got : strides[i].dense;
        if (strides[i].got && strides[i].got < strides[i].dense)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: samples would overlap (expected %lld or more, got %lld)",
                            strides[i].name, (long long)strides[i].dense, (long long)strides[i].got);
        if (!atl_mul(*strides[i].to, run->batch, &floats) || !atl_mul(floats, strides[i].rows, &floats) ||
            floats > ATL_MOST_FLOATS)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: more bytes than an address space has (got %lld)",
                            strides[i].name, (long long)strides[i].got);
    }
    run->x_row = plan->batch_inside ? run->x_stride * run->batch : plan->positions;
    run->y_row = plan->batch_inside ? run->y_stride * run->batch : plan->out_positions;
    return ATL_OK;
}

atl_status atl_run(const atl_plan *plan, int64_t batch, const float *x, float *y, float *map,
                   const atl_run_options *options, atl_error *error) {
    atl_run_options o;
    atl_run_options_init(&o);
    atl_status status = ATL_READ_OPTIONS(o, options, "atl_run_options", error);
    if (status == ATL_OK)
        status = check_batch(plan, batch, error);
    if (status != ATL_OK)
        return status;
    atl_run_state run = {.plan = plan, .batch = batch, .total = batch, .first = {.x = x, .y = y, .map = map}};
    status = atl_bind_map(&run, map != NULL, &o, error);
    if (status == ATL_OK)
        status = set_strides(&run, &o, error);
    if (status == ATL_OK)
        status = atl_bind_inputs(&run, &o, error);
    if (status == ATL_OK)
        status = atl_check_run(&run, error);
    return status == ATL_OK ? run_with_workspace(&run, &o, error) : status;
}

atl_status atl_run_samples(const atl_plan *plan, int64_t batch, const atl_sample *samples, size_t sample_size,
                           const atl_run_options *options, atl_error *error) {
    atl_run_options o;
    atl_run_options_init(&o);
    atl_status status = ATL_READ_OPTIONS(o, options, "atl_run_options", error);
    if (status == ATL_OK)
        status = check_batch(plan, batch, error);
    if (status != ATL_OK)
        return status;
    if (!samples || sample_size < 2 * sizeof(void *) || sample_size > 64 * sizeof(atl_sample))
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "samples: expected a pointer and sizeof(atl_sample) = %zu, got %p and %zu", sizeof(atl_sample),
                        (const void *)samples, sample_size);
    if (o.x_stride || o.y_stride || o.map_stride)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "x_stride, y_stride, map_stride: expected 0 with samples");
    atl_run_state run = {.plan = plan,
                         .batch = batch,
                         .total = batch,
                         .samples = (const char *)samples,
                         .sample_size = sample_size,
                         .x_row = plan->positions,
                         .y_row = plan->out_positions};
    status = atl_bind_map(&run, atl_run_sample(&run, 0).map != NULL, &o, error);
    if (status == ATL_OK)
        status = atl_bind_inputs(&run, &o, error);
    if (status == ATL_OK)
        status = atl_check_run(&run, error);
    return status == ATL_OK ? run_with_workspace(&run, &o, error) : status;
}
