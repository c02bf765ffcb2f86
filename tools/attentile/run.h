/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile run`: what its parts hand one another. */
#ifndef ATTENTILE_TOOLS_RUN_H
#define ATTENTILE_TOOLS_RUN_H

#include <attentile/attentile.h>
#include <attentile/io.h>

#include "command.h"

enum {
    RUN_LAYER,
    RUN_PREFIX,
    RUN_RENAME,
    RUN_SET,
    RUN_INPUT,
    RUN_KEY,
    RUN_VALUE,
    RUN_MASK,
    RUN_OUTPUT,
    RUN_MAP,
    RUN_MAP_ROWS,
    RUN_THREADS,
    RUN_REPEAT,
    RUN_JSON,
    RUN_OPTION_COUNT
};

typedef struct run_job {
    const arguments *arguments;
    const char *weights_path, *input_path, *output_path;
    const char *map_path, *key_path, *value_path, *mask_path; /* may be NULL */
    atl_param *set, *renames;
    size_t set_count, rename_count;
    int64_t threads, repeat;
    int64_t *rows; /* --map-rows, or NULL */
    int64_t row_count;

    atl_checkpoint *checkpoint;
    atl_layer *layer;
    atl_engine *engine;
    atl_engine_info engine_info;
    atl_plan *plan;
    atl_plan_info plan_info;
    int batch_axis; /* of x and y: 1 with batch_first=false */
    int64_t batch;
    atl_array x, y, map;        /* map.data NULL = not asked for */
    atl_array key, value, mask; /* data NULL = not given */
    double *seconds;            /* of the runs that count */
    int runs;
} run_job;

/* run_options.c: fills in what the command line says and checks what can be checked without opening a file. */
int run_read_options(run_job *job);
/* run_paths.c: an output must be in a folder that can be written, and no input or other output. */
int run_check_paths(const run_job *job);
/* run_inputs.c: key, value and mask, once the layer and x are there; whether an array is float32; whether the mask fits the
 * plan. */
int run_read_inputs(run_job *job);
int run_check_dtype(const char *path, const atl_array *array);
int run_check_mask(const run_job *job);
/* run_prepare.c: checkpoint, layer, input, engine, plan and memory for the outputs. */
int run_prepare(run_job *job);
/* run_report.c: prints the times. */
int run_report(const run_job *job);

#endif
