/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers: a checkpoint whose metadata also says what it is run over: "x" and, where the layer takes them, "keys" and "mask"
 * ("2x3x3", without the batch). Whatever they say, they are refused or run, and a sample has the same bits alone and in a
 * batch. Shapes that are too large to run are planned.
 */
#include "checkpoint.h"

enum { MOST = 1 << 14, MOST_WORKSPACE = 1 << 24, BATCH = 2 };

/* The shape in the metadata; its rank, 0 without one. */
static int shape_of(const atl_checkpoint *checkpoint, const char *key, int64_t *shape) {
    const char *text = atl_checkpoint_metadata(checkpoint, key);
    int rank = 0;
    while (text && *text && rank < ATL_MAX_RANK) {
        char *end;
        shape[rank++] = strtoll(text, &end, 10);
        text = *end == 'x' ? end + 1 : NULL;
    }
    return rank;
}

/* Elements, or MOST + 1 when there are more. */
static int64_t elements(int rank, const int64_t *shape) {
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count = shape[i] < 1 || shape[i] > MOST || count * shape[i] > MOST ? MOST + 1 : count * shape[i];
    return count;
}

static float *odd_floats(int64_t count) {
    static const float values[] = {0.5f, -1, 3, 1e-40f, -0.0f, 7, 1e30f, -3, 0.25f, -1e-3f, 2, 1, 0.125f, -5, -0.5f, 9};
    float *data = malloc((size_t)count * sizeof *data);
    CLAIM(data);
    for (int64_t i = 0; i < count; i++)
        data[i] = values[i % 16] + (i % 1009 == 1008 ? __builtin_nanf("") : 0);
    return data;
}

/* Bit for bit, all NaNs being the same. */
static int same(const float *a, const float *b, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0 && (a[i] == a[i] || b[i] == b[i]))
            return 0;
    return 1;
}

/* Two samples at once, then the second alone. */
static void run(const atl_plan *plan, const atl_plan_info *info, atl_run_options *options, int batch_inside) {
    const int64_t size = elements(info->rank, info->shape), out = elements(info->output_rank, info->output_shape);
    const int64_t weights = info->map_rank ? elements(info->map_rank, info->map_shape) : 0;
    atl_error error = {0};
    float *x = odd_floats(BATCH * size), *y = malloc((size_t)(BATCH * out) * sizeof *y);
    float *map = weights ? malloc((size_t)(BATCH * weights) * sizeof *map) : NULL;
    float *alone = malloc((size_t)out * sizeof *alone);
    CLAIM(y && alone && (map || !weights));
    const atl_status status = atl_run(plan, BATCH, x, y, map, options, &error);
    CLAIM(status == ATL_OK || (status == ATL_INVALID_ARGUMENT && options->mask_rank && error.message[0]));
    if (status == ATL_OK && !batch_inside && !options->mask_rank) {
        CLAIM(atl_run(plan, 1, x + size, alone, NULL, options, &error) == ATL_OK);
        CLAIM(map || same(alone, y + out, out)); /* the map may change bits */
    }
    free(x), free(y), free(map), free(alone);
}

static void run_with_inputs(const atl_checkpoint *checkpoint, const atl_plan *plan, const atl_plan_info *info) {
    atl_run_options options;
    atl_run_options_init(&options);
    const int64_t width = info->rank == 2 ? info->shape[1] : 1, keys = info->key_length;
    uint8_t *mask = NULL;
    float *text = NULL;
    if (info->heads) {
        options.mask_rank = shape_of(checkpoint, "mask", options.mask_shape);
        const int64_t count = elements(options.mask_rank, options.mask_shape);
        options.mask_rank = count > MOST ? 0 : options.mask_rank;
        mask = malloc((size_t)count);
        text = odd_floats(BATCH * keys * width);
        CLAIM(mask);
        for (int64_t i = 0; i < count && count <= MOST; i++)
            mask[i] = i % 3 != 0;
        options.mask = options.mask_rank ? mask : NULL;
        options.key = options.value = text;
    }
    const char *first = atl_checkpoint_metadata(checkpoint, "attentile.batch_first");
    run(plan, info, &options, first && (*first == 'f' || *first == '0'));
    free(mask), free(text);
}

static int small_enough(const atl_plan *plan, const atl_plan_info *info) {
    const int64_t workspace = atl_plan_workspace_size(plan, BATCH);
    return elements(info->rank, info->shape) <= MOST && elements(info->output_rank, info->output_shape) <= MOST &&
           elements(info->map_rank, info->map_shape) <= MOST && info->key_length <= MOST / 64 && workspace >= 0 &&
           workspace <= MOST_WORKSPACE;
}

static void use_plan(const atl_checkpoint *checkpoint, const atl_plan *plan) {
    char text[4096];
    atl_plan_info info = {.size = sizeof info};
    CLAIM(atl_plan_get_info(plan, &info, NULL) == ATL_OK);
    CLAIM(info.workspace_per_sample >= 0 && info.workspace_fixed >= 0 && info.flops >= 0 && info.bytes > 0);
    CLAIM(atl_plan_describe(plan, text, sizeof text) > 0);
    CLAIM(atl_plan_workspace_size(plan, INT64_MAX) >= -1);
    if (small_enough(plan, &info))
        run_with_inputs(checkpoint, plan, &info);
}

/* Convolutions plan in time in proportion to a line: one that is long, and yet can be addressed, would only be slow. */
static int slow_to_plan(int rank, const int64_t *shape) {
    for (int i = 1; i < rank; i++)
        if (shape[i] > 1 << 20 && shape[i] < INT64_C(1) << 32)
            return 1;
    return 0;
}

static void use_layer(const atl_checkpoint *checkpoint, atl_layer *layer) {
    static atl_engine *engine;
    int64_t shape[ATL_MAX_RANK] = {0}, keys[ATL_MAX_RANK] = {0};
    const int rank = shape_of(checkpoint, "x", shape);
    atl_plan_options options;
    atl_plan *plan = NULL;
    atl_error error = {0};
    if (slow_to_plan(rank, shape))
        return;
    if (!engine) {
        atl_engine_options one;
        atl_engine_options_init(&one);
        one.threads = 1;
        CLAIM(atl_engine_create(&one, &engine, NULL) == ATL_OK);
    }
    atl_plan_options_init(&options);
    options.reserve_batch = 0;
    options.key_length = shape_of(checkpoint, "keys", keys) ? keys[0] : 0;
    const atl_status status = atl_plan_create(layer, engine, rank, shape, &options, &plan, &error);
    CLAIM((status == ATL_OK) == (plan != NULL) && (plan || error.message[0]));
    if (plan)
        use_plan(checkpoint, plan);
    atl_plan_release(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    atl_checkpoint *checkpoint = NULL;
    atl_layer *layer = NULL;
    atl_layer_desc desc;
    atl_layer_desc_init(&desc);
    desc.kind = "auto";
    if (atl_checkpoint_open(file_of(data, size), &checkpoint, NULL) == ATL_OK &&
        atl_layer_load(checkpoint, &desc, &layer, NULL) == ATL_OK)
        use_layer(checkpoint, layer);
    atl_layer_release(layer);
    atl_checkpoint_close(checkpoint);
    return 0;
}
