/* SPDX-License-Identifier: Apache-2.0 */
/* Checkers of the slots with register tiles. Variants differ in tile shape: both work on the same dense matrices, each
 * packed its own way, and results are compared element by element. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernel_arrays.h"

enum { MAX_LANES = 192 }; /* more than twice the widest tile */

static int64_t ceil_to(int64_t n, int64_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

/* [m][k] to [ceil(m/mr)][k][mr]. */
static void pack_rows(const float *dense, int64_t m, int64_t k, int64_t mr, float *packed) {
    memset(packed, 0, (size_t)(ceil_to(m, mr) * k) * sizeof *packed);
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            packed[(i / mr * k + l) * mr + i % mr] = dense[i * k + l];
}

/* Lanes [from, from + nr) of [k][lanes] to [k][nr]. */
static void pack_lanes(const float *dense, int64_t lanes, int64_t from, int64_t k, int64_t nr, float *packed) {
    for (int64_t l = 0; l < k; l++)
        memcpy(packed + l * nr, dense + l * lanes + from, (size_t)nr * sizeof *packed);
}

/* Every size, or a handful of them. */
static int64_t next_size(const check *c, int64_t n) {
    return c->thorough ? n + 1 : n + 1 + n;
}

/* ---- gemm ---- */

typedef struct gemm_case {
    int64_t m, k, lanes;
    int columns; /* a's rows lie as positions of a panel do */
    int spans;   /* lanes go where they belong by way of the sums */
    const float *a, *b, *row_bias, *row_scale, *row_shift, *lane_bias;
    float *residual; /* [m][lanes], or NULL */
} gemm_case;

/* The whole product [m][lanes] by one variant; the tile's own matrices lie in rooms 2 to 4. */
static void gemm_with(check *c, const atl_kernel_entry *entry, atl_gemm_fn *fn, const gemm_case *g, float *out) {
    int64_t nr = entry->nr, mr = entry->mr, sums_row = nr + 3;
    float *a = array(c, 2, g->columns ? g->m * g->k : ceil_to(g->m, mr) * g->k), *b = array(c, 3, g->k * nr);
    float *sums = array(c, 4, (g->m - 1) * sums_row + nr);
    atl_gemm call = {.m = g->m,
                     .k = g->k,
                     .a = a,
                     .b = b,
                     .b_row = nr,
                     .row_bias = g->row_bias,
                     .row_scale = g->row_scale,
                     .row_shift = g->row_shift,
                     .sums = sums,
                     .sums_row = sums_row,
                     .y_row = g->lanes,
                     .residual_row = g->lanes};
    call.a_tile = g->columns ? mr : mr * g->k;
    call.a_step = g->columns ? g->m : mr;
    for (int64_t i = 0; i < g->m && g->columns; i++)
        for (int64_t l = 0; l < g->k; l++)
            a[l * g->m + i] = g->a[i * g->k + l];
    if (!g->columns)
        pack_rows(g->a, g->m, g->k, mr, a);
    for (int64_t p = 0; p < g->lanes; p += nr) {
        call.n = g->lanes - p < nr ? g->lanes - p : nr;
        memset(b, 0, (size_t)(g->k * nr) * sizeof *b);
        for (int64_t l = 0; l < g->k; l++)
            memcpy(b + l * nr, g->b + l * g->lanes + p, (size_t)call.n * sizeof *b);
        call.lane_bias = g->lane_bias ? g->lane_bias + p : NULL;
        call.residual = g->residual ? g->residual + p : NULL;
        call.y = out + p;
        call.stream = g->lanes % 16 == 0 && (uintptr_t)out % 64 == 0;
        const atl_gemm_span spans[] = {{out + p, 0, call.n / 3},
                                       {out + p + call.n / 3, call.n / 3, call.n - call.n / 3}};
        if (g->spans) {
            call.y = sums;
            call.y_row = sums_row;
            call.stream = 0;
            call.spans = spans;
            call.span_count = 2;
            call.spans_row = g->lanes;
        }
        fn(&call);
    }
}

void check_gemm(check *c, atl_gemm_fn *kernel, atl_gemm_fn *reference) {
    for (int64_t size = 1; size <= 257; size = next_size(c, size)) {
        gemm_case g = {.m = pick(c, 1, 40), .k = size, .lanes = pick(c, 1, 70), .columns = size % 4 == 1};
        if (size % 3 == 0) {
            g.m = size;
            g.k = pick(c, 1, 40);
        }
        if (size % 2)
            g.lanes = ceil_to(g.lanes, 16);
        float *a = array(c, 0, g.m * g.k), *b = array(c, 1, g.k * g.lanes), *bias = array(c, 5, g.m + g.lanes);
        float *out = array(c, 6, g.m * g.lanes), *want = array(c, 7, g.m * g.lanes);
        fill_plain(c, a, g.m * g.k, 1.0f);
        size % 5 ? fill_plain(c, b, g.k * g.lanes, 1.0f) : fill_special(c, b, g.k * g.lanes);
        fill_plain(c, bias, g.m + g.lanes, 1.0f);
        g.a = a, g.b = b;
        g.row_bias = size % 2 ? bias : NULL;
        g.row_scale = size % 6 < 2 ? a : NULL;
        g.row_shift = g.row_scale ? bias : NULL;
        g.lane_bias = size % 4 / 2 ? bias + g.m : NULL;
        if (size % 7 < 3) { /* the output is its own residual */
            fill_plain(c, out, g.m * g.lanes, 1.0f);
            memcpy(want, out, (size_t)(g.m * g.lanes) * sizeof *out);
            g.residual = out;
        }
        g.spans = size % 9 < 4;
        gemm_with(c, c->entry, kernel, &g, out);
        g.residual = g.residual ? want : NULL;
        gemm_with(c, c->scalar, reference, &g, want);
        verdict(c, same_bits(c, out, want, g.m * g.lanes), "m %lld k %lld n %lld", (long long)g.m, (long long)g.k,
                (long long)g.lanes);
    }
}

/* ---- attend ---- */

enum { BLOCKS = 3 };

typedef struct attend_case {
    int64_t d, c, lanes, used, keys[BLOCKS]; /* `used` of the lanes are compared */
    float *q, *k, *v;                        /* [d][lanes], [BLOCKS][d][ATL_PANEL_ROW], [BLOCKS][c][ATL_PANEL_ROW] */
    int by_key;                              /* keys and values lie in rows of keys */
    float *bias;                             /* of the first block, [keys][lanes], or NULL */
    int64_t bias_from;
    int plain; /* the bias excludes nothing, and is known to */
    int careful;
    int fresh; /* outputs are no numbers before the first block */
} attend_case;

static int64_t attend_floats(const attend_case *t) {
    return (t->c + 2 + t->keys[0]) * t->lanes;
}

/* Rows of a panel as rows of keys, `row` floats apart, of which no more than may be read exist. */
static const float *by_key(check *c, int index, const float *panel, int64_t rows, int64_t keys, int64_t row) {
    float *to = array(c, index, (keys - 1) * row + rows);
    for (int64_t j = 0; j < keys; j++)
        for (int64_t r = 0; r < rows; r++)
            to[j * row + r] = panel[r * ATL_PANEL_ROW + j];
    return to;
}

/* Block `block` for one panel of queries, of which `args` has the rest. */
static void attend_block_with(check *c, const attend_case *t, int64_t block, int64_t p, int64_t nr, atl_attend_fn *fn,
                              atl_attend_args *args) {
    args->k = t->k + block * t->d * ATL_PANEL_ROW;
    args->v = t->v + block * t->c * ATL_PANEL_ROW;
    args->keys = t->keys[block];
    if (t->by_key) {
        args->k_row = t->d + 3;
        args->v_row = t->c;
        args->k = by_key(c, 11, args->k, t->d, args->keys, args->k_row);
        args->v = by_key(c, 12, args->v, t->c, args->keys, args->v_row);
    }
    args->bias = NULL;
    args->careful = t->careful;
    args->bias_excludes = !t->plain;
    args->fresh = t->fresh && block == 0;
    if (t->bias && block == 0) { /* only rows that may be read exist */
        float *bias = array(c, 9, (t->keys[0] - t->bias_from) * nr);
        pack_lanes(t->bias + t->bias_from * t->lanes, t->lanes, p, t->keys[0] - t->bias_from, nr, bias);
        args->bias = bias - t->bias_from * nr;
        args->bias_from = t->bias_from;
    }
    fn(args);
}

/* All blocks by one variant; out is [c + 2 + keys][lanes]: outputs, max, sum, scores of the first block; zero in lanes that are not
 * used. */
static void attend_with(check *c, const atl_kernel_entry *entry, atl_attend_fn *fn, const attend_case *t, float *out) {
    int64_t nr = entry->nr;
    float *q = array(c, 3, t->d * nr), *scores = array(c, 4, ATL_BLOCK * nr), *o = array(c, 5, t->c * nr);
    float *weights = t->keys[0] % 2 ? scores : array(c, 10, ATL_BLOCK * nr);
    float max[MAX_LANES], sum[MAX_LANES];
    atl_attend_args args = {.q = q, .d = t->d, .c = t->c, .state = {max, sum, o}, .scores = scores, .weights = weights};
    memset(out, 0, (size_t)attend_floats(t) * sizeof *out);
    for (int64_t p = 0; p < t->used; p += nr) {
        size_t bytes = (size_t)(t->used - p < nr ? t->used - p : nr) * sizeof *out;
        args.lanes = (int64_t)(bytes / sizeof *out);
        pack_lanes(t->q, t->lanes, p, t->d, nr, q);
        for (int64_t i = 0; i < t->c * nr; i++)
            o[i] = t->fresh ? NAN : 0.0f;
        for (int64_t i = 0; i < nr; i++)
            max[i] = -1e30f, sum[i] = 0.0f;
        for (int64_t block = 0; block < BLOCKS; block++) {
            attend_block_with(c, t, block, p, nr, fn, &args);
            for (int64_t j = 0; j < t->keys[0] && block == 0; j++)
                memcpy(out + (t->c + 2 + j) * t->lanes + p, scores + j * nr, bytes);
        }
        for (int64_t r = 0; r < t->c; r++)
            memcpy(out + r * t->lanes + p, o + r * nr, bytes);
        memcpy(out + t->c * t->lanes + p, max, bytes);
        memcpy(out + (t->c + 1) * t->lanes + p, sum, bytes);
    }
}

/* Ordinary, excluding, and such that score 0 is meant. */
static void random_bias(check *c, float *bias, int64_t count) {
    fill_plain(c, bias, count, 5.0f);
    for (int64_t i = 0; i < count; i++) {
        int64_t kind = pick(c, 0, 5);
        bias[i] = kind < 2 ? -INFINITY : kind == 2 ? INFINITY : kind == 3 ? 0.0f : bias[i];
    }
}

/* Sums of values that underflow to -0: the weight of the first key alone is 1, and its value is 0. */
static void fill_underflow(const attend_case *t, float *q, float *k, float *v) {
    for (int64_t i = 0; i < t->d * t->lanes; i++)
        q[i] = 1.0f;
    memset(k, 0, (size_t)(BLOCKS * t->d * ATL_PANEL_ROW) * sizeof *k);
    for (int64_t i = 0; i < BLOCKS * t->c * ATL_PANEL_ROW; i++)
        v[i] = i % ATL_PANEL_ROW == 0 && i < t->c * ATL_PANEL_ROW ? 0.0f : -FLT_TRUE_MIN;
    k[0] = 8.0f;
}

enum { PLAIN, SPECIAL, UNDERFLOW };

static void attend_case_run(check *c, atl_attend_fn *kernel, atl_attend_fn *reference, int64_t d, int64_t channels,
                            int64_t keys, int special) {
    attend_case t = {.d = d, .c = channels, .lanes = c->entry->nr, .keys = {keys, pick(c, 1, ATL_BLOCK), 1}};
    if (d * channels > 4000) /* keep emulated fma affordable */
        t.keys[1] = 3;
    t.used = pick(c, 1, t.lanes);
    int64_t floats = attend_floats(&t);
    t.q = array(c, 0, d * t.lanes);
    t.k = array(c, 1, BLOCKS * d * ATL_PANEL_ROW);
    t.v = array(c, 2, BLOCKS * channels * ATL_PANEL_ROW);
    float *out = array(c, 6, floats), *want = array(c, 7, floats);
    t.bias = keys % 3 == 1 ? array(c, 8, keys * t.lanes) : NULL;
    t.plain = keys % 9 == 1;
    t.careful = t.bias && !t.plain && keys % 2 == 0;
    if (t.bias) {
        t.plain ? fill_plain(c, t.bias, keys * t.lanes, 5.0f) : random_bias(c, t.bias, keys * t.lanes);
        t.bias_from = pick(c, 0, 2) ? pick(c, 0, keys - 1) : 0;
    }
    fill_plain(c, t.q, d * t.lanes, (float)pick(c, 1, 20));
    fill_plain(c, t.k, BLOCKS * d * ATL_PANEL_ROW, 3.0f);
    special == SPECIAL ? fill_special(c, t.v, BLOCKS * channels * ATL_PANEL_ROW)
                       : fill_plain(c, t.v, BLOCKS * channels * ATL_PANEL_ROW, 1.0f);
    if (special == SPECIAL)
        fill_special(c, t.q, d * t.lanes);
    if (special == UNDERFLOW)
        fill_underflow(&t, t.q, t.k, t.v);
    t.by_key = keys % 4 < 2;
    t.fresh = !t.careful && keys % 5 < 3;
    attend_with(c, c->entry, kernel, &t, out);
    t.by_key = keys % 4 == 2;
    t.fresh = 0;
    attend_with(c, c->scalar, reference, &t, want);
    /* where the weights are NaN the maximum is unspecified: compare it only in clean lanes */
    for (int64_t i = 0; i < t.lanes; i++)
        if (want[(channels + 1) * t.lanes + i] != want[(channels + 1) * t.lanes + i])
            out[channels * t.lanes + i] = want[channels * t.lanes + i];
    verdict(c, same_bits(c, out, want, floats), "d %lld c %lld keys %lld special %d", (long long)d, (long long)channels,
            (long long)keys, special);
}

void check_attend(check *c, atl_attend_fn *kernel, atl_attend_fn *reference) {
    /* two picks in one call would come in an order that compilers choose */
    for (int64_t keys = 1; keys <= ATL_BLOCK; keys = next_size(c, keys)) {
        int64_t d = pick(c, 1, 9), channels = pick(c, 1, 20);
        attend_case_run(c, kernel, reference, d, channels, keys, keys % 2 == 0 ? SPECIAL : PLAIN);
    }
    attend_case_run(c, kernel, reference, 2, 20, 17, UNDERFLOW);
    for (int64_t d = 1; d <= 264; d = next_size(c, d)) {
        int64_t channels = pick(c, 1, 5), keys = pick(c, 1, 30);
        attend_case_run(c, kernel, reference, d, channels, keys, PLAIN);
    }
    for (int64_t channels = 1; channels <= 257; channels = next_size(c, channels)) {
        int64_t d = pick(c, 1, 5), keys = pick(c, 1, 30);
        attend_case_run(c, kernel, reference, d, channels, keys, PLAIN);
    }
}

/* ---- merge ---- */

static void random_state(check *c, float *state, int64_t nr, int64_t channels) {
    fill_plain(c, state, (channels + 2) * nr, 20.0f);
    for (int64_t i = 0; i < nr; i++) {
        float *max = state + channels * nr + i, *sum = state + (channels + 1) * nr + i;
        *sum = *sum < 0 ? -*sum : *sum;
        if (pick(c, 0, 7) == 0) { /* a chunk that saw nothing above the floor */
            *max = -1e30f;
            *sum = 0.0f;
        }
    }
}

static atl_attend_state state_of(float *state, int64_t nr, int64_t channels) {
    return (atl_attend_state){state + channels * nr, state + (channels + 1) * nr, state};
}

void check_merge(check *c, atl_merge_fn *kernel, atl_merge_fn *reference) {
    for (int64_t channels = 1; channels <= 257; channels = next_size(c, channels)) {
        int64_t nr = 32 * pick(c, 1, 3), floats = (channels + 2) * nr; /* a multiple of every variant's lanes */
        float *into = array(c, 0, floats), *from = array(c, 1, floats), *want = array(c, 2, floats);
        random_state(c, into, nr, channels);
        random_state(c, from, nr, channels);
        memcpy(want, into, (size_t)floats * sizeof *want);
        kernel(nr, channels, state_of(into, nr, channels), state_of(from, nr, channels));
        reference(nr, channels, state_of(want, nr, channels), state_of(from, nr, channels));
        verdict(c, same_bits(c, into, want, floats), "c %lld nr %lld", (long long)channels, (long long)nr);
    }
}

/* ---- finish ---- */

void check_finish(check *c, atl_finish_fn *kernel, atl_finish_fn *reference) {
    for (int64_t channels = 1; channels <= 257; channels = next_size(c, channels)) {
        int64_t nr = 32, n = pick(c, 1, nr), stride = n + pick(c, 0, 5);
        if (channels % 2) {
            n = nr;
            stride = pick(c, 2, 3) * 16;
        }
        int64_t floats = (channels - 1) * stride + n;
        float *state = array(c, 0, (channels + 2) * nr), *x = array(c, 1, floats), *y = array(c, 2, floats);
        float *want = array(c, 3, floats), *rows = array(c, 4, 3 * channels);
        const atl_affine affines[] = {
            {0}, {rows, NULL, NULL}, {NULL, rows, rows + channels}, {rows, rows + channels, rows + 2 * channels}};
        const atl_affine *affine = &affines[channels % 4];
        random_state(c, state, nr, channels);
        fill_special(c, x, floats);
        fill_plain(c, rows, 3 * channels, 2.0f);
        memset(y, 0, (size_t)floats * sizeof *y);
        memset(want, 0, (size_t)floats * sizeof *y);
        int stream = channels % 2 && (uintptr_t)y % 64 == 0;
        kernel(nr, channels, n, 0.7f, affine, state_of(state, nr, channels), x, stride, y, stride, stream);
        reference(nr, channels, n, 0.7f, affine, state_of(state, nr, channels), x, stride, want, stride, 0);
        verdict(c, same_bits(c, y, want, floats), "c %lld n %lld", (long long)channels, (long long)n);
        kernel(nr, channels, n, 0.7f, affine, state_of(state, nr, channels), x, stride, x, stride, 0);
        for (int64_t r = 0; r < channels; r++)
            verdict(c, same_bits(c, x + r * stride, want + r * stride, n), "c %lld n %lld in place",
                    (long long)channels, (long long)n);
        kernel(nr, channels, n, 0.0f, NULL, state_of(state, nr, channels), NULL, 0, y, stride, 0);
        reference(nr, channels, n, 0.0f, NULL, state_of(state, nr, channels), NULL, 0, want, stride, 0);
        verdict(c, same_bits(c, y, want, floats), "c %lld n %lld without x", (long long)channels, (long long)n);
        kernel(nr, channels, n, 0.0f, NULL, state_of(state, nr, channels), NULL, 0, state, nr, 0);
        for (int64_t r = 0; r < channels; r++)
            verdict(c, same_bits(c, state + r * nr, want + r * stride, n), "c %lld n %lld where the state was",
                    (long long)channels, (long long)n);
    }
}

/* ---- map ---- */

static void map_with(check *c, const atl_kernel_entry *entry, atl_map_fn *fn, const float *dense, int64_t d,
                     int64_t rows, int64_t keys, const float *k, const float *statistics, const float *bias, float *map,
                     int64_t stride, int stream) {
    float *q = array(c, 2, ceil_to(rows, entry->mr) * d);
    pack_rows(dense, rows, d, entry->mr, q);
    fn(q, k, d, rows, keys, statistics, statistics + rows, bias, map, stride, stream);
}

/* The largest score of a query as attention would have found it: the specified sums, NaN passed over. */
static float top_score(const float *q, const float *k, int64_t d, int64_t keys) {
    float top = -1e30f;
    for (int64_t j = 0; j < keys; j++) {
        float total = 0.0f;
        for (int64_t d0 = 0; d0 < d; d0 += ATL_BLOCK) {
            float s = 0.0f;
            for (int64_t l = d0; l < d && l < d0 + ATL_BLOCK; l++)
                s = fmaf(q[l], k[l * ATL_PANEL_ROW + j], s);
            total = d0 ? total + s : s;
        }
        top = total > top ? total : top;
    }
    return top;
}

void check_map(check *c, atl_map_fn *kernel, atl_map_fn *reference) {
    for (int64_t keys = 1; keys <= ATL_BLOCK; keys = next_size(c, keys)) {
        int64_t d = keys % 8 ? pick(c, 1, 12) : pick(c, 250, 300), rows = pick(c, 1, 30),
                stride = keys + pick(c, 0, 3) * (keys % 16 ? 1 : 16);
        int stream = keys % 16 == 0 && stride % 16 == 0 && c->side == GUARD_BEFORE; /* then map is aligned as well */
        int64_t floats = (rows - 1) * stride + keys;
        float *dense = array(c, 0, rows * d), *k = array(c, 1, d * ATL_PANEL_ROW), *statistics = array(c, 3, 2 * rows);
        float *map = array(c, 4, floats), *want = array(c, 5, floats);
        fill_plain(c, dense, rows * d, 2.0f);
        keys % 3 ? fill_plain(c, k, d * ATL_PANEL_ROW, 2.0f) : fill_special(c, k, d * ATL_PANEL_ROW);
        for (int64_t r = 0; r < rows; r++) {
            statistics[r] = top_score(dense + r * d, k, d, keys);
            statistics[rows + r] = 1.0f / (float)pick(c, 1, 60);
        }
        float *bias = keys % 4 == 1 ? array(c, 6, (rows - 1) * ATL_BLOCK + keys) : NULL;
        if (bias) {
            random_bias(c, bias, (rows - 1) * ATL_BLOCK + keys);
            for (int64_t r = 0; r < rows; r++)
                statistics[r] = (statistics[r] > 0.0f ? statistics[r] : 0.0f) + 60.0f; /* more than any bias */
        }
        memset(map, 0, (size_t)floats * sizeof *map);
        memset(want, 0, (size_t)floats * sizeof *map);
        map_with(c, c->entry, kernel, dense, d, rows, keys, k, statistics, bias, map, stride, stream);
        map_with(c, c->scalar, reference, dense, d, rows, keys, k, statistics, bias, want, stride, 0);
        verdict(c, same_bits(c, map, want, floats), "d %lld rows %lld keys %lld", (long long)d, (long long)rows,
                (long long)keys);
    }
}
