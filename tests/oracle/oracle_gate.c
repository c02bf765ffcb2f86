/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Squeeze-and-excitation: y = x * gate(mlp(mean x)), and the channel attention of CBAM: y = x * gate(mlp(mean x) +
 * mlp(max x)), with mlp = fc2(act(fc1 .)).
 *
 * Errors: the mean's and both products' as counted in oracle_weights.c; a maximum has none. relu does not enlarge an
 * error; silu has a slope of at most 1.1 and rounds a few times (sigmoid 3 ULP = 6u, the product u). The sum of two mlps
 * rounds once. A gate is monotone: an error dz moves it no further than its values at z - dz and z + dz (at most dz/4 for
 * the sigmoid, alpha dz for the hard one), and it rounds by 2u. y adds the rounding of its own product.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct channel_gate {
    oracle_linear fc1, fc2;
    int with_max, silu, hard;
    double alpha;
} channel_gate;

static void gate_free(void *weights) {
    channel_gate *w = weights;
    oracle_linear_clear(&w->fc1);
    oracle_linear_clear(&w->fc2);
    free(w);
}

static void *gate_create(const atl_layer_desc *desc, const char *fc1, const char *fc2, int with_max) {
    channel_gate *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    if (oracle_linear_load(desc, fc1, &w->fc1) || oracle_linear_load(desc, fc2, &w->fc2) || w->fc1.out != w->fc2.in ||
        w->fc1.in != w->fc2.out) {
        gate_free(w);
        return NULL;
    }
    const char *alpha = oracle_param(desc, "alpha", NULL);
    w->with_max = with_max;
    w->silu = strcmp(oracle_param(desc, "activation", "relu"), "silu") == 0;
    w->hard = strcmp(oracle_param(desc, "gate", "sigmoid"), "hard-sigmoid") == 0;
    w->alpha = alpha ? strtod(alpha, NULL) : 1.0 / 6;
    return w;
}

static void *se_create(const atl_layer_desc *desc) {
    return gate_create(desc, "fc.0", "fc.2", 0);
}

static void *cbam_channel_create(const atl_layer_desc *desc) {
    return gate_create(desc, "sharedMLP.0", "sharedMLP.2", 1);
}

static void mean(const oracle_request *r, double *m, double *dm) {
    double unit = ORACLE_U * oracle_mean_count(r->fill, r->positions);
    for (int64_t c = 0; c < r->channels; c++) {
        double sum = 0, magnitude = 0;
        for (int64_t j = 0; j < r->positions; j++) {
            sum += r->x[c * r->positions + j];
            magnitude += fabs(r->x[c * r->positions + j]);
        }
        m[c] = sum / (double)r->positions;
        dm[c] = isfinite(m[c]) ? unit * magnitude / (double)r->positions + ORACLE_TINY : 0;
    }
}

/* The largest of each channel, NaN where there is one. */
static void maximum(const oracle_request *r, double *m, double *dm) {
    for (int64_t c = 0; c < r->channels; c++) {
        const double *x = r->x + c * r->positions;
        m[c] = x[0];
        dm[c] = 0;
        for (int64_t j = 1; j < r->positions && !isnan(m[c]); j++)
            m[c] = isnan(x[j]) || x[j] > m[c] ? x[j] : m[c];
    }
}

static double sigmoid(double z) {
    return 1 / (1 + exp(-z));
}

static void activate(const channel_gate *w, int64_t n, double *z, double *dz) {
    for (int64_t i = 0; i < n; i++) {
        int limit = isinf(z[i]); /* the value there is the limit, without an error */
        if (w->silu) {
            z[i] *= sigmoid(z[i]);
            dz[i] = limit ? 0 : 1.1 * dz[i] + 8 * ORACLE_U * fabs(z[i]) + ORACLE_TINY;
        } else {
            z[i] = z[i] < 0 ? 0 : z[i]; /* keeps NaN */
            dz[i] = limit ? 0 : dz[i];
        }
    }
}

static double gate_value(const channel_gate *w, double z) {
    if (!w->hard)
        return sigmoid(z);
    double g = w->alpha * z + 0.5;
    return g < 0 ? 0 : g > 1 ? 1 : g;
}

static void gate(const channel_gate *w, int64_t n, double *z, double *dz) {
    for (int64_t i = 0; i < n; i++) {
        double g = gate_value(w, z[i]);
        double above = gate_value(w, z[i] + dz[i]) - g, below = gate_value(w, z[i] - dz[i]) - g;
        z[i] = g;
        dz[i] = fmax(fabs(above), fabs(below)) + 2 * ORACLE_U;
    }
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

/* g = mlp(m), with scratch z. */
static void mlp(const channel_gate *w, oracle_fill fill, const double *m, const double *dm, double *z, double *g,
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

static int gate_run(const void *weights, const oracle_request *r) {
    const channel_gate *w = weights;
    int64_t c = w->fc1.in, h = w->fc1.out;
    double *memory = oracle_alloc(6 * c + 2 * h);
    if (!memory)
        return -1;
    double *m = memory, *dm = m + c, *g = dm + c, *dg = g + c, *other = dg + c, *other_error = other + c;
    double *z = other_error + c;
    int status = r->channels == c && !r->map && !r->map_bound ? 0 : -1;
    if (status == 0) {
        mean(r, m, dm);
        mlp(w, r->fill, m, dm, z, g, dg);
        if (w->with_max) {
            maximum(r, m, dm);
            mlp(w, r->fill, m, dm, z, other, other_error);
            add(c, other, other_error, g, dg);
        }
        gate(w, c, g, dg);
        scale(r, g, dg);
    }
    free(memory);
    return status;
}

const oracle_kind oracle_kind_se = {"se", se_create, gate_free, gate_run};
const oracle_kind oracle_kind_cbam_channel = {"cbam-channel", cbam_channel_create, gate_free, gate_run};
