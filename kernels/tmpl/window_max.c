/* SPDX-License-Identifier: Apache-2.0 */
/* Template: maxima over windows whose elements lie in rows of their own, one behind the other. */
#include "../simd/simd.h"

/* The addition takes the sign off a zero. */
void KERNEL(window_max)(const float *x, int64_t n, int64_t rows, int64_t x_row, int64_t windows, int64_t step, float *y,
                        int64_t y_row) {
    for (int64_t r = 0; r < rows; r++) {
        const float *from = x + r * x_row;
        for (int64_t i = 0; i < n; i += VL) {
            vf largest = v_load_part(from + i, n - i);
            for (int64_t w = 1; w < windows; w++)
                largest = v_max_nan(largest, v_load_part(from + w * step + i, n - i));
            v_store_part(y + r * y_row + i, n - i, v_add(largest, v_zero()));
        }
    }
}
