/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spatial self-attention: A = softmax_j(scale * q_i . k_j), y = gamma * A v + x.
 *
 * Errors, with S = max_j |scale| sum |q||k| of a row:
 *   - q, k, v carry dq, dk, dv of their products. A score inherits E = max_j |scale| sum (|q| dk + |k| dq + dq dk).
 *   - The score's own product costs sum_count(d) u S; turning it into the exponent (scale, log2 e, the subtraction of
 * the maximum, each key block's change of the maximum) 8 + 2 blocks more.
 *   - A change of all scores by at most ds changes a weight and the normaliser by a factor exp(ds) each: exp(2 ds) - 1.
 *   - Each exponential is off by 2.1 ULP = 4.2u, in a weight, in every rescaling, and in both for the normaliser.
 *   - The sums over keys cost sum_count(N) u, above and below the fraction bar, the division and the store 2u.
 * Together rel: o is off by rel * sum p|v| + sum p dv. For random values roundings cancel: 2E + u (sqrt(d) S + sqrt(N)
 * + 8). However large rel is, a weighted mean stays within the range of v, and a probability within [0, 1]. Weights
 * below 2^-126 of a row's largest are 0. gamma * o + x rounds twice.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct attention {
    oracle_linear query, key, value;
    double gamma, scale;
} attention;

/* A sample's projections and one row's scratch. Queries only for the rows wanted. */
typedef struct projected {
    double *q, *dq;           /* [d, rows] */
    double *k, *dk;           /* [d, N] */
    double *v, *dv;           /* [C, N] */
    double *vmax;             /* [C], at least the row's |v| + dv: sum |w| max|x| + |b| */
    double *p, *size, *shift; /* [N] */
} projected;

static void attention_free(void *weights) {
    attention *w = weights;
    oracle_linear_clear(&w->query);
    oracle_linear_clear(&w->key);
    oracle_linear_clear(&w->value);
    free(w);
}

static void *attention_create(const atl_layer_desc *desc) {
    attention *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    const atl_tensor *gamma = oracle_find(desc, "gamma");
    const char *scale = oracle_param(desc, "scale", "1");
    if (!gamma || oracle_linear_load(desc, "query_conv", &w->query) || oracle_linear_load(desc, "key_conv", &w->key) ||
        oracle_linear_load(desc, "value_conv", &w->value) || w->query.out != w->key.out || w->query.in != w->key.in ||
        w->query.in != w->value.in || w->value.out != w->value.in) {
        attention_free(w);
        return NULL;
    }
    w->gamma = oracle_element(gamma, 0);
    w->scale = strtod(scale, NULL);
    return w;
}

static void projected_clear(projected *s) {
    double *all[] = {s->q, s->dq, s->k, s->dk, s->v, s->dv, s->vmax, s->p, s->size, s->shift};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static int projected_alloc(projected *s, int64_t d, int64_t c, int64_t n, int64_t rows) {
    double **all[] = {&s->q, &s->dq, &s->k, &s->dk, &s->v, &s->dv, &s->vmax, &s->p, &s->size, &s->shift};
    int64_t count[] = {d * rows, d * rows, d * n, d * n, c * n, c * n, c, n, n, n};
    int failed = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        failed |= !(*all[i] = oracle_alloc(count[i]));
    return failed ? -1 : 0;
}

/* sum |w| max_j |x_j| + |b|: at least every |v| of the channel, and no smaller than what dv is measured by. */
static void value_limits(const oracle_linear *value, const oracle_request *r, double *vmax) {
    for (int64_t o = 0; o < value->out; o++)
        vmax[o] = value->bias ? fabs(value->bias[o]) : 0;
    for (int64_t i = 0; i < value->in; i++) {
        double largest = 0;
        for (int64_t j = 0; j < r->positions; j++)
            largest = fmax(largest, fabs(r->x[i * r->positions + j]));
        for (int64_t o = 0; o < value->out; o++)
            vmax[o] += fabs(value->weight[o * value->in + i]) * largest;
    }
}

static int project(const attention *w, const oracle_request *r, projected *s) {
    int64_t n = r->positions, rows = r->row_count;
    double *x = oracle_alloc(r->channels * rows); /* the query positions */
    if (!x)
        return -1;
    for (int64_t c = 0; c < r->channels; c++)
        for (int64_t i = 0; i < rows; i++)
            x[c * rows + i] = r->x[c * n + (r->rows ? r->rows[i] : i)];
    oracle_linear_apply(&w->query, rows, x, NULL, r->fill, s->q, s->dq);
    free(x);
    oracle_linear_apply(&w->key, n, r->x, NULL, r->fill, s->k, s->dk);
    oracle_linear_apply(&w->value, n, r->x, NULL, r->fill, s->v, s->dv);
    value_limits(&w->value, r, s->vmax);
    return 0;
}

/* The scores of row i into p, and the sums behind S and E. */
static void scores(const attention *w, const projected *s, int64_t i, int64_t rows, int64_t n) {
    for (int64_t j = 0; j < n; j++)
        s->p[j] = s->size[j] = s->shift[j] = 0;
    for (int64_t d = 0; d < w->query.out; d++) {
        double q = s->q[d * rows + i], dq = s->dq[d * rows + i];
        const double *k = s->k + d * n, *dk = s->dk + d * n;
        for (int64_t j = 0; j < n; j++) {
            s->p[j] += w->scale * (q * k[j]);
            s->size[j] += fabs(q * k[j]);
            s->shift[j] += fabs(q) * dk[j] + (fabs(k[j]) + dk[j]) * dq + ORACLE_TINY;
        }
    }
}

/* In place: scores to probabilities. NaN anywhere, or an infinite maximum, makes the row NaN, as in eager evaluation.
 */
static void softmax(double *p, int64_t n) {
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++)
        largest = p[j] > largest ? p[j] : largest;
    for (int64_t j = 0; j < n; j++)
        sum += p[j] = exp(p[j] - largest);
    for (int64_t j = 0; j < n; j++)
        p[j] /= sum;
}

/* The largest relative error of a row's probabilities. */
static double relative_error(const attention *w, const projected *s, int64_t n, oracle_fill fill) {
    double size = 0, shift = 0, d = (double)w->query.out;
    for (int64_t j = 0; j < n; j++) {
        size = fmax(size, fabs(w->scale) * s->size[j]);
        shift = fmax(shift, fabs(w->scale) * s->shift[j]);
    }
    if (fill == ORACLE_RANDOM)
        return expm1(2 * shift) + ORACLE_U * (sqrt(d) * size + sqrt((double)n) + 8);
    double blocks = ceil((double)n / ORACLE_BLOCK);
    double score = shift + ORACLE_U * (oracle_sum_count(fill, w->query.out) + 8 + 2 * blocks) * size;
    return expm1(2 * score) + ORACLE_U * (2 * oracle_sum_count(fill, n) + 8.4 * (blocks + 2) + 2);
}

static void store_map(const oracle_request *r, int64_t i, const double *p, double rel) {
    int64_t n = r->positions;
    for (int64_t j = 0; j < n; j++) {
        if (r->map)
            r->map[i * n + j] = p[j];
        if (r->map_bound)
            r->map_bound[i * n + j] = fmin(p[j] * rel, 1) + 0x1p-126;
    }
}

static void store_output(const attention *w, const oracle_request *r, const projected *s, int64_t i, double rel) {
    int64_t n = r->positions, position = r->rows ? r->rows[i] : i;
    for (int64_t c = 0; c < r->channels; c++) {
        const double *v = s->v + c * n, *dv = s->dv + c * n;
        double o = 0, magnitude = 0, inherited = 0;
        for (int64_t j = 0; j < n; j++) {
            o += s->p[j] * v[j];
            magnitude += s->p[j] * fabs(v[j]);
            inherited += s->p[j] * dv[j];
        }
        double x = r->x[c * n + position], y = w->gamma * o + x;
        double error = fmin(rel * magnitude + (1 + rel) * inherited, 2.1 * s->vmax[c]);
        error += (double)n * 0x1p-126 * s->vmax[c] + ((double)n + 8) * ORACLE_TINY;
        if (r->y)
            r->y[c * r->row_count + i] = y;
        if (r->y_bound)
            r->y_bound[c * r->row_count + i] =
                fabs(w->gamma) * error + ORACLE_U * (fabs(w->gamma * o) + fabs(y)) + ORACLE_TINY;
    }
}

static int attention_run(const void *weights, const oracle_request *r) {
    const attention *w = weights;
    int64_t d = w->query.out, n = r->positions;
    projected s = {0};
    int status = r->channels == w->query.in ? projected_alloc(&s, d, r->channels, n, r->row_count) : -1;
    if (status == 0)
        status = project(w, r, &s);
    for (int64_t i = 0; status == 0 && i < r->row_count; i++) {
        scores(w, &s, i, r->row_count, n);
        softmax(s.p, n);
        double rel = relative_error(w, &s, n, r->fill);
        store_map(r, i, s.p, rel);
        if (r->y || r->y_bound)
            store_output(w, r, &s, i, rel);
    }
    projected_clear(&s);
    return status;
}

const oracle_kind oracle_kind_self_attention_spatial = {"self-attention-spatial", attention_create, attention_free,
                                                        attention_run, NULL};
