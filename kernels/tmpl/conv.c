/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: convolution of planes, output channels broadcast against lanes of pixels. Lanes run from one line of pixels into
 * the next, so that vectors are full however narrow the image is; terms that lie beyond the end of a line are masked. A pixel
 * that is left over alone, as of a plane of 7 x 7, does not fill a vector with its like: for it, lanes are output channels.
 */
#include "../simd/simd.h"

/* Vectors of a tile: fewer rows leave registers for more of them, which keeps enough sums under way. Registers hold the sums,
 * as many vectors of pixels as there are columns of sums, and a weight. */
enum { MAX_NV = 8, ROW_SUMS = CONV_MR * CONV_NV, REGISTERS = VL == 8 ? 16 : 32 };
#define LEAST(a, b)      ((a) < (b) ? (a) : (b))
#define TILE_VECTORS(mr) LEAST(LEAST(ROW_SUMS / (mr), MAX_NV), (REGISTERS - 1) / ((mr) + 1))
_Static_assert(MAX_NV *VL <= ATL_CONV_LANES, "the caller has no room for the masks of a tile");
_Static_assert(!CONV_EXTRA || CONV_MR <= VL, "one vector holds the sums of an extra pixel");
_Static_assert(!CONV_EXTRA || CONV_NV <= 3, "an extra pixel comes beside three vectors at most");

/* Sums of a tile: rows by vectors of pixels, and an extra pixel's, whose lanes are rows. */
typedef struct sums {
    vf at[CONV_MR][MAX_NV];
    vf extra;
} sums;

/* Floats in a cache line. */
enum { LINE = 64 / (int)sizeof(float) };

/* State of a call besides the sums of a tile. */
typedef struct progress {
    float earlier[ROW_SUMS * VL]; /* sums of the blocks before, as many as a tile holds, */
    float earlier_extra[VL];      /* and of the extra pixel */
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

/* n terms of `mr` rows and `nv` vectors, from zero and in order, and of the pixel behind these where `extra` (0 or 1) says so.
 * masks is [columns][nv + extra]. With each term something is fetched. */
V_INLINE void sum_block(int mr, int nv, int extra, const float *w, const atl_conv_term *term, int64_t n, const float *x,
                        const vm *masks, const float *ahead, int64_t step, sums *acc) {
    EACH_VECTOR (mr, nv)
        acc->at[r][v] = v_zero();
    if (extra)
        acc->extra = v_zero();
    for (int64_t l = 0; l < n; l++, w += mr, ahead += step) {
        __builtin_prefetch(ahead, 0, 3);
        const float *from = x + term[l].offset;
        const vm *mask = masks + (int64_t)term[l].column * (nv + extra);
        vf lanes[MAX_NV], pixel = v_zero();
        if (term[l].column < 0) {
            UNROLL
            for (int v = 0; v < nv; v++)
                lanes[v] = v_load(from + v * VL);
            if (extra)
                pixel = v_set(from[nv * VL]);
        } else {
            UNROLL
            for (int v = 0; v < nv; v++)
                lanes[v] = v_load_masked(from + v * VL, mask[v]);
            if (extra)
                pixel = v_select(mask[nv], v_set(from[nv * VL]), v_zero());
        }
        UNROLL
        for (int r = 0; r < mr; r++) {
            vf row = mr % VL == 0 ? v_set_of(w, r) : v_set(w[r]);
            UNROLL
            for (int v = 0; v < nv; v++)
                acc->at[r][v] = v_fma(row, lanes[v], acc->at[r][v]);
        }
        if (extra)
            acc->extra = v_fma(v_load_part(w, mr), pixel, acc->extra);
    }
}

V_INLINE void add_earlier(int mr, int nv, int extra, const progress *state, sums *acc) {
    EACH_VECTOR (mr, nv)
        acc->at[r][v] = v_add(v_load(state->earlier + (r * nv + v) * VL), acc->at[r][v]);
    if (extra)
        acc->extra = v_add(v_load(state->earlier_extra), acc->extra);
}

V_INLINE void keep(int mr, int nv, int extra, const sums *acc, progress *state) {
    EACH_VECTOR (mr, nv)
        v_store(state->earlier + (r * nv + v) * VL, acc->at[r][v]);
    if (extra)
        v_store(state->earlier_extra, acc->extra);
}

/* What follows the sums of rows from i on. */
V_INLINE void scale_and_shift(int mr, int nv, int extra, const atl_conv_args *c, int64_t i, sums *acc) {
    EACH_VECTOR (mr, nv)
        acc->at[r][v] = v_fma(acc->at[r][v], v_set(c->scale[i + r]), v_set(c->shift[i + r]));
    if (extra)
        acc->extra = v_fma(acc->extra, v_load_part(c->scale + i, mr), v_load_part(c->shift + i, mr));
    if (!c->relu)
        return;
    EACH_VECTOR (mr, nv)
        acc->at[r][v] = v_max_keep(acc->at[r][v], v_zero());
    if (extra)
        acc->extra = v_max_keep(acc->extra, v_zero());
}

/* The first n lanes, and the pixel behind them. */
V_INLINE void store(int mr, int nv, int extra, int64_t n, const sums *acc, float *y, int64_t y_row) {
    if (n >= nv * VL) {
        EACH_VECTOR (mr, nv)
            v_store(y + r * y_row + v * VL, acc->at[r][v]);
    } else {
        EACH_VECTOR (mr, nv)
            v_store_part(y + r * y_row + v * VL, n > v * VL ? n - v * VL : 0, acc->at[r][v]);
    }
    if (!extra)
        return;
    float column[VL];
    v_store(column, acc->extra);
    for (int r = 0; r < mr; r++)
        y[r * y_row + nv * VL] = column[r];
}

/* Of each column, which lanes from p on count. */
V_INLINE void find_masks(int nv, int extra, const atl_conv_args *c, int64_t p, vm *masks) {
    for (int64_t k = 0; k < c->columns; k++, masks += nv + extra) {
        const uint16_t *inside = c->inside + k * c->inside_row;
        UNROLL
        for (int v = 0; v < nv; v++)
            masks[v] = v_lane_mask(inside, p + v * VL);
        if (extra) {
            int64_t lane = p + nv * VL;
            uint16_t all = inside[lane / 16] >> lane % 16 & 1 ? UINT16_MAX : 0;
            masks[nv] = v_lane_mask(&all, 0);
        }
    }
}

/* `mr` rows from `i` on, `nv` vectors from lane p on, of which n lanes are wanted; with `extra` all of them and one more. */
V_INLINE void conv_tile(int mr, int nv, int extra, const atl_conv_args *c, int64_t i, int64_t p, int64_t n,
                        progress *state) {
    const float *w = c->weight + i * c->terms;
    sums acc;
    find_masks(nv, extra, c, p, c->masks);
    for (int64_t l = 0;; l += ATL_BLOCK) {
        int last = c->terms - l <= ATL_BLOCK;
        int64_t terms = last ? c->terms - l : ATL_BLOCK, step = ahead_step(state, terms);
        sum_block(mr, nv, extra, w + l * mr, c->term + l, terms, c->x + p, c->masks, state->ahead, step, &acc);
        advance(c, state, terms * step);
        if (l)
            add_earlier(mr, nv, extra, state, &acc);
        if (last)
            break;
        keep(mr, nv, extra, &acc, state);
    }
    scale_and_shift(mr, nv, extra, c, i, &acc);
    store(mr, nv, extra, n, &acc, c->y + i * c->y_row + p, c->y_row);
}

/* Tiles of as many vectors as registers hold, or fewer where that leaves none with only a few. The last one of whole rows takes
 * a pixel that is left over alone. */
V_INLINE void conv_rows(int mr, const atl_conv_args *c, int64_t i, progress *state) {
    int extra = CONV_EXTRA && mr == CONV_MR && c->n > VL && c->n % VL == 1;
    int64_t end = c->n - extra;
    for (int64_t p = 0, nv; p < end; p += nv * VL) {
        int64_t vectors = (end - p + VL - 1) / VL, tiles = (vectors + TILE_VECTORS(mr) - 1) / TILE_VECTORS(mr);
        nv = (vectors + tiles - 1) / tiles;
        switch (extra && tiles == 1 ? MAX_NV + nv : nv) {
#define TILE(nv, extra)                                                                                                \
    case (extra)*MAX_NV + (nv):                                                                                        \
        if (nv <= TILE_VECTORS(mr) && (!extra || (CONV_EXTRA && mr == CONV_MR)))                                       \
            conv_tile(mr, nv, extra, c, i, p, end - p, state);                                                         \
        break
            TILE(1, 0);
            TILE(2, 0);
            TILE(3, 0);
            TILE(4, 0);
            TILE(5, 0);
            TILE(6, 0);
            TILE(7, 0);
            TILE(8, 0);
            TILE(1, 1);
            TILE(2, 1);
            TILE(3, 1);
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
