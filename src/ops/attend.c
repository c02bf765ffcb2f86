/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiled attention. A task is a tile of queries (lanes) over a run of keys; online softmax keeps max, sum and output per
 * query, so no score outlives its block of keys, unless the whole map is wanted: then those of a tile do, until its rows of
 * the map are made of them. Where there are few queries, keys are split into chunks whose states are merged in order; the
 * chunks depend on the per-sample shape alone, and one task runs all of them when tiles suffice.
 */
#include <math.h>

#include "../arena.h"
#include "../memory.h"
#include "../error.h"
#include "../plan.h"
#include "attend.h"

enum {
    LANE_GROUP = 32,    /* what the number of chunks counts queries in, on every ISA */
    WANTED_PIECES = 64, /* lane groups times chunks, where keys allow */
    CHUNK_MIN_KEYS = 512,
    TILE_STATE = 96 * 1024,   /* bytes of output state that a tile may hold: shares a second-level cache with keys */
    TILE_LEAST = 96,          /* queries even so, as many as may be: every tile reads all keys and values */
    KEPT_FLOATS = 256 * 1024, /* scores of a tile that may be kept */
    KEPT_MIN_D = 16,          /* below, a score is recomputed as fast as read */
    TASKS_PER_THREAD = 4,
    FEW_TASKS = 32, /* of a thread, of which one more than others have counts */
    BUSY_TASKS = 64 /* of a thread, between two waits for the whole team */
};

/* ---- plan ---- */

/* Frozen: changes bits. */
static void split_keys(atl_attend_op *op) {
    int64_t groups = op->heads * atl_ceil_div(op->queries, LANE_GROUP), blocks = atl_ceil_div(op->keys, ATL_BLOCK);
    int64_t wanted = atl_min(atl_ceil_div(WANTED_PIECES, groups), atl_ceil_div(op->keys, CHUNK_MIN_KEYS));
    op->chunk_blocks = atl_ceil_div(blocks, wanted);
    op->chunks = atl_ceil_div(blocks, op->chunk_blocks);
}

/* Queries whose scores are kept at once for the map, or 0. */
static int64_t kept_queries(const atl_plan *plan, const atl_attend_op *op) {
    int64_t nr = plan->engine->kernels.attend.nr;
    if (!plan->info.map_rank || op->d < KEPT_MIN_D)
        return 0;
    return atl_min(op->tile, KEPT_FLOATS / atl_round_up(op->keys, ATL_BLOCK) / nr * nr);
}

static atl_status reserve_scratch(atl_plan *plan, atl_attend_op *op, atl_error *error) {
    int64_t nr = plan->engine->kernels.attend.nr, tiles = atl_ceil_div(op->queries, op->tile);
    int64_t heads = op->masked ? atl_min(ATL_HEADS_MAX, op->heads) : 1;
    const struct {
        atl_offset *at;
        int64_t a, b, c;
    } slot[] = {{&op->q_lanes, op->d, op->tile, heads},
                {&op->scores, ATL_BLOCK, nr, 1},
                {&op->kept, atl_round_up(op->keys, ATL_BLOCK), op->kept_tile, 1},
                {&op->state, op->c + 2, op->tile, heads},
                {&op->other_state, op->chunks > 1 ? op->c + 2 : 0, op->tile, heads},
                {&op->map_q, op->d, ATL_MAP_ROWS, 1},
                {&op->map_statistics, 2, ATL_MAP_ROWS, 1},
                {&op->bias, op->masked ? ATL_BLOCK : 0, op->tile, 1},
                {&op->map_bias, op->masked ? ATL_BLOCK : 0, ATL_MAP_ROWS, 1}};
    atl_status status = ATL_OK;
    if (plan->info.map_rank)
        status = atl_reserve_sample(plan, &op->statistics, op->heads * 2, tiles, op->tile, error);
    if (status == ATL_OK && op->chunks > 1)
        status = atl_reserve_sample(plan, &op->partial, op->heads * op->chunks, (op->c + 2) * tiles, op->tile, error);
    for (size_t i = 0; status == ATL_OK && i < sizeof slot / sizeof *slot; i++)
        status = atl_reserve_slot(plan, slot[i].at, slot[i].a, slot[i].b, slot[i].c, error);
    return status;
}

atl_status atl_attend_plan(atl_plan *plan, atl_attend_op *op, atl_error *error) {
    int64_t nr = plan->engine->kernels.attend.nr;
    int64_t threads = atl_pool_threads(plan->engine->pool);
    split_keys(op);
    op->tile = atl_min(ATL_TILE_MAX, atl_max(TILE_LEAST, TILE_STATE / (op->c * (int64_t)sizeof(float))));
    int64_t fair =
        atl_ceil_div(op->queries * op->heads, TASKS_PER_THREAD * threads); /* keep all threads busy on one sample */
    op->tile = atl_max(nr, atl_min(op->tile, fair) / nr * nr);
    op->kept_tile = kept_queries(plan, op);
    return reserve_scratch(plan, op, error);
}

int64_t atl_attend_samples(const atl_plan *plan, const atl_attend_op *op) {
    int64_t tasks = BUSY_TASKS * (int64_t)atl_pool_threads(plan->engine->pool);
    return atl_ceil_div(tasks, op->heads * atl_ceil_div(op->queries, op->tile));
}

/* ---- heads ---- */

typedef atl_attend_job job;
typedef atl_attend_head head;

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

int64_t atl_attend_padded(const atl_attend_op *op) {
    return atl_round_up(op->queries, op->tile);
}

float *atl_attend_statistics(const job *j, const head *head) {
    return atl_run_workspace(j->run, head->b) + j->op->statistics + head->h * 2 * atl_attend_padded(j->op);
}

float *atl_attend_kept(const job *j, float *scratch, int64_t p, int64_t block) {
    int64_t keys = atl_round_up(j->op->keys, ATL_BLOCK);
    return scratch + j->op->kept + p * keys + block * ATL_BLOCK * j->kernels->attend.nr;
}

/* ---- tasks ---- */

static void whole_tile(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_attend_op *op = j->op;
    float *scratch = atl_run_scratch(j->run, slot), *states = scratch + op->state, *others = scratch + op->other_state;
    int64_t groups = j->run->batch * op->heads / j->together, group = task / j->tiles, tile = task % j->tiles;
    int64_t next = (task + atl_pool_threads(j->run->plan->engine->pool)) / j->tiles;
    atl_query_tile t;
    if (j->by_tile) {
        group = task % groups;
        tile = task / groups;
    }
    /* tiles that see most keys first, so that threads finish together */
    atl_tile_open(j, group * j->together, j->together, op->causal ? j->tiles - 1 - tile : tile, &t);
    if (!j->by_tile && next < groups)
        t.next = next * j->together;
    atl_tile_load(j, &t, scratch);
    for (int64_t chunk = 0; chunk < op->chunks; chunk++) {
        atl_tile_attend(j, &t, chunk, scratch, chunk ? others : states);
        if (chunk)
            atl_tile_merge(j, &t, states, others);
    }
    atl_tile_finish(j, &t, scratch, states);
}

/* The state of one chunk of a tile, of the head that comes `index`th in the run. */
static float *partial_state(const job *j, int64_t index, int64_t tile, int64_t chunk) {
    const atl_attend_op *op = j->op;
    int64_t at = (index % op->heads * j->tiles + tile) * op->chunks + chunk;
    return atl_run_workspace(j->run, index / op->heads) + op->partial + at * atl_tile_state(op);
}

static void chunk_of_tile(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_attend_op *op = j->op;
    int64_t chunk = task % op->chunks, tile = task / op->chunks % j->tiles, index = task / op->chunks / j->tiles;
    float *scratch = atl_run_scratch(j->run, slot);
    atl_query_tile t;
    atl_tile_open(j, index, 1, tile, &t);
    atl_tile_load(j, &t, scratch);
    atl_tile_attend(j, &t, chunk, scratch, partial_state(j, index, tile, chunk));
}

static void merge_tile(void *context, int64_t task, int slot) {
    const job *j = context;
    int64_t index = task / j->tiles, tile = task % j->tiles;
    atl_query_tile t;
    atl_tile_open(j, index, 1, tile, &t);
    float *state = partial_state(j, index, tile, 0);
    for (int64_t chunk = 1; chunk < j->op->chunks; chunk++)
        atl_tile_merge(j, &t, state, partial_state(j, index, tile, chunk));
    atl_tile_finish(j, &t, atl_run_scratch(j->run, slot), state);
}

static void some_map_rows(void *context, int64_t task, int slot) {
    const job *j = context;
    head head = atl_attend_run_head(j, task / j->row_tasks);
    int64_t first = task % j->row_tasks * ATL_MAP_ROWS;
    atl_attend_map_rows(j, &head, first, atl_min(ATL_MAP_ROWS, j->run->map_rows.count - first),
                        atl_run_scratch(j->run, slot));
}

/* ---- run ---- */

/* Heads that share a bias worth sharing, as many as leave every thread enough to do. */
static int64_t heads_together(const job *j) {
    const atl_attend_op *op = j->op;
    const atl_run_state *run = j->run;
    atl_mask mask = atl_attend_run_head(j, 0).mask;
    int64_t threads = atl_pool_threads(run->plan->engine->pool), tasks = run->batch * op->heads * j->tiles;
    int one = atl_mask_same_rows(&mask) || (!mask.bytes && !mask.additive) || j->keeps;
    if (one || (mask.bytes && run->mask.head) || (mask.additive && run->additive.head))
        return 1;
    int64_t heads = atl_min(ATL_HEADS_MAX, op->heads);
    while (heads > 1 && (op->heads % heads || tasks / heads < TASKS_PER_THREAD * threads))
        heads--;
    return heads;
}

/* How a run whose tiles are tasks goes about it. */
static void choose_tiles(job *j) {
    const atl_attend_op *op = j->op;
    int64_t threads = atl_pool_threads(j->run->plan->engine->pool), batch = j->run->batch;
    j->keeps = j->wants_map && op->kept_tile && !j->run->map_rows.rows;
    if (j->keeps)
        j->tile = op->kept_tile;
    j->tiles = atl_ceil_div(op->queries, j->tile);
    j->together = heads_together(j);
    j->by_tile = op->causal && batch * op->heads * j->tiles < FEW_TASKS * threads;
}

void atl_attend_run(const atl_run_state *run, const atl_attend_op *op) {
    int64_t threads = atl_pool_threads(run->plan->engine->pool);
    job j = {.run = run,
             .op = op,
             .kernels = &run->plan->engine->kernels,
             .slope = (float)(op->scale * 1.4426950408889634),
             .tile = op->tile,
             .tiles = atl_ceil_div(op->queries, op->tile),
             .together = 1,
             .wants_map = atl_run_sample(run, 0).map != NULL,
             .row_tasks = atl_ceil_div(run->map_rows.count, ATL_MAP_ROWS)};
    j.stream_map = (double)(run->batch * op->heads) * (double)run->map_rows.count * (double)op->keys * sizeof(float) >
                   (double)atl_engine_cache(run->plan->engine);
    int64_t tasks = run->batch * op->heads * j.tiles;
    int whole = op->chunks == 1 || threads == 1 || tasks >= TASKS_PER_THREAD * threads;
    if (whole)
        choose_tiles(&j);
    if (op->queries_in_x && j.wants_map && !j.keeps)
        atl_panels_copy_x(run, &op->q);
    if (whole) {
        atl_run_tasks(run, whole_tile, &j, run->batch * op->heads / j.together * j.tiles);
    } else {
        atl_run_tasks(run, chunk_of_tile, &j, tasks * op->chunks);
        atl_run_tasks(run, merge_tile, &j, tasks);
    }
    if (j.wants_map && !j.keeps)
        atl_run_tasks(run, some_map_rows, &j, run->batch * op->heads * j.row_tasks);
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
    if (!plan->info.map_rank)
        return;
    atl_text_add(text, "map: on request, recomputed by rows from max and sum (%s)", k->map.variant);
    if (op->kept_tile)
        atl_text_add(text, "; the whole map of the scores of %lld queries at a time (%s)", (long long)op->kept_tile,
                     k->map_scores.variant);
    atl_text_add(text, "\n");
}
