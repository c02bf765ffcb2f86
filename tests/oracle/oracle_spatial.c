/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spatial attention of CBAM: y = x * sigmoid(conv([mean over channels, max over channels])), zero padding k / 2.
 *
 * Errors: the mean's sum as counted in oracle_weights.c and one for the division; a maximum has none. The convolution is a
 * sum of 2 k k products, the bias one term more. The gate is monotone: an error dz moves it no further than its values at
 * z - dz and z + dz, and it rounds by 2u. y adds the rounding of its own product.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>

typedef struct spatial_gate {
    int64_t k;
    double *weight; /* [2][k][k] */
    double bias;
    int has_bias;
} spatial_gate;

static void spatial_free(void *weights) {
    spatial_gate *w = weights;
    free(w->weight);
    free(w);
}

static void *spatial_create(const atl_layer_desc *desc) {
    const atl_tensor *conv = oracle_find(desc, "conv.weight"), *bias = oracle_find(desc, "conv.bias");
    if (!conv || conv->rank != 4 || conv->shape[0] != 1 || conv->shape[1] != 2 || conv->shape[2] != conv->shape[3])
        return NULL;
    spatial_gate *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->k = conv->shape[2];
    w->weight = oracle_alloc(2 * w->k * w->k);
    if (!w->weight) {
        free(w);
        return NULL;
    }
    for (int64_t i = 0; i < 2 * w->k * w->k; i++)
        w->weight[i] = oracle_element(conv, i);
    w->has_bias = bias != NULL;
    w->bias = bias ? oracle_element(bias, 0) : 0;
    return w;
}

/* Mean, its error, and maximum of every position. */
static void pool(const oracle_request *r, double *mean, double *error, double *max) {
    double unit = ORACLE_U * (oracle_sum_count(r->fill, r->channels) + 1);
    for (int64_t i = 0; i < r->positions; i++) {
        double sum = 0, magnitude = 0, largest = r->x[i];
        for (int64_t c = 0; c < r->channels; c++) {
            double x = r->x[c * r->positions + i];
            sum += x;
            magnitude += fabs(x);
            if (!isnan(largest) && (isnan(x) || x > largest))
                largest = x;
        }
        mean[i] = sum / (double)r->channels;
        error[i] = isfinite(sum) ? unit * magnitude / (double)r->channels + ORACLE_TINY : 0;
        max[i] = largest;
    }
}

static double sigmoid(double z) {
    return 1 / (1 + exp(-z));
}

/* The factor at (row, column) and its error. */
static double gate(const spatial_gate *w, const oracle_request *r, const double *const planes[2], const double *error,
                   int64_t row, int64_t column, double *dg) {
    int64_t k = w->k, height = r->shape[1], width = r->shape[2];
    double z = w->bias, magnitude = fabs(w->bias), carried = 0;
    for (int64_t p = 0; p < 2; p++)
        for (int64_t i = 0; i < k * k; i++) {
            int64_t y = row + i / k - k / 2, x = column + i % k - k / 2, at = y * width + x;
            int inside = y >= 0 && y < height && x >= 0 && x < width;
            double tap = w->weight[p * k * k + i], value = inside ? planes[p][at] : 0;
            z += tap * value;
            magnitude += fabs(tap * value);
            carried += p == 0 && inside ? fabs(tap) * error[at] : 0;
        }
    double unit = ORACLE_U * (oracle_sum_count(r->fill, 2 * k * k + 1) + 1);
    double dz = isfinite(z) ? carried + unit * magnitude + ORACLE_TINY : 0, g = sigmoid(z);
    *dg = fmax(fabs(sigmoid(z + dz) - g), fabs(sigmoid(z - dz) - g)) + 2 * ORACLE_U;
    return g;
}

static int spatial_run(const void *weights, const oracle_request *r) {
    if (r->rank != 3 || r->map || r->map_bound)
        return -1;
    double *memory = oracle_alloc(3 * r->positions);
    if (!memory)
        return -1;
    const double *const planes[2] = {memory, memory + r->positions};
    double *error = memory + 2 * r->positions;
    pool(r, memory, error, memory + r->positions);
    for (int64_t i = 0; i < r->row_count; i++) {
        int64_t at = r->rows ? r->rows[i] : i;
        double dg, g = gate(weights, r, planes, error, at / r->shape[2], at % r->shape[2], &dg);
        for (int64_t c = 0; c < r->channels; c++) {
            double x = r->x[c * r->positions + at], y = x * g;
            if (r->y)
                r->y[c * r->row_count + i] = y;
            if (r->y_bound)
                r->y_bound[c * r->row_count + i] = fabs(x) * dg + ORACLE_U * fabs(y) + ORACLE_TINY;
        }
    }
    free(memory);
    return 0;
}

const oracle_kind oracle_kind_cbam_spatial = {"cbam-spatial", spatial_create, spatial_free, spatial_run};
