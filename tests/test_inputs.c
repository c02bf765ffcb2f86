/* SPDX-License-Identifier: Apache-2.0 */
/* Key, value and masks of a run: where they lie, and what is refused. */
#include <stdio.h>

#include "multi_head.h"

TestSuite(inputs, .init = open_engines, .fini = close_engines);

/* Keys and values with gaps between the samples. */
Test(inputs, strides_of_key_and_value) {
    heads t;
    heads_open(&t, "multi-head mh 1 9x6 set.num_heads=2", 13, 6);
    heads_run(&t, engines[0], false);
    int64_t size = t.keys * t.width;
    float *key = case_alloc(BATCH * (size + 1)), *value = case_alloc(BATCH * (size + 7)),
          *y = case_alloc(BATCH * t.outs);
    for (int b = 0; b < BATCH; b++) {
        memcpy(key + b * (size + 1), t.key + b * size, (size_t)size * sizeof *key);
        memcpy(value + b * (size + 7), t.value + b * size, (size_t)size * sizeof *value);
    }
    atl_plan *plan = heads_plan(&t, engines[0]);
    atl_run_options o = heads_options(&t);
    o.key = key;
    o.value = value;
    o.key_stride = size + 1;
    o.value_stride = size + 7;
    case_run(plan, BATCH, t.x, y, NULL, &o);
    expect_same("strides", "y", y, t.y, BATCH * t.outs);
    atl_plan_release(plan);
    free(y);
    free(value);
    free(key);
    heads_close(&t);
}

/* ---------------------------------------------------------------- refusals */

/* A run that works: three samples with everything. */
typedef struct good {
    heads t;
    atl_plan *plan;
    void *masks;
    atl_run_options options;
    atl_sample samples[BATCH];
} good;

static void good_open(good *g) {
    heads_open(&g->t, "multi-head mh 1 9x6 set.num_heads=2", 13, 6);
    heads *t = &g->t;
    g->masks = make_masks(t, 3, 3, 0, 2);
    g->plan = heads_plan(t, engines[0]);
    g->options = heads_options(t);
    for (int b = 0; b < BATCH; b++)
        g->samples[b] = (atl_sample){.x = t->x + b * t->outs,
                                     .y = t->y + b * t->outs,
                                     .map = t->map + b * t->pairs,
                                     .key = t->key + b * t->keys * t->width,
                                     .value = t->value + b * t->keys * t->width,
                                     .mask = t->mask,
                                     .additive = t->additive};
}

static void good_close(good *g) {
    atl_plan_release(g->plan);
    free(g->masks);
    heads_close(&g->t);
}

static void clear_outputs(heads *t) {
    for (int64_t i = 0; i < BATCH * t->outs; i++)
        t->y[i] = untouched;
    for (int64_t i = 0; i < BATCH * t->pairs; i++)
        t->map[i] = untouched;
}

static void expect_untouched(const heads *t, const char *what) {
    for (int64_t i = 0; i < BATCH * t->outs; i++)
        cr_assert_eq(t->y[i], untouched, "%s: y[%d] is written", what, (int)i);
    for (int64_t i = 0; i < BATCH * t->pairs; i++)
        cr_assert_eq(t->map[i], untouched, "%s: map[%d] is written", what, (int)i);
}

/* The run with its options as they are, refused; then they are mended. */
static void refuse(good *g, const char *what, const char *const words[]) {
    heads *t = &g->t;
    atl_error error = {0};
    clear_outputs(t);
    case_expect_error(what, atl_run(g->plan, BATCH, t->x, t->y, t->map, &g->options, &error), ATL_INVALID_ARGUMENT,
                      &error, words);
    expect_untouched(t, what);
    g->options = heads_options(t);
}

/* The same for samples; key, value and masks of the options are not theirs. */
static void refuse_samples(good *g, const char *what, const char *const words[]) {
    heads *t = &g->t;
    atl_error error = {0};
    clear_outputs(t);
    case_expect_error(what, atl_run_samples(g->plan, BATCH, g->samples, sizeof(atl_sample), &g->options, &error),
                      ATL_INVALID_ARGUMENT, &error, words);
    expect_untouched(t, what);
    for (int b = 0; b < BATCH; b++) {
        g->samples[b].key = t->key + b * t->keys * t->width;
        g->samples[b].value = t->value + b * t->keys * t->width;
        g->samples[b].mask = t->mask;
        g->samples[b].additive = t->additive;
    }
    g->options = heads_options(t);
    g->options.key = g->options.value = g->options.additive = NULL;
    g->options.mask = NULL;
}

Test(inputs, good_runs) {
    good g;
    atl_error error;
    good_open(&g);
    case_run(g.plan, BATCH, g.t.x, g.t.y, g.t.map, &g.options);
    g.options.key = g.options.value = g.options.additive = NULL;
    g.options.mask = NULL;
    cr_expect_eq(atl_run_samples(g.plan, BATCH, g.samples, sizeof(atl_sample), &g.options, &error), ATL_OK, "%s",
                 error.message);
    good_close(&g);
}

static void refuse_shapes(good *g, const char *name, int *rank, int64_t *shape) {
    static const char *const axes[] = {"heads", "queries", "keys"};
    static const char *const full[] = {"expected 1 or 2", "expected 1 or 9", "expected 1 or 13"};
    char word[32];
    snprintf(word, sizeof word, "%s_rank", name);
    *rank = 5;
    refuse(g, word, CASE_WORDS(word, "0 to 4", "got 5"));
    *rank = -1;
    refuse(g, word, CASE_WORDS(word, "0 to 4", "got -1"));
    snprintf(word, sizeof word, "%s_shape", name);
    for (int i = 0; i < 3; i++)
        for (int64_t wrong = -1; wrong <= 3; wrong += wrong ? 1 : 3) { /* -1, 0, 3 */
            char got[16];
            snprintf(got, sizeof got, "got %d", (int)wrong);
            shape[i] = wrong;
            refuse(g, word, CASE_WORDS(word, axes[i], full[i], got));
        }
    *rank = 4;
    memmove(shape + 1, shape, 3 * sizeof *shape);
    shape[0] = BATCH - 1;
    refuse(g, word, CASE_WORDS(word, "batch", "expected 1 or 3", "got 2"));
}

Test(inputs, refused_masks) {
    good g;
    good_open(&g);
    refuse_shapes(&g, "mask", &g.options.mask_rank, g.options.mask_shape);
    refuse_shapes(&g, "additive", &g.options.additive_rank, g.options.additive_shape);
    good_close(&g);
}

Test(inputs, refused_strides) {
    good g;
    good_open(&g);
    struct {
        const char *name;
        int64_t *stride;
    } strides[] = {{"key_stride", &g.options.key_stride}, {"value_stride", &g.options.value_stride}};
    for (int i = 0; i < 2; i++) {
        *strides[i].stride = 13 * 6 - 1;
        refuse(&g, strides[i].name, CASE_WORDS(strides[i].name, "overlap", "expected 78", "got 77"));
        *strides[i].stride = -78;
        refuse(&g, strides[i].name, CASE_WORDS(strides[i].name, "got -78"));
        *strides[i].stride = INT64_MAX / 2;
        refuse(&g, strides[i].name, CASE_WORDS(strides[i].name, "address space"));
    }
    good_close(&g);
}

Test(inputs, refused_pointers) {
    good g;
    good_open(&g);
    g.options.key = NULL;
    refuse(&g, "key", CASE_WORDS("key of sample 0", "cannot stand in", "expected 13 positions, x has 9"));
    g.options.value = NULL;
    refuse(&g, "value", CASE_WORDS("value of sample 0", "cannot stand in", "expected 13 positions, x has 9"));
    const float **const pointers[] = {&g.options.key, &g.options.value, &g.options.additive};
    for (int i = 0; i < 3; i++) {
        *pointers[i] = (const float *)((const char *)*pointers[i] + 1);
        refuse(&g, "misaligned", CASE_WORDS("key, value or additive of sample", "aligned"));
    }
    good_close(&g);
}

Test(inputs, refused_overlap) {
    good g;
    good_open(&g);
    const float *const outputs[] = {g.t.y, g.t.map};
    static const char *const names[] = {"y of sample", "map of sample"};
    for (int i = 0; i < 2; i++) {
        g.options.key = outputs[i] + 1;
        refuse(&g, "key", CASE_WORDS(names[i], "overlaps key of sample"));
        g.options.value = outputs[i];
        refuse(&g, "value", CASE_WORDS(names[i], "overlaps value of sample"));
        g.options.additive = outputs[i] + 3;
        refuse(&g, "additive", CASE_WORDS(names[i], "overlaps additive of sample"));
        g.options.mask = (const uint8_t *)outputs[i] - 5;
        refuse(&g, "mask", CASE_WORDS(names[i], "overlaps mask of sample"));
    }
    good_close(&g);
}

Test(inputs, refused_samples) {
    good g;
    good_open(&g);
    refuse_samples(&g, "key and masks in options", CASE_WORDS("key, value, mask, additive", "NULL with samples"));
    const float *key = g.t.key;
    g.options.key = key;
    refuse_samples(&g, "a key in options", CASE_WORDS("key", "NULL with samples"));
    g.samples[1].key = NULL;
    refuse_samples(&g, "no key", CASE_WORDS("key of sample 1", "cannot stand in"));
    g.samples[2].value = NULL;
    refuse_samples(&g, "no value", CASE_WORDS("value of sample 2", "cannot stand in"));
    g.samples[2].additive = (const float *)((const char *)g.samples[2].additive + 2);
    refuse_samples(&g, "misaligned", CASE_WORDS("sample 2", "aligned"));
    g.samples[1].key = g.t.y + 2 * g.t.outs;
    refuse_samples(&g, "a key in the output of another", CASE_WORDS("y of sample", "overlaps key of sample 1"));
    g.options.mask_rank = 4;
    refuse_samples(&g, "rank", CASE_WORDS("mask_rank", "0 to 3", "got 4"));
    g.options.additive_shape[2] = 9;
    refuse_samples(&g, "shape", CASE_WORDS("additive_shape", "keys", "expected 1 or 13", "got 9"));
    good_close(&g);
}

/* Kinds that look at x alone. */
Test(inputs, kinds_that_take_none) {
    layer_case c;
    atl_error error;
    atl_run_options o;
    static const char *const names[] = {"key", "value", "mask", "additive"};
    case_parse(&c, "se se 1 4x3x5 hidden=2", 1);
    atl_plan *plan = case_plan(&c, engines[0]);
    float *x = case_alloc(c.size), *y = case_alloc(c.size);
    for (int i = 0; i < 4; i++) {
        atl_run_options_init(&o);
        const void *const set = x;
        void *const options[] = {&o.key, &o.value, &o.mask, &o.additive};
        memcpy(options[i], &set, sizeof set);
        case_expect_error(names[i], atl_run(plan, 1, x, y, NULL, &o, &error), ATL_INVALID_ARGUMENT, &error,
                          CASE_WORDS(names[i], "se takes none"));
        atl_sample sample = {.x = x, .y = y};
        void *const fields[] = {&sample.key, &sample.value, &sample.mask, &sample.additive};
        memcpy(fields[i], &set, sizeof set);
        case_expect_error(names[i], atl_run_samples(plan, 1, &sample, sizeof sample, NULL, &error),
                          ATL_INVALID_ARGUMENT, &error, CASE_WORDS(names[i], "sample 0", "se takes none"));
    }
    free(y);
    free(x);
    atl_plan_release(plan);
    case_free(&c);
}

/* ---------------------------------------------------------------- plans */

static void refuse_plan(const heads *t, int64_t queries, int64_t width, int64_t keys, atl_status want,
                        const char *const words[]) {
    const int64_t shape[] = {queries, width};
    atl_plan *plan = NULL;
    atl_error error;
    atl_plan_options options;
    atl_plan_options_init(&options);
    options.key_length = keys;
    case_expect_error("plan", atl_plan_create(t->c.layer, engines[0], 2, shape, &options, &plan, &error), want, &error,
                      words);
    cr_expect_null(plan);
}

Test(inputs, refused_plans) {
    heads t;
    heads_open(&t, "multi-head mh 1 9x6 set.num_heads=2", 0, 1);
    refuse_plan(&t, 9, 6, -1, ATL_INVALID_ARGUMENT, CASE_WORDS("key_length", "got -1"));
    refuse_plan(&t, 9, 7, 0, ATL_INVALID_ARGUMENT, CASE_WORDS("width", "6", "7"));
    refuse_plan(&t, 9, 6, INT64_MAX, ATL_OUT_OF_MEMORY, CASE_WORDS("key_length", "9223372036854775807"));
    /* Sizes that panels make too large: of queries, of keys, of a head's partial results. */
    refuse_plan(&t, (int64_t)3 << 56, 6, 1, ATL_OUT_OF_MEMORY, CASE_WORDS("workspace"));
    refuse_plan(&t, 9, 6, (int64_t)3 << 55, ATL_OUT_OF_MEMORY, CASE_WORDS("workspace"));
    refuse_plan(&t, (int64_t)1 << 50, 6, (int64_t)1 << 50, ATL_OUT_OF_MEMORY, CASE_WORDS("workspace"));
    heads_close(&t);
}
