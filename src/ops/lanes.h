/* SPDX-License-Identifier: Apache-2.0 */
/* Lane panels [][k][nr]: positions as the gemm kernel takes them. */
#ifndef ATL_OPS_LANES_H
#define ATL_OPS_LANES_H

#include "memory.h"

/* Fetches n floats of a row some rows behind row l of k, so that reading rows far apart waits for none. */
static inline void atl_fetch_row_ahead(const float *x, int64_t x_row, int64_t l, int64_t k, int64_t n) {
    enum { ROWS_AHEAD = 32 };
    for (int64_t i = 0; i < n && l + ROWS_AHEAD < k; i += ATL_ALIGN / (int64_t)sizeof(float))
        __builtin_prefetch(x + (l + ROWS_AHEAD) * x_row + i);
}

/* Copies n positions of rows of x, x_row apart, to the first rows of lanes from `lane` on. */
void atl_lanes_copy(const float *x, int64_t x_row, int64_t rows, int64_t k, int64_t n, int64_t lane, int64_t nr,
                    float *lanes);
/* Clears the lanes from `lane` on to the end of its panel. */
void atl_lanes_clear(int64_t k, int64_t lane, int64_t nr, float *lanes);

#endif
