/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiled attention. A task is a tile of queries (lanes) over a run of keys; online softmax keeps max, sum and output per
 * query, so no score outlives its block of keys. Where there are few queries, keys are split into chunks whose states
 * are merged in order; the chunks depend on the per-sample shape alone, and one task runs all of them when tiles
 * suffice.
 */
#include <math.h>
#include <string.h>

#include "../arena.h"
#include "../memory.h"
#include "../error.h"
#include "../plan.h"
#include "attend.h"

enum {
    LANE_GROUP = 32,    /* what the number of chunks counts queries in, on every ISA */
    WANTED_PIECES = 64, /* lane groups times chunks, where keys allow */
    CHUNK_MIN_KEYS = 512,
    TILE_MAX = 256,
    TILE_STATE = 96 * 1024, /* bytes of output state that a tile may hold: shares a second-level cache with keys */
    TASKS_PER_THREAD = 4,
    BUSY_TASKS = 64 /* of a thread, between two waits for the whole team */
};

/* The maximum that every query starts from, in scores times log2(e): finite, so that rows of -inf stay NaN-free until
 * the division. */
static const float floor_score = -2e30f;

/* ---- plan ---- */

/* Frozen: changes bits. */
static void split_keys(atl_attend_op *op) {
    int64_t groups = op->heads * atl_ceil_div(op->queries, LANE_GROUP), blocks = atl_ceil_div(op->keys, ATL_BLOCK);
    int64_t wanted = atl_min(atl_ceil_div(WANTED_PIECES, groups), atl_ceil_div(op->keys, CHUNK_MIN_KEYS));
    op->chunk_blocks = atl_ceil_div(blocks, wanted);
    op->chunks = atl_ceil_div(blocks, op->chunk_blocks);
}

static int64_t state_floats(const atl_attend_op *op) {
    return (op->c + 2) * op->tile;
}

static atl_status reserve_scratch(atl_plan *plan, atl_attend_op *op, atl_error *error) {
    int64_t nr = plan->engine->kernels.attend.nr, tiles = atl_ceil_div(op->queries, op->tile);
    const struct {
        atl_offset *at;
        int64_t a, b;
    } slot[] = {{&op->q_lanes, op->d, op->tile},
                {&op->scores, ATL_BLOCK, nr},
                {&op->state, op->c + 2, op->tile},
                {&op->other_state, op->chunks > 1 ? op->c + 2 : 0, op->tile},
                {&op->map_q, op->d, ATL_MAP_ROWS},
                {&op->map_statistics, 2, ATL_MAP_ROWS},
                {&op->bias, op->masked ? ATL_BLOCK : 0, nr},
                {&op->map_bias, op->masked ? ATL_BLOCK : 0, ATL_MAP_ROWS}};
    atl_status status = ATL_OK;
    if (plan->info.map_rank)
        status = atl_reserve_sample(plan, &op->statistics, op->heads * 2, tiles, op->tile, error);
    if (status == ATL_OK && op->chunks > 1)
        status = atl_reserve_sample(plan, &op->partial, op->heads * op->chunks, (op->c + 2) * tiles, op->tile, error);
    for (size_t i = 0; status == ATL_OK && i < sizeof slot / sizeof *slot; i++)
        status = atl_reserve_slot(plan, slot[i].at, slot[i].a, slot[i].b, 1, error);
    return status;
}

atl_status atl_attend_plan(atl_plan *plan, atl_attend_op *op, atl_error *error) {
    int64_t nr = plan->engine->kernels.attend.nr;
    int64_t threads = atl_pool_threads(plan->engine->pool);
    split_keys(op);
    op->tile = atl_min(TILE_MAX, TILE_STATE / (op->c * (int64_t)sizeof(float)));
    int64_t fair =
        atl_ceil_div(op->queries * op->heads, TASKS_PER_THREAD * threads); /* keep all threads busy on one sample */
    op->tile = atl_max(nr, atl_min(op->tile, fair) / nr * nr);
    return reserve_scratch(plan, op, error);
}

int64_t atl_attend_samples(const atl_plan *plan, const atl_attend_op *op) {
    int64_t tasks = BUSY_TASKS * (int64_t)atl_pool_threads(plan->engine->pool);
    return atl_ceil_div(tasks, op->heads * atl_ceil_div(op->queries, op->tile));
}

/* ---- states ---- */

typedef atl_attend_job job;
typedef atl_attend_head head;

/* The state of lanes [p, p + nr) within a tile's block of floats: outputs first, panel by panel. */
static atl_attend_state panel_state(const atl_attend_op *op, float *state, int64_t p) {
    return (atl_attend_state){state + op->c * op->tile + p, state + (op->c + 1) * op->tile + p, state + op->c * p};
}

static void clear_state(const atl_attend_op *op, float *state) {
    memset(state, 0, (size_t)state_floats(op) * sizeof(float));
    for (int64_t i = 0; i < op->tile; i++)
        state[op->c * op->tile + i] = floor_score;
}

static atl_panels head_panels(atl_panels panels, int64_t h, int64_t rows) {
    panels.row += h * rows;
    return panels;
}

static atl_mask head_mask(const job *j, int64_t b, int64_t h) {
    const atl_attend_op *op = j->op;
    const atl_run_state *run = j->run;
    atl_mask mask = {.causal = op->causal, .keys = op->keys, .blind_bias = op->blind_zero ? -INFINITY : INFINITY};
    atl_sample sample = atl_run_sample(run, b);
    if (op->masked && sample.mask) {
        mask.bytes = sample.mask + h * run->mask.head;
        mask.byte_query = run->mask.query;
        mask.byte_key = run->mask.key;
    }
    if (op->masked && sample.additive) {
        mask.additive = sample.additive + h * run->additive.head;
        mask.additive_query = run->additive.query;
        mask.additive_key = run->additive.key;
    }
    return mask;
}

head atl_attend_run_head(const job *j, int64_t index) {
    const atl_attend_op *op = j->op;
    int64_t b = index / op->heads, h = index % op->heads;
    return (head){b,
                  h,
                  head_panels(op->q, h, op->d),
                  head_panels(op->k, h, op->d),
                  head_panels(op->v, h, op->c),
                  head_panels(op->to, h, op->c),
                  head_mask(j, b, h)};
}

/* A tile of queries of a head; blind[i] where query `from` + i sees no key. */
typedef struct query_tile {
    head head;
    int64_t from, used;
    uint8_t blind[TILE_MAX];
} query_tile;

static void open_tile(const job *j, int64_t index, int64_t tile, query_tile *t) {
    const atl_attend_op *op = j->op;
    t->head = atl_attend_run_head(j, index);
    t->from = tile * op->tile;
    t->used = atl_min(op->tile, op->queries - t->from);
    if (!atl_mask_is_empty(&t->head.mask))
        atl_mask_blind(&t->head.mask, t->from, t->used, t->blind);
}

/* Queries of a head from position i on: `rows` rows of them, those of x or of a panel; further ones are ones. */
static const float *query_rows(const job *j, const head *head, int64_t i, int64_t *row, int64_t *rows) {
    int in_x = j->op->queries_in_x && !j->wants_statistics;
    *row = in_x ? j->run->x_row : ATL_PANEL_ROW;
    *rows = in_x ? j->run->plan->channels : j->op->d;
    return in_x ? atl_run_sample(j->run, head->b).x + i
                : atl_panels_block(j->run, head->b, &head->q, i / ATL_BLOCK) + i % ATL_BLOCK;
}

/* One row of n queries, scaled, to lane panels [][d][nr]; `from` NULL is a row of ones. */
static void load_row(const float *restrict from, float slope, int64_t n, int64_t nr, int64_t d, float *restrict to) {
    for (int64_t i = 0; i < n; i += nr, to += d * nr) {
        int64_t lanes = atl_min(nr, n - i);
        for (int64_t v = 0; v < lanes && from; v++)
            to[v] = from[i + v] * slope;
        for (int64_t v = 0; v < lanes && !from; v++)
            to[v] = slope;
    }
}

/* The queries of a tile, scaled, as lane panels [][d][nr]; zero beyond the last. Rows are read as they lie in memory. */
static void load_queries(const job *j, const query_tile *t, float *lanes) {
    int64_t nr = j->kernels->attend.nr, d = j->op->d, row = 0, rows = 0;
    for (int64_t p = 0, n; p < t->used; p += n) {
        int64_t i = t->from + p;
        n = atl_min(t->used - p, ATL_BLOCK - i % ATL_BLOCK); /* in panels, they end with a block */
        const float *q = query_rows(j, &t->head, i, &row, &rows);
        for (int64_t l = 0; l < d; l++)
            load_row(l < rows ? q + l * row : NULL, j->slope, n, nr, d, lanes + p * d + l * nr);
    }
    atl_lanes_clear(d, t->used, nr, lanes);
}

/* Whether the values of a block are numbers: its sums tell. Where they overflow, a block counts as one that is not. */
static int is_finite(const job *j, const float *v, int64_t keys) {
    float sums[16];
    for (int64_t r = 0; r < j->op->c; r += 16) {
        int64_t rows = atl_min(16, j->op->c - r);
        j->kernels->sum.fn(v + r * ATL_PANEL_ROW, keys, rows, ATL_PANEL_ROW, sums);
        for (int64_t i = 0; i < rows; i++)
            if (!isfinite(sums[i]))
                return 0;
    }
    return 1;
}

/* What the queries of the panel at p see of a block of keys, and the bias that they need for it. */
static atl_sight look(const job *j, const query_tile *t, int64_t p, int64_t key, int64_t keys, float *bias) {
    int64_t nr = j->kernels->attend.nr, mr = j->kernels->attend.mr;
    atl_mask_rows rows = {t->from + p, atl_min(nr, t->used - p), t->blind + p};
    atl_sight s = atl_mask_sight(&t->head.mask, &rows, key, keys);
    if (s.biased == s.end)
        return s;
    s.biased = s.biased / mr * mr; /* whole tiles of keys without */
    atl_mask_bias(&t->head.mask, &rows, key, s.biased, s.end, j->kernels->bias.fn, bias, nr, 1);
    atl_mask_trim(bias, nr, rows.count, &s);
    if (s.biased < s.end)
        s.biased = s.from + (s.biased - s.from) / mr * mr;
    return s;
}

/* One block of keys over a tile of queries. */
static void attend_block(const job *j, const query_tile *t, int64_t block, float *scratch, float *state) {
    const atl_attend_op *op = j->op;
    const float *k = atl_panels_block(j->run, t->head.b, &t->head.k, block);
    const float *v = atl_panels_block(j->run, t->head.b, &t->head.v, block);
    int64_t nr = j->kernels->attend.nr, key = block * ATL_BLOCK, keys = atl_min(ATL_BLOCK, op->keys - key);
    int masked = !atl_mask_is_empty(&t->head.mask), same = atl_mask_same_rows(&t->head.mask);
    int careful = -1; /* not known yet */
    float *bias = scratch + op->bias;
    atl_sight s = {0, keys, keys};
    for (int64_t p = 0; p < t->used; p += nr) {
        if (masked && (p == 0 || !same))
            s = look(j, t, p, key, keys, bias);
        if (s.from == s.end)
            continue;
        if (s.biased < s.end && careful < 0)
            careful = !is_finite(j, v, keys);
        j->kernels->attend.fn(&(atl_attend_args){.q = scratch + op->q_lanes + p * op->d,
                                                 .k = k + s.from,
                                                 .v = v + s.from,
                                                 .d = op->d,
                                                 .c = op->c,
                                                 .keys = s.end - s.from,
                                                 .state = panel_state(op, state, p),
                                                 .scores = scratch + op->scores,
                                                 .weights = scratch + op->scores,
                                                 .bias = s.biased < s.end ? bias + s.from * nr : NULL,
                                                 .bias_from = s.biased - s.from,
                                                 .careful = careful > 0});
    }
}

/* One chunk of keys over a tile of queries, into a cleared state. */
static void attend_chunk(const job *j, const query_tile *t, int64_t chunk, float *scratch, float *state) {
    const atl_attend_op *op = j->op;
    int64_t first = chunk * op->chunk_blocks,
            end = atl_min(first + op->chunk_blocks, atl_ceil_div(op->keys, ATL_BLOCK));
    clear_state(op, state);
    for (int64_t block = first; block < end; block++)
        attend_block(j, t, block, scratch, state);
}

static void merge_states(const job *j, float *into, float *from) {
    const atl_attend_op *op = j->op;
    int64_t nr = j->kernels->attend.nr;
    for (int64_t p = 0; p < op->tile; p += nr)
        j->kernels->merge.fn(nr, op->c, panel_state(op, into, p), panel_state(op, from, p));
}

float *atl_attend_statistics(const job *j, const head *head) {
    return atl_run_workspace(j->run, head->b) + j->op->statistics + head->h * 2 * j->tiles * j->op->tile;
}

static void store_panel(const job *j, const query_tile *t, int64_t p, atl_attend_state state) {
    const atl_attend_op *op = j->op;
    const atl_run_state *run = j->run;
    int64_t nr = j->kernels->attend.nr, n = atl_min(nr, t->used - p), i = t->from + p;
    if (op->into_y) {
        atl_sample sample = atl_run_sample(run, t->head.b);
        j->kernels->finish.fn(nr, op->c, n, op->gamma, &op->affine, state, sample.x + i, run->x_row, sample.y + i,
                              run->y_row);
    } else {
        float *to = atl_panels_block(run, t->head.b, &t->head.to, i / ATL_BLOCK) + i % ATL_BLOCK;
        j->kernels->finish.fn(nr, op->c, n, 0.0f, NULL, state, NULL, 0, to, ATL_PANEL_ROW);
    }
}

static void finish_tile(const job *j, const query_tile *t, float *state) {
    const atl_attend_op *op = j->op;
    int64_t nr = j->kernels->attend.nr;
    float *sums = state + (op->c + 1) * op->tile;
    /* nothing divided by nothing is 0 in a blind row that is to be 0 */
    for (int64_t i = 0; i < t->used && op->blind_zero && !atl_mask_is_empty(&t->head.mask); i++)
        sums[i] = t->blind[i] ? 1.0f : sums[i];
    for (int64_t p = 0; p < t->used; p += nr)
        store_panel(j, t, p, panel_state(op, state, p));
    if (!j->wants_statistics)
        return;
    float *max = atl_attend_statistics(j, &t->head);
    memcpy(max + t->from, state + op->c * op->tile, (size_t)t->used * sizeof(float));
    memcpy(max + j->tiles * op->tile + t->from, sums, (size_t)t->used * sizeof(float));
}

/* ---- tasks ---- */

static void whole_tile(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_attend_op *op = j->op;
    float *scratch = atl_run_scratch(j->run, slot), *state = scratch + op->state, *other = scratch + op->other_state;
    query_tile t;
    open_tile(j, task / j->tiles, task % j->tiles, &t);
    load_queries(j, &t, scratch + op->q_lanes);
    for (int64_t chunk = 0; chunk < op->chunks; chunk++) {
        attend_chunk(j, &t, chunk, scratch, chunk ? other : state);
        if (chunk)
            merge_states(j, state, other);
    }
    finish_tile(j, &t, state);
}

/* The state of one chunk of a tile, of the head that comes `index`th in the run. */
static float *partial_state(const job *j, int64_t index, int64_t tile, int64_t chunk) {
    const atl_attend_op *op = j->op;
    int64_t at = (index % op->heads * j->tiles + tile) * op->chunks + chunk;
    return atl_run_workspace(j->run, index / op->heads) + op->partial + at * state_floats(op);
}

static void chunk_of_tile(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_attend_op *op = j->op;
    int64_t chunk = task % op->chunks, tile = task / op->chunks % j->tiles, index = task / op->chunks / j->tiles;
    float *scratch = atl_run_scratch(j->run, slot);
    query_tile t;
    open_tile(j, index, tile, &t);
    load_queries(j, &t, scratch + op->q_lanes);
    attend_chunk(j, &t, chunk, scratch, partial_state(j, index, tile, chunk));
}

static void merge_tile(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    int64_t index = task / j->tiles, tile = task % j->tiles;
    query_tile t;
    open_tile(j, index, tile, &t);
    float *state = partial_state(j, index, tile, 0);
    for (int64_t chunk = 1; chunk < j->op->chunks; chunk++)
        merge_states(j, state, partial_state(j, index, tile, chunk));
    finish_tile(j, &t, state);
}

/* ---- run ---- */

void atl_attend_run(const atl_run_state *run, const atl_attend_op *op) {
    int64_t threads = atl_pool_threads(run->plan->engine->pool);
    int has_map = atl_run_sample(run, 0).map != NULL;
    job j = {run,
             op,
             &run->plan->engine->kernels,
             (float)(op->scale * 1.4426950408889634),
             atl_ceil_div(op->queries, op->tile),
             has_map,
             atl_ceil_div(run->map_rows.count, ATL_MAP_ROWS),
             (double)(run->batch * op->heads) * (double)run->map_rows.count * (double)op->keys * sizeof(float) >
                 (double)atl_engine_cache(run->plan->engine)};
    int64_t tasks = run->batch * op->heads * j.tiles;
    if (op->chunks == 1 || threads == 1 || tasks >= TASKS_PER_THREAD * threads) {
        atl_run_tasks(run, whole_tile, &j, tasks);
    } else {
        atl_run_tasks(run, chunk_of_tile, &j, tasks * op->chunks);
        atl_run_tasks(run, merge_tile, &j, tasks);
    }
    if (has_map)
        atl_run_tasks(run, atl_attend_map_rows, &j, run->batch * op->heads * j.row_tasks);
}

void atl_attend_describe(const atl_plan *plan, const atl_attend_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_text_add(
        text,
        "attend: %lld head%s of %lld queries x %lld keys, d %lld, c %lld, tiles of %lld queries, blocks of %d keys, "
        "%lld chunk%s (%s, %s, %s)\n",
        (long long)op->heads, op->heads == 1 ? "" : "s", (long long)op->queries, (long long)op->keys, (long long)op->d,
        (long long)op->c, (long long)op->tile, ATL_BLOCK, (long long)op->chunks, op->chunks == 1 ? "" : "s",
        k->attend.variant, k->merge.variant, k->finish.variant);
    if (plan->info.map_rank)
        atl_text_add(text, "map: on request, recomputed by rows from max and sum (%s)\n", k->map.variant);
}
