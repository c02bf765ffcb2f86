/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Non-local block: f = softmax(scale * theta^T phi), z = bn(W (f g)) + x, with phi and g max-pooled by 2, (2, 2) or
 * (1, 2, 2) when they are sub-sampled.
 *
 * The result is written from this definition; the error allows for products in another order: (Wtheta^T phi) x instead of
 * theta phi, and (W g) f instead of W (f g). So a query counts as |Wtheta||x| + |b| in a score's rounding, and the sum over
 * g's channels costs sum_count of |W| sum f|g|. A maximum moves by no more than the largest error of its window. The
 * rest is as in oracle_attend.c and oracle_conv.c; the last addition rounds once.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>

typedef struct non_local {
    oracle_linear theta, phi, g, out;
    oracle_norm norm;
    int pooled;
    double scale;
} non_local;

static void non_local_free(void *weights) {
    non_local *w = weights;
    oracle_linear_clear(&w->theta);
    oracle_linear_clear(&w->phi);
    oracle_linear_clear(&w->g);
    oracle_linear_clear(&w->out);
    oracle_norm_clear(&w->norm);
    free(w);
}

static int fits(const non_local *w) {
    return w->theta.out == w->phi.out && w->theta.in == w->phi.in && w->theta.in == w->g.in && w->out.in == w->g.out &&
           w->out.out == w->theta.in;
}

static void *non_local_create(const atl_layer_desc *desc) {
    non_local *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->pooled = oracle_has(desc, "phi.0", ".weight");
    w->scale = oracle_number(desc, "scale", 1);
    if (oracle_linear_load(desc, "theta", &w->theta) == 0 &&
        oracle_linear_load(desc, w->pooled ? "phi.0" : "phi", &w->phi) == 0 &&
        oracle_linear_load(desc, w->pooled ? "g.0" : "g", &w->g) == 0 &&
        oracle_linear_load(desc, oracle_has(desc, "W.0", ".weight") ? "W.0" : "W", &w->out) == 0 &&
        oracle_norm_load(desc, "W.1", w->out.out, &w->norm) == 0 && fits(w))
        return w;
    non_local_free(w);
    return NULL;
}

/* The axes that pooling shrinks, and those in front of them. */
typedef struct window {
    int64_t outer, height, width, rows; /* of `rows` x 2 */
} window;

static window pool_window(const oracle_request *r) {
    window at = {1, 1, r->shape[r->rank - 1], r->rank == 2 ? 1 : 2};
    if (r->rank > 2)
        at.height = r->shape[r->rank - 2];
    if (r->rank > 3)
        at.outer = r->shape[1];
    return at;
}

/* In place: [channels, N] to [channels, N1]. Returns N1. */
static int64_t max_pool(const oracle_request *r, int64_t channels, double *x, double *dx) {
    window at = pool_window(r);
    int64_t height = at.height / at.rows, width = at.width / 2, to = 0;
    for (int64_t plane = 0; plane < channels * at.outer; plane++)
        for (int64_t i = 0; i < height * width; i++, to++) {
            double largest = -INFINITY, error = 0;
            for (int64_t t = 0; t < 2 * at.rows; t++) {
                int64_t from = (plane * at.height + i / width * at.rows + t / 2) * at.width + i % width * 2 + t % 2;
                largest = isnan(largest) || x[from] <= largest ? largest : x[from];
                error = fmax(error, dx[from]);
            }
            x[to] = largest;
            dx[to] = isfinite(largest) ? error : 0;
        }
    return at.outer * height * width;
}

/* Row i of y; o, error and magnitude are the head's. Scratch: z, dz [C]. */
static void store(const non_local *w, const oracle_request *r, int64_t i, const oracle_row *row, double *z,
                  double *dz) {
    int64_t c = w->out.out, d = w->out.in, position = r->rows ? r->rows[i] : i;
    double unit = ORACLE_U * oracle_sum_count(r->fill, d);
    oracle_linear_apply(&w->out, 1, row->o, row->error, r->fill, z, dz);
    for (int64_t k = 0; k < c; k++)
        for (int64_t j = 0; j < d; j++)
            dz[k] += isfinite(z[k]) ? unit * fabs(w->out.weight[k * d + j]) * row->magnitude[j] : 0;
    oracle_norm_apply(&w->norm, 1, w->out.bias, z, dz);
    for (int64_t k = 0; k < c; k++) {
        double y = z[k] + r->x[k * r->positions + position];
        if (r->y)
            r->y[k * r->row_count + i] = y;
        if (r->y_bound)
            r->y_bound[k * r->row_count + i] = dz[k] + ORACLE_U * fabs(y) + ORACLE_TINY;
    }
}

/* Queries with their errors and sizes, keys and values with their errors, the queries' inputs, an output column. */
typedef struct scratch {
    double *q, *dq, *q_size, *k, *dk, *v, *dv, *x, *z, *dz;
} scratch;

static double *scratch_alloc(scratch *s, const non_local *w, const oracle_request *r) {
    double **parts[] = {&s->q, &s->dq, &s->q_size, &s->k, &s->dk, &s->v, &s->dv, &s->x, &s->z, &s->dz};
    int64_t d = w->phi.out, g = w->g.out, c = r->channels, n = r->positions, rows = r->row_count, total = 0;
    const int64_t sizes[] = {d * rows, d * rows, d * rows, d * n, d * n, g * n, g * n, c * rows, c, c};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        total += sizes[i];
    double *memory = oracle_alloc(total), *at = memory;
    for (size_t i = 0; memory && i < sizeof sizes / sizeof *sizes; at += sizes[i++])
        *parts[i] = at;
    return memory;
}

static int non_local_run(const void *weights, const oracle_request *r) {
    const non_local *w = weights;
    int64_t d = w->phi.out, g = w->g.out, n = r->positions, keys = n;
    if (r->channels != w->theta.in || r->rank < 2 || r->rank > 4)
        return -1;
    scratch s;
    oracle_row row = {0};
    double *memory = scratch_alloc(&s, w, r);
    if (!memory)
        return -1;
    oracle_gather(r, r->x, r->channels, n, s.x);
    oracle_linear_apply(&w->theta, r->row_count, s.x, NULL, r->fill, s.q, s.dq);
    oracle_linear_size(&w->theta, r->row_count, s.x, s.q_size);
    oracle_linear_apply(&w->phi, n, r->x, NULL, r->fill, s.k, s.dk);
    oracle_linear_apply(&w->g, n, r->x, NULL, r->fill, s.v, s.dv);
    if (w->pooled) {
        keys = max_pool(r, d, s.k, s.dk);
        max_pool(r, g, s.v, s.dv);
    }
    int status = keys > 0 ? oracle_row_alloc(&row, keys, g) : -1;
    oracle_head head = {.queries = r->row_count, .keys = keys, .d = d, .c = g, .q = s.q, .dq = s.dq};
    head.q_size = s.q_size;
    head.k = s.k;
    head.dk = s.dk;
    head.v = s.v;
    head.dv = s.dv;
    head.scale = w->scale;
    head.fill = r->fill;
    for (int64_t i = 0; status == 0 && i < r->row_count; i++) {
        oracle_attend_row(&head, i, r->rows ? r->rows[i] : i, &row);
        oracle_copy(row.p, keys, r->map ? r->map + i * keys : NULL);
        oracle_copy(row.dp, keys, r->map_bound ? r->map_bound + i * keys : NULL);
        store(w, r, i, &row, s.z, s.dz);
    }
    oracle_row_clear(&row);
    free(memory);
    return status;
}

const oracle_kind oracle_kind_non_local = {"non-local", non_local_create, non_local_free, non_local_run, NULL};
