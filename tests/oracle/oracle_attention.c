/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spatial self-attention: A = softmax_j(scale * q_i . k_j), y = gamma * A v + x. Errors are those of the head
 * (oracle_attend.c), with those of the projections; gamma * o + x rounds twice.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>

typedef struct attention {
    oracle_linear query, key, value;
    double gamma, scale;
} attention;

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
    if (!gamma || oracle_linear_load(desc, "query_conv", &w->query) || oracle_linear_load(desc, "key_conv", &w->key) ||
        oracle_linear_load(desc, "value_conv", &w->value) || w->query.out != w->key.out || w->query.in != w->key.in ||
        w->query.in != w->value.in || w->value.out != w->value.in) {
        attention_free(w);
        return NULL;
    }
    w->gamma = oracle_element(gamma, 0);
    w->scale = oracle_number(desc, "scale", 1);
    return w;
}

static void store(const attention *w, const oracle_request *r, int64_t i, const oracle_row *row) {
    int64_t n = r->positions;
    oracle_copy(row->p, n, r->map ? r->map + i * n : NULL);
    oracle_copy(row->dp, n, r->map_bound ? r->map_bound + i * n : NULL);
    for (int64_t c = 0; c < r->channels; c++) {
        double product = w->gamma * row->o[c], y = product + r->x[c * n + (r->rows ? r->rows[i] : i)];
        if (r->y)
            r->y[c * r->row_count + i] = y;
        if (r->y_bound)
            r->y_bound[c * r->row_count + i] =
                fabs(w->gamma) * row->error[c] + ORACLE_U * (fabs(product) + fabs(y)) + ORACLE_TINY;
    }
}

static int attention_run(const void *weights, const oracle_request *r) {
    const attention *w = weights;
    int64_t d = w->query.out, channels = r->channels, n = r->positions, rows = r->row_count;
    if (channels != w->query.in)
        return -1;
    double *memory = oracle_alloc((channels + 2 * d) * rows + 2 * (d + channels) * n);
    oracle_row row;
    if (!memory || oracle_row_alloc(&row, n, channels)) {
        free(memory);
        return -1;
    }
    double *x = memory, *q = x + channels * rows, *dq = q + d * rows, *k = dq + d * rows, *dk = k + d * n;
    double *v = dk + d * n, *dv = v + channels * n;
    oracle_gather(r, r->x, channels, n, x);
    oracle_linear_apply(&w->query, rows, x, NULL, r->fill, q, dq);
    oracle_linear_apply(&w->key, n, r->x, NULL, r->fill, k, dk);
    oracle_linear_apply(&w->value, n, r->x, NULL, r->fill, v, dv);
    oracle_head head = {.queries = rows, .keys = n, .d = d, .c = channels, .q = q, .dq = dq, .k = k, .dk = dk};
    head.v = v;
    head.dv = dv;
    head.scale = w->scale;
    head.fill = r->fill;
    for (int64_t i = 0; i < rows; i++) {
        oracle_attend_row(&head, i, r->rows ? r->rows[i] : i, &row);
        store(w, r, i, &row);
    }
    oracle_row_clear(&row);
    free(memory);
    return 0;
}

const oracle_kind oracle_kind_self_attention_spatial = {"self-attention-spatial", attention_create, attention_free,
                                                        attention_run, NULL};
