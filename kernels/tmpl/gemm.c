/* SPDX-License-Identifier: Apache-2.0 */
/* Template: matrix product into one lane panel, rows broadcast against lanes. */
#include "tile.h"

/* One block of K. */
typedef struct gemm_block {
    int64_t k, k0, n;          /* all of K; this block's first and count */
    const float *a, *b, *bias; /* bias only in the last block */
    float *c;
    int64_t ldc;
} gemm_block;

/* Rows [i, i + mr), which lie in one packed row panel. */
V_INLINE void gemm_tile(int mr, int64_t i, const gemm_block *g) {
    tile acc;
    tile_product(mr, g->a + (i / TILE_MR * g->k + g->k0) * TILE_MR + i % TILE_MR, 1, TILE_MR, g->b + g->k0 * TILE_NR,
                 TILE_NR, g->n, acc);
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int v = 0; v < TILE_NV; v++) {
            float *to = g->c + (i + r) * g->ldc + v * VL;
            vf sum = g->k0 ? v_add(v_load(to), acc[r][v]) : acc[r][v];
            v_store(to, g->bias ? v_add(sum, v_set(g->bias[i + r])) : sum);
        }
    }
}

void TILE_KERNEL(gemm)(int64_t m, int64_t k, const float *a, const float *b, const float *bias, float *c, int64_t ldc) {
    for (int64_t k0 = 0; k0 < k; k0 += ATL_BLOCK) {
        int64_t n = k - k0 < ATL_BLOCK ? k - k0 : ATL_BLOCK;
        gemm_block g = {k, k0, n, a, b, k0 + n == k ? bias : 0, c, ldc};
        FOR_TILES(m, gemm_tile, &g);
    }
}
