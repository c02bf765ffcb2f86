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
    POOL = 3,                  /* lines and columns of a window */
    POOL_COLUMNS = 2,          /* of these, the outer ones */
    LEAST_PIXELS = 96,         /* of a task's lines, about */
    GROUPS_PER_THREAD = 4,     /* lines are not cut where groups are as many, or come out even */
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

int64_t atl_conv_full_lines(const atl_conv_op *op, int64_t lines) {
    int64_t full = LINE;
    while (full > 1 && full / 2 * op->out_width % LINE == 0)
        full /= 2;
    return lines > full ? lines / full * full : lines;
}

/* Lines of a band: about as many as have room. */
static int64_t band_lines(const atl_conv_op *op, int64_t planes) {
    int64_t lines = atl_max(PLANE_FLOATS / planes / op->out_width - op->halo, atl_max(op->halo, 1));
    return lines < op->out_height ? atl_conv_full_lines(op, lines) : op->out_height;
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
static atl_conv_term find_term(const atl_conv_op *op, int64_t k, int64_t c, int64_t y, int64_t x) {
    int64_t s = op->stride, inset = op->reach - k / 2, first = first_column(op, k), column;
    int64_t phase = split_column(op, x + inset, &column), ty = y + inset;
    int64_t plane = (c * op->phases + ty % s) * op->phases + phase;
    return (atl_conv_term){.offset = (int32_t)(plane * op->plane + ty / s * op->out_width + column),
                           .column = (int32_t)(column == 0 ? -1 : column - first - (column > 0))};
}

static void fill_terms(const atl_conv_op *op, int64_t k, atl_conv_term *term) {
    for (int64_t l = 0; l < op->channels / op->groups * k * k; l++)
        term[l] = find_term(op, k, l / (k * k), l / k % k, l % k);
}

/* Sets lanes [from, to) of all lines of a band. */
static void set_lanes(const atl_conv_op *op, int64_t from, int64_t to, uint16_t *inside) {
    for (int64_t line = 0; line < op->band; line++, from += op->out_width, to += op->out_width)
        for (int64_t i = from, n; i < to; i += n) {
            n = atl_min(to - i, ATL_SUM_LANES - i % ATL_SUM_LANES);
            inside[i / ATL_SUM_LANES] |= (uint16_t)(((1u << n) - 1) << i % ATL_SUM_LANES);
        }
}

/* Which lanes of a band have a pixel in each column. */
static void fill_inside(const atl_conv_op *op, int64_t k, uint16_t *inside) {
    for (int64_t e = 0; e < count_columns(op, k); e++, inside += op->inside_row) {
        int64_t step = e + first_column(op, k), width = op->out_width;
        step += step >= 0;
        set_lanes(op, atl_max(-step, 0), atl_min(width, width - step), inside);
    }
}

/* The windows: of each line the middle first. Other than a filter's terms, none may be a zero beyond the image's last column. */
static void fill_windows(const atl_conv_op *op, atl_conv_term *term, uint16_t *inside) {
    for (int64_t l = 0; l < POOL * POOL; l++) {
        int64_t x = (l + 1) % POOL;
        term[l] = find_term(op, POOL, 0, l / POOL, x);
        term[l].column = x == 1 ? -1 : (int32_t)x / 2;
    }
    set_lanes(op, 1, op->out_width, inside);
    set_lanes(op, 0, atl_min(op->out_width, atl_ceil_div(op->width - 1, op->stride)), inside + op->inside_row);
}

/* The filters and, behind them, what tells where their terms are, in one block. */
static atl_status fill_tables(atl_plan *plan, atl_linear *linears, const int64_t *k, atl_conv_op *op,
                              atl_error *error) {
    int mr = plan->engine->kernels.conv.mr;
    int64_t terms = op->with_pool ? POOL * POOL : 0, columns = op->with_pool ? POOL_COLUMNS : 0;
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
    if (op->with_pool) {
        op->pool = (atl_conv_filter){.k = POOL, .terms = POOL * POOL, .term = term, .inside = inside};
        fill_windows(op, term, inside);
    }
    op->filters = filters;
    return ATL_OK;
}

atl_status atl_conv_plan(atl_plan *plan, atl_linear *linears, const int64_t *k, atl_conv_op *op, atl_error *error) {
    op->reach = op->with_pool ? POOL / 2 : 0;
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

/* Tasks of whole groups copy no lines twice; those of some lines copy the ones around them as well. */
atl_grid atl_conv_grid(const atl_run_state *run, const atl_conv_op *op) {
    int threads = atl_pool_threads(run->plan->engine->pool);
    int whole = op->groups % threads == 0 || op->groups >= GROUPS_PER_THREAD * threads;
    int64_t least = whole ? op->out_height : atl_ceil_div(LEAST_PIXELS, op->out_width);
    atl_grid grid = {.samples = run->batch,
                     .columns = op->out_height,
                     .rows = atl_conv_pieces(op),
                     .column_unit = 1,
                     .column_least = atl_min(op->out_height, least),
                     .column_most = op->out_height,
                     .row_unit = 1,
                     .column_cost = 1,
                     .row_cost = 1};
    atl_run_split(run, &grid);
    return grid;
}

/* ---- run ---- */

typedef struct piece {
    const atl_kernels *kernels;
    const atl_conv_io *io;
    float *planes, *masks;
    int64_t first_pooled, pooled; /* channels that it pools */
} piece;

/* Pools output lines [from, end), of a band whose first one is `line`. All of them have a line above them, or none; likewise
 * below. */
static void pool_lines(const atl_conv_op *op, const piece *p, int64_t line, int64_t from, int64_t end) {
    int64_t first = from > 0 ? 0 : POOL, last = from * op->stride + 1 < op->height ? POOL * POOL : POOL * POOL - POOL;
    int64_t row = op->phases * op->phases * op->plane;
    p->kernels->max_pool.fn(
        &(atl_max_pool_args){.channels = p->pooled,
                             .n = (end - from) * op->out_width,
                             .terms = last - first,
                             .term = op->pool.term + first,
                             .inside = op->pool.inside,
                             .inside_row = op->inside_row,
                             .x = p->planes + p->first_pooled * row + (from - line) * op->out_width,
                             .x_row = row,
                             .y = p->io->pooled + p->first_pooled * p->io->pooled_row + from * op->out_width,
                             .y_row = p->io->pooled_row});
}

/* Only the first output line has none above it, and only the last one may have none below. */
static void pool_band(const atl_conv_op *op, const piece *p, int64_t line, int64_t lines) {
    int64_t edge[] = {0, 1, atl_max(1, atl_ceil_div(op->height - 1, op->stride)), op->out_height};
    for (int e = 0; e < 3; e++) {
        int64_t from = atl_max(line, edge[e]), end = atl_min(line + lines, edge[e + 1]);
        if (from < end)
            pool_lines(op, p, line, from, end);
    }
}

/* Output lines of a group of channels, the first of which is x. */
typedef struct band {
    const float *x; /* NULL: there is none */
    int64_t line, lines;
} band;

static band band_from(const atl_conv_op *op, const float *x, int64_t line, int64_t end) {
    return (band){x, line, atl_min(op->band, end - line)};
}

/* The group of which row `row` is the first, if it is, in the sample that follows where the rows of this one end. */
static const float *group_at(const atl_conv_op *op, const atl_conv_io *io, int64_t row) {
    const float *x = row < op->rows ? io->x : io->next;
    int64_t channel = row % op->rows / group_rows(op) * (op->channels / op->groups);
    return x && row % group_rows(op) == 0 ? x + channel * io->x_row : NULL;
}

static void copy_planes(const atl_conv_op *op, const piece *p, band b) {
    p->kernels->planes.fn(&(atl_planes_args){.x = b.x,
                                             .channels = op->channels / op->groups,
                                             .x_row = p->io->x_row,
                                             .height = op->height,
                                             .width = op->width,
                                             .stride = op->stride,
                                             .phases = op->phases,
                                             .reach = op->reach,
                                             .first = b.line,
                                             .lines = b.lines + op->halo,
                                             .to = p->planes,
                                             .line = op->out_width,
                                             .plane = op->plane});
}

/* What the planes of a band are copied from. */
static void fetch_ahead(const atl_conv_op *op, band b, int64_t x_row, atl_conv_args *args) {
    int64_t from = atl_max(0, b.line * op->stride - op->reach);
    int64_t end = atl_min(op->height, (b.line + b.lines + op->halo) * op->stride - op->reach);
    if (!b.x || from >= end)
        return;
    args->ahead = b.x + from * op->width;
    args->ahead_n = (end - from) * op->width;
    args->ahead_row = x_row;
    args->ahead_rows = op->channels / op->groups;
}

/* Rows [from, end) of every filter's y in a band. `next` is fetched with the last filter, which has the most terms. */
static void conv_band(const atl_conv_op *op, const piece *p, band b, band next, int64_t from, int64_t end) {
    const atl_conv_io *io = p->io;
    copy_planes(op, p, b);
    if (p->pooled > 0)
        pool_band(op, p, b.line, b.lines);
    for (int64_t f = 0; f < op->count; f++) {
        const atl_conv_filter *filter = &op->filters[f];
        atl_conv_args args = {.rows = end - from,
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
                              .n = b.lines * op->out_width,
                              .x = p->planes,
                              .y = io->y + f * io->y_filter + from * io->y_row + b.line * op->out_width,
                              .y_row = io->y_row};
        if (f + 1 == op->count)
            fetch_ahead(op, next, io->x_row, &args);
        p->kernels->conv.fn(&args);
    }
}

void atl_conv_lines(const atl_run_state *run, const atl_conv_op *op, int slot, int64_t i, int64_t pieces, int64_t line,
                    int64_t end, const atl_conv_io *io) {
    float *scratch = atl_run_scratch(run, slot);
    int64_t pooled = op->with_pool ? op->channels : 0;
    piece p = {.kernels = &run->plan->engine->kernels,
               .io = io,
               .planes = scratch + op->planes + op->before,
               .masks = scratch + op->masks,
               .first_pooled = pooled * i / pieces};
    p.pooled = pooled * (i + 1) / pieces - p.first_pooled;
    int64_t first, count, rows = group_rows(op);
    atl_conv_range(op, i, pieces, &first, &count);
    for (int64_t from = first, until; from < first + count; from = until) {
        const float *x = group_at(op, io, from / rows * rows);
        until = atl_min(first + count, (from / rows + 1) * rows);
        for (int64_t at = line, after; at < end; at = after) {
            after = at + op->band;
            band next = after < end ? band_from(op, x, after, end) : band_from(op, group_at(op, io, until), line, end);
            conv_band(op, &p, band_from(op, x, at, end), next, from, until);
        }
    }
}

void atl_conv_describe(const atl_plan *plan, const atl_conv_op *op, atl_text *text) {
    atl_text_add(text, "convolve: %lld groups of %lld -> %lld channels, stride %lld, kernels", (long long)op->groups,
                 (long long)(op->channels / op->groups), (long long)group_rows(op), (long long)op->stride);
    for (int64_t i = 0; i < op->count; i++)
        atl_text_add(text, i ? ", %lld" : " %lld", (long long)op->filters[i].k);
    atl_text_add(text, "; bands of %lld lines, blocks of %d (%s, %s)\n", (long long)op->band, ATL_BLOCK,
                 plan->engine->kernels.planes.variant, plan->engine->kernels.conv.variant);
}
