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

/* Rows of fewer elements are reduced one after another, in the order of memory: the next one's additions need not wait for the last
 * one's. */
enum { SHORT_ROW = 256 };

V_INLINE void reduce_short_rows(int rows, int max, const float *x, int64_t n, int64_t stride, float *sums,
                                float *maxima) {
    const int64_t whole = n / ATL_SUM_LANES * ATL_SUM_LANES;
    lanes acc[ROWS];
    UNROLL
    for (int r = 0; r < rows; r++) {
        const float *row = x + r * stride;
        lanes_clear(&acc[r], max);
        for (int64_t i = 0; i < whole; i += ATL_SUM_LANES)
            lanes_add(&acc[r], max, row + i);
        lanes_add_last(&acc[r], max, row + whole, n - whole);
    }
    trees(rows, max, acc, sums, maxima);
    UNROLL
    for (int r = 0; r < rows && max; r++)
        maxima[r] = row_max(x + r * stride, n, sums[r], maxima[r]);
}

/* No hardware prefetcher keeps up with the ragged order of short rows one behind the other. Few of them stay in caches. */
enum { AHEAD = 3072, FETCH_LEAST = 32 * 1024 };

V_INLINE int fetches(int64_t n, int64_t rows, int64_t stride) {
    return stride == n && rows * n >= FETCH_LEAST;
}

V_INLINE void fetch_ahead(int rows, const float *x, int64_t n) {
    for (int64_t i = 0; i < rows * n; i += 4 * ATL_SUM_LANES) {
        UNROLL
        for (int line = 0; line < 4; line++)
            __builtin_prefetch(x + AHEAD + i + line * ATL_SUM_LANES);
    }
}

/* As many groups of `step` rows as there are; returns how many rows that are. Without `max`, maxima stay as they are. */
V_INLINE int64_t reduce_groups(int step, int max, const float *x, int64_t n, int64_t rows, int64_t stride, float *sums,
                               float *maxima) {
    int64_t r = 0;
    if (n >= SHORT_ROW) {
        for (; r + step <= rows; r += step)
            reduce_rows(step, max, x + r * stride, n, stride, sums + r, maxima + r);
    } else if (fetches(n, rows, stride)) {
        for (; r + step <= rows; r += step) {
            fetch_ahead(step, x + r * stride, n);
            reduce_short_rows(step, max, x + r * stride, n, stride, sums + r, maxima + r);
        }
    } else {
        for (; r + step <= rows; r += step)
            reduce_short_rows(step, max, x + r * stride, n, stride, sums + r, maxima + r);
    }
    return r;
}

void KERNEL(sum)(const float *x, int64_t n, int64_t rows, int64_t stride, float *out) {
    int64_t r = reduce_groups(ROWS, 0, x, n, rows, stride, out, out);
    for (; r < rows; r++)
        reduce_rows(1, 0, x + r * stride, n, stride, out + r, 0);
}

void KERNEL(sum_max)(const float *x, int64_t n, int64_t rows, int64_t stride, float *sums, float *maxima) {
    int64_t r = reduce_groups(MAX_ROWS, 1, x, n, rows, stride, sums, maxima);
    for (; r < rows; r++)
        reduce_rows(1, 1, x + r * stride, n, stride, sums + r, maxima + r);
}
