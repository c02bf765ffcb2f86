/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of positions as lane panels. */
#include <string.h>

#include "lanes.h"

/* A lane panel's row, of which the most frequent widths are copied without a call. */
static void copy(float *to, const float *from, int64_t n) {
    if (n == 32)
        memcpy(to, from, 32 * sizeof(float));
    else if (n == 16)
        memcpy(to, from, 16 * sizeof(float));
    else
        memcpy(to, from, (size_t)n * sizeof(float));
}

void atl_lanes_copy(const float *x, int64_t x_row, int64_t rows, int64_t k, int64_t n, int64_t lane, int64_t nr,
                    float *lanes) {
    int64_t first = atl_min(n, nr - lane % nr); /* lanes in the panel that the first is in */
    float *panel = lanes + lane / nr * nr * k, *next = panel + nr * k;
    for (int64_t l = 0; l < rows; l++, x += x_row) { /* rows as they lie in memory: their pages count */
        atl_fetch_row_ahead(x, x_row, 0, rows - l, n);
        copy(panel + l * nr + lane % nr, x, first);
        float *to = next + l * nr;
        for (int64_t i = first; i < n; i += nr, to += nr * k)
            copy(to, x + i, atl_min(nr, n - i));
    }
}

void atl_lanes_clear(int64_t k, int64_t lane, int64_t nr, float *lanes) {
    float *last = lanes + lane / nr * nr * k;
    for (int64_t l = 0; l < k && lane % nr; l++)
        memset(last + l * nr + lane % nr, 0, (size_t)(nr - lane % nr) * sizeof(float));
}
