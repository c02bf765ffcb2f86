/* SPDX-License-Identifier: Apache-2.0 */
/* Template: rows of the attention map from the finished statistics, lanes = keys, so that rows are stored whole. */
#include "../simd/simd.h"

/* `mr` queries against VL*TILE_NV keys, of which `keys` exist. */
V_INLINE void map_tile(int mr, const float *q, const float *k, int64_t d, int64_t keys, const float *max,
                       const float *sum, float *map, int64_t stride) {
    vf total[TILE_MR][TILE_NV];
    int64_t d0 = 0;
    do {
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
                lanes[v] = v_load(k + l * ATL_BLOCK + v * VL);
            UNROLL
            for (int r = 0; r < mr; r++) {
                vf query = v_set(q[l * TILE_MR + r]);
                UNROLL
                for (int v = 0; v < TILE_NV; v++)
                    acc[r][v] = v_fma(query, lanes[v], acc[r][v]);
            }
        }
        UNROLL
        for (int r = 0; r < mr; r++) {
            UNROLL
            for (int v = 0; v < TILE_NV; v++)
                total[r][v] = d0 ? v_add(total[r][v], acc[r][v]) : acc[r][v];
        }
        d0 = end;
    } while (d0 < d);
    UNROLL
    for (int r = 0; r < mr; r++) {
        vf inverse = v_div(v_set(1.0f), v_set(sum[r])), top = v_set(max[r]);
        UNROLL
        for (int v = 0; v < TILE_NV; v++) {
            if (keys <= v * VL)
                break;
            vf p = v_mul(v_exp2_map(v_sub(total[r][v], top)), inverse);
            v_store_part(map + r * stride + v * VL, keys - v * VL, p);
        }
    }
}

void TILE_KERNEL(map)(const float *q, const float *k, int64_t d, int64_t rows, int64_t keys, const float *max,
                      const float *sum, float *map, int64_t stride) {
    for (int64_t i = 0; i < rows; i += TILE_MR) {
        const float *qi = q + i * d;
        for (int64_t j = 0; j < keys; j += TILE_NR) {
            float *to = map + i * stride + j;
            if (i + TILE_MR <= rows) {
                map_tile(TILE_MR, qi, k + j, d, keys - j, max + i, sum + i, to, stride);
                continue;
            }
            for (int64_t r = 0; r < rows - i; r++)
                map_tile(1, qi + r, k + j, d, keys - j, max + i + r, sum + i + r, to + r * stride, stride);
        }
    }
}
