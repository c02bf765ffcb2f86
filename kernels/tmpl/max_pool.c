/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: max pooling of planes, whose lanes run from one line of pixels into the next as those of a convolution do. A pixel
 * beyond the end of a line gives way to the largest so far, which changes no maximum; no maximum depends on an order.
 */
#include "../simd/simd.h"

enum { VECTORS = 4 };

/* `nv` vectors of a channel from lane p on. The addition takes the sign off a zero. */
V_INLINE void pool_lanes(int nv, const atl_max_pool_args *a, const float *x, int64_t p, float *y) {
    vf largest[VECTORS];
    UNROLL
    for (int v = 0; v < nv; v++)
        largest[v] = v_load(x + a->term[0].offset + p + v * VL);
    for (int64_t l = 1; l < a->terms; l++) {
        const float *from = x + a->term[l].offset + p;
        const uint16_t *inside = a->inside + a->term[l].column * a->inside_row;
        if (a->term[l].column < 0) {
            UNROLL
            for (int v = 0; v < nv; v++)
                largest[v] = v_max_nan(v_load(from + v * VL), largest[v]);
        } else {
            UNROLL
            for (int v = 0; v < nv; v++)
                largest[v] =
                    v_max_nan(v_select(v_lane_mask(inside, p + v * VL), v_load(from + v * VL), largest[v]), largest[v]);
        }
    }
    UNROLL
    for (int v = 0; v < nv; v++)
        v_store_part(y + p + v * VL, a->n - p - v * VL, v_add(largest[v], v_zero()));
}

void KERNEL(max_pool)(const atl_max_pool_args *a) {
    for (int64_t c = 0; c < a->channels; c++) {
        const float *x = a->x + c * a->x_row;
        float *y = a->y + c * a->y_row;
        int64_t p = 0;
        for (; p + (VECTORS - 1) * VL < a->n; p += VECTORS * VL)
            pool_lanes(VECTORS, a, x, p, y);
        for (; p < a->n; p += VL)
            pool_lanes(1, a, x, p, y);
    }
}
