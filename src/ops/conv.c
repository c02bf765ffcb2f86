/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct convolution. Planes are copied once, their lines one behind the other and with lines of zeros above and below, so that
 * every term of an output pixel's sum lies a fixed distance from it, or beyond an end of the line. Lanes run over all pixels of
 * a plane, and what is beyond the end of a line is masked.
 */
#include "../arena.h"
#include "../error.h"
#include "../memory.h"
#include "../plan.h"
#include "ops.h"

enum {
    PLANE_FLOATS = 128 * 1024, /* of a band: with the weights of a tile they share a second-level cache */
    LEAST_PIXELS = 96,         /* of a task's lines, about */
    UNIT_ROWS = 8,             /* output channels of the smallest piece; a multiple of every conv tile */
    LINE = ATL_ALIGN / (int)sizeof(float)
};

/* ---- plan ---- */

/* Floats of a plane for `band` output lines: also what the last vector reads beyond them, and an odd number of cache lines,
 * so that the planes of many channels spread over all sets of a cache. */
static int plane_floats(const atl_conv_op *op, int64_t band, int64_t *floats) {
    if (!atl_mul(band + op->halo, op->out_width, floats) || !atl_add(*floats, op->reach + 3 * LINE, floats))
        return 0;
    *floats = *floats / LINE * LINE;
    *floats += *floats / LINE % 2 ? 0 : LINE;
    return 1;
}

/* Lines of a band: about as many as have room, and such that their pixels fill whole vectors. */
static int64_t band_lines(const atl_conv_op *op, int64_t planes) {
    int64_t lines = atl_max(PLANE_FLOATS / planes / op->out_width - op->halo, atl_max(op->halo, 1)), full = LINE;
    while (full > 1 && full / 2 * op->out_width % LINE == 0)
        full /= 2;
    if (lines >= op->out_height)
        return op->out_height;
    return lines > full ? lines / full * full : lines;
}

static atl_status shape_planes(atl_plan *plan, atl_conv_op *op, atl_error *error) {
    int64_t all = INT64_MAX, floats;
    op->out_height = (op->height - 1) / op->stride + 1;
    op->out_width = (op->width - 1) / op->stride + 1;
    op->phases = atl_min(op->stride, 2 * op->reach + 1);
    op->halo = 2 * op->reach / op->stride;
    int64_t planes = op->channels / op->groups * op->phases * op->phases;
    op->band = band_lines(op, planes);
    op->before = atl_round_up(op->reach, LINE);
    if (!plane_floats(op, op->band, &op->plane) || !atl_mul(planes, op->plane, &all) ||
        !atl_add(all, op->before, &floats) || floats > INT32_MAX)
        return atl_fail(error, ATL_OUT_OF_MEMORY,
                        "plan: %lld planes with lines of %lld floats are more than can be addressed", (long long)planes,
                        (long long)op->out_width);
    op->inside_row = atl_ceil_div(op->band * op->out_width, ATL_SUM_LANES);
    atl_status status = atl_reserve_slot(plan, &op->planes, floats, 1, 1, error);
    if (status == ATL_OK)
        status = atl_reserve_slot(plan, &op->masks, 2 * op->reach + 1, ATL_CONV_LANES, 1, error);
    return status;
}

/* The pixel that a term reads for output column i is in column i + *column of its phase. */
static int64_t split_column(const atl_conv_op *op, int64_t tx, int64_t *column) {
    int64_t from = tx - op->reach;
    *column = from >= 0 ? from / op->stride : -atl_ceil_div(-from, op->stride);
    int64_t phase = from - *column * op->stride;
    return phase <= op->reach ? phase : phase - (op->stride - op->phases);
}

/* The leftmost column that a filter's terms read, which is at most 0. */
static int64_t first_column(const atl_conv_op *op, int64_t k) {
    int64_t column;
    split_column(op, op->reach - k / 2, &column);
    return column;
}

/* Columns that reach beyond an end of the line: all but the middle one. */
static int64_t count_columns(const atl_conv_op *op, int64_t k) {
    return k / 2 / op->stride - first_column(op, k);
}

/* Where the terms of a filter lie, relative to the first pixel of a group's first plane. */
static void fill_terms(const atl_conv_op *op, int64_t k, atl_conv_term *term) {
    int64_t s = op->stride, inset = op->reach - k / 2, first = first_column(op, k), column;
    for (int64_t l = 0; l < op->channels / op->groups * k * k; l++) {
        int64_t c = l / (k * k), ty = l / k % k + inset;
        int64_t phase = split_column(op, l % k + inset, &column),
                plane = (c * op->phases + ty % s) * op->phases + phase;
        term[l].offset = (int32_t)(plane * op->plane + ty / s * op->out_width + column);
        term[l].column = (int32_t)(column == 0 ? -1 : column - first - (column > 0));
    }
}

/* Which lanes of a band have a pixel in each column. */
static void fill_inside(const atl_conv_op *op, int64_t k, uint16_t *inside) {
    for (int64_t e = 0; e < count_columns(op, k); e++, inside += op->inside_row) {
        int64_t step = e + first_column(op, k), width = op->out_width;
        step += step >= 0;
        for (int64_t i = 0; i < op->band * width; i++)
            inside[i / 16] |= (uint16_t)((i % width + step >= 0 && i % width + step < width) << i % 16);
    }
}

/* The filters and, behind them, what tells where their terms are, in one block. */
static atl_status fill_tables(atl_plan *plan, atl_linear *linears, const int64_t *k, atl_conv_op *op,
                              atl_error *error) {
    int mr = plan->engine->kernels.conv.mr;
    int64_t terms = 0, columns = 0;
    for (int64_t i = 0; i < op->count; i++) {
        terms += linears[i].k;
        columns += count_columns(op, k[i]);
    }
    size_t bytes = (size_t)op->count * sizeof(atl_conv_filter) + (size_t)terms * sizeof(atl_conv_term);
    atl_conv_filter *filters = plan->tables =
        calloc(1, bytes + (size_t)columns * (size_t)op->inside_row * sizeof(uint16_t));
    if (!filters)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for %lld terms", (long long)terms);
    atl_conv_term *term = (atl_conv_term *)(filters + op->count);
    uint16_t *inside = (uint16_t *)(term + terms);
    for (int64_t i = 0; i < op->count; i++) {
        const float *weight = atl_linear_pack_tiles(&linears[i], mr, op->groups);
        if (!weight)
            return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for packed weights");
        filters[i] = (atl_conv_filter){weight, linears[i].scale,        linears[i].bias, k[i], linears[i].k,
                                       term,   count_columns(op, k[i]), inside};
        fill_terms(op, k[i], term);
        fill_inside(op, k[i], inside);
        term += linears[i].k;
        inside += count_columns(op, k[i]) * op->inside_row;
    }
    op->filters = filters;
    return ATL_OK;
}

atl_status atl_conv_plan(atl_plan *plan, atl_linear *linears, const int64_t *k, atl_conv_op *op, atl_error *error) {
    op->reach = 0;
    for (int64_t i = 0; i < op->count; i++)
        op->reach = atl_max(op->reach, k[i] / 2);
    atl_status status = shape_planes(plan, op, error);
    return status == ATL_OK ? fill_tables(plan, linears, k, op, error) : status;
}

/* ---- pieces ---- */

static int64_t group_rows(const atl_conv_op *op) {
    return op->rows / op->groups;
}

int64_t atl_conv_pieces(const atl_conv_op *op) {
    return op->groups * atl_ceil_div(group_rows(op), UNIT_ROWS);
}

/* The first row of a unit; past the last unit, the number of rows. */
static int64_t unit_row(const atl_conv_op *op, int64_t unit) {
    int64_t units = atl_ceil_div(group_rows(op), UNIT_ROWS);
    return unit / units * group_rows(op) + unit % units * UNIT_ROWS;
}

void atl_conv_range(const atl_conv_op *op, int64_t i, int64_t pieces, int64_t *first, int64_t *count) {
    int64_t units = atl_conv_pieces(op), from = units / pieces * i + atl_min(i, units % pieces);
    int64_t end = from + units / pieces + (i < units % pieces);
    *first = unit_row(op, from);
    *count = unit_row(op, end) - *first;
}

atl_grid atl_conv_grid(const atl_run_state *run, const atl_conv_op *op) {
    atl_grid grid = {.samples = run->batch,
                     .columns = op->out_height,
                     .rows = atl_conv_pieces(op),
                     .column_unit = 1,
                     .column_least = atl_min(op->out_height, atl_ceil_div(LEAST_PIXELS, op->out_width)),
                     .column_most = op->out_height,
                     .row_unit = 1,
                     .column_cost = 1,
                     .row_cost = 1};
    atl_run_split(run, &grid);
    return grid;
}

/* ---- run ---- */

/* Where a piece reads and writes. */
typedef struct piece {
    const atl_kernels *kernels;
    float *planes, *masks;
    const float *x;
    float *y;
    int64_t x_row, y_filter, y_row;
} piece;

/* Rows [from, end) of one group, output lines [line, line + lines) of every filter. */
static void conv_band(const atl_conv_op *op, const piece *p, int64_t group, int64_t from, int64_t end, int64_t line,
                      int64_t lines) {
    int64_t channels = op->channels / op->groups;
    p->kernels->planes.fn(&(atl_planes_args){.x = p->x + group * channels * p->x_row,
                                             .channels = channels,
                                             .x_row = p->x_row,
                                             .height = op->height,
                                             .width = op->width,
                                             .stride = op->stride,
                                             .phases = op->phases,
                                             .reach = op->reach,
                                             .first = line,
                                             .lines = lines + op->halo,
                                             .to = p->planes,
                                             .line = op->out_width,
                                             .plane = op->plane});
    for (int64_t f = 0; f < op->count; f++) {
        const atl_conv_filter *filter = &op->filters[f];
        p->kernels->conv.fn(&(atl_conv_args){.rows = end - from,
                                             .terms = filter->terms,
                                             .weight = filter->weight + from * filter->terms,
                                             .term = filter->term,
                                             .columns = filter->columns,
                                             .inside = filter->inside,
                                             .inside_row = op->inside_row,
                                             .masks = p->masks,
                                             .scale = filter->scale + from,
                                             .shift = filter->shift + from,
                                             .relu = op->relu,
                                             .n = lines * op->out_width,
                                             .x = p->planes,
                                             .y = p->y + f * p->y_filter + from * p->y_row + line * op->out_width,
                                             .y_row = p->y_row});
    }
}

void atl_conv_lines(const atl_run_state *run, const atl_conv_op *op, int slot, int64_t i, int64_t pieces, int64_t line,
                    int64_t end, const float *x, int64_t x_row, float *y, int64_t y_filter, int64_t y_row) {
    float *scratch = atl_run_scratch(run, slot);
    piece p = {.kernels = &run->plan->engine->kernels,
               .planes = scratch + op->planes + op->before,
               .masks = scratch + op->masks,
               .x = x,
               .y = y,
               .x_row = x_row,
               .y_filter = y_filter,
               .y_row = y_row};
    int64_t first, count, rows = group_rows(op);
    atl_conv_range(op, i, pieces, &first, &count);
    for (int64_t from = first, next; from < first + count; from = next) {
        next = atl_min(first + count, (from / rows + 1) * rows);
        for (int64_t at = line; at < end; at += op->band)
            conv_band(op, &p, from / rows, from, next, at, atl_min(op->band, end - at));
    }
}

void atl_conv_piece(const atl_run_state *run, const atl_conv_op *op, int slot, int64_t i, int64_t pieces,
                    const float *x, int64_t x_row, float *y, int64_t y_filter, int64_t y_row) {
    atl_conv_lines(run, op, slot, i, pieces, 0, op->out_height, x, x_row, y, y_filter, y_row);
}

void atl_conv_describe(const atl_plan *plan, const atl_conv_op *op, atl_text *text) {
    atl_text_add(text, "convolve: %lld groups of %lld -> %lld channels, stride %lld, kernels", (long long)op->groups,
                 (long long)(op->channels / op->groups), (long long)group_rows(op), (long long)op->stride);
    for (int64_t i = 0; i < op->count; i++)
        atl_text_add(text, i ? ", %lld" : " %lld", (long long)op->filters[i].k);
    atl_text_add(text, "; bands of %lld lines, blocks of %d (%s, %s)\n", (long long)op->band, ATL_BLOCK,
                 plan->engine->kernels.planes.variant, plan->engine->kernels.conv.variant);
}
