/* SPDX-License-Identifier: Apache-2.0 */
/* Template: a gate per pixel. Lanes are pixels everywhere: no result depends on its neighbours or on where a run starts. */
#include "stream.h"

/* ---- mean and maximum over channels ---- */

/* Pixels whose sums stay in the first-level cache, and channels that are added in one pass over them: rows are read in
 * long runs, several side by side. */
enum { STRIP = 1024, CHANNELS = 4 };

/* What counts of an element: with `scale` (NULL is a constant) its product with the channel's, rounded. */
V_INLINE vf scaled(vf x, const float *scale, int c) {
    return scale ? v_mul(x, v_set(scale[c])) : x;
}

/* `channels` channels of n <= STRIP pixels: added to sum in order, and their largest kept. */
V_INLINE void pool_channels(int channels, const float *x, int64_t n, int64_t stride, const float *scale, float *sum,
                            float *max) {
    for (int64_t i = 0; i < n; i += VL) {
        vf s = v_load_part(sum + i, n - i), m = v_load_part(max + i, n - i);
        UNROLL
        for (int c = 0; c < channels; c++) {
            vf a = scaled(v_load_part(x + c * stride + i, n - i), scale, c);
            s = v_add(s, a);
            m = v_max(m, a);
        }
        v_store_part(sum + i, n - i, s);
        v_store_part(max + i, n - i, m);
    }
}

/* The same of whole vectors. */
V_INLINE void pool_vectors(int channels, int vectors, const float *x, int64_t stride, const float *scale, float *sum,
                           float *max) {
    UNROLL
    for (int v = 0; v < vectors; v++) {
        vf s = v_load(sum + v * VL), m = v_load(max + v * VL);
        UNROLL
        for (int c = 0; c < channels; c++) {
            vf a = scaled(v_load(x + c * stride + v * VL), scale, c);
            s = v_add(s, a);
            m = v_max(m, a);
        }
        v_store(sum + v * VL, s);
        v_store(max + v * VL, m);
    }
}

/* Rows may be short and far apart: those of the next channels are fetched meanwhile. */
V_INLINE void pool_whole(const float *x, int64_t n, int64_t stride, const float *scale, float *sum, float *max) {
    int64_t i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        UNROLL
        for (int c = 0; c < CHANNELS; c++)
            for (int l = 0; l < 2 * VL; l += LINE)
                __builtin_prefetch(x + (CHANNELS + c) * stride + i + l, 0, 3);
        pool_vectors(CHANNELS, 2, x + i, stride, scale, sum + i, max + i);
    }
    pool_channels(CHANNELS, x + i, n - i, stride, scale, sum + i, max + i);
}

V_INLINE void fill_strip(float *x, int64_t n, float value) {
    for (int64_t i = 0; i < n; i += VL)
        v_store_part(x + i, n - i, v_set(value));
}

/* The sums of a block of channels join those of the blocks before. */
V_INLINE void add_block(const float *sum, int64_t n, int first, float *total) {
    for (int64_t i = 0; i < n; i += VL) {
        vf block = v_load_part(sum + i, n - i);
        v_store_part(total + i, n - i, first ? block : v_add(v_load_part(total + i, n - i), block));
    }
}

/* A NaN among the channels of a pixel makes its sum NaN, so only then do they have to be looked at. */
V_INLINE void keep_nans(const float *x, int64_t n, int64_t channels, int64_t stride, const float *scale,
                        const float *sum, float *max) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < channels && sum[i] != sum[i]; c++) {
            float a = scale ? x[c * stride + i] * scale[c] : x[c * stride + i];
            if (a != a) {
                max[i] = a;
                break;
            }
        }
}

/* Sums become means; zeros among the maxima lose their sign. */
V_INLINE void finish_pool(const float *x, int64_t n, int64_t channels, int64_t stride, const float *scale, float *mean,
                          float *max) {
    int nans = 0;
    for (int64_t i = 0; i < n; i++) {
        nans |= mean[i] != mean[i];
        max[i] += 0.0f;
    }
    if (nans)
        keep_nans(x, n, channels, stride, scale, mean, max);
    for (int64_t i = 0; i < n; i += VL)
        v_store_part(mean + i, n - i, v_div(v_load_part(mean + i, n - i), v_set((float)channels)));
}

V_INLINE void pool_strip(const float *x, int64_t n, int64_t channels, int64_t stride, const float *scale, float *mean,
                         float *max) {
    float sum[STRIP];
    fill_strip(max, n, -__builtin_inff());
    for (int64_t c0 = 0; c0 < channels; c0 += ATL_BLOCK) {
        int64_t end = channels - c0 < ATL_BLOCK ? channels : c0 + ATL_BLOCK, c = c0;
        fill_strip(sum, n, 0.0f);
        for (; c + CHANNELS <= end; c += CHANNELS)
            pool_whole(x + c * stride, n, stride, scale ? scale + c : 0, sum, max);
        for (; c < end; c++)
            pool_channels(1, x + c * stride, n, stride, scale ? scale + c : 0, sum, max);
        add_block(sum, n, c0 == 0, mean);
    }
    finish_pool(x, n, channels, stride, scale, mean, max);
}

void KERNEL(channel_pool)(const float *x, int64_t n, int64_t channels, int64_t stride, const float *scale, float *mean,
                          float *max) {
    for (int64_t i = 0; i < n; i += STRIP) {
        int64_t count = n - i < STRIP ? n - i : STRIP;
        if (scale)
            pool_strip(x + i, count, channels, stride, scale, mean + i, max + i);
        else
            pool_strip(x + i, count, channels, stride, 0, mean + i, max + i);
    }
}

/* ---- convolution of two planes, sigmoid ---- */

/* `vectors` vectors of pixels side by side (one would wait for its own additions), of which n pixels exist, some of each. */
V_INLINE void conv_pixels(int vectors, const float *planes, int64_t row, int64_t plane, int64_t k, const float *w,
                          const float *bias, int64_t n, float *factor) {
    enum { VECTORS = 4 };
    vf acc[VECTORS];
    UNROLL
    for (int v = 0; v < vectors; v++)
        acc[v] = v_zero();
    for (int64_t r = 0; r < 2 * k; r++) {
        const float *from = planes + r / k * plane + r % k * row;
        for (int64_t c = 0; c < k; c++) {
            vf tap = v_set(w[r * k + c]);
            UNROLL
            for (int v = 0; v < vectors; v++)
                acc[v] = v_fma(tap, v_load_part(from + c + v * VL, n - v * VL), acc[v]);
        }
    }
    UNROLL
    for (int v = 0; v < vectors; v++) {
        if (bias)
            acc[v] = v_add(acc[v], v_set(*bias));
        v_store_part(factor + v * VL, n - v * VL, v_sigmoid(acc[v]));
    }
}

void KERNEL(conv_gate)(const float *planes, int64_t row, int64_t plane, int64_t k, const float *w, const float *bias,
                       int64_t n, float *factor) {
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        conv_pixels(4, planes + i, row, plane, k, w, bias, 4 * VL, factor + i);
    planes += i;
    factor += i;
    n -= i;
    if (n > 3 * VL)
        conv_pixels(4, planes, row, plane, k, w, bias, n, factor);
    else if (n > 2 * VL)
        conv_pixels(3, planes, row, plane, k, w, bias, n, factor);
    else if (n > VL)
        conv_pixels(2, planes, row, plane, k, w, bias, n, factor);
    else if (n > 0)
        conv_pixels(1, planes, row, plane, k, w, bias, n, factor);
}

/* ---- scaling of pixels ---- */

V_INLINE void scale_part(const float *x, float *y, const float *factor, int64_t n) {
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        UNROLL
        for (int v = 0; v < 4; v++)
            v_store(y + i + v * VL, v_mul(v_load(x + i + v * VL), v_load(factor + i + v * VL)));
    }
    for (; i < n; i += VL)
        v_store_part(y + i, n - i, v_mul(v_load_part(x + i, n - i), v_load_part(factor + i, n - i)));
}

/* Elements [from, end), whole lines. */
V_INLINE void stream_part(const float *x, float *y, const float *factor, int64_t from, int64_t end) {
    for (int64_t i = from; i < end; i += LINE) {
        fetch_last(x + i);
        UNROLL
        for (int v = 0; v < LINE / VL; v++)
            v_stream(y + i + v * VL, v_mul(v_load(x + i + v * VL), v_load(factor + i + v * VL)));
    }
}

V_INLINE void stream_channel(const float *x, float *y, const float *factor, int64_t n) {
    int64_t head = ragged_head(y, n), tail = before_tail(head, n);
    scale_part(x, y, factor, head);
    stream_part(x, y, factor, head, tail);
    scale_part(x + tail, y + tail, factor + tail, n - tail);
}

/* Channels that are pooled side by side: sums and maxima are loaded and stored less often. */
enum { TOGETHER = 4 };

/* Memory likes one run of reads and one of writes, each in order, whatever is pooled side by side. So pixels ahead are fetched
 * before the channels pooled now, and scaling has a place of its own as well. */
typedef struct progress {
    int64_t fetched, fetched_at;     /* channels, and pixels of the one after them */
    int64_t scaled, scaled_at, tail; /* likewise; where the whole lines of that channel end */
} progress;

V_INLINE void fetch_turn(const atl_scale_pixels_args *a, progress *p) {
    if (p->fetched == a->channels)
        return;
    const float *x = a->ahead + p->fetched * a->x_stride + p->fetched_at;
    UNROLL
    for (int l = 0; l < TURN; l++)
        __builtin_prefetch(x + l * LINE, 0, 3);
    p->fetched_at += TURN * LINE;
    if (p->fetched_at >= a->ahead_n) {
        p->fetched++;
        p->fetched_at = 0;
    }
}

/* The ragged head of the next channel to be scaled, if there is one. */
V_INLINE void begin_channel(const atl_scale_pixels_args *a, progress *p) {
    if (p->scaled == a->channels)
        return;
    float *y = a->y + p->scaled * a->y_stride;
    p->scaled_at = ragged_head(y, a->n);
    p->tail = before_tail(p->scaled_at, a->n);
    scale_part(a->x + p->scaled * a->x_stride, y, a->factor, p->scaled_at);
}

/* TURN lines more, or what the channel has left. */
V_INLINE void scale_turn(const atl_scale_pixels_args *a, progress *p) {
    if (p->scaled == a->channels)
        return;
    const float *x = a->x + p->scaled * a->x_stride;
    float *y = a->y + p->scaled * a->y_stride;
    if (p->scaled_at + TURN * LINE <= p->tail) {
        stream_part(x, y, a->factor, p->scaled_at, p->scaled_at + TURN * LINE);
        p->scaled_at += TURN * LINE;
        return;
    }
    stream_part(x, y, a->factor, p->scaled_at, p->tail);
    scale_part(x + p->tail, y + p->tail, a->factor + p->tail, a->n - p->tail);
    p->scaled++;
    begin_channel(a, p);
}

V_INLINE void pool_streaming(int channels, const atl_scale_pixels_args *a, int64_t c, progress *p) {
    const float *ahead = a->ahead + c * a->x_stride;
    for (int64_t i = 0; i < a->ahead_n; i += TURN * LINE) {
        if (i + TURN * LINE <= a->ahead_n)
            pool_vectors(channels, TURN * LINE / VL, ahead + i, a->x_stride, 0, a->sum + i, a->max + i);
        else
            pool_channels(channels, ahead + i, a->ahead_n - i, a->x_stride, 0, a->sum + i, a->max + i);
        for (int u = 0; u < channels; u++) {
            fetch_turn(a, p);
            scale_turn(a, p);
        }
    }
}

static void stream_all_pooling(const atl_scale_pixels_args *a) {
    progress p = {0};
    while (p.fetched < TOGETHER && p.fetched < a->channels)
        fetch_turn(a, &p);
    begin_channel(a, &p);
    fill_strip(a->max, a->ahead_n, -__builtin_inff());
    for (int64_t c0 = 0; c0 < a->channels; c0 += ATL_BLOCK) {
        int64_t end = a->channels - c0 < ATL_BLOCK ? a->channels : c0 + ATL_BLOCK, c = c0;
        fill_strip(a->sum, a->ahead_n, 0.0f);
        for (; c + TOGETHER <= end; c += TOGETHER)
            pool_streaming(TOGETHER, a, c, &p);
        for (; c < end; c++)
            pool_streaming(1, a, c, &p);
        add_block(a->sum, a->ahead_n, c0 == 0, a->mean);
    }
    while (p.scaled < a->channels)
        scale_turn(a, &p);
    finish_pool(a->ahead, a->ahead_n, a->channels, a->x_stride, 0, a->mean, a->max);
}

static void scale_all(const atl_scale_pixels_args *a) {
    for (int64_t c = 0; c < a->channels; c++) {
        const float *x = a->x + c * a->x_stride;
        float *y = a->y + c * a->y_stride;
        if (a->stream)
            stream_channel(x, y, a->factor, a->n);
        else
            scale_part(x, y, a->factor, a->n);
    }
}

void KERNEL(scale_pixels)(const atl_scale_pixels_args *a) {
    if (a->stream && a->ahead) {
        stream_all_pooling(a);
    } else {
        if (a->ahead)
            KERNEL(channel_pool)(a->ahead, a->ahead_n, a->channels, a->x_stride, 0, a->mean, a->max);
        scale_all(a);
    }
    if (a->stream)
        v_stream_end();
}

/* ---- the end of a residual block ---- */

V_INLINE vf gate_add_relu(vf x, vf scale, vf factor, vf y) {
    return v_max_keep(v_add(v_mul(v_mul(x, scale), factor), y), v_zero());
}

void KERNEL(gate_add_relu)(const float *x, int64_t n, int64_t channels, int64_t x_stride, const float *scale,
                           const float *factor, float *y, int64_t y_stride) {
    for (int64_t c = 0; c < channels; c++, x += x_stride, y += y_stride) {
        vf s = v_set(scale[c]);
        int64_t i = 0;
        for (; i + VL <= n; i += VL)
            v_store(y + i, gate_add_relu(v_load(x + i), s, v_load(factor + i), v_load(y + i)));
        if (i < n)
            v_store_part(
                y + i, n - i,
                gate_add_relu(v_load_part(x + i, n - i), s, v_load_part(factor + i, n - i), v_load_part(y + i, n - i)));
    }
}
