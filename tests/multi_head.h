/* SPDX-License-Identifier: Apache-2.0 */
/* Multi-head layers with inputs of their own: made, run, checked against the oracle and between engines. */
#ifndef ATL_TESTS_MULTI_HEAD_H
#define ATL_TESTS_MULTI_HEAD_H

#include "attention.h"

enum { BATCH = 3 };

/* A layer, and inputs of BATCH samples. */
typedef struct heads {
    layer_case c;
    int64_t queries, keys, width, heads;
    float *x, *key, *value;
    float *y, *map;      /* of the last run */
    int64_t outs, pairs; /* of a sample: of y, and of the map */
    const uint8_t *mask; /* options, as in atl_run_options */
    const float *additive;
    int mask_rank, additive_rank;
    int64_t mask_shape[4], additive_shape[4];
} heads;

/* `keys` 0 = those of x, which then stands in for key and value. */
static inline void heads_open(heads *t, const char *line, int64_t keys, uint64_t seed) {
    *t = (heads){0};
    case_parse(&t->c, line, seed);
    t->queries = t->c.row.shape[0];
    t->width = t->c.row.shape[1];
    t->keys = keys ? keys : t->queries;
    t->heads = t->c.map_size / (t->c.map_rows * t->c.map_keys);
    t->outs = t->queries * t->width;
    t->pairs = t->heads * t->queries * t->keys;
    t->x = case_alloc(BATCH * t->outs);
    t->y = case_alloc(BATCH * t->outs);
    t->map = case_alloc(BATCH * t->pairs);
    fill(t->x, BATCH * t->outs, FILL_RANDOM, 2, seed + 1);
    if (keys == 0)
        return;
    t->key = case_alloc(BATCH * keys * t->width);
    t->value = case_alloc(BATCH * keys * t->width);
    fill(t->key, BATCH * keys * t->width, FILL_RANDOM, 2, seed + 2);
    fill(t->value, BATCH * keys * t->width, FILL_RANDOM, 2, seed + 3);
}

static inline void heads_close(heads *t) {
    free(t->map);
    free(t->y);
    free(t->value);
    free(t->key);
    free(t->x);
    case_free(&t->c);
}

static inline atl_plan *heads_plan(const heads *t, atl_engine *engine) {
    atl_plan *plan = NULL;
    atl_error error;
    atl_plan_options options;
    atl_plan_options_init(&options);
    options.key_length = t->keys == t->queries ? 0 : t->keys;
    cr_assert_eq(atl_plan_create(t->c.layer, engine, 2, t->c.row.shape, &options, &plan, &error), ATL_OK, "%s",
                 error.message);
    return plan;
}

static inline atl_run_options heads_options(const heads *t) {
    atl_run_options o;
    atl_run_options_init(&o);
    o.key = t->key;
    o.value = t->value;
    o.mask = t->mask;
    o.mask_rank = t->mask_rank;
    o.additive = t->additive;
    o.additive_rank = t->additive_rank;
    memcpy(o.mask_shape, t->mask_shape, sizeof o.mask_shape);
    memcpy(o.additive_shape, t->additive_shape, sizeof o.additive_shape);
    return o;
}

static inline void heads_run(heads *t, atl_engine *engine, bool map) {
    atl_plan *plan = heads_plan(t, engine);
    atl_run_options o = heads_options(t);
    for (int64_t i = 0; i < BATCH * t->outs; i++)
        t->y[i] = untouched;
    for (int64_t i = 0; i < BATCH * t->pairs; i++)
        t->map[i] = untouched;
    case_run(plan, BATCH, t->x, t->y, map ? t->map : NULL, &o);
    atl_plan_release(plan);
}

/* The masks of sample b in full: [heads, queries, keys]. */
static inline void expand(const heads *t, int64_t b, unsigned char *bytes, float *additive) {
    for (int64_t n = 0; n < t->pairs; n++) {
        const int64_t at[4] = {b, n / (t->queries * t->keys), n / t->keys % t->queries, n % t->keys};
        bytes[n] = t->mask ? t->mask[mask_at(t->mask_rank, t->mask_shape, at)] : 1;
        additive[n] = t->additive ? t->additive[mask_at(t->additive_rank, t->additive_shape, at)] : 0;
    }
}

static inline void heads_verify(const heads *t, bool map, const char *what) {
    double *want = calloc((size_t)(2 * (t->outs + t->pairs)), sizeof *want), *maps = want + 2 * t->outs;
    unsigned char *bytes = malloc((size_t)t->pairs);
    float *additive = case_alloc(t->pairs);
    cr_assert(want && bytes);
    for (int64_t b = 0; b < BATCH; b++) {
        int64_t at = b * t->keys * t->width;
        oracle_inputs in = {.x = t->x + b * t->outs,
                            .key = t->key ? t->key + at : NULL,
                            .value = t->value ? t->value + at : NULL,
                            .key_length = t->keys,
                            .mask = t->mask ? bytes : NULL,
                            .mask_shape = {t->heads, t->queries, t->keys},
                            .additive = t->additive ? additive : NULL,
                            .additive_shape = {t->heads, t->queries, t->keys}};
        expand(t, b, bytes, additive);
        cr_assert_eq(oracle_run_inputs(t->c.oracle, 2, t->c.row.shape, &in, ORACLE_ANY, NULL, 0, want, want + t->outs,
                                       maps, maps + t->pairs),
                     0);
        expect_share(what, "y", t->y + b * t->outs, want, want + t->outs, t->outs);
        if (map)
            expect_share(what, "map", t->map + b * t->pairs, maps, maps + t->pairs, t->pairs);
    }
    free(additive);
    free(bytes);
    free(want);
}

/* On the first engine against the oracle, on the others against that. */
static inline void heads_check(heads *t, bool map, const char *what) {
    heads_run(t, engines[0], map);
    heads_verify(t, map, what);
    float *y = case_alloc(BATCH * t->outs), *maps = case_alloc(BATCH * t->pairs);
    memcpy(y, t->y, (size_t)(BATCH * t->outs) * sizeof *y);
    memcpy(maps, t->map, (size_t)(BATCH * t->pairs) * sizeof *maps);
    for (int i = 1; i < ENGINES; i++) {
        if (!engines[i])
            continue;
        heads_run(t, engines[i], map);
        expect_same(what, "y on another engine", t->y, y, BATCH * t->outs);
        expect_same(what, "map on another engine", t->map, maps, BATCH * t->pairs);
    }
    free(maps);
    free(y);
}

/* Two thirds are visible, some rows see nothing; axes in `ones` broadcast. */
static inline void *make_masks(heads *t, int kinds, int rank, int ones, uint64_t seed) {
    const int64_t full[4] = {BATCH, t->heads, t->queries, t->keys};
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= t->mask_shape[i] = t->additive_shape[i] = ones >> i & 1 ? 1 : full[4 - rank + i];
    float *additive = case_alloc(2 * count);
    uint8_t *bytes = (uint8_t *)(additive + count);
    for (int64_t i = 0; i < count; i++) {
        bool row = i / t->keys % 5 == 3;
        bytes[i] = !row && fill_bits(&seed) % 3 ? (uint8_t)(1 + i % 255) : 0;
        additive[i] = row || fill_bits(&seed) % 3 == 0 ? -INFINITY : (float)(fill_bits(&seed) % 17) - 8;
    }
    t->mask = kinds & 1 ? bytes : NULL;
    t->additive = kinds & 2 ? additive : NULL;
    t->mask_rank = kinds & 1 ? rank : 0;
    t->additive_rank = kinds & 2 ? rank : 0;
    return additive;
}

#endif
