/* SPDX-License-Identifier: Apache-2.0 */
/* Template: rows of the attention map from scores that attention has left, lanes = queries: squares of VL are transposed. */
#include "../simd/simd.h"

/* VL queries, of which `rows` exist, and n <= VL keys. With `whole` (a constant) all do. */
V_INLINE void map_square(int whole, const float *scores, int64_t nr, int64_t rows, int64_t n, vf max, vf inverse,
                         float *map, int64_t stride, int stream) {
    vf square[VL];
    UNROLL
    for (int t = 0; t < VL; t++)
        square[t] = whole || t < n ? v_mul(v_exp2_map(v_sub(v_load(scores + t * nr), max)), inverse) : v_zero();
    v_transpose(square);
    UNROLL
    for (int r = 0; r < VL; r++) {
        if (whole && stream)
            v_stream(map + r * stride, square[r]);
        else if (whole)
            v_store(map + r * stride, square[r]);
        else if (r < rows)
            v_store_part(map + r * stride, n, square[r]);
    }
}

void KERNEL(map_scores)(const float *scores, int64_t nr, int64_t rows, int64_t keys, const float *max,
                        const float *inverse, float *map, int64_t stride, int stream) {
    for (int64_t i = 0; i < rows; i += VL) {
        vf top = v_load(max + i), scale = v_load(inverse + i);
        for (int64_t j = 0; j < keys; j += VL) {
            const float *from = scores + j * nr + i;
            float *to = map + i * stride + j;
            if (i + VL <= rows && j + VL <= keys)
                map_square(1, from, nr, VL, VL, top, scale, to, stride, stream);
            else
                map_square(0, from, nr, rows - i, keys - j, top, scale, to, stride, 0);
        }
    }
    if (stream)
        v_stream_end();
}
