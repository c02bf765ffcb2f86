/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Squeeze-and-excitation: y = x * gate(fc2(act(fc1(mean x)))).
 *
 * Errors: the mean's and both products' as counted in oracle_weights.c. relu does not enlarge an error; silu has a
 * slope of at most 1.1 and rounds a few times (sigmoid 3 ULP = 6u, the product u). A gate is monotone: an error dz
 * moves it no further than its values at z - dz and z + dz (at most dz/4 for the sigmoid, alpha dz for the hard one),
 * and it rounds by 2u. y adds the rounding of its own product.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct se {
    oracle_linear fc1, fc2;
    int silu, hard;
    double alpha;
} se;

static void se_free(void *weights) {
    se *w = weights;
    oracle_linear_clear(&w->fc1);
    oracle_linear_clear(&w->fc2);
    free(w);
}

static void *se_create(const atl_layer_desc *desc) {
    se *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    if (oracle_linear_load(desc, "fc.0", &w->fc1) || oracle_linear_load(desc, "fc.2", &w->fc2) ||
        w->fc1.out != w->fc2.in || w->fc1.in != w->fc2.out) {
        se_free(w);
        return NULL;
    }
    const char *alpha = oracle_param(desc, "alpha", NULL);
    w->silu = strcmp(oracle_param(desc, "activation", "relu"), "silu") == 0;
    w->hard = strcmp(oracle_param(desc, "gate", "sigmoid"), "hard-sigmoid") == 0;
    w->alpha = alpha ? strtod(alpha, NULL) : 1.0 / 6;
    return w;
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

static double sigmoid(double z) {
    return 1 / (1 + exp(-z));
}

static void activate(const se *w, int64_t n, double *z, double *dz) {
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

static double gate_value(const se *w, double z) {
    if (!w->hard)
        return sigmoid(z);
    double g = w->alpha * z + 0.5;
    return g < 0 ? 0 : g > 1 ? 1 : g;
}

static void gate(const se *w, int64_t n, double *z, double *dz) {
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

static int se_run(const void *weights, const oracle_request *r) {
    const se *w = weights;
    int64_t c = w->fc1.in, h = w->fc1.out;
    double *memory = oracle_alloc(4 * c + 2 * h);
    if (!memory)
        return -1;
    double *m = memory, *dm = m + c, *g = dm + c, *dg = g + c, *z = dg + c, *dz = z + h;
    int status = r->channels == c && !r->map && !r->map_bound ? 0 : -1;
    if (status == 0) {
        mean(r, m, dm);
        oracle_linear_apply(&w->fc1, 1, m, dm, r->fill, z, dz);
        activate(w, h, z, dz);
        oracle_linear_apply(&w->fc2, 1, z, dz, r->fill, g, dg);
        gate(w, c, g, dg);
        scale(r, g, dg);
    }
    free(memory);
    return status;
}

const oracle_kind oracle_kind_se = {"se", se_create, se_free, se_run};
