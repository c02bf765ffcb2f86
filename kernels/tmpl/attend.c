/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: attention over one block of keys, lanes = queries. Online softmax after Milakov, Gimelshein (2018) and Dao
 * et al. (2022); the lane layout makes maximum and sum lane vectors, so nothing is ever summed across lanes.
 */
#include "state.h"
#include "tile.h"

/* Scores of keys [j, j + mr): rows = keys. The largest score per lane is folded into top. */
V_INLINE void score_tile(int mr, int64_t j, const float *q, const float *k, int64_t d, float *scores, vf *top) {
    for (int64_t d0 = 0; d0 < d; d0 += ATL_BLOCK) {
        int64_t n = d - d0 < ATL_BLOCK ? d - d0 : ATL_BLOCK;
        tile acc;
        tile_product(mr, k + d0 * ATL_PANEL_ROW + j, 1, ATL_PANEL_ROW, q + d0 * TILE_NR, TILE_NR, n, acc);
        UNROLL
        for (int r = 0; r < mr; r++) {
            UNROLL
            for (int v = 0; v < TILE_NV; v++) {
                float *to = scores + (j + r) * TILE_NR + v * VL;
                vf s = d0 ? v_add(v_load(to), acc[r][v]) : acc[r][v];
                if (d0 + n == d)
                    top[v] = v_max(s, top[v]);
                v_store(to, s);
            }
        }
    }
}

/* out = fma(out, alpha, block) for channels [i, i + mr): rows = channels. */
V_INLINE void value_tile(int mr, int64_t i, const float *v0, int64_t keys, const float *weights, const vf *alpha,
                         float *out) {
    tile acc;
    tile_product(mr, v0 + i * ATL_PANEL_ROW, ATL_PANEL_ROW, 1, weights, TILE_NR, keys, acc);
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int v = 0; v < TILE_NV; v++) {
            float *to = out + (i + r) * TILE_NR + v * VL;
            v_store(to, v_fma(v_load(to), alpha[v], acc[r][v]));
        }
    }
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
    FOR_TILES(keys, score_tile, q, k, d, scores, top);
    UNROLL
    for (int i = 0; i < TILE_NV; i++) {
        alpha[i] = rescale(v_load(state.max + i * VL), top[i]);
        v_store(state.max + i * VL, top[i]);
    }
    weigh(scores, keys, top, sum);
    UNROLL
    for (int i = 0; i < TILE_NV; i++)
        v_store(state.sum + i * VL, v_fma(v_load(state.sum + i * VL), alpha[i], sum[i]));
    FOR_TILES(c, value_tile, v, keys, scores, alpha, state.out);
}
