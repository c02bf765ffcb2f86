/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: 3 x 3 max pooling of planes, whose lanes run from one line of pixels into the next as those of a convolution do:
 * first over the lines of a window, then over its columns, which share these maxima where they are neighbours in one plane. A
 * pixel beyond the end of a line gives way to the middle column's, which changes no maximum; no maximum depends on an order.
 */
#include "../simd/simd.h"

/* Lanes at a time, whose maxima stay in the first-level cache, and columns of a window in the order of its terms. */
enum { STRIP = 512, VECTORS = 4, COLUMNS = 3, MIDDLE = 0, RIGHT, LEFT };

/* `nv` vectors of the largest of each column, of which n lanes are read. */
V_INLINE void pool_vectors(int nv, int lines, const atl_conv_term *term, const float *x, int64_t n, float *out) {
    vf largest[VECTORS];
    UNROLL
    for (int v = 0; v < nv; v++)
        largest[v] = v_load_part(x + term->offset + v * VL, n - v * VL);
    UNROLL
    for (int l = 1; l < lines; l++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            largest[v] = v_max_nan(v_load_part(x + term[l * COLUMNS].offset + v * VL, n - v * VL), largest[v]);
    }
    UNROLL
    for (int v = 0; v < nv; v++)
        v_store(out + v * VL, largest[v]);
}

V_INLINE void pool_some(int lines, const atl_conv_term *term, const float *x, int64_t n, float *out) {
    int64_t i = 0;
    for (; i + VECTORS * VL <= n; i += VECTORS * VL)
        pool_vectors(VECTORS, lines, term, x + i, VECTORS * VL, out + i);
    for (; i < n; i += VL)
        pool_vectors(1, lines, term, x + i, n - i, out + i);
}

/* The largest of each column of n lanes. */
V_INLINE void pool_lines(const atl_max_pool_args *a, const atl_conv_term *term, const float *x, int64_t n, float *out) {
    switch (a->terms / COLUMNS) {
    case 1: pool_some(1, term, x, n, out); break;
    case 2: pool_some(2, term, x, n, out); break;
    default: pool_some(3, term, x, n, out); break;
    }
}

/* A vector of one column: those of its lanes that are pixels, otherwise the middle one's. */
V_INLINE vf pool_column(const atl_max_pool_args *a, int column, int64_t p, const float *lines, vf largest) {
    const uint16_t *inside = a->inside + a->term[column].column * a->inside_row;
    return v_max_nan(v_select(v_lane_mask(inside, p), v_load(lines), largest), largest);
}

/* Lanes [p, p + n). The addition takes the sign off a zero. */
V_INLINE void pool_strip(const atl_max_pool_args *a, const float *x, int64_t p, int64_t n, float *y) {
    float maxima[COLUMNS][STRIP + 2 * VL];
    const float *middle = maxima[MIDDLE], *right = maxima[RIGHT], *left = maxima[LEFT];
    const atl_conv_term *term = a->term;
    int64_t between = term[RIGHT].offset - term[LEFT].offset;
    if (between == 2) { /* all in one plane */
        pool_lines(a, term + LEFT, x + p, n + 2, maxima[LEFT]);
        middle = left + 1;
        right = left + 2;
    } else {
        pool_lines(a, term + MIDDLE, x + p, n, maxima[MIDDLE]);
        pool_lines(a, term + LEFT, x + p, between == 1 ? n + 1 : n, maxima[LEFT]);
        if (between == 1)
            right = left + 1;
        else
            pool_lines(a, term + RIGHT, x + p, n, maxima[RIGHT]);
    }
    for (int64_t i = 0; i < n; i += VL) {
        vf largest = v_load(middle + i);
        largest = pool_column(a, RIGHT, p + i, right + i, largest);
        largest = pool_column(a, LEFT, p + i, left + i, largest);
        v_store_part(y + p + i, n - i, v_add(largest, v_zero()));
    }
}

void KERNEL(max_pool)(const atl_max_pool_args *a) {
    for (int64_t c = 0; c < a->channels; c++)
        for (int64_t p = 0; p < a->n; p += STRIP)
            pool_strip(a, a->x + c * a->x_row, p, a->n - p < STRIP ? a->n - p : STRIP, a->y + c * a->y_row);
}
