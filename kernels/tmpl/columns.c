/* SPDX-License-Identifier: Apache-2.0 */
/* Template: rows of positions turned into rows of channels, and the softmax of columns. */
#include "../simd/simd.h"

/* ---- transpose ---- */

/* VL positions of up to VL rows, of which n and `rows` exist. With `whole` (a constant) all of them do. */
V_INLINE void transpose_tile(int whole, const float *x, int64_t rows, int64_t n, int64_t stride, const float *centre,
                             float *out, int64_t out_stride) {
    vf a[VL];
    UNROLL
    for (int r = 0; r < VL; r++) {
        if (!whole && r >= rows) {
            a[r] = v_zero();
            continue;
        }
        a[r] = whole ? v_load(x + r * stride) : v_load_part(x + r * stride, n);
        if (centre)
            a[r] = v_sub(a[r], v_set(centre[r]));
    }
    v_transpose(a);
    UNROLL
    for (int i = 0; i < VL; i++) {
        if (whole)
            v_store(out + i * out_stride, a[i]);
        else if (i < n)
            v_store_part(out + i * out_stride, rows, a[i]);
    }
}

void KERNEL(transpose)(const float *x, int64_t rows, int64_t n, int64_t stride, const float *centre, float *out,
                       int64_t out_stride) {
    for (int64_t r = 0; r < rows; r += VL)
        for (int64_t i = 0; i < n; i += VL) {
            const float *from = x + r * stride + i, *mean = centre ? centre + r : 0;
            float *to = out + i * out_stride + r;
            if (r + VL <= rows && i + VL <= n)
                transpose_tile(1, from, VL, VL, stride, mean, to, out_stride);
            else
                transpose_tile(0, from, rows - r, n - i, stride, mean, to, out_stride);
        }
}

/* ---- softmax: lanes = columns, so that maxima and sums are lane vectors ---- */

enum { VECTORS = 32 / VL }; /* side by side: one would wait for its own additions */

/* Scores become logits in place; their maxima. A NaN may or may not be one: the column's sum is NaN in any case. */
V_INLINE void logits(int vectors, float *s, int64_t rows, int64_t n, int64_t stride, float scale, const float *row,
                     const float *column, vf *top) {
    UNROLL
    for (int v = 0; v < vectors; v++)
        top[v] = v_set(-__builtin_inff());
    for (int64_t j = 0; j < rows; j++) {
        UNROLL
        for (int v = 0; v < vectors; v++) {
            float *at = s + j * stride + v * VL;
            vf t = v_load_part(at, n - v * VL);
            if (row)
                t = v_fma(v_set(row[j]), v_load_part(column + v * VL, n - v * VL), t);
            t = v_mul(t, v_set(scale));
            top[v] = v_max(t, top[v]);
            v_store_part(at, n - v * VL, t);
        }
    }
}

V_INLINE void softmax_columns(int vectors, float *s, int64_t rows, int64_t n, int64_t stride, float scale,
                              const float *row, const float *column) {
    vf top[VECTORS], sum[VECTORS];
    logits(vectors, s, rows, n, stride, scale, row, column, top);
    UNROLL
    for (int v = 0; v < vectors; v++)
        sum[v] = v_zero();
    for (int64_t j0 = 0; j0 < rows; j0 += ATL_BLOCK) {
        int64_t end = rows - j0 < ATL_BLOCK ? rows : j0 + ATL_BLOCK;
        vf block[VECTORS];
        UNROLL
        for (int v = 0; v < vectors; v++)
            block[v] = v_zero();
        for (int64_t j = j0; j < end; j++) {
            UNROLL
            for (int v = 0; v < vectors; v++) {
                float *at = s + j * stride + v * VL;
                vf p = v_exp(v_sub(v_load_part(at, n - v * VL), top[v]));
                block[v] = v_add(block[v], p);
                v_store_part(at, n - v * VL, p);
            }
        }
        UNROLL
        for (int v = 0; v < vectors; v++)
            sum[v] = v_add(sum[v], block[v]);
    }
    for (int64_t j = 0; j < rows; j++) {
        UNROLL
        for (int v = 0; v < vectors; v++) {
            float *at = s + j * stride + v * VL;
            v_store_part(at, n - v * VL, v_div(v_load_part(at, n - v * VL), sum[v]));
        }
    }
}

void KERNEL(softmax)(float *s, int64_t rows, int64_t n, int64_t stride, float scale, const float *row,
                     const float *column) {
    int64_t i = 0;
    for (; i + VECTORS * VL <= n; i += VECTORS * VL)
        softmax_columns(VECTORS, s + i, rows, VECTORS * VL, stride, scale, row, row ? column + i : 0);
    for (; i < n; i += VL)
        softmax_columns(1, s + i, rows, n - i, stride, scale, row, row ? column + i : 0);
}
