/* SPDX-License-Identifier: Apache-2.0 */
/* Checkers of the slots that make a gate per pixel. */
#include <math.h>
#include <string.h>

#include "kernel_arrays.h"

/* By definition, without lanes or order. */
static float maximum(const float *x, int64_t channels, int64_t stride) {
    float largest = -INFINITY;
    for (int64_t c = 0; c < channels; c++) {
        if (isnan(x[c * stride]))
            return NAN;
        largest = fmaxf(largest, x[c * stride]);
    }
    return largest == 0.0f ? 0.0f : largest;
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

static void check_pool(check *c, atl_channel_pool_fn *kernel, atl_channel_pool_fn *reference, int64_t n,
                       int64_t channels) {
    int64_t stride = n + pick(c, 0, 3), size = (channels - 1) * stride + n;
    float *x = array(c, 0, size), *means = array(c, 1, n), *max = array(c, 2, n);
    float *want_means = array(c, 3, n), *want_max = array(c, 4, n);
    for (int mode = 0; mode < 3; mode++) {
        mode == 1 ? fill_special(c, x, size) : fill_plain(c, x, size, 3.0f);
        for (int64_t i = 0; mode == 2 && i < size; i++)
            x[i] = i % 3 ? -fabsf(x[i]) : copysignf(0.0f, x[i]);
        kernel(x, n, channels, stride, means, max);
        reference(x, n, channels, stride, want_means, want_max);
        verdict(c, same_bits(c, means, want_means, n) & same_bits(c, max, want_max, n),
                "n %lld channels %lld stride %lld mode %d", (long long)n, (long long)channels, (long long)stride, mode);
        for (int64_t i = 0; i < n; i++) {
            want_means[i] = mean(x + i, channels, stride);
            want_max[i] = maximum(x + i, channels, stride);
        }
        verdict(c, same_bits(c, means, want_means, n) & same_bits(c, max, want_max, n),
                "n %lld channels %lld stride %lld mode %d by definition", (long long)n, (long long)channels,
                (long long)stride, mode);
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

void check_scale_pixels(check *c, atl_scale_pixels_fn *kernel, atl_scale_pixels_fn *reference) {
    for (int64_t n = 1; n <= 1200; n = n < 257 && c->thorough ? n + 1 : n + 1 + n / 2) {
        int64_t channels = pick(c, 1, 4), x_stride = n + pick(c, 0, 3), y_stride = n + pick(c, 0, 3);
        int64_t xs = (channels - 1) * x_stride + n, ys = (channels - 1) * y_stride + n;
        float *x = array(c, 0, xs), *y = array(c, 1, ys), *want = array(c, 2, ys), *factor = array(c, 3, n);
        fill_special(c, x, xs);
        n % 2 ? fill_plain(c, factor, n, 2.0f) : fill_special(c, factor, n);
        for (int stream = 0; stream < 2; stream++) {
            memset(y, 0, (size_t)ys * sizeof *y); /* gaps between channels must stay */
            memset(want, 0, (size_t)ys * sizeof *y);
            kernel(x, y, n, channels, x_stride, y_stride, factor, stream, n % 3 ? x : NULL);
            reference(x, want, n, channels, x_stride, y_stride, factor, 0, NULL);
            verdict(c, same_bits(c, y, want, ys), "n %lld channels %lld stream %d", (long long)n, (long long)channels,
                    stream);
        }
        want = array(c, 4, xs);
        memcpy(want, x, (size_t)xs * sizeof *x);
        reference(x, want, n, channels, x_stride, x_stride, factor, 0, NULL);
        kernel(x, x, n, channels, x_stride, x_stride, factor, 0, NULL);
        verdict(c, same_bits(c, x, want, xs), "n %lld in place", (long long)n);
    }
}
