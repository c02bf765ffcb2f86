/* SPDX-License-Identifier: Apache-2.0 */
/* What must not change a result of atl_attention: hidden keys, other rows, the layout, the batch, threads and ISA. */
#include <stdio.h>

#include "attention.h"

TestSuite(attention_bits, .init = open_engines, .fini = close_engines);

/* A result to compare with. */
typedef struct result {
    float *output, *map; /* map NULL = none */
} result;

static float *copy_of(const float *from, int64_t count) {
    float *to = case_alloc(count);
    memcpy(to, from, (size_t)count * sizeof *to);
    return to;
}

static result keep(const call *c) {
    return (result){copy_of(c->dense, c->dense_floats), c->args.map ? copy_of(c->args.map, c->map_floats) : NULL};
}

static void drop(result *r) {
    free(r->output);
    free(r->map);
}

/* ---------------------------------------------------------------- NaN and infinities */

enum { HIDE_BYTES, HIDE_ADDITIVE, HIDE_CAUSAL, HIDE_WAYS };
static const char *const ways[HIDE_WAYS] = {"bytes", "additive", "causal"};

static const sizes hostile = {2, 2, 40, 601, 5, 9};
enum { FIRST_HIDDEN = 17, BAD = 5 };
static const int64_t bad_keys[BAD] = {17, 18, 255, 256, 600};

/* Queries up to 16 of every head see none of the bad keys; others, with `all`, neither. */
static bool sees(int way, bool all, int64_t query, int64_t key) {
    if (way == HIDE_CAUSAL)
        return key <= query;
    bool bad = false;
    for (int i = 0; i < BAD; i++)
        bad = bad || key == bad_keys[i];
    return !bad || (!all && query >= FIRST_HIDDEN);
}

static void put_hostile_mask(call *c, int way, bool all, uint8_t *bytes, float *additive) {
    atl_attention_args *a = &c->args;
    for (int64_t i = 0; i < hostile.queries; i++)
        for (int64_t j = 0; j < hostile.keys; j++) {
            bytes[i * hostile.keys + j] = sees(way, all, i, j);
            additive[i * hostile.keys + j] = sees(way, all, i, j) ? (float)(j % 3) : -INFINITY;
        }
    a->causal = way == HIDE_CAUSAL;
    a->mask = way == HIDE_BYTES ? bytes : NULL;
    a->additive = way == HIDE_ADDITIVE ? additive : NULL;
    a->mask_rank = a->additive_rank = 2;
    a->mask_shape[0] = a->additive_shape[0] = hostile.queries;
    a->mask_shape[1] = a->additive_shape[1] = hostile.keys;
}

/* Puts a value into the first or the last feature of every bad key of every head. */
static void spoil(call *c, int tensor, float value) {
    for (int64_t b = 0; b < hostile.batch; b++)
        for (int64_t h = 0; h < hostile.heads; h++)
            for (int i = 0; i < BAD; i++)
                *logical_at(c, tensor, b, h, bad_keys[i], i % 2 ? tensor_dim(&hostile, tensor) - 1 : 0) = value;
    call_load(c);
}

/* Rows that see none of the bad keys have the bits of the clean run. */
static void expect_clean_rows(const call *c, const result *clean, int way, bool all, const char *what) {
    int64_t rows = hostile.batch * hostile.heads * hostile.queries, compared = 0;
    for (int64_t r = 0; r < rows; r++) {
        bool touched = false;
        for (int i = 0; i < BAD; i++)
            touched = touched || sees(way, all, r % hostile.queries, bad_keys[i]);
        if (touched)
            continue;
        compared++;
        expect_same(what, "row", c->dense + r * hostile.value_dim, clean->output + r * hostile.value_dim,
                    hostile.value_dim);
        expect_same(what, "map row", c->args.map + r * hostile.keys, clean->map + r * hostile.keys, hostile.keys);
    }
    cr_expect_geq(compared, hostile.batch * hostile.heads * FIRST_HIDDEN);
}

Test(attention_bits, hidden_keys_leak_nothing) {
    static const float values[] = {NAN, INFINITY, -INFINITY};
    uint8_t *bytes = malloc((size_t)(hostile.queries * hostile.keys));
    float *additive = case_alloc(hostile.queries * hostile.keys);
    for (int n = 0; n < HIDE_WAYS * 2 * 3 * 2; n++) {
        int way = n % HIDE_WAYS, tensor = n / 18 ? KEY : VALUE;
        bool all = n / HIDE_WAYS % 2;
        if (way == HIDE_CAUSAL && all) /* the rule has no such form */
            continue;
        char what[96];
        snprintf(what, sizeof what, "%g in %s hidden by %s, %s", (double)values[n / 6 % 3],
                 tensor == KEY ? "keys" : "values", ways[way], all ? "from all" : "from some");
        call c;
        call_open(&c, &hostile, (layout)(n % LAYOUTS), 20);
        put_hostile_mask(&c, way, all, bytes, additive);
        call_want_map(&c);
        call_run(&c, engines[0], what);
        result clean = keep(&c);
        spoil(&c, tensor, values[n / 6 % 3]);
        call_check(&c, ORACLE_ANY, what);
        expect_clean_rows(&c, &clean, way, all, what);
        for (int e = 0; e < ENGINES; e++)
            if (engines[e]) {
                call_run_without_map(&c, engines[e], what);
                expect_clean_rows(&c, &clean, way, all, what);
            }
        drop(&clean);
        call_close(&c);
    }
    free(additive);
    free(bytes);
}

/* A row that sees nothing is the mean of all values: of a NaN as well. */
Test(attention_bits, nan_in_the_mean_of_all_values) {
    const sizes s = {1, 1, 3, 300, 2, 2};
    const uint8_t mask[3] = {1, 0, 1};
    call c;
    call_open(&c, &s, TOKENS, 1);
    *logical_at(&c, VALUE, 0, 0, 299, 1) = NAN;
    *logical_at(&c, KEY, 0, 0, 299, 1) = NAN;
    call_load(&c);
    c.args.mask = mask;
    c.args.mask_rank = 2;
    c.args.mask_shape[0] = 3;
    c.args.mask_shape[1] = 1;
    call_check(&c, ORACLE_ANY, "a NaN and a row that sees nothing");
    cr_expect(isfinite(*logical_at(&c, OUTPUT, 0, 0, 1, 0)) && isnan(*logical_at(&c, OUTPUT, 0, 0, 1, 1)));
    cr_expect(isnan(*logical_at(&c, OUTPUT, 0, 0, 0, 0)) && isnan(*logical_at(&c, OUTPUT, 0, 0, 2, 1)));
    call_close(&c);
}

Test(attention_bits, nan_query_poisons_its_row_alone) {
    const sizes s = {2, 2, 37, 300, 4, 3};
    for (int causal = 0; causal < 2; causal++) {
        call c;
        call_open(&c, &s, CHANNELS, 30);
        c.args.causal = causal;
        call_want_map(&c);
        call_run(&c, engines[0], "clean");
        result clean = keep(&c);
        *logical_at(&c, QUERY, 1, 0, 20, 2) = NAN;
        call_load(&c);
        call_check(&c, ORACLE_ANY, "a NaN in a query");
        int64_t bad = (1 * s.heads + 0) * s.queries + 20;
        for (int64_t i = 0; i < s.value_dim; i++)
            cr_expect(isnan(c.dense[bad * s.value_dim + i]));
        for (int64_t j = 0; j < s.keys; j++)
            cr_expect(causal && j > 20 ? c.args.map[bad * s.keys + j] == 0 : isnan(c.args.map[bad * s.keys + j]),
                      "causal %d, key %d: %g", causal, (int)j, (double)c.args.map[bad * s.keys + j]);
        memcpy(c.dense + bad * s.value_dim, clean.output + bad * s.value_dim, (size_t)s.value_dim * sizeof(float));
        memcpy(c.args.map + bad * s.keys, clean.map + bad * s.keys, (size_t)s.keys * sizeof(float));
        expect_same("a NaN in a query", "other rows", c.dense, clean.output, c.dense_floats);
        expect_same("a NaN in a query", "other map rows", c.args.map, clean.map, c.map_floats);
        drop(&clean);
        call_close(&c);
    }
}

/* ---------------------------------------------------------------- the same bits */

static const sizes same[] = {
    {3, 1, 257, 255, 8, 40},
    {3, 1, 2, 1300, 65, 3}, /* several chunks of keys */
    {2, 3, 31, 601, 1, 8},
    {5, 2, 33, 33, 40, 65}, /* packed in one buffer */
};
enum { SAME = sizeof same / sizeof *same };

/* A mask over everything, and causal for every second case. */
static void put_mask(call *c, int n) {
    const sizes *s = &c->sizes;
    uint8_t *bytes = malloc((size_t)c->map_floats);
    uint64_t seed = 8;
    cr_assert(bytes);
    for (int64_t i = 0; i < c->map_floats; i++)
        bytes[i] = fill_bits(&seed) % 4 != 0 && i / s->keys % 9 != 4;
    c->args.mask = bytes;
    c->args.mask_rank = 4;
    memcpy(c->args.mask_shape, (int64_t[]){s->batch, s->heads, s->queries, s->keys}, sizeof c->args.mask_shape);
    c->args.causal = n % 2;
}

static void on_cases(void (*body)(call *c, const result *want, const char *what)) {
    for (int n = 0; n < 2 * SAME; n++) {
        call c;
        char what[64];
        snprintf(what, sizeof what, "case %d, %s", n / 2, n % 2 ? "masked" : "plain");
        call_open(&c, &same[n / 2], TOKENS, 50 + (uint64_t)n);
        if (n % 2)
            put_mask(&c, n / 2);
        call_want_map(&c);
        call_run(&c, engines[0], what);
        result want = keep(&c);
        body(&c, &want, what);
        drop(&want);
        free((uint8_t *)c.args.mask);
        call_close(&c);
    }
}

static void expect_result(call *c, const result *want, atl_engine *engine, const char *what) {
    call_run(c, engine, what);
    expect_same(what, "output", c->dense, want->output, c->dense_floats);
    expect_same(what, "map", c->args.map, want->map, c->map_floats);
    call_run_without_map(c, engine, what);
    expect_same(what, "output without the map", c->dense, want->output, c->dense_floats);
}

static void any_isa_and_threads(call *c, const result *want, const char *what) {
    static const int threads[] = {1, 2, 3, 8};
    for (int isa = 0; isa < CASE_ISAS; isa++)
        for (int t = 0; t < 4; t++) {
            atl_engine *engine = case_engine(case_isas[isa], threads[t]);
            if (engine)
                expect_result(c, want, engine, what);
            atl_engine_release(engine);
        }
}

Test(attention_bits, any_isa_and_threads) {
    on_cases(any_isa_and_threads);
}

static void any_layout(call *c, const result *want, const char *what) {
    for (int l = 0; l < LAYOUTS; l++)
        for (int e = 0; e < ENGINES; e++) {
            call_place(c, (layout)l);
            if (engines[e])
                expect_result(c, want, engines[e], what);
        }
}

Test(attention_bits, any_layout) {
    on_cases(any_layout);
}

/* Each sample alone, as a batch of one. */
static void any_position_in_the_batch(call *c, const result *want, const char *what) {
    const sizes *s = &c->sizes;
    int64_t batch = s->batch;
    for (int e = 0; e < ENGINES; e++)
        for (int64_t b = 0; b < batch && engines[e]; b++) {
            call one;
            sizes single = *s;
            single.batch = 1;
            call_open(&one, &single, GAPS, 1);
            for (int t = 0; t < INPUTS; t++)
                memcpy(one.logical[t], logical_at(c, t, b, 0, 0, 0),
                       (size_t)(s->heads * tensor_positions(s, t) * tensor_dim(s, t)) * sizeof(float));
            call_load(&one);
            one.args.causal = c->args.causal;
            one.args.mask_rank = 3;
            one.args.mask = c->args.mask ? c->args.mask + b * one.map_floats : NULL;
            memcpy(one.args.mask_shape, (int64_t[]){s->heads, s->queries, s->keys}, 3 * sizeof(int64_t));
            call_want_map(&one);
            result part = {want->output + b * one.dense_floats, want->map + b * one.map_floats};
            expect_result(&one, &part, engines[e], what);
            call_close(&one);
        }
}

Test(attention_bits, any_position_in_the_batch) {
    on_cases(any_position_in_the_batch);
}

/* Chosen rows are those of the whole map, in the order asked for. */
static void any_map_rows(call *c, const result *want, const char *what) {
    const sizes *s = &c->sizes;
    int64_t last = s->queries - 1, rows[60] = {last, 0, last, last / 2}, count = 4;
    for (; count < 60; count++)
        rows[count] = count * 7 % s->queries;
    float *all = c->args.map, *some = c->args.map = case_alloc(s->batch * s->heads * count * s->keys);
    int64_t map_floats = c->map_floats;
    c->map_floats = s->batch * s->heads * count * s->keys;
    c->args.map_rows = rows;
    c->args.map_row_count = count;
    for (int e = 0; e < ENGINES; e++) {
        if (!engines[e])
            continue;
        call_run(c, engines[e], what);
        expect_same(what, "output", c->dense, want->output, c->dense_floats);
        for (int64_t h = 0; h < s->batch * s->heads; h++)
            for (int64_t r = 0; r < count; r++)
                expect_same(what, "chosen row", some + (h * count + r) * s->keys,
                            want->map + (h * s->queries + rows[r]) * s->keys, s->keys);
    }
    c->args.map = all;
    c->args.map_rows = NULL;
    c->args.map_row_count = 0;
    c->map_floats = map_floats;
    free(some);
}

Test(attention_bits, any_map_rows) {
    on_cases(any_map_rows);
}

/* One query, key and value for all samples, heads and positions: steps of 0. */
Test(attention_bits, inputs_that_repeat) {
    const sizes s = {2, 3, 19, 70, 4, 5};
    call c;
    call_open(&c, &s, TOKENS, 3);
    for (int t = 0; t < INPUTS; t++)
        for (int64_t b = 0; b < s.batch; b++)
            for (int64_t h = 0; h < s.heads; h++)
                for (int64_t i = 0; i < tensor_positions(&s, t); i++)
                    for (int64_t f = 0; f < tensor_dim(&s, t); f++)
                        *logical_at(&c, t, b, h, i, f) = *logical_at(&c, t, 0, 0, t == QUERY ? 0 : i, f);
    call_load(&c);
    call_want_map(&c);
    call_run(&c, engines[0], "repeated by copying");
    result want = keep(&c);
    c.args.query_strides = (atl_attention_strides){0, 0, 0, 1};
    c.args.key_strides = (atl_attention_strides){0, 0, s.heads * s.key_dim, 1};
    c.args.value_strides = (atl_attention_strides){0, 0, s.heads * s.value_dim, 1};
    for (int e = 0; e < ENGINES; e++)
        if (engines[e])
            expect_result(&c, &want, engines[e], "repeated by steps of 0");
    drop(&want);
    call_close(&c);
}
