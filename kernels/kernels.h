/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels: single-threaded leaf functions. No allocation, no status, no globals, no feature tests. Every
 * variant of a slot gives the same bits (up to the sign and payload of NaNs).
 *
 * A kernel's type is declared here once; kernels.def lists the variants; select.c fills a table from it.
 */
#ifndef ATL_KERNELS_H
#define ATL_KERNELS_H

#include <stdint.h>

/* ---- frozen numerics: changing one of these changes bits ---- */

/* Sums over K and over keys run in blocks of this many terms, each from zero and in order; block results are added
 * in order. Also the width of a panel of positions. */
#define ATL_BLOCK 256
/* Horizontal sums: this many lanes, restarted after ATL_SUM_RESTART elements; lanes are added pairwise (i with
 * i + 8, then + 4, + 2, + 1), restarts in order. */
#define ATL_SUM_LANES   16
#define ATL_SUM_RESTART 1024
/* Maxima of rows, columns and windows: NaN where there is one, +0 for a zero of either sign. No order matters. */

/* Positions come in panels [block][row][ATL_PANEL_ROW], of which ATL_BLOCK are positions: row `r` of position `i` of a
 * panel with R rows is element (i / ATL_BLOCK * R + r) * ATL_PANEL_ROW + i % ATL_BLOCK. A row is a cache line longer than
 * a power of two, so that a column of many rows spreads over all sets of a cache. */
#define ATL_PANEL_ROW (ATL_BLOCK + 16)

/* ---- kernel types ---- */

/* out[r] = sum of x[r*stride + i] for i < n, by the horizontal tree; out[r] for r < rows. */
typedef void atl_sum_fn(const float *x, int64_t n, int64_t rows, int64_t stride, float *out);

/* The same sums, and maxima[r] = the largest of the row: NaN when one of its elements is, +0 when it is a zero of either
 * sign, so that it depends on no order. */
typedef void atl_sum_max_fn(const float *x, int64_t n, int64_t rows, int64_t stride, float *sums, float *maxima);

/* y[r*y_stride + i] = scale[r] * x[r*x_stride + i] for i < n, r < rows. y == x is allowed. `stream`
 * writes past the caches. With `ahead` (may be NULL), rows like those of x are reduced meanwhile: sums[r] of
 * ahead[r*x_stride + i] as atl_sum_fn does and, unless NULL, maxima[r] as atl_sum_max_fn does, so that memory is read and
 * written at the same time. */
typedef void atl_scale_fn(const float *x, float *y, int64_t n, int64_t rows, int64_t x_stride, int64_t y_stride,
                          const float *scale, int stream, const float *ahead, float *sums, float *maxima);

/* Fully connected: out[j] = sum over i < k of w[j][i]*x[i] + bias[j], j < m; bias may be NULL (no addition). `w` is
 * packed [ceil(m/16)][k][16], zero filled. The same for `vectors` vectors, x_step and out_step apart, which share a read of
 * the weights. */
typedef void atl_fc_fn(const float *x, int64_t vectors, int64_t x_step, int64_t k, const float *w, const float *bias,
                       int64_t m, float *out, int64_t out_step);

/* y[i] = f(x[i]) for i < n; y == x is allowed. */
typedef enum atl_unary {
    ATL_UNARY_RELU,         /* max(x, 0), NaN kept */
    ATL_UNARY_SILU,         /* x * sigmoid(x) */
    ATL_UNARY_SIGMOID,      /* 1 / (1 + exp(-x)) */
    ATL_UNARY_HARD_SIGMOID, /* clamp(alpha*x + 1/2, 0, 1), NaN kept */
    ATL_UNARY_EXP,          /* exp(x), 0 where the result is below 2^-126 */
    ATL_UNARY_COUNT
} atl_unary;
typedef void atl_unary_fn(const float *x, float *y, int64_t n, atl_unary f, float alpha);

/* Lanes [lane, lane + n) of the rows of a product: those of row i go to y + i*spans_row. */
typedef struct atl_gemm_span {
    float *y;
    int64_t lane, n;
} atl_gemm_span;

/* A matrix product into one lane panel: with s[i][j] = sum over l < k of a[i][l]*b[l][j],
 * y[i*y_row + j] = (s[i][j] + row_bias[i]) * row_scale[i] + row_shift[i] + lane_bias[j] + residual[i*residual_row + j] for i < m,
 * j < n <= nr, in this order, scale and shift in one rounding; what is NULL is left out, scale and shift together. Element
 * (i, l) of a is a[i / mr * a_tile + l * a_step + i % mr]: packed [ceil(m/mr)][k][mr], or the columns of a panel. b has nr
 * readable lanes in each row. residual may be y. */
typedef struct atl_gemm {
    int64_t m, n, k;
    const float *a;
    int64_t a_tile, a_step;
    const float *b;
    int64_t b_row;
    const float *row_bias, *row_scale, *row_shift, *lane_bias, *residual;
    int64_t residual_row;
    float *y;
    int64_t y_row;
    float *sums; /* for k > ATL_BLOCK: m rows of nr lanes between blocks; y itself where it has room for nr lanes and is
                    not the residual */
    int64_t sums_row;
    int stream; /* writes whole panels past the caches: y and y_row are then multiples of a cache line */
    const atl_gemm_span *spans; /* where some lanes of y are copied to as well, tile by tile */
    int64_t span_count, spans_row;
} atl_gemm;
typedef void atl_gemm_fn(const atl_gemm *g);

/* The running state of nr queries over the keys seen so far. */
typedef struct atl_attend_state {
    float *max; /* [nr] largest score, or the floor it starts from */
    float *sum; /* [nr] sum of the weights 2^(score - max) */
    float *out; /* [c][nr] weighted sum of values */
} atl_attend_state;

/* Adds up to ATL_BLOCK keys to the state of nr queries: scores s = K^T q, weights 2^(s - max), out = V weights. q is
 * [d][nr], times log2(e) and the scale of the logits; k and v are rows of a panel, [d][ATL_PANEL_ROW] and
 * [c][ATL_PANEL_ROW], or rows of keys, [keys][k_row] and [keys][v_row]. Scores and weights are left behind, [keys][nr] each.
 * `bias` [keys][nr], unless NULL, is added to the scores of keys from bias_from on; earlier rows of it are not read. Where it
 * is -inf, the key is excluded for that query, whatever it holds: weight 0. Where it is +inf, the score is 0, whatever the
 * key holds. With `careful` the values of excluded keys may be anything and change nothing; without it they are finite. */
typedef struct atl_attend_args {
    const float *q, *k, *v;
    int64_t d, c, keys;
    int64_t lanes;        /* queries that exist: the first of nr; what is computed of the others means nothing */
    int64_t k_row, v_row; /* both 0 for rows of a panel */
    atl_attend_state state;
    float *scores, *weights; /* may be the same */
    const float *bias;
    int64_t bias_from;
    int bias_excludes; /* 0 promises that all of it is finite */
    int careful;       /* the excluded are marked in the weights as -1 */
    int fresh;         /* no key has been seen: outputs are not read but taken for zeros; not with `careful` */
    /* A hint, or NULL: with each key, ahead_n floats are fetched, ahead_step behind those of the key before. */
    const float *ahead;
    int64_t ahead_step, ahead_n;
} atl_attend_args;
typedef void atl_attend_fn(const atl_attend_args *args);

/* What masks add to the scores of queries and keys, as atl_attend_fn and atl_map_fn take it, log2(e) times the additive mask:
 * -inf where a key is excluded (by a zero byte, by -inf or by the diagonal), NaN where the additive mask is +inf; else no
 * less than -1e30 and no more than FLT_MAX. An element of a mask is bytes[i*byte_query + j*byte_key] for query i and key j;
 * steps of keys are 0 or 1. Returns 0 only if no key is excluded. */
typedef struct atl_bias_args {
    const uint8_t *bytes; /* or NULL */
    int64_t byte_query, byte_key;
    const float *additive; /* or NULL */
    int64_t additive_query, additive_key;
    int64_t diagonal; /* keys j > i + diagonal are excluded for query i */
    int64_t queries, keys;
    float *to;
    int64_t row;
    int by_key; /* to[j*row + i], and 0 for queries i < row that do not exist, with row a multiple of the attend variant's nr
                   of the same ISA; else to[i*row + j] */
} atl_bias_args;
typedef int atl_bias_fn(const atl_bias_args *args);

/* into += from: the states of the same nr queries over two runs of keys, `into` the earlier. nr a multiple of the
 * attend variant's own of the same ISA. */
typedef void atl_merge_fn(int64_t nr, int64_t c, atl_attend_state into, atl_attend_state from);

/* What follows a product by rows: (. + bias[r]) * scale[r] + shift[r], scale and shift in one rounding. Bias may be NULL, scale and
 * shift both: left out. */
typedef struct atl_affine {
    const float *bias, *scale, *shift;
} atl_affine;

/* y[r*y_stride + i] = gamma * z + x[r*x_stride + i] with z = out[r][i] / sum[i], and `affine` of it, for the first n of nr
 * queries. y == x allowed. With x NULL: z alone, zeros positive, no gamma and no affine; y == out allowed then, y_stride being
 * nr. `stream` writes 32 queries at a time past the caches: y and y_stride are then multiples of a cache line. */
typedef void atl_finish_fn(int64_t nr, int64_t c, int64_t n, float gamma, const atl_affine *affine,
                           atl_attend_state state, const float *x, int64_t x_stride, float *y, int64_t y_stride,
                           int stream);

/* Rows of the attention map: map[i*stride + j] = 2^(s - max[i]) * inverse[i] with s = q_i . k_j, for `rows` queries i and
 * `keys` <= ATL_BLOCK keys j. q is scaled as for attend and packed [ceil(rows/mr)][d][mr], k rows of a panel. No score
 * exceeds max. `stream` writes past the caches: map and stride are then multiples of a cache line. `bias` [rows][ATL_BLOCK] or
 * NULL, as for attend. */
typedef void atl_map_fn(const float *q, const float *k, int64_t d, int64_t rows, int64_t keys, const float *max,
                        const float *inverse, const float *bias, float *map, int64_t stride, int stream);

/* The same rows from scores [keys][nr], for any number of keys and the first `rows` of nr queries: map[i*stride + j] =
 * 2^(scores[j*nr + i] - max[i]) * inverse[i]. max and inverse have nr elements. */
typedef void atl_map_scores_fn(const float *scores, int64_t nr, int64_t rows, int64_t keys, const float *max,
                               const float *inverse, float *map, int64_t stride, int stream);

/* Over the channels of n pixels: mean[i] = sum of x[c*stride + i] / channels, max[i] = the largest: NaN where one of them is,
 * +0 for a zero of either sign. Sums over c < channels in blocks of ATL_BLOCK, divided once. With `scale` (may be NULL) each
 * element counts as scale[c] * x[c*stride + i], rounded. */
typedef void atl_channel_pool_fn(const float *x, int64_t n, int64_t channels, int64_t stride, const float *scale,
                                 float *mean, float *max);

/* factor[i] = sigmoid(sum of w[p][r][c] * planes[p*plane + r*row + c + i] + *bias) for i < n, over p < 2, r < k, c < k in this
 * order, from zero: one row of a k x k convolution of two planes. k <= 11: one block. bias may be NULL (no addition). */
typedef void atl_conv_gate_fn(const float *planes, int64_t row, int64_t plane, int64_t k, const float *w,
                              const float *bias, int64_t n, float *factor);

/* y[c*y_stride + i] = factor[i] * x[c*x_stride + i] for i < n, c < channels. y == x is allowed. `stream` writes past the
 * caches. Unless `ahead` is NULL, `ahead_n` pixels of as many channels, x_stride apart, are pooled meanwhile as
 * atl_channel_pool_fn does, so that memory is read and written at the same time. */
typedef struct atl_scale_pixels_args {
    const float *x;
    float *y;
    int64_t n, channels, x_stride, y_stride;
    const float *factor;
    int stream;
    const float *ahead;
    int64_t ahead_n;
    float *sum;        /* scratch of ahead_n floats */
    float *mean, *max; /* of the pixels ahead */
} atl_scale_pixels_args;
typedef void atl_scale_pixels_fn(const atl_scale_pixels_args *args);

/* Copies channels of [height, width] to planes for atl_conv_fn, pixels that vectors read together side by side and zeros in
 * lines outside the image: plane (c, a, b), for phases a, b < phases, holds in element i < line of line q < lines the pixel of
 * channel c in row (first + q)*stride + a - reach and column i*stride + b, or b + stride - phases in place of b > reach; 0 where
 * there is none. Up to ATL_SUM_LANES floats behind the last line of a plane may be overwritten. */
typedef struct atl_planes_args {
    const float *x;
    int64_t channels, x_row, height, width;
    int64_t stride, phases, reach; /* phases <= stride */
    int64_t first, lines;
    float *to;
    int64_t line, plane; /* ceil(width/stride) floats; floats from a plane to the next */
} atl_planes_args;
typedef void atl_planes_fn(const atl_planes_args *args);

/* Lanes of the largest tile. */
#define ATL_CONV_LANES 128

/* A term of the sums of a convolution of planes: that of lane i is x[offset + i], or 0 where this lies beyond an end of the
 * lane's line: this depends on the column alone, and is so for no lane where the column is -1. */
typedef struct atl_conv_term {
    int32_t offset, column;
} atl_conv_term;

/* A convolution of planes: lanes are the output pixels, line by line. */
typedef struct atl_conv_args {
    int64_t rows, terms; /* output channels, and terms of their sums */
    const float *weight; /* [rows][terms], packed: see atl_conv_fn */
    const atl_conv_term *term;
    int64_t columns;            /* that terms name, -1 aside */
    const uint16_t *inside;     /* [columns][inside_row]: bit i % 16 of element i / 16 tells of lane i */
    int64_t inside_row;         /* of at least n/16 elements */
    void *masks;                /* scratch of columns * ATL_CONV_LANES floats, aligned to a cache line */
    const float *scale, *shift; /* [rows] */
    int relu;                   /* max(y, 0), NaN kept */
    int64_t n;                  /* lanes */
    const float *x;             /* may be read up to ATL_SUM_LANES - 1 floats past each term of the last lane */
    float *y;                   /* [rows][n], row stride y_row */
    int64_t y_row;
    const float *ahead; /* a hint: these rows, ahead_row apart, are fetched meanwhile; or NULL */
    int64_t ahead_rows, ahead_n, ahead_row;
} atl_conv_args;

/* y[r*y_row + i] = fma(sum over l of weight[r][l] * (term l of lane i), scale[r], shift[r]), or the larger of that and 0. Sums
 * in blocks of ATL_BLOCK. Rows are packed in tiles of mr, what is left of them in tiles of mr/2, ..., 1: rows [i, i + t) of a
 * tile are [terms][t] from weight[i*terms] on. mr is a power of two. */
typedef void atl_conv_fn(const atl_conv_args *args);

/* y[r*y_row + i] = sum over b < branches of factor[b*factor_branch + r] * x[b*x_branch + r*x_row + i] for i < n, r < rows: in order,
 * the first product rounded, the others fused. `stream` writes past the caches. */
typedef void atl_blend_fn(const float *x, float *y, int64_t n, int64_t rows, int64_t branches, int64_t x_branch,
                          int64_t x_row, int64_t y_row, const float *factor, int64_t factor_branch, int stream);
/* y[c*y_stride + i] = relu(factor[i] * (scale[c] * x[c*x_stride + i]) + y[c*y_stride + i]) for i < n, c < channels: every
 * product and the sum rounded, NaN kept. */
typedef void atl_gate_add_relu_fn(const float *x, int64_t n, int64_t channels, int64_t x_stride, const float *scale,
                                  const float *factor, float *y, int64_t y_stride);

/* Max pooling over planes: y[c*y_row + i] = the largest over l of x[c*x_row + term[l].offset + i], those beyond an end of the
 * lane's line aside, for i < n, c < channels. NaN where one of them is, +0 for a zero of either sign. Terms are lines of a
 * window, all alike, of three each: the middle one, of column -1, the right one, the left one. Where the right one lies two
 * floats behind the left one, the middle one lies between. */
typedef struct atl_max_pool_args {
    int64_t channels, n, terms;
    const atl_conv_term *term;
    const uint16_t *inside; /* see atl_conv_args */
    int64_t inside_row;
    const float *x;
    int64_t x_row;
    float *y;
    int64_t y_row;
} atl_max_pool_args;
typedef void atl_max_pool_fn(const atl_max_pool_args *args);

/* out[i*out_stride + r] = x[r*stride + i] - centre[r] for i < n, r < rows; centre may be NULL (no subtraction). */
typedef void atl_transpose_fn(const float *x, int64_t rows, int64_t n, int64_t stride, const float *centre, float *out,
                              int64_t out_stride);

/* Softmax of each column i < n of s, in place: s[j*stride + i] = exp(t[j] - max t) / sum of these over j < rows, with
 * t[j] = scale * (s[j*stride + i] + row[j] * column[i]); row may be NULL (nothing added). Sums in blocks of ATL_BLOCK. A column with a
 * NaN or an infinite maximum is NaN. */
typedef void atl_softmax_fn(float *s, int64_t rows, int64_t n, int64_t stride, float scale, const float *row,
                            const float *column);

/* y[r*y_row + i] = the largest of x[r*x_row + w*line + 2*i] and its right neighbour over w < lines, for i < n, r < rows: NaN
 * where one of them is, +0 for a zero of either sign. */
typedef void atl_window_max_fn(const float *x, int64_t n, int64_t rows, int64_t x_row, int64_t lines, int64_t line,
                               float *y, int64_t y_row);

/* ---- the table ---- */

typedef enum atl_isa { ATL_ISA_SCALAR, ATL_ISA_AVX2, ATL_ISA_AVX512, ATL_ISA_NEON, ATL_ISA_COUNT } atl_isa;

/* One variant: its function, and the tile it works in (0 where the type has none). */
#define ATL_SLOT(name)                                                                                                 \
    struct {                                                                                                           \
        atl_##name##_fn *fn;                                                                                           \
        int mr, nr;                                                                                                    \
        const char *variant;                                                                                           \
    } name;
typedef struct atl_kernels {
#include "kernels.def"
} atl_kernels;
#undef ATL_SLOT

typedef enum atl_slot {
#define ATL_SLOT(name) ATL_SLOT_##name,
#include "kernels.def"
#undef ATL_SLOT
    ATL_SLOT_COUNT
} atl_slot;

/* One line of kernels.def, for the selection, the tests and the benchmarks. */
typedef struct atl_kernel_entry {
    atl_slot slot;
    atl_isa isa;
    int mr, nr;
    const char *variant;
    void (*fn)(void); /* of the slot's type */
} atl_kernel_entry;

extern const atl_kernel_entry atl_kernel_entries[];
extern const int atl_kernel_entry_count;

/* "scalar", "avx2", "avx512", "neon". */
const char *atl_isa_name(atl_isa isa);
/* The slot's name in kernels.def. */
const char *atl_slot_name(atl_slot slot);

/* Whether a machine whose best is `best` runs `isa`. */
int atl_isa_includes(atl_isa best, atl_isa isa);

/* Puts a line of the manifest into its slot. */
void atl_kernels_set(atl_kernels *table, const atl_kernel_entry *entry);

/* Fills every slot: the last line of kernels.def wins among those that `best` includes. */
void atl_kernels_select(atl_kernels *table, atl_isa best);

/* The name of the variant that the table has in a slot. */
const char *atl_kernels_variant(const atl_kernels *table, atl_slot slot);

/* ---- prototypes ---- */

#define ATL_KERNEL(slot, symbol, isa, mr, nr) extern atl_##slot##_fn symbol;
#include "kernels.def"
#undef ATL_KERNEL

#endif
