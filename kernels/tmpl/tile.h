/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The register tile that all products are made of: acc[r][v] = sum over l < n of a[l*a_step + r*a_row] * b[l*b_step + v*VL],
 * from zero and in order, for r < mr and v < nv. With these constants, everything is unrolled and acc lives in registers.
 * A template that defines TILE_AHEAD has rows of a fetched so many steps before they are needed.
 */
#ifndef ATL_TILE_H
#define ATL_TILE_H

#include "../simd/simd.h"

#ifndef TILE_AHEAD
#define TILE_AHEAD 0
#endif

typedef vf tile[TILE_MR][TILE_NV];

/* For each vector of a tile: r is its row, v its number, lane its first lane. */
#define EACH_VECTOR(mr, nv)                                                                                            \
    UNROLL                                                                                                             \
    for (int r = 0; r < (mr); r++)                                                                                     \
        UNROLL                                                                                                         \
    for (int v = 0, lane = 0; v < (nv); v++, lane += VL)

/* Vectors of a panel that has no more than half of its lanes. */
#define HALF_NV (TILE_NV / 2)

/* Row r of a step. Rows that are known to lie side by side are read together where they fill vectors. */
V_INLINE vf tile_row(int mr, const float *a, int64_t a_row, int r) {
    int together = __builtin_constant_p(a_row) && a_row == 1 && mr % VL == 0;
    return together ? v_set_of(a, r) : v_set(a[r * a_row]);
}

V_INLINE void tile_product(int mr, int nv, const float *a, int64_t a_row, int64_t a_step, const float *b,
                           int64_t b_step, int64_t n, tile acc) {
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            acc[r][v] = v_zero();
    }
    for (int64_t l = 0; l < n; l++) {
        vf lanes[TILE_NV];
        if (TILE_AHEAD)
            __builtin_prefetch(a + (l + TILE_AHEAD) * a_step);
        UNROLL
        for (int v = 0; v < nv; v++)
            lanes[v] = v_load(b + l * b_step + v * VL);
        UNROLL
        for (int r = 0; r < mr; r++) {
            vf row = tile_row(mr, a + l * a_step, a_row, r);
            UNROLL
            for (int v = 0; v < nv; v++)
                acc[r][v] = v_fma(row, lanes[v], acc[r][v]);
        }
    }
}

/*
 * Calls function(mr, i, ...) for `count` rows from 0 on in tiles of TILE_MR rows, then of 8, 4, 2 and 1: row counts must be
 * constants.
 */
#define FOR_TILES(count, function, ...)                                                                                \
    do {                                                                                                               \
        int64_t i_ = 0, count_ = (count);                                                                              \
        for (; i_ + TILE_MR <= count_; i_ += TILE_MR)                                                                  \
            function(TILE_MR, i_, __VA_ARGS__);                                                                        \
        if (TILE_MR > 8 && count_ - i_ >= 8) {                                                                         \
            function(8, i_, __VA_ARGS__);                                                                              \
            i_ += 8;                                                                                                   \
        }                                                                                                              \
        if (TILE_MR > 4 && count_ - i_ >= 4) {                                                                         \
            function(4, i_, __VA_ARGS__);                                                                              \
            i_ += 4;                                                                                                   \
        }                                                                                                              \
        if (count_ - i_ >= 2) {                                                                                        \
            function(2, i_, __VA_ARGS__);                                                                              \
            i_ += 2;                                                                                                   \
        }                                                                                                              \
        if (i_ < count_)                                                                                               \
            function(1, i_, __VA_ARGS__);                                                                              \
    } while (0)

#endif
