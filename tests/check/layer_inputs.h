/* SPDX-License-Identifier: Apache-2.0 */
/* What a sample has besides x, as the row of a shape list says (bench/shapes.h): key, value and masks of multi-head. */
#ifndef ATL_TESTS_LAYER_INPUTS_H
#define ATL_TESTS_LAYER_INPUTS_H

#include "fill.h"
#include "oracle.h"
#include "shapes.h"

typedef struct layer_inputs {
    int64_t queries, keys, width; /* keys 0 = x is key and value */
    float *key, *value;           /* [keys, width] */
    uint8_t *mask;                /* [queries, keys] */
    float *additive;              /* likewise */
} layer_inputs;

/* 0, or -1 when memory runs out; to be freed in both cases. */
int layer_inputs_make(const shape_row *row, layer_inputs *inputs);
void layer_inputs_free(layer_inputs *inputs);

/* New values of key and value; masks stay. */
void layer_inputs_fill(layer_inputs *inputs, fill_kind kind, float scale);

/* The same for the plan, the run, a sample of it, and the oracle. */
void layer_inputs_plan(const layer_inputs *inputs, atl_plan_options *options);
void layer_inputs_run(const layer_inputs *inputs, atl_run_options *options);
void layer_inputs_sample(const layer_inputs *inputs, atl_sample *sample);
void layer_inputs_oracle(const layer_inputs *inputs, oracle_inputs *oracle);

#endif
