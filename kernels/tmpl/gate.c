/* SPDX-License-Identifier: Apache-2.0 */
/* Template: the parts of a gate: fully connected layer, activations, scaling of planes. */
#include "lanes.h"
#include "stream.h"

/* ---- fully connected: lanes = outputs ---- */

/* Packs of 16 outputs, and vectors, that are computed side by side: one alone would wait for its own additions. Of several
 * vectors there are enough chains for fewer packs; the more vectors, the less is read for each. */
enum { PACKS = 4, MANY = VL == 16 ? 8 : 4, MANY_PACKS = VL == 16 ? 2 : 1, SOME = 4, SOME_PACKS = VL == 16 ? 4 : 1 };

typedef struct fc_call {
    const float *x;
    int64_t x_step, k;
    const float *w, *bias;
    int64_t m;
    float *out;
    int64_t out_step;
} fc_call;

/* `packs` packs of 16 outputs from output j on, of which m - j exist, for `vectors` vectors from `first` on: blocks of K from
 * zero and in order, added in order. */
V_INLINE void fc_packs(int packs, int vectors, const fc_call *c, int64_t first, int64_t j) {
    const float *x = c->x + first * c->x_step, *w = c->w + j * c->k;
    vf total[MANY][PACKS][NV16];
    int64_t k0 = 0;
    do {
        int64_t end = c->k - k0 < ATL_BLOCK ? c->k : k0 + ATL_BLOCK;
        vf acc[MANY][PACKS][NV16];
        UNROLL
        for (int u = 0; u < vectors; u++) {
            UNROLL
            for (int p = 0; p < packs; p++) {
                UNROLL
                for (int v = 0; v < NV16; v++)
                    acc[u][p][v] = v_zero();
            }
        }
        for (int64_t i = k0; i < end; i++) {
            UNROLL
            for (int p = 0; p < packs; p++) {
                UNROLL
                for (int v = 0; v < NV16; v++) {
                    vf weight = v_load(w + (p * c->k + i) * ATL_SUM_LANES + v * VL);
                    UNROLL
                    for (int u = 0; u < vectors; u++)
                        acc[u][p][v] = v_fma(weight, v_set(x[u * c->x_step + i]), acc[u][p][v]);
                }
            }
        }
        UNROLL
        for (int u = 0; u < vectors; u++) {
            UNROLL
            for (int p = 0; p < packs; p++) {
                UNROLL
                for (int v = 0; v < NV16; v++)
                    total[u][p][v] = k0 ? v_add(total[u][p][v], acc[u][p][v]) : acc[u][p][v];
            }
        }
        k0 = end;
    } while (k0 < c->k);
    UNROLL
    for (int u = 0; u < vectors; u++) {
        UNROLL
        for (int p = 0; p < packs; p++) {
            UNROLL
            for (int v = 0; v < NV16; v++) {
                int64_t at = j + p * ATL_SUM_LANES + v * VL, n = c->m - at;
                if (n <= 0)
                    continue;
                vf sum = total[u][p][v];
                if (c->bias)
                    sum = v_add(sum, v_load_part(c->bias + at, n));
                v_store_part(c->out + (first + u) * c->out_step + at, n, sum);
            }
        }
    }
}

/* `packs` packs of outputs of `together` vectors after another, which find the weights in a cache after the first. Returns how many
 * vectors are done. */
V_INLINE int64_t fc_together(int together, int shared, int packs, const fc_call *c, int64_t first, int64_t vectors,
                             int64_t j) {
    for (; first + together <= vectors; first += together)
        for (int p = 0; p < packs; p += shared)
            fc_packs(shared < packs ? shared : packs, together, c, first, j + p * ATL_SUM_LANES);
    return first;
}

V_INLINE void fc_block(int packs, const fc_call *c, int64_t vectors, int64_t j) {
    int64_t done = fc_together(MANY, MANY_PACKS, packs, c, 0, vectors, j);
    if (SOME < MANY)
        done = fc_together(SOME, SOME_PACKS, packs, c, done, vectors, j);
    fc_together(1, PACKS, packs, c, done, vectors, j);
}

void KERNEL(fc)(const float *x, int64_t vectors, int64_t x_step, int64_t k, const float *w, const float *bias,
                int64_t m, float *out, int64_t out_step) {
    fc_call c = {x, x_step, k, w, bias, m, out, out_step};
    int64_t j = 0;
    for (; m - j > (PACKS - 1) * ATL_SUM_LANES; j += PACKS * ATL_SUM_LANES)
        fc_block(PACKS, &c, vectors, j);
    for (; m - j > ATL_SUM_LANES; j += 2 * ATL_SUM_LANES)
        fc_block(2, &c, vectors, j);
    if (j < m)
        fc_block(1, &c, vectors, j);
}

/* ---- activations and gates ---- */

V_INLINE vf unary(vf x, atl_unary f, vf alpha) {
    switch (f) {
    case ATL_UNARY_RELU: return v_max_keep(x, v_zero());
    case ATL_UNARY_SILU: return v_mul(x, v_sigmoid(x));
    case ATL_UNARY_SIGMOID: return v_sigmoid(x);
    case ATL_UNARY_HARD_SIGMOID: return v_min_keep(v_max_keep(v_fma(alpha, x, v_set(0.5f)), v_zero()), v_set(1.0f));
    default: return v_exp(x);
    }
}

V_INLINE void unary_loop(const float *x, float *y, int64_t n, atl_unary f, float alpha) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store(y + i, unary(v_load(x + i), f, v_set(alpha)));
    if (i < n)
        v_store_part(y + i, n - i, unary(v_load_part(x + i, n - i), f, v_set(alpha)));
}

void KERNEL(unary)(const float *x, float *y, int64_t n, atl_unary f, float alpha) {
    switch (f) {
    case ATL_UNARY_RELU: unary_loop(x, y, n, ATL_UNARY_RELU, alpha); break;
    case ATL_UNARY_SILU: unary_loop(x, y, n, ATL_UNARY_SILU, alpha); break;
    case ATL_UNARY_SIGMOID: unary_loop(x, y, n, ATL_UNARY_SIGMOID, alpha); break;
    case ATL_UNARY_HARD_SIGMOID: unary_loop(x, y, n, ATL_UNARY_HARD_SIGMOID, alpha); break;
    default: unary_loop(x, y, n, ATL_UNARY_EXP, alpha); break;
    }
}

/* ---- scaling of planes ---- */

V_INLINE void scale_row(const float *x, float *y, int64_t n, float scale) {
    vf s = v_set(scale);
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        UNROLL
        for (int v = 0; v < 4; v++)
            v_store(y + i + v * VL, v_mul(v_load(x + i + v * VL), s));
    }
    for (; i < n; i += VL)
        v_store_part(y + i, n - i, v_mul(v_load_part(x + i, n - i), s));
}

/* Rows one behind the other as one: of the vectors that two rows of n >= VL elements share, each lane has the factor of its own. */
V_INLINE void scale_joined(const float *x, float *y, int64_t n, int64_t rows, const float *scale) {
    const vf lanes = v_load(lane_numbers);
    int64_t i = (int64_t)(-((uintptr_t)y / sizeof(float)) % VL), end = n;
    v_store_part(y, i, v_mul(v_load_part(x, i), v_set(scale[0])));
    for (int64_t r = 0;; end += n) {
        vf s = v_set(scale[r]);
        for (; i + VL <= end; i += VL)
            v_store(y + i, v_mul(v_load(x + i), s));
        if (++r == rows) {
            v_store_part(y + i, end - i, v_mul(v_load_part(x + i, end - i), s));
            return;
        }
        if (i < end) {
            s = v_select_gt(v_set((float)(end - i)), lanes, s, v_set(scale[r]));
            v_store(y + i, v_mul(v_load(x + i), s));
            i += VL;
        }
    }
}

V_INLINE void stream_lines(const float *x, float *y, int64_t lines, vf scale) {
    for (int64_t l = 0; l < lines; l++, x += LINE, y += LINE) {
        fetch_last(x);
        UNROLL
        for (int v = 0; v < LINE / VL; v++)
            v_stream(y + v * VL, v_mul(v_load(x + v * VL), scale));
    }
}

V_INLINE void stream_row(const float *x, float *y, int64_t n, float scale) {
    int64_t head = ragged_head(y, n), tail = before_tail(head, n);
    scale_row(x, y, head, scale);
    stream_lines(x + head, y + head, (tail - head) / LINE, v_set(scale));
    scale_row(x + tail, y + tail, n - tail, scale);
}

/* How far ahead of their use lines from memory are fetched: the hardware's prefetcher, which has three streams to follow, comes later.
 * Not where rows are so many that the last-level cache may lose those of now by the time they are scaled: that got slower. */
enum { FETCH = 64 * LINE, FETCH_MOST = 512 * 1024 };

/* The next line of a row ahead; with `fetch` one further on, in the next rows at last, is on its way. */
V_INLINE void reduce_line(lanes *acc, int max, int fetch, const float *ahead) {
    if (fetch)
        __builtin_prefetch(ahead + FETCH);
    lanes_add(acc, max, ahead);
}

/* The same while `ahead` is summed and, with `max`, its largest element found. */
V_INLINE void stream_row_reducing(int max, int fetch, const float *x, float *y, int64_t n, float scale,
                                  const float *ahead, float *sum, float *maximum) {
    int64_t at = ragged_head(y, n), tail = before_tail(at, n);
    float total = 0.0f, largest = -__builtin_inff();
    scale_row(x, y, at, scale);
    for (int64_t from = 0; from < n; from += ATL_SUM_RESTART) {
        int64_t end = n - from < ATL_SUM_RESTART ? n : from + ATL_SUM_RESTART, i = from;
        lanes acc;
        lanes_clear(&acc, max);
        for (; i + TURN * ATL_SUM_LANES <= end; i += TURN * ATL_SUM_LANES) {
            UNROLL
            for (int u = 0; u < TURN; u++)
                reduce_line(&acc, max, fetch, ahead + i + u * LINE);
            if (at + TURN * LINE <= tail) {
                stream_lines(x + at, y + at, TURN, v_set(scale));
                at += TURN * LINE;
            }
        }
        for (; i + ATL_SUM_LANES <= end; i += ATL_SUM_LANES)
            reduce_line(&acc, max, fetch, ahead + i);
        lanes_add_last(&acc, max, ahead + i, end - i);
        total += v_sum16(acc.sum);
        if (max)
            largest = larger(largest, v_max16(acc.max));
    }
    stream_lines(x + at, y + at, (tail - at) / LINE, v_set(scale));
    scale_row(x + tail, y + tail, n - tail, scale);
    *sum = total;
    if (max)
        *maximum = row_max(ahead, n, total, largest);
}

void KERNEL(scale)(const float *x, float *y, int64_t n, int64_t rows, int64_t x_stride, int64_t y_stride,
                   const float *scale, int stream, const float *ahead, float *sums, float *maxima) {
    if (ahead && !stream && maxima)
        KERNEL(sum_max)(ahead, n, rows, x_stride, sums, maxima);
    else if (ahead && !stream)
        KERNEL(sum)(ahead, n, rows, x_stride, sums);
    if (!stream && rows > 0 && n >= VL && x_stride == n && y_stride == n) {
        scale_joined(x, y, n, rows, scale);
        return;
    }
    const int fetch = x_stride == n && n * rows <= FETCH_MOST;
    for (int64_t r = 0; r < rows; r++) {
        const float *from = x + r * x_stride;
        float *to = y + r * y_stride;
        if (!stream)
            scale_row(from, to, n, scale[r]);
        else if (ahead && maxima)
            stream_row_reducing(1, fetch, from, to, n, scale[r], ahead + r * x_stride, sums + r, maxima + r);
        else if (ahead)
            stream_row_reducing(0, fetch, from, to, n, scale[r], ahead + r * x_stride, sums + r, 0);
        else
            stream_row(from, to, n, scale[r]);
    }
    if (stream)
        v_stream_end();
}
