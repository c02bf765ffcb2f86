/* SPDX-License-Identifier: Apache-2.0 */
/* Checkers of the slots that make a gate per pixel. */
#include <math.h>
#include <string.h>

#include "kernel_arrays.h"

static float maximum(const float *x, int64_t channels, int64_t stride) {
    float largest = -INFINITY;
    for (int64_t c = 0; c < channels; c++)
        largest = larger(largest, x[c * stride]);
    return largest;
}

/* Blocks of ATL_BLOCK from zero and in order, added in order, divided once. */
static float mean(const float *x, int64_t channels, int64_t stride) {
    float total = 0.0f;
    for (int64_t c0 = 0; c0 < channels; c0 += ATL_BLOCK) {
        float block = 0.0f;
        for (int64_t c = c0; c < channels && c < c0 + ATL_BLOCK; c++)
            block += x[c * stride];
        total = c0 ? total + block : block;
    }
    return total / (float)channels;
}

/* One filling, `scale` or NULL; `scaled` receives what counts. */
static void check_pool_of(check *c, atl_channel_pool_fn *kernel, atl_channel_pool_fn *reference, int64_t n,
                          int64_t channels, int64_t stride, const float *x, const float *scale, float *scaled,
                          const char *what) {
    float *means = array(c, 1, n), *max = array(c, 2, n), *want_means = array(c, 3, n), *want_max = array(c, 4, n);
    kernel(x, n, channels, stride, scale, means, max);
    reference(x, n, channels, stride, scale, want_means, want_max);
    verdict(c, same_bits(c, means, want_means, n) & same_bits(c, max, want_max, n),
            "n %lld channels %lld stride %lld %s", (long long)n, (long long)channels, (long long)stride, what);
    for (int64_t i = 0; i < channels; i++)
        for (int64_t j = 0; j < n; j++)
            scaled[i * stride + j] = scale ? scale[i] * x[i * stride + j] : x[i * stride + j];
    for (int64_t i = 0; i < n; i++) {
        want_means[i] = mean(scaled + i, channels, stride);
        want_max[i] = maximum(scaled + i, channels, stride);
    }
    verdict(c, same_bits(c, means, want_means, n) & same_bits(c, max, want_max, n),
            "n %lld channels %lld stride %lld %s by definition", (long long)n, (long long)channels, (long long)stride,
            what);
}

static void check_pool(check *c, atl_channel_pool_fn *kernel, atl_channel_pool_fn *reference, int64_t n,
                       int64_t channels) {
    int64_t stride = n + pick(c, 0, 3), size = (channels - 1) * stride + n;
    float *x = array(c, 0, size), *scale = array(c, 5, channels), *scaled = array(c, 6, size);
    for (int mode = 0; mode < 3; mode++) {
        mode == 1 ? fill_special(c, x, size) : fill_plain(c, x, size, 3.0f);
        mode == 1 ? fill_special(c, scale, channels) : fill_plain(c, scale, channels, 1.0f);
        for (int64_t i = 0; mode == 2 && i < size; i++)
            x[i] = i % 3 ? -fabsf(x[i]) : copysignf(0.0f, x[i]);
        check_pool_of(c, kernel, reference, n, channels, stride, x, NULL, scaled, mode == 1 ? "special" : "");
        check_pool_of(c, kernel, reference, n, channels, stride, x, scale, scaled,
                      mode == 1 ? "special, scaled" : "scaled");
    }
}

void check_channel_pool(check *c, atl_channel_pool_fn *kernel, atl_channel_pool_fn *reference) {
    static const int64_t channels[] = {255, 256, 257, 511, 513, 1025};
    for (int64_t n = 1; n <= 130; n = c->thorough ? n + 1 : n + 1 + n / 2)
        check_pool(c, kernel, reference, n, pick(c, 1, 40));
    for (int64_t n = 1000; n <= 2200; n += 149)
        check_pool(c, kernel, reference, n, pick(c, 1, 9));
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++)
        check_pool(c, kernel, reference, pick(c, 1, 70), channels[i]);
}

void check_conv_gate(check *c, atl_conv_gate_fn *kernel, atl_conv_gate_fn *reference) {
    for (int64_t n = 1; n <= 260; n = c->thorough ? n + 1 : n + 1 + n / 2)
        for (int64_t k = 3; k <= 7; k += 2) {
            int64_t row = n + k - 1 + pick(c, 0, 3), plane = k * row + pick(c, 0, 9),
                    size = plane + (k - 1) * row + n + k - 1;
            float *planes = array(c, 0, size), *w = array(c, 1, 2 * k * k), *bias = array(c, 2, 1);
            float *factor = array(c, 3, n), *want = array(c, 4, n);
            n % 4 ? fill_plain(c, planes, size, 2.0f) : fill_special(c, planes, size);
            fill_plain(c, w, 2 * k * k, 1.0f);
            fill_plain(c, bias, 1, 1.0f);
            for (int with_bias = 0; with_bias < 2; with_bias++) {
                kernel(planes, row, plane, k, w, with_bias ? bias : NULL, n, factor);
                reference(planes, row, plane, k, w, with_bias ? bias : NULL, n, want);
                verdict(c, same_bits(c, factor, want, n), "n %lld k %lld bias %d", (long long)n, (long long)k,
                        with_bias);
            }
        }
}

/* n pixels scaled and `ahead` pooled, of the same channels: against the reference's scaling and pooling, one after the other. */
static void check_scale_pooling(check *c, atl_scale_pixels_fn *kernel, atl_scale_pixels_fn *reference,
                                atl_scale_pixels_args args, float *want) {
    int64_t n = args.ahead_n, ys = (args.channels - 1) * args.y_stride + args.n;
    float *y = args.y, *mean = array(c, 6, n), *max = array(c, 7, n), *want_mean = array(c, 8, n);
    float *want_max = array(c, 9, n);
    args.sum = array(c, 4, n);
    for (int mode = 0; mode < 4; mode++) {
        atl_scale_pixels_args a = args;
        a.stream = mode & 1;
        a.ahead = mode < 2 ? NULL : args.ahead;
        memset(y, 0, (size_t)ys * sizeof *y); /* gaps between channels must stay */
        memset(want, 0, (size_t)ys * sizeof *y);
        a.mean = mean, a.max = max;
        kernel(&a);
        a.y = want, a.stream = 0, a.mean = want_mean, a.max = want_max;
        reference(&a);
        verdict(c,
                same_bits(c, y, want, ys) &&
                    (!a.ahead || (same_bits(c, mean, want_mean, n) & same_bits(c, max, want_max, n))),
                "n %lld channels %lld ahead %lld mode %d", (long long)args.n, (long long)args.channels, (long long)n,
                mode);
    }
}

void check_scale_pixels(check *c, atl_scale_pixels_fn *kernel, atl_scale_pixels_fn *reference) {
    for (int64_t n = 1; n <= 1200; n = n < 257 && c->thorough ? n + 1 : n + 1 + n / 2) {
        int64_t channels = n % 5 == 0 && n < 100 ? pick(c, 255, 515) : pick(c, 1, 5), most = n + pick(c, 0, 90);
        int64_t x_stride = most + pick(c, 0, 3), y_stride = n + pick(c, 0, 3);
        int64_t xs = (channels - 1) * x_stride + n, ys = (channels - 1) * y_stride + n;
        atl_scale_pixels_args args = {
            .n = n, .channels = channels, .x_stride = x_stride, .y_stride = y_stride, .ahead_n = pick(c, 1, most)};
        int64_t as = (channels - 1) * x_stride + args.ahead_n;
        float *x = array(c, 0, xs), *want = array(c, 2, ys), *factor = array(c, 3, n), *ahead = array(c, 5, as);
        fill_special(c, x, xs);
        n % 3 ? fill_plain(c, ahead, as, 3.0f) : fill_special(c, ahead, as);
        n % 2 ? fill_plain(c, factor, n, 2.0f) : fill_special(c, factor, n);
        args.x = x, args.y = array(c, 1, ys), args.factor = factor, args.ahead = ahead;
        check_scale_pooling(c, kernel, reference, args, want);
        want = array(c, 4, xs);
        memcpy(want, x, (size_t)xs * sizeof *x);
        args.ahead = NULL, args.x = args.y = want, args.y_stride = x_stride;
        reference(&args);
        args.x = args.y = x;
        kernel(&args);
        verdict(c, same_bits(c, x, want, xs), "n %lld in place", (long long)n);
    }
}

void check_gate_add_relu(check *c, atl_gate_add_relu_fn *kernel, atl_gate_add_relu_fn *reference) {
    for (int64_t n = 1; n <= 600; n = c->thorough && n < 130 ? n + 1 : n + 1 + n / 2) {
        int64_t channels = pick(c, 1, 5), x_stride = n + pick(c, 0, 3), y_stride = n + pick(c, 0, 3);
        int64_t xs = (channels - 1) * x_stride + n, ys = (channels - 1) * y_stride + n;
        float *x = array(c, 0, xs), *scale = array(c, 1, channels), *factor = array(c, 2, n), *y = array(c, 3, ys);
        float *want = array(c, 4, ys), *defined = array(c, 5, ys);
        for (int special = 0; special < 2; special++) {
            special ? fill_special(c, x, xs) : fill_plain(c, x, xs, 3.0f);
            special ? fill_special(c, y, ys) : fill_plain(c, y, ys, 3.0f); /* gaps between channels must stay */
            fill_plain(c, factor, n, 1.0f);
            fill_plain(c, scale, channels, 1.0f);
            memcpy(want, y, (size_t)ys * sizeof *y);
            memcpy(defined, y, (size_t)ys * sizeof *y);
            kernel(x, n, channels, x_stride, scale, factor, y, y_stride);
            reference(x, n, channels, x_stride, scale, factor, want, y_stride);
            verdict(c, same_bits(c, y, want, ys), "n %lld channels %lld special %d", (long long)n, (long long)channels,
                    special);
            for (int64_t i = 0; i < channels; i++)
                for (int64_t j = 0; j < n; j++) {
                    float scaled = scale[i] * x[i * x_stride + j], gated = factor[j] * scaled;
                    float sum = gated + defined[i * y_stride + j];
                    defined[i * y_stride + j] = sum < 0.0f ? 0.0f : sum;
                }
            verdict(c, same_bits(c, y, defined, ys), "n %lld channels %lld special %d by definition", (long long)n,
                    (long long)channels, special);
        }
    }
}

static void check_window_rows(check *c, atl_window_max_fn *kernel, atl_window_max_fn *reference, int64_t n,
                              int64_t lines, int mode) {
    int64_t line = 2 * n + pick(c, 0, 3), rows = pick(c, 1, 13), x_row = lines * line + pick(c, 0, 3);
    int64_t y_row = n + pick(c, 0, 3), xs = (rows - 1) * x_row + (lines - 1) * line + 2 * n;
    int64_t ys = (rows - 1) * y_row + n;
    float *x = array(c, 0, xs), *y = array(c, 1, ys), *want = array(c, 2, ys);
    mode == 1 ? fill_special(c, x, xs) : fill_plain(c, x, xs, 3.0f);
    for (int64_t i = 0; mode == 2 && i < xs; i++)
        x[i] = i % 3 ? -fabsf(x[i]) : copysignf(0.0f, x[i]);
    memset(y, 0, (size_t)ys * sizeof *y); /* gaps between rows must stay */
    memset(want, 0, (size_t)ys * sizeof *y);
    kernel(x, n, rows, x_row, lines, line, y, y_row);
    reference(x, n, rows, x_row, lines, line, want, y_row);
    verdict(c, same_bits(c, y, want, ys), "n %lld rows %lld lines %lld mode %d", (long long)n, (long long)rows,
            (long long)lines, mode);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++) {
            float largest[3];
            for (int64_t w = 0; w < lines; w++)
                largest[w] = maximum(x + r * x_row + w * line + 2 * i, 2, 1);
            want[r * y_row + i] = maximum(largest, lines, 1);
        }
    verdict(c, same_bits(c, y, want, ys), "n %lld rows %lld lines %lld mode %d by definition", (long long)n,
            (long long)rows, (long long)lines, mode);
}

void check_window_max(check *c, atl_window_max_fn *kernel, atl_window_max_fn *reference) {
    for (int64_t n = 1; n <= 130; n = c->thorough ? n + 1 : n + 1 + n / 2)
        for (int64_t lines = 1; lines <= 3; lines++)
            check_window_rows(c, kernel, reference, n, lines, (int)(n % 3));
}
