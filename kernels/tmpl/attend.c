/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: attention over one block of keys, lanes = queries. Online softmax after Milakov, Gimelshein (2018) and Dao
 * et al. (2022); the lane layout makes maximum and sum lane vectors, so nothing is ever summed across lanes.
 */
#include "state.h"
#include "tile.h"

/* Scores of keys [j, j + mr): rows = keys. The largest score per lane is folded into top. `by_key` (a constant, like
 * `has_bias`): k is rows of keys. */
V_INLINE void score_tile(int mr, int64_t j, int nv, int has_bias, int by_key, const atl_attend_args *b, vf *top) {
    tile s;
    float *scores = b->scores + j * TILE_NR;
    int64_t d0 = 0, n;
    do {
        n = b->d - d0 < ATL_BLOCK ? b->d - d0 : ATL_BLOCK;
        if (by_key)
            tile_product(mr, nv, b->k + j * b->k_row + d0, b->k_row, 1, b->q + d0 * TILE_NR, TILE_NR, n, s);
        else
            tile_product(mr, nv, b->k + d0 * ATL_PANEL_ROW + j, 1, ATL_PANEL_ROW, b->q + d0 * TILE_NR, TILE_NR, n, s);
        if (d0) {
            EACH_VECTOR (mr, nv)
                s[r][v] = v_add(v_load(scores + r * TILE_NR + lane), s[r][v]);
        }
        if (d0 + n < b->d) {
            EACH_VECTOR (mr, nv)
                v_store(scores + r * TILE_NR + lane, s[r][v]);
        }
    } while ((d0 += n) < b->d);
    for (int r = 0; r < mr && b->ahead; r++)
        for (int64_t f = 0; f < b->ahead_n; f += ATL_SUM_LANES)
            __builtin_prefetch(b->ahead + (j + r) * b->ahead_step + f, 0, 2);
    EACH_VECTOR (mr, nv) {
        if (has_bias) {
            vf bias = v_load(b->bias + (j + r) * TILE_NR + lane);
            s[r][v] = b->bias_excludes ? biased(s[r][v], bias) : v_add(s[r][v], bias);
        }
        top[v] = v_max(s[r][v], top[v]);
        v_store(scores + r * TILE_NR + lane, s[r][v]);
    }
}

V_INLINE void biased_tile(int mr, int64_t i, int nv, int by_key, const atl_attend_args *b, vf *top) {
    score_tile(mr, b->bias_from + i, nv, 1, by_key, b, top);
}

/* out = fma(out, alpha, block) for channels [i, i + mr): rows = channels. */
V_INLINE void value_tile(int mr, int64_t i, int nv, int by_key, const atl_attend_args *b, const vf *alpha, float *out) {
    tile acc;
    if (by_key)
        tile_product(mr, nv, b->v + i, 1, b->v_row, b->weights, TILE_NR, b->keys, acc);
    else
        tile_product(mr, nv, b->v + i * ATL_PANEL_ROW, ATL_PANEL_ROW, 1, b->weights, TILE_NR, b->keys, acc);
    float *to = out + i * TILE_NR;
    if (b->fresh) { /* as if added to zeros: a sum that has underflowed to -0 is 0 */
        EACH_VECTOR (mr, nv)
            v_store(to + r * TILE_NR + lane, v_add(v_zero(), acc[r][v]));
        return;
    }
    EACH_VECTOR (mr, nv)
        v_store(to + r * TILE_NR + lane, v_fma(v_load(to + r * TILE_NR + lane), alpha[v], acc[r][v]));
}

/* The same for one channel, where the values of excluded keys may be anything: rare, so simple. */
static void value_row_careful(const atl_attend_args *b, int64_t i, const vf *alpha, float *out) {
    const float *values = b->v + i * (b->v_row ? 1 : ATL_PANEL_ROW);
    int64_t step = b->v_row ? b->v_row : 1;
    for (int v = 0; v < TILE_NV; v++) {
        vf acc = v_zero();
        for (int64_t j = 0; j < b->keys; j++) {
            vf weight = v_load(b->weights + j * TILE_NR + v * VL);
            acc = v_select_gt(v_zero(), weight, acc, v_fma(v_set(values[j * step]), weight, acc));
        }
        float *to = out + i * TILE_NR + v * VL;
        v_store(to, v_fma(v_load(to), alpha[v], acc));
    }
}

/* The weights of keys [from, to), whose sums per lane are added in order. */
V_INLINE void weigh(const atl_attend_args *b, int nv, int marks, int64_t from, int64_t to, const vf *top, vf *sum) {
    for (int64_t j = from; j < to; j++) {
        UNROLL
        for (int v = 0; v < nv; v++) {
            int64_t at = j * TILE_NR + v * VL;
            vf p = v_exp2_weight(v_sub(v_load(b->scores + at), top[v]));
            sum[v] = v_add(sum[v], p);
            v_store(b->weights + at, marks ? where_excluded(v_load(b->bias + at), v_set(-1.0f), p) : p);
        }
    }
}

V_INLINE void attend_keys(const atl_attend_args *b, int nv, int by_key, int careful) {
    vf top[TILE_NV], alpha[TILE_NV], sum[TILE_NV];
    int64_t plain = b->bias ? b->bias_from : b->keys;
    UNROLL
    for (int i = 0; i < nv; i++) {
        top[i] = v_load(b->state.max + i * VL);
        sum[i] = v_zero();
    }
    FOR_TILES(plain, score_tile, nv, 0, by_key, b, top);
    FOR_TILES(b->keys - plain, biased_tile, nv, by_key, b, top);
    UNROLL
    for (int i = 0; i < nv; i++) {
        alpha[i] = rescale(v_load(b->state.max + i * VL), top[i]);
        v_store(b->state.max + i * VL, top[i]);
    }
    weigh(b, nv, 0, 0, careful ? plain : b->keys, top, sum);
    if (careful)
        weigh(b, nv, 1, plain, b->keys, top, sum);
    UNROLL
    for (int i = 0; i < nv; i++)
        v_store(b->state.sum + i * VL, v_fma(v_load(b->state.sum + i * VL), alpha[i], sum[i]));
    for (int64_t i = 0; i < b->c && careful; i++)
        value_row_careful(b, i, alpha, b->state.out);
    if (!careful)
        FOR_TILES(b->c, value_tile, nv, by_key, b, alpha, b->state.out);
}

V_INLINE void attend_lanes(const atl_attend_args *args, int by_key) {
    if (args->bias && args->careful)
        attend_keys(args, TILE_NV, by_key, 1);
    else if (args->lanes > HALF_NV * VL)
        attend_keys(args, TILE_NV, by_key, 0);
    else
        attend_keys(args, HALF_NV, by_key, 0);
}

void TILE_KERNEL(attend)(const atl_attend_args *args) {
    if (args->k_row)
        attend_lanes(args, 1);
    else
        attend_lanes(args, 0);
}
