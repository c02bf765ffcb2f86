/* SPDX-License-Identifier: Apache-2.0 */
/* Values that need care: NaN, infinities, exact results, and score patterns that try the online softmax. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

static const char *const lines[] = {
    "se se-dense 1 19x5x7 hidden=3",
    "se se-one 1 4x33 hidden=1 bias=0",
    "se se-silu 1 6x17 hidden=2 set.activation=silu set.gate=hard-sigmoid",
    "cbam-channel cbamc-dense 1 19x5x7 hidden=3",
    "cbam-channel cbamc-one 1 4x33 hidden=1 bias=0",
    "cbam-channel cbamc-silu 1 6x17 hidden=2 set.activation=silu set.gate=hard-sigmoid",
    "cbam-spatial cbams-dense 1 19x9x11 k=7 bias=1",
    "cbam-spatial cbams-one 1 1x5x33 k=3",
    "cbam-spatial cbams-blocks 1 300x3x5 k=5",
    "cbam-res cbamr-dense 1 6x9x11 out=9 k=5 hidden=3 sa=5",
    "cbam-res cbamr-same 1 8x5x7 out=8 hidden=2 sa=3 bias=0 set.stride=1",
    "sk sk-dense 1 12x9x11 m=2 groups=3 d=5",
    "sk sk-plain 1 8x5x7 m=1 groups=1 d=2 bias=0 bn=0",
    "non-local nl-dense 1 9x6x7 bn=1",
    "non-local nl-sub 1 7x3x5x5 sub=1 g=3 bn=1",
    "non-local nl-folded 1 6x4x5 sub=1 bn=1 inner=9 g=8",
    "non-local nl-folded-theta 1 6x4x5 sub=1 inner=9 g=1",
    "non-local nl-blocks 1 4x530 sub=1 inner=2 bias=0",
    "self-attention-spatial sas-small 1 5x7x5 d=3",
    "self-attention-spatial sas-blocks 1 4x277 d=2 bias=0",
    "self-attention-channel sac-small 1 5x7x5",
    "self-attention-channel sac-blocks 1 4x277 out=3 bias=0",
    "self-attention-channel sac-few 1 9x11 out=7",
};

#define LINES (sizeof lines / sizeof *lines)

/* Runs body(c, engine) for every line and every ISA that this machine has. */
static void on_every_isa(void (*body)(layer_case *c, atl_engine *engine)) {
    for (int isa = 0; isa < CASE_ISAS; isa++) {
        atl_engine *engine = case_engine(case_isas[isa], 2);
        for (size_t i = 0; engine && i < LINES; i++) {
            layer_case c;
            case_parse(&c, lines[i], 17 + i);
            body(&c, engine);
            case_free(&c);
        }
        atl_engine_release(engine);
    }
}

/* ---------------------------------------------------------------- NaN and infinity */

static void poison_one_sample(layer_case *c, atl_engine *engine, float poison) {
    int64_t size = c->size, out = c->out_size;
    float *x = case_alloc(3 * size), *clean = case_alloc(3 * out), *y = case_alloc(3 * out);
    atl_plan *plan = case_plan(c, engine);
    fill(x, 3 * size, FILL_RANDOM, 1, 23);
    case_run(plan, 3, x, clean, NULL, NULL);
    x[size + size / 2] = poison;
    case_run(plan, 3, x, y, NULL, NULL);
    for (int s = 0; s < 3; s += 2)
        cr_expect_eq(case_difference(y + s * out, clean + s * out, out), -1, "%s: %g in sample 1 changed sample %d",
                     c->row.name, (double)poison, s);
    char what[32];
    snprintf(what, sizeof what, "one %g", (double)poison);
    case_check(c, engine, x + size, ORACLE_ANY, what);
    if (c->in_place)
        cr_expect(!isfinite(y[out + size / 2]), "%s: %g became %g", c->row.name, (double)poison,
                  (double)y[out + size / 2]);
    atl_plan_release(plan);
    free(y);
    free(clean);
    free(x);
}

/* theta^T phi mixes infinities of keys that theta x meets one by one: scores beyond 1e30 are outside the contract. */
static bool infinities_differ(const layer_case *c) {
    return strstr(c->row.name, "nl-folded") != NULL;
}

static void poison(layer_case *c, atl_engine *engine) {
    poison_one_sample(c, engine, NAN);
    poison_one_sample(c, engine, -NAN);
    if (infinities_differ(c))
        return;
    poison_one_sample(c, engine, INFINITY);
    poison_one_sample(c, engine, -INFINITY);
}

Test(values, nan_and_infinity_stay_in_their_sample_and_follow_eager) {
    on_every_isa(poison);
}

/* Infinities of both signs in several places, first and last included. */
static void many_infinities(layer_case *c, atl_engine *engine) {
    if (infinities_differ(c))
        return;
    float *x = case_alloc(c->size);
    for (uint64_t seed = 1; seed <= 8; seed++) {
        uint64_t state = seed;
        fill(x, c->size, FILL_RANDOM, 1, seed);
        x[seed % 2 ? 0 : c->size - 1] = seed % 3 ? INFINITY : -INFINITY;
        x[fill_bits(&state) % (uint64_t)c->size] = seed % 4 ? INFINITY : NAN;
        case_check(c, engine, x, ORACLE_ANY, "infinities");
    }
    free(x);
}

Test(values, infinities_follow_eager) {
    on_every_isa(many_infinities);
}

static void weights_that_are_not_numbers(layer_case *c, atl_engine *engine) {
    float *x = case_alloc(c->size);
    fill(x, c->size, FILL_RANDOM, 1, 29);
    for (size_t i = 0; i < c->weights.desc.tensor_count; i++) {
        float *w = case_weight(c, c->weights.tensors[i].name), saved = *w;
        const float odd[] = {NAN, INFINITY, -INFINITY};
        for (int k = 0; k < 3; k++) {
            *w = odd[k];
            case_rebuild(c);
            case_check(c, engine, x, ORACLE_ANY, c->weights.tensors[i].name);
        }
        *w = saved;
    }
    free(x);
}

Test(values, weights_that_are_not_numbers_follow_eager) {
    on_every_isa(weights_that_are_not_numbers);
}

static void gamma_zero(layer_case *c, atl_engine *engine) {
    if (strcmp(c->row.kind, "self-attention-spatial") != 0)
        return;
    float *x = case_alloc(c->size), *y = case_alloc(c->out_size);
    *case_weight(c, "gamma") = 0;
    case_rebuild(c);
    atl_plan *plan = case_plan(c, engine);
    fill(x, c->size, FILL_RANDOM, 1, 37);
    case_run(plan, 1, x, y, NULL, NULL);
    if (strcmp(c->row.kind, "self-attention-channel") != 0)
        cr_expect_eq(case_difference(x, y, c->size), -1, "%s: gamma = 0 returns x", c->row.name);
    x[c->positions - 1] = NAN;
    case_run(plan, 1, x, y, NULL, NULL);
    for (int64_t i = 0; i < c->out_size; i++)
        cr_assert(isnan(y[i]), "%s: 0 * NaN is no shortcut, y[%lld] = %g", c->row.name, (long long)i, (double)y[i]);
    atl_plan_release(plan);
    free(y);
    free(x);
}

Test(values, gamma_zero_is_no_shortcut) {
    on_every_isa(gamma_zero);
}

/* ---------------------------------------------------------------- exact results */

/* Small integers and powers of two: no rounding anywhere, so no tolerance either. */
static void se_exact(atl_engine *engine) {
    layer_case c;
    float x[2 * 64], y[2 * 64];
    case_parse(&c, "se exact 1 2x8x8 hidden=1 bias=0 set.gate=hard-sigmoid set.alpha=0.25", 1);
    memcpy(case_weight(&c, "fc.0.weight"), (float[]){2, 1}, 2 * sizeof(float));
    memcpy(case_weight(&c, "fc.2.weight"), (float[]){0.5f, -0.125f}, 2 * sizeof(float));
    case_rebuild(&c);
    for (int i = 0; i < 64; i++) { /* means 1/2 and 1: z1 = 2; gates 1/4 * 1 + 1/2 and 1/4 * -1/4 + 1/2 */
        x[i] = (float)(i % 4 - 1);
        x[64 + i] = (float)(i % 3 == 0 ? 1 : i % 2 * 2);
    }
    float sum = 0;
    for (int i = 0; i < 63; i++)
        sum += x[64 + i];
    x[127] = 64 - sum;
    atl_plan *plan = case_plan(&c, engine);
    case_run(plan, 1, x, y, NULL, NULL);
    for (int i = 0; i < 128; i++) {
        float want = x[i] * (i < 64 ? 0.75f : 0.4375f);
        cr_expect(y[i] == want, "y[%d] = %.9g, want %.9g", i, (double)y[i], (double)want);
    }
    atl_plan_release(plan);
    case_free(&c);
}

/* Means 1/2 and 0, maxima 2 and 1, mlp(m0, m1) = relu(2 m0 - m1) * (1/2, -1/4): mlp(mean) = (1/2, -1/4), mlp(max) =
 * (3/2, -3/4), gates 1/4 * (2, -1) + 1/2. */
static void cbam_channel_exact(atl_engine *engine) {
    layer_case c;
    float x[2 * 64], y[2 * 64];
    case_parse(&c, "cbam-channel exact 1 2x8x8 hidden=1 bias=0 set.gate=hard-sigmoid set.alpha=0.25", 1);
    memcpy(case_weight(&c, "sharedMLP.0.weight"), (float[]){2, -1}, 2 * sizeof(float));
    memcpy(case_weight(&c, "sharedMLP.2.weight"), (float[]){0.5f, -0.25f}, 2 * sizeof(float));
    case_rebuild(&c);
    for (int i = 0; i < 64; i++) {
        x[i] = (float)(i % 4 - 1);
        x[64 + i] = (float)(i % 2 * 2 - 1);
    }
    atl_plan *plan = case_plan(&c, engine);
    case_run(plan, 1, x, y, NULL, NULL);
    for (int i = 0; i < 128; i++) {
        float want = x[i] * (i < 64 ? 1.0f : 0.25f);
        cr_expect(y[i] == want, "y[%d] = %.9g, want %.9g", i, (double)y[i], (double)want);
    }
    atl_plan_release(plan);
    case_free(&c);
}

/* A NaN reaches the pixels whose kernel covers it, in every channel, and no others. */
static void cbam_spatial_reach(layer_case *c, atl_engine *engine) {
    if (strcmp(c->row.kind, "cbam-spatial") != 0)
        return;
    float *x = case_alloc(c->size), *clean = case_alloc(c->size), *y = case_alloc(c->size);
    int64_t height = c->row.shape[1], width = c->row.shape[2], reach = shape_number(&c->row, "k", 7) / 2;
    atl_plan *plan = case_plan(c, engine);
    fill(x, c->size, FILL_RANDOM, 1, 53);
    case_run(plan, 1, x, clean, NULL, NULL);
    int64_t row = height / 2, column = width - 2;
    x[(c->channels - 1) * c->positions + row * width + column] = NAN;
    case_run(plan, 1, x, y, NULL, NULL);
    for (int64_t i = 0; i < c->size; i++) {
        int64_t at = i % c->positions;
        int inside = llabs(at / width - row) <= reach && llabs(at % width - column) <= reach;
        cr_assert(inside ? isnan(y[i]) : y[i] == clean[i], "%s: y[%lld] = %g, without the NaN %g", c->row.name,
                  (long long)i, (double)y[i], (double)clean[i]);
    }
    atl_plan_release(plan);
    free(y), free(clean), free(x);
}

Test(values, a_nan_pixel_reaches_its_neighbours) {
    on_every_isa(cbam_spatial_reach);
}

/* The mean is 1/2 and the maximum 2 everywhere, the logit 4 mean - max + 0 with a kernel of one tap: gates of 1/2. The
 * maximum's tap lies at the left: the first column has padding there, a logit of 2 and another gate. */
static void cbam_spatial_exact(atl_engine *engine) {
    layer_case c;
    float x[4 * 64], y[4 * 64];
    case_parse(&c, "cbam-spatial exact 1 4x8x8 k=3", 1);
    float *w = case_weight(&c, "conv.weight");
    memset(w, 0, 18 * sizeof *w);
    w[4] = 4;
    w[9 + 3] = -1;
    case_rebuild(&c);
    for (int i = 0; i < 4 * 64; i++)
        x[i] = (float)((i / 64 + i) % 4 - 1);
    atl_plan *plan = case_plan(&c, engine);
    case_run(plan, 1, x, y, NULL, NULL);
    for (int i = 0; i < 4 * 64; i++) {
        if (i % 8)
            cr_expect(y[i] == x[i] * 0.5f, "y[%d] = %.9g of %g", i, (double)y[i], (double)x[i]);
        else
            cr_expect(fabsf(y[i] - x[i] * 0.880797078f) <= 1e-6f * fabsf(x[i]), "y[%d] = %.9g of %g", i, (double)y[i],
                      (double)x[i]);
    }
    atl_plan_release(plan);
    case_free(&c);
}

/* Equal keys: the mean of v, which is exact for integers and a power of two of them. */
static void attention_exact(atl_engine *engine) {
    layer_case c;
    float *x = case_alloc(3 * 512), *y = case_alloc(3 * 512), *map = case_alloc(512 * 512);
    case_parse(&c, "self-attention-spatial exact 1 3x512 d=2 bias=0", 1);
    memset(case_weight(&c, "key_conv.weight"), 0, 6 * sizeof(float));
    memcpy(case_weight(&c, "value_conv.weight"), (float[]){1, 2, 0, 0, -1, 3, 1, 1, 1}, 9 * sizeof(float));
    *case_weight(&c, "gamma") = 2;
    case_rebuild(&c);
    fill(x, 3 * 512, FILL_INTEGER, 1, 41);
    float mean[3] = {0};
    for (int i = 0; i < 512; i++) {
        mean[0] += (x[i] + 2 * x[512 + i]) / 512;
        mean[1] += (-x[512 + i] + 3 * x[1024 + i]) / 512;
        mean[2] += (x[i] + x[512 + i] + x[1024 + i]) / 512;
    }
    atl_plan *plan = case_plan(&c, engine);
    for (int with_map = 0; with_map < 2; with_map++) {
        case_run(plan, 1, x, y, with_map ? map : NULL, NULL);
        for (int i = 0; i < 3 * 512; i++) {
            float want = 2 * mean[i / 512] + x[i];
            cr_expect(y[i] == want, "map %d: y[%d] = %.9g, want %.9g", with_map, i, (double)y[i], (double)want);
        }
    }
    for (int i = 0; i < 512 * 512; i++)
        cr_assert(map[i] == 1.0f / 512, "map[%d] = %.9g", i, (double)map[i]);
    atl_plan_release(plan);
    case_free(&c);
    free(map);
    free(y);
    free(x);
}

Test(values, exact_results_are_exact) {
    for (int isa = 0; isa < CASE_ISAS; isa++) {
        atl_engine *engine = case_engine(case_isas[isa], 2);
        if (engine) {
            se_exact(engine);
            cbam_channel_exact(engine);
            cbam_spatial_exact(engine);
            attention_exact(engine);
        }
        atl_engine_release(engine);
    }
}

/* ---------------------------------------------------------------- online softmax */

#define KEYS 600 /* more than two blocks of 256, more than four of 128, and a tail */

typedef enum pattern {
    RISING, /* every key a new maximum */
    FALLING,
    RISING_BLOCKS, /* one new maximum in each run of 128 */
    EQUAL,
    FIRST_LOW, /* the first 256 far below all others */
    FIRST_HIGH,
    ALTERNATING,
    ONE_PEAK, /* on one key, next to the edge of a block */
    PATTERNS
} pattern;

static float score(pattern p, int j, int peak) {
    switch (p) {
    case RISING: return (float)j / KEYS;
    case FALLING: return 1 - (float)j / KEYS;
    case RISING_BLOCKS: return (float)(j / 128) / 5 - (float)(j % 128) / 1024;
    case EQUAL: return 0.7f;
    case FIRST_LOW: return j < 256 ? -1 : 0.3f * sinf((float)j);
    case FIRST_HIGH: return j < 256 ? 1 : -0.5f;
    case ALTERNATING: return j % 2 ? 1 : -1;
    default: return j == peak ? 1 : 0;
    }
}

/* Channel 0 is the key, channel 1 the query, all three are values: the score of (i, j) is x1[i] * x0[j]. */
static void softmax_case(layer_case *c) {
    case_parse(c, "self-attention-spatial softmax 1 3x600 d=1 bias=0", 1);
    memcpy(case_weight(c, "key_conv.weight"), (float[]){1, 0, 0}, 3 * sizeof(float));
    memcpy(case_weight(c, "query_conv.weight"), (float[]){0, 1, 0}, 3 * sizeof(float));
    memcpy(case_weight(c, "value_conv.weight"), (float[]){0, 0, 1, 0.001f, 0, 1, 0, 0, -2}, 9 * sizeof(float));
    *case_weight(c, "gamma") = 1;
    case_rebuild(c);
}

static void softmax_fill(float *x, pattern p, float amplitude, int peak) {
    for (int j = 0; j < KEYS; j++) {
        x[j] = amplitude * score(p, j, peak);
        x[KEYS + j] = j % 7 == 0 ? 1 : j % 7 == 1 ? -1 : 0.01f * (float)(j % 50); /* lanes that want different maxima */
    }
    fill(x + 2 * KEYS, KEYS, FILL_RANDOM, 1, 43);
}

static void softmax_pattern(const layer_case *c, atl_engine *engine, pattern p, int peak) {
    static const float amplitudes[] = {1, 20, 87.3f, 200, 1e4f, 1e9f, 1e20f};
    float *x = case_alloc(3 * KEYS);
    for (size_t a = 0; a < sizeof amplitudes / sizeof *amplitudes; a++) {
        char what[64];
        snprintf(what, sizeof what, "pattern %d, amplitude %g, peak %d", (int)p, (double)amplitudes[a], peak);
        softmax_fill(x, p, amplitudes[a], peak);
        case_check(c, engine, x, ORACLE_ANY, what);
    }
    free(x);
}

Test(values, online_softmax) {
    static const int peaks[] = {0, 127, 128, 129, 255, 256, 257, 511, 512, KEYS - 1};
    layer_case c;
    softmax_case(&c);
    for (int isa = 0; isa < CASE_ISAS; isa++) {
        atl_engine *engine =
            strcmp(case_isas[isa], "scalar") == 0 && !case_slow() ? NULL : case_engine(case_isas[isa], 1);
        for (pattern p = RISING; engine && p < ONE_PEAK; p++)
            softmax_pattern(&c, engine, p, 0);
        for (size_t i = 0; engine && i < sizeof peaks / sizeof *peaks; i++)
            softmax_pattern(&c, engine, ONE_PEAK, peaks[i]);
        atl_engine_release(engine);
    }
    case_free(&c);
}

/* The scalar build against the oracle, and every other against its bits. */
Test(values, online_softmax_bits) {
    layer_case c;
    float *x = case_alloc(3 * KEYS), *want = case_alloc(3 * KEYS), *y = case_alloc(3 * KEYS);
    softmax_case(&c);
    atl_engine *scalar = case_engine("scalar", 1);
    atl_plan *reference = case_plan(&c, scalar);
    for (pattern p = RISING; p < PATTERNS; p++) {
        softmax_fill(x, p, p % 2 ? 1e4f : 90, 256);
        case_run(reference, 1, x, want, NULL, NULL);
        case_check(&c, scalar, x, ORACLE_ANY, "scalar");
        for (int isa = 1; isa < CASE_ISAS; isa++) {
            atl_engine *engine = case_engine(case_isas[isa], 2);
            if (!engine)
                continue;
            atl_plan *plan = case_plan(&c, engine);
            case_run(plan, 1, x, y, NULL, NULL);
            int64_t at = case_difference(y, want, 3 * KEYS);
            cr_expect(at < 0, "pattern %d, %s: y[%lld] = %a, want %a", (int)p, case_isas[isa], (long long)at,
                      (double)y[at < 0 ? 0 : at], (double)want[at < 0 ? 0 : at]);
            atl_plan_release(plan);
            atl_engine_release(engine);
        }
    }
    atl_plan_release(reference);
    atl_engine_release(scalar);
    case_free(&c);
    free(y);
    free(want);
    free(x);
}
