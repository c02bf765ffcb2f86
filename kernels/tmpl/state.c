/* SPDX-License-Identifier: Apache-2.0 */
/* Template: what happens to the states of queries after attention: merging those of two runs of keys, and the output. */
#include "state.h"

void KERNEL(merge)(int64_t nr, int64_t c, atl_attend_state into, atl_attend_state from) {
    for (int64_t i = 0; i < nr; i += VL) {
        vf m0 = v_load(into.max + i), m1 = v_load(from.max + i), top = v_max(m1, m0);
        vf a0 = rescale(m0, top), a1 = rescale(m1, top);
        v_store(into.max + i, top);
        v_store(into.sum + i, v_fma(v_load(into.sum + i), a0, v_mul(v_load(from.sum + i), a1)));
        for (int64_t r = 0; r < c; r++) {
            float *to = into.out + r * nr + i;
            v_store(to, v_fma(v_load(to), a0, v_mul(v_load(from.out + r * nr + i), a1)));
        }
    }
}

/* Rows of an image are far apart: 32 lanes of each are done together. */
enum { FINISH_NV = 32 / VL, ROWS_AHEAD = 24 };

V_INLINE vf affine_row(vf z, const atl_affine *affine, int64_t r) {
    if (affine->bias)
        z = v_add(z, v_set(affine->bias[r]));
    return affine->scale ? v_fma(z, v_set(affine->scale[r]), v_set(affine->shift[r])) : z;
}

/* The first n <= 32 of the lanes from i on. */
V_INLINE void finish_lanes(int64_t nr, int64_t c, int64_t i, int64_t n, float gamma, const atl_affine *affine,
                           atl_attend_state state, const float *x, int64_t x_stride, float *y, int64_t y_stride,
                           int stream) {
    vf inverse[FINISH_NV];
    UNROLL
    for (int v = 0; v < FINISH_NV; v++)
        inverse[v] = v * VL < n ? v_div(v_set(1.0f), v_load(state.sum + i + v * VL)) : v_zero();
    for (int64_t r = 0; r < c; r++) {
        for (int64_t a = 0; a < n && x && r + ROWS_AHEAD < c; a += 16) {
            __builtin_prefetch(x + (r + ROWS_AHEAD) * x_stride + i + a);
            if (!stream)
                __builtin_prefetch(y + (r + ROWS_AHEAD) * y_stride + i + a, 1);
        }
        UNROLL
        for (int v = 0; v < FINISH_NV; v++) {
            int64_t at = i + v * VL;
            if (v * VL >= n)
                break;
            vf out = v_mul(v_load(state.out + r * nr + at), inverse[v]);
            vf end = v_add(out, v_zero());
            if (x)
                end = v_fma(v_set(gamma), affine_row(out, affine, r), v_load_part(x + r * x_stride + at, n - v * VL));
            if (stream && n == FINISH_NV * VL)
                v_stream(y + r * y_stride + at, end);
            else
                v_store_part(y + r * y_stride + at, n - v * VL, end);
        }
    }
}

void KERNEL(finish)(int64_t nr, int64_t c, int64_t n, float gamma, const atl_affine *affine, atl_attend_state state,
                    const float *x, int64_t x_stride, float *y, int64_t y_stride, int stream) {
    for (int64_t i = 0; i < n; i += FINISH_NV * VL) {
        if (n - i >= FINISH_NV * VL)
            finish_lanes(nr, c, i, FINISH_NV * VL, gamma, affine, state, x, x_stride, y, y_stride, stream);
        else
            finish_lanes(nr, c, i, n - i, gamma, affine, state, x, x_stride, y, y_stride, stream);
    }
    if (stream)
        v_stream_end();
}
