/* SPDX-License-Identifier: Apache-2.0 */
/* Template: horizontal sums, alone or with maxima. */
#include "lanes.h"

/* Rows that are reduced side by side: one alone would wait for its own additions. With maxima as many as registers hold. */
enum { ROWS = 4, MAX_ROWS = VL == 16 ? 4 : 2 };

/* The trees of `rows` rows. */
V_INLINE void trees(int rows, int max, const lanes *acc, float *sums, float *maxima) {
    if (rows != ROWS) {
        for (int r = 0; r < rows; r++) {
            sums[r] = v_sum16(acc[r].sum);
            if (max)
                maxima[r] = v_max16(acc[r].max);
        }
        return;
    }
    vf sum[ROWS][NV16], largest[ROWS][NV16];
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        UNROLL
        for (int v = 0; v < NV16; v++) {
            sum[r][v] = acc[r].sum[v];
            if (max)
                largest[r][v] = acc[r].max[v];
        }
    }
    v_sum16x4(sum, sums);
    if (max)
        v_max16x4(largest, maxima);
}

/* One restart of `rows` rows: n <= ATL_SUM_RESTART elements each in 16 lanes, then the tree; added to sums and, with
 * `max`, the larger kept in maxima. */
V_INLINE void restart(int rows, int max, const float *x, int64_t n, int64_t stride, float *sums, float *maxima) {
    lanes acc[ROWS];
    UNROLL
    for (int r = 0; r < rows; r++)
        lanes_clear(&acc[r], max);
    int64_t i = 0;
    for (; i + ATL_SUM_LANES <= n; i += ATL_SUM_LANES) {
        UNROLL
        for (int r = 0; r < rows; r++)
            lanes_add(&acc[r], max, x + r * stride + i);
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        lanes_add_last(&acc[r], max, x + r * stride + i, n - i);
    }
    float sum[ROWS], largest[ROWS];
    trees(rows, max, acc, sum, largest);
    UNROLL
    for (int r = 0; r < rows; r++) {
        sums[r] += sum[r];
        if (max)
            maxima[r] = larger(maxima[r], largest[r]);
    }
}

V_INLINE void reduce_rows(int rows, int max, const float *x, int64_t n, int64_t stride, float *sums, float *maxima) {
    float total[ROWS], largest[ROWS];
    UNROLL
    for (int r = 0; r < rows; r++) {
        total[r] = 0.0f;
        largest[r] = -__builtin_inff();
    }
    for (int64_t i = 0; i < n; i += ATL_SUM_RESTART)
        restart(rows, max, x + i, n - i < ATL_SUM_RESTART ? n - i : ATL_SUM_RESTART, stride, total, largest);
    UNROLL
    for (int r = 0; r < rows; r++) {
        sums[r] = total[r];
        if (max)
            maxima[r] = row_max(x + r * stride, n, total[r], largest[r]);
    }
}

/* Short rows one behind the other, read once: no hardware prefetcher keeps up with their ragged order. */
enum { SHORT_ROW = 256, AHEAD = 3072 };

V_INLINE void fetch_ahead(int rows, const float *x, int64_t n, int64_t stride) {
    for (int64_t i = 0; stride == n && n < SHORT_ROW && i < rows * n; i += ATL_SUM_LANES)
        __builtin_prefetch(x + AHEAD + i);
}

void KERNEL(sum)(const float *x, int64_t n, int64_t rows, int64_t stride, float *out) {
    int64_t r = 0;
    for (; r + ROWS <= rows; r += ROWS) {
        fetch_ahead(ROWS, x + r * stride, n, stride);
        reduce_rows(ROWS, 0, x + r * stride, n, stride, out + r, 0);
    }
    for (; r < rows; r++)
        reduce_rows(1, 0, x + r * stride, n, stride, out + r, 0);
}

void KERNEL(sum_max)(const float *x, int64_t n, int64_t rows, int64_t stride, float *sums, float *maxima) {
    int64_t r = 0;
    for (; r + MAX_ROWS <= rows; r += MAX_ROWS) {
        fetch_ahead(MAX_ROWS, x + r * stride, n, stride);
        reduce_rows(MAX_ROWS, 1, x + r * stride, n, stride, sums + r, maxima + r);
    }
    for (; r < rows; r++)
        reduce_rows(1, 1, x + r * stride, n, stride, sums + r, maxima + r);
}
