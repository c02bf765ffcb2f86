/* SPDX-License-Identifier: Apache-2.0 */
/* A plan: a layer, a per-sample shape, an engine, and everything that was decided once. */
#ifndef ATL_SRC_PLAN_H
#define ATL_SRC_PLAN_H

#include "attentile/attentile.h"
#include "engine.h"
#include "layer.h"
#include "ops/ops.h"
#include "text.h"

struct atl_plan {
    _Atomic int references;
    atl_layer *layer;
    atl_engine *engine;
    int rank;
    int64_t shape[ATL_MAX_RANK];
    int64_t channels, positions;         /* rows of x, and what a row has: shape[0], and the product of the rest */
    int64_t out_channels, out_positions; /* of y */
    int separate;                        /* y must not be x */
    int64_t heads, key_length;           /* of kinds that take key, value and masks; else 0 */
    int batch_inside;                    /* batch_first=false: activations are [C, B, positions] */
    atl_plan_info info;                  /* shapes, bound, workspace */
    int small;                           /* a sample is too little work to share */
    void *tables;                        /* of the op: freed with the plan */
    union {
        atl_excite_op excite;
        atl_pixel_gate_op pixel_gate;
        atl_select_op select;
        atl_residual_op residual;
        struct {
            atl_project_op project;
            atl_attend_op attend;
        } spatial;
        struct {
            atl_project_op project[3]; /* query, key, value */
            atl_attend_op attend;
            atl_join_op join;
        } multi_head;
        atl_channel_attend_op channel;
        struct {
            atl_view_op views[ATL_VIEWS];
            atl_attend_op attend;
        } attention;
        struct {
            atl_project_op project[2]; /* keys and values, without sub-sampling; queries */
            atl_project_pooled_op pooled;
            int folds_theta, folds_output; /* whether these weights are applied to keys and values: */
            atl_project_op theta, values;
            atl_attend_op attend;
            atl_project_op output;
        } non_local;
    } op;
};

/* Rows of the map that one sample of a run gets, and which. */
typedef struct atl_map_rows {
    const int64_t *rows; /* NULL = all of [0, count) */
    int64_t count;
} atl_map_rows;

/* Steps of a mask that broadcasts; 0 along an axis of size 1. */
typedef struct atl_mask_steps {
    int64_t sample, head, query, key;
    int64_t size; /* elements that a sample's lie in */
} atl_mask_steps;

/* A run under way. */
typedef struct atl_run_state {
    const atl_plan *plan;
    int64_t batch;
    int64_t total;       /* samples of the run that this is a part of */
    const char *samples; /* of sample_size bytes each; NULL = dense from `first` on */
    size_t sample_size;
    atl_sample first;
    int64_t x_stride, y_stride, map_stride; /* between dense samples */
    int64_t x_row, y_row;                   /* from a channel to the next */
    int64_t key_stride, value_stride;       /* between dense samples */
    atl_mask_steps mask, additive;
    atl_map_rows map_rows;
    char *workspace;
    struct atl_gathered *gathered; /* stages of a short run, or NULL: each runs at once */
} atl_run_state;

/* The pointers of sample b as the caller gave them, and with x in place of a key and a value that are NULL. */
atl_sample atl_run_given(const atl_run_state *run, int64_t b);
atl_sample atl_run_sample(const atl_run_state *run, int64_t b);
/* The part of a run that samples [first, first + count) are, over the same workspace. */
atl_run_state atl_run_part(const atl_run_state *run, int64_t first, int64_t count);

/* Runs samples in waves of about equal size, none larger than info.workspace_samples, which bounds the workspace of large
 * batches. */
void atl_run_waves(const atl_run_state *run, void (*wave)(const atl_run_state *part));

/* Whether a run stays on the calling thread. */
int atl_run_alone(const atl_run_state *run);

/*
 * A stage's work: columns x rows of each sample, of which a task takes `width` times `height`. What is chosen keeps all threads
 * busy to the end, in tasks as large as that allows.
 */
typedef struct atl_grid {
    int64_t samples, columns, rows;
    int64_t column_unit, column_least, column_most; /* of a task: a multiple of the unit, as least and most are */
    int64_t row_unit;                               /* as many as there are rows: they are not cut */
    int64_t column_cost, row_cost; /* what a task's columns cost besides their rows, in rows, and the other way round */
    int cuts_last;                 /* the rows of the last tasks alone may be cut, where `down` would be 1 */
    /* chosen */
    int64_t width, height;
    int64_t across, down; /* tasks of a sample */
    int64_t last, pieces; /* of these tasks, the last ones, each cut into pieces */
} atl_grid;
void atl_run_split(const atl_run_state *run, atl_grid *grid);
/* The same for `columns` of every sample alone; a task costs as much as half a unit besides. */
atl_grid atl_run_split_columns(const atl_run_state *run, int64_t columns, int64_t unit, int64_t least, int64_t most);
/* The same with another cost, in columns. */
atl_grid atl_run_split_costly(const atl_run_state *run, int64_t columns, int64_t unit, int64_t least, int64_t most,
                              int64_t cost);

/* Columns and rows of a task of a grid: tasks that share columns follow one another. */
typedef struct atl_cell {
    int64_t sample;
    int64_t column, column_end, row, row_end;
} atl_cell;
atl_cell atl_grid_cell(const atl_grid *grid, int64_t task);
int64_t atl_grid_tasks(const atl_grid *grid);

/* Workspace of sample b, and of a slot of the team. */
float *atl_run_workspace(const atl_run_state *run, int64_t b);
float *atl_run_scratch(const atl_run_state *run, int slot);

/* Runs the tasks of a stage over the pool, or on the caller alone when the whole run is small. In atl_run_waves, stages may gather
 * and run when the wave returns, with a copy of their context's `size` bytes: what they have done is not there before. */
void atl_run_stage(const atl_run_state *run, const char *stage, atl_task_fn *function, void *context, size_t size,
                   int64_t count);
enum { ATL_CONTEXT_BYTES = 768 }; /* at most */
/* The same, the stage being named after its function. */
#define atl_run_tasks(run, function, context, count)                                                                   \
    do {                                                                                                               \
        _Static_assert(sizeof *(context) <= ATL_CONTEXT_BYTES, "context");                                             \
        atl_run_stage(run, #function, function, context, sizeof *(context), count);                                    \
    } while (0)

/* How layers that read a sample twice and write it once go over a batch. */
typedef struct atl_schedule {
    int whole;  /* whole samples are tasks, so that the second read comes from the cache; else they are split */
    int stream; /* input and output exceed the last-level cache: write past it, and read ahead meanwhile */
} atl_schedule;
atl_schedule atl_run_schedule(const atl_run_state *run);
/* Whether a product writes rows of the output, from y on, past the caches by whole cache lines: where input and output, which are
 * read and written once, fill most of the last-level cache. */
int atl_run_streams(const atl_run_state *run, const float *y);
/* Fewer samples than this for each thread may be split. */
enum { ATL_ENOUGH_SAMPLES = 4 };

/* Below this much work (about 10 us on a core of today) a run stays on the calling thread. */
int atl_is_small(const atl_plan_info *info);

/* Checks that x is [channels, positions...] of rank 2 to 4. */
atl_status atl_plan_positions(atl_plan *plan, int64_t channels, atl_error *error);

/* Checks that x is [C, H, W] with any C. */
atl_status atl_plan_image(atl_plan *plan, atl_error *error);

/* Gives the output a shape of its own: y is then apart from x. Without a call it has the input's. */
atl_status atl_plan_output(atl_plan *plan, int rank, const int64_t *shape, atl_error *error);

/* Names the attention map's shape: [queries, keys], or [heads, queries, keys] for 1 or more heads. */
void atl_plan_map(atl_plan *plan, int64_t heads, int64_t queries, int64_t keys);
/* Rows of the whole map of a head, and its heads. */
int64_t atl_map_queries(const atl_plan *plan);
int64_t atl_map_heads(const atl_plan *plan);
int64_t atl_map_keys(const atl_plan *plan);

/* Takes the wanted rows of the map from the options. */
atl_status atl_bind_map(atl_run_state *run, int has_map, const atl_run_options *options, atl_error *error);
/* Takes the masks, of a plan that has heads and key_length. */
atl_status atl_bind_masks(atl_run_state *run, const atl_run_options *options, atl_error *error);
/* Takes key, value and masks from the options, or says that the kind has none; for kinds that have, heads and key_length
 * of the plan are set. */
atl_status atl_bind_inputs(atl_run_state *run, const atl_run_options *options, atl_error *error);
/* Those of one sample. */
atl_status atl_check_inputs(const atl_run_state *run, int64_t b, atl_error *error);

/* Overlap and range checks of a run: outputs against inputs and one another. */
atl_status atl_check_run(const atl_run_state *run, atl_error *error);

#endif
