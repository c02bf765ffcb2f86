/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multi-head attention: for each head, softmax(scale * q k^T, masked) v, with q = Wq x, k = Wk key, v = Wv value and
 * scale 1/sqrt(D/h); the heads side by side, then fc. Samples are token-major, [tokens, D]. Errors are those of the head
 * (oracle_attend.c), with those of the projections before and after it.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct multi_head {
    oracle_linear query, key, value, fc;
    int64_t heads, d; /* d of all heads together */
    double scale;
    int causal, fill_infinite;
} multi_head;

static void multi_head_free(void *weights) {
    multi_head *w = weights;
    oracle_linear_clear(&w->query);
    oracle_linear_clear(&w->key);
    oracle_linear_clear(&w->value);
    oracle_linear_clear(&w->fc);
    free(w);
}

static int is_square(const oracle_linear *linear, int64_t d) {
    return linear->out == d && linear->in == d;
}

static void *multi_head_create(const atl_layer_desc *desc) {
    multi_head *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->heads = (int64_t)oracle_number(desc, "num_heads", 1);
    if (oracle_linear_load(desc, "Wq", &w->query) || oracle_linear_load(desc, "Wk", &w->key) ||
        oracle_linear_load(desc, "Wv", &w->value) || oracle_linear_load(desc, "fc", &w->fc) ||
        !is_square(&w->query, w->fc.out) || !is_square(&w->key, w->fc.out) || !is_square(&w->value, w->fc.out) ||
        !is_square(&w->fc, w->fc.out) || w->heads < 1 || w->fc.out % w->heads) {
        multi_head_free(w);
        return NULL;
    }
    const char *causal = oracle_param(desc, "causal", "false");
    w->d = w->fc.out;
    w->scale = oracle_number(desc, "scale", 1 / sqrt((double)(w->d / w->heads)));
    w->causal = strcmp(causal, "true") == 0 || strcmp(causal, "1") == 0;
    w->fill_infinite = strcmp(oracle_param(desc, "mask_fill", "-1e9"), "-inf") == 0;
    return w;
}

static int64_t multi_head_rows(const void *weights, const oracle_request *r) {
    (void)weights;
    return r->shape[0];
}

/* [D, count] of rows of x [tokens, D]; rows NULL = the first. */
static void transpose(const double *x, int64_t d, const int64_t *rows, int64_t count, double *out) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < d; k++)
            out[k * count + i] = x[(rows ? rows[i] : i) * d + k];
}

/* Stride of an axis: 0 where the array broadcasts. */
static int64_t stride(const int64_t shape[3], int axis) {
    int64_t step = 1;
    for (int i = axis + 1; i < 3; i++)
        step *= shape[i];
    return shape[axis] == 1 ? 0 : step;
}

static oracle_mask head_mask(const multi_head *w, const oracle_inputs *in, int64_t head) {
    oracle_mask mask = {.causal = w->causal, .fill_infinite = w->fill_infinite};
    if (in->mask) {
        mask.mask = in->mask + head * stride(in->mask_shape, 0);
        mask.mask_query = stride(in->mask_shape, 1);
        mask.mask_key = stride(in->mask_shape, 2);
    }
    if (in->additive) {
        mask.additive = in->additive + head * stride(in->additive_shape, 0);
        mask.additive_query = stride(in->additive_shape, 1);
        mask.additive_key = stride(in->additive_shape, 2);
    }
    return mask;
}

/* Projections and what the heads leave, with their errors; all [D, ...]. x is scratch. */
typedef struct scratch {
    double *q, *dq, *o, *error, *y, *dy, *k, *dk, *v, *dv, *x;
} scratch;

static double *scratch_alloc(scratch *s, const multi_head *w, const oracle_request *r) {
    double **parts[] = {&s->q, &s->dq, &s->o, &s->error, &s->y, &s->dy, &s->k, &s->dk, &s->v, &s->dv, &s->x};
    int64_t rows = w->d * r->row_count, keys = w->d * r->key_length;
    const int64_t sizes[] = {rows, rows, rows, rows, rows, rows, keys, keys, keys, keys, rows > keys ? rows : keys};
    int64_t total = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        total += sizes[i];
    double *memory = oracle_alloc(total), *at = memory;
    for (size_t i = 0; memory && i < sizeof sizes / sizeof *sizes; at += sizes[i++])
        *parts[i] = at;
    return memory;
}

static void project(const oracle_linear *linear, const double *x, const int64_t *rows, int64_t count, oracle_fill fill,
                    const scratch *s, double *y, double *dy) {
    transpose(x, linear->in, rows, count, s->x);
    oracle_linear_apply(linear, count, s->x, NULL, fill, y, dy);
}

/* Every query of one head. */
static void run_head(const multi_head *w, const oracle_request *r, int64_t index, const scratch *s, oracle_row *row) {
    int64_t d = w->d / w->heads, rows = r->row_count, keys = r->key_length, at = index * d * rows;
    oracle_head head = {.queries = rows, .keys = keys, .d = d, .c = d, .q = s->q + at, .dq = s->dq + at};
    head.k = s->k + index * d * keys;
    head.dk = s->dk + index * d * keys;
    head.v = s->v + index * d * keys;
    head.dv = s->dv + index * d * keys;
    head.scale = w->scale;
    head.fill = r->fill;
    head.mask = head_mask(w, r->inputs, index);
    for (int64_t i = 0; i < rows; i++) {
        oracle_attend_row(&head, i, r->rows ? r->rows[i] : i, row);
        oracle_copy(row->p, keys, r->map ? r->map + (index * rows + i) * keys : NULL);
        oracle_copy(row->dp, keys, r->map_bound ? r->map_bound + (index * rows + i) * keys : NULL);
        for (int64_t k = 0; k < d; k++) {
            s->o[at + k * rows + i] = row->o[k];
            s->error[at + k * rows + i] = row->error[k];
        }
    }
}

static void store(const oracle_request *r, int64_t d, const double *from, double *to) {
    for (int64_t i = 0; to && i < r->row_count; i++)
        for (int64_t k = 0; k < d; k++)
            to[i * d + k] = from[k * r->row_count + i];
}

static int multi_head_run(const void *weights, const oracle_request *r) {
    const multi_head *w = weights;
    if (r->rank != 2 || r->positions != w->d || r->key_length < 1 ||
        ((!r->key || !r->value) && r->key_length != r->shape[0]))
        return -1;
    scratch s;
    oracle_row row;
    double *memory = scratch_alloc(&s, w, r);
    if (!memory || oracle_row_alloc(&row, r->key_length, w->d / w->heads)) {
        free(memory);
        return -1;
    }
    project(&w->query, r->x, r->rows, r->row_count, r->fill, &s, s.q, s.dq);
    project(&w->key, r->key ? r->key : r->x, NULL, r->key_length, r->fill, &s, s.k, s.dk);
    project(&w->value, r->value ? r->value : r->x, NULL, r->key_length, r->fill, &s, s.v, s.dv);
    for (int64_t head = 0; head < w->heads; head++)
        run_head(w, r, head, &s, &row);
    oracle_linear_apply(&w->fc, r->row_count, s.o, s.error, r->fill, s.y, s.dy);
    store(r, w->d, s.y, r->y);
    store(r, w->d, s.dy, r->y_bound);
    oracle_row_clear(&row);
    free(memory);
    return 0;
}

const oracle_kind oracle_kind_multi_head = {"multi-head", multi_head_create, multi_head_free, multi_head_run,
                                            multi_head_rows};
