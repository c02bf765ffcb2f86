/* SPDX-License-Identifier: Apache-2.0 */
/* Strided tensors of several heads into panels, and panels back into one. */
#include <string.h>

#include "../memory.h"
#include "../plan.h"
#include "ops.h"

typedef struct job {
    const atl_run_state *run;
    const atl_view_op *op;
    int64_t blocks; /* of a head */
} job;

/* Where the elements of `count` positions of a block of a head are, in the tensor and in the panels. */
typedef struct place {
    float *tensor, *panel;
    int64_t count;
} place;

float *atl_view_at(const atl_run_state *run, const atl_view_op *op, int64_t b, int64_t h, int64_t i) {
    atl_sample sample = atl_run_sample(run, b);
    float *tensor = op->source == ATL_SOURCE_PANELS ? sample.y
                    : op->source == ATL_SOURCE_X    ? (float *)sample.x
                    : op->source == ATL_SOURCE_KEY  ? (float *)sample.key
                                                    : (float *)sample.value;
    return tensor + h * op->head + i * op->position;
}

static place find(const job *j, int64_t task) {
    const atl_view_op *op = j->op;
    int64_t block = task % j->blocks, h = task / j->blocks % op->heads, b = task / j->blocks / op->heads;
    atl_panels panels = op->panels;
    panels.row += h * op->dim;
    return (place){atl_view_at(j->run, op, b, h, block * ATL_BLOCK), atl_panels_block(j->run, b, &panels, block),
                   atl_min(ATL_BLOCK, op->positions - block * ATL_BLOCK)};
}

static void gather(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_view_op *op = j->op;
    place at = find(j, task);
    if (op->feature == 1) {
        j->run->plan->engine->kernels.transpose.fn(at.tensor, at.count, op->dim, op->position, NULL, at.panel,
                                                   ATL_PANEL_ROW);
        return;
    }
    for (int64_t r = 0; r < op->dim; r++)
        for (int64_t i = 0; i < at.count; i++)
            at.panel[r * ATL_PANEL_ROW + i] = at.tensor[r * op->feature + i * op->position];
}

static void scatter(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    const atl_view_op *op = j->op;
    place at = find(j, task);
    if (op->feature == 1) {
        j->run->plan->engine->kernels.transpose.fn(at.panel, op->dim, at.count, ATL_PANEL_ROW, NULL, at.tensor,
                                                   op->position);
        return;
    }
    for (int64_t r = 0; r < op->dim; r++)
        for (int64_t i = 0; i < at.count; i++)
            at.tensor[r * op->feature + i * op->position] = at.panel[r * ATL_PANEL_ROW + i];
}

void atl_view_run(const atl_run_state *run, const atl_view_op *op) {
    job j = {run, op, atl_ceil_div(op->positions, ATL_BLOCK)};
    const int64_t tasks = run->batch * op->heads * j.blocks;
    if (op->source == ATL_SOURCE_PANELS)
        atl_run_tasks(run, scatter, &j, tasks);
    else
        atl_run_tasks(run, gather, &j, tasks);
}
