/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channel self-attention: E = q k^T over positions, A = softmax_j(scale * E_ij), y = gamma * A v + x_conv(x).
 *
 * The result is written from this definition; the error is that of the cheaper way through the Gram matrix G = X_c X_c^T of
 * centred inputs, with m the computed means, X_c = x - m, and mq = Wq m + bq, mk = Wk m + bk:
 *
 *     E = Wq G Wk^T + N mq mk^T,    y = (gamma A Wv + Wx) x + (gamma A bv + bx)
 *
 *   - The sum over positions, the two over channels and the rounding of X_c cost sum_count(N) + 2 sum_count(C) + 3 of
 *     |Wq||X_c||X_c^T||Wk^T|. For random values they are independent: that over positions costs sum_count(N) + 3 of
 *     T = |X_c||X_c^T| for each element of G, and the root of sum_cd (Wq_ic T_cd Wk_jd)^2 arrives; the first over channels
 *     sum_count(C) of |Wq||G| (or of |Wk||G|), and the root of its squares; the second sum_count(C) of |Wq G||Wk^T|.
 *   - The means are off by dm, so that X_c sums to N dm instead of 0: N (|Wq|dm |mk| + |mq| |Wk|dm).
 *   - mq and mk are sums over channels, their product and N round three times.
 *   - E is rounded; the exponent costs 8 + 2 blocks more of the largest |scale E|.
 * A shift ds of a row's scores is worth exp(2 ds) - 1 in its weights, which with rounding of exponentials, sums and
 * division makes rel, as in oracle_attend.c. y is off by rel of |gamma| A |v|, at most by twice the largest |v|, and by the
 * sums over C1 and C channels, of |gamma| A (|Wv||x| + |bv|) and |Wx||x| + |bx|.
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

/* Sums behind the error of Wq G Wk^T for random values. */
typedef struct gram {
    double *g, *t;      /* [C, C] X_c X_c^T and |X_c||X_c^T| */
    double *squares;    /* [C1, C] sum_d (T_cd Wk_jd)^2 */
    double *k_size;     /* [C1, C] sum_d |G_cd||Wk_jd| */
    double *h, *h_size; /* [C] of the query at hand: Wq G and |Wq||G| */
} gram;

static void gram_keys(const channel_attention *w, int64_t n, const double *centred, const gram *s) {
    int64_t channels = w->key.in;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t d = 0; d <= c; d++) {
            double sum = 0, size = 0;
            for (int64_t j = 0; j < n; j++) {
                double product = centred[c * n + j] * centred[d * n + j];
                sum += product;
                size += fabs(product);
            }
            s->g[c * channels + d] = s->g[d * channels + c] = sum;
            s->t[c * channels + d] = s->t[d * channels + c] = size;
        }
    for (int64_t j = 0; j < w->key.out; j++)
        for (int64_t c = 0; c < channels; c++) {
            double squares = 0, size = 0;
            for (int64_t d = 0; d < channels; d++) {
                double weight = w->key.weight[j * channels + d], t = s->t[c * channels + d] * weight;
                squares += t * t;
                size += fabs(s->g[c * channels + d] * weight);
            }
            s->squares[j * channels + c] = squares;
            s->k_size[j * channels + c] = size;
        }
}

static void gram_query(const oracle_linear *query, const gram *s) {
    int64_t channels = query->in;
    for (int64_t d = 0; d < channels; d++) {
        s->h[d] = s->h_size[d] = 0;
        for (int64_t c = 0; c < channels; c++) {
            double product = query->weight[c] * s->g[c * channels + d];
            s->h[d] += product;
            s->h_size[d] += fabs(product);
        }
    }
}

/* The error of element j of the query at hand, over u. */
static double gram_error(const oracle_linear *query, const oracle_linear *key, const gram *s, int64_t j, double over_n,
                         double over_c) {
    int64_t channels = key->in;
    double positions = 0, first = 0, other = 0, second = 0;
    for (int64_t c = 0; c < channels; c++) {
        double wq = query->weight[c], wk = key->weight[j * channels + c];
        positions += wq * wq * s->squares[j * channels + c];
        first += s->h_size[c] * s->h_size[c] * wk * wk;
        other += s->k_size[j * channels + c] * s->k_size[j * channels + c] * wq * wq;
        second += fabs(s->h[c] * wk);
    }
    return (over_n + 3) * sqrt(positions) + over_c * (sqrt(fmax(first, other)) + second);
}

/* Scores of a query into e [C1], and the largest error of one. */
static double scores(const channel_attention *w, const oracle_request *r, const oracle_linear *query, const side *q,
                     const side *k, const gram *g, double *e) {
    int64_t n = r->positions, c1 = w->key.out;
    double over_c = oracle_sum_count(r->fill, w->key.in), over_n = oracle_sum_count(r->fill, n);
    double blocks = ceil((double)c1 / ORACLE_BLOCK), largest = 0, worst = 0;
    for (int64_t j = 0; j < c1; j++) {
        double sum = 0, size = 0;
        for (int64_t t = 0; t < n; t++) {
            sum += q->value[t] * k->value[j * n + t];
            size += q->size[t] * k->size[j * n + t];
        }
        double drift = *q->drift * fabs(k->mean[j]) + fabs(*q->mean) * k->drift[j];
        double means = over_c * (*q->mean_size * fabs(k->mean[j]) + fabs(*q->mean) * k->mean_size[j]) +
                       3 * fabs(*q->mean * k->mean[j]);
        double products = r->fill == ORACLE_RANDOM ? gram_error(query, &w->key, g, j, over_n, over_c)
                                                   : (over_n + 2 * over_c + 3) * size;
        double error = ORACLE_U * (products + (double)n * means + fabs(sum)) + (double)n * drift;
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
        double o = 0, magnitude = 0, size = 0, limit = 0;
        for (int64_t j = 0; j < c1; j++) {
            o += a[j] * v[j * n + t];
            magnitude += a[j] * fabs(v[j * n + t]);
            size += a[j] * v_size[j * n + t];
            limit = fmax(limit, fabs(v[j * n + t]));
        }
        double y = w->gamma * o + x[t];
        double error = fmin(rel * magnitude, 2.1 * limit) + ORACLE_U * unit * (1 + fmin(rel, 1)) * size +
                       (double)c1 * 0x1p-126 * limit;
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
    gram g;
} scratch;

static double *scratch_alloc(scratch *s, int64_t c, int64_t c1, int64_t n) {
    const struct {
        double **at;
        int64_t size;
    } parts[] = {
        {&s->m, c},
        {&s->dm, c},
        {&s->centred, c * n},
        {&s->v, c1 * n},
        {&s->v_size, c1 * n},
        {&s->x, n},
        {&s->x_size, n},
        {&s->a, c1},
        {&s->q.value, n},
        {&s->q.size, n},
        {&s->q.mean, 1},
        {&s->q.mean_size, 1},
        {&s->q.drift, 1},
        {&s->k.value, c1 * n},
        {&s->k.size, c1 * n},
        {&s->k.mean, c1},
        {&s->k.mean_size, c1},
        {&s->k.drift, c1},
        {&s->g.g, c * c},
        {&s->g.t, c * c},
        {&s->g.squares, c1 * c},
        {&s->g.k_size, c1 * c},
        {&s->g.h, c},
        {&s->g.h_size, c},
    };
    int64_t total = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        total += parts[i].size;
    double *memory = oracle_alloc(total), *at = memory;
    for (size_t i = 0; memory && i < sizeof parts / sizeof *parts; at += parts[i++].size)
        *parts[i].at = at;
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
    if (r->fill == ORACLE_RANDOM)
        gram_keys(w, n, s.centred, &s.g);
    for (int64_t i = 0; i < r->row_count; i++) {
        int64_t row = r->rows ? r->rows[i] : i;
        oracle_linear query = pick_row(&w->query, row), x = pick_row(&w->x, row);
        project(&query, r, s.m, s.dm, s.centred, &s.q);
        if (r->fill == ORACLE_RANDOM)
            gram_query(&query, &s.g);
        double rel = relative_error(c1, r->fill, scores(w, r, &query, &s.q, &s.k, &s.g, s.a));
        oracle_softmax(c1, NULL, s.a);
        oracle_copy(s.a, c1, r->map ? r->map + i * c1 : NULL);
        for (int64_t j = 0; r->map_bound && j < c1; j++)
            r->map_bound[i * c1 + j] = fmin(s.a[j] * rel, 1) + 0x1p-125;
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
