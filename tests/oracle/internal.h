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
    const int64_t *rows; /* NULL = every one, row_count says how many that are */
    int64_t row_count;
    double *y, *y_bound, *map, *map_bound; /* each may be NULL */
} oracle_request;

/* A kind: `create` returns its weights (NULL = missing, contradicting or no memory), `run` 0 or -1 (no memory, or a
 * sample that does not fit the weights). `rows` tells how many rows there are to choose from; NULL = positions. */
typedef struct oracle_kind {
    const char *name;
    void *(*create)(const atl_layer_desc *desc);
    void (*free)(void *weights);
    int (*run)(const void *weights, const oracle_request *request);
    int64_t (*rows)(const void *weights, const oracle_request *request);
} oracle_kind;

extern const oracle_kind oracle_kind_se;
extern const oracle_kind oracle_kind_cbam_channel;
extern const oracle_kind oracle_kind_cbam_spatial;
extern const oracle_kind oracle_kind_cbam_res;
extern const oracle_kind oracle_kind_sk;
extern const oracle_kind oracle_kind_self_attention_spatial;

/* malloc of count doubles; NULL also when the size cannot be represented. */
double *oracle_alloc(int64_t count);

/* ---------------------------------------------------------------- weights */

/* The tensor that the layer calls `name`, prefix and renames undone; NULL when there is none. */
const atl_tensor *oracle_find(const atl_layer_desc *desc, const char *name);

/* Element i as the float32 that the layer computes with. NaN for dtypes that no layer computes with. */
double oracle_element(const atl_tensor *tensor, int64_t i);

/* The text of a parameter, or `fallback`; and as a number. */
const char *oracle_param(const atl_layer_desc *desc, const char *name, const char *fallback);
double oracle_number(const atl_layer_desc *desc, const char *name, double fallback);

/* "<name><suffix>" as doubles; NULL when there is none, it has not `count` elements or memory runs out. */
double *oracle_vector(const atl_layer_desc *desc, const char *name, const char *suffix, int64_t count);
int oracle_has(const atl_layer_desc *desc, const char *name, const char *suffix);

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

/* A convolution with an odd square kernel and as many groups as the input's channels ask for, padding k / 2. */
typedef struct oracle_conv {
    int64_t out, in, k; /* in: channels of a group */
    double *weight;     /* [out][in][k][k] */
    double *bias;       /* NULL = none */
} oracle_conv;

int oracle_conv_load(const atl_layer_desc *desc, const char *name, oracle_conv *conv);
void oracle_conv_clear(oracle_conv *conv);

/* The size of an axis of `size` after a convolution or pooling of that stride that keeps the size at stride 1. */
int64_t oracle_strided(int64_t size, int64_t stride);

/* y [out, positions of the output] and its error, for an exact image x [channels, height, width]; -1 = no memory. */
int oracle_conv_apply(const oracle_conv *conv, const int64_t shape[3], int64_t stride, const double *x,
                      oracle_fill fill, double *y, double *dy);

/* Batch normalisation as one multiply-add per value. */
typedef struct oracle_norm {
    int64_t channels;
    double *scale, *shift; /* NULL = none */
} oracle_norm;

/* "<name>.weight", ".bias" (optional), ".running_mean", ".running_var"; 0 also when there is none of them. */
int oracle_norm_load(const atl_layer_desc *desc, const char *name, int64_t channels, oracle_norm *norm);
void oracle_norm_clear(oracle_norm *norm);

/* In place on y [channels, n] and its error. `bias` [channels] is the part of y that the library may have added to the
 * shift instead (NULL = none). */
void oracle_norm_apply(const oracle_norm *norm, int64_t n, const double *bias, double *y, double *dy);

/* max(y, 0), NaN kept. */
void oracle_relu(int64_t count, double *y, double *dy);

/* ---------------------------------------------------------------- gates */

/* A factor for each channel: gate(mlp(mean x)), or gate(mlp(mean x) + mlp(max x)), with mlp = fc2(act(fc1 .)). */
typedef struct oracle_channel_gate {
    oracle_linear fc1, fc2;
    int with_max, silu, hard;
    double alpha;
} oracle_channel_gate;

int oracle_channel_gate_load(const atl_layer_desc *desc, const char *fc1, const char *fc2, int with_max,
                             oracle_channel_gate *gate);
void oracle_channel_gate_clear(oracle_channel_gate *gate);

/* g [C] and its error for x [C, n] with error dx (NULL = exact); -1 = no memory. */
int oracle_channel_gate_factors(const oracle_channel_gate *gate, int64_t n, const double *x, const double *dx,
                                oracle_fill fill, double *g, double *dg);

/* A factor for each pixel: sigmoid(conv([mean over channels, max over channels])). */
typedef struct oracle_pixel_gate {
    int64_t k;
    double *weight; /* [2][k][k] */
    double *bias;   /* [1], NULL = none */
} oracle_pixel_gate;

int oracle_pixel_gate_load(const atl_layer_desc *desc, const char *name, oracle_pixel_gate *gate);
void oracle_pixel_gate_clear(oracle_pixel_gate *gate);

/* g [height, width] and its error for x [channels, height, width] with error dx (NULL = exact); -1 = no memory. */
int oracle_pixel_gate_factors(const oracle_pixel_gate *gate, const int64_t shape[3], const double *x, const double *dx,
                              oracle_fill fill, double *g, double *dg);

double oracle_sigmoid(double z);

/* ---------------------------------------------------------------- error counts, in units of u */

/* A sum of `terms` products. */
double oracle_sum_count(oracle_fill fill, int64_t terms);

/* A horizontal sum divided by its number of terms. */
double oracle_mean_count(oracle_fill fill, int64_t terms);

#endif
