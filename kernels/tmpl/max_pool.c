/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template: max pooling, 3 x 3. Maxima down the columns come first, then along the rows. No maximum depends on an order. Rows
 * and columns outside the image are taken to be their neighbours inside, which every such window has: that changes no maximum.
 */
#include "../simd/simd.h"

/* Columns of several rows that are pooled together, so that they have left for the cache before they are read again. */
enum { ROOM = 1536 };

/* What windows of one plane have in common. */
typedef struct windows {
    const float *x;
    int64_t height, width, step;
} windows;

static const float *row_at(const windows *w, int64_t r) {
    return w->x + (r < 0 ? 0 : r < w->height ? r : w->height - 1) * w->width;
}

/* Maxima of n columns of three rows. */
V_INLINE void pool_columns(const float *a, const float *b, const float *c, int64_t n, float *y) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store(y + i, v_max_nan(v_max_nan(v_load(a + i), v_load(b + i)), v_load(c + i)));
    if (i < n)
        v_store_part(
            y + i, n - i,
            v_max_nan(v_max_nan(v_load_part(a + i, n - i), v_load_part(b + i, n - i)), v_load_part(c + i, n - i)));
}

/* The addition takes the sign off a zero. */
V_INLINE vf largest(vf a, vf b, vf c) {
    return v_add(v_max_nan(v_max_nan(a, b), c), v_zero());
}

/* y[j] = the largest of x[j*step] to x[j*step + 2], for j < n. x may be read up to 2*VL floats past these. */
V_INLINE void pool_along(const float *x, int64_t step, int64_t n, float *y) {
    int64_t j = 0;
    for (; step <= 2 && j < n; j += VL) {
        vf a, b, c, next;
        if (step == 1) {
            a = v_load(x + j);
            b = v_load(x + j + 1);
            c = v_load(x + j + 2);
        } else {
            v_load_pairs(x + 2 * j, 2 * VL, &a, &b);
            v_load_pairs(x + 2 * j + 2, 2 * VL, &c, &next);
        }
        v_store_part(y + j, n - j, largest(a, b, c));
    }
    for (; j < n; j++) {
        float of_all[VL];
        const float *from = x + j * step;
        v_store(of_all, largest(v_set(from[0]), v_set(from[1]), v_set(from[2])));
        y[j] = of_all[0];
    }
}

/* Windows around `count` columns from column `left` on, of `rows` rows from output row `top` on. */
V_INLINE void pool_windows(const windows *w, int64_t top, int64_t rows, int64_t left, int64_t count, float *y,
                           int64_t y_row) {
    float x[ROOM + 2 * VL];
    int64_t span = (count - 1) * w->step + 1, pitch = span + 2; /* with a neighbour on either side */
    int64_t first = left > 0 ? left - 1 : 0, end = left + span < w->width ? left + span + 1 : w->width;
    for (int64_t r = 0; r < rows; r++) {
        int64_t centre = (top + r) * w->step;
        float *columns = x + r * pitch;
        pool_columns(row_at(w, centre - 1) + first, row_at(w, centre) + first, row_at(w, centre + 1) + first,
                     end - first, columns + (left == 0));
        if (left == 0)
            columns[0] = columns[1];
        if (left + span == w->width)
            columns[span + 1] = columns[span];
    }
    for (int64_t r = 0; r < rows; r++) {
        if (w->step == 1)
            pool_along(x + r * pitch, 1, count, y + r * y_row);
        else if (w->step == 2)
            pool_along(x + r * pitch, 2, count, y + r * y_row);
        else
            pool_along(x + r * pitch, w->step, count, y + r * y_row);
    }
}

static int64_t lesser(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Whole rows together where they are short, else runs of one. */
V_INLINE void pool_plane(const windows *w, int64_t from, int64_t n, float *y) {
    int64_t out_width = (w->width - 1) / w->step + 1, run = lesser((ROOM - 3) / w->step + 1, out_width);
    int64_t together = ROOM / ((run - 1) * w->step + 3);
    for (int64_t i = 0; i < n;) {
        int64_t r = (from + i) / out_width, j = (from + i) % out_width, rows = lesser(together, (n - i) / out_width);
        if (j > 0 || rows == 0 || run < out_width) {
            int64_t count = lesser(run, lesser(n - i, out_width - j));
            pool_windows(w, r, 1, j * w->step, count, y + i, out_width);
            i += count;
        } else {
            pool_windows(w, r, rows, 0, out_width, y + i, out_width);
            i += rows * out_width;
        }
    }
}

void KERNEL(max_pool)(const float *x, int64_t height, int64_t width, int64_t x_stride, int64_t channels, int64_t step,
                      int64_t from, int64_t n, float *y, int64_t y_stride) {
    for (int64_t c = 0; c < channels; c++) {
        windows w = {x + c * x_stride, height, width, step};
        pool_plane(&w, from, n, y + c * y_stride);
    }
}
