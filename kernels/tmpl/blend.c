/* SPDX-License-Identifier: Apache-2.0 */
/* Template: rows of several branches, each times a factor, added. */
#include "stream.h"

typedef struct branches {
    const float *x, *factor; /* of one row */
    int64_t count, x_branch, factor_branch;
} branches;

/* `vectors` vectors of pixels from i on. */
V_INLINE void blend_vectors(int vectors, const branches *b, int64_t i, vf *out) {
    vf factor = v_set(b->factor[0]);
    UNROLL
    for (int v = 0; v < vectors; v++)
        out[v] = v_mul(factor, v_load(b->x + i + v * VL));
    for (int64_t k = 1; k < b->count; k++) {
        factor = v_set(b->factor[k * b->factor_branch]);
        UNROLL
        for (int v = 0; v < vectors; v++)
            out[v] = v_fma(factor, v_load(b->x + k * b->x_branch + i + v * VL), out[v]);
    }
}

V_INLINE void blend_part(const branches *b, int64_t i, int64_t n, float *y) {
    vf out = v_mul(v_set(b->factor[0]), v_load_part(b->x + i, n));
    for (int64_t k = 1; k < b->count; k++)
        out = v_fma(v_set(b->factor[k * b->factor_branch]), v_load_part(b->x + k * b->x_branch + i, n), out);
    v_store_part(y + i, n, out);
}

enum { VECTORS = 4 };

/* Pixels [i, n). */
V_INLINE void blend_row(const branches *b, int64_t i, int64_t n, float *y) {
    for (; i + VECTORS * VL <= n; i += VECTORS * VL) {
        vf out[VECTORS];
        blend_vectors(VECTORS, b, i, out);
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            v_store(y + i + v * VL, out[v]);
    }
    for (; i < n; i += VL)
        blend_part(b, i, n - i, y);
}

V_INLINE void stream_row(const branches *b, int64_t n, float *y) {
    int64_t i = ragged_head(y, n);
    blend_row(b, 0, i, y);
    for (; i + LINE <= n; i += LINE) {
        vf out[LINE / VL];
        blend_vectors(LINE / VL, b, i, out);
        UNROLL
        for (int v = 0; v < LINE / VL; v++)
            v_stream(y + i + v * VL, out[v]);
    }
    blend_row(b, i, n, y);
}

void KERNEL(blend)(const float *x, float *y, int64_t n, int64_t rows, int64_t branch_count, int64_t x_branch,
                   int64_t x_row, int64_t y_row, const float *factor, int64_t factor_branch, int stream) {
    for (int64_t r = 0; r < rows; r++) {
        branches b = {x + r * x_row, factor + r, branch_count, x_branch, factor_branch};
        if (stream)
            stream_row(&b, n, y + r * y_row);
        else
            blend_row(&b, 0, n, y + r * y_row);
    }
    if (stream)
        v_stream_end();
}
