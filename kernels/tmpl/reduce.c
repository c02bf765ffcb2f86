/* SPDX-License-Identifier: Apache-2.0 */
/* Template: horizontal sums. */
#include "../simd/simd.h"

/* One restart: n <= ATL_SUM_RESTART elements in 16 lanes, then the tree. */
V_INLINE float sum_restart(const float *x, int64_t n) {
    vf acc[NV16];
    UNROLL
    for (int v = 0; v < NV16; v++)
        acc[v] = v_zero();
    int64_t i = 0;
    for (; i + ATL_SUM_LANES <= n; i += ATL_SUM_LANES) {
        UNROLL
        for (int v = 0; v < NV16; v++)
            acc[v] = v_add(acc[v], v_load(x + i + v * VL));
    }
    if (i < n) {
        UNROLL
        for (int v = 0; v < NV16; v++)
            if (n - i > v * VL)
                acc[v] = v_add(acc[v], v_load_part(x + i + v * VL, n - i - v * VL));
    }
    return v_sum16(acc);
}

void KERNEL(sum)(const float *x, int64_t n, int64_t rows, int64_t stride, float *out) {
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x + r * stride;
        float total = 0.0f;
        for (int64_t i = 0; i < n; i += ATL_SUM_RESTART)
            total += sum_restart(row + i, n - i < ATL_SUM_RESTART ? n - i : ATL_SUM_RESTART);
        out[r] = total;
    }
}
