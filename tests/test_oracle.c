/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle itself: cases small enough for pencil and paper, invariants, and that it can say no. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "fill.h"
#include "oracle_model.h"

/* ---------------------------------------------------------------- squeeze-and-excitation */

/* C = 1, x = (1, 3): the mean is 2, z1 = 2 a + b, z2 = c act(z1) + d. */
static void se_small(model *m, const float w[4], const char *activation, const char *gate, double y[2]) {
    static const float x[2] = {1, 3};
    const int64_t shape[2] = {1, 2};
    model_init(m, "se");
    add(m, "fc.0.weight", ATL_F32, &w[0], 2, 1, 1);
    add(m, "fc.0.bias", ATL_F32, &w[1], 1, 1, 0);
    add(m, "fc.2.weight", ATL_F32, &w[2], 4, 1, 1);
    add(m, "fc.2.bias", ATL_F32, &w[3], 1, 1, 0);
    set(m, "activation", activation);
    set(m, "gate", gate);
    oracle *o = oracle_create(&m->desc);
    cr_assert(o);
    cr_assert_eq(oracle_run(o, 2, shape, x, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    oracle_free(o);
}

Test(oracle, se_by_hand) {
    model m;
    double y[2];
    se_small(&m, (float[]){1, 0.5f, 0.5f, -1}, "relu", "sigmoid", y); /* z1 = 2.5, z2 = 0.25 */
    expect_near(y[0], logistic(0.25), "sigmoid");
    expect_near(y[1], 3 * logistic(0.25), "sigmoid");
    se_small(&m, (float[]){-1, 0.5f, 0.5f, -1}, "relu", "sigmoid", y); /* z1 = -1.5, relu 0, z2 = -1 */
    expect_near(y[1], 3 * logistic(-1), "relu");
    se_small(&m, (float[]){-1, 0.5f, 2, 1}, "silu", "sigmoid", y); /* z2 = 2 (-1.5 s(-1.5)) + 1 */
    expect_near(y[1], 3 * logistic(1 - 3 * logistic(-1.5)), "silu");
    se_small(&m, (float[]){1, 0, 0.75f, 0}, "relu", "hard-sigmoid", y); /* z2 = 1.5, gate 3/4 */
    expect_near(y[1], 2.25, "hard sigmoid");
    se_small(&m, (float[]){1, 0, 2, 0}, "relu", "hard-sigmoid", y); /* z2 = 4, gate 1 */
    expect_near(y[1], 3, "hard sigmoid, above");
    se_small(&m, (float[]){1, 0, -2, 0}, "relu", "hard-sigmoid", y);
    expect_near(y[1], 0, "hard sigmoid, below");
}

Test(oracle, se_mixes_channels) {
    /* Two channels of means 1 and 2, h = 1: z1 = 1*1 + 2*10 = 21; gates of 21 * (0.1, -0.1). */
    static const float fc0[2] = {1, 10}, fc2[2] = {0.125f, -0.125f}, x[4] = {1, 1, 3, 1};
    const int64_t shape[3] = {2, 1, 2};
    model m;
    double y[4], bound[4];
    model_init(&m, "se");
    add(&m, "fc.0.weight", ATL_F32, fc0, 4, 1, 2);
    add(&m, "fc.2.weight", ATL_F32, fc2, 4, 2, 1);
    oracle *o = oracle_create(&m.desc);
    cr_assert(o);
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, NULL, 0, y, bound, NULL, NULL), 0);
    expect_near(y[0], logistic(21 * 0.125), "channel 0");
    expect_near(y[2], 3 * logistic(-21 * 0.125), "channel 1");
    const int64_t position = 1;
    double column[2];
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, &position, 1, column, NULL, NULL, NULL), 0);
    cr_expect(column[0] == y[1] && column[1] == y[3], "a position on its own: %g %g", column[0], column[1]);
    oracle_free(o);
}

/* ---------------------------------------------------------------- channel attention of CBAM */

/* C = 1, x = (1, 3): the mean is 2, the maximum 3, z = mlp(2) + mlp(3) with mlp(m) = c act(a m + b) + d. */
Test(oracle, cbam_channel_by_hand) {
    static const float w[4] = {-1, 2.5f, 0.5f, -0.25f}, x[2] = {1, 3}, odd[2] = {NAN, 3};
    const int64_t shape[2] = {1, 2};
    model m;
    double y[2], bound[2];
    model_init(&m, "cbam-channel");
    add(&m, "sharedMLP.0.weight", ATL_F32, &w[0], 4, 1, 1);
    add(&m, "sharedMLP.0.bias", ATL_F32, &w[1], 1, 1, 0);
    add(&m, "sharedMLP.2.weight", ATL_F32, &w[2], 4, 1, 1);
    add(&m, "sharedMLP.2.bias", ATL_F32, &w[3], 1, 1, 0);
    oracle *o = oracle_create(&m.desc);
    cr_assert(o);
    cr_assert_eq(oracle_run(o, 2, shape, x, ORACLE_ANY, NULL, 0, y, bound, NULL, NULL), 0);
    expect_near(y[0], logistic(0.5 * 0.5 - 0.25 + 0 - 0.25), "first"); /* relu(0.5) and relu(-0.5) */
    expect_near(y[1], 3 * logistic(-0.25), "second");
    cr_expect(bound[1] > 0 && bound[1] < 1e-5, "bound %g", bound[1]);
    cr_assert_eq(oracle_run(o, 2, shape, odd, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    cr_expect(isnan(y[0]) && isnan(y[1]), "a NaN gives %g and %g", y[0], y[1]);
    oracle_free(o);
}

/* A negative maximum in the middle: neither the first, nor the last, nor a 0 that nobody put there. */
Test(oracle, cbam_channel_takes_the_maximum) {
    static const float identity = 1, minus = -1, x[3] = {-4, -1, -7};
    const int64_t shape[2] = {1, 3};
    model m;
    double y[3];
    model_init(&m, "cbam-channel");
    add(&m, "sharedMLP.0.weight", ATL_F32, &minus, 2, 1, 1);
    add(&m, "sharedMLP.2.weight", ATL_F32, &identity, 2, 1, 1);
    oracle *o = oracle_create(&m.desc);
    cr_assert(o);
    cr_assert_eq(oracle_run(o, 2, shape, x, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    expect_near(y[0], -4 * logistic(4 + 1), "mean -4, maximum -1");
    oracle_free(o);
}

/* ---------------------------------------------------------------- spatial attention of CBAM */

/* Two channels of one row: means (1, 0, -1), maxima (2, 0, 3). The taps beside the centre see the neighbours, the rows above
 * and below only padding. */
Test(oracle, cbam_spatial_by_hand) {
    static const float x[6] = {2, 0, -5, 0, 0, 3}, odd[6] = {2, 0, -5, 0, 0, NAN}, bias = 0.25f;
    static const float w[18] = {9, 9, 9, 0.5f, 1, -2, 9, 9, 9, 9, 9, 9, 0.75f, -1, 0.125f, 9, 9, 9};
    const int64_t shape[3] = {2, 1, 3};
    model m;
    double y[6], bound[6];
    model_init(&m, "cbam-spatial");
    add(&m, "conv.weight", ATL_F32, w, 4, 1, 2);
    m.tensors[0].shape[2] = m.tensors[0].shape[3] = 3;
    add(&m, "conv.bias", ATL_F32, &bias, 1, 1, 0);
    oracle *o = oracle_create(&m.desc);
    cr_assert(o);
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, NULL, 0, y, bound, NULL, NULL), 0);
    expect_near(y[0], 2 * logistic(1 * 1 - 2 * 0 - 1 * 2 + 0.125 * 0 + 0.25), "left");
    expect_near(y[1], 0, "middle");
    expect_near(y[2], -5 * logistic(0.5 * 0 + 1 * -1 + 0.75 * 0 - 1 * 3 + 0.25), "right");
    expect_near(y[5], 3 * logistic(-1 - 3 + 0.25), "right, second channel");
    cr_expect(bound[5] > 0 && bound[5] < 1e-5, "bound %g", bound[5]);
    cr_assert_eq(oracle_run(o, 3, shape, odd, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    cr_expect(!isnan(y[0]) && isnan(y[1]) && isnan(y[2]) && isnan(y[5]), "a NaN reaches one pixel to the left");
    oracle_free(o);
}

/* ---------------------------------------------------------------- spatial self-attention */

#define C 3
#define D 2
#define N 7

typedef struct attention_weights {
    float q[D * C], k[D * C], v[C * C], bq[D], gamma;
} attention_weights;

static oracle *attention(model *m, attention_weights *w) {
    model_init(m, "self-attention-spatial");
    add(m, "query_conv.weight", ATL_F32, w->q, 4, D, C);
    add(m, "key_conv.weight", ATL_F32, w->k, 4, D, C);
    add(m, "value_conv.weight", ATL_F32, w->v, 4, C, C);
    add(m, "query_conv.bias", ATL_F32, w->bq, 1, D, 0);
    add(m, "gamma", ATL_F32, &w->gamma, 1, 1, 0);
    oracle *o = oracle_create(&m->desc);
    cr_assert(o);
    return o;
}

static attention_weights random_weights(void) {
    attention_weights w;
    fill((float *)&w, sizeof w / sizeof(float), FILL_RANDOM, 1, 11);
    return w;
}

static const int64_t attention_shape[2] = {C, N};

Test(oracle, attention_by_hand) {
    /* C = d = 1, all weights 1, x = (0, 1), scale ln 3: row 1 has the probabilities 1/4 and 3/4. */
    static const float one = 1, gamma = 2, x[2] = {0, 1};
    const int64_t shape[2] = {1, 2};
    double y[2], map[4];
    model m;
    model_init(&m, "self-attention-spatial");
    add(&m, "query_conv.weight", ATL_F32, &one, 2, 1, 1);
    add(&m, "key_conv.weight", ATL_F32, &one, 2, 1, 1);
    add(&m, "value_conv.weight", ATL_F32, &one, 2, 1, 1);
    add(&m, "gamma", ATL_F32, &gamma, 0, 0, 0);
    set(&m, "scale", "1.0986122886681098");
    oracle *o = oracle_create(&m.desc);
    cr_assert(o);
    cr_assert_eq(oracle_run(o, 2, shape, x, ORACLE_ANY, NULL, 0, y, NULL, map, NULL), 0);
    oracle_free(o);
    const double want[4] = {0.5, 0.5, 0.25, 0.75};
    for (int i = 0; i < 4; i++)
        expect_near(map[i], want[i], "map");
    expect_near(y[0], 1, "y[0] = 2 * 1/2 + 0");
    expect_near(y[1], 2.5, "y[1] = 2 * 3/4 + 1");
}

Test(oracle, attention_invariants) {
    attention_weights w = random_weights();
    float x[C * N];
    double y[C * N], map[N * N];
    model m;
    fill(x, C * N, FILL_RANDOM, 2, 5);
    oracle *o = attention(&m, &w);
    cr_assert_eq(oracle_run(o, 2, attention_shape, x, ORACLE_ANY, NULL, 0, y, NULL, map, NULL), 0);
    oracle_free(o);
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int j = 0; j < N; j++) {
            sum += map[i * N + j];
            cr_expect(map[i * N + j] > 0 && map[i * N + j] < 1);
        }
        expect_near(sum, 1, "a row's sum");
    }
    memset(w.k, 0, sizeof w.k); /* equal keys: uniform */
    w.gamma = 0;
    o = attention(&m, &w);
    cr_assert_eq(oracle_run(o, 2, attention_shape, x, ORACLE_ANY, NULL, 0, y, NULL, map, NULL), 0);
    oracle_free(o);
    for (int i = 0; i < N * N; i++)
        expect_near(map[i], 1.0 / N, "uniform");
    for (int i = 0; i < C * N; i++)
        cr_expect(y[i] == (double)x[i], "gamma = 0: y[%d] = %g, x = %g", i, y[i], (double)x[i]);
}

Test(oracle, rows_are_those_of_the_whole) {
    attention_weights w = random_weights();
    const int64_t rows[4] = {6, 0, 6, 3};
    float x[C * N];
    double y[C * N], dy[C * N], map[N * N], dmap[N * N], ry[C * 4], rdy[C * 4], rmap[4 * N], rdmap[4 * N];
    model m;
    fill(x, C * N, FILL_RANDOM, 2, 6);
    oracle *o = attention(&m, &w);
    cr_assert_eq(oracle_run(o, 2, attention_shape, x, ORACLE_RANDOM, NULL, 0, y, dy, map, dmap), 0);
    cr_assert_eq(oracle_run(o, 2, attention_shape, x, ORACLE_RANDOM, rows, 4, ry, rdy, rmap, rdmap), 0);
    oracle_free(o);
    for (int r = 0; r < 4; r++) {
        for (int c = 0; c < C; c++) {
            cr_expect(ry[c * 4 + r] == y[c * N + rows[r]], "y of row %d", r);
            cr_expect(rdy[c * 4 + r] == dy[c * N + rows[r]], "bound of row %d", r);
        }
        cr_expect(memcmp(rmap + r * N, map + rows[r] * N, N * sizeof *map) == 0, "map of row %d", r);
        cr_expect(memcmp(rdmap + r * N, dmap + rows[r] * N, N * sizeof *map) == 0, "map bound of row %d", r);
    }
}

Test(oracle, nan_reaches_what_eager_evaluation_reaches) {
    attention_weights w = random_weights();
    float x[C * N];
    double y[C * N];
    model m;
    fill(x, C * N, FILL_RANDOM, 1, 7);
    x[4] = NAN;
    w.gamma = 0;
    oracle *o = attention(&m, &w);
    cr_assert_eq(oracle_run(o, 2, attention_shape, x, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    oracle_free(o);
    for (int i = 0; i < C * N; i++)
        cr_expect(isnan(y[i]), "y[%d] = %g: a NaN key is in every row, and 0 * NaN is NaN", i, y[i]);
}

/* ---------------------------------------------------------------- weights */

Test(oracle, dtypes_prefix_and_renames) {
    /* fc.0 = 1.5 as float16, fc.2 = -2 as bfloat16, the bias 2^-25 + 1 as float64, which float32 rounds to 1. */
    static const uint16_t half = 0x3e00, brain = 0xc000;
    static const double wide = 1 + 0x1p-25;
    static const float x = 4;
    const int64_t shape[2] = {1, 1};
    const atl_param rename = {"up.weight", "fc.2.weight"};
    double y;
    model m;
    model_init(&m, "se");
    add(&m, "fc.0.weight", ATL_F32, NULL, 2, 1, 1); /* not under the prefix */
    add(&m, "block.fc.0.weight", ATL_F16, &half, 2, 1, 1);
    add(&m, "block.up.weight", ATL_BF16, &brain, 2, 1, 1);
    add(&m, "block.fc.2.bias", ATL_F64, &wide, 1, 1, 0);
    m.desc.prefix = "block.";
    m.desc.renames = &rename;
    m.desc.rename_count = 1;
    oracle *o = oracle_create(&m.desc);
    cr_assert(o);
    cr_assert_eq(oracle_run(o, 2, shape, &x, ORACLE_ANY, NULL, 0, &y, NULL, NULL, NULL), 0);
    oracle_free(o);
    expect_near(y, 4 * logistic(-11), "4 * s(-2 * (1.5 * 4) + 1)");
}

Test(oracle, halves) {
    /* One weight of each class: 2^-24 (the smallest subnormal), -2^-14, 65504. */
    static const uint16_t bits[3] = {0x0001, 0x8400, 0x7bff};
    static const double value[3] = {0x1p-24, -0x1p-14, 65504};
    static const float big = 0x1p20f, x = 1;
    const int64_t shape[2] = {1, 1};
    for (int i = 0; i < 3; i++) {
        double y;
        model m;
        model_init(&m, "se");
        float up = i == 2 ? 1.0f / 65536 : i == 1 ? 16384 : big;
        add(&m, "fc.0.weight", ATL_F16, &bits[i], 2, 1, 1);
        add(&m, "fc.2.weight", ATL_F32, &up, 2, 1, 1);
        oracle *o = oracle_create(&m.desc);
        cr_assert(o);
        cr_assert_eq(oracle_run(o, 2, shape, &x, ORACLE_ANY, NULL, 0, &y, NULL, NULL, NULL), 0);
        oracle_free(o);
        expect_near(y, logistic((double)up * fmax(value[i], 0)), "half");
    }
}

Test(oracle, refuses_what_it_cannot_compute) {
    static const float w[4] = {1, 1, 1, 1};
    model m;
    model_init(&m, "squeeze");
    cr_expect_null(oracle_create(&m.desc), "unknown kind");
    model_init(&m, "se");
    add(&m, "fc.0.weight", ATL_F32, w, 2, 1, 2);
    cr_expect_null(oracle_create(&m.desc), "fc.2 is missing");
    add(&m, "fc.2.weight", ATL_F32, w, 2, 1, 2);
    cr_expect_null(oracle_create(&m.desc), "fc.2 has the shape of fc.0");
}

/* ---------------------------------------------------------------- bounds */

Test(oracle, bounds_admit_rounding_and_nothing_else) {
    attention_weights w = random_weights();
    float x[C * N], y[C * N];
    double want[C * N], bound[C * N], random_bound[C * N];
    int64_t worst;
    model m;
    fill(x, C * N, FILL_RANDOM, 1, 8);
    oracle *o = attention(&m, &w);
    cr_assert_eq(oracle_run(o, 2, attention_shape, x, ORACLE_ANY, NULL, 0, want, bound, NULL, NULL), 0);
    cr_assert_eq(oracle_run(o, 2, attention_shape, x, ORACLE_RANDOM, NULL, 0, want, random_bound, NULL, NULL), 0);
    oracle_free(o);
    for (int i = 0; i < C * N; i++) {
        y[i] = (float)want[i];
        cr_expect(bound[i] > 0 && bound[i] < 1e-4, "bound[%d] = %g", i, bound[i]);
        cr_expect_leq(random_bound[i], bound[i], "random fills have the smaller bound");
    }
    cr_expect_leq(oracle_error_share(y, want, random_bound, C * N, NULL), 1, "the rounded result passes");
    y[13] += 1e-3f;
    cr_expect_gt(oracle_error_share(y, want, bound, C * N, &worst), 1, "a wrong value fails");
    cr_expect_eq(worst, 13, "worst %lld", (long long)worst);
}

Test(oracle, tiny_values_have_a_bound) {
    attention_weights w = random_weights();
    float x[C * N];
    double y[C * N], bound[C * N];
    model m;
    fill(x, C * N, FILL_SUBNORMAL, 1, 9);
    oracle *o = attention(&m, &w);
    cr_assert_eq(oracle_run(o, 2, attention_shape, x, ORACLE_ANY, NULL, 0, y, bound, NULL, NULL), 0);
    oracle_free(o);
    for (int i = 0; i < C * N; i++)
        cr_expect(bound[i] >= 0x1p-149 && bound[i] < 0x1p-130, "bound[%d] = %g", i, bound[i]);
}

static double share(float got, double want, double bound) {
    return oracle_error_share(&got, &want, &bound, 1, NULL);
}

Test(oracle, error_share) {
    cr_expect_eq(share(1, 1, 0), 0, "equal");
    cr_expect_eq(share(1.5f, 1, 1), 0.5, "half of the bound");
    cr_expect_eq(share(1.5f, 1, 0), INFINITY, "no bound");
    cr_expect_eq(share(1.5f, 1, NAN), INFINITY, "a bound that is NaN");
    cr_expect_eq(share(NAN, NAN, 0), 0, "NaN meets NaN");
    cr_expect_eq(share(NAN, 1, INFINITY), INFINITY, "NaN for a number");
    cr_expect_eq(share(1, NAN, 1), INFINITY, "a number for NaN");
    cr_expect_eq(share(INFINITY, NAN, 1), INFINITY, "infinity for NaN");
    cr_expect_eq(share(INFINITY, INFINITY, 0), 0, "the same infinity");
    cr_expect_eq(share(-INFINITY, INFINITY, 0), INFINITY, "the other infinity");
    cr_expect_eq(share(FLT_MAX, INFINITY, 1), INFINITY, "a number for infinity");
    cr_expect_eq(share(INFINITY, 1e39, 1), 0, "float32 cannot hold it");
    cr_expect_eq(share(INFINITY, 1e38, 1), INFINITY, "float32 can hold it");
    cr_expect_eq(share(INFINITY, FLT_MAX, 1e32), 0, "within the bound of overflow");
}
