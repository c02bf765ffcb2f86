/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ops: what layers are made of. They split work into tiles over the pool and are the only callers of kernels. An op is
 * prepared once (tiles, packed weights, workspace) and run any number of times.
 */
#ifndef ATL_SRC_OPS_H
#define ATL_SRC_OPS_H

#include <stdint.h>

#include "attentile/attentile.h"
#include "kernels.h"
#include "text.h"

struct atl_run_state;
struct atl_plan;
struct atl_linear;

/* Arrays inside a sample's workspace or a slot's scratch: offsets in floats, aligned to cache lines. */
typedef int64_t atl_offset;

/* ---- excite: y = x * gate(mlp(mean x)), or gate(mlp(mean x) + mlp(max x)), with mlp = fc2(act(fc1 .)) ---- */

typedef struct atl_excite_op {
    const float *w1, *w2; /* packed for the fc kernel */
    const float *b1, *b2; /* or NULL */
    int64_t channels, positions, hidden;
    atl_unary activation, gate;
    float alpha;
    int with_max;
    int64_t channel_group, channel_unit; /* channels of a task when a sample is split, at most and at least */
    atl_offset mean, max, inner, inner_max, factor;
} atl_excite_op;

/* activation, gate, alpha and with_max are set by the layer. */
atl_status atl_excite_plan(struct atl_plan *plan, struct atl_linear *fc1, struct atl_linear *fc2, int64_t positions,
                           atl_excite_op *op, atl_error *error);
void atl_excite_run(const struct atl_run_state *run, const atl_excite_op *op);
void atl_excite_describe(const struct atl_plan *plan, const atl_excite_op *op, atl_text *text);

/* The pieces, for layers that scale on their own. All of them work in one sample's workspace.
 * Means (and maxima) of channels [from, from + count) of x; then the factors of all channels. */
void atl_excite_squeeze(const atl_kernels *kernels, const atl_excite_op *op, float *workspace, const float *x,
                        int64_t x_row, int64_t from, int64_t count);
void atl_excite_factors(const atl_kernels *kernels, const atl_excite_op *op, int64_t samples, int64_t step,
                        float *workspace);
/* The latter as stages, for every sample of a run. */
void atl_excite_run_factors(const struct atl_run_state *run, const atl_excite_op *op);

/* ---- pixel gate: y = x * sigmoid(conv([mean over channels, max over channels])), samples [C, H, W] ---- */

typedef struct atl_pixel_gate_op {
    const float *weight, *bias; /* [2][k][k], of the mean and of the maximum; [1] or NULL */
    int64_t k, channels, height, width;
    int64_t row;          /* of a padded plane */
    int64_t strip_rows;   /* image rows of a strip of a whole sample, ... */
    int64_t stream_rows;  /* ... and when outputs go straight to memory */
    atl_offset planes;    /* [2][height + k - 1][row] */
    atl_offset mean, max; /* [height*width]; factors come where the means were */
    atl_offset sum;       /* in the slot's scratch: [stream_rows*width] */
} atl_pixel_gate_op;

atl_status atl_pixel_gate_plan(struct atl_plan *plan, const struct atl_linear *conv, int64_t k, int64_t channels,
                               int64_t height, int64_t width, atl_pixel_gate_op *op, atl_error *error);
void atl_pixel_gate_run(const struct atl_run_state *run, const atl_pixel_gate_op *op);
void atl_pixel_gate_describe(const struct atl_plan *plan, const atl_pixel_gate_op *op, atl_text *text);

/* The pieces, for layers that gate on their own. All of them work in one sample's workspace.
 * Image rows that hold at least so many pixels, and no fewer than the convolution reaches. */
int64_t atl_pixel_gate_rows(const atl_pixel_gate_op *op, int64_t pixels);
/* Image rows of split samples, at most `most` in a task. */
struct atl_grid atl_pixel_gate_grid(const struct atl_run_state *run, const atl_pixel_gate_op *op, int64_t most);
/* Pools image rows [from, end) of x, of which channel c counts times scale[c] unless that is NULL. */
void atl_pixel_gate_pool(const atl_kernels *kernels, const atl_pixel_gate_op *op, float *workspace, const float *x,
                         int64_t x_row, const float *scale, int64_t from, int64_t end);
/* The factors of image rows [from, end); those up to k/2 rows further are pooled. */
const float *atl_pixel_gate_factors(const atl_kernels *kernels, const atl_pixel_gate_op *op, float *workspace,
                                    int64_t from, int64_t end);

/* ---- conv: y = relu(scale * (weight * x) + shift) over planes, for several weights that share x ---- */

/* One of the convolutions. */
typedef struct atl_conv_filter {
    const float *weight;        /* packed for the conv kernel, by group */
    const float *scale, *shift; /* [rows] */
    int64_t k, terms;           /* kernel size; terms of a sum */
    const atl_conv_term *term;  /* [terms]: where they lie in the planes */
    int64_t columns;            /* that they name, -1 aside */
    const uint16_t *inside;     /* where these are inside a line */
} atl_conv_filter;

/*
 * x is [channels, height, width], y of each filter [rows, out_height, out_width]; padding is k/2, so that all filters agree.
 * Input planes are copied into the slot's scratch, with lines of zeros above and below, a group and a band of output lines at
 * a time; with a stride, pixels that the lanes of a vector read are brought together: a plane for each phase.
 */
typedef struct atl_conv_op {
    int64_t channels, height, width;
    int64_t rows, out_height, out_width;
    int64_t groups, stride;
    int relu;
    int64_t count;
    const atl_conv_filter *filters;
    int64_t reach;            /* padding: that of the largest filter */
    int64_t phases;           /* of an axis */
    int64_t plane, before;    /* floats from a plane to the next, and before the first */
    int64_t band, halo;       /* output lines at a time; lines that planes have more */
    int64_t inside_row;       /* of a filter's `inside` */
    int with_pool;            /* x is max-pooled as well, 3 x 3, with the same stride */
    atl_conv_filter pool;     /* its windows: three terms each of the line above, its own and the one below */
    atl_offset planes, masks; /* [channels/groups][phases][phases][plane]; the conv kernel's scratch */
} atl_conv_op;

/*
 * channels, height, width, rows, groups, stride, relu, count and with_pool are set by the layer; it has checked that groups
 * divides channels and rows, and is 1 with_pool. Filter i is linears[i] of `linears`, folded (atl_linear_fold), with kernel
 * k[i]. Takes plan->tables.
 */
atl_status atl_conv_plan(struct atl_plan *plan, struct atl_linear *linears, const int64_t *k, atl_conv_op *op,
                         atl_error *error);

/* The most of up to `lines` lines whose pixels fill whole vectors, or all of these where none do. */
int64_t atl_conv_full_lines(const atl_conv_op *op, int64_t lines);

/*
 * A sample's work can be cut into at most atl_conv_pieces pieces: piece `i` of `pieces` is the rows [*first, *first + *count)
 * of every filter's y.
 */
int64_t atl_conv_pieces(const atl_conv_op *op);
void atl_conv_range(const atl_conv_op *op, int64_t i, int64_t pieces, int64_t *first, int64_t *count);
/* How few samples are shared: output lines x pieces. */
struct atl_grid atl_conv_grid(const struct atl_run_state *run, const atl_conv_op *op);

/* What a sample's work reads and writes. */
typedef struct atl_conv_io {
    const float *x;
    const float *next; /* x of the sample that this thread is likely to take next, fetched meanwhile; or NULL */
    float *y;          /* row r of filter f is y + f*y_filter + r*y_row, dense */
    float *pooled;     /* channel c is pooled + c*pooled_row, dense */
    int64_t x_row, y_filter, y_row; /* x_row: from a channel to the next */
    int64_t pooled_row;
} atl_conv_io;

/* Computes output lines [line, end) of a piece: part of a task, in the scratch of its slot. Each piece pools some of the
 * channels. */
void atl_conv_lines(const struct atl_run_state *run, const atl_conv_op *op, int slot, int64_t i, int64_t pieces,
                    int64_t line, int64_t end, const atl_conv_io *io);
void atl_conv_describe(const struct atl_plan *plan, const atl_conv_op *op, atl_text *text);

/* ---- residual: y = relu(pixel gate(channel gate(relu(bn(conv x)))) + shortcut(max-pool x)) ---- */

/* The layer's linears. */
enum {
    ATL_RESIDUAL_CONV, /* its batch norm folded */
    ATL_RESIDUAL_FC1,  /* of the channel gate */
    ATL_RESIDUAL_FC2,
    ATL_RESIDUAL_GATE, /* the pixel gate's convolution */
    ATL_RESIDUAL_SHORTCUT,
    ATL_RESIDUAL_LINEARS
};

typedef struct atl_residual_op {
    atl_conv_op conv;
    atl_excite_op excite;
    atl_pixel_gate_op gate;
    const float *weight, *bias; /* of the shortcut: packed for the gemm kernel; bias or NULL */
    int64_t weight_rows;        /* of the shortcut at a time */
    int64_t chunk;              /* output positions that the shortcut is computed for at a time */
    int64_t strip_rows;         /* output rows of a strip */
    int64_t row;                /* floats from a channel of the features, or of pooled x, to the next */
    atl_offset features;        /* [channels][row]: relu(bn(conv x)) */
    atl_offset pooled;          /* [channels of x][row]: max-pooled x */
    atl_offset sums;            /* in the slot's scratch: sums of a gemm */
} atl_residual_op;

/* conv's channels, height, width and stride are set by the layer; the kernels are conv_k and gate_k wide. */
atl_status atl_residual_plan(struct atl_plan *plan, struct atl_linear *linears, int64_t conv_k, int64_t gate_k,
                             atl_residual_op *op, atl_error *error);
void atl_residual_run(const struct atl_run_state *run, const atl_residual_op *op);
void atl_residual_describe(const struct atl_plan *plan, const atl_residual_op *op, atl_text *text);

/* ---- select: y = sum of a_i * U_i, where U_i are convolutions of x and a = softmax over i of fcs_i(fc(mean of sum U_i)) ---- */

typedef struct atl_select_op {
    atl_conv_op conv;
    const float *w1, *w2;      /* fc, and all of fcs in one; packed for the fc kernel */
    const float *b1, *b2;      /* or NULL */
    int64_t hidden, positions; /* of y */
    int64_t channel_group;     /* channels of a task that blends part of a sample */
    atl_offset features;       /* [count][rows][positions] */
    atl_offset factor;         /* [count][rows]: sums, then factors */
    atl_offset mean, inner;
} atl_select_op;

/* op->conv is planned already. fcs is [count*rows][hidden]. */
atl_status atl_select_plan(struct atl_plan *plan, struct atl_linear *fc, struct atl_linear *fcs, atl_select_op *op,
                           atl_error *error);
void atl_select_run(const struct atl_run_state *run, const atl_select_op *op);
void atl_select_describe(const struct atl_plan *plan, const atl_select_op *op, atl_text *text);

/* ---- panels: rows of positions in a sample's workspace (kernels.h) ---- */

typedef struct atl_panels {
    atl_offset at; /* of the first panel */
    int64_t rows;  /* of a panel */
    int64_t row;   /* the first that is meant */
} atl_panels;

/* Room for `rows` rows of `positions` positions. */
atl_status atl_panels_reserve(struct atl_plan *plan, int64_t rows, int64_t positions, atl_panels *panels,
                              atl_error *error);
/* The first row that is meant, of one block. */
float *atl_panels_block(const struct atl_run_state *run, int64_t b, const atl_panels *panels, int64_t block);

/* The rows of x, then rows of ones. */
void atl_panels_copy_x(const struct atl_run_state *run, const atl_panels *panels);

/* ---- project: a linear layer over positions: w . in + bias, into panels or into y ---- */

typedef enum atl_source {
    ATL_SOURCE_X, /* a tensor of the sample: [k, positions], or [positions, k] where `tokens` is set */
    ATL_SOURCE_KEY,
    ATL_SOURCE_VALUE,
    ATL_SOURCE_PANELS
} atl_source;

typedef struct atl_project_op {
    /* set by the layer */
    atl_source source;
    int tokens;
    int64_t positions;
    atl_panels from;   /* with ATL_SOURCE_PANELS */
    int into_y;        /* y = w . in + bias + residual, channel by channel; else into the panels `to` */
    int residual;      /* x, with into_y */
    atl_affine affine; /* of the product; the linear's bias, if that has one */
    /* set by planning */
    const float *weight; /* packed for the gemm kernel */
    int64_t m, k;
    atl_panels to;
    atl_offset lanes, tile; /* in the slot's scratch: the input as lane panels [ATL_BLOCK/nr][k][nr]; [some rows][nr] */
} atl_project_op;

atl_status atl_project_plan(struct atl_plan *plan, struct atl_linear *linear, atl_project_op *op, atl_error *error);
void atl_project_run(const struct atl_run_state *run, const atl_project_op *op);
/* The same for ops of equal positions and equal k, which share what they read where it is the same. */
void atl_project_run_together(const struct atl_run_state *run, const atl_project_op *ops, int count);
void atl_project_describe(const struct atl_plan *plan, const atl_project_op *op, atl_text *text);

/* Rows of packed weights with sums of k that stay in the first-level cache while lanes pass. */
int64_t atl_project_rows(const atl_kernels *kernels, int64_t k);

/* ---- project pooled: the largest of a linear layer's outputs over windows of positions, into panels ---- */

/*
 * x has planes of [height, width] positions, of which windows of window_rows x 2 are pooled, step by step; what is left over
 * at the ends is never looked at. Rows of products are pooled while they are in the first-level cache.
 */
typedef struct atl_project_pooled_op {
    /* set by the layer */
    int64_t planes, height, width;
    int64_t window_rows;
    /* set by planning */
    int64_t positions;          /* after pooling */
    const float *weight, *bias; /* packed for the gemm kernel; bias or NULL */
    int64_t m, k;
    atl_panels to;
    atl_offset lanes, products; /* in the slot's scratch: as of project; products of some rows, [rows][ATL_PANEL_ROW] */
} atl_project_pooled_op;

atl_status atl_project_pooled_plan(struct atl_plan *plan, struct atl_linear *linear, atl_project_pooled_op *op,
                                   atl_error *error);
void atl_project_pooled_run(const struct atl_run_state *run, const atl_project_pooled_op *op);
void atl_project_pooled_describe(const struct atl_plan *plan, const atl_project_pooled_op *op, atl_text *text);

/* ---- attend: softmax(scale q k + masks) v over panels, per head; y = gamma * result + x, or the result into panels ---- */

typedef struct atl_attend_op {
    int64_t heads, d, c, queries, keys; /* d and c of a head */
    float scale;                        /* of the logits */
    float gamma;
    atl_panels q, k, v; /* head h: d, d and c rows from row + h times as many on */
    /* NULL, or query, key, value and output of the run, which are taken and written where they lie: no panels. Without a map,
     * and with features side by side. */
    const struct atl_view_op *tensors;
    int queries_in_x; /* of one head: queries are x's rows and, if d is more than these, a row of ones. Where rows of a map are
                         recomputed they are copied to the panels q first, as y may be x */
    int into_y; /* y = gamma * affine(result) + x, else the result goes into the panels `to`, c rows a head */
    atl_affine affine;
    atl_panels to;
    int masked;        /* the run's masks count, and causal */
    int causal;        /* key j is visible to query i when j <= i */
    int blind_zero;    /* rows that see no key are 0, not the mean of all values */
    int64_t tile;      /* queries of a task, a multiple of nr */
    int64_t kept_tile; /* with the whole map, where scores are kept; else 0 */
    int64_t chunks;    /* runs of keys whose states are merged in order: a function of queries, keys and heads alone */
    int64_t chunk_blocks;
    atl_offset partial;    /* chunk states, when there are several */
    atl_offset statistics; /* max and sum per query, for the map */
    atl_offset q_lanes, scores, kept, bias, state, other_state, map_q, map_statistics,
        map_bias; /* in the slot's scratch */
} atl_attend_op;

/* All up to blind_zero is set by the layer. */
atl_status atl_attend_plan(struct atl_plan *plan, atl_attend_op *op, atl_error *error);
/* How many samples keep every thread busy for long enough that a wait for the last task costs little. */
int64_t atl_attend_samples(const struct atl_plan *plan, const atl_attend_op *op);
void atl_attend_run(const struct atl_run_state *run, const atl_attend_op *op);
void atl_attend_describe(const struct atl_plan *plan, const atl_attend_op *op, atl_text *text);

/* ---- join: a linear layer from panels into y [positions, m] ---- */

typedef struct atl_join_op {
    atl_panels from; /* set by the layer, with positions */
    int64_t positions;
    const float *weight, *bias; /* packed as lanes for the gemm kernel; bias or NULL */
    int64_t m, k;
    atl_offset rows, sums; /* in the slot's scratch: a strip of positions as row tiles; sums of a lane panel */
} atl_join_op;

atl_status atl_join_plan(struct atl_plan *plan, struct atl_linear *linear, atl_join_op *op, atl_error *error);
void atl_join_run(const struct atl_run_state *run, const atl_join_op *op);
void atl_join_describe(const struct atl_plan *plan, const atl_join_op *op, atl_text *text);

/* ---- correlate: products of rows over positions, result[i][j] = sum over p of a_i[p] * b_j[p] ---- */

/* From a row of a matrix in a workspace to the next: room for a last lane panel, and an odd number of cache lines, so that a
 * column spreads over all sets of a cache. */
static inline int64_t atl_matrix_row(int64_t columns) {
    return (columns + 31) / 32 * 32 + 16;
}

typedef struct atl_correlate_op {
    /* set by the layer */
    int64_t rows;                         /* of the result, and its columns */
    int gram;                             /* x less `means` with itself, else the rows of two sets of panels */
    atl_offset means;                     /* [rows] in the sample's workspace, there before a run */
    atl_panels row_panels, column_panels; /* their first row is meant */
    /* set by planning */
    int64_t chunks,
        chunk_blocks; /* runs of positions whose sums are added in order: a function of the per-sample shape */
    int64_t row;      /* of the result: atl_matrix_row(rows) */
    atl_offset
        result; /* [rows][row] in the sample's workspace, with gram a row of sums below; behind it other chunks' */
    atl_offset lanes; /* in the slot's scratch: a block of positions [ATL_BLOCK][row], twice for panels */
} atl_correlate_op;

atl_status atl_correlate_plan(struct atl_plan *plan, atl_correlate_op *op, atl_error *error);
void atl_correlate_run(const struct atl_run_state *run, const atl_correlate_op *op);
void atl_correlate_describe(const struct atl_plan *plan, const atl_correlate_op *op, atl_text *text);

/* ---- channel attend: A = softmax(scale Q K^T), y = gamma A V + Wx x + bx, with Q, K, V linear in x; and the map A ---- */

typedef struct atl_channel_attend_op {
    /* set by the layer; queries, keys and skip transposed: [channels][row] */
    int64_t channels, outputs;
    float scale;
    int64_t row; /* atl_matrix_row(outputs) */
    const float *query, *key, *skip, *value /* [outputs][channels] */;
    const float *query_bias, *key_bias, *skip_bias, *value_bias; /* [outputs] or NULL */
    const float *gammas;                                         /* [outputs], all the same */
    const float *zeros;                                          /* [outputs] */
    int no_gram, no_fold; /* logits from queries and keys, outputs from values, whatever they cost */
    /* set by planning */
    double flops;
    int fold; /* y = (gamma A Wv + Wx) x + b, else gamma A (Wv x + bv) + (Wx x + bx) */
    atl_correlate_op correlate;
    atl_project_op project[2];       /* queries and keys unless correlate.gram; values and skip unless fold */
    atl_offset query_mean, key_mean; /* [row] */
    atl_offset map;                  /* A^T [outputs][row] */
    atl_offset products;             /* G Wq^T [channels][products_row] */
    int64_t products_row;
    atl_offset mixed;              /* (gamma A Wv + Wx)^T with the bias below: see atl_channel_mixed */
    atl_offset inner, lanes, sums; /* in the slot's scratch */
} atl_channel_attend_op;

/* `query_key` has queries and keys, one below the other, `values_skip` values and skip. */
atl_status atl_channel_attend_plan(struct atl_plan *plan, struct atl_linear *query_key, struct atl_linear *values_skip,
                                   atl_channel_attend_op *op, atl_error *error);
void atl_channel_attend_run(const struct atl_run_state *run, const atl_channel_attend_op *op);
void atl_channel_attend_describe(const struct atl_plan *plan, const atl_channel_attend_op *op, atl_text *text);

/* ---- view: a strided tensor [heads, positions, dim] into panels, or panels into y ---- */

typedef struct atl_view_op {
    atl_source source; /* the tensor that goes into the panels; ATL_SOURCE_PANELS: they go into y */
    int64_t heads, positions, dim;
    int64_t head, position, feature; /* steps of the tensor */
    atl_panels panels;               /* dim rows a head */
} atl_view_op;

/* Query, key, value and output of an attention. */
enum { ATL_VIEW_QUERY, ATL_VIEW_KEY, ATL_VIEW_VALUE, ATL_VIEW_OUTPUT, ATL_VIEWS };

/* Position i of head h of the tensor of sample b. */
float *atl_view_at(const struct atl_run_state *run, const atl_view_op *op, int64_t b, int64_t h, int64_t i);
void atl_view_run(const struct atl_run_state *run, const atl_view_op *op);

#endif
