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

/* Blocks are added in order to what earlier ones left in `earlier` [mr][nv*VL]. */
V_INLINE void add_earlier(int mr, int nv, float *earlier, sums acc) {
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            acc[r][v] = v_add(v_load(earlier + (r * nv + v) * VL), acc[r][v]);
    }
}

V_INLINE void keep(int mr, int nv, const sums acc, float *earlier) {
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            v_store(earlier + (r * nv + v) * VL, acc[r][v]);
    }
}

/* The first n lanes from lane p on, those that fall on pixels, as rows from i on. */
V_INLINE void finish(int mr, int nv, const atl_conv_args *c, int64_t i, int64_t p, int64_t n, sums acc) {
    UNROLL
    for (int r = 0; r < mr; r++) {
        vf scale = v_set(c->scale[i + r]), shift = v_set(c->shift[i + r]);
        UNROLL
        for (int v = 0; v < nv; v++) {
            vf a = v_fma(acc[r][v], scale, shift);
            acc[r][v] = c->relu ? v_max_keep(a, v_zero()) : a;
        }
    }
    float *y = c->y + i * c->y_row;
    int64_t line = p / c->line, column = p % c->line;
    UNROLL
    for (int v = 0; v < nv; v++) {
        int64_t lanes = n - v * VL < VL ? n - v * VL : VL;
        for (int64_t from = 0; from < lanes;) { /* a line at a time */
            int64_t count = lanes - from < c->line - column ? lanes - from : c->line - column;
            int64_t pixels = count < c->width - column ? count : c->width - column;
            float *to = y + (line * c->width + column - from);
            if (pixels > 0) {
                UNROLL
                for (int r = 0; r < mr; r++)
                    v_store_lanes(to + r * c->y_row, from, pixels, acc[r][v]);
            }
            from += count;
            column += count;
            if (column == c->line) {
                column = 0;
                line++;
            }
        }
    }
}

/* `mr` rows from `i` on, `nv` vectors from lane p on, of which n lanes are wanted. */
V_INLINE void conv_tile(int mr, int nv, const atl_conv_args *c, int64_t i, int64_t p, int64_t n, float *earlier) {
    const float *w = c->weight + i * c->terms;
    sums acc;
    for (int64_t l = 0;; l += ATL_BLOCK) {
        int last = c->terms - l <= ATL_BLOCK;
        sum_block(mr, nv, w, c->offset, c->x + p, l, last ? c->terms : l + ATL_BLOCK, acc);
        if (l)
            add_earlier(mr, nv, earlier, acc);
        if (last)
            break;
        keep(mr, nv, acc, earlier);
    }
    finish(mr, nv, c, i, p, n, acc);
}

/* Tiles of as many vectors as registers hold, or fewer where that leaves none with only a few. */
V_INLINE void conv_rows(int mr, const atl_conv_args *c, int64_t i, float *earlier) {
    int64_t n = (c->lines - 1) * c->line + c->width;
    for (int64_t p = 0, nv; p < n; p += nv * VL) {
        int64_t vectors = (n - p + VL - 1) / VL, tiles = (vectors + TILE_VECTORS(mr) - 1) / TILE_VECTORS(mr);
        nv = (vectors + tiles - 1) / tiles;
        switch (nv) {
#define TILE(nv)                                                                                                       \
    case nv:                                                                                                           \
        if (nv <= TILE_VECTORS(mr))                                                                                    \
            conv_tile(mr, nv, c, i, p, n - p, earlier);                                                                \
        break
            TILE(1);
            TILE(2);
            TILE(3);
            TILE(4);
            TILE(5);
            TILE(6);
            TILE(7);
            TILE(8);
#undef TILE
        default: break;
        }
    }
}

/* Functions of their own, so that compilers need not see all tiles at once. */
static void conv_whole(const atl_conv_args *c, int64_t i, float *earlier) {
    conv_rows(CONV_MR, c, i, earlier);
}

static void conv_4(const atl_conv_args *c, int64_t i, float *earlier) {
    conv_rows(4, c, i, earlier);
}

static void conv_2(const atl_conv_args *c, int64_t i, float *earlier) {
    conv_rows(2, c, i, earlier);
}

static void conv_1(const atl_conv_args *c, int64_t i, float *earlier) {
    conv_rows(1, c, i, earlier);
}

void CONV_KERNEL(conv)(const atl_conv_args *c) {
    float earlier[ROW_SUMS * VL]; /* as many sums as a tile holds */
    int64_t i = 0;
    for (; c->rows - i >= CONV_MR; i += CONV_MR)
        conv_whole(c, i, earlier);
    if (CONV_MR > 4 && c->rows - i >= 4) {
        conv_4(c, i, earlier);
        i += 4;
    }
    if (c->rows - i >= 2) {
        conv_2(c, i, earlier);
        i += 2;
    }
    if (i < c->rows)
        conv_1(c, i, earlier);
}
