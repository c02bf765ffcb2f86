/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tile of queries over blocks of keys. Heads that see the same keys go through a block one after another: what their mask
 * makes of it, transposed and in the unit of scores, is found once.
 */
#include <math.h>
#include <string.h>

#include "../arena.h"
#include "../memory.h"
#include "attend.h"
#include "lanes.h"

/* The maximum that every query starts from, in scores times log2(e): finite, so that rows of -inf stay NaN-free until
 * the division. */
static const float floor_score = -2e30f;

typedef atl_attend_job job;
typedef atl_attend_head head;
typedef atl_query_tile query_tile;

/* ---- states ---- */

int64_t atl_tile_state(const atl_attend_op *op) {
    return (op->c + 2) * op->tile;
}

/* The state of lanes [p, p + nr) within a head's floats: outputs first, panel by panel. */
static atl_attend_state panel_state(const atl_attend_op *op, float *state, int64_t p) {
    return (atl_attend_state){state + op->c * op->tile + p, state + (op->c + 1) * op->tile + p, state + op->c * p};
}

static void clear_state(const atl_attend_op *op, float *state, int outputs) {
    int64_t from = outputs ? 0 : op->c * op->tile;
    memset(state + from, 0, (size_t)(atl_tile_state(op) - from) * sizeof(float));
    for (int64_t i = 0; i < op->tile; i++)
        state[op->c * op->tile + i] = floor_score;
}

void atl_tile_merge(const job *j, const query_tile *t, float *into, float *from) {
    const atl_attend_op *op = j->op;
    int64_t nr = j->kernels->attend.nr;
    for (int64_t g = 0; g < t->heads; g++, into += atl_tile_state(op), from += atl_tile_state(op))
        for (int64_t p = 0; p < t->used; p += nr)
            j->kernels->merge.fn(nr, op->c, panel_state(op, into, p), panel_state(op, from, p));
}

/* ---- queries ---- */

void atl_tile_open(const job *j, int64_t index, int64_t heads, int64_t tile, query_tile *t) {
    t->index = index;
    t->heads = heads;
    t->mask = atl_attend_run_head(j, index).mask;
    t->from = tile * j->tile;
    t->used = atl_min(j->tile, j->op->queries - t->from);
    t->next = -1;
    if (!atl_mask_is_empty(&t->mask))
        atl_mask_blind(&t->mask, t->from, t->used, t->blind);
}

/* Queries of a head from position i on: `rows` rows of them, those of x or of a panel; further ones are ones. */
static const float *query_rows(const job *j, const head *head, int64_t i, int64_t *row, int64_t *rows) {
    int in_x = j->op->queries_in_x && (!j->wants_map || j->keeps);
    *row = in_x ? j->run->x_row : ATL_PANEL_ROW;
    *rows = in_x ? j->run->plan->channels : j->op->d;
    return in_x ? atl_run_sample(j->run, head->b).x + i
                : atl_panels_block(j->run, head->b, &head->q, i / ATL_BLOCK) + i % ATL_BLOCK;
}

/* Those of one head as lane panels [][d][nr]. */
static void load_head(const job *j, const query_tile *t, const head *head, float *lanes) {
    int64_t nr = j->kernels->attend.nr, d = j->op->d, row = 0, rows = 0;
    for (int64_t p = 0, n; p < t->used; p += n) {
        int64_t i = t->from + p;
        n = atl_min(t->used - p, ATL_BLOCK - i % ATL_BLOCK); /* in panels, they end with a block */
        const float *q = query_rows(j, head, i, &row, &rows);
        atl_lanes_copy(q, row, atl_min(d, rows), d, n, 0, nr, lanes + p * d);
        for (i = p; i < p + n && rows < d; i++) /* a row of ones */
            lanes[i / nr * nr * d + rows * nr + i % nr] = 1.0f;
    }
}

/* The same from rows of features. */
static void load_tensor(const job *j, const query_tile *t, const head *head, float *lanes) {
    const atl_view_op *query = &j->op->tensors[ATL_VIEW_QUERY];
    int64_t nr = j->kernels->attend.nr, d = j->op->d;
    for (int64_t p = 0; p < t->used; p += nr)
        j->kernels->transpose.fn(atl_view_at(j->run, query, head->b, head->h, t->from + p), atl_min(nr, t->used - p), d,
                                 query->position, NULL, lanes + p * d, nr);
}

/* Lanes beyond the last query are zero. */
void atl_tile_load(const job *j, const query_tile *t, float *scratch) {
    int64_t nr = j->kernels->attend.nr;
    for (int64_t g = 0; g < t->heads; g++) {
        head head = atl_attend_run_head(j, t->index + g);
        float *lanes = scratch + j->op->q_lanes + g * j->op->d * j->op->tile;
        if (j->op->tensors)
            load_tensor(j, t, &head, lanes);
        else
            load_head(j, t, &head, lanes);
        atl_lanes_clear(j->op->d, t->used, nr, lanes);
        j->kernels->scale.fn(lanes, lanes, atl_round_up(t->used, nr) * j->op->d, 1, 0, 0, &j->slope, 0, NULL, NULL,
                             NULL);
    }
}

/* ---- keys ---- */

/* A block of keys as the queries of a tile see it, by panels. */
typedef struct block_view {
    int64_t block, keys;
    int same;     /* for all queries: one bias for all panels */
    int excludes; /* keys, by a bias */
    atl_sight sight[ATL_TILE_MAX];
} block_view;

static float *view_bias(const job *j, const block_view *view, float *scratch, int64_t p) {
    return scratch + j->op->bias + (view->same ? 0 : p * ATL_BLOCK);
}

/* What the queries of the panel at p see, and the bias that they need for it. */
static atl_sight look(const job *j, const query_tile *t, int64_t p, block_view *view, float *bias) {
    int64_t nr = j->kernels->attend.nr, mr = j->kernels->attend.mr, key = view->block * ATL_BLOCK;
    atl_mask_rows rows = {t->from + p, atl_min(nr, t->used - p), t->blind + p};
    atl_sight s = atl_mask_sight(&t->mask, &rows, key, view->keys);
    if (s.biased == s.end)
        return s;
    s.biased = s.biased / mr * mr; /* whole tiles of keys without */
    view->excludes |= atl_mask_bias(&t->mask, &rows, key, s.biased, s.end, j->kernels->bias.fn, bias, nr, 1);
    atl_mask_trim(bias, nr, rows.count, &s);
    if (s.biased < s.end)
        s.biased = s.from + (s.biased - s.from) / mr * mr;
    return s;
}

static void look_at_block(const job *j, const query_tile *t, int64_t block, float *scratch, block_view *view) {
    int64_t nr = j->kernels->attend.nr;
    int masked = !atl_mask_is_empty(&t->mask);
    view->block = block;
    view->keys = atl_min(ATL_BLOCK, j->op->keys - block * ATL_BLOCK);
    view->excludes = 0;
    view->same = !masked || atl_mask_same_rows(&t->mask);
    view->sight[0] = (atl_sight){0, view->keys, view->keys};
    for (int64_t p = 0; p < t->used; p += nr)
        if (p && view->same)
            view->sight[p / nr] = view->sight[0];
        else if (masked)
            view->sight[p / nr] = look(j, t, p, view, view_bias(j, view, scratch, p));
}

/* A block of keys or values: rows of a panel, or of the tensor where that is read in place. */
static const float *block_of(const job *j, const head *head, int which, int64_t block) {
    if (j->op->tensors)
        return atl_view_at(j->run, &j->op->tensors[which], head->b, head->h, block * ATL_BLOCK);
    return atl_panels_block(j->run, head->b, which == ATL_VIEW_KEY ? &head->k : &head->v, block);
}

/* From a key to the next where they are read in place, else 0. */
static int64_t key_step(const job *j, int which) {
    return j->op->tensors ? j->op->tensors[which].position : 0;
}

/* Whether the values of a block are numbers: its sums tell. Where they overflow, a block counts as one that is not. */
static int is_finite(const job *j, const float *v, int64_t keys) {
    float sums[16];
    int64_t step = key_step(j, ATL_VIEW_VALUE), count = step ? keys : j->op->c, n = step ? j->op->c : keys;
    step = step ? step : ATL_PANEL_ROW;
    for (int64_t r = 0; r < count; r += 16) {
        int64_t rows = atl_min(16, count - r);
        j->kernels->sum.fn(v + r * step, n, rows, step, sums);
        for (int64_t i = 0; i < rows; i++)
            if (!isfinite(sums[i]))
                return 0;
    }
    return 1;
}

/* Scores of keys that are not looked at: those outside [from, end). */
static void keep_nothing(const block_view *view, const atl_sight *s, int64_t nr, float *kept) {
    for (int64_t i = 0; i < s->from * nr; i++)
        kept[i] = -INFINITY;
    for (int64_t i = s->end * nr; i < view->keys * nr; i++)
        kept[i] = -INFINITY;
}

/* The head whose keys and values are read after this block of the gth head, and *block of them: those of the next tile in the
 * end, unless they are these, which a cache still holds. -1: none. */
static int64_t next_head(const job *j, const query_tile *t, int64_t g, int64_t *block) {
    *block += g + 1 == t->heads;
    if (*block * ATL_BLOCK < j->op->keys && !(j->op->causal && *block * ATL_BLOCK >= t->from + t->used))
        return t->index + (g + 1) % t->heads;
    *block = 0;
    return t->next == t->index ? -1 : t->next;
}

/* The part of them that falls to the panel at p. Where that head's queries are the next tile, a third of the panels fetches these. */
static void fetch_ahead(const job *j, const query_tile *t, int64_t g, int64_t block, int64_t p, atl_attend_args *args) {
    const atl_attend_op *op = j->op;
    int64_t next = next_head(j, t, g, &block), nr = j->kernels->attend.nr;
    if (next < 0)
        return;
    head head = atl_attend_run_head(j, next);
    int queries = !op->tensors && !op->queries_in_x && j->tiles == 1 && next == t->next;
    int64_t panel = p / nr, panels = atl_ceil_div(t->used, nr), parts = queries && panels > 2 ? 3 : 2;
    int64_t part = panel * parts / panels, first = atl_ceil_div(part * panels, parts);
    int64_t share = atl_ceil_div((part + 1) * panels, parts) - first; /* panels that fetch this part */
    const float *from = part == 2 ? atl_panels_block(j->run, head.b, &head.q, 0)
                                  : block_of(j, &head, part ? ATL_VIEW_VALUE : ATL_VIEW_KEY, block);
    int64_t step = key_step(j, part ? ATL_VIEW_VALUE : ATL_VIEW_KEY), floats = part == 1 ? op->c : op->d;
    floats = atl_ceil_div(step ? floats : floats * ATL_PANEL_ROW, share); /* of a key, or of the block */
    args->ahead = from + (panel - first) * floats;
    args->ahead_step = step ? step : atl_ceil_div(floats, args->keys);
    args->ahead_n = step ? floats : args->ahead_step;
    if (!step && next == t->index + g) /* the hardware follows rows of the same panels: a start will do */
        args->ahead_n = atl_min(args->ahead_n, ATL_SUM_LANES);
}

/* One block of keys over the gth head of a tile. */
static void attend_block(const job *j, const query_tile *t, int64_t g, const block_view *view, int fresh,
                         float *scratch, float *states) {
    const atl_attend_op *op = j->op;
    const head of = atl_attend_run_head(j, t->index + g), *head = &of;
    const float *lanes = scratch + op->q_lanes + g * op->d * op->tile;
    float *state = states + g * atl_tile_state(op);
    const float *k = block_of(j, head, ATL_VIEW_KEY, view->block), *v = block_of(j, head, ATL_VIEW_VALUE, view->block);
    int64_t nr = j->kernels->attend.nr, k_row = key_step(j, ATL_VIEW_KEY), v_row = key_step(j, ATL_VIEW_VALUE);
    int careful = -1; /* not known yet */
    for (int64_t p = 0; p < t->used; p += nr) {
        const atl_sight s = view->sight[p / nr];
        float *scores = scratch + op->scores;
        if (j->keeps) {
            scores = atl_attend_kept(j, scratch, p, view->block);
            keep_nothing(view, &s, nr, scores);
            scores += s.from * nr;
        }
        if (s.from == s.end)
            continue;
        if (s.biased < s.end && careful < 0)
            careful = view->excludes && !is_finite(j, v, view->keys);
        atl_attend_args args = {.q = lanes + p * op->d,
                                .k = k + s.from * (k_row ? k_row : 1),
                                .v = v + s.from * (v_row ? v_row : 1),
                                .k_row = k_row,
                                .v_row = v_row,
                                .d = op->d,
                                .c = op->c,
                                .keys = s.end - s.from,
                                .lanes = atl_min(nr, t->used - p),
                                .state = panel_state(op, state, p),
                                .scores = scores,
                                .weights = scratch + op->scores,
                                .bias = s.biased < s.end ? view_bias(j, view, scratch, p) + s.from * nr : NULL,
                                .bias_from = s.biased - s.from,
                                .bias_excludes = view->excludes,
                                .careful = careful > 0,
                                .fresh = fresh};
        fetch_ahead(j, t, g, view->block, p, &args);
        j->kernels->attend.fn(&args);
    }
}

void atl_tile_attend(const job *j, const query_tile *t, int64_t chunk, float *scratch, float *states) {
    const atl_attend_op *op = j->op;
    int64_t first = chunk * op->chunk_blocks,
            end = atl_min(first + op->chunk_blocks, atl_ceil_div(op->keys, ATL_BLOCK));
    int fresh = atl_mask_is_empty(&t->mask); /* then the first block has keys for all queries */
    for (int64_t g = 0; g < t->heads; g++)
        clear_state(op, states + g * atl_tile_state(op), !fresh);
    for (int64_t block = first; block < end; block++) {
        block_view view;
        look_at_block(j, t, block, scratch, &view);
        for (int64_t g = 0; g < t->heads; g++)
            attend_block(j, t, g, &view, fresh && block == first, scratch, states);
    }
}

/* ---- the end ---- */

static void store_panel(const job *j, const query_tile *t, const head *head, int64_t p, atl_attend_state state) {
    const atl_attend_op *op = j->op;
    const atl_run_state *run = j->run;
    int64_t nr = j->kernels->attend.nr, n = atl_min(nr, t->used - p), i = t->from + p;
    if (op->tensors) {
        const atl_view_op *output = &op->tensors[ATL_VIEW_OUTPUT];
        j->kernels->finish.fn(nr, op->c, n, 0.0f, NULL, state, NULL, 0, state.out, nr, 0);
        j->kernels->transpose.fn(state.out, op->c, n, nr, NULL, atl_view_at(run, output, head->b, head->h, i),
                                 output->position);
    } else if (op->into_y) {
        atl_sample sample = atl_run_sample(run, head->b);
        j->kernels->finish.fn(nr, op->c, n, op->gamma, &op->affine, state, sample.x + i, run->x_row, sample.y + i,
                              run->y_row, atl_run_streams(run, sample.y + i));
    } else {
        float *to = atl_panels_block(run, head->b, &head->to, i / ATL_BLOCK) + i % ATL_BLOCK;
        j->kernels->finish.fn(nr, op->c, n, 0.0f, NULL, state, NULL, 0, to, ATL_PANEL_ROW, 0);
    }
}

static void finish_head(const job *j, const query_tile *t, const head *head, float *scratch, float *state) {
    const atl_attend_op *op = j->op;
    int64_t nr = j->kernels->attend.nr;
    float *sums = state + (op->c + 1) * op->tile;
    /* nothing divided by nothing is 0 in a blind row that is to be 0 */
    for (int64_t i = 0; i < t->used && op->blind_zero && !atl_mask_is_empty(&t->mask); i++)
        sums[i] = t->blind[i] ? 1.0f : sums[i];
    for (int64_t p = 0; p < t->used; p += nr)
        store_panel(j, t, head, p, panel_state(op, state, p));
    if (!j->wants_map)
        return;
    float *max = atl_attend_statistics(j, head);
    memcpy(max + t->from, state + op->c * op->tile, (size_t)t->used * sizeof(float));
    memcpy(max + atl_attend_padded(op) + t->from, sums, (size_t)t->used * sizeof(float));
    for (int64_t p = 0; p < t->used && j->keeps; p += nr)
        atl_attend_map_kept(j, t, head, p, scratch);
}

void atl_tile_finish(const job *j, const query_tile *t, float *scratch, float *states) {
    for (int64_t g = 0; g < t->heads; g++) {
        head head = atl_attend_run_head(j, t->index + g);
        finish_head(j, t, &head, scratch, states + g * atl_tile_state(j->op));
    }
}
