/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: planes with their padding. They are cleared, then rows of pixels are copied in order, the last of each as a whole
 * vector with zeros behind: those fall on padding, or where the next row will stand.
 */
#include "../simd/simd.h"

V_INLINE void clear(float *to, int64_t n) {
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        UNROLL
        for (int v = 0; v < 4; v++)
            v_store(to + i + v * VL, v_zero());
    }
    for (; i < n; i += VL)
        v_store_part(to + i, n - i, v_zero());
}

V_INLINE void copy_row(const float *x, int64_t n, float *to) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store(to + i, v_load(x + i));
    if (i < n && n > VL)
        v_store(to + n - VL, v_load(x + n - VL));
    else if (i < n)
        v_store(to + i, v_load_part(x + i, n - i));
}

/* Pixels of even and of odd index. */
V_INLINE void copy_pairs(const float *x, int64_t n, float *evens, float *odds) {
    for (int64_t i = 0; 2 * i < n; i += VL) {
        vf even, odd;
        v_load_pairs(x + 2 * i, n - 2 * i, &even, &odd);
        v_store(evens + i, even);
        v_store(odds + i, odd);
    }
}

/* Every stride-th pixel of a row, from column `phase` of the padded row on. */
V_INLINE void copy_strided(const atl_planes_args *a, const float *x, int64_t phase, float *to) {
    int64_t before = a->reach - phase, i = before > 0 ? (before + a->stride - 1) / a->stride : 0;
    for (; i < a->line && i * a->stride - before < a->width; i++)
        to[i] = x[i * a->stride - before];
}

/* A row of pixels to the lines `to` of the planes of all column phases. */
V_INLINE void copy_line(const atl_planes_args *a, const float *x, float *to) {
    if (a->stride == 1) {
        copy_row(x, a->width, to + a->reach);
    } else if (a->stride == 2 && a->phases == 2) { /* even pixels stand in the even columns when the reach is even */
        int64_t odd = a->reach % 2;
        copy_pairs(x, a->width, to + odd * a->plane + a->reach / 2, to + (1 - odd) * a->plane + (a->reach + 1) / 2);
    } else {
        for (int64_t b = 0; b < a->phases; b++)
            copy_strided(a, x, b, to + b * a->plane);
    }
}

void KERNEL(planes)(const atl_planes_args *a) {
    for (int64_t c = 0; c < a->channels; c++) {
        float *to = a->to + c * a->phases * a->phases * a->plane;
        for (int64_t p = 0; p < a->phases * a->phases; p++)
            clear(to + p * a->plane, a->lines * a->line + a->reach + ATL_SUM_LANES);
        for (int64_t q = 0; q < a->lines; q++) /* rows as they lie in memory */
            for (int64_t phase = 0; phase < a->phases; phase++) {
                int64_t row = (a->first + q) * a->stride + phase - a->reach;
                if (row >= 0 && row < a->height)
                    copy_line(a, a->x + c * a->x_row + row * a->width, to + phase * a->phases * a->plane + q * a->line);
            }
    }
}
