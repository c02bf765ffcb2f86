/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One head of attention, row by row: p = softmax_j(scale * q_i . k_j + additive), o = sum_j p_j v_j.
 *
 * Errors, with S = max_j |scale| sum |q||k| + |additive| of a row:
 *   - q, k, v carry dq, dk, dv of their products. A score inherits E = max_j |scale| sum (|q| dk + |k| dq + dq dk).
 *   - The score's own product costs sum_count(d) u S; turning it into the exponent (scale, log2 e, the subtraction of
 * the maximum, each key block's change of the maximum) 8 + 2 blocks more.
 *   - A change of all scores by at most ds changes a weight and the normaliser by a factor exp(ds) each: exp(2 ds) - 1.
 *   - Each exponential is off by 2.1 ULP = 4.2u, in a weight, in every rescaling, and in both for the normaliser.
 *   - The sums over keys cost sum_count(N) u, above and below the fraction bar, the division and the store 2u.
 * Together rel: o is off by rel * sum p|v| + sum p dv. For random values roundings cancel: 2E + u (sqrt(d) S + sqrt(N)
 * + 8), and the d errors behind E add up like their root. However large rel is, a weighted mean stays within the range of v, and a probability within [0, 1]. Weights
 * below 2^-126 of a row's largest are 0; the bound has room for twice that, lest these be the largest shares of all.
 *
 * Hidden keys have weight 0, and nothing of them is read, unless all are hidden: then the row is the mean over all keys,
 * or 0 with a fill of -infinity.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>

void oracle_row_clear(oracle_row *row) {
    free(row->memory);
    free(row->hidden);
    *row = (oracle_row){0};
}

int oracle_row_alloc(oracle_row *row, int64_t keys, int64_t c) {
    *row = (oracle_row){.memory = oracle_alloc(4 * keys + 3 * c), .hidden = malloc((size_t)keys)};
    if (!row->memory || !row->hidden) {
        oracle_row_clear(row);
        return -1;
    }
    row->p = row->memory;
    row->dp = row->p + keys;
    row->size = row->dp + keys;
    row->shift = row->size + keys;
    row->o = row->shift + keys;
    row->error = row->o + c;
    row->magnitude = row->error + c;
    return 0;
}

/* Marks the hidden keys of a query; returns how many are visible. */
static int64_t hide(const oracle_mask *mask, int64_t query, int64_t keys, unsigned char *hidden) {
    int64_t visible = 0;
    for (int64_t j = 0; j < keys; j++) {
        hidden[j] =
            (mask->mask && !mask->mask[query * mask->mask_query + j * mask->mask_key]) || (mask->causal && j > query) ||
            (mask->additive && mask->additive[query * mask->additive_query + j * mask->additive_key] == -INFINITY);
        visible += !hidden[j];
    }
    return visible;
}

/* The scores of query i, which stands at `query`, and the sums behind S and E. */
static void scores(const oracle_head *h, int64_t i, int64_t query, oracle_row *row) {
    for (int64_t j = 0; j < h->keys; j++)
        row->p[j] = row->size[j] = row->shift[j] = 0;
    for (int64_t d = 0; d < h->d; d++) {
        double q = h->q[d * h->queries + i], dq = h->dq ? h->dq[d * h->queries + i] : 0;
        double size = h->q_size ? h->q_size[d * h->queries + i] : fabs(q);
        const double *k = h->k + d * h->keys, *dk = h->dk ? h->dk + d * h->keys : NULL;
        for (int64_t j = 0; j < h->keys; j++) {
            double error = dk ? dk[j] : 0;
            row->p[j] += h->scale * (q * k[j]);
            row->size[j] += size * fabs(k[j]);
            double inherited = fabs(q) * error + (fabs(k[j]) + error) * dq;
            row->shift[j] += h->fill == ORACLE_RANDOM ? inherited * inherited : inherited;
        }
    }
    for (int64_t j = 0; j < h->keys; j++) {
        double additive =
            h->mask.additive ? h->mask.additive[query * h->mask.additive_query + j * h->mask.additive_key] : 0;
        row->p[j] += additive;
        row->size[j] = fabs(h->scale) * row->size[j] + fabs(additive);
        row->shift[j] = h->fill == ORACLE_RANDOM ? sqrt(row->shift[j]) : row->shift[j];
        row->shift[j] = fabs(h->scale) * (row->shift[j] + (double)h->d * ORACLE_TINY);
    }
}

/* NaN anywhere, or an infinite maximum, makes the row NaN, as in eager evaluation. */
void oracle_softmax(int64_t n, const unsigned char *hidden, double *p) {
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++)
        largest = !(hidden && hidden[j]) && p[j] > largest ? p[j] : largest;
    for (int64_t j = 0; j < n; j++)
        sum += p[j] = hidden && hidden[j] ? 0 : exp(p[j] - largest);
    for (int64_t j = 0; j < n; j++)
        p[j] = hidden && hidden[j] ? 0 : p[j] / sum;
}

/* The largest relative error of a row's probabilities. */
static double relative_error(const oracle_head *h, const oracle_row *row) {
    double size = 0, shift = 0, d = (double)h->d, n = (double)h->keys;
    for (int64_t j = 0; j < h->keys; j++) {
        size = row->hidden[j] ? size : fmax(size, row->size[j]);
        shift = row->hidden[j] ? shift : fmax(shift, row->shift[j]);
    }
    if (h->fill == ORACLE_RANDOM)
        return expm1(2 * shift) + ORACLE_U * (sqrt(d) * size + sqrt(n) + 8);
    double blocks = ceil(n / ORACLE_BLOCK);
    double score = shift + ORACLE_U * (oracle_sum_count(h->fill, h->d) + 8 + 2 * blocks) * size;
    return expm1(2 * score) + ORACLE_U * (2 * oracle_sum_count(h->fill, h->keys) + 8.4 * (blocks + 2) + 2);
}

/* The weighted means of the values. */
static void mean_values(const oracle_head *h, double rel, oracle_row *row) {
    double n = (double)h->keys;
    for (int64_t c = 0; c < h->c; c++) {
        const double *v = h->v + c * h->keys, *dv = h->dv ? h->dv + c * h->keys : NULL;
        double o = 0, magnitude = 0, inherited = 0, limit = 0;
        for (int64_t j = 0; j < h->keys; j++) {
            if (row->hidden[j])
                continue;
            o += row->p[j] * v[j];
            magnitude += row->p[j] * fabs(v[j]);
            inherited += row->p[j] * (dv ? dv[j] : 0);
            limit = fmax(limit, fabs(v[j]) + (dv ? dv[j] : 0));
        }
        row->o[c] = o;
        row->magnitude[c] = magnitude;
        row->error[c] =
            fmin(rel * magnitude + (1 + rel) * inherited, 2.1 * limit) + n * 0x1p-126 * limit + (n + 8) * ORACLE_TINY;
    }
}

/* A row without visible keys, which a fill of -infinity makes 0. */
static void nothing(const oracle_head *h, oracle_row *row) {
    for (int64_t j = 0; j < h->keys; j++)
        row->p[j] = row->dp[j] = 0;
    for (int64_t c = 0; c < h->c; c++)
        row->o[c] = row->error[c] = row->magnitude[c] = 0;
}

void oracle_attend_row(const oracle_head *h, int64_t i, int64_t query, oracle_row *row) {
    int64_t visible = hide(&h->mask, query, h->keys, row->hidden);
    if (visible == 0 && h->mask.fill_infinite) {
        nothing(h, row);
        return;
    }
    scores(h, i, query, row);
    for (int64_t j = 0; visible == 0 && j < h->keys; j++) { /* equal scores */
        row->hidden[j] = 0;
        row->p[j] = row->size[j] = row->shift[j] = 0;
    }
    oracle_softmax(h->keys, row->hidden, row->p);
    double rel = relative_error(h, row);
    for (int64_t j = 0; j < h->keys; j++)
        row->dp[j] = row->hidden[j] ? 0 : fmin(row->p[j] * rel, 1) + 0x1p-125;
    mean_values(h, rel, row);
}

/* ---------------------------------------------------------------- heads given directly */

/* [dim, positions] of a view, at `rows` (NULL = the first `count` positions). */
static void gather(const oracle_view *view, int64_t dim, const int64_t *rows, int64_t count, double *out) {
    for (int64_t d = 0; d < dim; d++)
        for (int64_t i = 0; i < count; i++)
            out[d * count + i] = view->data[(rows ? rows[i] : i) * view->position + d * view->dim];
}

int oracle_attention(const oracle_attention_inputs *in, oracle_fill fill, const int64_t *rows, int64_t row_count,
                     double *y, double *y_bound, double *map, double *map_bound) {
    int64_t count = rows ? row_count : in->queries, d = in->key_dim, c = in->value_dim, n = in->keys;
    double *memory = oracle_alloc(d * count + (d + c) * n), *q = memory, *k = q + d * count, *v = k + d * n;
    oracle_row row;
    if (!memory || oracle_row_alloc(&row, n, c)) {
        free(memory);
        return -1;
    }
    gather(&in->q, d, rows, count, q);
    gather(&in->k, d, NULL, n, k);
    gather(&in->v, c, NULL, n, v);
    oracle_head head = {.queries = count, .keys = n, .d = d, .c = c, .q = q, .k = k, .v = v};
    head.scale = in->scale;
    head.fill = fill;
    head.mask = in->mask;
    for (int64_t i = 0; i < count; i++) {
        oracle_attend_row(&head, i, rows ? rows[i] : i, &row);
        oracle_copy(row.o, c, y ? y + i * c : NULL);
        oracle_copy(row.error, c, y_bound ? y_bound + i * c : NULL);
        oracle_copy(row.p, n, map ? map + i * n : NULL);
        oracle_copy(row.dp, n, map_bound ? map_bound + i * n : NULL);
    }
    oracle_row_clear(&row);
    free(memory);
    return 0;
}
