/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: planes of a convolution. Their lines are written in order, the last pixels of each as a whole vector: what that
 * overwrites is written later.
 */
#include "../simd/simd.h"

/* Floats ahead of which channels are fetched, about, and in a cache line. */
enum { AHEAD = 2048, LINE = 64 / (int)sizeof(float) };

/* From a pixel to its like in a channel to come, which is copied when this one is. */
V_INLINE int64_t ahead_of(const atl_planes_args *a) {
    return a->x_row < AHEAD ? (AHEAD + a->x_row - 1) / a->x_row * a->x_row : a->x_row;
}

V_INLINE void clear(float *to, int64_t n) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store(to + i, v_zero());
    if (i < n)
        v_store_part(to + i, n - i, v_zero());
}

V_INLINE void copy(const float *x, int64_t n, int64_t ahead, float *to) {
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        for (int l = 0; l < 4 * VL; l += LINE)
            __builtin_prefetch(x + i + ahead + l, 0, 2);
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
    copy(x + from * a->width, (until - from) * a->width, ahead_of(a), to + (from - top) * a->line);
    clear(to + (until - top) * a->line, (end - until) * a->line);
}

V_INLINE void split_vectors(const float *x, int64_t n, int64_t ahead, float *evens, float *odds) {
    vf even, odd;
    for (int l = 0; l < 2 * VL; l += LINE)
        __builtin_prefetch(x + ahead + l, 0, 2);
    v_load_pairs(x, n, &even, &odd);
    v_store(evens, even);
    v_store(odds, odd);
}

/* Pixels of even and of odd index, of every second row. */
V_INLINE void split_pairs(const atl_planes_args *a, const float *x, int64_t lines, float *evens) {
    int64_t whole = a->width / (2 * VL) * VL, rest = a->width - 2 * whole;
    int64_t ahead = ahead_of(a);
    float *odds = evens + a->plane;
    for (int64_t q = 0; q < lines; q++, x += 2 * a->width, evens += a->line, odds += a->line) {
        for (int64_t i = 0; i < whole; i += VL)
            split_vectors(x + 2 * i, 2 * VL, ahead, evens + i, odds + i);
        if (rest > 0)
            split_vectors(x + 2 * whole, rest, ahead, evens + whole, odds + whole);
    }
}

/* Every stride-th pixel of every stride-th row, from column `from` on. */
V_INLINE void copy_strided(const atl_planes_args *a, const float *x, int64_t lines, int64_t from, float *to) {
    for (int64_t q = 0; q < lines; q++, x += a->stride * a->width, to += a->line)
        for (int64_t i = 0, column = from; i < a->line; i++, column += a->stride)
            to[i] = column < a->width ? x[column] : 0.0f;
}

static int64_t clamp(int64_t i, int64_t most) {
    return i < 0 ? 0 : i < most ? i : most;
}

/* The planes of a row phase, of which line 0 is row `row`. */
V_INLINE void split_phase(const atl_planes_args *a, const float *x, int64_t row, float *to) {
    int64_t from = clamp((a->stride - 1 - row) / a->stride, a->lines);
    int64_t until = clamp((a->stride - 1 + a->height - row) / a->stride, a->lines);
    x += (row + from * a->stride) * a->width;
    for (int64_t b = 0; b < a->phases; b++)
        clear(to + b * a->plane, from * a->line);
    if (a->stride == 2 && a->phases == 2)
        split_pairs(a, x, until - from, to + from * a->line);
    else
        for (int64_t b = 0; b < a->phases; b++)
            copy_strided(a, x, until - from, b <= a->reach ? b : b + a->stride - a->phases,
                         to + b * a->plane + from * a->line);
    for (int64_t b = 0; b < a->phases; b++)
        clear(to + b * a->plane + until * a->line, (a->lines - until) * a->line);
}

V_INLINE void split_channel(const atl_planes_args *a, const float *x, float *to) {
    for (int64_t phase = 0; phase < a->phases; phase++)
        split_phase(a, x, a->first * a->stride + phase - a->reach, to + phase * a->phases * a->plane);
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
