/* SPDX-License-Identifier: Apache-2.0 */
/* What the stages of channel attention share. */
#ifndef ATL_SRC_CHANNEL_ATTEND_H
#define ATL_SRC_CHANNEL_ATTEND_H

#include "../plan.h"
#include "ops.h"

/* Outputs that stay in the second-level cache while positions pass; a multiple of every tile's rows and of every lane panel. */
enum { ATL_CHANNEL_ROWS = 96 };

/* Columns of M^T, and of the row below, from output i on: [][channels + 1][ATL_CHANNEL_ROWS], so that what the rows of an output
 * task read lies together. */
static inline float *atl_channel_mixed(const atl_channel_attend_op *op, float *workspace, int64_t i) {
    return workspace + op->mixed + i / ATL_CHANNEL_ROWS * ATL_CHANNEL_ROWS * (op->channels + 1) + i % ATL_CHANNEL_ROWS;
}

typedef struct atl_channel_job {
    const atl_run_state *run;
    const atl_channel_attend_op *op;
    const atl_kernels *kernels;
    atl_grid grid; /* of the stage under way */
} atl_channel_job;

/* Runs the tasks of the job's grid. */
#define atl_channel_stage(job, function) atl_run_tasks((job)->run, function, job, atl_grid_tasks(&(job)->grid))

/* From the Gram matrix or the logits to the map and, with fold, to the matrix of the output. */
void atl_channel_panels(atl_channel_job *job);

#endif
