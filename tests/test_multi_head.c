/* SPDX-License-Identifier: Apache-2.0 */
/* Multi-head attention with a key, a value and masks of its own, against the oracle and bit by bit. */
#include <stdio.h>

#include "multi_head.h"

TestSuite(multi_head, .init = open_engines, .fini = close_engines);

/* ---------------------------------------------------------------- key and value */

Test(multi_head, key_and_value_of_any_length) {
    static const int64_t keys[] = {1, 2, 31, 255, 256, 257, 601};
    static const char *const lines[] = {
        "multi-head one 1 17x24 set.num_heads=3",
        "multi-head causal 1 33x10 set.num_heads=2 set.causal=true bias=0",
        "multi-head wide 1 1x65 set.num_heads=1 set.scale=-0.3",
        "multi-head more 1 300x6 set.num_heads=2 set.causal=1",
    };
    for (size_t l = 0; l < sizeof lines / sizeof *lines; l++)
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            heads t;
            char what[64];
            snprintf(what, sizeof what, "line %d, %d keys", (int)l, (int)keys[k]);
            heads_open(&t, lines[l], keys[k], 10 * l + k);
            heads_check(&t, k % 2, what);
            heads_close(&t);
        }
}

/* Of the length of x: one of them may be left out, and x may be named. */
Test(multi_head, x_in_place_of_key_or_value) {
    for (int n = 0; n < 9; n++) {
        heads t;
        char what[64];
        heads_open(&t, "multi-head mh 1 29x12 set.num_heads=2", 29, 70);
        snprintf(what, sizeof what, "key %d, value %d", n % 3, n / 3);
        float *key = t.key,
              *value = t.value, *const keys[] = {t.key, NULL, t.x}, *const values[] = {t.value, NULL, t.x};
        t.key = keys[n % 3];
        t.value = values[n / 3];
        heads_check(&t, true, what);
        t.key = key;
        t.value = value;
        heads_close(&t);
    }
}

/* Queries may be the first of the keys, as where one class token looks at all tokens. */
Test(multi_head, x_at_the_beginning_of_key) {
    heads t;
    heads_open(&t, "multi-head class 1 2x12 set.num_heads=3", 40, 80);
    float *want = case_alloc(t.outs);
    for (int e = 0; e < ENGINES; e++) {
        if (!engines[e])
            continue;
        memcpy(t.x, t.key, (size_t)t.outs * sizeof(float));
        atl_plan *plan = heads_plan(&t, engines[e]);
        atl_run_options o;
        atl_error error;
        atl_run_options_init(&o);
        o.key = o.value = t.key;
        case_run(plan, 1, t.x, want, NULL, &o);
        case_run(plan, 1, t.key, t.y, NULL, &o);
        expect_same("x within key", "y", t.y, want, t.outs);
        /* y over the first keys is over keys that are still needed. */
        case_expect_error("y = x within key", atl_run(plan, 1, t.key, t.key, NULL, &o, &error), ATL_INVALID_ARGUMENT,
                          &error, CASE_WORDS("y of sample 0", "overlaps", "key"));
        atl_plan_release(plan);
    }
    free(want);
    heads_close(&t);
}

/* ---------------------------------------------------------------- masks */

static void check_masks(const char *line, int64_t keys) {
    uint64_t seed = 1;
    for (int rank = 0; rank <= 4; rank++)
        for (int ones = 0; ones < 1 << rank; ones++)
            for (int kinds = 1; kinds <= 3; kinds++) {
                heads t;
                char what[96];
                heads_open(&t, line, keys, 5);
                void *masks = make_masks(&t, kinds, rank, ones, ++seed);
                snprintf(what, sizeof what, "%s: masks %d of rank %d, ones %d", t.c.row.name, kinds, rank, ones);
                heads_check(&t, seed % 3 != 0, what);
                free(masks);
                heads_close(&t);
            }
}

Test(multi_head, masks) {
    check_masks("multi-head mean 1 9x6 set.num_heads=2", 13);
}

Test(multi_head, masks_filled_with_infinity) {
    check_masks("multi-head zero 1 6x6 set.num_heads=3 set.mask_fill=-inf", 0);
}

Test(multi_head, masks_and_causal) {
    check_masks("multi-head causal 1 7x4 set.num_heads=2 set.causal=true", 270);
}

/* A row that sees nothing: fc of the mean of the values, or its bias alone. */
Test(multi_head, mask_fill) {
    for (int zero = 0; zero < 2; zero++) {
        heads t;
        static const uint8_t hidden = 0;
        heads_open(&t,
                   zero ? "multi-head zero 1 5x4 set.num_heads=2 set.mask_fill=-inf"
                        : "multi-head mean 1 5x4 set.num_heads=2 set.mask_fill=-1e9",
                   8, 3);
        t.mask = &hidden;
        heads_check(&t, true, "all hidden");
        for (int64_t i = 0; i < t.outs; i++)
            cr_expect(!zero || t.y[i] == case_weight(&t.c, "fc.bias")[i % 4], "y[%d] = %g", (int)i, (double)t.y[i]);
        for (int64_t i = 0; i < BATCH * t.pairs; i++)
            cr_expect_eq(t.map[i], zero ? 0 : 0.125f);
        heads_close(&t);
    }
}

/* Keys that are hidden may hold anything. */
Test(multi_head, hidden_keys_leak_nothing) {
    heads t;
    heads_open(&t, "multi-head mh 1 11x8 set.num_heads=2", 301, 4);
    uint8_t mask[301];
    for (int j = 0; j < 301; j++)
        mask[j] = j % 50 != 7;
    t.mask = mask;
    t.mask_rank = 1;
    t.mask_shape[0] = 301;
    heads_check(&t, true, "clean");
    float *want = case_alloc(BATCH * t.outs);
    memcpy(want, t.y, (size_t)(BATCH * t.outs) * sizeof *want);
    for (int64_t i = 0; i < BATCH * 301; i++)
        if (!mask[i % 301]) {
            t.key[i * 8 + i % 8] = NAN;
            t.value[i * 8] = i % 2 ? INFINITY : NAN;
        }
    heads_check(&t, true, "NaN in hidden keys");
    expect_same("NaN in hidden keys", "y", t.y, want, BATCH * t.outs);
    free(want);
    heads_close(&t);
}

/* ---------------------------------------------------------------- samples that lie anywhere */

/* What one sample gives alone, with masks of rank 3 or less of its own. */
static void run_alone(const heads *t, const atl_plan *plan, const atl_sample *s, float *y, float *map) {
    atl_run_options o = heads_options(t);
    o.key = s->key;
    o.value = s->value;
    o.mask = s->mask;
    o.additive = s->additive;
    case_run(plan, 1, s->x, y, map, &o);
}

/* More samples than a wave has, in any order, with masks or without, the same key for several. */
static void check_samples(int rank, atl_engine *engine) {
    enum { SAMPLES = 150 };
    heads t;
    char what[32];
    snprintf(what, sizeof what, "rank %d", rank);
    heads_open(&t, "multi-head mh 1 9x6 set.num_heads=2", 13, 6);
    void *masks = make_masks(&t, 3, rank, 0, 9);
    float *y = case_alloc(SAMPLES * t.outs), *map = case_alloc(SAMPLES * t.pairs), *want = case_alloc(t.outs + t.pairs);
    atl_sample samples[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        samples[i] = (atl_sample){.x = t.x + i % BATCH * t.outs,
                                  .y = y + (SAMPLES - 1 - i) * t.outs,
                                  .map = map + i * t.pairs,
                                  .key = t.key + i / 2 % BATCH * t.keys * t.width,
                                  .value = t.value + i / 3 % BATCH * t.keys * t.width,
                                  .mask = i % 2 ? t.mask : NULL,
                                  .additive = i % 5 < 2 ? t.additive : NULL};
    atl_plan *plan = heads_plan(&t, engine);
    atl_run_options o = heads_options(&t);
    atl_error error;
    o.key = o.value = o.additive = NULL;
    o.mask = NULL;
    cr_assert_eq(atl_run_samples(plan, SAMPLES, samples, sizeof *samples, &o, &error), ATL_OK, "%s", error.message);
    for (int i = 0; i < SAMPLES; i++) {
        run_alone(&t, plan, &samples[i], want, want + t.outs);
        expect_same(what, "y", samples[i].y, want, t.outs);
        expect_same(what, "map", samples[i].map, want + t.outs, t.pairs);
    }
    atl_plan_release(plan);
    free(want);
    free(map);
    free(y);
    free(masks);
    heads_close(&t);
}

Test(multi_head, samples_with_pointers_of_their_own) {
    for (int rank = 0; rank <= 3; rank++)
        for (int e = 0; e < ENGINES; e++)
            if (engines[e])
                check_samples(rank, engines[e]);
}

/* In place, in a batch with strides: y over x, with a key apart and with x in place of it. */
Test(multi_head, in_place) {
    for (int stands_in = 0; stands_in < 2; stands_in++)
        for (int e = 0; e < ENGINES; e++) {
            heads t;
            if (!engines[e])
                continue;
            heads_open(&t, "multi-head mh 1 29x12 set.num_heads=2", stands_in ? 0 : 29, 12);
            heads_run(&t, engines[e], false);
            atl_plan *plan = heads_plan(&t, engines[e]);
            atl_run_options o = heads_options(&t);
            int64_t gap = t.outs + 5;
            float *both = case_alloc(BATCH * gap);
            for (int b = 0; b < BATCH; b++)
                memcpy(both + b * gap, t.x + b * t.outs, (size_t)t.outs * sizeof *both);
            o.x_stride = o.y_stride = gap;
            case_run(plan, BATCH, both, both, NULL, &o);
            for (int b = 0; b < BATCH; b++)
                expect_same("in place", "y", both + b * gap, t.y + b * t.outs, t.outs);
            free(both);
            atl_plan_release(plan);
            heads_close(&t);
        }
}
