/* SPDX-License-Identifier: Apache-2.0 */
/* What atl_attention refuses: with a message that names the argument, and without touching output or map. */
#include <stdio.h>

#include "attention.h"

static atl_engine *engine;
static call c;               /* a good call with everything, to be spoilt */
static atl_attention_args a; /* its arguments, to be spoilt and mended */
static uint8_t mask[2 * 3 * 5 * 7];
static float additive[5 * 7];
static const int64_t map_rows[2] = {4, 0};

static void mend(void) {
    a = c.args;
    a.mask = mask;
    a.mask_rank = 4;
    memcpy(a.mask_shape, (int64_t[]){2, 3, 5, 7}, sizeof a.mask_shape);
    a.additive = additive;
    a.additive_rank = 2;
    a.additive_shape[0] = 5;
    a.additive_shape[1] = 7;
    a.map_rows = map_rows;
    a.map_row_count = 2;
}

static void set_up(void) {
    const sizes s = {2, 3, 5, 7, 4, 6};
    engine = case_engine("scalar", 2);
    call_open(&c, &s, TOKENS, 1);
    call_want_map(&c);
    memset(mask, 1, sizeof mask);
    mend();
}

static void tear_down(void) {
    call_close(&c);
    atl_engine_release(engine);
}

TestSuite(attention_errors, .init = set_up, .fini = tear_down);

static void expect_untouched(const char *what, const float *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        cr_assert_eq(values[i], untouched, "%s: written at %lld", what, (long long)i);
}

/* The spoilt arguments are refused; then they are mended. */
static void refuse(const char *what, atl_status want, const char *const words[]) {
    atl_error error = {0};
    for (int64_t i = 0; i < c.output_floats; i++)
        c.args.output[i] = untouched;
    for (int64_t i = 0; i < c.map_floats; i++)
        c.args.map[i] = untouched;
    case_expect_error(what, atl_attention(engine, &a, &error), want, &error, words);
    expect_untouched(what, c.args.output, c.output_floats);
    expect_untouched(what, c.args.map, c.map_floats);
    cr_expect_eq(atl_attention(engine, &a, NULL), want, "%s, without an error to fill", what);
    mend();
}

static void accept(const char *what) {
    atl_error error = {0};
    cr_expect_eq(atl_attention(engine, &a, &error), ATL_OK, "%s: %s", what, error.message);
    mend();
}

Test(attention_errors, good_calls) {
    accept("everything");
    a.mask = NULL;
    a.mask_rank = 9;
    a.additive = NULL;
    a.additive_shape[0] = -1;
    accept("a rank and a shape without a mask");
    a.map = NULL;
    a.map_rows = NULL;
    a.map_row_count = 0;
    accept("no map");
    a.scale = 0;
    accept("a scale of 0");
}

Test(attention_errors, pointers) {
    atl_error error;
    case_expect_error("no engine", atl_attention(NULL, &a, &error), ATL_INVALID_ARGUMENT, &error,
                      CASE_WORDS("engine", "NULL"));
    case_expect_error("no args", atl_attention(engine, NULL, &error), ATL_INVALID_ARGUMENT, &error,
                      CASE_WORDS("args", "NULL"));
    static const char *const names[] = {"query", "key", "value", "output", "map", "additive"};
    void *const fields[] = {&a.query, &a.key, &a.value, &a.output, &a.map, &a.additive};
    for (int i = 0; i < 6; i++) {
        char *misaligned;
        memcpy(&misaligned, fields[i], sizeof misaligned);
        misaligned += 2;
        memcpy(fields[i], &misaligned, sizeof misaligned);
        refuse(names[i], ATL_INVALID_ARGUMENT, CASE_WORDS(names[i], "aligned"));
        if (i >= TENSORS)
            continue;
        memset(fields[i], 0, sizeof(void *));
        refuse(names[i], ATL_INVALID_ARGUMENT, CASE_WORDS(names[i], "expected a pointer", "nil"));
    }
}

Test(attention_errors, struct_size) {
    static const size_t sizes[] = {0, 4, sizeof(size_t), sizeof(atl_attention_args) - 1, (size_t)1 << 40};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        a.size = sizes[i];
        refuse("size", ATL_INVALID_ARGUMENT, CASE_WORDS("atl_attention_args", "size"));
    }
    struct {
        atl_attention_args args;
        int64_t more;
    } newer = {a, 0};
    atl_error error;
    newer.args.size = sizeof newer;
    cr_expect_eq(atl_attention(engine, &newer.args, &error), ATL_OK, "%s", error.message);
    newer.more = 1;
    case_expect_error("a field of tomorrow", atl_attention(engine, &newer.args, &error), ATL_UNSUPPORTED, &error,
                      CASE_WORDS("atl_attention_args"));
}

Test(attention_errors, sizes) {
    static const char *const names[] = {"batch", "heads", "queries", "keys", "key_dim", "value_dim"};
    int64_t *const fields[] = {&a.batch, &a.heads, &a.queries, &a.keys, &a.key_dim, &a.value_dim};
    for (int i = 0; i < 6; i++) {
        *fields[i] = 0;
        refuse(names[i], ATL_INVALID_ARGUMENT, CASE_WORDS(names[i], "1 or more", "got 0"));
        *fields[i] = INT64_MIN;
        refuse(names[i], ATL_INVALID_ARGUMENT, CASE_WORDS(names[i], "got -9223372036854775808"));
        *fields[i] = INT64_MAX;
        refuse(names[i], ATL_OUT_OF_MEMORY, CASE_WORDS(names[i], "9223372036854775807"));
        for (int k = 0; k < 6; k++)
            if (k != i) {
                *fields[i] = *fields[k] = (int64_t)1 << 50;
                if ((i == 2 && k == 3) || (i == 3 && k == 2) || (i == 4 && k == 5) || (i == 5 && k == 4))
                    mend(); /* in no array together */
                else
                    refuse("two large sizes", ATL_OUT_OF_MEMORY, CASE_WORDS("sizes"));
            }
    }
}

Test(attention_errors, strides) {
    static const char *const tensors[] = {"query", "key", "value", "output"};
    static const char *const axes[] = {"batch", "head", "position", "feature"};
    atl_attention_strides *const strides[] = {&a.query_strides, &a.key_strides, &a.value_strides, &a.output_strides};
    for (int t = 0; t < TENSORS; t++)
        for (int i = 0; i < 4; i++) {
            int64_t *const steps[] = {&strides[t]->batch, &strides[t]->head, &strides[t]->position,
                                      &strides[t]->feature};
            char name[64];
            snprintf(name, sizeof name, "%s_strides.%s", tensors[t], axes[i]);
            *steps[i] = -1;
            refuse(name, ATL_INVALID_ARGUMENT, CASE_WORDS(name, "got -1"));
            *steps[i] = INT64_MAX;
            refuse(name, ATL_INVALID_ARGUMENT, CASE_WORDS(name, "9223372036854775807"));
            *steps[i] = INT64_MAX / 16;
            refuse(name, ATL_INVALID_ARGUMENT, CASE_WORDS(name, "out of range"));
            if (t != OUTPUT)
                continue;
            *steps[i] = 0;
            refuse(name, ATL_INVALID_ARGUMENT, CASE_WORDS("output_strides", "overlap"));
        }
    a.output_strides.position -= 1;
    refuse("positions of the output too close", ATL_INVALID_ARGUMENT, CASE_WORDS("output_strides", "overlap"));
    a.output_strides = (atl_attention_strides){1, 2, 6, 30};
    accept("batch and heads inside");
}

Test(attention_errors, scale) {
    a.scale = INFINITY;
    refuse("scale", ATL_INVALID_ARGUMENT, CASE_WORDS("scale", "finite", "inf"));
    a.scale = -INFINITY;
    refuse("scale", ATL_INVALID_ARGUMENT, CASE_WORDS("scale", "finite", "-inf"));
}

/* ---------------------------------------------------------------- masks and map */

static void refuse_mask(const char *name, int *rank, int64_t *shape, int good_rank) {
    static const char *const axes[] = {"batch", "heads", "queries", "keys"};
    char word[64];
    snprintf(word, sizeof word, "%s_rank", name);
    *rank = -1;
    refuse(word, ATL_INVALID_ARGUMENT, CASE_WORDS(word, "0 to 4", "got -1"));
    *rank = 5;
    refuse(word, ATL_INVALID_ARGUMENT, CASE_WORDS(word, "0 to 4", "got 5"));
    snprintf(word, sizeof word, "%s_shape", name);
    for (int i = 0; i < good_rank; i++) {
        static const int64_t wrong[] = {0, -1, 4, INT64_MAX};
        for (int k = 0; k < 4; k++) {
            char got[32];
            snprintf(got, sizeof got, "got %lld", (long long)wrong[k]);
            shape[i] = wrong[k];
            refuse(word, ATL_INVALID_ARGUMENT, CASE_WORDS(word, axes[4 - good_rank + i], "expected 1 or", got));
        }
    }
}

Test(attention_errors, masks) {
    refuse_mask("mask", &a.mask_rank, a.mask_shape, 4);
    refuse_mask("additive", &a.additive_rank, a.additive_shape, 2);
    /* The same axis counted from the wrong end. */
    a.mask_rank = 3;
    refuse("left-aligned", ATL_INVALID_ARGUMENT, CASE_WORDS("mask_shape", "keys", "expected 1 or 7, got 5"));
}

Test(attention_errors, map) {
    static const int64_t beyond[2] = {4, 5}, below[1] = {-1};
    a.map_rows = beyond;
    refuse("a row beyond", ATL_INVALID_ARGUMENT, CASE_WORDS("map_rows[1]", "0 to 4", "got 5"));
    a.map_rows = below;
    a.map_row_count = 1;
    refuse("a row below", ATL_INVALID_ARGUMENT, CASE_WORDS("map_rows[0]", "got -1"));
    a.map_row_count = 0;
    refuse("no rows", ATL_INVALID_ARGUMENT, CASE_WORDS("map_row_count", "got 0"));
    a.map_row_count = -1;
    refuse("fewer than no rows", ATL_INVALID_ARGUMENT, CASE_WORDS("map_row_count", "got -1"));
    a.map_rows = NULL;
    refuse("a number of rows alone", ATL_INVALID_ARGUMENT, CASE_WORDS("map_rows", "NULL"));
    a.map = NULL;
    refuse("rows without a map", ATL_INVALID_ARGUMENT, CASE_WORDS("map_rows", "without a map"));
}

/* ---------------------------------------------------------------- overlap */

/* Every array that begins with an output, or touches its first or its last element. */
Test(attention_errors, overlap) {
    float *room = case_alloc(3000), *map = room + 1000; /* so that what touches the map touches no output */
    const struct {
        const char *name;
        void *data, *field;
        int64_t bytes;
    } arrays[] = {
        {"output", a.output, &a.output, 4 * c.output_floats},    {"map", map, &a.map, 4 * 2 * 3 * 2 * 7},
        {"query", c.memory[QUERY], &a.query, 4 * 2 * 3 * 5 * 4}, {"key", c.memory[KEY], &a.key, 4 * 2 * 3 * 7 * 4},
        {"value", c.memory[VALUE], &a.value, 4 * 2 * 3 * 7 * 6}, {"mask", mask, &a.mask, sizeof mask},
        {"additive", additive, &a.additive, sizeof additive},
    };
    for (int i = 0; i < 2; i++)
        for (int k = i + 1; k < 7; k++) {
            char *whole = (char *)arrays[i].data;
            char *const places[] = {whole, whole + arrays[i].bytes - 4, whole - arrays[k].bytes / 4 * 4 + 4};
            for (int p = 0; p < 3; p++) {
                a.map = map;
                memcpy(arrays[k].field, &places[p], sizeof(char *));
                refuse(arrays[k].name, ATL_INVALID_ARGUMENT, CASE_WORDS(arrays[i].name, arrays[k].name, "overlaps"));
            }
        }
    a.key = a.value = a.query = c.memory[VALUE];
    a.additive = c.memory[VALUE];
    accept("inputs that overlap one another");
    free(room);
}

/* The map and the output side by side, each touching the other's end. */
Test(attention_errors, neighbours) {
    int64_t map = 2 * 3 * 2 * 7;
    float *both = case_alloc(map + c.output_floats);
    a.map = both;
    a.output = both + map;
    accept("output behind the map");
    a.output = both;
    a.map = both + c.output_floats;
    accept("map behind the output");
    free(both);
}

/* ---------------------------------------------------------------- sizes beyond memory */

static void all_at_one_place(void) {
    a.query_strides = a.key_strides = a.value_strides = (atl_attention_strides){0};
    a.mask = NULL;
    a.additive = NULL;
}

Test(attention_errors, out_of_memory) {
    all_at_one_place();
    a.keys = (int64_t)1 << 44;
    a.map = NULL;
    a.map_rows = NULL;
    a.map_row_count = 0;
    refuse("a workspace beyond the address space", ATL_OUT_OF_MEMORY, CASE_WORDS("workspace", "bytes"));
    all_at_one_place();
    a.queries = a.keys = (int64_t)1 << 40;
    a.output_strides = (atl_attention_strides){(int64_t)18 << 40, (int64_t)6 << 40, 6, 1};
    a.map_rows = NULL;
    a.map_row_count = 0;
    refuse("a map beyond the address space", ATL_INVALID_ARGUMENT, CASE_WORDS("map", "address space"));
}

static void run_in_turn(void *host, int64_t count, void (*task)(void *context, int64_t i), void *context) {
    (void)host;
    for (int64_t i = 0; i < count; i++)
        task(context, i);
}

/* Scratch that one thread could have, and that of a thousand is no number. */
Test(attention_errors, scratch_of_a_large_team) {
    atl_engine_options options;
    atl_error error;
    atl_engine_options_init(&options);
    options.threads = 1024;
    options.parallel_for = run_in_turn;
    atl_engine_release(engine);
    cr_assert_eq(atl_engine_create(&options, &engine, &error), ATL_OK, "%s", error.message);
    accept("a host's pool");
    all_at_one_place();
    a.batch = a.heads = 1;
    a.key_dim = (int64_t)1 << 48;
    refuse("scratch", ATL_OUT_OF_MEMORY, CASE_WORDS("scratch"));
}
