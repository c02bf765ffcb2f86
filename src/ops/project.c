/* SPDX-License-Identifier: Apache-2.0 */
/* A linear layer over positions, lanes = positions. */
#include <string.h>

#include "../arena.h"
#include "../memory.h"
#include "../error.h"
#include "../plan.h"
#include "ops.h"

/* ---- panels ---- */

atl_status atl_panels_reserve(atl_plan *plan, int64_t rows, int64_t positions, atl_panels *panels, atl_error *error) {
    *panels = (atl_panels){.rows = rows};
    return atl_reserve_sample(plan, &panels->at, atl_ceil_div(positions, ATL_BLOCK), rows, ATL_PANEL_ROW, error);
}

float *atl_panels_block(const atl_run_state *run, int64_t b, const atl_panels *panels, int64_t block) {
    return atl_run_workspace(run, b) + panels->at + (block * panels->rows + panels->row) * ATL_PANEL_ROW;
}

typedef struct copy_job {
    const atl_run_state *run;
    const atl_panels *panels;
    int64_t blocks;
} copy_job;

static void copy_block(void *context, int64_t task, int slot) {
    (void)slot;
    const copy_job *j = context;
    const atl_plan *plan = j->run->plan;
    int64_t b = task / j->blocks, block = task % j->blocks, n = atl_min(ATL_BLOCK, plan->positions - block * ATL_BLOCK);
    const float *x = atl_run_sample(j->run, b).x + block * ATL_BLOCK;
    float *to = atl_panels_block(j->run, b, j->panels, block);
    for (int64_t l = 0; l < plan->channels; l++)
        memcpy(to + l * ATL_PANEL_ROW, x + l * j->run->x_row, (size_t)n * sizeof(float));
    for (int64_t l = plan->channels; l < j->panels->rows; l++)
        for (int64_t i = 0; i < n; i++)
            to[l * ATL_PANEL_ROW + i] = 1.0f;
}

void atl_panels_copy_x(const atl_run_state *run, const atl_panels *panels) {
    copy_job j = {run, panels, atl_ceil_div(run->plan->positions, ATL_BLOCK)};
    atl_run_tasks(run, copy_block, &j, run->batch * j.blocks);
}

/* ---- plan ---- */

int64_t atl_project_rows(const atl_kernels *kernels, int64_t k) {
    return kernels->gemm.mr * atl_max(1, 4096 / (k * kernels->gemm.mr));
}

atl_status atl_project_plan(atl_plan *plan, atl_linear *linear, atl_project_op *op, atl_error *error) {
    int64_t mr = plan->engine->kernels.gemm.mr, nr = plan->engine->kernels.gemm.nr;
    op->weight = atl_linear_pack(linear, (int)mr);
    if (!op->weight)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for packed weights");
    if (linear->bias)
        op->affine.bias = linear->bias;
    op->m = linear->m;
    op->k = linear->k;
    atl_status status = ATL_OK;
    if (!op->into_y)
        status = atl_panels_reserve(plan, op->m, op->positions, &op->to, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->lanes, op->k, ATL_BLOCK, 1, error);
    if (status == ATL_OK && op->into_y)
        status = atl_reserve_slot(plan, &op->sums, atl_project_rows(&plan->engine->kernels, op->k), nr, 1, error);
    return status;
}

/* ---- run ---- */

enum { STRIP_MIN = 64 /* positions of a task when blocks are few; a multiple of every gemm tile's lanes */ };

typedef struct job {
    const atl_run_state *run;
    const atl_project_op *op;
    int64_t width, strips; /* positions of a task, a divisor of ATL_BLOCK, and tasks of a sample */
} job;

/* Where the rows of the input are, from a position on. */
typedef struct rows {
    const float *at;
    int64_t row, position; /* steps */
} rows;

static rows input_rows(const job *j, int64_t b, int64_t from) {
    const atl_project_op *op = j->op;
    if (op->source == ATL_SOURCE_PANELS)
        return (rows){atl_panels_block(j->run, b, &op->from, from / ATL_BLOCK) + from % ATL_BLOCK, ATL_PANEL_ROW, 1};
    atl_sample sample = atl_run_sample(j->run, b);
    const float *tensor = op->source == ATL_SOURCE_X     ? sample.x
                          : op->source == ATL_SOURCE_KEY ? sample.key
                                                         : sample.value;
    return op->tokens ? (rows){tensor + from * op->k, 1, op->k} : (rows){tensor + from, j->run->x_row, 1};
}

/* `count` positions as lane panels [ceil(count/nr)][k][nr], zero beyond count. */
static void pack_lanes(const atl_kernels *kernels, rows in, int64_t k, int64_t count, float *lanes) {
    int64_t nr = kernels->gemm.nr;
    for (int64_t p = 0; p < count; p += nr) {
        int64_t n = atl_min(nr, count - p);
        float *to = lanes + p * k;
        for (int64_t l = 0; l < k && in.position == 1; l++)
            memcpy(to + l * nr, in.at + l * in.row + p, (size_t)n * sizeof(float));
        if (in.position != 1)
            kernels->transpose.fn(in.at + p * in.position, n, k, in.position, NULL, to, nr);
        for (int64_t l = 0; l < k && n < nr; l++)
            memset(to + l * nr + n, 0, (size_t)(nr - n) * sizeof(float));
    }
}

/* The products of one strip, whose lanes are packed. */
static void multiply_strip(const job *j, int64_t b, int64_t from, int64_t count, float *scratch) {
    const atl_run_state *run = j->run;
    const atl_project_op *op = j->op;
    const atl_kernels *kernels = &run->plan->engine->kernels;
    int64_t mr = kernels->gemm.mr, nr = kernels->gemm.nr, chunk = atl_project_rows(kernels, op->k);
    atl_gemm g = {.k = op->k, .a_tile = op->k * mr, .a_step = mr, .b_row = nr};
    float *y = NULL;
    const float *residual = NULL;
    if (op->into_y) {
        atl_sample sample = atl_run_sample(run, b);
        y = sample.y + from;
        residual = op->residual ? sample.x + from : NULL;
        g.y_row = run->y_row, g.residual_row = run->x_row;
    } else {
        y = atl_panels_block(run, b, &op->to, from / ATL_BLOCK) + from % ATL_BLOCK;
        g.y_row = ATL_PANEL_ROW;
    }
    for (int64_t m = 0; m < op->m; m += chunk)
        for (int64_t p = 0; p < count; p += nr) {
            g.m = atl_min(chunk, op->m - m);
            g.n = op->into_y ? atl_min(nr, count - p) : nr;
            g.a = op->weight + m * op->k;
            g.b = scratch + op->lanes + p * op->k;
            g.row_bias = op->affine.bias ? op->affine.bias + m : NULL;
            g.row_scale = op->affine.scale ? op->affine.scale + m : NULL;
            g.row_shift = op->affine.shift ? op->affine.shift + m : NULL;
            g.residual = residual ? residual + m * g.residual_row + p : NULL;
            g.y = y + m * g.y_row + p;
            g.sums = op->into_y ? scratch + op->sums : g.y;
            g.sums_row = op->into_y ? nr : g.y_row;
            kernels->gemm.fn(&g);
        }
}

static void project_strip(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_project_op *op = j->op;
    int64_t b = task / j->strips, from = task % j->strips * j->width;
    int64_t count = atl_min(j->width, op->positions - from);
    float *scratch = atl_run_scratch(j->run, slot);
    pack_lanes(&j->run->plan->engine->kernels, input_rows(j, b, from), op->k, count, scratch + op->lanes);
    multiply_strip(j, b, from, count, scratch);
}

void atl_project_run(const atl_run_state *run, const atl_project_op *op) {
    int64_t threads = atl_pool_threads(run->plan->engine->pool);
    int many = run->batch * atl_ceil_div(op->positions, ATL_BLOCK) >= 4 * threads;
    int64_t width = many ? ATL_BLOCK : STRIP_MIN;
    job j = {run, op, width, atl_ceil_div(op->positions, width)};
    atl_run_tasks(run, project_strip, &j, run->batch * j.strips);
}

void atl_project_describe(const atl_plan *plan, const atl_project_op *op, atl_text *text) {
    atl_text_add(text, "project: %lld x %lld over %lld positions into %s, blocks of %d (%s)\n", (long long)op->m,
                 (long long)op->k, (long long)op->positions,
                 op->into_y ? op->residual ? "the output, input added" : "the output" : "panels", ATL_BLOCK,
                 plan->engine->kernels.gemm.variant);
}
