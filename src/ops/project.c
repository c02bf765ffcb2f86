/* SPDX-License-Identifier: Apache-2.0 */
/* A linear layer over positions, lanes = positions. */
#include <string.h>

#include "../arena.h"
#include "../memory.h"
#include "../error.h"
#include "../plan.h"
#include "lanes.h"
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
    return kernels->gemm.mr * atl_max(1, 32768 / (k * kernels->gemm.mr));
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
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->tile, atl_project_rows(&plan->engine->kernels, op->k), nr, 1, error);
    return status;
}

/* ---- run ---- */

enum {
    LANES_BYTES = 256 * 1024, /* of a task's lanes, so that a second-level cache keeps them while all rows pass */
    IN_PLACE_FLOATS = 32768,  /* of an input whose lanes are read where they lie: well below a second-level cache */
    PACK_ROWS = 16            /* of products take as long as it takes to load their lanes */
};

/*
 * The positions of all samples go one after the other through the lanes, so that short samples leave none idle: lane i of the
 * run is position i % length of sample i / length. Results that go to y start at a lane panel with each of several samples.
 */
typedef struct job {
    const atl_run_state *run;
    const atl_project_op *ops; /* of the same positions and the same k */
    int count;
    int64_t length, lanes; /* lanes of a sample, and of all */
    atl_grid grid;         /* lanes x rows of all ops, each op's rounded up to whole tiles */
} job;

enum { MOST_SPANS = 64 }; /* of a lane panel: one for each lane at most */

/* Lanes that belong to one sample, and to one block where its positions are in panels. */
typedef struct span {
    int64_t b, from;      /* sample, position of the first */
    int64_t lanes, count; /* lanes, and how many of them have a position */
} span;

static span span_at(const job *j, int64_t lane, int64_t limit) {
    span s = {.b = lane / j->length, .from = lane % j->length};
    s.lanes = atl_min(limit, atl_min(j->length - s.from, ATL_BLOCK - s.from % ATL_BLOCK));
    s.count = atl_max(0, atl_min(s.lanes, j->ops->positions - s.from));
    return s;
}

static const float *input_tensor(const job *j, const atl_project_op *op, int64_t b) {
    atl_sample sample = atl_run_sample(j->run, b);
    return op->source == ATL_SOURCE_X ? sample.x : op->source == ATL_SOURCE_KEY ? sample.key : sample.value;
}

/* A span of tokens as lanes from `lane` on. */
static void pack_tokens(const job *j, const atl_project_op *op, const span *s, int64_t lane, float *lanes) {
    const atl_kernels *kernels = &j->run->plan->engine->kernels;
    const float *from = input_tensor(j, op, s->b) + s->from * op->k;
    int64_t nr = kernels->gemm.nr;
    for (int64_t i = 0, n; i < s->count; i += n) {
        int64_t at = lane + i;
        n = atl_min(s->count - i, nr - at % nr);
        kernels->transpose.fn(from + i * op->k, n, op->k, op->k, NULL, lanes + at / nr * nr * op->k + at % nr, nr);
    }
}

static void pack_span(const job *j, const atl_project_op *op, const span *s, int64_t lane, float *lanes) {
    int64_t nr = j->run->plan->engine->kernels.gemm.nr;
    if (op->source == ATL_SOURCE_PANELS)
        atl_lanes_copy(atl_panels_block(j->run, s->b, &op->from, s->from / ATL_BLOCK) + s->from % ATL_BLOCK,
                       ATL_PANEL_ROW, op->k, op->k, s->count, lane, nr, lanes);
    else if (op->tokens)
        pack_tokens(j, op, s, lane, lanes);
    else
        atl_lanes_copy(input_tensor(j, op, s->b) + s->from, j->run->x_row, op->k, op->k, s->count, lane, nr, lanes);
}

/* Lanes [first, end) as panels [lanes/nr][k][nr], zero where there is no position: behind the last of a sample. */
static void pack_lanes(const job *j, const atl_project_op *op, int64_t first, int64_t end, float *lanes) {
    int64_t nr = j->run->plan->engine->kernels.gemm.nr;
    for (int64_t lane = first; lane < end;) {
        span s = span_at(j, lane, end - lane);
        pack_span(j, op, &s, lane - first, lanes);
        lane += s.lanes;
        if (s.count < s.lanes || lane == end)
            atl_lanes_clear(op->k, lane - first - s.lanes + s.count, nr, lanes);
    }
}

/* Where row m of the lanes of a span goes. */
static float *span_panel(const job *j, const atl_project_op *op, int64_t m, const span *s) {
    return atl_panels_block(j->run, s->b, &op->to, s->from / ATL_BLOCK) + m * ATL_PANEL_ROW + s->from % ATL_BLOCK;
}

/* Lanes [lane, lane + nr) where they lie, of a sample that caches keep as it is: then they need no packing. Else NULL. */
static const float *lanes_in_place(const job *j, const atl_project_op *op, int64_t lane, int64_t *row) {
    int64_t nr = j->run->plan->engine->kernels.gemm.nr;
    span s = span_at(j, lane, nr);
    if (op->tokens || op->k > ATL_BLOCK || s.count < nr)
        return NULL;
    if (op->source == ATL_SOURCE_PANELS) {
        *row = ATL_PANEL_ROW;
        return atl_panels_block(j->run, s.b, &op->from, s.from / ATL_BLOCK) + s.from % ATL_BLOCK;
    }
    *row = j->run->x_row;
    return op->into_y || op->k * *row > IN_PLACE_FLOATS ? NULL : input_tensor(j, op, s.b) + s.from;
}

/* Packs those of lanes [first, end) that do not lie in place. */
static void pack_others(const job *j, const atl_project_op *op, int64_t first, int64_t end, float *lanes) {
    int64_t nr = j->run->plan->engine->kernels.gemm.nr, row;
    for (int64_t from = first, to; from < end; from = to) {
        for (to = from; to < end && !lanes_in_place(j, op, to, &row);)
            to += nr;
        if (from < to)
            pack_lanes(j, op, from, atl_min(to, end), lanes + (from - first) * op->k);
        else
            to += nr;
    }
}

/* Products of some rows over one lane panel, whose lanes are all in span s. */
static void multiply_span(const job *j, const atl_project_op *op, atl_gemm *g, int64_t m, const span *s) {
    const atl_run_state *run = j->run;
    atl_sample sample = atl_run_sample(run, s->b);
    g->n = s->count;
    g->span_count = 0;
    if (op->into_y) {
        g->y = sample.y + m * run->y_row + s->from;
        g->y_row = run->y_row;
        g->stream = atl_run_streams(run, g->y);
        g->residual = op->residual ? sample.x + m * run->x_row + s->from : NULL;
        g->residual_row = run->x_row;
    } else {
        g->y = span_panel(j, op, m, s);
        g->y_row = ATL_PANEL_ROW;
    }
    run->plan->engine->kernels.gemm.fn(g);
}

/* The same where the lanes are in several spans, by way of a tile. */
static void multiply_spans(const job *j, const atl_project_op *op, atl_gemm *g, int64_t m, int64_t first, int64_t end) {
    atl_gemm_span to[MOST_SPANS];
    g->n = end - first;
    g->residual = NULL;
    g->y = g->sums;
    g->y_row = g->sums_row;
    g->spans = to;
    g->spans_row = ATL_PANEL_ROW;
    g->span_count = 0;
    for (int64_t lane = first; lane < end; g->span_count++) {
        span s = span_at(j, lane, end - lane);
        to[g->span_count] = (atl_gemm_span){span_panel(j, op, m, &s), lane - first, s.count};
        lane += s.lanes;
    }
    j->run->plan->engine->kernels.gemm.fn(g);
}

/* Rows [row, row_end) of the products of lanes [first, end), which are packed. */
static void multiply_lanes(const job *j, const atl_project_op *op, int64_t row, int64_t row_end, int64_t first,
                           int64_t end, const float *lanes, float *tile) {
    const atl_kernels *kernels = &j->run->plan->engine->kernels;
    int64_t mr = kernels->gemm.mr, nr = kernels->gemm.nr, chunk = atl_project_rows(kernels, op->k);
    atl_gemm g = {.k = op->k, .a_tile = op->k * mr, .a_step = mr, .sums = tile, .sums_row = nr};
    for (int64_t m = row; m < row_end; m += chunk) {
        g.m = atl_min(chunk, row_end - m);
        g.a = op->weight + m * op->k;
        g.row_bias = op->affine.bias ? op->affine.bias + m : NULL;
        g.row_scale = op->affine.scale ? op->affine.scale + m : NULL;
        g.row_shift = op->affine.shift ? op->affine.shift + m : NULL;
        for (int64_t p = first; p < end; p += nr) {
            int64_t panel = atl_min(nr, end - p);
            span s = span_at(j, p, panel);
            g.b = lanes_in_place(j, op, p, &g.b_row);
            if (!g.b) {
                g.b = lanes + (p - first) * op->k;
                g.b_row = nr;
            }
            if (s.lanes == panel)
                multiply_span(j, op, &g, m, &s);
            else
                multiply_spans(j, op, &g, m, p, p + panel);
        }
    }
}

/* Whether what ops i and i - 1 read in these lanes is the same. */
static int same_input(const job *j, int i, int64_t first, int64_t end) {
    const atl_project_op *a = &j->ops[i - 1], *b = &j->ops[i];
    if (a->source == ATL_SOURCE_PANELS || b->source == ATL_SOURCE_PANELS)
        return 0;
    for (int64_t sample = first / j->length; sample <= (end - 1) / j->length; sample++)
        if (input_tensor(j, a, sample) != input_tensor(j, b, sample))
            return 0;
    return 1;
}

/* Rows of an op within those of all. */
static int64_t tile_rows(const job *j, const atl_project_op *op) {
    return atl_round_up(op->m, j->run->plan->engine->kernels.gemm.mr);
}

static void project_lanes(void *context, int64_t task, int slot) {
    const job *j = context;
    atl_cell cell = atl_grid_cell(&j->grid, task);
    float *scratch = atl_run_scratch(j->run, slot), *lanes = scratch + j->ops->lanes;
    int packed = 0;
    for (int i = 0; i < j->count; i++) {
        const atl_project_op *op = &j->ops[i];
        packed = packed && same_input(j, i, cell.column, cell.column_end);
        int64_t row = atl_max(0, cell.row), end = atl_min(cell.row_end, op->m);
        if (row < end && !packed)
            pack_others(j, op, cell.column, cell.column_end, lanes);
        packed |= row < end;
        multiply_lanes(j, op, row, end, cell.column, cell.column_end, lanes, scratch + op->tile);
        cell.row -= tile_rows(j, op);
        cell.row_end -= tile_rows(j, op);
    }
}

void atl_project_run_together(const atl_run_state *run, const atl_project_op *ops, int count) {
    int64_t mr = run->plan->engine->kernels.gemm.mr, nr = run->plan->engine->kernels.gemm.nr, length = ops->positions;
    if (ops->into_y && run->batch > 1)
        length = atl_round_up(length, nr);
    job j = {run, ops, count, length, run->batch * length, {0}};
    int64_t most = LANES_BYTES / (int64_t)sizeof(float) / ops->k / nr * nr, rows = 0;
    for (int i = 0; i < count; i++)
        rows += tile_rows(&j, &ops[i]);
    int whole = ops->into_y && ops->source == ATL_SOURCE_X; /* y may be x, and is written where that has been read */
    j.grid = (atl_grid){.samples = 1,
                        .columns = j.lanes,
                        .rows = rows,
                        .column_unit = nr,
                        .column_least = nr,
                        .column_most = atl_max(2 * nr, atl_min(most, ATL_BLOCK)),
                        .row_unit = whole ? rows : mr,
                        .column_cost = PACK_ROWS,
                        .row_cost = nr / 4,
                        .cuts_last = 1};
    atl_run_split(run, &j.grid);
    atl_run_tasks(run, project_lanes, &j, atl_grid_tasks(&j.grid));
}

void atl_project_run(const atl_run_state *run, const atl_project_op *op) {
    atl_project_run_together(run, op, 1);
}

void atl_project_describe(const atl_plan *plan, const atl_project_op *op, atl_text *text) {
    atl_text_add(text, "project: %lld x %lld over %lld positions into %s, blocks of %d (%s)\n", (long long)op->m,
                 (long long)op->k, (long long)op->positions,
                 op->into_y ? op->residual ? "the output, input added" : "the output" : "panels", ATL_BLOCK,
                 plan->engine->kernels.gemm.variant);
}
