/* SPDX-License-Identifier: Apache-2.0 */
#include "layer_inputs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MASK_BYTES = 1, MASK_FLOATS = 2 };

/* A vector beyond the end: see guard.h on emulators. */
static void *alloc(int64_t count, size_t size) {
    return calloc((size_t)count + 64, size);
}

/* A quarter is masked, and the second query sees nothing. */
static void fill_masks(layer_inputs *in, int64_t keys, uint64_t seed) {
    for (int64_t i = 0; i < in->queries * keys; i++) {
        if (in->mask)
            in->mask[i] = i / keys != 1 && fill_bits(&seed) % 4 != 0;
        if (in->additive)
            in->additive[i] =
                i / keys == 1 || fill_bits(&seed) % 4 == 0 ? -INFINITY : (float)(fill_bits(&seed) % 9) - 4.0f;
    }
}

int layer_inputs_make(const shape_row *row, layer_inputs *in) {
    const int64_t masks = shape_number(row, "mask", 0);
    *in = (layer_inputs){.queries = row->shape[0], .keys = shape_number(row, "keys", 0), .width = row->shape[1]};
    const int64_t keys = in->keys ? in->keys : in->queries;
    if (in->keys) {
        in->key = alloc(keys * in->width, sizeof *in->key);
        in->value = alloc(keys * in->width, sizeof *in->value);
    }
    if (masks & MASK_BYTES)
        in->mask = alloc(in->queries * keys, sizeof *in->mask);
    if (masks & MASK_FLOATS)
        in->additive = alloc(in->queries * keys, sizeof *in->additive);
    if ((in->keys && (!in->key || !in->value)) || (masks & MASK_BYTES && !in->mask) ||
        (masks & MASK_FLOATS && !in->additive))
        return -1;
    fill_masks(in, keys, 43);
    return 0;
}

void layer_inputs_free(layer_inputs *in) {
    free(in->key), free(in->value), free(in->mask), free(in->additive);
    *in = (layer_inputs){0};
}

void layer_inputs_fill(layer_inputs *in, fill_kind kind, float scale) {
    float *const arrays[] = {in->key, in->value};
    for (int a = 0; a < 2 && arrays[a]; a++) {
        fill(arrays[a], in->keys * in->width, kind, scale, 37 + (uint64_t)a);
        for (int64_t i = 0; kind == FILL_TOP && i < in->keys * in->width; i++) /* which knows no scale */
            arrays[a][i] *= scale;
    }
}

void layer_inputs_plan(const layer_inputs *in, atl_plan_options *options) {
    options->key_length = in->keys;
}

void layer_inputs_run(const layer_inputs *in, atl_run_options *options) {
    const int64_t shape[] = {in->queries, in->keys ? in->keys : in->queries};
    if (in->mask) {
        options->mask_rank = 2;
        memcpy(options->mask_shape, shape, sizeof shape);
    }
    if (in->additive) {
        options->additive_rank = 2;
        memcpy(options->additive_shape, shape, sizeof shape);
    }
}

void layer_inputs_sample(const layer_inputs *in, atl_sample *sample) {
    sample->key = in->key;
    sample->value = in->value;
    sample->mask = in->mask;
    sample->additive = in->additive;
}

void layer_inputs_oracle(const layer_inputs *in, oracle_inputs *oracle) {
    const int64_t shape[] = {1, in->queries, in->keys ? in->keys : in->queries};
    oracle->key = in->key;
    oracle->value = in->value;
    oracle->key_length = in->keys;
    oracle->mask = in->mask;
    oracle->additive = in->additive;
    memcpy(oracle->mask_shape, shape, sizeof shape);
    memcpy(oracle->additive_shape, shape, sizeof shape);
}
