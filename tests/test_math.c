/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The elementary functions against the C library's in double: a sample of all floats, or, with ATTENTILE_SLOW=1, all
 * 2^32 of them. On the best ISA of this machine; the others give the same bits (test_kernels).
 */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

enum { CHUNK = 4096 };

static atl_kernels kernels(void) {
    atl_kernels table;
    memset(&table, 0, sizeof table);
    atl_kernels_select(&table, atl_cpu_best());
    return table;
}

/* One in this many floats; odd, so that all mantissas and exponents are met. */
static uint32_t step(void) {
    const char *slow = getenv("ATTENTILE_SLOW");
    return slow && strcmp(slow, "1") == 0 ? 1 : 1009;
}

static float from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* |got - want| in units of the last place of a float at |want|. */
static double ulps(float got, double want) {
    int exponent;
    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1.0, exponent - 24);
}

typedef struct worst {
    double ulp;
    float at, got;
    long normal, special;
} worst;

/* What `got` must be for x when the true result is `want`: within the limit if that is normal, else the edge rules. */
static void compare(worst *w, float x, float got, double want, int flushes) {
    if (isnan(want)) {
        cr_assert(isnan(got), "f(%a) = %a, expected NaN", (double)x, (double)got);
        w->special++;
        return;
    }
    if (want < 0x1p-126) {
        cr_assert(got >= 0.0f && got <= FLT_MIN && (!flushes || got == 0.0f || want > 0x1p-126 * (1 - 0x1p-20)),
                  "f(%a) = %a, expected 0 or nearly", (double)x, (double)got);
        w->special++;
        return;
    }
    if (want > (double)FLT_MAX) {
        cr_assert(got == INFINITY || want < (double)FLT_MAX * (1 + 0x1p-22), "f(%a) = %a, expected inf", (double)x,
                  (double)got);
        w->special++;
        return;
    }
    double error = ulps(got, want);
    w->normal++;
    if (error > w->ulp) {
        w->ulp = error;
        w->at = x;
        w->got = got;
    }
}

static worst sweep(atl_unary f, double (*reference)(double), int flushes) {
    atl_kernels table = kernels();
    worst w = {0};
    static float x[CHUNK], y[CHUNK];
    uint64_t bits = 0;
    while (bits <= UINT32_MAX) {
        int n = 0;
        for (; n < CHUNK && bits <= UINT32_MAX; bits += step())
            x[n++] = from_bits((uint32_t)bits);
        table.unary.fn(x, y, n, f, 0.0f);
        for (int i = 0; i < n; i++)
            compare(&w, x[i], y[i], reference((double)x[i]), flushes);
    }
    return w;
}

static double sigmoid(double x) {
    return 1.0 / (1.0 + exp(-x));
}

Test(math, exp_within_2_ulp, .timeout = 1800) {
    worst w = sweep(ATL_UNARY_EXP, exp, 1);
    cr_log_info("exp: %.3f ULP at %a over %ld normal results", w.ulp, (double)w.at, w.normal);
    cr_expect(w.normal > 100000 && w.special > 100000, "%ld normal and %ld special results", w.normal, w.special);
    cr_expect(w.ulp <= 2.0, "exp(%a) = %a is %.3f ULP off", (double)w.at, (double)w.got, w.ulp);
}

Test(math, sigmoid_within_3_ulp, .timeout = 1800) {
    worst w = sweep(ATL_UNARY_SIGMOID, sigmoid, 0);
    cr_log_info("sigmoid: %.3f ULP at %a over %ld normal results", w.ulp, (double)w.at, w.normal);
    cr_expect(w.normal > 100000 && w.special > 100000, "%ld normal and %ld special results", w.normal, w.special);
    cr_expect(w.ulp <= 3.0, "sigmoid(%a) = %a is %.3f ULP off", (double)w.at, (double)w.got, w.ulp);
}

Test(math, sigmoid_at_the_ends) {
    atl_kernels table = kernels();
    float x[] = {-INFINITY, INFINITY, 0.0f, -0.0f, NAN, -200.0f, 200.0f}, y[7];
    table.unary.fn(x, y, 7, ATL_UNARY_SIGMOID, 0.0f);
    cr_expect(y[0] == 0.0f && y[1] == 1.0f && y[2] == 0.5f && y[3] == 0.5f && isnan(y[4]) && y[5] == 0.0f &&
                  y[6] == 1.0f,
              "%g %g %g %g %g %g %g", (double)y[0], (double)y[1], (double)y[2], (double)y[3], (double)y[4],
              (double)y[5], (double)y[6]);
}

/* 2^t of softmax weights, seen through attention over one key: q = t, k = v = 1, maximum 0. */
static void weights_of(const atl_kernels *table, const float *t, float *p) {
    static float scores[ATL_BLOCK * 32];
    float k[ATL_BLOCK] = {1.0f}, v[ATL_BLOCK] = {1.0f}, max[32] = {0}, sum[32] = {0};
    float out[32] = {0};
    table->attend.fn(&(atl_attend_args){.q = t,
                                        .k = k,
                                        .v = v,
                                        .d = 1,
                                        .c = 1,
                                        .keys = 1,
                                        .lanes = table->attend.nr,
                                        .state = {max, sum, out},
                                        .scores = scores,
                                        .weights = scores});
    memcpy(p, out, (size_t)table->attend.nr * sizeof *p);
}

Test(math, softmax_weights_within_2_1_ulp, .timeout = 1800) {
    atl_kernels table = kernels();
    cr_assert(table.attend.nr <= 32);
    worst w = {0};
    float t[32], p[32];
    uint64_t bits = 0x80000000u, end = 0x80000000u + 0x42fc0000u; /* -0 down to -126 */
    while (bits <= end) {
        for (int i = 0; i < table.attend.nr; i++, bits += step())
            t[i] = from_bits((uint32_t)(bits <= end ? bits : end));
        weights_of(&table, t, p);
        for (int i = 0; i < table.attend.nr; i++)
            compare(&w, t[i], p[i], exp2((double)t[i]), 0);
    }
    cr_log_info("2^t: %.3f ULP at %a over %ld results", w.ulp, (double)w.at, w.normal);
    cr_expect(w.normal > 100000, "%ld results", w.normal);
    cr_expect(w.ulp <= 2.1, "2^%a = %a is %.3f ULP off", (double)w.at, (double)w.got, w.ulp);
}

/* 2^t of maps, through the map of one key: q = t, k = 1, maximum 0, sum 1. */
Test(math, map_weights_within_1_1_ulp, .timeout = 1800) {
    atl_kernels table = kernels();
    static float k[ATL_PANEL_ROW] = {1.0f};
    float t[16], p[16], zeros[16] = {0}, ones[16];
    int rows = table.map.mr;
    cr_assert(rows <= 16);
    for (int i = 0; i < 16; i++)
        ones[i] = 1.0f;
    worst w = {0};
    for (uint64_t bits = 0x80000000u, end = bits + 0x42fc0000u; bits <= end;) {
        for (int i = 0; i < rows; i++, bits += step())
            t[i] = from_bits((uint32_t)(bits <= end ? bits : end));
        table.map.fn(t, k, 1, rows, 1, zeros, ones, NULL, p, 1, 0);
        for (int i = 0; i < rows; i++)
            compare(&w, t[i], p[i], exp2((double)t[i]), 0);
    }
    cr_log_info("2^t of maps: %.3f ULP at %a over %ld results", w.ulp, (double)w.at, w.normal);
    cr_expect(w.normal > 100000, "%ld results", w.normal);
    cr_expect(w.ulp <= 1.1, "2^%a = %a is %.3f ULP off", (double)w.at, (double)w.got, w.ulp);
}

Test(math, softmax_weights_beyond_the_range) {
    atl_kernels table = kernels();
    float t[32] = {0.0f, nextafterf(-126.0f, -200.0f), -1000.0f, -FLT_MAX, -INFINITY, NAN}, p[32];
    for (int i = 0; i < 6; i += table.attend.nr)
        weights_of(&table, t + i, p + i);
    cr_expect(p[0] == 1.0f && p[1] == 0.0f && p[2] == 0.0f && p[3] == 0.0f && p[4] == 0.0f && isnan(p[5]),
              "%g %g %g %g %g %g", (double)p[0], (double)p[1], (double)p[2], (double)p[3], (double)p[4], (double)p[5]);
}
