/* SPDX-License-Identifier: Apache-2.0 */
/* Template: maxima over windows of two columns. */
#include "../simd/simd.h"

/* The addition takes the sign off a zero. */
void KERNEL(window_max)(const float *x, int64_t n, int64_t rows, int64_t x_row, int64_t lines, int64_t line, float *y,
                        int64_t y_row) {
    for (int64_t r = 0; r < rows; r++) {
        const float *from = x + r * x_row;
        for (int64_t i = 0; i < n; i += VL) {
            vf largest, even, odd;
            v_load_pairs(from + 2 * i, 2 * (n - i), &even, &odd);
            largest = v_max_nan(even, odd);
            for (int64_t w = 1; w < lines; w++) {
                v_load_pairs(from + w * line + 2 * i, 2 * (n - i), &even, &odd);
                largest = v_max_nan(largest, v_max_nan(even, odd));
            }
            v_store_part(y + r * y_row + i, n - i, v_add(largest, v_zero()));
        }
    }
}
