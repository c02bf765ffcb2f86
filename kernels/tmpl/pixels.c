/* SPDX-License-Identifier: Apache-2.0 */
/* Template: a gate per pixel. Lanes are pixels everywhere: no result depends on its neighbours or on where a run starts. */
#include "../simd/simd.h"

/* ---- mean and maximum over channels ---- */

/* Pixels whose sums stay in the first-level cache, and channels that are added in one pass over them: rows are read in
 * long runs, several side by side. */
enum { STRIP = 1024, CHANNELS = 4 };

/* What counts of an element: with `scale` (NULL is a constant) its product with the channel's, rounded. */
V_INLINE vf scaled(vf x, const float *scale, int c) {
    return scale ? v_mul(x, v_set(scale[c])) : x;
}

/* `channels` channels of n <= STRIP pixels: added to sum in order, and their largest kept. */
V_INLINE void pool_channels(int channels, const float *x, int64_t n, int64_t stride, const float *scale, float *sum,
                            float *max) {
    for (int64_t i = 0; i < n; i += VL) {
        vf s = v_load_part(sum + i, n - i), m = v_load_part(max + i, n - i);
        UNROLL
        for (int c = 0; c < channels; c++) {
            vf a = scaled(v_load_part(x + c * stride + i, n - i), scale, c);
            s = v_add(s, a);
            m = v_max(m, a);
        }
        v_store_part(sum + i, n - i, s);
        v_store_part(max + i, n - i, m);
    }
}

V_INLINE void pool_whole(const float *x, int64_t n, int64_t stride, const float *scale, float *sum, float *max) {
    int64_t i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        vf s[2], m[2];
        UNROLL
        for (int v = 0; v < 2; v++) {
            s[v] = v_load(sum + i + v * VL);
            m[v] = v_load(max + i + v * VL);
        }
        UNROLL
        for (int c = 0; c < CHANNELS; c++) {
            UNROLL
            for (int v = 0; v < 2; v++) {
                vf a = scaled(v_load(x + c * stride + i + v * VL), scale, c);
                s[v] = v_add(s[v], a);
                m[v] = v_max(m[v], a);
            }
        }
        UNROLL
        for (int v = 0; v < 2; v++) {
            v_store(sum + i + v * VL, s[v]);
            v_store(max + i + v * VL, m[v]);
        }
    }
    pool_channels(CHANNELS, x + i, n - i, stride, scale, sum + i, max + i);
}

V_INLINE void fill_strip(float *x, int64_t n, float value) {
    for (int64_t i = 0; i < n; i += VL)
        v_store_part(x + i, n - i, v_set(value));
}

/* A NaN among the elements makes the sum NaN, so only then do they have to be looked at. A zero loses its sign. */
V_INLINE float column_max(const float *x, int64_t channels, int64_t stride, const float *scale, float sum,
                          float largest) {
    if (sum != sum)
        for (int64_t c = 0; c < channels; c++) {
            float a = scale ? x[c * stride] * scale[c] : x[c * stride];
            if (a != a)
                return a;
        }
    return largest + 0.0f;
}

V_INLINE void pool_strip(const float *x, int64_t n, int64_t channels, int64_t stride, const float *scale, float *mean,
                         float *max) {
    float sum[STRIP];
    fill_strip(max, n, -__builtin_inff());
    for (int64_t c0 = 0; c0 < channels; c0 += ATL_BLOCK) {
        int64_t end = channels - c0 < ATL_BLOCK ? channels : c0 + ATL_BLOCK, c = c0;
        fill_strip(sum, n, 0.0f);
        for (; c + CHANNELS <= end; c += CHANNELS)
            pool_whole(x + c * stride, n, stride, scale ? scale + c : 0, sum, max);
        for (; c < end; c++)
            pool_channels(1, x + c * stride, n, stride, scale ? scale + c : 0, sum, max);
        for (int64_t i = 0; i < n; i += VL) {
            vf block = v_load_part(sum + i, n - i);
            v_store_part(mean + i, n - i, c0 ? v_add(v_load_part(mean + i, n - i), block) : block);
        }
    }
    for (int64_t i = 0; i < n; i++)
        max[i] = column_max(x + i, channels, stride, scale, mean[i], max[i]);
    for (int64_t i = 0; i < n; i += VL)
        v_store_part(mean + i, n - i, v_div(v_load_part(mean + i, n - i), v_set((float)channels)));
}

void KERNEL(channel_pool)(const float *x, int64_t n, int64_t channels, int64_t stride, const float *scale, float *mean,
                          float *max) {
    for (int64_t i = 0; i < n; i += STRIP) {
        int64_t count = n - i < STRIP ? n - i : STRIP;
        if (scale)
            pool_strip(x + i, count, channels, stride, scale, mean + i, max + i);
        else
            pool_strip(x + i, count, channels, stride, 0, mean + i, max + i);
    }
}

/* ---- convolution of two planes, sigmoid ---- */

/* `vectors` vectors of pixels side by side (one would wait for its own additions), of which n pixels exist, some of each. */
V_INLINE void conv_pixels(int vectors, const float *planes, int64_t row, int64_t plane, int64_t k, const float *w,
                          const float *bias, int64_t n, float *factor) {
    enum { VECTORS = 4 };
    vf acc[VECTORS];
    UNROLL
    for (int v = 0; v < vectors; v++)
        acc[v] = v_zero();
    for (int64_t r = 0; r < 2 * k; r++) {
        const float *from = planes + r / k * plane + r % k * row;
        for (int64_t c = 0; c < k; c++) {
            vf tap = v_set(w[r * k + c]);
            UNROLL
            for (int v = 0; v < vectors; v++)
                acc[v] = v_fma(tap, v_load_part(from + c + v * VL, n - v * VL), acc[v]);
        }
    }
    UNROLL
    for (int v = 0; v < vectors; v++) {
        if (bias)
            acc[v] = v_add(acc[v], v_set(*bias));
        v_store_part(factor + v * VL, n - v * VL, v_sigmoid(acc[v]));
    }
}

void KERNEL(conv_gate)(const float *planes, int64_t row, int64_t plane, int64_t k, const float *w, const float *bias,
                       int64_t n, float *factor) {
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        conv_pixels(4, planes + i, row, plane, k, w, bias, 4 * VL, factor + i);
    planes += i;
    factor += i;
    n -= i;
    if (n > 3 * VL)
        conv_pixels(4, planes, row, plane, k, w, bias, n, factor);
    else if (n > 2 * VL)
        conv_pixels(3, planes, row, plane, k, w, bias, n, factor);
    else if (n > VL)
        conv_pixels(2, planes, row, plane, k, w, bias, n, factor);
    else if (n > 0)
        conv_pixels(1, planes, row, plane, k, w, bias, n, factor);
}

/* ---- scaling of pixels ---- */

V_INLINE void scale_part(const float *x, float *y, const float *factor, int64_t n) {
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        UNROLL
        for (int v = 0; v < 4; v++)
            v_store(y + i + v * VL, v_mul(v_load(x + i + v * VL), v_load(factor + i + v * VL)));
    }
    for (; i < n; i += VL)
        v_store_part(y + i, n - i, v_mul(v_load_part(x + i, n - i), v_load_part(factor + i, n - i)));
}

enum { LINE = 64 / (int)sizeof(float) };

/* Whole cache lines past the caches, the ragged ends through them; a line ahead is fetched for each line written. */
V_INLINE void stream_part(const float *x, float *y, const float *factor, int64_t n, const float *ahead) {
    int64_t head = (int64_t)(-((uintptr_t)y / sizeof(float)) % LINE), i = head < n ? head : n;
    scale_part(x, y, factor, i);
    for (; i + LINE <= n; i += LINE) {
        if (ahead)
            __builtin_prefetch(ahead + i, 0, 2);
        UNROLL
        for (int v = 0; v < LINE / VL; v++)
            v_stream(y + i + v * VL, v_mul(v_load(x + i + v * VL), v_load(factor + i + v * VL)));
    }
    scale_part(x + i, y + i, factor + i, n - i);
}

void KERNEL(scale_pixels)(const float *x, float *y, int64_t n, int64_t channels, int64_t x_stride, int64_t y_stride,
                          const float *factor, int stream, const float *ahead) {
    for (int64_t c = 0; c < channels; c++) {
        if (stream)
            stream_part(x + c * x_stride, y + c * y_stride, factor, n, ahead ? ahead + c * x_stride : 0);
        else
            scale_part(x + c * x_stride, y + c * y_stride, factor, n);
    }
    if (stream)
        v_stream_end();
}

/* ---- the end of a residual block ---- */

V_INLINE vf gate_add_relu(vf x, vf scale, vf factor, vf y) {
    return v_max_keep(v_add(v_mul(v_mul(x, scale), factor), y), v_zero());
}

void KERNEL(gate_add_relu)(const float *x, int64_t n, int64_t channels, int64_t x_stride, const float *scale,
                           const float *factor, float *y, int64_t y_stride) {
    for (int64_t c = 0; c < channels; c++, x += x_stride, y += y_stride) {
        vf s = v_set(scale[c]);
        int64_t i = 0;
        for (; i + VL <= n; i += VL)
            v_store(y + i, gate_add_relu(v_load(x + i), s, v_load(factor + i), v_load(y + i)));
        if (i < n)
            v_store_part(
                y + i, n - i,
                gate_add_relu(v_load_part(x + i, n - i), s, v_load_part(factor + i, n - i), v_load_part(y + i, n - i)));
    }
}
