/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: attention over one block of keys, lanes = queries. Online softmax after Milakov, Gimelshein (2018) and Dao
 * et al. (2022); the lane layout makes maximum and sum lane vectors, so nothing is ever summed across lanes.
 */
#include "state.h"
#include "tile.h"

/* A block of keys and where its scores go. Weights of excluded keys are -1 where `careful`. */
typedef struct attend_block {
    const float *q, *k, *v;
    int64_t d, c, keys;
    float *scores;
    const float *bias;
} attend_block;

/* Scores of keys [j, j + mr): rows = keys. The largest score per lane is folded into top. */
V_INLINE void score_tile(int mr, int64_t j, int has_bias, const attend_block *b, vf *top) {
    tile s;
    float *scores = b->scores + j * TILE_NR;
    int64_t d0 = 0, n;
    do {
        n = b->d - d0 < ATL_BLOCK ? b->d - d0 : ATL_BLOCK;
        tile_product(mr, b->k + d0 * ATL_PANEL_ROW + j, 1, ATL_PANEL_ROW, b->q + d0 * TILE_NR, TILE_NR, n, s);
        if (d0) {
            EACH_VECTOR (mr)
                s[r][v] = v_add(v_load(scores + r * TILE_NR + lane), s[r][v]);
        }
        if (d0 + n < b->d) {
            EACH_VECTOR (mr)
                v_store(scores + r * TILE_NR + lane, s[r][v]);
        }
    } while ((d0 += n) < b->d);
    EACH_VECTOR (mr) {
        if (has_bias)
            s[r][v] = biased(s[r][v], v_load(b->bias + (j + r) * TILE_NR + lane));
        top[v] = v_max(s[r][v], top[v]);
        v_store(scores + r * TILE_NR + lane, s[r][v]);
    }
}

/* out = fma(out, alpha, block) for channels [i, i + mr): rows = channels. */
V_INLINE void value_tile(int mr, int64_t i, const attend_block *b, const vf *alpha, float *out) {
    tile acc;
    tile_product(mr, b->v + i * ATL_PANEL_ROW, ATL_PANEL_ROW, 1, b->scores, TILE_NR, b->keys, acc);
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int v = 0; v < TILE_NV; v++) {
            float *to = out + (i + r) * TILE_NR + v * VL;
            v_store(to, v_fma(v_load(to), alpha[v], acc[r][v]));
        }
    }
}

/* The same for one channel, where the values of excluded keys may be anything: rare, so simple. */
static void value_row_careful(const attend_block *b, int64_t i, const vf *alpha, float *out) {
    for (int v = 0; v < TILE_NV; v++) {
        vf acc = v_zero();
        for (int64_t j = 0; j < b->keys; j++) {
            vf weight = v_load(b->scores + j * TILE_NR + v * VL);
            acc = v_select_gt(v_zero(), weight, acc, v_fma(v_set(b->v[i * ATL_PANEL_ROW + j]), weight, acc));
        }
        float *to = out + i * TILE_NR + v * VL;
        v_store(to, v_fma(v_load(to), alpha[v], acc));
    }
}

/* Scores become weights in place; returns their sums per lane: from zero and in order. */
V_INLINE void weigh(const attend_block *b, int careful, const vf top[TILE_NV], vf sum[TILE_NV]) {
    UNROLL
    for (int v = 0; v < TILE_NV; v++)
        sum[v] = v_zero();
    for (int64_t j = 0; j < b->keys; j++) {
        UNROLL
        for (int v = 0; v < TILE_NV; v++) {
            float *s = b->scores + j * TILE_NR + v * VL;
            vf p = v_exp2_weight(v_sub(v_load(s), top[v]));
            sum[v] = v_add(sum[v], p);
            v_store(s, careful ? where_excluded(v_load(b->bias + j * TILE_NR + v * VL), v_set(-1.0f), p) : p);
        }
    }
}

V_INLINE void attend_keys(const attend_block *b, int has_bias, int careful, atl_attend_state state) {
    vf top[TILE_NV], alpha[TILE_NV], sum[TILE_NV];
    UNROLL
    for (int i = 0; i < TILE_NV; i++)
        top[i] = v_load(state.max + i * VL);
    FOR_TILES(b->keys, score_tile, has_bias, b, top);
    UNROLL
    for (int i = 0; i < TILE_NV; i++) {
        alpha[i] = rescale(v_load(state.max + i * VL), top[i]);
        v_store(state.max + i * VL, top[i]);
    }
    weigh(b, careful, top, sum);
    UNROLL
    for (int i = 0; i < TILE_NV; i++)
        v_store(state.sum + i * VL, v_fma(v_load(state.sum + i * VL), alpha[i], sum[i]));
    for (int64_t i = 0; i < b->c && careful; i++)
        value_row_careful(b, i, alpha, state.out);
    if (!careful)
        FOR_TILES(b->c, value_tile, b, alpha, state.out);
}

static void attend_biased(const attend_block *b, int careful, atl_attend_state state) {
    if (careful)
        attend_keys(b, 1, 1, state);
    else
        attend_keys(b, 1, 0, state);
}

void TILE_KERNEL(attend)(const float *q, const float *k, const float *v, int64_t d, int64_t c, int64_t keys,
                         atl_attend_state state, float *scores, const float *bias, int careful) {
    attend_block b = {q, k, v, d, c, keys, scores, bias};
    if (bias)
        attend_biased(&b, careful, state);
    else
        attend_keys(&b, 0, 0, state);
}
