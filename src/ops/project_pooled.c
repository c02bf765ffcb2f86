/* SPDX-License-Identifier: Apache-2.0 */
/* A linear layer over positions with max pooling behind it, lanes = positions of windows. */
#include "../arena.h"
#include "../error.h"
#include "../memory.h"
#include "../plan.h"
#include "ops.h"

enum { LANES_MIN = 64 /* of a task when windows are few; ATL_BLOCK otherwise */ };

static int64_t window_size(const atl_project_pooled_op *op) {
    return op->window_rows * 2;
}

/* ---- plan ---- */

atl_status atl_project_pooled_plan(atl_plan *plan, atl_linear *linear, atl_project_pooled_op *op, atl_error *error) {
    const atl_kernels *kernels = &plan->engine->kernels;
    op->weight = atl_linear_pack(linear, kernels->gemm.mr);
    if (!op->weight)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for packed weights");
    op->bias = linear->bias;
    op->m = linear->m;
    op->k = linear->k;
    op->positions = op->planes * (op->height / op->window_rows) * (op->width / 2);
    atl_status status = atl_panels_reserve(plan, op->m, op->positions, &op->to, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->lanes, op->k, ATL_BLOCK, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->products, atl_project_rows(kernels, op->k), ATL_PANEL_ROW, 1, error);
    return status;
}

/* ---- run ---- */

typedef struct job {
    const atl_run_state *run;
    const atl_project_pooled_op *op;
    int64_t width, strips; /* pooled positions of a task, tasks of a sample */
} job;

/* Where in a row of x the elements of windows [from, from + count) are: their first ones, then their second ones, ... */
static void window_positions(const atl_project_pooled_op *op, int64_t from, int64_t count, int64_t *at) {
    int64_t columns = op->width / 2, rows = op->height / op->window_rows;
    for (int64_t i = 0; i < count; i++) {
        int64_t column = (from + i) % columns, row = (from + i) / columns % rows, plane = (from + i) / columns / rows;
        int64_t first = (plane * op->height + row * op->window_rows) * op->width + column * 2;
        for (int64_t w = 0; w < window_size(op); w++)
            at[w * count + i] = first + w / 2 * op->width + w % 2;
    }
}

/* The positions as lane panels [ceil(count/nr)][k][nr], zero beyond count. */
static void gather_lanes(const float *x, int64_t x_row, int64_t k, const int64_t *at, int64_t count, int64_t nr,
                         float *lanes) {
    for (int64_t p = 0; p < count; p += nr) {
        int64_t n = atl_min(nr, count - p);
        for (int64_t l = 0; l < k; l++) {
            float *to = lanes + p * k + l * nr;
            const float *row = x + l * x_row;
            for (int64_t i = 0; i < n; i++)
                to[i] = row[at[p + i]];
            for (int64_t i = n; i < nr; i++)
                to[i] = 0.0f;
        }
    }
}

/* Rows of products over packed lanes, and their maxima over windows into the panels. */
static void multiply_windows(const job *j, int64_t b, int64_t from, int64_t count, float *scratch) {
    const atl_project_pooled_op *op = j->op;
    const atl_kernels *kernels = &j->run->plan->engine->kernels;
    int64_t mr = kernels->gemm.mr, nr = kernels->gemm.nr, chunk = atl_project_rows(kernels, op->k);
    float *products = scratch + op->products;
    float *to = atl_panels_block(j->run, b, &op->to, from / ATL_BLOCK) + from % ATL_BLOCK;
    atl_gemm g = {.n = nr,
                  .k = op->k,
                  .a_tile = op->k * mr,
                  .a_step = mr,
                  .b_row = nr,
                  .y_row = ATL_PANEL_ROW,
                  .sums_row = ATL_PANEL_ROW};
    for (int64_t m = 0; m < op->m; m += chunk) {
        g.m = atl_min(chunk, op->m - m);
        g.a = op->weight + m * op->k;
        g.row_bias = op->bias ? op->bias + m : NULL;
        for (int64_t p = 0; p < window_size(op) * count; p += nr) {
            g.b = scratch + op->lanes + p * op->k;
            g.y = g.sums = products + p;
            kernels->gemm.fn(&g);
        }
        kernels->window_max.fn(products, count, g.m, ATL_PANEL_ROW, window_size(op), count, to + m * ATL_PANEL_ROW,
                               ATL_PANEL_ROW);
    }
}

static void pooled_strip(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_project_pooled_op *op = j->op;
    int64_t b = task / j->strips, from = task % j->strips * j->width;
    int64_t count = atl_min(j->width, op->positions - from), at[ATL_BLOCK];
    float *scratch = atl_run_scratch(j->run, slot);
    window_positions(op, from, count, at);
    gather_lanes(atl_run_sample(j->run, b).x, j->run->x_row, op->k, at, window_size(op) * count,
                 j->run->plan->engine->kernels.gemm.nr, scratch + op->lanes);
    multiply_windows(j, b, from, count, scratch);
}

void atl_project_pooled_run(const atl_run_state *run, const atl_project_pooled_op *op) {
    int64_t threads = atl_pool_threads(run->plan->engine->pool), whole = ATL_BLOCK / window_size(op);
    int many = run->batch * atl_ceil_div(op->positions, whole) >= 4 * threads;
    int64_t width = many ? whole : LANES_MIN / window_size(op);
    job j = {run, op, width, atl_ceil_div(op->positions, width)};
    atl_run_tasks(run, pooled_strip, &j, run->batch * j.strips);
}

void atl_project_pooled_describe(const atl_plan *plan, const atl_project_pooled_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_text_add(
        text,
        "project: %lld x %lld, maxima over windows of %lld x 2 at %lld positions into panels, blocks of %d (%s, %s)\n",
        (long long)op->m, (long long)op->k, (long long)op->window_rows, (long long)op->positions, ATL_BLOCK,
        k->gemm.variant, k->window_max.variant);
}
