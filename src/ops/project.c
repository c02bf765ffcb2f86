/* SPDX-License-Identifier: Apache-2.0 */
/* A linear layer over positions, lanes = positions. Its rows stay in the workspace as panels that attention reads. */
#include <string.h>

#include "../arena.h"
#include "../memory.h"
#include "../error.h"
#include "../plan.h"
#include "ops.h"

atl_status atl_project_plan(atl_plan *plan, atl_linear *linear, atl_project_op *op, atl_error *error) {
    op->weight = atl_linear_pack(linear, plan->engine->kernels.gemm.mr);
    if (!op->weight)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for packed weights");
    op->bias = linear->bias;
    op->m = linear->m;
    op->k = linear->k;
    int64_t blocks = atl_ceil_div(plan->positions, ATL_BLOCK);
    atl_status status = atl_reserve_sample(plan, &op->panels, blocks, op->m, ATL_PANEL_ROW, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->lanes, op->k, ATL_BLOCK, 1, error);
    return status;
}

enum { STRIP_MIN = 64 /* positions of a task when blocks are few; a multiple of every gemm tile's lanes */ };

typedef struct job {
    const atl_run_state *run;
    const atl_project_op *op;
    int64_t width, strips; /* positions of a task, a divisor of ATL_BLOCK, and tasks of a sample */
} job;

/* Positions [0, count) of x as lane panels [ceil(count/nr)][k][nr], zero beyond count. */
static void pack_lanes(const float *x, int64_t row, int64_t k, int64_t count, int64_t nr, float *lanes) {
    for (int64_t p = 0; p < count; p += nr) {
        int64_t n = atl_min(nr, count - p);
        for (int64_t l = 0; l < k; l++) {
            float *to = lanes + p * k + l * nr;
            memcpy(to, x + l * row + p, (size_t)n * sizeof(float));
            memset(to + n, 0, (size_t)(nr - n) * sizeof(float));
        }
    }
}

static void project_strip(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_run_state *run = j->run;
    const atl_project_op *op = j->op;
    const atl_kernels *kernels = &run->plan->engine->kernels;
    int64_t b = task / j->strips, from = task % j->strips * j->width, nr = kernels->gemm.nr;
    int64_t count = atl_min(j->width, run->plan->positions - from);
    float *lanes = atl_run_scratch(run, slot) + op->lanes;
    float *panel = atl_run_workspace(run, b) + op->panels + from / ATL_BLOCK * op->m * ATL_PANEL_ROW + from % ATL_BLOCK;
    pack_lanes(atl_run_sample(run, b).x + from, run->x_row, op->k, count, nr, lanes);
    /* a few row panels of weights stay in the first-level cache while all lanes pass */
    int64_t rows = (int64_t)kernels->gemm.mr * atl_max(1, 4096 / (op->k * kernels->gemm.mr));
    for (int64_t m = 0; m < op->m; m += rows)
        for (int64_t p = 0; p < count; p += nr)
            kernels->gemm.fn(atl_min(rows, op->m - m), op->k, op->weight + m * op->k, lanes + p * op->k,
                             op->bias ? op->bias + m : NULL, panel + m * ATL_PANEL_ROW + p, ATL_PANEL_ROW);
}

void atl_project_run(const atl_run_state *run, const atl_project_op *op) {
    int64_t threads = atl_pool_threads(run->plan->engine->pool), positions = run->plan->positions;
    int many = run->batch * atl_ceil_div(positions, ATL_BLOCK) >= 4 * threads;
    int64_t width = many ? ATL_BLOCK : STRIP_MIN;
    job j = {run, op, width, atl_ceil_div(positions, width)};
    atl_run_tasks(run, project_strip, &j, run->batch * j.strips);
}

void atl_project_describe(const atl_plan *plan, const atl_project_op *op, atl_text *text) {
    atl_text_add(text, "project: %lld x %lld over %lld positions into panels of %d, blocks of %d (%s)\n",
                 (long long)op->m, (long long)op->k, (long long)plan->positions, ATL_BLOCK, ATL_BLOCK,
                 plan->engine->kernels.gemm.variant);
}
