/* SPDX-License-Identifier: Apache-2.0 */
/* Masks that say the same in other words give the same bits: keys that are left out, a bias that counts from some key on, or
 * one that heads share, are not to be told from a mask written out. */
#include <stdio.h>

#include "attention.h"

TestSuite(attention_masks, .init = open_engines, .fini = close_engines);

/* A call and the same with its masks written out as [batch, heads, queries, keys], by bytes or by floats. */
typedef struct twins {
    call c;
    uint8_t *bytes;
    float *additive;
    float *output, *map; /* of the written out */
} twins;

static void keep_result(twins *w, const char *what) {
    call_run(&w->c, engines[0], what);
    memcpy(w->output, w->c.dense, (size_t)w->c.dense_floats * sizeof(float));
    memcpy(w->map, w->c.args.map, (size_t)w->c.map_floats * sizeof(float));
}

/* The masks of a call in full: those of bytes and the causal rule as floats as well where `by_floats`. */
static void write_out(twins *w, bool by_floats) {
    const atl_attention_args *a = &w->c.args;
    const sizes *s = &w->c.sizes;
    int64_t n = 0;
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t h = 0; h < s->heads; h++)
            for (int64_t i = 0; i < s->queries; i++)
                for (int64_t j = 0; j < s->keys; j++, n++) {
                    const int64_t at[4] = {b, h, i, j};
                    bool seen =
                        !(a->causal && j > i) && (!a->mask || a->mask[mask_at(a->mask_rank, a->mask_shape, at)]);
                    float value = a->additive ? a->additive[mask_at(a->additive_rank, a->additive_shape, at)] : 0.0f;
                    w->bytes[n] = seen;
                    w->additive[n] = seen || !by_floats ? value : -INFINITY;
                }
}

static void run_written_out(twins *w, bool by_floats, const char *what) {
    const atl_attention_args given = w->c.args;
    const sizes *s = &w->c.sizes;
    atl_attention_args *a = &w->c.args;
    write_out(w, by_floats);
    a->causal = 0;
    a->mask = by_floats ? NULL : w->bytes;
    a->additive = by_floats || given.additive ? w->additive : NULL;
    a->mask_rank = a->additive_rank = 4;
    memcpy(a->mask_shape, (int64_t[]){s->batch, s->heads, s->queries, s->keys}, sizeof a->mask_shape);
    memcpy(a->additive_shape, a->mask_shape, sizeof a->additive_shape);
    keep_result(w, what);
    *a = given;
}

static void expect_twins(twins *w, const char *what) {
    for (int by_floats = 0; by_floats < 2; by_floats++) {
        run_written_out(w, by_floats, what);
        for (int e = 0; e < ENGINES; e++) {
            if (!engines[e])
                continue;
            call_run_without_map(&w->c, engines[e], what);
            expect_same(what, "output without the map", w->c.dense, w->output, w->c.dense_floats);
            call_run(&w->c, engines[e], what);
            expect_same(what, "output", w->c.dense, w->output, w->c.dense_floats);
            expect_same(what, "map", w->c.args.map, w->map, w->c.map_floats);
        }
    }
    call_verify(&w->c, ORACLE_ANY, what);
}

static void open_twins(twins *w, const sizes *s, uint64_t seed) {
    call_open(&w->c, s, (layout)(seed % LAYOUTS), seed);
    call_want_map(&w->c);
    w->bytes = malloc((size_t)w->c.map_floats);
    w->additive = case_alloc(w->c.map_floats);
    w->output = case_alloc(w->c.dense_floats);
    w->map = case_alloc(w->c.map_floats);
    cr_assert(w->bytes);
}

static void close_twins(twins *w) {
    free(w->bytes);
    free(w->additive);
    free(w->output);
    free(w->map);
    call_close(&w->c);
}

static void set_shape(int64_t shape[4], int *rank, int axes, const int64_t *sizes) {
    *rank = axes;
    memcpy(shape, sizes, (size_t)axes * sizeof *sizes);
}

/* ---------------------------------------------------------------- key padding */

/* Keys [from, to) are visible to all: by bytes, by floats, or by floats that add something. */
static void expect_run(twins *w, int64_t from, int64_t to, int form) {
    const sizes *s = &w->c.sizes;
    uint8_t bytes[600];
    float additive[600];
    char what[96];
    cr_assert_leq(s->keys, 600);
    snprintf(what, sizeof what, "keys [%d, %d) of %d, form %d", (int)from, (int)to, (int)s->keys, form);
    for (int64_t j = 0; j < s->keys; j++) {
        bytes[j] = j >= from && j < to;
        additive[j] = !bytes[j] ? -INFINITY : form == 2 ? (float)(j % 5) * 0.5f : 0.0f;
    }
    w->c.args.mask = form ? NULL : bytes;
    w->c.args.additive = form ? additive : NULL;
    set_shape(w->c.args.mask_shape, &w->c.args.mask_rank, 1, &s->keys);
    set_shape(w->c.args.additive_shape, &w->c.args.additive_rank, 1, &s->keys);
    expect_twins(w, what);
}

Test(attention_masks, runs_of_visible_keys) {
    static const sizes s[] = {{1, 2, 9, 300, 20, 3}, {1, 1, 40, 523, 3, 5}};
    static const int64_t ends[] = {0, 1, 11, 12, 13, 100, 255, 256, 257, 299, 300};
    for (int n = 0; n < 2; n++) {
        twins w;
        open_twins(&w, &s[n], 70 + (uint64_t)n);
        for (int i = 0; i < 11; i++)
            for (int k = i + 1; k < 11; k++)
                expect_run(&w, ends[i], ends[k], (i + k + n) % 3);
        expect_run(&w, 20, 20, 0); /* nothing */
        close_twins(&w);
    }
}

/* ---------------------------------------------------------------- causal */

Test(attention_masks, causal_of_every_remainder) {
    for (int64_t n = 1; n < 70; n += n < 36 ? 1 : 7) {
        const sizes s = {1, 2, n, n % 4 == 1 ? n + 250 : n % 4 == 2 ? (n + 1) / 2 : n, n % 3 ? 2 : 17, 3};
        char what[64];
        twins w;
        snprintf(what, sizeof what, "causal, %d queries, %d keys", (int)n, (int)s.keys);
        open_twins(&w, &s, 90 + (uint64_t)n);
        w.c.args.causal = 1;
        expect_twins(&w, what);
        close_twins(&w);
    }
}

Test(attention_masks, causal_over_blocks) {
    const sizes s = {2, 3, 601, 530, 16, 3};
    twins w;
    open_twins(&w, &s, 3);
    w.c.args.causal = 1;
    expect_twins(&w, "causal over blocks");
    close_twins(&w);
}

/* ---------------------------------------------------------------- masks of queries and keys */

enum { ALL_ADD, SOME_EXCLUDE, SQUARES_EXCLUDE, KINDS };

/* An additive mask: finite; with single keys excluded; or with whole squares of keys and queries excluded, which may be
 * left out, and others that add nothing. */
static float element(int kind, int64_t i, int64_t j, uint64_t *seed) {
    float value = (float)(fill_bits(seed) % 1000) / 250.0f - 2.0f;
    if (kind == SQUARES_EXCLUDE)
        return i / 32 % 3 == j / 64 % 3 ? -INFINITY : j / 64 % 2 ? 0.0f : value;
    return kind == SOME_EXCLUDE && fill_bits(seed) % 4 == 0 ? -INFINITY : value;
}

Test(attention_masks, shared_by_heads_and_samples) {
    const sizes s = {2, 8, 131, 400, 18, 5};
    const int64_t shapes[][4] = {
        {1, 1, s.queries, s.keys}, {s.batch, 1, s.queries, s.keys}, {1, s.heads, s.queries, 1}};
    twins w;
    open_twins(&w, &s, 11);
    float *additive = case_alloc(s.batch * s.heads * s.queries * s.keys);
    for (int n = 0; n < 3 * KINDS; n++) {
        const int64_t *shape = shapes[n / KINDS];
        uint64_t seed = 5 + (uint64_t)n;
        char what[64];
        snprintf(what, sizeof what, "shape %d, kind %d", n / KINDS, n % KINDS);
        for (int64_t r = 0; r < shape[0] * shape[1] * shape[2]; r++)
            for (int64_t j = 0; j < shape[3]; j++)
                additive[r * shape[3] + j] = element(n % KINDS, r % shape[2], j, &seed);
        w.c.args.additive = additive;
        w.c.args.causal = n % 2;
        set_shape(w.c.args.additive_shape, &w.c.args.additive_rank, 4, shape);
        expect_twins(&w, what);
    }
    free(additive);
    close_twins(&w);
}

/* ---------------------------------------------------------------- maps of rows that are NaN */

/* What is excluded is 0 in a row of NaN as well, whether the row is one of all or asked for. */
Test(attention_masks, excluded_in_a_row_of_nan) {
    const sizes s = {1, 1, 40, 300, 24, 3};
    const int64_t rows[] = {20, 21};
    uint8_t mask[300];
    call c;
    call_open(&c, &s, TOKENS, 4);
    *logical_at(&c, QUERY, 0, 0, 20, 23) = NAN;
    call_load(&c);
    call_want_map(&c);
    for (int64_t j = 0; j < s.keys; j++)
        mask[j] = j % 3 == 0;
    c.args.mask = mask;
    set_shape(c.args.mask_shape, &c.args.mask_rank, 1, &s.keys);
    call_check(&c, ORACLE_ANY, "a row of NaN, masked");
    float *all = c.args.map, some[2 * 300];
    for (int64_t j = 0; j < s.keys; j++)
        cr_expect(mask[j] ? isnan(all[20 * s.keys + j]) : all[20 * s.keys + j] == 0, "key %d", (int)j);
    c.args.map = some;
    c.args.map_rows = rows;
    c.args.map_row_count = 2;
    c.map_floats = 2 * s.keys;
    for (int e = 0; e < ENGINES; e++)
        if (engines[e]) {
            call_run(&c, engines[e], "chosen rows");
            expect_same("chosen rows", "map", some, all + 20 * s.keys, 2 * s.keys);
        }
    c.args.map = all;
    call_close(&c);
}
