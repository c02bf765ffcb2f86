/* SPDX-License-Identifier: Apache-2.0 */
/* Template: matrix product into one lane panel, rows broadcast against lanes. */
#define TILE_AHEAD 32 /* weights come from beyond the second-level cache: 3 % slower without */
#include "tile.h"

/* Lanes that exist from this one on. */
V_INLINE int64_t lanes_left(const atl_gemm *g, int64_t lane) {
    return g->n > lane ? g->n - lane : 0;
}

/* What follows the sums of rows [i, i + mr). */
V_INLINE void add_terms(int mr, int nv, int64_t i, const atl_gemm *g, tile sum) {
    if (g->row_bias) {
        EACH_VECTOR (mr, nv)
            sum[r][v] = v_add(sum[r][v], v_set(g->row_bias[i + r]));
    }
    if (g->row_scale) {
        EACH_VECTOR (mr, nv)
            sum[r][v] = v_fma(sum[r][v], v_set(g->row_scale[i + r]), v_set(g->row_shift[i + r]));
    }
    if (g->lane_bias) {
        EACH_VECTOR (mr, nv)
            sum[r][v] = v_add(sum[r][v], v_load_part(g->lane_bias + lane, lanes_left(g, lane)));
    }
    if (g->residual) {
        const float *x = g->residual + i * g->residual_row;
        EACH_VECTOR (mr, nv)
            sum[r][v] = v_add(sum[r][v], v_load_part(x + r * g->residual_row + lane, lanes_left(g, lane)));
    }
}

V_INLINE void store_sums(int mr, int nv, int64_t i, const atl_gemm *g, tile sum) {
    float *y = g->y + i * g->y_row;
    if (g->n == TILE_NR && g->stream) {
        EACH_VECTOR (mr, nv)
            v_stream(y + r * g->y_row + lane, sum[r][v]);
    } else if (g->n == TILE_NR) {
        EACH_VECTOR (mr, nv)
            v_store(y + r * g->y_row + lane, sum[r][v]);
    } else {
        EACH_VECTOR (mr, nv)
            v_store_part(y + r * g->y_row + lane, lanes_left(g, lane), sum[r][v]);
    }
}

/* Rows [i, i + mr) of y to where their lanes belong: now, as their stores wait for memory while the next sums are made. */
static void copy_spans(int mr, int64_t i, const atl_gemm *g) {
    for (int64_t s = 0; s < g->span_count; s++) {
        const atl_gemm_span *span = &g->spans[s];
        for (int64_t r = i; r < i + mr; r++)
            for (int64_t v = 0; v < span->n; v += VL)
                v_store_part(span->y + r * g->spans_row + v, span->n - v,
                             v_load_part(g->y + r * g->y_row + span->lane + v, span->n - v));
    }
}

/* Rows [i, i + mr) of the residual are fetched while the last sums are made: they may come from memory. */
V_INLINE void fetch_residual(int mr, int nv, int64_t i, const atl_gemm *g) {
    UNROLL
    for (int r = 0; r < mr; r++) {
        UNROLL
        for (int lane = 0; lane < nv * VL; lane += ATL_SUM_LANES)
            __builtin_prefetch(g->residual + (i + r) * g->residual_row + lane);
    }
}

/* Terms [l, l + n) of rows [i, i + mr), which lie in one tile of a. */
V_INLINE void gemm_tile(int mr, int64_t i, int nv, const atl_gemm *g, int64_t l, int64_t n) {
    tile sum;
    float *between = g->sums + i * g->sums_row;
    if (g->residual && l + n == g->k)
        fetch_residual(mr, nv, i, g);
    tile_product(mr, nv, g->a + i / TILE_MR * g->a_tile + l * g->a_step + i % TILE_MR, 1, g->a_step,
                 g->b + l * g->b_row, g->b_row, n, sum);
    if (l) {
        EACH_VECTOR (mr, nv)
            sum[r][v] = v_add(v_load(between + r * g->sums_row + lane), sum[r][v]);
    }
    if (l + n < g->k) {
        EACH_VECTOR (mr, nv)
            v_store(between + r * g->sums_row + lane, sum[r][v]);
    } else {
        add_terms(mr, nv, i, g, sum);
        store_sums(mr, nv, i, g, sum);
        if (g->span_count)
            copy_spans(mr, i, g);
    }
}

void TILE_KERNEL(gemm)(const atl_gemm *g) {
    for (int64_t l = 0; l < g->k; l += ATL_BLOCK) {
        int64_t n = g->k - l < ATL_BLOCK ? g->k - l : ATL_BLOCK;
        if (g->n > HALF_NV * VL)
            FOR_TILES(g->m, gemm_tile, TILE_NV, g, l, n);
        else
            FOR_TILES(g->m, gemm_tile, HALF_NV, g, l, n);
    }
    if (g->stream)
        v_stream_end();
}
