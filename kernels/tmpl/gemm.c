/* SPDX-License-Identifier: Apache-2.0 */
/* Template: matrix product into one lane panel, rows broadcast against lanes. */
#include "../simd/simd.h"

/* Rows [0, mr) of a packed row panel over one block of K; `first` starts the sums, `bias` (last block only) ends them.
 */
V_INLINE void gemm_tile(int mr, int64_t k, const float *a, const float *b, int first, const float *bias, float *c,
                        int64_t ldc) {
    vf acc[TILE_MR][TILE_NV];
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int v = 0; v < TILE_NV; v++)
            acc[r][v] = v_zero();
    }
    for (int64_t l = 0; l < k; l++) {
        vf lanes[TILE_NV];
        UNROLL
        for (int v = 0; v < TILE_NV; v++)
            lanes[v] = v_load(b + l * TILE_NR + v * VL);
        UNROLL
        for (int r = 0; r < mr; r++) {
            vf row = v_set(a[l * TILE_MR + r]);
            UNROLL
            for (int v = 0; v < TILE_NV; v++)
                acc[r][v] = v_fma(row, lanes[v], acc[r][v]);
        }
    }
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int v = 0; v < TILE_NV; v++) {
            float *to = c + r * ldc + v * VL;
            vf sum = first ? acc[r][v] : v_add(v_load(to), acc[r][v]);
            v_store(to, bias ? v_add(sum, v_set(bias[r])) : sum);
        }
    }
}

void TILE_KERNEL(gemm)(int64_t m, int64_t k, const float *a, const float *b, const float *bias, float *c, int64_t ldc) {
    for (int64_t k0 = 0; k0 < k; k0 += ATL_BLOCK) {
        int64_t kn = k - k0 < ATL_BLOCK ? k - k0 : ATL_BLOCK;
        int last = k0 + kn == k;
        const float *bk = b + k0 * TILE_NR;
        for (int64_t i = 0; i < m;) {
            const float *ak = a + (i / TILE_MR * k + k0) * TILE_MR + i % TILE_MR;
            const float *bi = bias && last ? bias + i : 0;
            float *ci = c + i * ldc;
            int64_t rest = m - i;
            if (i % TILE_MR == 0 && rest >= TILE_MR) {
                gemm_tile(TILE_MR, kn, ak, bk, !k0, bi, ci, ldc);
                i += TILE_MR;
            } else if (TILE_MR > 8 && rest >= 8) {
                gemm_tile(8, kn, ak, bk, !k0, bi, ci, ldc);
                i += 8;
            } else if (TILE_MR > 4 && rest >= 4) {
                gemm_tile(4, kn, ak, bk, !k0, bi, ci, ldc);
                i += 4;
            } else if (rest >= 2) {
                gemm_tile(2, kn, ak, bk, !k0, bi, ci, ldc);
                i += 2;
            } else {
                gemm_tile(1, kn, ak, bk, !k0, bi, ci, ldc);
                i += 1;
            }
        }
    }
}
