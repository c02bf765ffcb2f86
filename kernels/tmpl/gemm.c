/* SPDX-License-Identifier: Apache-2.0 */
/* Template: matrix product into one lane panel, rows broadcast against lanes. */
#include "tile.h"

/* A finished sum of row i, lanes from v * VL on. */
V_INLINE void store_sum(const atl_gemm *g, int64_t i, int v, vf sum) {
    int64_t n = g->n - v * VL;
    float *y = g->y + i * g->y_row + v * VL;
    if (n <= 0)
        return;
    if (g->row_bias)
        sum = v_add(sum, v_set(g->row_bias[i]));
    if (g->row_scale)
        sum = v_fma(sum, v_set(g->row_scale[i]), v_set(g->row_shift[i]));
    if (g->lane_bias)
        sum = v_add(sum, v_load_part(g->lane_bias + v * VL, n));
    if (g->residual)
        sum = v_add(sum, v_load_part(g->residual + i * g->residual_row + v * VL, n));
    if (n >= VL)
        v_store(y, sum);
    else
        v_store_part(y, n, sum);
}

/* Terms [l, l + n) of rows [i, i + mr), which lie in one tile of a. */
V_INLINE void gemm_tile(int mr, int64_t i, const atl_gemm *g, int64_t l, int64_t n) {
    tile acc;
    tile_product(mr, g->a + i / TILE_MR * g->a_tile + l * g->a_step + i % TILE_MR, 1, g->a_step, g->b + l * g->b_row,
                 g->b_row, n, acc);
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int v = 0; v < TILE_NV; v++) {
            float *between = g->sums + (i + r) * g->sums_row + v * VL;
            vf sum = l ? v_add(v_load(between), acc[r][v]) : acc[r][v];
            if (l + n < g->k)
                v_store(between, sum);
            else
                store_sum(g, i + r, v, sum);
        }
    }
}

void TILE_KERNEL(gemm)(const atl_gemm *g) {
    for (int64_t l = 0; l < g->k; l += ATL_BLOCK) {
        int64_t n = g->k - l < ATL_BLOCK ? g->k - l : ATL_BLOCK;
        FOR_TILES(g->m, gemm_tile, g, l, n);
    }
}
