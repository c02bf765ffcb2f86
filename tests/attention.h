/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of atl_attention in tests: the same tensors in any layout, checked against the oracle head by head and compared
 * bit by bit between instruction sets and numbers of threads.
 */
#ifndef ATL_TESTS_ATTENTION_H
#define ATL_TESTS_ATTENTION_H

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

typedef struct sizes {
    int64_t batch, heads, queries, keys, key_dim, value_dim;
} sizes;

/* Besides the public layouts: gaps everywhere and no axis of step 1, the first axes last; and key and value side by side in
 * one buffer, behind the query as well where the lengths are the same. */
typedef enum layout { TOKENS, HEADS, CHANNELS, GAPS, PACKED, LAYOUTS } layout;

enum { QUERY, KEY, VALUE, INPUTS, OUTPUT = INPUTS, TENSORS };

/* Where the output has nothing to write. */
static const float untouched = 12345.0f;

typedef struct call {
    atl_attention_args args;
    sizes sizes;
    float *logical[INPUTS]; /* [batch][heads][positions][dim], whatever the layout */
    float *memory[TENSORS]; /* what is to be freed; that of a packed buffer is the value's */
    int64_t output_floats;  /* from the first to the last */
    float *dense;           /* the output as [batch][heads][queries][value_dim] */
    int64_t dense_floats, map_floats;
} call;

static inline int64_t tensor_positions(const sizes *s, int tensor) {
    return tensor == KEY || tensor == VALUE ? s->keys : s->queries;
}

static inline int64_t tensor_dim(const sizes *s, int tensor) {
    return tensor == QUERY || tensor == KEY ? s->key_dim : s->value_dim;
}

static inline atl_attention_strides strides_of(layout layout, const sizes *s, int tensor) {
    int64_t positions = tensor_positions(s, tensor), dim = tensor_dim(s, tensor);
    if (layout != GAPS)
        return atl_attention_dense((atl_attention_layout)(layout == PACKED ? TOKENS : layout), s->heads, positions,
                                   dim);
    int64_t feature = 2 * positions + 1, batch = dim * feature + 3;
    return (atl_attention_strides){batch, s->batch * batch + 5, 2, feature};
}

static inline int64_t floats_of(const sizes *s, int tensor, const atl_attention_strides *t) {
    return 1 + (s->batch - 1) * t->batch + (s->heads - 1) * t->head + (tensor_positions(s, tensor) - 1) * t->position +
           (tensor_dim(s, tensor) - 1) * t->feature;
}

/* Every element in logical order: `to_tensor` or back. */
static inline void copy_tensor(const sizes *s, int tensor, const atl_attention_strides *t, float *data, float *logical,
                               bool to_tensor) {
    int64_t positions = tensor_positions(s, tensor), dim = tensor_dim(s, tensor), n = 0;
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t h = 0; h < s->heads; h++)
            for (int64_t i = 0; i < positions; i++)
                for (int64_t f = 0; f < dim; f++, n++) {
                    float *at = data + b * t->batch + h * t->head + i * t->position + f * t->feature;
                    *(to_tensor ? at : logical + n) = *(to_tensor ? logical + n : at);
                }
}

/* Tokens of [query where it is as long, key, value], each [heads, dim]. */
static inline void pack(call *c) {
    const sizes *s = &c->sizes;
    atl_attention_args *a = &c->args;
    bool three = s->queries == s->keys;
    int64_t width = s->heads * s->key_dim, token = (three ? 2 : 1) * width + s->heads * s->value_dim;
    float *buffer = c->memory[VALUE] = case_alloc(s->batch * s->keys * token);
    const atl_attention_strides keys = {s->keys * token, s->key_dim, token, 1},
                                values = {s->keys * token, s->value_dim, token, 1};
    if (three) {
        a->query = buffer;
        a->query_strides = keys;
    }
    a->key = buffer + (three ? width : 0);
    a->value = buffer + (three ? 2 : 1) * width;
    a->key_strides = keys;
    a->value_strides = values;
}

/* Copies what `logical` has into the tensors. */
static inline void call_load(call *c) {
    const atl_attention_args *a = &c->args;
    const float *const data[] = {a->query, a->key, a->value};
    const atl_attention_strides *const strides[] = {&a->query_strides, &a->key_strides, &a->value_strides};
    for (int t = 0; t < INPUTS; t++)
        copy_tensor(&c->sizes, t, strides[t], (float *)data[t], c->logical[t], true);
}

static inline void call_place(call *c, layout layout) {
    const sizes *s = &c->sizes;
    atl_attention_args *a = &c->args;
    const float **const data[] = {&a->query, &a->key, &a->value};
    atl_attention_strides *const strides[] = {&a->query_strides, &a->key_strides, &a->value_strides,
                                              &a->output_strides};
    for (int t = 0; t < TENSORS; t++) {
        free(c->memory[t]);
        c->memory[t] = NULL;
        *strides[t] = strides_of(layout, s, t);
    }
    for (int t = 0; t < INPUTS; t++)
        if (layout != PACKED || (t == QUERY && s->queries != s->keys))
            *data[t] = c->memory[t] = case_alloc(floats_of(s, t, strides[t]));
    if (layout == PACKED)
        pack(c);
    c->output_floats = floats_of(s, OUTPUT, &a->output_strides);
    a->output = c->memory[OUTPUT] = case_alloc(c->output_floats);
    call_load(c);
}

static inline void call_open(call *c, const sizes *s, layout layout, uint64_t seed) {
    *c = (call){.sizes = *s};
    atl_attention_args *a = &c->args;
    atl_attention_args_init(a);
    a->batch = s->batch, a->heads = s->heads, a->queries = s->queries, a->keys = s->keys;
    a->key_dim = s->key_dim, a->value_dim = s->value_dim;
    for (int t = 0; t < INPUTS; t++) {
        int64_t count = s->batch * s->heads * tensor_positions(s, t) * tensor_dim(s, t);
        c->logical[t] = case_alloc(count);
        fill(c->logical[t], count, FILL_RANDOM, 2, seed + (uint64_t)t);
    }
    c->dense_floats = s->batch * s->heads * s->queries * s->value_dim;
    c->dense = case_alloc(c->dense_floats);
    c->map_floats = s->batch * s->heads * s->queries * s->keys;
    call_place(c, layout);
}

static inline void call_want_map(call *c) {
    c->args.map = case_alloc(c->map_floats);
}

static inline void call_close(call *c) {
    for (int t = 0; t < INPUTS; t++)
        free(c->logical[t]);
    for (int t = 0; t < TENSORS; t++)
        free(c->memory[t]);
    free(c->dense);
    free(c->args.map);
}

/* Element f of position i of a logical tensor. */
static inline float *logical_at(const call *c, int tensor, int64_t b, int64_t h, int64_t i, int64_t f) {
    const sizes *s = &c->sizes;
    float *data = tensor == OUTPUT ? c->dense : c->logical[tensor];
    return data + ((b * s->heads + h) * tensor_positions(s, tensor) + i) * tensor_dim(s, tensor) + f;
}

/* Runs, and gathers the output; between its elements nothing may have been written. */
static inline void call_run(call *c, atl_engine *engine, const char *what) {
    const sizes *s = &c->sizes;
    atl_error error = {0};
    for (int64_t i = 0; i < c->output_floats; i++)
        c->args.output[i] = untouched;
    for (int64_t i = 0; c->args.map && i < c->map_floats; i++)
        c->args.map[i] = untouched;
    cr_assert_eq(atl_attention(engine, &c->args, &error), ATL_OK, "%s: %s", what, error.message);
    copy_tensor(s, OUTPUT, &c->args.output_strides, c->args.output, c->dense, false);
    int64_t written = 0;
    for (int64_t i = 0; i < c->output_floats; i++)
        written += memcmp(&c->args.output[i], &untouched, sizeof untouched) != 0;
    cr_expect_eq(written, c->dense_floats, "%s: %lld floats written, expected %lld", what, (long long)written,
                 (long long)c->dense_floats);
}

/* Without the map, tensors may be read and written where they lie. */
static inline void call_run_without_map(call *c, atl_engine *engine, const char *what) {
    float *map = c->args.map;
    c->args.map = NULL;
    call_run(c, engine, what);
    c->args.map = map;
}

/* ---------------------------------------------------------------- against the oracle */

/* Element (b, h, i, j) of a mask, by the rule of broadcasting. */
static inline int64_t mask_at(int rank, const int64_t shape[4], const int64_t at[4]) {
    int64_t index = 0;
    for (int i = 0; i < rank; i++)
        index = index * shape[i] + (shape[i] == 1 ? 0 : at[4 - rank + i]);
    return index;
}

/* The masks of one head in full. */
static inline void expand_masks(const call *c, int64_t b, int64_t h, oracle_mask *mask, unsigned char *bytes,
                                float *additive) {
    const atl_attention_args *a = &c->args;
    int64_t keys = c->sizes.keys;
    for (int64_t i = 0; i < c->sizes.queries; i++)
        for (int64_t j = 0; j < keys; j++) {
            const int64_t at[4] = {b, h, i, j};
            if (a->mask)
                bytes[i * keys + j] = a->mask[mask_at(a->mask_rank, a->mask_shape, at)];
            if (a->additive)
                additive[i * keys + j] = a->additive[mask_at(a->additive_rank, a->additive_shape, at)];
        }
    *mask = (oracle_mask){.causal = a->causal,
                          .fill_infinite = a->mask_zero,
                          .mask = a->mask ? bytes : NULL,
                          .mask_query = keys,
                          .mask_key = 1,
                          .additive = a->additive ? additive : NULL,
                          .additive_query = keys,
                          .additive_key = 1};
}

static inline void expect_share(const char *what, const char *which, const float *got, const double *want,
                                const double *bound, int64_t count) {
    int64_t worst;
    double share = oracle_error_share(got, want, bound, count, &worst);
    cr_expect_leq(share, 1, "%s: %s[%lld] = %.9g, expected %.17g, bound %.3g", what, which, (long long)worst,
                  (double)got[worst], want[worst], bound[worst]);
}

/* What a run has left, against the oracle. */
static inline void call_verify(const call *c, oracle_fill fill, const char *what) {
    const sizes *s = &c->sizes;
    const atl_attention_args *a = &c->args;
    int64_t outs = s->queries * s->value_dim, pairs = s->queries * s->keys;
    double *want = calloc((size_t)(2 * (outs + pairs)), sizeof *want), *map = want + 2 * outs;
    unsigned char *bytes = malloc((size_t)pairs);
    float *additive = case_alloc(pairs);
    cr_assert(want && bytes);
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t h = 0; h < s->heads; h++) {
            oracle_attention_inputs in = {s->queries,
                                          s->keys,
                                          s->key_dim,
                                          s->value_dim,
                                          {logical_at(c, QUERY, b, h, 0, 0), s->key_dim, 1},
                                          {logical_at(c, KEY, b, h, 0, 0), s->key_dim, 1},
                                          {logical_at(c, VALUE, b, h, 0, 0), s->value_dim, 1},
                                          isnan(a->scale) ? 1 / sqrt((double)s->key_dim) : (double)a->scale,
                                          {0}};
            expand_masks(c, b, h, &in.mask, bytes, additive);
            cr_assert_eq(oracle_attention(&in, fill, NULL, 0, want, want + outs, map, map + pairs), 0);
            expect_share(what, "output", logical_at(c, OUTPUT, b, h, 0, 0), want, want + outs, outs);
            if (a->map)
                expect_share(what, "map", a->map + (b * s->heads + h) * pairs, map, map + pairs, pairs);
        }
    free(additive);
    free(bytes);
    free(want);
}

static inline void expect_same(const char *what, const char *which, const float *got, const float *want,
                               int64_t count) {
    int64_t at = case_difference(got, want, count);
    cr_expect(at < 0, "%s: %s[%lld] = %a, want %a", what, which, (long long)at, (double)got[at < 0 ? 0 : at],
              (double)want[at < 0 ? 0 : at]);
}

/* ---------------------------------------------------------------- engines */

/* The first, of the reference, on one thread; others that differ in both. Those that this machine lacks are NULL. */
enum { ENGINES = 5 };
static atl_engine *engines[ENGINES];

static inline void open_engines(void) {
    static const int threads[ENGINES] = {1, 8, 2, 3, 2};
    static const char *const isas[ENGINES] = {"scalar", "scalar", "avx2", "avx512", "neon"};
    for (int i = 0; i < ENGINES; i++)
        engines[i] = case_engine(isas[i], threads[i]);
}

static inline void close_engines(void) {
    for (int i = 0; i < ENGINES; i++) {
        atl_engine_release(engines[i]);
        engines[i] = NULL;
    }
}

/* Runs on the first engine, against the oracle, and on the others, which must give the same bits. */
static inline void call_check(call *c, oracle_fill fill, const char *what) {
    call_run(c, engines[0], what);
    call_verify(c, fill, what);
    float *output = case_alloc(c->dense_floats), *map = case_alloc(c->map_floats);
    memcpy(output, c->dense, (size_t)c->dense_floats * sizeof *output);
    if (c->args.map)
        memcpy(map, c->args.map, (size_t)c->map_floats * sizeof *map);
    for (int i = 1; i < ENGINES; i++) {
        if (!engines[i])
            continue;
        call_run(c, engines[i], what);
        expect_same(what, "output on another engine", c->dense, output, c->dense_floats);
        if (c->args.map)
            expect_same(what, "map on another engine", c->args.map, map, c->map_floats);
    }
    free(map);
    free(output);
}

#endif
