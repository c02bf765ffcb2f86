/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 16 lanes that rows are reduced in: sums and, where `max` is set (a constant), the largest elements. A NaN leaves
 * anything in max: row_max sees to that.
 */
#ifndef ATL_LANES_H
#define ATL_LANES_H

#include "../simd/simd.h"

typedef struct lanes {
    vf sum[NV16], max[NV16];
} lanes;

V_INLINE void lanes_clear(lanes *l, int max) {
    UNROLL
    for (int v = 0; v < NV16; v++) {
        l->sum[v] = v_zero();
        if (max)
            l->max[v] = v_set(-__builtin_inff());
    }
}

/* The next ATL_SUM_LANES elements. */
V_INLINE void lanes_add(lanes *l, int max, const float *x) {
    UNROLL
    for (int v = 0; v < NV16; v++) {
        vf a = v_load(x + v * VL);
        l->sum[v] = v_add(l->sum[v], a);
        if (max)
            l->max[v] = v_max(l->max[v], a);
    }
}

static const float lane_numbers[ATL_SUM_LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* The last n < ATL_SUM_LANES elements. */
V_INLINE void lanes_add_last(lanes *l, int max, const float *x, int64_t n) {
    UNROLL
    for (int v = 0; v < NV16; v++) {
        if (n <= v * VL)
            continue;
        vf a = v_load_part(x + v * VL, n - v * VL);
        l->sum[v] = v_add(l->sum[v], a);
        if (max) /* lanes past the end hold 0, which is no element */
            l->max[v] = v_select_gt(v_set((float)n), v_load(lane_numbers + v * VL), v_max(l->max[v], a), l->max[v]);
    }
}

V_INLINE float larger(float a, float b) {
    return a > b ? a : b;
}

/* The maximum of a row, from the largest that its lanes found and its sum. A NaN among the elements makes the sum NaN, so
 * only then do they have to be looked at. A zero loses its sign. */
V_INLINE float row_max(const float *x, int64_t n, float sum, float largest) {
    if (sum != sum)
        for (int64_t i = 0; i < n; i++)
            if (x[i] != x[i])
                return x[i];
    return largest + 0.0f;
}

#endif
