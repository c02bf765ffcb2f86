/* SPDX-License-Identifier: Apache-2.0 */
/* What the families of the oracle share: weights in float64, error counts, and the table of kinds. */
#ifndef ATL_TESTS_ORACLE_INTERNAL_H
#define ATL_TESTS_ORACLE_INTERNAL_H

#include "oracle.h"

/* The block of the library's sums over K and over keys. */
#define ORACLE_BLOCK 256

/* Unit roundoff of float32, and its smallest subnormal: what one rounding below the normal range may lose. */
#define ORACLE_U    0x1p-24
#define ORACLE_TINY 0x1p-149

/* One sample and the outputs wanted of it. */
typedef struct oracle_request {
    int64_t channels, positions;
    int rank;
    const int64_t *shape; /* [channels, ...] */
    const double *x;      /* [channels, positions] */
    oracle_fill fill;
    const int64_t *rows; /* NULL = every position, row_count == positions */
    int64_t row_count;
    double *y, *y_bound, *map, *map_bound; /* each may be NULL */
} oracle_request;

/* A kind: `create` returns its weights (NULL = missing, contradicting or no memory), `run` 0 or -1 (no memory). */
typedef struct oracle_kind {
    const char *name;
    void *(*create)(const atl_layer_desc *desc);
    void (*free)(void *weights);
    int (*run)(const void *weights, const oracle_request *request);
} oracle_kind;

extern const oracle_kind oracle_kind_se;
extern const oracle_kind oracle_kind_cbam_channel;
extern const oracle_kind oracle_kind_cbam_spatial;
extern const oracle_kind oracle_kind_self_attention_spatial;

/* malloc of count doubles; NULL also when the size cannot be represented. */
double *oracle_alloc(int64_t count);

/* ---------------------------------------------------------------- weights */

/* The tensor that the layer calls `name`, prefix and renames undone; NULL when there is none. */
const atl_tensor *oracle_find(const atl_layer_desc *desc, const char *name);

/* Element i as the float32 that the layer computes with. NaN for dtypes that no layer computes with. */
double oracle_element(const atl_tensor *tensor, int64_t i);

/* The text of a parameter, or `fallback`. */
const char *oracle_param(const atl_layer_desc *desc, const char *name, const char *fallback);

/* W x + b: "<name>.weight" [out, in, 1...] and the optional "<name>.bias" [out]. */
typedef struct oracle_linear {
    int64_t out, in;
    double *weight;
    double *bias; /* NULL = none */
} oracle_linear;

int oracle_linear_load(const atl_layer_desc *desc, const char *name, oracle_linear *linear);
void oracle_linear_clear(oracle_linear *linear);

/* y [out, n] = W x + b and its error dy, for x [in, n] with error dx (NULL = exact). */
void oracle_linear_apply(const oracle_linear *linear, int64_t n, const double *x, const double *dx, oracle_fill fill,
                         double *y, double *dy);

/* ---------------------------------------------------------------- error counts, in units of u */

/* A sum of `terms` products. */
double oracle_sum_count(oracle_fill fill, int64_t terms);

/* A horizontal sum divided by its number of terms. */
double oracle_mean_count(oracle_fill fill, int64_t terms);

#endif
