/* SPDX-License-Identifier: Apache-2.0 */
/* What atl_attention computes, against the oracle. */
#include <stdio.h>

#include "attention.h"

TestSuite(attention, .init = open_engines, .fini = close_engines);

static const char *name_of(const sizes *s, const char *more) {
    static char text[160];
    snprintf(text, sizeof text, "%lld x %lld heads, %lld x %lld, dims %lld and %lld%s", (long long)s->batch,
             (long long)s->heads, (long long)s->queries, (long long)s->keys, (long long)s->key_dim,
             (long long)s->value_dim, more);
    return text;
}

/* ---------------------------------------------------------------- shapes */

static const int64_t lengths[] = {1, 2, 17, 31, 255, 256, 257, 601}, dims[] = {1, 3, 8, 40, 65};
enum { LENGTHS = sizeof lengths / sizeof *lengths, DIMS = sizeof dims / sizeof *dims };

/* Sizes of a pair of lengths, as large as 20 MFLOP allow. */
static sizes pick_sizes(int64_t queries, int64_t keys, uint64_t *seed) {
    int key_dim = (int)(fill_bits(seed) % DIMS),
        value_dim = (int)((uint64_t)key_dim + 1 + fill_bits(seed) % (DIMS - 1));
    sizes s = {1 + (int64_t)(fill_bits(seed) % 3),
               1 + (int64_t)(fill_bits(seed) % 3),
               queries,
               keys,
               dims[key_dim],
               dims[value_dim % DIMS]};
    while (2 * s.batch * s.heads * queries * keys * (s.key_dim + s.value_dim) > 20000000) {
        s.batch = s.batch > 1 ? s.batch - 1 : 1;
        if (s.batch == 1 && s.heads > 1)
            s.heads--;
        else if (s.batch == 1)
            s.key_dim = s.value_dim > 8 ? 8 : 3, s.value_dim = s.value_dim > 8 ? 3 : s.value_dim;
    }
    return s;
}

/* Every pair of lengths with dims that differ, over all layouts; every second one causal, every third with a map. */
static void check_lengths(int first) {
    uint64_t seed = 11 + (uint64_t)first;
    for (int i = first; i < LENGTHS; i += 2)
        for (int j = 0; j < LENGTHS; j++) {
            int n = i * LENGTHS + j;
            sizes s = pick_sizes(lengths[i], lengths[j], &seed);
            call c;
            call_open(&c, &s, (layout)(n % LAYOUTS), 100 + (uint64_t)n);
            c.args.causal = n % 2;
            c.args.scale = n % 4 < 2 ? NAN : n % 8 < 4 ? -0.75f : 1.5f;
            if (n % 3 == 0)
                call_want_map(&c);
            call_check(&c, ORACLE_ANY, name_of(&s, n % 2 ? ", causal" : ""));
            call_close(&c);
        }
}

Test(attention, even_lengths) {
    check_lengths(0);
}

Test(attention, odd_lengths) {
    check_lengths(1);
}

/* The form of the bound for independent random values. */
Test(attention, random_values) {
    static const sizes all[] = {{1, 2, 257, 601, 40, 8}, {2, 1, 31, 257, 65, 40}, {1, 1, 601, 255, 8, 3}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        call c;
        call_open(&c, &all[i], (layout)(i % 3), 7 + i);
        call_want_map(&c);
        call_check(&c, ORACLE_RANDOM, name_of(&all[i], ", random"));
        call_close(&c);
    }
}

Test(attention, every_fill) {
    const sizes s = {1, 2, 33, 301, 17, 9};
    for (int kind = 0; kind < FILL_KINDS; kind++) {
        call c;
        call_open(&c, &s, TOKENS, 3);
        for (int t = 0; t < INPUTS; t++)
            fill(c.logical[t], s.heads * tensor_positions(&s, t) * tensor_dim(&s, t), (fill_kind)kind, 3,
                 40 + (uint64_t)t);
        for (int64_t i = 0; kind == FILL_TOP && i < s.heads * s.queries * s.key_dim; i++) /* scores below 1e30 */
            c.logical[QUERY][i] *= 0x1p-64f;
        call_load(&c);
        call_want_map(&c);
        call_check(&c, ORACLE_ANY, name_of(&s, fill_name((fill_kind)kind)));
        call_close(&c);
    }
}

/* Logits of +-1e4, far beyond what exp can take. */
Test(attention, large_logits) {
    const sizes s = {1, 2, 31, 601, 3, 5};
    for (int sign = -1; sign <= 1; sign += 2) {
        call c;
        call_open(&c, &s, HEADS, 5);
        for (int64_t i = 0; i < s.heads * s.queries * s.key_dim; i++)
            c.logical[QUERY][i] = i % s.key_dim ? c.logical[QUERY][i] : (float)sign * 100;
        for (int64_t i = 0; i < s.heads * s.keys * s.key_dim; i++)
            c.logical[KEY][i] = i % s.key_dim ? c.logical[KEY][i] : i % 4 < 2 ? 100.0f : -100.0f;
        call_load(&c);
        c.args.scale = 1;
        call_want_map(&c);
        call_check(&c, ORACLE_ANY, name_of(&s, ", logits of 1e4"));
        call_close(&c);
    }
}

/* ---------------------------------------------------------------- masks */

/* A shape of `rank` axes of which those in `ones` broadcast; its size. */
static int64_t mask_shape(const sizes *s, int rank, int ones, int64_t shape[4]) {
    const int64_t full[4] = {s->batch, s->heads, s->queries, s->keys};
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i] = ones >> i & 1 ? 1 : full[4 - rank + i];
    return count;
}

/* A third is masked, and whole rows of keys are. */
static uint8_t *make_bytes(call *c, int rank, int ones, uint64_t seed) {
    int64_t count = mask_shape(&c->sizes, rank, ones, c->args.mask_shape), keys = c->sizes.keys;
    uint8_t *bytes = malloc((size_t)count);
    cr_assert(bytes);
    for (int64_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(fill_bits(&seed) % 3 && i / keys % 5 != 2 ? 1 + i % 255 : 0);
    c->args.mask = bytes;
    c->args.mask_rank = rank;
    return bytes;
}

static float *make_additive(call *c, int rank, int ones, uint64_t seed) {
    static const float special[] = {-INFINITY, -1e9f, 3.5f, -1e4f};
    int64_t count = mask_shape(&c->sizes, rank, ones, c->args.additive_shape), keys = c->sizes.keys;
    float *values = case_alloc(count);
    fill(values, count, FILL_RANDOM, 4, seed);
    for (int64_t i = 0; i < count; i++)
        if (i / keys % 7 == 3)
            values[i] = -INFINITY;
        else if (fill_bits(&seed) % 3 == 0)
            values[i] = special[fill_bits(&seed) % 4];
    c->args.additive = values;
    c->args.additive_rank = rank;
    return values;
}

/* Every rank and every set of axes that broadcast, as bytes, as floats and as both, with and without causal and the fill of
 * rows that see nothing. */
static void check_masks(const sizes *s, layout layout, uint64_t seed) {
    for (int rank = 0; rank <= 4; rank++)
        for (int ones = 0; ones < 1 << rank; ones++)
            for (int kinds = 1; kinds <= 3; kinds++) {
                call c;
                char more[64];
                call_open(&c, s, layout, ++seed);
                uint8_t *bytes = kinds & 1 ? make_bytes(&c, rank, ones, seed) : NULL;
                float *additive =
                    kinds & 2 ? make_additive(&c, kinds == 3 ? 4 : rank, kinds == 3 ? ~ones & 15 : ones, seed) : NULL;
                c.args.causal = seed % 3 == 0;
                c.args.mask_zero = seed % 2 == 0;
                if (seed % 4 < 3)
                    call_want_map(&c);
                snprintf(more, sizeof more, ", masks %d of rank %d, ones %d, seed %d", kinds, rank, ones, (int)seed);
                call_check(&c, ORACLE_ANY, name_of(s, more));
                free(additive);
                free(bytes);
                call_close(&c);
            }
}

Test(attention, masks) {
    check_masks(&(sizes){2, 3, 17, 31, 8, 3}, TOKENS, 1000);
}

Test(attention, masks_over_several_blocks) {
    check_masks(&(sizes){2, 1, 9, 601, 3, 1}, CHANNELS, 2000);
}

Test(attention, masks_of_single_positions) {
    check_masks(&(sizes){1, 1, 1, 1, 1, 3}, GAPS, 3000);
}

/* Blocks of keys that no query of a tile sees, others that all see: they are skipped, and taken without a bias. */
Test(attention, masks_of_whole_blocks) {
    const sizes s = {1, 1, 70, 1100, 3, 8};
    const int64_t hidden[][2] = {{0, 256}, {256, 768}, {0, 768}, {1, 1100}, {512, 1100}, {0, 1099}};
    for (size_t n = 0; n < sizeof hidden / sizeof *hidden; n++)
        for (int by_query = 0; by_query < 2; by_query++) {
            call c;
            uint8_t bytes[70 * 1100];
            call_open(&c, &s, HEADS, 60 + n);
            c.args.mask = bytes;
            c.args.mask_rank = 2;
            c.args.mask_shape[0] = by_query ? s.queries : 1;
            c.args.mask_shape[1] = s.keys;
            for (int64_t i = 0; i < s.queries * s.keys; i++)
                bytes[i] = !(i % s.keys >= hidden[n][0] && i % s.keys < hidden[n][1]) || (by_query && i / s.keys >= 40);
            c.args.causal = n % 2;
            call_want_map(&c);
            call_check(&c, ORACLE_ANY, name_of(&s, ", whole blocks masked"));
            call_close(&c);
        }
}

/* Whole numbers, and a number of keys that divides exactly: the mean is exact, or 0 where that is asked for. */
Test(attention, rows_that_see_nothing) {
    const sizes s = {1, 2, 6, 512, 5, 3};
    for (int zero = 0; zero < 2; zero++)
        for (int additive = 0; additive < 2; additive++) {
            const uint8_t bytes[6] = {1, 0, 1, 0, 0, 1};
            const float floats[6] = {0, -INFINITY, 2, -INFINITY, -INFINITY, -3};
            call c;
            call_open(&c, &s, TOKENS, 9);
            fill(c.logical[VALUE], s.heads * s.keys * s.value_dim, FILL_INTEGER, 1, 4);
            call_load(&c);
            c.args.mask = additive ? NULL : bytes;
            c.args.additive = additive ? floats : NULL;
            c.args.mask_rank = c.args.additive_rank = 2;
            c.args.mask_shape[0] = c.args.additive_shape[0] = s.queries;
            c.args.mask_shape[1] = c.args.additive_shape[1] = 1;
            c.args.mask_zero = zero;
            call_want_map(&c);
            call_check(&c, ORACLE_ANY, name_of(&s, ", rows that see nothing"));
            for (int64_t h = 0; h < s.heads; h++)
                for (int64_t f = 0; f < s.value_dim; f++) {
                    float sum = 0;
                    for (int64_t j = 0; j < s.keys; j++)
                        sum += *logical_at(&c, VALUE, 0, h, j, f);
                    for (int64_t i = 0; i < s.queries; i++)
                        cr_expect(bytes[i] || *logical_at(&c, OUTPUT, 0, h, i, f) == (zero ? 0 : sum / 512),
                                  "head %d, row %d: %g", (int)h, (int)i, (double)*logical_at(&c, OUTPUT, 0, h, i, f));
                }
            for (int64_t i = 0; i < c.map_floats; i++)
                cr_expect(bytes[i / s.keys % s.queries] || c.args.map[i] == (zero ? 0 : 1.0f / 512), "map[%d] = %g",
                          (int)i, (double)c.args.map[i]);
            call_close(&c);
        }
}

/* ---------------------------------------------------------------- additive values at the ends of the range */

/* Outputs of one head with these additive values of two keys whose scores are equal; values 1 and 3. */
static float weigh_two(float first, float second) {
    const sizes s = {1, 1, 1, 2, 1, 1};
    const float additive[2] = {first, second};
    call c;
    call_open(&c, &s, TOKENS, 1);
    *c.logical[QUERY] = 1;
    c.logical[KEY][0] = c.logical[KEY][1] = 0.5f;
    c.logical[VALUE][0] = 1;
    c.logical[VALUE][1] = 3;
    call_load(&c);
    c.args.additive = additive;
    c.args.additive_rank = 1;
    c.args.additive_shape[0] = 2;
    call_check(&c, ORACLE_ANY, "two keys");
    float result = *c.dense;
    call_close(&c);
    return result;
}

Test(attention, extreme_additive_values) {
    const float least = -0x1.fffffep+127f;
    cr_expect_eq(weigh_two(0, 0), 2);
    cr_expect_eq(weigh_two(0, least), 1);
    cr_expect_eq(weigh_two(least, 0), 3);
    cr_expect_eq(weigh_two(-1e30f, 5), 3);
    cr_expect_eq(weigh_two(-1e9f, -1e9f), 2);
    cr_expect_eq(weigh_two(-1e9f, -INFINITY), 1);
    cr_expect_eq(weigh_two(-INFINITY, -INFINITY), 2);
    cr_expect_eq(weigh_two(1e4f, -1e4f), 1);
    cr_expect_eq(weigh_two(-least, 0), 1);
    cr_expect_eq(weigh_two(-least, -least), 2);
    /* What frameworks write where they mean "masked": a row of it is the mean. */
    cr_expect_eq(weigh_two(least, least), 2);
    cr_expect_eq(weigh_two(least, -INFINITY), 1);
    cr_expect_eq(weigh_two(-1e38f, -1e38f), 2);
    /* As in eager evaluation: infinity less itself. */
    cr_expect(isnan(weigh_two(INFINITY, 0)));
    cr_expect(isnan(weigh_two(INFINITY, -INFINITY)));
    cr_expect(isnan(weigh_two(0, NAN)));
    cr_expect(isnan(weigh_two(-INFINITY, NAN)));
}
