/* SPDX-License-Identifier: Apache-2.0 */
/* The layer that a row of a shape list stands for: its description with random weights. */
#ifndef ATL_BENCH_WEIGHTS_H
#define ATL_BENCH_WEIGHTS_H

#include "attentile/attentile.h"
#include "shapes.h"

enum { WEIGHTS_MAX = 40 };

typedef struct weights {
    atl_tensor tensors[WEIGHTS_MAX];
    char names[WEIGHTS_MAX][40]; /* those with an index */
    int name_count;
    atl_param params[SHAPE_KEYS];
    atl_layer_desc desc; /* points into this struct and the row: do not copy */
} weights;

/* Weights are random and scaled by the root of their fan-in, so that values keep their size. 0, or -1 when the kind is
 * not known here or memory runs out; nothing is then to be freed. */
int weights_make(weights *w, const shape_row *row, uint64_t seed);
void weights_free(weights *w);

/* The first key of the row that its kind lacks (a misspelt one would be a default), the kind itself where that is not
 * known here, or NULL. */
const char *weights_unknown_key(const shape_row *row);

#endif
