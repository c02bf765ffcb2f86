/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Squeeze-and-excitation: y = x * gate(mlp(mean x)), and the channel attention of CBAM: y = x * gate(mlp(mean x) +
 * mlp(max x)), with mlp = fc2(act(fc1 .)).
 *
 * Errors: the mean's and both products' as counted in oracle_weights.c; a maximum has none of its own. relu does not
 * enlarge an error; silu has a slope of at most 1.1 and rounds a few times (sigmoid 3 ULP = 6u, the product u). The sum of
 * two mlps rounds once. A gate is monotone: an error dz moves it no further than its values at z - dz and z + dz (at most
 * dz/4 for the sigmoid, alpha dz for the hard one), and it rounds by 2u. y adds the rounding of its own product.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int oracle_channel_gate_load(const atl_layer_desc *desc, const char *fc1, const char *fc2, int with_max,
                             oracle_channel_gate *gate) {
    *gate = (oracle_channel_gate){.with_max = with_max};
    if (oracle_linear_load(desc, fc1, &gate->fc1) || oracle_linear_load(desc, fc2, &gate->fc2) ||
        gate->fc1.out != gate->fc2.in || gate->fc1.in != gate->fc2.out) {
        oracle_channel_gate_clear(gate);
        return -1;
    }
    gate->silu = strcmp(oracle_param(desc, "activation", "relu"), "silu") == 0;
    gate->hard = strcmp(oracle_param(desc, "gate", "sigmoid"), "hard-sigmoid") == 0;
    gate->alpha = oracle_number(desc, "alpha", 1.0 / 6);
    return 0;
}

void oracle_channel_gate_clear(oracle_channel_gate *gate) {
    oracle_linear_clear(&gate->fc1);
    oracle_linear_clear(&gate->fc2);
}

static void mean(const oracle_channel_gate *w, int64_t n, const double *x, const double *dx, oracle_fill fill,
                 double *m, double *dm) {
    double unit = ORACLE_U * oracle_mean_count(fill, n);
    for (int64_t c = 0; c < w->fc1.in; c++) {
        double sum = 0, magnitude = 0, inherited = 0;
        for (int64_t j = 0; j < n; j++) {
            sum += x[c * n + j];
            magnitude += fabs(x[c * n + j]);
            inherited += dx ? dx[c * n + j] : 0;
        }
        m[c] = sum / (double)n;
        dm[c] = isfinite(m[c]) ? (unit * magnitude + inherited) / (double)n + ORACLE_TINY : 0;
    }
}

/* The largest of each channel, NaN where there is one. */
static void maximum(const oracle_channel_gate *w, int64_t n, const double *x, const double *dx, double *m, double *dm) {
    for (int64_t c = 0; c < w->fc1.in; c++) {
        m[c] = x[c * n];
        dm[c] = 0;
        for (int64_t j = 0; j < n && !isnan(m[c]); j++) {
            double value = x[c * n + j];
            m[c] = isnan(value) || value > m[c] ? value : m[c];
            dm[c] = dx ? fmax(dm[c], dx[c * n + j]) : 0;
        }
        dm[c] = isfinite(m[c]) ? dm[c] : 0;
    }
}

double oracle_sigmoid(double z) {
    return 1 / (1 + exp(-z));
}

static void activate(const oracle_channel_gate *w, int64_t n, double *z, double *dz) {
    if (!w->silu) {
        oracle_relu(n, z, dz);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        int limit = isinf(z[i]); /* the value there is the limit, without an error */
        z[i] *= oracle_sigmoid(z[i]);
        dz[i] = limit ? 0 : 1.1 * dz[i] + 8 * ORACLE_U * fabs(z[i]) + ORACLE_TINY;
    }
}

static double gate_value(const oracle_channel_gate *w, double z) {
    if (!w->hard)
        return oracle_sigmoid(z);
    double g = w->alpha * z + 0.5;
    return g < 0 ? 0 : g > 1 ? 1 : g;
}

static void gate_values(const oracle_channel_gate *w, int64_t n, double *z, double *dz) {
    for (int64_t i = 0; i < n; i++) {
        double g = gate_value(w, z[i]);
        double above = gate_value(w, z[i] + dz[i]) - g, below = gate_value(w, z[i] - dz[i]) - g;
        z[i] = g;
        dz[i] = fmax(fabs(above), fabs(below)) + 2 * ORACLE_U;
    }
}

/* g = mlp(m), with scratch z. */
static void mlp(const oracle_channel_gate *w, oracle_fill fill, const double *m, const double *dm, double *z, double *g,
                double *dg) {
    int64_t h = w->fc1.out;
    oracle_linear_apply(&w->fc1, 1, m, dm, fill, z, z + h);
    activate(w, h, z, z + h);
    oracle_linear_apply(&w->fc2, 1, z, z + h, fill, g, dg);
}

/* g += other. */
static void add(int64_t n, const double *other, const double *other_error, double *g, double *dg) {
    for (int64_t i = 0; i < n; i++) {
        g[i] += other[i];
        dg[i] = isfinite(g[i]) ? dg[i] + other_error[i] + ORACLE_U * fabs(g[i]) : 0;
    }
}

int oracle_channel_gate_factors(const oracle_channel_gate *w, int64_t n, const double *x, const double *dx,
                                oracle_fill fill, double *g, double *dg) {
    int64_t c = w->fc1.in, h = w->fc1.out;
    double *memory = oracle_alloc(4 * c + 2 * h);
    if (!memory)
        return -1;
    double *m = memory, *dm = m + c, *other = dm + c, *other_error = other + c, *z = other_error + c;
    mean(w, n, x, dx, fill, m, dm);
    mlp(w, fill, m, dm, z, g, dg);
    if (w->with_max) {
        maximum(w, n, x, dx, m, dm);
        mlp(w, fill, m, dm, z, other, other_error);
        add(c, other, other_error, g, dg);
    }
    gate_values(w, c, g, dg);
    free(memory);
    return 0;
}

/* ---------------------------------------------------------------- the kinds */

static void gate_free(void *weights) {
    oracle_channel_gate_clear(weights);
    free(weights);
}

static void *gate_create(const atl_layer_desc *desc, const char *fc1, const char *fc2, int with_max) {
    oracle_channel_gate *w = malloc(sizeof *w);
    if (!w || oracle_channel_gate_load(desc, fc1, fc2, with_max, w) == 0)
        return w;
    free(w);
    return NULL;
}

static void *se_create(const atl_layer_desc *desc) {
    return gate_create(desc, "fc.0", "fc.2", 0);
}

static void *cbam_channel_create(const atl_layer_desc *desc) {
    return gate_create(desc, "sharedMLP.0", "sharedMLP.2", 1);
}

static void scale(const oracle_request *r, const double *g, const double *dg) {
    for (int64_t c = 0; c < r->channels; c++) {
        for (int64_t i = 0; i < r->row_count; i++) {
            double x = r->x[c * r->positions + (r->rows ? r->rows[i] : i)], y = x * g[c];
            if (r->y)
                r->y[c * r->row_count + i] = y;
            if (r->y_bound)
                r->y_bound[c * r->row_count + i] = fabs(x) * dg[c] + ORACLE_U * fabs(y) + ORACLE_TINY;
        }
    }
}

static int gate_run(const void *weights, const oracle_request *r) {
    const oracle_channel_gate *w = weights;
    if (r->channels != w->fc1.in || r->map || r->map_bound)
        return -1;
    double *g = oracle_alloc(2 * r->channels);
    int status = g ? oracle_channel_gate_factors(w, r->positions, r->x, NULL, r->fill, g, g + r->channels) : -1;
    if (status == 0)
        scale(r, g, g + r->channels);
    free(g);
    return status;
}

const oracle_kind oracle_kind_se = {"se", se_create, gate_free, gate_run, NULL};
const oracle_kind oracle_kind_cbam_channel = {"cbam-channel", cbam_channel_create, gate_free, gate_run, NULL};
