/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: convolution of padded planes, output channels broadcast against lanes of pixels. Lanes run along a line of
 * pixels that goes on into the next line through the padding between them: those that fall on padding are computed as well
 * and not stored, so that vectors are full however narrow the image is.
 */
#include "../simd/simd.h"

/* Vectors of a tile: fewer rows leave registers for more of them, which keeps enough sums under way. */
enum { MAX_NV = 8, ROW_SUMS = CONV_MR * CONV_NV };
#define TILE_VECTORS(mr) (ROW_SUMS / (mr) < MAX_NV ? ROW_SUMS / (mr) : MAX_NV)

typedef vf sums[CONV_MR][MAX_NV];

/* Terms [l, end) of `mr` rows and `nv` vectors, from zero and in order. */
V_INLINE void sum_block(int mr, int nv, const float *w, const int32_t *offset, const float *x, int64_t l, int64_t end,
                        sums acc) {
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            acc[r][v] = v_zero();
    }
    for (; l < end; l++) {
        const float *from = x + offset[l];
        vf lanes[MAX_NV];
        UNROLL
        for (int v = 0; v < nv; v++)
            lanes[v] = v_load(from + v * VL);
        UNROLL
        for (int r = 0; r < mr; r++) {
            vf row = v_set(w[l * mr + r]);
            UNROLL
            for (int v = 0; v < nv; v++)
                acc[r][v] = v_fma(row, lanes[v], acc[r][v]);
        }
    }
}

/* Copies lanes [p, p + n) of a line, which are `tile` [mr][row], to the pixels that they are of. */
V_INLINE void store_pixels(int mr, const atl_conv_args *c, const float *tile, int64_t row, int64_t p, int64_t n,
                           float *y) {
    int64_t q = p / c->line, i = p % c->line;
    for (int64_t at = 0; at < n; at += c->line - i, i = 0, q++) {
        int64_t count = c->width - i < n - at ? c->width - i : n - at;
        for (int r = 0; r < mr; r++) {
            const float *from = tile + r * row + at;
            float *to = y + r * c->y_row + q * c->width + i;
            int64_t v = 0;
            for (; v + VL <= count; v += VL)
                v_store(to + v, v_load(from + v));
            if (v < count)
                v_store_part(to + v, count - v, v_load(from + v));
        }
    }
}

/* `mr` rows from `i` on, `nv` vectors from lane p on, of which n lanes are wanted. */
V_INLINE void conv_tile(int mr, int nv, const atl_conv_args *c, int64_t i, int64_t p, int64_t n) {
    const float *w = c->weight + i * c->terms;
    float tile[CONV_MR * CONV_NV * VL + MAX_NV * VL + VL];
    sums acc, total;
    sum_block(mr, nv, w, c->offset, c->x + p, 0, c->terms < ATL_BLOCK ? c->terms : ATL_BLOCK, total);
    for (int64_t l = ATL_BLOCK; l < c->terms; l += ATL_BLOCK) {
        sum_block(mr, nv, w, c->offset, c->x + p, l, c->terms - l < ATL_BLOCK ? c->terms : l + ATL_BLOCK, acc);
        UNROLL
        for (int r = 0; r < mr; r++) {
            UNROLL
            for (int v = 0; v < nv; v++)
                total[r][v] = v_add(total[r][v], acc[r][v]);
        }
    }
    UNROLL
    for (int r = 0; r < mr; r++) {
        vf scale = v_set(c->scale[i + r]), shift = v_set(c->shift[i + r]);
        UNROLL
        for (int v = 0; v < nv; v++) {
            vf a = v_fma(total[r][v], scale, shift);
            v_store(tile + (r * nv + v) * VL, c->relu ? v_max_keep(a, v_zero()) : a);
        }
    }
    store_pixels(mr, c, tile, nv * VL, p, n, c->y + i * c->y_row);
}

/* The last vectors of a line, fewer than a tile has. */
V_INLINE void conv_rest(int mr, const atl_conv_args *c, int64_t i, int64_t p, int64_t n) {
    switch ((n + VL - 1) / VL) {
#define REST(nv)                                                                                                       \
    case nv:                                                                                                           \
        if (nv <= TILE_VECTORS(mr))                                                                                    \
            conv_tile(mr, nv, c, i, p, n);                                                                             \
        break;
        REST(1)
        REST(2) REST(3) REST(4) REST(5) REST(6) REST(7) REST(8)
#undef REST
            default : break;
    }
}

V_INLINE void conv_rows(int mr, const atl_conv_args *c, int64_t i) {
    int64_t n = (c->lines - 1) * c->line + c->width, p = 0;
    const int nr = TILE_VECTORS(mr) * VL;
    for (; p + nr <= n; p += nr)
        conv_tile(mr, TILE_VECTORS(mr), c, i, p, nr);
    conv_rest(mr, c, i, p, n - p);
}

static void conv_8(const atl_conv_args *c, int64_t i) {
    if (CONV_MR == 8)
        conv_rows(8 < CONV_MR ? 8 : CONV_MR, c, i);
}

static void conv_4(const atl_conv_args *c, int64_t i) {
    conv_rows(4, c, i);
}

static void conv_2(const atl_conv_args *c, int64_t i) {
    conv_rows(2, c, i);
}

static void conv_1(const atl_conv_args *c, int64_t i) {
    conv_rows(1, c, i);
}

void CONV_KERNEL(conv)(const atl_conv_args *c) {
    int64_t i = 0;
    for (; CONV_MR == 8 && i + 8 <= c->rows; i += 8)
        conv_8(c, i);
    for (; i + 4 <= c->rows; i += 4)
        conv_4(c, i);
    if (c->rows & 2) {
        conv_2(c, i);
        i += 2;
    }
    if (c->rows & 1)
        conv_1(c, i);
}
