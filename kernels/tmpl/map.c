/* SPDX-License-Identifier: Apache-2.0 */
/* Template: rows of the attention map from the finished statistics, lanes = keys, so that rows are stored whole. */
#include "state.h"
#include "tile.h"

/* Terms after the first block; sums is the tile. A function of its own, so that registers hold one tile at a time. */
static __attribute__((noinline)) void add_blocks(int mr, const float *q, const float *k, int64_t d, float *sums) {
    for (int64_t d0 = ATL_BLOCK; d0 < d; d0 += ATL_BLOCK) {
        int64_t n = d - d0 < ATL_BLOCK ? d - d0 : ATL_BLOCK;
        const float *a = q + d0 * TILE_MR, *b = k + d0 * ATL_PANEL_ROW;
        float *total = sums;
        tile acc;
        if (mr == TILE_MR)
            tile_product(TILE_MR, TILE_NV, a, 1, TILE_MR, b, ATL_PANEL_ROW, n, acc);
        else
            tile_product(1, TILE_NV, a, 1, TILE_MR, b, ATL_PANEL_ROW, n, acc);
        for (int r = 0; r < mr; r++) {
            for (int v = 0; v < TILE_NV; v++, total += VL)
                v_store(total, v_add(v_load(total), acc[r][v]));
        }
    }
}

/* `mr` queries against VL*TILE_NV keys, of which `keys` exist. */
V_INLINE void map_tile(int mr, const float *q, const float *k, int64_t d, int64_t keys, const float *max,
                       const float *inverse, const float *bias, float *map, int64_t stride, int stream) {
    tile total;
    tile_product(mr, TILE_NV, q, 1, TILE_MR, k, ATL_PANEL_ROW, d < ATL_BLOCK ? d : ATL_BLOCK, total);
    if (d > ATL_BLOCK) {
        float sums[TILE_MR * TILE_NR];
        EACH_VECTOR (mr, TILE_NV)
            v_store(sums + r * TILE_NR + lane, total[r][v]);
        add_blocks(mr, q, k, d, sums);
        EACH_VECTOR (mr, TILE_NV)
            total[r][v] = v_load(sums + r * TILE_NR + lane);
    }
    UNROLL
    for (int r = 0; r < mr; r++) {
        vf top = v_set(max[r]), scale = v_set(inverse[r]);
        UNROLL
        for (int v = 0; v < TILE_NV; v++) {
            if (keys <= v * VL)
                break;
            float *to = map + r * stride + v * VL;
            vf s = bias ? biased(total[r][v], v_load_part(bias + r * ATL_BLOCK + v * VL, keys - v * VL)) : total[r][v];
            vf p = v_mul(v_exp2_map(v_sub(s, top)), scale);
            if (bias) /* exactly, in a row of NaN as well */
                p = where_excluded(v_load_part(bias + r * ATL_BLOCK + v * VL, keys - v * VL), v_zero(), p);
            if (stream && keys >= (v + 1) * VL)
                v_stream(to, p);
            else
                v_store_part(to, keys - v * VL, p);
        }
    }
}

void TILE_KERNEL(map)(const float *q, const float *k, int64_t d, int64_t rows, int64_t keys, const float *max,
                      const float *inverse, const float *bias, float *map, int64_t stride, int stream) {
    for (int64_t i = 0; i < rows; i += TILE_MR) {
        const float *qi = q + i * d;
        for (int64_t j = 0; j < keys; j += TILE_NR) {
            float *to = map + i * stride + j;
            const float *bi = bias ? bias + i * ATL_BLOCK + j : 0;
            if (i + TILE_MR <= rows) {
                map_tile(TILE_MR, qi, k + j, d, keys - j, max + i, inverse + i, bi, to, stride, stream);
                continue;
            }
            for (int64_t r = 0; r < rows - i; r++)
                map_tile(1, qi + r, k + j, d, keys - j, max + i + r, inverse + i + r, bi ? bi + r * ATL_BLOCK : 0,
                         to + r * stride, stride, stream);
        }
    }
    if (stream)
        v_stream_end();
}
