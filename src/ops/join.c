/* SPDX-License-Identifier: Apache-2.0 */
/* A linear layer from panels to rows of positions in y, lanes = outputs: nothing is transposed. */
#include <string.h>

#include "../arena.h"
#include "../error.h"
#include "../memory.h"
#include "../plan.h"
#include "lanes.h"
#include "ops.h"

enum {
    STRIP = 96,     /* rows of a task at most */
    IN_PLACE = 128, /* columns of rows that a first-level cache takes as they lie */
    PACK_LANES = 8  /* of products take as long as it takes to load a row */
};

atl_status atl_join_plan(atl_plan *plan, atl_linear *linear, atl_join_op *op, atl_error *error) {
    int64_t nr = plan->engine->kernels.gemm.nr;
    op->weight = atl_linear_pack(linear, (int)nr);
    if (!op->weight)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for packed weights");
    op->bias = linear->bias;
    op->m = linear->m;
    op->k = linear->k;
    atl_status status = atl_reserve_slot(plan, &op->rows, op->k, STRIP, 1, error);
    return status == ATL_OK ? atl_reserve_slot(plan, &op->sums, STRIP, nr, 1, error) : status;
}

/* Rows are positions: of one sample after the other where their outputs lie one behind the other. */
typedef struct job {
    const atl_run_state *run;
    const atl_join_op *op;
    int64_t rows;  /* that follow each other: of a sample, or of all */
    atl_grid grid; /* rows x outputs */
} job;

/* `count` positions of k rows of a panel as tiles [][k][mr], from row `row` of them on: as the panel lies in memory. */
static void pack_span(const float *panel, int64_t k, int64_t count, int64_t row, int64_t mr, float *tiles) {
    for (int64_t l = 0; l < k; l++, panel += ATL_PANEL_ROW) {
        atl_fetch_row_ahead(panel, ATL_PANEL_ROW, 0, k - l, count);
        for (int64_t i = 0, n; i < count; i += n) {
            int64_t at = row + i;
            float *to = tiles + at / mr * mr * k + l * mr + at % mr;
            n = atl_min(mr - at % mr, count - i);
            if (n == 12) /* the most frequent height without a call */
                memcpy(to, panel + i, 12 * sizeof(float));
            else
                memcpy(to, panel + i, (size_t)n * sizeof(float));
        }
    }
}

/* `count` rows from `from` on, counted from sample b on, as tiles [ceil(count/mr)][k][mr]; what is past count is not written. */
static void pack_rows(const job *j, int64_t b, int64_t from, int64_t count, int64_t mr, float *rows) {
    const atl_join_op *op = j->op;
    for (int64_t i = 0, n; i < count; i += n) {
        int64_t sample = b + (from + i) / op->positions, at = (from + i) % op->positions;
        n = atl_min(count - i, atl_min(op->positions - at, ATL_BLOCK - at % ATL_BLOCK));
        pack_span(atl_panels_block(j->run, sample, &op->from, at / ATL_BLOCK) + at % ATL_BLOCK, op->k, n, i, mr, rows);
    }
}

/* Where these rows lie in a panel, if one has all of them and they need no packing; else NULL. */
static const float *rows_in_place(const job *j, int64_t b, int64_t from, int64_t count) {
    const atl_join_op *op = j->op;
    int64_t at = from % op->positions;
    if (op->k > IN_PLACE || at + count > op->positions || at % ATL_BLOCK + count > ATL_BLOCK)
        return NULL;
    return atl_panels_block(j->run, b + from / op->positions, &op->from, at / ATL_BLOCK) + at % ATL_BLOCK;
}

static void join_strip(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_join_op *op = j->op;
    const atl_kernels *kernels = &j->run->plan->engine->kernels;
    int64_t mr = kernels->gemm.mr, nr = kernels->gemm.nr;
    atl_cell cell = atl_grid_cell(&j->grid, task);
    float *scratch = atl_run_scratch(j->run, slot), *y = atl_run_sample(j->run, cell.sample).y + cell.column * op->m;
    atl_gemm g = {.m = cell.column_end - cell.column,
                  .k = op->k,
                  .a = scratch + op->rows,
                  .a_tile = op->k * mr,
                  .a_step = mr,
                  .b_row = nr,
                  .y_row = op->m,
                  .sums = scratch + op->sums,
                  .sums_row = nr};
    const float *rows = rows_in_place(j, cell.sample, cell.column, g.m);
    if (rows) {
        g.a = rows;
        g.a_tile = mr;
        g.a_step = ATL_PANEL_ROW;
    } else {
        pack_rows(j, cell.sample, cell.column, g.m, mr, scratch + op->rows);
    }
    for (int64_t p = cell.row; p < cell.row_end; p += nr) {
        g.n = atl_min(nr, cell.row_end - p);
        g.b = op->weight + p * op->k;
        g.lane_bias = op->bias ? op->bias + p : NULL;
        g.y = y + p;
        kernels->gemm.fn(&g);
    }
}

void atl_join_run(const atl_run_state *run, const atl_join_op *op) {
    int together = !run->samples && run->y_stride == op->positions * op->m;
    int64_t samples = together ? 1 : run->batch, mr = run->plan->engine->kernels.gemm.mr;
    job j = {run, op, run->batch / samples * op->positions, {0}};
    j.grid = (atl_grid){.samples = samples,
                        .columns = j.rows,
                        .rows = op->m,
                        .column_unit = mr,
                        .column_least = mr,
                        .column_most = STRIP / mr * mr,
                        .row_unit = run->plan->engine->kernels.gemm.nr,
                        .column_cost = PACK_LANES,
                        .row_cost = mr / 2,
                        .cuts_last = 1};
    atl_run_split(run, &j.grid);
    atl_run_tasks(run, join_strip, &j, atl_grid_tasks(&j.grid));
}

void atl_join_describe(const atl_plan *plan, const atl_join_op *op, atl_text *text) {
    atl_text_add(text, "join: %lld x %lld over %lld positions into the output, blocks of %d (%s)\n", (long long)op->m,
                 (long long)op->k, (long long)op->positions, ATL_BLOCK, plan->engine->kernels.gemm.variant);
}
