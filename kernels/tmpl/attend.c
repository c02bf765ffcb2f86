/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: attention over one block of keys, lanes = queries. Online softmax after Milakov, Gimelshein (2018) and Dao
 * et al. (2022); the lane layout makes maximum and sum lane vectors, so nothing is ever summed across lanes.
 */
#include "../simd/simd.h"

/* Scores of `mr` keys from key j on: rows = keys. The largest score per lane is folded into top. */
V_INLINE void score_tile(int mr, const float *q, const float *k, int64_t d, float *scores, vf top[TILE_NV]) {
    for (int64_t d0 = 0; d0 < d; d0 += ATL_BLOCK) {
        int64_t end = d - d0 < ATL_BLOCK ? d : d0 + ATL_BLOCK;
        vf acc[TILE_MR][TILE_NV];
        UNROLL
        for (int r = 0; r < mr; r++) {
            UNROLL
            for (int v = 0; v < TILE_NV; v++)
                acc[r][v] = v_zero();
        }
        for (int64_t l = d0; l < end; l++) {
            vf lanes[TILE_NV];
            UNROLL
            for (int v = 0; v < TILE_NV; v++)
                lanes[v] = v_load(q + l * TILE_NR + v * VL);
            UNROLL
            for (int r = 0; r < mr; r++) {
                vf key = v_set(k[l * ATL_BLOCK + r]);
                UNROLL
                for (int v = 0; v < TILE_NV; v++)
                    acc[r][v] = v_fma(key, lanes[v], acc[r][v]);
            }
        }
        UNROLL
        for (int r = 0; r < mr; r++) {
            UNROLL
            for (int v = 0; v < TILE_NV; v++) {
                float *to = scores + r * TILE_NR + v * VL;
                vf s = d0 ? v_add(v_load(to), acc[r][v]) : acc[r][v];
                if (end == d)
                    top[v] = v_max(s, top[v]);
                v_store(to, s);
            }
        }
    }
}

/* out[r] = fma(out[r], alpha, block) for `mr` channels: rows = channels. */
V_INLINE void value_tile(int mr, const float *v0, int64_t keys, const float *weights, const vf alpha[TILE_NV],
                         float *out) {
    vf acc[TILE_MR][TILE_NV];
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int v = 0; v < TILE_NV; v++)
            acc[r][v] = v_zero();
    }
    for (int64_t j = 0; j < keys; j++) {
        vf lanes[TILE_NV];
        UNROLL
        for (int v = 0; v < TILE_NV; v++)
            lanes[v] = v_load(weights + j * TILE_NR + v * VL);
        UNROLL
        for (int r = 0; r < mr; r++) {
            vf value = v_set(v0[r * ATL_BLOCK + j]);
            UNROLL
            for (int v = 0; v < TILE_NV; v++)
                acc[r][v] = v_fma(value, lanes[v], acc[r][v]);
        }
    }
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int v = 0; v < TILE_NV; v++) {
            float *to = out + r * TILE_NR + v * VL;
            v_store(to, v_fma(v_load(to), alpha[v], acc[r][v]));
        }
    }
}

V_INLINE void all_scores(const float *q, const float *k, int64_t d, int64_t keys, float *scores, vf top[TILE_NV]) {
    int64_t j = 0;
    for (; j + TILE_MR <= keys; j += TILE_MR)
        score_tile(TILE_MR, q, k + j, d, scores + j * TILE_NR, top);
    if (TILE_MR > 8 && keys - j >= 8) {
        score_tile(8, q, k + j, d, scores + j * TILE_NR, top);
        j += 8;
    }
    if (TILE_MR > 4 && keys - j >= 4) {
        score_tile(4, q, k + j, d, scores + j * TILE_NR, top);
        j += 4;
    }
    if (keys - j >= 2) {
        score_tile(2, q, k + j, d, scores + j * TILE_NR, top);
        j += 2;
    }
    if (j < keys)
        score_tile(1, q, k + j, d, scores + j * TILE_NR, top);
}

V_INLINE void all_values(const float *v, int64_t c, int64_t keys, const float *weights, const vf alpha[TILE_NV],
                         float *out) {
    int64_t i = 0;
    for (; i + TILE_MR <= c; i += TILE_MR)
        value_tile(TILE_MR, v + i * ATL_BLOCK, keys, weights, alpha, out + i * TILE_NR);
    if (TILE_MR > 8 && c - i >= 8) {
        value_tile(8, v + i * ATL_BLOCK, keys, weights, alpha, out + i * TILE_NR);
        i += 8;
    }
    if (TILE_MR > 4 && c - i >= 4) {
        value_tile(4, v + i * ATL_BLOCK, keys, weights, alpha, out + i * TILE_NR);
        i += 4;
    }
    if (c - i >= 2) {
        value_tile(2, v + i * ATL_BLOCK, keys, weights, alpha, out + i * TILE_NR);
        i += 2;
    }
    if (i < c)
        value_tile(1, v + i * ATL_BLOCK, keys, weights, alpha, out + i * TILE_NR);
}

/* What counts for 1 relative to the maximum `max` counts for this relative to `top`: exactly 1 where they are equal,
 * infinite ones included. */
V_INLINE vf rescale(vf max, vf top) {
    return v_select_gt(top, max, v_exp2_weight(v_sub(max, top)), v_set(1.0f));
}

/* Scores become weights in place; returns their sums per lane: from zero and in order. */
V_INLINE void weigh(float *scores, int64_t keys, const vf top[TILE_NV], vf sum[TILE_NV]) {
    UNROLL
    for (int v = 0; v < TILE_NV; v++)
        sum[v] = v_zero();
    for (int64_t j = 0; j < keys; j++) {
        UNROLL
        for (int v = 0; v < TILE_NV; v++) {
            float *s = scores + j * TILE_NR + v * VL;
            vf p = v_exp2_weight(v_sub(v_load(s), top[v]));
            sum[v] = v_add(sum[v], p);
            v_store(s, p);
        }
    }
}

void TILE_KERNEL(attend)(const float *q, const float *k, const float *v, int64_t d, int64_t c, int64_t keys,
                         atl_attend_state state, float *scores) {
    vf top[TILE_NV], alpha[TILE_NV], sum[TILE_NV];
    UNROLL
    for (int i = 0; i < TILE_NV; i++)
        top[i] = v_load(state.max + i * VL);
    all_scores(q, k, d, keys, scores, top);
    UNROLL
    for (int i = 0; i < TILE_NV; i++) {
        alpha[i] = rescale(v_load(state.max + i * VL), top[i]);
        v_store(state.max + i * VL, top[i]);
    }
    weigh(scores, keys, top, sum);
    UNROLL
    for (int i = 0; i < TILE_NV; i++)
        v_store(state.sum + i * VL, v_fma(v_load(state.sum + i * VL), alpha[i], sum[i]));
    all_values(v, c, keys, scores, alpha, state.out);
}

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

void KERNEL(finish)(int64_t nr, int64_t c, int64_t n, float gamma, atl_attend_state state, const float *x,
                    int64_t x_stride, float *y, int64_t y_stride) {
    vf g = v_set(gamma);
    for (int64_t i = 0; i < n; i += VL) {
        vf inverse = v_div(v_set(1.0f), v_load(state.sum + i));
        for (int64_t r = 0; r < c; r++) {
            vf o = v_mul(v_load(state.out + r * nr + i), inverse);
            vf residual = v_load_part(x + r * x_stride + i, n - i);
            v_store_part(y + r * y_stride + i, n - i, v_fma(g, o, residual));
        }
    }
}
