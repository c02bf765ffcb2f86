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
    int64_t hidden;
    atl_unary activation, gate;
    float alpha;
    int with_max;
    int64_t channel_group; /* channels of a task when a sample is split */
    atl_offset mean, max, inner, factor;
} atl_excite_op;

/* activation, gate, alpha and with_max are set by the layer. */
atl_status atl_excite_plan(struct atl_plan *plan, struct atl_linear *fc1, struct atl_linear *fc2, atl_excite_op *op,
                           atl_error *error);
void atl_excite_run(const struct atl_run_state *run, const atl_excite_op *op);
void atl_excite_describe(const struct atl_plan *plan, const atl_excite_op *op, atl_text *text);

/* ---- pixel gate: y = x * sigmoid(conv([mean over channels, max over channels])), samples [C, H, W] ---- */

typedef struct atl_pixel_gate_op {
    const float *weight, *bias; /* [2][k][k], of the mean and of the maximum; [1] or NULL */
    int64_t k, height, width;
    int64_t row;          /* of a padded plane */
    int64_t strip_rows;   /* image rows of a strip of a whole sample */
    atl_offset planes;    /* [2][height + k - 1][row] */
    atl_offset mean, max; /* [height*width]; factors come where the means were */
} atl_pixel_gate_op;

atl_status atl_pixel_gate_plan(struct atl_plan *plan, const struct atl_linear *conv, int64_t k, atl_pixel_gate_op *op,
                               atl_error *error);
void atl_pixel_gate_run(const struct atl_run_state *run, const atl_pixel_gate_op *op);
void atl_pixel_gate_describe(const struct atl_plan *plan, const atl_pixel_gate_op *op, atl_text *text);

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
    atl_panels from; /* with ATL_SOURCE_PANELS */
    int into_y;      /* y = w . in + bias + residual, channel by channel; else into the panels `to` */
    int residual;    /* x, with into_y */
    /* set by planning */
    const float *weight, *bias; /* packed for the gemm kernel; bias or NULL */
    int64_t m, k;
    atl_panels to;
    atl_offset lanes, sums; /* in the slot's scratch: the input as lane panels [ATL_BLOCK/nr][k][nr]; sums of a tile */
} atl_project_op;

atl_status atl_project_plan(struct atl_plan *plan, struct atl_linear *linear, atl_project_op *op, atl_error *error);
void atl_project_run(const struct atl_run_state *run, const atl_project_op *op);
void atl_project_describe(const struct atl_plan *plan, const atl_project_op *op, atl_text *text);

/* ---- attend: softmax(scale q k + masks) v over panels, per head; y = gamma * result + x, or the result into panels ---- */

typedef struct atl_attend_op {
    int64_t heads, d, c, queries, keys; /* d and c of a head */
    float scale;                        /* of the logits */
    float gamma;
    atl_panels q, k, v; /* head h: d, d and c rows from row + h times as many on */
    int into_y;         /* else the result goes into the panels `to`, c rows a head */
    atl_panels to;
    int masked;     /* the run's masks count, and causal */
    int causal;     /* key j is visible to query i when j <= i */
    int blind_zero; /* rows that see no key are 0, not the mean of all values */
    int64_t tile;   /* queries of a task, a multiple of nr */
    int64_t chunks; /* runs of keys whose states are merged in order: a function of queries, keys and heads alone */
    int64_t chunk_blocks;
    atl_offset partial;    /* chunk states, when there are several */
    atl_offset statistics; /* max and sum per query, for the map */
    atl_offset q_lanes, scores, bias, state, other_state, map_q, map_statistics, map_bias; /* in the slot's scratch */
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

#endif
