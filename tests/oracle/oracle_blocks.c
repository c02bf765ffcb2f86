/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kinds around convolutions.
 *
 * sk: branches U_i = relu(bn(conv_i x)) of growing kernels; z = fc(mean over positions of sum U_i); a = softmax over i of
 * fcs_i(z), for each channel; y = sum a_i U_i.
 *
 * cbam-res: t = relu(bn(conv1 x)); t = t * channel gate(t); t = t * pixel gate(t); y = relu(t + conv_res(maxpool x)).
 *
 * Errors are those of the parts. Summing M branches rounds M - 1 times. Moving logits by at most dz moves a weight p of the
 * softmax by at most p (1 - p) (exp(2 dz) - 1); an exponential rounds by 4u, the normaliser M + 1 times, the division once.
 * Every product and every sum of two terms rounds once. A maximum of exact values is exact.
 */
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Output positions of an image. */
static int64_t strided_positions(const oracle_request *r, int64_t stride) {
    return oracle_strided(r->shape[1], stride) * oracle_strided(r->shape[2], stride);
}

/* Stores y [channels, n] and its error at the positions wanted. */
static void store(const oracle_request *r, int64_t channels, int64_t n, const double *y, const double *dy) {
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < r->row_count; i++) {
            int64_t from = c * n + (r->rows ? r->rows[i] : i), to = c * r->row_count + i;
            if (r->y)
                r->y[to] = y[from];
            if (r->y_bound)
                r->y_bound[to] = dy[from];
        }
}

/* ---------------------------------------------------------------- selective kernels */

typedef struct selective {
    int64_t m, stride;
    oracle_conv *convs;
    oracle_norm *norms;
    oracle_linear fc, *fcs;
} selective;

static void sk_free(void *weights) {
    selective *w = weights;
    for (int64_t i = 0; i < w->m; i++) {
        oracle_conv_clear(&w->convs[i]);
        oracle_norm_clear(&w->norms[i]);
        oracle_linear_clear(&w->fcs[i]);
    }
    oracle_linear_clear(&w->fc);
    free(w->convs);
    free(w->norms);
    free(w->fcs);
    free(w);
}

static int load_branch(const atl_layer_desc *desc, selective *w, int64_t i) {
    char conv[64], norm[64], fcs[64];
    snprintf(conv, sizeof conv, "convs.%lld.0", (long long)i);
    snprintf(norm, sizeof norm, "convs.%lld.1", (long long)i);
    snprintf(fcs, sizeof fcs, "fcs.%lld", (long long)i);
    int64_t channels = w->fc.in;
    return oracle_conv_load(desc, conv, &w->convs[i]) || oracle_norm_load(desc, norm, channels, &w->norms[i]) ||
                   oracle_linear_load(desc, fcs, &w->fcs[i]) || w->convs[i].out != channels ||
                   w->convs[i].k != 3 + 2 * i || channels % w->convs[i].in || w->fcs[i].out != channels ||
                   w->fcs[i].in != w->fc.out
               ? -1
               : 0;
}

static int64_t count_branches(const atl_layer_desc *desc) {
    char name[64];
    int64_t m = -1;
    do
        snprintf(name, sizeof name, "convs.%lld.0", (long long)++m);
    while (oracle_has(desc, name, ".weight"));
    return m;
}

static void *sk_create(const atl_layer_desc *desc) {
    selective *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->m = count_branches(desc);
    w->stride = (int64_t)oracle_number(desc, "stride", 1);
    w->convs = calloc((size_t)w->m + 1, sizeof *w->convs);
    w->norms = calloc((size_t)w->m + 1, sizeof *w->norms);
    w->fcs = calloc((size_t)w->m + 1, sizeof *w->fcs);
    if (!w->convs || !w->norms || !w->fcs)
        w->m = 0;
    int failed = w->m == 0 || w->stride < 1 || oracle_linear_load(desc, "fc", &w->fc);
    for (int64_t i = 0; !failed && i < w->m; i++)
        failed = load_branch(desc, w, i);
    if (!failed)
        return w;
    sk_free(w);
    return NULL;
}

static int64_t sk_rows(const void *weights, const oracle_request *r) {
    return r->rank == 3 ? strided_positions(r, ((const selective *)weights)->stride) : 0;
}

/* a [m, C] and its error, from logits and their error, in place. */
static void select_weights(int64_t m, int64_t channels, double *a, double *da) {
    for (int64_t c = 0; c < channels; c++) {
        double largest = -INFINITY, sum = 0, shift = 0;
        for (int64_t i = 0; i < m; i++) {
            largest = a[i * channels + c] > largest ? a[i * channels + c] : largest;
            /* The subtraction of the maximum and the scale of the exponential round what they are applied to. */
            shift = fmax(shift, da[i * channels + c] + 4 * ORACLE_U * fabs(a[i * channels + c]));
        }
        for (int64_t i = 0; i < m; i++)
            sum += a[i * channels + c] = exp(a[i * channels + c] - largest);
        for (int64_t i = 0; i < m; i++) {
            double p = a[i * channels + c] /= sum;
            da[i * channels + c] = fmin(p * ((1 - p) * expm1(2 * shift) + ORACLE_U * ((double)m + 10)), 1) + 0x1p-126;
        }
    }
}

/* Logits of every branch, from the branches u [m][C][n]. Scratch: sum, dsum [C][n] and z, dz [C + d]. */
static void select_logits(const selective *w, oracle_fill fill, int64_t n, const double *u, const double *du,
                          double *scratch, double *a, double *da) {
    int64_t c = w->fc.in, d = w->fc.out;
    double unit = ORACLE_U * oracle_mean_count(fill, n), *mean = scratch, *dmean = mean + c, *z = dmean + c,
           *dz = z + d;
    for (int64_t k = 0; k < c; k++) {
        double total = 0, magnitude = 0, inherited = 0;
        for (int64_t i = 0; i < w->m; i++)
            for (int64_t j = 0; j < n; j++) {
                total += u[(i * c + k) * n + j];
                magnitude += fabs(u[(i * c + k) * n + j]);
                inherited += du[(i * c + k) * n + j];
            }
        mean[k] = total / (double)n;
        dmean[k] =
            isfinite(total) ? ((unit + ORACLE_U * (double)w->m) * magnitude + inherited) / (double)n + ORACLE_TINY : 0;
    }
    oracle_linear_apply(&w->fc, 1, mean, dmean, fill, z, dz);
    for (int64_t i = 0; i < w->m; i++)
        oracle_linear_apply(&w->fcs[i], 1, z, dz, fill, a + i * c, da + i * c);
}

/* y = sum a_i U_i, over the first branch. */
static void combine(const selective *w, int64_t n, double *u, double *du, const double *a, const double *da) {
    int64_t c = w->fc.in, size = c * n;
    for (int64_t k = 0; k < size; k++) {
        double y = 0, magnitude = 0, error = 0;
        for (int64_t i = 0; i < w->m; i++) {
            double factor = a[i * c + k / n], df = da[i * c + k / n], product = factor * u[i * size + k];
            y += product;
            magnitude += fabs(product);
            error += df * fabs(u[i * size + k]) + (factor + df) * du[i * size + k];
        }
        u[k] = y;
        du[k] = isfinite(y) ? error + ORACLE_U * ((double)w->m + 1) * magnitude + ORACLE_TINY * (double)w->m : 0;
    }
}

static int sk_run(const void *weights, const oracle_request *r) {
    const selective *w = weights;
    int64_t c = w->fc.in, d = w->fc.out;
    if (r->rank != 3 || r->channels != c || r->map || r->map_bound)
        return -1;
    int64_t n = strided_positions(r, w->stride), size = w->m * c * n;
    double *memory = oracle_alloc(2 * (size + w->m * c + c + d));
    if (!memory)
        return -1;
    double *u = memory, *du = u + size, *a = du + size, *da = a + w->m * c, *scratch = da + w->m * c;
    int status = 0;
    for (int64_t i = 0; status == 0 && i < w->m; i++) {
        status = oracle_conv_apply(&w->convs[i], r->shape, w->stride, r->x, r->fill, u + i * c * n, du + i * c * n);
        oracle_norm_apply(&w->norms[i], n, w->convs[i].bias, u + i * c * n, du + i * c * n);
        oracle_relu(c * n, u + i * c * n, du + i * c * n);
    }
    if (status == 0) {
        select_logits(w, r->fill, n, u, du, scratch, a, da);
        select_weights(w->m, c, a, da);
        combine(w, n, u, du, a, da);
        store(r, c, n, u, du);
    }
    free(memory);
    return status;
}

const oracle_kind oracle_kind_sk = {"sk", sk_create, sk_free, sk_run, sk_rows};

/* ---------------------------------------------------------------- the residual block of CBAM */

typedef struct residual {
    int64_t stride;
    oracle_conv conv;
    oracle_norm norm;
    oracle_channel_gate channels;
    oracle_pixel_gate pixels;
    oracle_linear shortcut;
} residual;

static void res_free(void *weights) {
    residual *w = weights;
    oracle_conv_clear(&w->conv);
    oracle_norm_clear(&w->norm);
    oracle_channel_gate_clear(&w->channels);
    oracle_pixel_gate_clear(&w->pixels);
    oracle_linear_clear(&w->shortcut);
    free(w);
}

static void *res_create(const atl_layer_desc *desc) {
    residual *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->stride = (int64_t)oracle_number(desc, "stride", 2);
    if (w->stride >= 1 && oracle_conv_load(desc, "conv1", &w->conv) == 0 &&
        oracle_norm_load(desc, "bn1", w->conv.out, &w->norm) == 0 &&
        oracle_channel_gate_load(desc, "ca.sharedMLP.0", "ca.sharedMLP.2", 1, &w->channels) == 0 &&
        oracle_pixel_gate_load(desc, "sa.conv", &w->pixels) == 0 &&
        oracle_linear_load(desc, "conv_res", &w->shortcut) == 0 && w->channels.fc1.in == w->conv.out &&
        w->shortcut.out == w->conv.out && w->shortcut.in == w->conv.in)
        return w;
    res_free(w);
    return NULL;
}

static int64_t res_rows(const void *weights, const oracle_request *r) {
    return r->rank == 3 ? strided_positions(r, ((const residual *)weights)->stride) : 0;
}

/* The largest of 3 x 3 around a pixel, NaN where there is one; outside the image there is nothing. */
static double largest_around(const double *x, int64_t height, int64_t width, int64_t row, int64_t column) {
    double largest = -INFINITY;
    for (int64_t i = row - 1; i <= row + 1; i++)
        for (int64_t j = column - 1; j <= column + 1; j++) {
            double value = i >= 0 && i < height && j >= 0 && j < width ? x[i * width + j] : -INFINITY;
            largest = isnan(largest) || value <= largest ? largest : value;
        }
    return largest;
}

static void max_pool(const oracle_request *r, int64_t stride, double *pooled) {
    int64_t height = oracle_strided(r->shape[1], stride), width = oracle_strided(r->shape[2], stride);
    for (int64_t c = 0; c < r->channels; c++)
        for (int64_t i = 0; i < height * width; i++)
            pooled[c * height * width + i] = largest_around(r->x + c * r->positions, r->shape[1], r->shape[2],
                                                            i / width * stride, i % width * stride);
}

/* t *= g, whose index is that of t divided by `channel` or its remainder by `pixel` (the other is 0). */
static void multiply(int64_t count, int64_t channel, int64_t pixel, const double *g, const double *dg, double *t,
                     double *dt) {
    for (int64_t i = 0; i < count; i++) {
        int64_t at = channel ? i / channel : i % pixel;
        double y = t[i] * g[at];
        dt[i] = isfinite(y) ? dt[i] * g[at] + (fabs(t[i]) + dt[i]) * dg[at] + ORACLE_U * fabs(y) + ORACLE_TINY : 0;
        t[i] = y;
    }
}

static void add_shortcut(int64_t count, const double *shortcut, const double *error, double *y, double *dy) {
    for (int64_t i = 0; i < count; i++) {
        y[i] += shortcut[i];
        dy[i] = isfinite(y[i]) ? dy[i] + error[i] + ORACLE_U * fabs(y[i]) + ORACLE_TINY : 0;
    }
    oracle_relu(count, y, dy);
}

static int res_run(const void *weights, const oracle_request *r) {
    const residual *w = weights;
    if (r->rank != 3 || r->channels != w->conv.in || r->map || r->map_bound)
        return -1;
    int64_t c = w->conv.out, n = strided_positions(r, w->stride), size = c * n;
    const int64_t shape[3] = {c, oracle_strided(r->shape[1], w->stride), oracle_strided(r->shape[2], w->stride)};
    double *memory = oracle_alloc(4 * size + r->channels * n + 2 * (c + n));
    if (!memory)
        return -1;
    double *t = memory, *dt = t + size, *other = dt + size, *other_error = other + size, *pooled = other_error + size;
    double *g = pooled + r->channels * n, *dg = g + c + n;
    int status = oracle_conv_apply(&w->conv, r->shape, w->stride, r->x, r->fill, t, dt);
    if (status == 0) {
        oracle_norm_apply(&w->norm, n, w->conv.bias, t, dt);
        oracle_relu(size, t, dt);
        status = oracle_channel_gate_factors(&w->channels, n, t, dt, r->fill, g, dg);
    }
    if (status == 0) {
        multiply(size, n, 0, g, dg, t, dt);
        status = oracle_pixel_gate_factors(&w->pixels, shape, t, dt, r->fill, g, dg);
    }
    if (status == 0) {
        multiply(size, 0, n, g, dg, t, dt);
        max_pool(r, w->stride, pooled);
        oracle_linear_apply(&w->shortcut, n, pooled, NULL, r->fill, other, other_error);
        add_shortcut(size, other, other_error, t, dt);
        store(r, c, n, t, dt);
    }
    free(memory);
    return status;
}

const oracle_kind oracle_kind_cbam_res = {"cbam-res", res_create, res_free, res_run, res_rows};
