/* SPDX-License-Identifier: Apache-2.0 */
/* Checkers of the slots that turn rows into columns and take their softmax. */
#include <math.h>
#include <string.h>

#include "kernel_arrays.h"

static void check_transposed(check *c, atl_transpose_fn *kernel, atl_transpose_fn *reference, int64_t rows, int64_t n,
                             int with_centre) {
    int64_t stride = n + pick(c, 0, 3), out_stride = rows + pick(c, 0, 3);
    int64_t size = (rows - 1) * stride + n, out_size = (n - 1) * out_stride + rows;
    float *x = array(c, 0, size), *centre = with_centre ? array(c, 1, rows) : NULL;
    float *out = array(c, 2, out_size), *want = array(c, 3, out_size), *plain = array(c, 4, out_size);
    fill_special(c, x, size);
    if (centre)
        fill_special(c, centre, rows);
    memset(out, 0, (size_t)out_size * sizeof *out); /* gaps between rows must stay */
    memset(want, 0, (size_t)out_size * sizeof *want);
    memset(plain, 0, (size_t)out_size * sizeof *plain);
    kernel(x, rows, n, stride, centre, out, out_stride);
    reference(x, rows, n, stride, centre, want, out_stride);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++)
            plain[i * out_stride + r] = centre ? x[r * stride + i] - centre[r] : x[r * stride + i];
    verdict(c, same_bits(c, out, want, out_size) & same_bits(c, out, plain, out_size), "rows %lld n %lld centre %d",
            (long long)rows, (long long)n, with_centre);
}

void check_transpose(check *c, atl_transpose_fn *kernel, atl_transpose_fn *reference) {
    for (int64_t rows = 1; rows <= 50; rows = c->thorough ? rows + 1 : rows + 1 + rows / 2)
        for (int64_t n = 1; n <= 50; n = c->thorough ? n + 1 : n + 1 + n / 2)
            check_transposed(c, kernel, reference, rows, n, (int)(rows + n) % 2);
    for (int with_centre = 0; with_centre < 2; with_centre++) {
        check_transposed(c, kernel, reference, 513, 256, with_centre);
        check_transposed(c, kernel, reference, 16, 1025, with_centre);
    }
}

/*
 * In double, by definition, from the logits in float32: the largest share of what rounding may do; infinity where NaN meets
 * a number. In units of 2^-24 of the value: the difference to the maximum d, an exponential above and below the bar 2 * 4,
 * the sum its blocks, the rest 2.
 */
static double softmax_share(const float *s, int64_t rows, int64_t stride, float scale, const float *row, float column,
                            const float *got) {
    double top = -INFINITY, sum = 0, worst = 0, t[600];
    double units = 10 + (double)(rows < ATL_BLOCK ? rows : ATL_BLOCK) + (double)(rows / ATL_BLOCK);
    for (int64_t j = 0; j < rows; j++) {
        t[j] = scale * (row ? fmaf(row[j], column, s[j * stride]) : s[j * stride]);
        top = isnan(t[j]) || isnan(top) ? NAN : fmax(top, t[j]);
    }
    for (int64_t j = 0; j < rows; j++)
        sum += exp(t[j] - top);
    for (int64_t j = 0; j < rows; j++) {
        double want = exp(t[j] - top) / sum, error = fabs((double)got[j * stride] - want);
        if (isnan(want) != isnan(got[j * stride]))
            return INFINITY;
        if (!isnan(want))
            worst = fmax(worst, error / (0x1p-24 * (units + fmin(top - t[j], 100)) * want + 0x1p-125));
    }
    return worst;
}

static void check_columns(check *c, atl_softmax_fn *kernel, atl_softmax_fn *reference, int64_t rows, int64_t n,
                          float magnitude) {
    int64_t stride = n + pick(c, 0, 3), size = (rows - 1) * stride + n;
    float *s = array(c, 0, size), *got = array(c, 1, size), *want = array(c, 2, size);
    float *row = array(c, 3, rows), *column = array(c, 4, n);
    fill_plain(c, row, rows, magnitude);
    fill_plain(c, column, n, 1.0f);
    magnitude > 0 ? fill_plain(c, s, size, magnitude) : fill_special(c, s, size);
    for (int with_row = 0; with_row < 2; with_row++) {
        float scale = with_row ? -0.37f : 1.0f;
        const float *rank_one = with_row ? row : NULL;
        double worst = 0;
        memcpy(got, s, (size_t)size * sizeof *s);
        memcpy(want, s, (size_t)size * sizeof *s);
        kernel(got, rows, n, stride, scale, rank_one, with_row ? column : NULL);
        reference(want, rows, n, stride, scale, rank_one, with_row ? column : NULL);
        for (int64_t i = 0; i < n; i++)
            worst = fmax(worst, softmax_share(s + i, rows, stride, scale, rank_one, column[i], got + i));
        verdict(c, same_bits(c, got, want, size) & (worst <= 1),
                "rows %lld n %lld magnitude %g row %d, share of the bound %.3g", (long long)rows, (long long)n,
                (double)magnitude, with_row, worst);
    }
}

void check_softmax(check *c, atl_softmax_fn *kernel, atl_softmax_fn *reference) {
    static const float magnitudes[] = {0 /* special values */, 1, 30, 1e4f};
    int turn = 0;
    for (int64_t n = 1; n <= 70; n = c->thorough ? n + 1 : n + 1 + n / 2)
        for (int64_t rows = 1; rows <= 17; rows += 1 + rows / 2)
            check_columns(c, kernel, reference, rows, n, magnitudes[turn++ % 4]);
    for (int64_t rows = 255; rows <= 515; rows += 1 + (rows % 256 == 2) * 251)
        for (int m = 0; m < 4; m++)
            check_columns(c, kernel, reference, rows, pick(c, 1, 40), magnitudes[m]);
}
