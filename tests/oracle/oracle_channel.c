/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channel self-attention: E = q k^T over positions, A = softmax_j(scale * E_ij), y = gamma * A v + x_conv(x).
 *
 * The result is written from this definition; the error is that of the cheaper way through the Gram matrix of centred
 * inputs, with m the computed means, X_c = x - m, and mq = Wq m + bq, mk = Wk m + bk:
 *
 *     E = Wq X_c X_c^T Wk^T + N mq mk^T,    y = (gamma A Wv + Wx) x + (gamma A bv + bx)
 *
 *   - M = |Wq||X_c||X_c^T||Wk^T|: the sum over positions, the two over channels and the rounding of X_c cost
 *     sum_count(N) + 2 sum_count(C) + 3.
 *   - The means are off by dm, so that X_c sums to N dm instead of 0: N (|Wq|dm |mk| + |mq| |Wk|dm).
 *   - mq and mk are sums over channels, their product and N round three times.
 *   - E is rounded; the exponent costs 8 + 2 blocks more of the largest |scale E|.
 * A shift ds of a row's scores is worth exp(2 ds) - 1 in its weights, which with rounding of exponentials, sums and
 * division makes rel, as in oracle_attend.c. y is off by rel of |gamma| A (|Wv||x| + |bv|), at most by twice the largest of a
 * weighted mean, and by the sums over C1 and C channels.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>

typedef struct channel_attention {
    oracle_linear query, key, value, x;
    double gamma, scale;
} channel_attention;

static void channel_free(void *weights) {
    channel_attention *w = weights;
    oracle_linear_clear(&w->query);
    oracle_linear_clear(&w->key);
    oracle_linear_clear(&w->value);
    oracle_linear_clear(&w->x);
    free(w);
}

static int same_shape(const oracle_linear *a, const oracle_linear *b) {
    return a->out == b->out && a->in == b->in;
}

static void *channel_create(const atl_layer_desc *desc) {
    channel_attention *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    const atl_tensor *gamma = oracle_find(desc, "gamma");
    if (!gamma || oracle_linear_load(desc, "query_conv", &w->query) || oracle_linear_load(desc, "key_conv", &w->key) ||
        oracle_linear_load(desc, "value_conv", &w->value) || oracle_linear_load(desc, "x_conv", &w->x) ||
        !same_shape(&w->query, &w->key) || !same_shape(&w->query, &w->value) || !same_shape(&w->query, &w->x)) {
        channel_free(w);
        return NULL;
    }
    w->gamma = oracle_element(gamma, 0);
    w->scale = oracle_number(desc, "scale", 1);
    return w;
}

static int64_t channel_rows(const void *weights, const oracle_request *r) {
    (void)r;
    return ((const channel_attention *)weights)->query.out;
}

/* Means of the input's channels and their errors [C], and the centred input [C, N]. */
static void centre(const oracle_request *r, double *m, double *dm, double *centred) {
    int64_t n = r->positions;
    for (int64_t c = 0; c < r->channels; c++) {
        double sum = 0, magnitude = 0;
        for (int64_t j = 0; j < n; j++) {
            sum += r->x[c * n + j];
            magnitude += fabs(r->x[c * n + j]);
        }
        m[c] = sum / (double)n;
        dm[c] = ORACLE_U * oracle_mean_count(r->fill, n) * magnitude / (double)n + ORACLE_TINY;
        for (int64_t j = 0; j < n; j++)
            centred[c * n + j] = r->x[c * n + j] - m[c];
    }
}

/* One side of the scores, all [C1, ...]: the projection [N], |W||X_c| [N], and for one column m: W m + b, |W||m| + |b|,
 * |W|dm. */
typedef struct side {
    double *value, *size, *mean, *mean_size, *drift;
} side;

static void project(const oracle_linear *w, const oracle_request *r, const double *m, const double *dm,
                    const double *centred, const side *s) {
    oracle_linear linear = *w;
    int64_t n = r->positions;
    oracle_linear_apply(w, n, r->x, NULL, r->fill, s->value, s->size); /* the error is not wanted */
    oracle_linear_apply(w, 1, m, NULL, r->fill, s->mean, s->mean_size);
    oracle_linear_size(w, 1, m, s->mean_size);
    linear.bias = NULL;
    oracle_linear_size(&linear, n, centred, s->size);
    oracle_linear_size(&linear, 1, dm, s->drift);
}

/* Scores of query i into e [C1], and the largest error of one. */
static double scores(const channel_attention *w, const oracle_request *r, const side *q, const side *k, int64_t i,
                     double *e) {
    int64_t n = r->positions, c1 = w->query.out;
    double over_c = oracle_sum_count(r->fill, w->query.in), over_n = oracle_sum_count(r->fill, n), worst = 0;
    double blocks = ceil((double)c1 / ORACLE_BLOCK), largest = 0;
    for (int64_t j = 0; j < c1; j++) {
        double sum = 0, size = 0;
        for (int64_t t = 0; t < n; t++) {
            sum += q->value[i * n + t] * k->value[j * n + t];
            size += q->size[i * n + t] * k->size[j * n + t];
        }
        double drift = q->drift[i] * fabs(k->mean[j]) + fabs(q->mean[i]) * k->drift[j];
        double means = over_c * (q->mean_size[i] * fabs(k->mean[j]) + fabs(q->mean[i]) * k->mean_size[j]) +
                       3 * fabs(q->mean[i] * k->mean[j]);
        double error =
            ORACLE_U * ((over_n + 2 * over_c + 3) * size + (double)n * means + fabs(sum)) + (double)n * drift;
        e[j] = w->scale * sum;
        worst = fmax(worst, fabs(w->scale) * error);
        largest = fmax(largest, fabs(e[j]));
    }
    return worst + ORACLE_U * (8 + 2 * blocks) * largest;
}

static double relative_error(int64_t c1, oracle_fill fill, double shift) {
    double n = (double)c1, blocks = ceil(n / ORACLE_BLOCK);
    double rounding = fill == ORACLE_RANDOM ? sqrt(n) + 8 : 2 * oracle_sum_count(fill, c1) + 8.4 * (blocks + 2) + 2;
    return expm1(2 * shift) + ORACLE_U * rounding;
}

/* Row i of y: `a` [C1] of its weights; v, |Wv||x| + |bv| [C1, N]; x_conv's own row and its size [N]. */
static void store(const channel_attention *w, const oracle_request *r, int64_t i, const double *a, double rel,
                  const double *v, const double *v_size, const double *x, const double *x_size) {
    int64_t n = r->positions, c1 = w->query.out;
    double over_c = oracle_sum_count(r->fill, w->query.in), unit = oracle_sum_count(r->fill, c1) + over_c + 4;
    for (int64_t t = 0; t < n; t++) {
        double o = 0, size = 0, limit = 0;
        for (int64_t j = 0; j < c1; j++) {
            o += a[j] * v[j * n + t];
            size += a[j] * v_size[j * n + t];
            limit = fmax(limit, v_size[j * n + t]);
        }
        double y = w->gamma * o + x[t];
        double error = fmin(rel * size, 2.1 * limit) + ORACLE_U * unit * size + (double)c1 * 0x1p-126 * limit;
        error = fabs(w->gamma) * error + ORACLE_U * ((over_c + 4) * x_size[t] + fabs(y)) +
                ((double)(c1 + w->query.in) + 8) * ORACLE_TINY;
        if (r->y)
            r->y[i * n + t] = y;
        if (r->y_bound)
            r->y_bound[i * n + t] = error;
    }
}

/* The rows wanted of a linear layer. */
static oracle_linear pick_row(const oracle_linear *w, int64_t row) {
    return (oracle_linear){1, w->in, w->weight + row * w->in, w->bias ? w->bias + row : NULL};
}

typedef struct scratch {
    double *m, *dm, *centred, *v, *v_size, *x, *x_size, *a;
    side q, k;
} scratch;

static double *scratch_alloc(scratch *s, int64_t c, int64_t c1, int64_t n) {
    double **parts[] = {&s->m,       &s->dm,      &s->centred, &s->v,      &s->v_size,      &s->x,
                        &s->x_size,  &s->a,       &s->q.value, &s->q.size, &s->q.mean,      &s->q.mean_size,
                        &s->q.drift, &s->k.value, &s->k.size,  &s->k.mean, &s->k.mean_size, &s->k.drift};
    const int64_t sizes[] = {c, c, c * n, c1 * n, c1 * n, n, n, c1, n, n, 1, 1, 1, c1 * n, c1 * n, c1, c1, c1};
    int64_t total = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        total += sizes[i];
    double *memory = oracle_alloc(total), *at = memory;
    for (size_t i = 0; memory && i < sizeof sizes / sizeof *sizes; at += sizes[i++])
        *parts[i] = at;
    return memory;
}

static int channel_run(const void *weights, const oracle_request *r) {
    const channel_attention *w = weights;
    int64_t c1 = w->query.out, n = r->positions;
    scratch s;
    double *memory = r->channels == w->query.in ? scratch_alloc(&s, r->channels, c1, n) : NULL;
    if (!memory)
        return -1;
    centre(r, s.m, s.dm, s.centred);
    project(&w->key, r, s.m, s.dm, s.centred, &s.k);
    oracle_linear_apply(&w->value, n, r->x, NULL, r->fill, s.v, s.v_size);
    oracle_linear_size(&w->value, n, r->x, s.v_size);
    for (int64_t i = 0; i < r->row_count; i++) {
        int64_t row = r->rows ? r->rows[i] : i;
        oracle_linear query = pick_row(&w->query, row), x = pick_row(&w->x, row);
        project(&query, r, s.m, s.dm, s.centred, &s.q);
        double rel = relative_error(c1, r->fill, scores(w, r, &s.q, &s.k, 0, s.a));
        oracle_softmax(c1, NULL, s.a);
        oracle_copy(s.a, c1, r->map ? r->map + i * c1 : NULL);
        for (int64_t j = 0; r->map_bound && j < c1; j++)
            r->map_bound[i * c1 + j] = fmin(s.a[j] * rel, 1) + 0x1p-126;
        if (!r->y && !r->y_bound)
            continue;
        oracle_linear_apply(&x, n, r->x, NULL, r->fill, s.x, s.x_size);
        oracle_linear_size(&x, n, r->x, s.x_size);
        store(w, r, i, s.a, rel, s.v, s.v_size, s.x, s.x_size);
    }
    free(memory);
    return 0;
}

const oracle_kind oracle_kind_self_attention_channel = {"self-attention-channel", channel_create, channel_free,
                                                        channel_run, channel_rows};
