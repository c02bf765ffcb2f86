/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle's kinds around convolutions, on images small enough for pencil and paper. */
#include "fill.h"
#include "oracle_model.h"

#define DOUBLES(...) ((const double[]){__VA_ARGS__})

static void expect_row(const double *got, const double *want, int count, const char *what) {
    for (int i = 0; i < count; i++)
        cr_expect(fabs(got[i] - want[i]) <= 1e-14 * (1 + fabs(want[i])), "%s[%d]: got %.17g, want %.17g", what, i,
                  got[i], want[i]);
}

/* ---------------------------------------------------------------- selective kernels */

/* One channel, one row x = (1, -2, 3). The 3x3 branch is centre + 2 right, normalised to (v - 1) * 2 + 0.5; the 5x5 branch
 * is the pixel two to the left plus 0.25. */
typedef struct selective {
    float k3[9], k5[25], bias5, norm[4], fc[2], fcs[4];
    model m;
} selective;

static void selective_init(selective *s) {
    *s = (selective){.bias5 = 0.25f, .norm = {2, 0.5f, 1, 1 - 0.75f}, .fc = {2, -1}, .fcs = {0.5f, 1, -0.25f, 0}};
    s->k3[4] = 1;
    s->k3[5] = 2;
    s->k5[10] = 1;
    model_init(&s->m, "sk");
    add_conv(&s->m, "convs.0.0.weight", s->k3, 1, 1, 3);
    add(&s->m, "convs.0.1.weight", ATL_F32, &s->norm[0], 1, 1, 0);
    add(&s->m, "convs.0.1.bias", ATL_F32, &s->norm[1], 1, 1, 0);
    add(&s->m, "convs.0.1.running_mean", ATL_F32, &s->norm[2], 1, 1, 0);
    add(&s->m, "convs.0.1.running_var", ATL_F32, &s->norm[3], 1, 1, 0);
    add_conv(&s->m, "convs.1.0.weight", s->k5, 1, 1, 5);
    add(&s->m, "convs.1.0.bias", ATL_F32, &s->bias5, 1, 1, 0);
    add(&s->m, "fc.weight", ATL_F32, &s->fc[0], 2, 1, 1);
    add(&s->m, "fc.bias", ATL_F32, &s->fc[1], 1, 1, 0);
    add(&s->m, "fcs.0.weight", ATL_F32, &s->fcs[0], 2, 1, 1);
    add(&s->m, "fcs.0.bias", ATL_F32, &s->fcs[1], 1, 1, 0);
    add(&s->m, "fcs.1.weight", ATL_F32, &s->fcs[2], 2, 1, 1);
    add(&s->m, "fcs.1.bias", ATL_F32, &s->fcs[3], 1, 1, 0);
    set(&s->m, "eps", "0.75");
}

Test(oracle, sk_by_hand) {
    static const float x[3] = {1, -2, 3};
    const int64_t shape[3] = {1, 1, 3};
    double y[3], bound[3];
    selective s;
    selective_init(&s);
    oracle *o = model_oracle(&s.m);
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, NULL, 0, y, bound, NULL, NULL), 0);
    oracle_free(o);
    /* conv: 1 - 4, -2 + 6, 3; normalised -7.5, 6.5, 4.5; the other branch: 0.25, 0.25, 1.25. */
    const double u0[3] = {0, 6.5, 4.5}, u1[3] = {0.25, 0.25, 1.25};
    double z = 2 * (12.75 / 3) - 1, a = logistic((0.5 * z + 1) - -0.25 * z);
    for (int i = 0; i < 3; i++) {
        expect_near(y[i], a * u0[i] + (1 - a) * u1[i], "y");
        cr_expect(bound[i] > 0 && bound[i] < 1e-4, "bound[%d] = %g", i, bound[i]);
    }
}

/* Two rows, stride 2: what is left is pixels 0 and 2 of row 0, which row 1 does not reach. */
Test(oracle, sk_with_stride) {
    static const float x[6] = {1, -2, 3, 0, 0, 0};
    const int64_t shape[3] = {1, 2, 3}, row = 1;
    double y[2], one;
    selective s;
    selective_init(&s);
    set(&s.m, "stride", "2");
    oracle *o = model_oracle(&s.m);
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, &row, 1, &one, NULL, NULL, NULL), 0);
    oracle_free(o);
    double z = 2 * ((0.25 + 5.75) / 2) - 1, a = logistic(0.75 * z + 1);
    expect_row(y, DOUBLES((1 - a) * 0.25, a * 4.5 + (1 - a) * 1.25), 2, "y");
    expect_near(one, y[1], "a position on its own");
}

/* Four channels in two groups: a channel sees its own group alone, and a NaN reaches everything through the mean. */
Test(oracle, sk_in_groups) {
    float k3[4 * 2 * 9] = {0}, fc[4] = {0}, fcs[4] = {0}, x[4] = {1, 2, 3, 4};
    const int64_t shape[3] = {4, 1, 1};
    double y[4];
    model m;
    for (int o = 0; o < 4; o++)
        for (int i = 0; i < 2; i++)
            k3[(o * 2 + i) * 9 + 4] = (float)(o + 1) * (i ? 10 : 1);
    model_init(&m, "sk");
    add_conv(&m, "convs.0.0.weight", k3, 4, 2, 3);
    add(&m, "fc.weight", ATL_F32, fc, 2, 1, 4);
    add(&m, "fcs.0.weight", ATL_F32, fcs, 2, 4, 1);
    oracle *o = model_oracle(&m);
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    expect_row(y, DOUBLES(21, 42, 3 * 43, 4 * 43), 4, "y");
    x[3] = NAN;
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    oracle_free(o);
    for (int i = 0; i < 4; i++)
        cr_expect(isnan(y[i]), "y[%d] = %g: 0 * NaN is NaN", i, y[i]);
}

Test(oracle, sk_refuses_what_does_not_fit) {
    static const float w[25] = {0};
    model m;
    model_init(&m, "sk");
    add_conv(&m, "convs.0.0.weight", w, 1, 1, 5);
    add(&m, "fc.weight", ATL_F32, w, 2, 1, 1);
    add(&m, "fcs.0.weight", ATL_F32, w, 2, 1, 1);
    cr_expect_null(oracle_create(&m.desc), "the first branch has kernel 5");
    add(&m, "convs.0.1.weight", ATL_F32, w, 1, 1, 0);
    m.tensors[0].shape[2] = m.tensors[0].shape[3] = 3;
    cr_expect_null(oracle_create(&m.desc), "a normalisation without statistics");
}

/* ---------------------------------------------------------------- the residual block of CBAM */

/* One channel to two; conv1 = centre times (1, 2), hidden width 1, sa.conv = mean's centre - maximum's left neighbour. */
typedef struct residual {
    float conv1[2 * 9], bias1[2], norm[8], down[2], up[2], spatial[18], shortcut[2], shortcut_bias[2];
    model m;
} residual;

static void residual_init(residual *s, const char *stride) {
    *s = (residual){.bias1 = {0.5f, 0},
                    .norm = {1, 3, 0, 1, 0, 2, 0.75f, 8.75f},
                    .down = {1, 0.5f},
                    .up = {0.25f, -0.125f},
                    .shortcut = {-1, 0.5f},
                    .shortcut_bias = {0, 0.25f}};
    s->conv1[4] = 1;
    s->conv1[9 + 4] = 2;
    s->spatial[4] = 1;
    s->spatial[9 + 3] = -1;
    model_init(&s->m, "cbam-res");
    add_conv(&s->m, "conv1.weight", s->conv1, 2, 1, 3);
    add(&s->m, "conv1.bias", ATL_F32, s->bias1, 1, 2, 0);
    add(&s->m, "bn1.weight", ATL_F32, s->norm, 1, 2, 0);
    add(&s->m, "bn1.bias", ATL_F32, s->norm + 2, 1, 2, 0);
    add(&s->m, "bn1.running_mean", ATL_F32, s->norm + 4, 1, 2, 0);
    add(&s->m, "bn1.running_var", ATL_F32, s->norm + 6, 1, 2, 0);
    add(&s->m, "ca.sharedMLP.0.weight", ATL_F32, s->down, 4, 1, 2);
    add(&s->m, "ca.sharedMLP.2.weight", ATL_F32, s->up, 4, 2, 1);
    add_conv(&s->m, "sa.conv.weight", s->spatial, 1, 2, 3);
    add(&s->m, "conv_res.weight", ATL_F32, s->shortcut, 4, 2, 1);
    add(&s->m, "conv_res.bias", ATL_F32, s->shortcut_bias, 1, 2, 0);
    set(&s->m, "eps", "0.25");
    if (stride)
        set(&s->m, "stride", stride);
}

/* x = (1, -2, 3), stride 1. conv1: (1.5, -1.5, 3.5) and (2, -4, 6); normalised with variances 1 and 9:
 * (1.5, -1.5, 3.5) and (2 - 2, -4 - 2, 6 - 2) + 1. */
Test(oracle, cbam_res_by_hand) {
    static const float x[3] = {1, -2, 3};
    const int64_t shape[3] = {1, 1, 3};
    const double t[2][3] = {{1.5, 0, 3.5}, {1, 0, 5}};
    double y[6], bound[6];
    residual s;
    residual_init(&s, "1");
    oracle *o = model_oracle(&s.m);
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, NULL, 0, y, bound, NULL, NULL), 0);
    oracle_free(o);
    double mlp = (5.0 / 3 + 0.5 * 2) + (3.5 + 0.5 * 5), g[2] = {logistic(0.25 * mlp), logistic(-0.125 * mlp)};
    const double pooled[3] = {1, 3, 3};
    for (int i = 0; i < 3; i++) {
        double left = i ? fmax(t[0][i - 1] * g[0], t[1][i - 1] * g[1]) : 0;
        double p = logistic((t[0][i] * g[0] + t[1][i] * g[1]) / 2 - left);
        expect_near(y[i], fmax(t[0][i] * g[0] * p - pooled[i], 0), "channel 0");
        expect_near(y[3 + i], t[1][i] * g[1] * p + 0.5 * pooled[i] + 0.25, "channel 1");
        cr_expect(bound[3 + i] > 0 && bound[3 + i] < 1e-4, "bound[%d] = %g", i, bound[3 + i]);
    }
}

/* The default stride is 2, and both ways see pixels 0 and 2 of an image of 3; the pool also their neighbours. */
Test(oracle, cbam_res_with_stride) {
    static const float x[9] = {1, 5, 3, 0, 7, 0, 0, 0, 0};
    const int64_t shape[3] = {1, 3, 3};
    double y[8];
    residual s;
    residual_init(&s, NULL);
    memset(s.up, 0, sizeof s.up);           /* both channel gates are 1/2 */
    memset(s.spatial, 0, sizeof s.spatial); /* and so are the pixels' */
    oracle *o = model_oracle(&s.m);
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    oracle_free(o);
    /* Channel 1: t = relu((2 x - 2) + 1) = (1, 5, 0, 0) / 4, plus half the pool (7 everywhere) and 1/4. */
    expect_row(y + 4, DOUBLES(4, 5, 3.75, 3.75), 4, "channel 1");
}

/* max-pool ignores its padding: over negative pixels it is negative, and a NaN is kept. */
Test(oracle, cbam_res_pool) {
    float x[2] = {-3, -4};
    const int64_t shape[3] = {1, 1, 2};
    double y[4];
    residual s;
    residual_init(&s, "1");
    memset(s.conv1, 0, sizeof s.conv1);
    memset(s.bias1, 0, sizeof s.bias1);
    oracle *o = model_oracle(&s.m);
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    expect_row(y, DOUBLES(3, 3, 0, 0), 4, "y"); /* t = 0 (channel 1: -2 + 1 < 0) */
    x[1] = INFINITY;
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    cr_expect(isnan(y[0]), "0 * infinity in conv1: %g", y[0]);
    oracle_free(o);
}

/* ---------------------------------------------------------------- bounds */

Test(oracle, blocks_bounds_admit_rounding_and_nothing_else) {
    const int64_t shape[3] = {1, 5, 6};
    float x[30], got[2 * 30];
    double y[2 * 30], bound[2 * 30], random_bound[2 * 30];
    selective s;
    residual r;
    selective_init(&s);
    residual_init(&r, "1");
    fill(x, 30, FILL_RANDOM, 1, 3);
    for (int kind = 0; kind < 2; kind++) {
        int count = kind ? 60 : 30;
        oracle *o = model_oracle(kind ? &r.m : &s.m);
        cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, NULL, 0, y, bound, NULL, NULL), 0);
        cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_RANDOM, NULL, 0, y, random_bound, NULL, NULL), 0);
        oracle_free(o);
        for (int i = 0; i < count; i++) {
            got[i] = (float)y[i];
            cr_expect(bound[i] > 0 && bound[i] < 1e-4, "bound[%d] = %g", i, bound[i]);
            cr_expect_leq(random_bound[i], bound[i], "random fills have the smaller bound");
        }
        cr_expect_leq(oracle_error_share(got, y, random_bound, count, NULL), 1, "the rounded result passes");
        got[count - 1] += 1e-3f;
        cr_expect_gt(oracle_error_share(got, y, bound, count, NULL), 1, "a wrong value fails");
    }
}
