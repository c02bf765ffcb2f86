/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct convolution. Planes are copied once with their padding, so that every term of an output pixel's sum lies a fixed
 * distance from it and lanes run along lines of pixels, from one line through the padding into the next.
 */
#include "../arena.h"
#include "../error.h"
#include "../memory.h"
#include "../plan.h"
#include "ops.h"

enum {
    PLANE_FLOATS = 128 * 1024, /* of a band: with the weights of a tile they share a second-level cache */
    UNIT_ROWS = 8              /* output channels of the smallest piece; a multiple of every conv tile */
};

/* ---- plan ---- */

/* Lines of a plane for `band` output lines, and the floats that they take: also what the last vector reads beyond them,
 * and an odd number of cache lines, so that the planes of many channels spread over all sets of a cache. */
static int plane_floats(const atl_conv_op *op, int64_t band, int64_t *floats) {
    const int64_t unit = ATL_ALIGN / (int64_t)sizeof(float);
    if (!atl_mul(band + op->halo, op->line, floats) || !atl_add(*floats, op->reach + 3 * unit, floats))
        return 0;
    *floats = *floats / unit * unit;
    *floats += *floats / unit % 2 ? 0 : unit;
    return 1;
}

static int64_t planes_of_group(const atl_conv_op *op) {
    return op->channels / op->groups * op->phases * op->phases;
}

static atl_status shape_planes(atl_plan *plan, atl_conv_op *op, atl_error *error) {
    int64_t planes = planes_of_group(op), all = INT64_MAX;
    op->out_height = (op->height - 1) / op->stride + 1;
    op->out_width = (op->width - 1) / op->stride + 1;
    op->phases = atl_min(op->stride, 2 * op->reach + 1);
    planes = planes_of_group(op);
    op->halo = 2 * op->reach / op->stride;
    /* the padding at the end of a line is also that before the next */
    op->line = op->stride == 1 ? op->width + op->reach : op->out_width + op->halo;
    int64_t lines = atl_max(PLANE_FLOATS / planes / op->line - op->halo, atl_max(op->halo, 1));
    op->band = atl_min(lines, op->out_height);
    if (!plane_floats(op, op->band, &op->plane) || !atl_mul(planes, op->plane, &all) || all > INT32_MAX)
        return atl_fail(error, ATL_OUT_OF_MEMORY,
                        "plan: %lld padded planes with lines of %lld floats are more than can be addressed",
                        (long long)planes, (long long)op->line);
    return atl_reserve_slot(plan, &op->planes, all, 1, 1, error);
}

/* Where the terms of a filter lie, relative to the first pixel of a group's first plane. */
static void fill_offsets(const atl_conv_op *op, int64_t k, int32_t *offset) {
    int64_t s = op->stride, inset = op->reach - k / 2;
    for (int64_t l = 0; l < op->channels / op->groups * k * k; l++) {
        int64_t c = l / (k * k), ty = l / k % k + inset, tx = l % k + inset;
        int64_t plane = (c * op->phases + ty % s) * op->phases + tx % s;
        offset[l] = (int32_t)(plane * op->plane + ty / s * op->line + tx / s);
    }
}

/* The filters and, behind them, their offsets, in one block. */
static atl_status fill_tables(atl_plan *plan, atl_linear *linears, const int64_t *k, atl_conv_op *op,
                              atl_error *error) {
    int mr = plan->engine->kernels.conv.mr;
    int64_t terms = 0;
    for (int64_t i = 0; i < op->count; i++)
        terms += linears[i].k;
    size_t bytes = (size_t)op->count * sizeof(atl_conv_filter);
    atl_conv_filter *filters = plan->tables = malloc(bytes + (size_t)terms * sizeof(int32_t));
    if (!filters)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for %lld terms", (long long)terms);
    int32_t *offset = (int32_t *)(filters + op->count);
    for (int64_t i = 0; i < op->count; i++) {
        const float *weight = atl_linear_pack_tiles(&linears[i], mr, op->groups);
        if (!weight)
            return atl_fail(error, ATL_OUT_OF_MEMORY, "plan: no memory for packed weights");
        filters[i] = (atl_conv_filter){weight, linears[i].scale, linears[i].bias, k[i], linears[i].k, offset};
        fill_offsets(op, k[i], offset);
        offset += linears[i].k;
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

/* ---- run ---- */

/* Where a piece reads and writes. */
typedef struct piece {
    const atl_kernels *kernels;
    float *planes;
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
                                             .line = op->line,
                                             .plane = op->plane});
    for (int64_t f = 0; f < op->count; f++) {
        const atl_conv_filter *filter = &op->filters[f];
        p->kernels->conv.fn(&(atl_conv_args){.rows = end - from,
                                             .terms = filter->terms,
                                             .weight = filter->weight + from * filter->terms,
                                             .offset = filter->offset,
                                             .scale = filter->scale + from,
                                             .shift = filter->shift + from,
                                             .relu = op->relu,
                                             .lines = lines,
                                             .width = op->out_width,
                                             .line = op->line,
                                             .x = p->planes,
                                             .y = p->y + f * p->y_filter + from * p->y_row + line * op->out_width,
                                             .y_row = p->y_row});
    }
}

void atl_conv_lines(const atl_run_state *run, const atl_conv_op *op, int slot, int64_t i, int64_t pieces, int64_t line,
                    int64_t end, const float *x, int64_t x_row, float *y, int64_t y_filter, int64_t y_row) {
    piece p = {&run->plan->engine->kernels, atl_run_scratch(run, slot) + op->planes, x, y, x_row, y_filter, y_row};
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
