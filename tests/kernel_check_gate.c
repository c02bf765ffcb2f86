/* SPDX-License-Identifier: Apache-2.0 */
/* Checkers of the slots that sum, gate and scale. */
#include <math.h>
#include <string.h>

#include "kernel_arrays.h"

/* Every size, or a handful of them. */
static int64_t next_size(const check *c, int64_t n) {
    return c->thorough ? n + 1 : n + 1 + n / 2;
}

/* Rows of n elements: a few with gaps, or, from time to time, short ones without and more of them than a first-level cache holds. */
static int64_t pick_rows(check *c, int64_t n, int64_t *stride) {
    int many = n < 256 && pick(c, 0, 7) == 0;
    *stride = many ? n : n + pick(c, 0, 3);
    return many ? 40 * 1024 / n + pick(c, 0, 9) : pick(c, 1, 9);
}

void check_sum(check *c, atl_sum_fn *kernel, atl_sum_fn *reference) {
    static const int64_t large[] = {1023, 1024, 1025, 2048, 3136};
    for (int64_t at = 1; at < 257 + 5; at = at < 257 && next_size(c, at) < 257 ? next_size(c, at) : at + 1) {
        int64_t n = at <= 257 ? at : large[at - 258], stride, rows = pick_rows(c, n, &stride);
        float *x = array(c, 0, (rows - 1) * stride + n), *out = array(c, 1, rows), *want = array(c, 2, rows);
        for (int special = 0; special < 2; special++) {
            special ? fill_special(c, x, (rows - 1) * stride + n) : fill_plain(c, x, (rows - 1) * stride + n, 3.0f);
            kernel(x, n, rows, stride, out);
            reference(x, n, rows, stride, want);
            verdict(c, same_bits(c, out, want, rows), "n %lld rows %lld stride %lld", (long long)n, (long long)rows,
                    (long long)stride);
        }
    }
}

/* Maxima are wrong in ways that sums are not: a row of negative elements, zeros of both signs, a NaN or infinities of both
 * signs anywhere. */
static void fill_maxima(check *c, float *x, int64_t n, int64_t rows, int64_t stride) {
    static const float odd[] = {NAN, INFINITY, -INFINITY, -0.0f};
    fill_plain(c, x, (rows - 1) * stride + n, 3.0f);
    for (int64_t r = 0; r < rows; r++) {
        float *row = x + r * stride;
        int64_t zero = pick(c, 0, 1), odds = pick(c, 0, 2);
        for (int64_t i = 0; i < n; i++)
            row[i] = zero ? copysignf(0.0f, row[i]) : -fabsf(row[i]);
        for (; odds > 0; odds--) {
            int64_t at = pick(c, 0, n - 1);
            row[at] = odd[pick(c, 0, 3)];
        }
    }
}

/* By definition, without lanes or order. */
static float maximum(const float *x, int64_t n) {
    float largest = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i]))
            return x[i];
        largest = x[i] > largest ? x[i] : largest;
    }
    return largest == 0.0f ? 0.0f : largest;
}

void check_sum_max(check *c, atl_sum_max_fn *kernel, atl_sum_max_fn *reference) {
    static const int64_t large[] = {1023, 1024, 1025, 2048, 3136};
    for (int64_t at = 1; at < 257 + 5; at = at < 257 && next_size(c, at) < 257 ? next_size(c, at) : at + 1) {
        int64_t n = at <= 257 ? at : large[at - 258], stride, rows = pick_rows(c, n, &stride);
        float *x = array(c, 0, (rows - 1) * stride + n), *sums = array(c, 1, rows), *maxima = array(c, 2, rows);
        float *want_sums = array(c, 3, rows), *want = array(c, 4, rows), *defined = array(c, 5, rows);
        for (int mode = 0; mode < 3; mode++) {
            mode == 0   ? fill_plain(c, x, (rows - 1) * stride + n, 3.0f)
            : mode == 1 ? fill_special(c, x, (rows - 1) * stride + n)
                        : fill_maxima(c, x, n, rows, stride);
            kernel(x, n, rows, stride, sums, maxima);
            reference(x, n, rows, stride, want_sums, want);
            for (int64_t r = 0; r < rows; r++)
                defined[r] = maximum(x + r * stride, n);
            verdict(c, same_bits(c, sums, want_sums, rows) & same_bits(c, maxima, want, rows),
                    "n %lld rows %lld stride %lld mode %d", (long long)n, (long long)rows, (long long)stride, mode);
            verdict(c, same_bits(c, maxima, defined, rows), "n %lld rows %lld stride %lld mode %d by definition",
                    (long long)n, (long long)rows, (long long)stride, mode);
            atl_f32_sum_scalar(x, n, rows, stride, want_sums);
            verdict(c, same_bits(c, sums, want_sums, rows), "n %lld rows %lld stride %lld mode %d, sums of sum",
                    (long long)n, (long long)rows, (long long)stride, mode);
        }
    }
}

void check_scale(check *c, atl_scale_fn *kernel, atl_scale_fn *reference) {
    for (int64_t n = 1; n <= 2200; n = n < 257 ? next_size(c, n) : n + 601) {
        int64_t joined = pick(c, 0, 1), rows = pick(c, 1, joined ? 3 + 1000 / n : 3), y_shift = pick(c, 0, 15);
        int64_t x_stride = n + (joined ? 0 : pick(c, 0, 3)), y_stride = n + (joined ? 0 : pick(c, 0, 3));
        int64_t xs = (rows - 1) * x_stride + n, ys = (rows - 1) * y_stride + n;
        float *x = array(c, 0, xs), *y = array(c, 1, y_shift + ys) + y_shift, *want = array(c, 2, ys),
              *scale = array(c, 3, rows);
        fill_special(c, x, xs);
        fill_plain(c, scale, rows, 2.0f);
        float *ahead = array(c, 5, xs), *sums = array(c, 6, 2 * rows), *want_sums = array(c, 7, 2 * rows);
        n % 2 ? fill_maxima(c, ahead, n, rows, x_stride) : fill_plain(c, ahead, xs, 3.0f);
        /* no rows ahead, their sums, their maxima as well; each with and without streaming */
        for (int mode = 0; mode < 6; mode++) {
            int stream = mode & 1;
            const float *rows_ahead = mode < 2 ? NULL : ahead;
            memset(y, 0, (size_t)ys * sizeof *y); /* gaps between rows must stay */
            memset(want, 0, (size_t)ys * sizeof *y);
            memset(sums, 0, (size_t)(2 * rows) * sizeof *y);
            memset(want_sums, 0, (size_t)(2 * rows) * sizeof *y);
            kernel(x, y, n, rows, x_stride, y_stride, scale, stream, rows_ahead, sums, mode < 4 ? NULL : sums + rows);
            reference(x, want, n, rows, x_stride, y_stride, scale, 0, rows_ahead, want_sums,
                      mode < 4 ? NULL : want_sums + rows);
            verdict(c, same_bits(c, y, want, ys) & same_bits(c, sums, want_sums, 2 * rows), "n %lld rows %lld mode %d",
                    (long long)n, (long long)rows, mode);
        }
        want = array(c, 4, xs);
        reference(x, want, n, rows, x_stride, x_stride, scale, 0, NULL, NULL, NULL);
        kernel(x, x, n, rows, x_stride, x_stride, scale, 0, NULL, NULL, NULL);
        for (int64_t r = 0; r < rows; r++)
            verdict(c, same_bits(c, x + r * x_stride, want + r * x_stride, n), "n %lld in place", (long long)n);
    }
}

void check_fc(check *c, atl_fc_fn *kernel, atl_fc_fn *reference) {
    for (int64_t k = 1; k <= 257; k = next_size(c, k)) {
        int64_t m = pick(c, 1, 140), packed = (m + ATL_SUM_LANES - 1) / ATL_SUM_LANES * ATL_SUM_LANES * k;
        int64_t vectors = pick(c, 1, 14), x_step = k + pick(c, 0, 3), out_step = m + pick(c, 0, 3);
        int64_t xs = (vectors - 1) * x_step + k, outs = (vectors - 1) * out_step + m;
        float *x = array(c, 0, xs), *w = array(c, 1, packed), *bias = array(c, 2, m), *out = array(c, 3, outs);
        float *want = array(c, 4, outs);
        k % 4 ? fill_plain(c, x, xs, 1.0f) : fill_special(c, x, xs);
        memset(out, 0, (size_t)outs * sizeof *out);
        memset(want, 0, (size_t)outs * sizeof *want);
        fill_plain(c, w, packed, 1.0f);
        fill_plain(c, bias, m, 1.0f);
        for (int with_bias = 0; with_bias < 2; with_bias++) {
            kernel(x, vectors, x_step, k, w, with_bias ? bias : NULL, m, out, out_step);
            reference(x, vectors, x_step, k, w, with_bias ? bias : NULL, m, want, out_step);
            verdict(c, same_bits(c, out, want, outs), "k %lld m %lld vectors %lld bias %d", (long long)k, (long long)m,
                    (long long)vectors, with_bias);
        }
    }
}

void check_unary(check *c, atl_unary_fn *kernel, atl_unary_fn *reference) {
    for (int64_t n = 1; n <= 257; n = next_size(c, n))
        for (int f = 0; f < ATL_UNARY_COUNT; f++) {
            float *x = array(c, 0, n), *y = array(c, 1, n), *want = array(c, 2, n);
            n % 2 ? fill_special(c, x, n) : fill_plain(c, x, n, 100.0f);
            kernel(x, y, n, (atl_unary)f, 0.2f);
            reference(x, want, n, (atl_unary)f, 0.2f);
            verdict(c, same_bits(c, y, want, n), "function %d n %lld", f, (long long)n);
            kernel(x, x, n, (atl_unary)f, 0.2f);
            verdict(c, same_bits(c, x, want, n), "function %d n %lld in place", f, (long long)n);
        }
}
