/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of positions as lane panels. */
#include <string.h>

#include "lanes.h"

/* A lane panel's row, of which the most frequent width is copied without a call. */
static void copy(float *to, const float *from, int64_t n) {
    if (n == 32)
        memcpy(to, from, 32 * sizeof(float));
    else
        memcpy(to, from, (size_t)n * sizeof(float));
}

void atl_lanes_copy(const float *x, int64_t x_row, int64_t k, int64_t n, int64_t lane, int64_t nr, float *lanes) {
    for (int64_t l = 0; l < k; l++) { /* rows as they lie in memory: their pages count */
        atl_fetch_row_ahead(x, x_row, l, k, n);
        for (int64_t i = 0, part; i < n; i += part) {
            int64_t at = lane + i;
            part = atl_min(n - i, nr - at % nr);
            copy(lanes + at / nr * nr * k + l * nr + at % nr, x + l * x_row + i, part);
        }
    }
}

void atl_lanes_clear(int64_t k, int64_t lane, int64_t nr, float *lanes) {
    float *last = lanes + lane / nr * nr * k;
    for (int64_t l = 0; l < k && lane % nr; l++)
        memset(last + l * nr + lane % nr, 0, (size_t)(nr - lane % nr) * sizeof(float));
}
