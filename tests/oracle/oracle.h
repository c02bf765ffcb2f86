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
 * `rows` NULL: everything. Otherwise only these `row_count` positions of the output: y is [C, row_count], map [row_count,
 * keys] (attention kinds), which costs O(N) a row rather than O(N*N) in all. Returns 0, or -1 when memory ran out or the
 * sample does not fit the layer.
 */
int oracle_run(const oracle *o, int rank, const int64_t *shape, const float *x, oracle_fill fill, const int64_t *rows,
               int64_t row_count, double *y, double *y_bound, double *map, double *map_bound);

/*
 * The largest |got[i] - want[i]| / bound[i]: at most 1 passes. NaN must meet NaN, an infinity the same infinity; a
 * mismatch of these, or any difference where the bound is 0, gives infinity. *worst (may be NULL) receives the index.
 */
double oracle_error_share(const float *got, const double *want, const double *bound, int64_t count, int64_t *worst);

#endif
