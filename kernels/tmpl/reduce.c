/* SPDX-License-Identifier: Apache-2.0 */
/* Template: horizontal sums. */
#include "../simd/simd.h"

/* Rows that are summed side by side: one alone would wait for its own additions. */
enum { ROWS = 4 };

/* One restart of `rows` rows: n <= ATL_SUM_RESTART elements each in 16 lanes, then the tree; added to out. */
V_INLINE void sum_restart(int rows, const float *x, int64_t n, int64_t stride, float *out) {
    vf acc[ROWS][NV16];
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < NV16; v++)
            acc[r][v] = v_zero();
    }
    int64_t i = 0;
    for (; i + ATL_SUM_LANES <= n; i += ATL_SUM_LANES) {
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < NV16; v++)
                acc[r][v] = v_add(acc[r][v], v_load(x + r * stride + i + v * VL));
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < NV16; v++)
            if (n - i > v * VL)
                acc[r][v] = v_add(acc[r][v], v_load_part(x + r * stride + i + v * VL, n - i - v * VL));
        out[r] += v_sum16(acc[r]);
    }
}

V_INLINE void sum_rows(int rows, const float *x, int64_t n, int64_t stride, float *out) {
    for (int r = 0; r < rows; r++)
        out[r] = 0.0f;
    for (int64_t i = 0; i < n; i += ATL_SUM_RESTART)
        sum_restart(rows, x + i, n - i < ATL_SUM_RESTART ? n - i : ATL_SUM_RESTART, stride, out);
}

void KERNEL(sum)(const float *x, int64_t n, int64_t rows, int64_t stride, float *out) {
    int64_t r = 0;
    for (; r + ROWS <= rows; r += ROWS)
        sum_rows(ROWS, x + r * stride, n, stride, out + r);
    for (; r < rows; r++)
        sum_rows(1, x + r * stride, n, stride, out + r);
}
