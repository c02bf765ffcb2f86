/* SPDX-License-Identifier: Apache-2.0 */
/* What attention and its map share: a run of the op, and one head of one sample of it. */
#ifndef ATL_SRC_ATTEND_H
#define ATL_SRC_ATTEND_H

#include "../plan.h"
#include "mask.h"

enum { ATL_MAP_ROWS = 48 /* of a task; a multiple of every map tile */ };

typedef struct atl_attend_job {
    const atl_run_state *run;
    const atl_attend_op *op;
    const atl_kernels *kernels;
    float slope;   /* scale * log2(e): queries are multiplied by it, so that weights are powers of 2 */
    int64_t tiles; /* of a head */
    int wants_statistics;
    int64_t row_tasks; /* of the map, a head */
    int stream_map;    /* the maps of the run are larger than the last-level cache */
} atl_attend_job;

/* A head of a sample of the run. */
typedef struct atl_attend_head {
    int64_t b, h;
    atl_panels q, k, v, to;
    atl_mask mask;
} atl_attend_head;

/* The head that comes `index`th in the run. */
atl_attend_head atl_attend_run_head(const atl_attend_job *j, int64_t index);

/* Where the maxima of a head's queries are kept for the map; their sums follow. */
float *atl_attend_statistics(const atl_attend_job *j, const atl_attend_head *head);

/* A task of the map: ATL_MAP_ROWS wanted rows of a head. */
void atl_attend_map_rows(void *context, int64_t task, int slot);

#endif
