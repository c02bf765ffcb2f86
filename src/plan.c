/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "cpu.h"
#include "error.h"
#include "memory.h"
#include "options.h"

void atl_plan_options_init(atl_plan_options *options) {
    if (options)
        *options = (atl_plan_options){.size = sizeof *options, .reserve_batch = 1};
}

/* ---- the arena ---- */

static atl_status reserve(const char *what, int64_t *total, atl_offset *at, int64_t a, int64_t b, int64_t c,
                          atl_error *error) {
    int64_t floats, bytes, sum;
    if (!atl_mul(a, b, &floats) || !atl_mul(floats, c, &floats) || floats > INT64_MAX / 8 ||
        !atl_mul(atl_arena_floats(floats), sizeof(float), &bytes) || !atl_add(*total, bytes, &sum) ||
        sum > INT64_MAX / 2)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: the %s of %lld x %lld x %lld floats cannot be represented",
                        what, (long long)a, (long long)b, (long long)c);
    *at = *total / (int64_t)sizeof(float);
    *total = sum;
    return ATL_OK;
}

atl_status atl_reserve_sample(atl_plan *plan, atl_offset *at, int64_t a, int64_t b, int64_t c, atl_error *error) {
    return reserve("workspace", &plan->info.workspace_per_sample, at, a, b, c, error);
}

atl_status atl_reserve_slot(atl_plan *plan, atl_offset *at, int64_t a, int64_t b, int64_t c, atl_error *error) {
    return reserve("scratch", &plan->info.workspace_fixed, at, a, b, c, error);
}

/* ---- shapes ---- */

static void add_shape(atl_text *text, int rank, const int64_t *shape) {
    atl_text_add(text, "[");
    for (int i = 0; i < rank; i++)
        atl_text_add(text, i ? ", %lld" : "%lld", (long long)shape[i]);
    atl_text_add(text, "]");
}

/* Every size positive, and all of them together countable in bytes. */
static atl_status check_shape(int rank, const int64_t *shape, atl_error *error) {
    if (rank < 1 || rank > ATL_MAX_RANK)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "shape: rank out of range (expected 1 to %d, got %d)",
                        ATL_MAX_RANK, rank);
    if (!shape)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "shape: expected a pointer, got NULL");
    char got[256];
    atl_text text = {got, sizeof got, 0};
    add_shape(&text, rank, shape);
    int64_t count = sizeof(float);
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 1)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "shape: a size below 1 (expected positive sizes, got %s)",
                            got);
        if (!atl_mul(count, shape[i], &count))
            return atl_fail(error, ATL_OUT_OF_MEMORY, "shape: more bytes than can be represented (got %s)", got);
    }
    return ATL_OK;
}

atl_status atl_plan_positions(atl_plan *plan, int64_t channels, atl_error *error) {
    char got[256];
    atl_text text = {got, sizeof got, 0};
    add_shape(&text, plan->rank, plan->shape);
    if (plan->rank < 2 || plan->rank > 4)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "shape: %s takes [C, positions...] with 1 to 3 position axes (got %s)", plan->layer->kind->name,
                        got);
    if (plan->shape[0] != channels)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "shape: the channels contradict the weights (expected %lld, got %s)", (long long)channels, got);
    return ATL_OK;
}

atl_status atl_plan_image(atl_plan *plan, atl_error *error) {
    char got[256];
    atl_text text = {got, sizeof got, 0};
    add_shape(&text, plan->rank, plan->shape);
    if (plan->rank != 3)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "shape: %s takes [C, H, W] (expected rank 3, got rank %d: %s)",
                        plan->layer->kind->name, plan->rank, got);
    return atl_plan_positions(plan, plan->shape[0], error);
}

/* Rows of a shape, and the length of a row. */
static void set_rows(int rank, const int64_t *shape, int64_t *rows, int64_t *length) {
    *rows = shape[0];
    *length = 1;
    for (int i = 1; i < rank; i++)
        *length *= shape[i];
}

atl_status atl_plan_output(atl_plan *plan, int rank, const int64_t *shape, atl_error *error) {
    atl_status status = check_shape(rank, shape, error);
    if (status != ATL_OK)
        return status;
    plan->separate = 1;
    plan->info.output_rank = rank;
    memset(plan->info.output_shape, 0, sizeof plan->info.output_shape);
    memcpy(plan->info.output_shape, shape, (size_t)rank * sizeof *shape);
    return ATL_OK;
}

void atl_plan_map(atl_plan *plan, int64_t heads, int64_t queries, int64_t keys) {
    int64_t *shape = plan->info.map_shape;
    plan->info.map_rank = heads ? 3 : 2;
    if (heads)
        *shape++ = heads;
    shape[0] = queries;
    shape[1] = keys;
}

int64_t atl_map_queries(const atl_plan *plan) {
    return plan->info.map_rank ? plan->info.map_shape[plan->info.map_rank - 2] : 0;
}

int64_t atl_map_keys(const atl_plan *plan) {
    return plan->info.map_rank ? plan->info.map_shape[plan->info.map_rank - 1] : 0;
}

int64_t atl_map_heads(const atl_plan *plan) {
    return plan->info.map_rank == 3 ? plan->info.map_shape[0] : 1;
}

/* ---- creation ---- */

int atl_is_small(const atl_plan_info *info) {
    return info->flops / 60e9 + info->bytes / 20e9 < 10e-6;
}

static atl_status fill_plan(atl_plan *plan, const int64_t *shape, const atl_plan_options *options, atl_error *error) {
    memcpy(plan->shape, shape, (size_t)plan->rank * sizeof *shape);
    memcpy(plan->info.shape, plan->shape, sizeof plan->shape);
    memcpy(plan->info.output_shape, plan->shape, sizeof plan->shape);
    plan->info.rank = plan->info.output_rank = plan->rank;
    set_rows(plan->rank, plan->shape, &plan->channels, &plan->positions);
    plan->key_length = options->key_length;
    atl_status status = plan->layer->kind->plan(plan, error);
    if (status != ATL_OK)
        return status;
    plan->info.heads = plan->heads;
    plan->info.in_place = !plan->separate;
    plan->info.key_length = plan->key_length;
    if (plan->key_length && !plan->heads)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "key_length: %s takes no key (expected 0, got %lld)",
                        plan->layer->kind->name, (long long)plan->key_length);
    set_rows(plan->info.output_rank, plan->info.output_shape, &plan->out_channels, &plan->out_positions);
    if (!atl_mul(plan->info.workspace_fixed, atl_pool_threads(plan->engine->pool), &plan->info.workspace_fixed))
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: the scratch of the team cannot be represented");
    plan->small = atl_is_small(&plan->info);
    if (plan->info.workspace_samples == 0)
        plan->info.workspace_samples = INT64_MAX;
    if (options->reserve_batch == 0)
        return ATL_OK;
    int64_t size = atl_plan_workspace_size(plan, options->reserve_batch);
    atl_workspace *w = size < 0 ? NULL : atl_engine_borrow(plan->engine, size);
    if (!w)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for a workspace of %lld bytes (reserve_batch %lld)",
                        (long long)size, (long long)options->reserve_batch);
    atl_engine_return(plan->engine, w);
    return ATL_OK;
}

static atl_status check_arguments(const void *layer, const void *engine, const void *plan, atl_error *error) {
    const char *missing = !layer ? "layer" : !engine ? "engine" : !plan ? "plan" : NULL;
    if (missing)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: expected a pointer, got NULL", missing);
    return ATL_OK;
}

static atl_status create(atl_layer *layer, atl_engine *engine, int rank, const int64_t *shape,
                         const atl_plan_options *options, atl_plan **plan, atl_error *error) {
    atl_plan_options o;
    atl_plan_options_init(&o);
    atl_status status = check_arguments(layer, engine, plan, error);
    if (status == ATL_OK)
        status = ATL_READ_OPTIONS(o, options, "atl_plan_options", error);
    if (status == ATL_OK && o.reserve_batch < 0)
        status = atl_fail(error, ATL_INVALID_ARGUMENT, "reserve_batch: expected 0 or more, got %lld",
                          (long long)o.reserve_batch);
    if (status == ATL_OK)
        status = check_shape(rank, shape, error);
    if (status == ATL_OK && o.key_length < 0)
        status =
            atl_fail(error, ATL_INVALID_ARGUMENT, "key_length: expected 0 or more, got %lld", (long long)o.key_length);
    if (status != ATL_OK)
        return status;
    atl_plan *made = calloc(1, sizeof *made);
    if (!made)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: out of memory");
    made->references = 1;
    made->layer = layer;
    made->engine = engine;
    made->rank = rank;
    status = fill_plan(made, shape, &o, error);
    if (status != ATL_OK) {
        free(made->tables);
        free(made);
        return status;
    }
    atl_layer_retain(layer);
    atl_engine_retain(engine);
    *plan = made;
    return ATL_OK;
}

atl_status atl_plan_create(atl_layer *layer, atl_engine *engine, int rank, const int64_t *shape,
                           const atl_plan_options *options, atl_plan **plan, atl_error *error) {
    atl_fp_state caller = atl_fp_enter();
    atl_status status = create(layer, engine, rank, shape, options, plan, error);
    atl_fp_leave(caller);
    return status;
}

atl_plan *atl_plan_retain(atl_plan *plan) {
    if (plan)
        plan->references++;
    return plan;
}

void atl_plan_release(atl_plan *plan) {
    if (!plan || --plan->references > 0)
        return;
    atl_layer_release(plan->layer);
    atl_engine_release(plan->engine);
    free(plan->tables);
    free(plan);
}

/* ---- questions ---- */

atl_status atl_plan_get_info(const atl_plan *plan, atl_plan_info *info, atl_error *error) {
    if (!plan || !info)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: expected a pointer, got NULL", plan ? "info" : "plan");
    return atl_fill_info(info, &plan->info, sizeof plan->info, "atl_plan_info", error);
}

int64_t atl_plan_workspace_size(const atl_plan *plan, int64_t batch) {
    int64_t size;
    if (!plan || batch < 0 ||
        !atl_mul(plan->info.workspace_per_sample, atl_min(batch, plan->info.workspace_samples), &size) ||
        !atl_add(size, plan->info.workspace_fixed, &size))
        return -1;
    return size;
}

static void describe(const atl_plan *plan, atl_text *out) {
    const atl_plan_info *info = &plan->info;
    atl_text_add(out, "%s on samples ", plan->layer->kind->name);
    add_shape(out, plan->rank, plan->shape);
    atl_text_add(out, ", %d threads, %s%s\n", atl_pool_threads(plan->engine->pool), atl_isa_name(plan->engine->isa),
                 plan->small ? ", one sample stays on the calling thread" : "");
    plan->layer->kind->describe(plan, out);
    atl_text_add(out, "bound: %.6g MFLOP, %.6g M exponentials, %.6g MB read and written a sample\n", info->flops * 1e-6,
                 info->exps * 1e-6, info->bytes * 1e-6);
    atl_text_add(out, "workspace: %lld bytes a sample and %lld for the team\n", (long long)info->workspace_per_sample,
                 (long long)info->workspace_fixed);
    if (info->workspace_samples < INT64_MAX)
        atl_text_add(out, "batch: %lld samples under way at once\n", (long long)info->workspace_samples);
}

size_t atl_plan_describe(const atl_plan *plan, char *text, size_t capacity) {
    atl_text out = {text, text ? capacity : 0, 0};
    if (text && capacity)
        *text = '\0';
    if (!plan)
        return 0;
    atl_fp_state caller = atl_fp_enter();
    describe(plan, &out);
    atl_fp_leave(caller);
    return out.length;
}
