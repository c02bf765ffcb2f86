/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: convolution of planes, output channels broadcast against lanes of pixels. Lanes run from one line of pixels into
 * the next, so that vectors are full however narrow the image is; terms that lie beyond the end of a line are masked.
 */
#include "../simd/simd.h"

/* Vectors of a tile: fewer rows leave registers for more of them, which keeps enough sums under way. */
enum { MAX_NV = 8, ROW_SUMS = CONV_MR * CONV_NV };
#define TILE_VECTORS(mr) (ROW_SUMS / (mr) < MAX_NV ? ROW_SUMS / (mr) : MAX_NV)
_Static_assert(MAX_NV *VL <= ATL_CONV_LANES, "the caller has no room for the masks of a tile");

typedef vf sums[CONV_MR][MAX_NV];

/* Floats in a cache line. */
enum { LINE = 64 / (int)sizeof(float) };

/* State of a call besides the sums of a tile. */
typedef struct progress {
    float earlier[ROW_SUMS * VL]; /* sums of the blocks before, as many as a tile holds */
    const float *ahead;           /* what is fetched next, */
    int64_t ahead_n, ahead_rows;  /* what is left of its row, and rows after it */
} progress;

/* How much is fetched with each of n terms: at most a line, and about no more than there is. */
V_INLINE int64_t ahead_step(const progress *p, int64_t n) {
    return p->ahead_n >= n * LINE ? LINE : (p->ahead_n + n - 1) / n;
}

V_INLINE void advance(const atl_conv_args *c, progress *p, int64_t floats) {
    p->ahead += floats;
    p->ahead_n -= floats;
    if (p->ahead_n > 0 || floats == 0)
        return;
    int more = p->ahead_rows > 0;
    p->ahead = more ? c->ahead + (c->ahead_rows - p->ahead_rows) * c->ahead_row : c->x; /* which is at hand */
    p->ahead_n = more ? c->ahead_n : 0;
    p->ahead_rows -= more;
}

/* For each vector of a tile: r is its row, v its number. */
#define EACH_VECTOR(mr, nv)                                                                                            \
    UNROLL                                                                                                             \
    for (int r = 0; r < (mr); r++)                                                                                     \
        UNROLL                                                                                                         \
    for (int v = 0; v < (nv); v++)

/* n terms of `mr` rows and `nv` vectors, from zero and in order. masks is [columns][nv]. With each term something is fetched. */
V_INLINE void sum_block(int mr, int nv, const float *w, const atl_conv_term *term, int64_t n, const float *x,
                        const vm *masks, const float *ahead, int64_t step, sums acc) {
    EACH_VECTOR (mr, nv)
        acc[r][v] = v_zero();
    for (int64_t l = 0; l < n; l++, w += mr, ahead += step) {
        __builtin_prefetch(ahead, 0, 3);
        const float *from = x + term[l].offset;
        const vm *mask = masks + (int64_t)term[l].column * nv;
        vf lanes[MAX_NV];
        if (term[l].column < 0) {
            UNROLL
            for (int v = 0; v < nv; v++)
                lanes[v] = v_load(from + v * VL);
        } else {
            UNROLL
            for (int v = 0; v < nv; v++)
                lanes[v] = v_load_masked(from + v * VL, mask[v]);
        }
        UNROLL
        for (int r = 0; r < mr; r++) {
            vf row = mr % VL == 0 ? v_set_of(w, r) : v_set(w[r]);
            UNROLL
            for (int v = 0; v < nv; v++)
                acc[r][v] = v_fma(row, lanes[v], acc[r][v]);
        }
    }
}

/* What follows the sums of rows from i on. */
V_INLINE void scale_and_shift(int mr, int nv, const atl_conv_args *c, int64_t i, sums acc) {
    EACH_VECTOR (mr, nv)
        acc[r][v] = v_fma(acc[r][v], v_set(c->scale[i + r]), v_set(c->shift[i + r]));
    if (c->relu) {
        EACH_VECTOR (mr, nv)
            acc[r][v] = v_max_keep(acc[r][v], v_zero());
    }
}

/* The first n lanes. */
V_INLINE void store(int mr, int nv, int64_t n, const sums acc, float *y, int64_t y_row) {
    if (n >= nv * VL) {
        EACH_VECTOR (mr, nv)
            v_store(y + r * y_row + v * VL, acc[r][v]);
    } else {
        EACH_VECTOR (mr, nv)
            v_store_part(y + r * y_row + v * VL, n > v * VL ? n - v * VL : 0, acc[r][v]);
    }
}

/* `mr` rows from `i` on, `nv` vectors from lane p on, of which n lanes are wanted. */
V_INLINE void conv_tile(int mr, int nv, const atl_conv_args *c, int64_t i, int64_t p, int64_t n, progress *state) {
    const float *w = c->weight + i * c->terms;
    vm *masks = c->masks;
    sums acc;
    for (int64_t k = 0; k < c->columns; k++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            masks[k * nv + v] = v_lane_mask(c->inside + k * c->inside_row, p + v * VL);
    }
    for (int64_t l = 0;; l += ATL_BLOCK) {
        int last = c->terms - l <= ATL_BLOCK;
        int64_t terms = last ? c->terms - l : ATL_BLOCK, step = ahead_step(state, terms);
        sum_block(mr, nv, w + l * mr, c->term + l, terms, c->x + p, masks, state->ahead, step, acc);
        advance(c, state, terms * step);
        if (l) {
            EACH_VECTOR (mr, nv)
                acc[r][v] = v_add(v_load(state->earlier + (r * nv + v) * VL), acc[r][v]);
        }
        if (last)
            break;
        EACH_VECTOR (mr, nv)
            v_store(state->earlier + (r * nv + v) * VL, acc[r][v]);
    }
    scale_and_shift(mr, nv, c, i, acc);
    store(mr, nv, n, acc, c->y + i * c->y_row + p, c->y_row);
}

/* Tiles of as many vectors as registers hold, or fewer where that leaves none with only a few. */
V_INLINE void conv_rows(int mr, const atl_conv_args *c, int64_t i, progress *state) {
    for (int64_t p = 0, nv; p < c->n; p += nv * VL) {
        int64_t vectors = (c->n - p + VL - 1) / VL, tiles = (vectors + TILE_VECTORS(mr) - 1) / TILE_VECTORS(mr);
        nv = (vectors + tiles - 1) / tiles;
        switch (nv) {
#define TILE(nv)                                                                                                       \
    case nv:                                                                                                           \
        if (nv <= TILE_VECTORS(mr))                                                                                    \
            conv_tile(mr, nv, c, i, p, c->n - p, state);                                                               \
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
static void conv_whole(const atl_conv_args *c, int64_t i, progress *state) {
    conv_rows(CONV_MR, c, i, state);
}

static void conv_4(const atl_conv_args *c, int64_t i, progress *state) {
    conv_rows(4, c, i, state);
}

static void conv_2(const atl_conv_args *c, int64_t i, progress *state) {
    conv_rows(2, c, i, state);
}

static void conv_1(const atl_conv_args *c, int64_t i, progress *state) {
    conv_rows(1, c, i, state);
}

void CONV_KERNEL(conv)(const atl_conv_args *c) {
    progress all, *state = &all;
    int64_t i = 0;
    all.ahead = c->ahead ? c->ahead : c->x;
    all.ahead_n = c->ahead ? c->ahead_n : 0;
    all.ahead_rows = c->ahead ? c->ahead_rows - 1 : 0;
    for (; c->rows - i >= CONV_MR; i += CONV_MR)
        conv_whole(c, i, state);
    if (CONV_MR > 4 && c->rows - i >= 4) {
        conv_4(c, i, state);
        i += 4;
    }
    if (c->rows - i >= 2) {
        conv_2(c, i, state);
        i += 2;
    }
    if (i < c->rows)
        conv_1(c, i, state);
}
