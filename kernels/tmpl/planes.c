/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: planes of a convolution. Their lines are written in order, the last pixels of each as a whole vector: what that
 * overwrites is written later.
 */
#include "../simd/simd.h"

/* Floats ahead of which the next channels are fetched, and in a cache line. */
enum { AHEAD = 2048, LINE = 64 / (int)sizeof(float) };

V_INLINE void clear(float *to, int64_t n) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store(to + i, v_zero());
    if (i < n)
        v_store_part(to + i, n - i, v_zero());
}

V_INLINE void copy(const float *x, int64_t n, float *to) {
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        for (int l = 0; l < 4 * VL; l += LINE)
            __builtin_prefetch(x + i + AHEAD + l, 0, 2);
        UNROLL
        for (int v = 0; v < 4; v++)
            v_store(to + i + v * VL, v_load(x + i + v * VL));
    }
    for (; i < n; i += VL)
        v_store_part(to + i, n - i, v_load_part(x + i, n - i));
}

/* With stride 1 all lines of a channel lie together. */
V_INLINE void copy_channel(const atl_planes_args *a, const float *x, float *to) {
    int64_t top = a->first - a->reach, end = top + a->lines; /* rows */
    int64_t from = top > 0 ? top : 0, until = end < a->height ? end : a->height;
    if (from >= until) {
        clear(to, a->lines * a->line);
        return;
    }
    clear(to, (from - top) * a->line);
    copy(x + from * a->width, (until - from) * a->width, to + (from - top) * a->line);
    clear(to + (until - top) * a->line, (end - until) * a->line);
}

V_INLINE void copy_vectors(const float *x, int64_t i, int64_t n, float *evens, float *odds) {
    vf even, odd;
    for (int l = 0; l < 2 * VL; l += LINE)
        __builtin_prefetch(x + 2 * i + AHEAD + l, 0, 2);
    v_load_pairs(x + 2 * i, n, &even, &odd);
    v_store(evens + i, even);
    v_store(odds + i, odd);
}

/* Pixels of even and of odd index. */
V_INLINE void copy_pairs(const float *x, int64_t n, float *evens, float *odds) {
    int64_t i = 0;
    for (; 2 * i + 2 * VL <= n; i += VL)
        copy_vectors(x, i, 2 * VL, evens, odds);
    if (2 * i < n)
        copy_vectors(x, i, n - 2 * i, evens, odds);
}

/* Every stride-th pixel of a row, from column `from` on. */
V_INLINE void copy_strided(const atl_planes_args *a, const float *x, int64_t from, float *to) {
    for (int64_t i = 0; i < a->line; i++, from += a->stride)
        to[i] = from < a->width ? x[from] : 0.0f;
}

/* A row of pixels to lines from `to` on of the planes of all column phases. */
V_INLINE void split_row(const atl_planes_args *a, const float *x, float *to) {
    if (a->stride == 2 && a->phases == 2) {
        copy_pairs(x, a->width, to, to + a->plane);
        return;
    }
    for (int64_t b = 0; b < a->phases; b++)
        copy_strided(a, x, b <= a->reach ? b : b + a->stride - a->phases, to + b * a->plane);
}

V_INLINE void split_channel(const atl_planes_args *a, const float *x, float *to) {
    for (int64_t q = 0; q < a->lines; q++) /* rows as they lie in memory */
        for (int64_t phase = 0; phase < a->phases; phase++) {
            int64_t row = (a->first + q) * a->stride + phase - a->reach;
            float *line = to + phase * a->phases * a->plane + q * a->line;
            if (row >= 0 && row < a->height)
                split_row(a, x + row * a->width, line);
            else
                for (int64_t b = 0; b < a->phases; b++)
                    clear(line + b * a->plane, a->line);
        }
}

void KERNEL(planes)(const atl_planes_args *a) {
    for (int64_t c = 0; c < a->channels; c++) {
        float *to = a->to + c * a->phases * a->phases * a->plane;
        if (a->stride == 1)
            copy_channel(a, a->x + c * a->x_row, to);
        else
            split_channel(a, a->x + c * a->x_row, to);
    }
}
