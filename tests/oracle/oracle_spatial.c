/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spatial attention of CBAM: y = x * sigmoid(conv([mean over channels, max over channels])), zero padding k / 2.
 *
 * Errors: the mean's sum as counted in oracle_weights.c and one for the division; a maximum has none of its own. The
 * convolution is a sum of 2 k k products, the bias one term more. The gate is monotone: an error dz moves it no further
 * than its values at z - dz and z + dz, and it rounds by 2u. y adds the rounding of its own product.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>

int oracle_pixel_gate_load(const atl_layer_desc *desc, const char *name, oracle_pixel_gate *gate) {
    oracle_conv conv;
    *gate = (oracle_pixel_gate){0};
    if (oracle_conv_load(desc, name, &conv))
        return -1;
    *gate = (oracle_pixel_gate){.k = conv.k, .weight = conv.weight, .bias = conv.bias};
    if (conv.out == 1 && conv.in == 2)
        return 0;
    oracle_pixel_gate_clear(gate);
    return -1;
}

void oracle_pixel_gate_clear(oracle_pixel_gate *gate) {
    free(gate->weight);
    free(gate->bias);
    *gate = (oracle_pixel_gate){0};
}

/* Mean and maximum of every position, and their errors: each [positions], one after another. */
typedef struct planes {
    double *value[2], *error[2];
} planes;

static void pool(int64_t channels, int64_t n, const double *x, const double *dx, oracle_fill fill, const planes *p) {
    double unit = ORACLE_U * (oracle_sum_count(fill, channels) + 1);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0, magnitude = 0, inherited = 0, largest = x[i], largest_error = 0;
        for (int64_t c = 0; c < channels; c++) {
            double value = x[c * n + i], error = dx ? dx[c * n + i] : 0;
            sum += value;
            magnitude += fabs(value);
            inherited += error;
            largest_error = fmax(largest_error, error);
            if (!isnan(largest) && (isnan(value) || value > largest))
                largest = value;
        }
        p->value[0][i] = sum / (double)channels;
        p->value[1][i] = largest;
        p->error[0][i] = isfinite(sum) ? (unit * magnitude + inherited) / (double)channels + ORACLE_TINY : 0;
        p->error[1][i] = isfinite(largest) ? largest_error : 0;
    }
}

/* The factor at (row, column) and its error. */
static double factor(const oracle_pixel_gate *w, int64_t height, int64_t width, const planes *in, oracle_fill fill,
                     int64_t row, int64_t column, double *dg) {
    int64_t k = w->k;
    double z = w->bias ? *w->bias : 0, magnitude = fabs(z), carried = 0;
    for (int64_t p = 0; p < 2; p++)
        for (int64_t i = 0; i < k * k; i++) {
            int64_t y = row + i / k - k / 2, x = column + i % k - k / 2, at = y * width + x;
            int inside = y >= 0 && y < height && x >= 0 && x < width;
            double tap = w->weight[p * k * k + i], value = inside ? in->value[p][at] : 0;
            z += tap * value;
            magnitude += fabs(tap * value);
            carried += inside ? fabs(tap) * in->error[p][at] : 0;
        }
    double unit = ORACLE_U * (oracle_sum_count(fill, 2 * k * k + 1) + 1);
    double dz = isfinite(z) ? carried + unit * magnitude + ORACLE_TINY : 0, g = oracle_sigmoid(z);
    *dg = fmax(fabs(oracle_sigmoid(z + dz) - g), fabs(oracle_sigmoid(z - dz) - g)) + 2 * ORACLE_U;
    return g;
}

int oracle_pixel_gate_factors(const oracle_pixel_gate *w, const int64_t shape[3], const double *x, const double *dx,
                              oracle_fill fill, double *g, double *dg) {
    int64_t n = shape[1] * shape[2];
    double *memory = oracle_alloc(4 * n);
    if (!memory)
        return -1;
    planes p = {{memory, memory + n}, {memory + 2 * n, memory + 3 * n}};
    pool(shape[0], n, x, dx, fill, &p);
    for (int64_t i = 0; i < n; i++)
        g[i] = factor(w, shape[1], shape[2], &p, fill, i / shape[2], i % shape[2], &dg[i]);
    free(memory);
    return 0;
}

/* ---------------------------------------------------------------- the kind */

static void spatial_free(void *weights) {
    oracle_pixel_gate_clear(weights);
    free(weights);
}

static void *spatial_create(const atl_layer_desc *desc) {
    oracle_pixel_gate *w = malloc(sizeof *w);
    if (!w || oracle_pixel_gate_load(desc, "conv", w) == 0)
        return w;
    free(w);
    return NULL;
}

static void scale(const oracle_request *r, const double *g, const double *dg) {
    for (int64_t c = 0; c < r->channels; c++) {
        for (int64_t i = 0; i < r->row_count; i++) {
            int64_t at = r->rows ? r->rows[i] : i;
            double x = r->x[c * r->positions + at], y = x * g[at];
            if (r->y)
                r->y[c * r->row_count + i] = y;
            if (r->y_bound)
                r->y_bound[c * r->row_count + i] = fabs(x) * dg[at] + ORACLE_U * fabs(y) + ORACLE_TINY;
        }
    }
}

static int spatial_run(const void *weights, const oracle_request *r) {
    if (r->rank != 3 || r->map || r->map_bound)
        return -1;
    double *g = oracle_alloc(2 * r->positions), *dg = g ? g + r->positions : NULL;
    int status = g ? oracle_pixel_gate_factors(weights, r->shape, r->x, NULL, r->fill, g, dg) : -1;
    if (status == 0)
        scale(r, g, dg);
    free(g);
    return status;
}

const oracle_kind oracle_kind_cbam_spatial = {"cbam-spatial", spatial_create, spatial_free, spatial_run, NULL};
