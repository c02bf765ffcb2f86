/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The float64 oracle: every layer written from its definition (no blocking, no online softmax, no shared code with the
 * library), and the error that a float32 implementation may make. Used by the tests and by the command's demo.
 */
#ifndef ATL_TESTS_ORACLE_H
#define ATL_TESTS_ORACLE_H

#include "attentile/attentile.h"

typedef struct oracle oracle;

/* How the inputs were filled: which form of the error bound holds. */
typedef enum oracle_fill {
    ORACLE_ANY = 0,   /* the deterministic form, for any values */
    ORACLE_RANDOM = 1 /* the form for independent random values */
} oracle_fill;

/* Takes the weights of a layer in float64 (kind, tensors, prefix, params, renames as in atl_layer_create). NULL when
 * the kind is unknown, a weight is missing or memory runs out: a fault of the test. */
oracle *oracle_create(const atl_layer_desc *desc);
void oracle_free(oracle *o);

/*
 * One sample x [shape...]. Each output may be NULL:
 *   y, y_bound      [output shape]: the result, and the largest |float32 result - y| that the numerics allow
 *   map, map_bound  [map shape]: likewise
 * `rows` NULL: everything. Otherwise only these `row_count` rows of the output:
 *   self-attention-channel   queries, which are channels of y: y is [row_count, positions]
 *   multi-head               queries, which are rows of x: y is [row_count, D], map [heads, row_count, keys]
 *   the others               positions of the output: y is [C, row_count]
 * and a map is [row_count, keys], which costs O(N) a row rather than O(N*N) in all. Returns 0, or -1 when memory ran out or
 * the sample does not fit the layer.
 */
int oracle_run(const oracle *o, int rank, const int64_t *shape, const float *x, oracle_fill fill, const int64_t *rows,
               int64_t row_count, double *y, double *y_bound, double *map, double *map_bound);

/* One sample of a layer that takes more than x (multi-head). Zero where something is absent. */
typedef struct oracle_inputs {
    const float *x;           /* [shape...] */
    const float *key, *value; /* [key_length, D], NULL = x */
    int64_t key_length;
    const unsigned char *mask; /* [mask_shape...], each 1 or the size of [heads, queries, keys]; 0 = masked */
    int64_t mask_shape[3];
    const float *additive; /* likewise; added to the scaled scores, -infinity = masked */
    int64_t additive_shape[3];
} oracle_inputs;

int oracle_run_inputs(const oracle *o, int rank, const int64_t *shape, const oracle_inputs *inputs, oracle_fill fill,
                      const int64_t *rows, int64_t row_count, double *y, double *y_bound, double *map,
                      double *map_bound);

/* Which keys a query may see. Element (query, key) of an array is at query * its first stride + key * its second; a stride
 * of 0 broadcasts. In a row with a visible key the others have weight 0 and are not read; a row without is the mean over
 * all keys or, with fill_infinite, 0. */
typedef struct oracle_mask {
    const unsigned char *mask; /* 0 = masked; NULL = none */
    int64_t mask_query, mask_key;
    const float *additive; /* added to the scaled scores, -infinity = masked; NULL = none */
    int64_t additive_query, additive_key;
    int causal; /* key j is visible to query i when j <= i */
    int fill_infinite;
} oracle_mask;

/* A matrix of which element (position, dim) is at position * its first stride + dim * its second. */
typedef struct oracle_view {
    const float *data;
    int64_t position, dim;
} oracle_view;

/* One head, given directly. */
typedef struct oracle_attention_inputs {
    int64_t queries, keys, key_dim, value_dim;
    oracle_view q, k, v;
    double scale;
    oracle_mask mask;
} oracle_attention_inputs;

/* softmax(scale * q k + masks) v: y and y_bound [queries, value_dim], map and map_bound [queries, keys], or only the rows
 * wanted; each may be NULL. Returns 0, or -1 when memory ran out. */
int oracle_attention(const oracle_attention_inputs *in, oracle_fill fill, const int64_t *rows, int64_t row_count,
                     double *y, double *y_bound, double *map, double *map_bound);

/*
 * The largest |got[i] - want[i]| / bound[i]: at most 1 passes. NaN must meet NaN, an infinity the same infinity; a
 * mismatch of these, or any difference where the bound is 0, gives infinity. *worst (may be NULL) receives the index.
 */
double oracle_error_share(const float *got, const double *want, const double *bound, int64_t count, int64_t *worst);

#endif
