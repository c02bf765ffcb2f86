/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiled attention. A task is a tile of queries (lanes) over a run of keys; online softmax keeps max, sum and output per
 * query, so no score outlives its block of keys. Where there are few queries, keys are split into chunks whose states
 * are merged in order; the chunks depend on the per-sample shape alone, and one task runs all of them when tiles
 * suffice.
 */
#include <string.h>

#include "../arena.h"
#include "../memory.h"
#include "../error.h"
#include "../plan.h"
#include "ops.h"

enum {
    LANE_GROUP = 32,    /* what the number of chunks counts queries in, on every ISA */
    WANTED_PIECES = 64, /* lane groups times chunks, where keys allow */
    CHUNK_MIN_KEYS = 512,
    TILE_MAX = 256,
    TILE_STATE = 96 * 1024, /* bytes of output state that a tile may hold: shares a second-level cache with keys */
    TASKS_PER_THREAD = 4,
    BUSY_TASKS = 32, /* of a thread, between two waits for the whole team */
    MAP_ROWS = 48    /* of a task; a multiple of every map tile */
};

/* The maximum that every query starts from, in scores times log2(e): finite, so that rows of -inf stay NaN-free until
 * the division. */
static const float floor_score = -2e30f;

/* ---- plan ---- */

/* Frozen: changes bits. */
static void split_keys(atl_attend_op *op) {
    int64_t groups = atl_ceil_div(op->queries, LANE_GROUP), blocks = atl_ceil_div(op->keys, ATL_BLOCK);
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
    } slot[] = {{&op->q_lanes, op->d, op->tile},   {&op->scores, ATL_BLOCK, nr},
                {&op->state, op->c + 2, op->tile}, {&op->other_state, op->chunks > 1 ? op->c + 2 : 0, op->tile},
                {&op->map_q, op->d, MAP_ROWS},     {&op->map_statistics, 2, MAP_ROWS}};
    atl_status status = atl_reserve_sample(plan, &op->statistics, 2, tiles, op->tile, error);
    if (status == ATL_OK)
        status = atl_reserve_sample(plan, &op->partial, op->chunks > 1 ? op->chunks : 0, (op->c + 2) * tiles, op->tile,
                                    error);
    for (size_t i = 0; status == ATL_OK && i < sizeof slot / sizeof *slot; i++)
        status = atl_reserve_slot(plan, slot[i].at, slot[i].a, slot[i].b, 1, error);
    return status;
}

atl_status atl_attend_plan(atl_plan *plan, atl_attend_op *op, atl_error *error) {
    int64_t nr = plan->engine->kernels.attend.nr;
    int64_t threads = atl_pool_threads(plan->engine->pool);
    split_keys(op);
    op->tile = atl_min(TILE_MAX, TILE_STATE / (op->c * (int64_t)sizeof(float)));
    int64_t fair = atl_ceil_div(op->queries, TASKS_PER_THREAD * threads); /* keep all threads busy on one sample */
    op->tile = atl_max(nr, atl_min(op->tile, fair) / nr * nr);
    return reserve_scratch(plan, op, error);
}

int64_t atl_attend_samples(const atl_plan *plan, const atl_attend_op *op) {
    int64_t tasks = BUSY_TASKS * (int64_t)atl_pool_threads(plan->engine->pool);
    return atl_ceil_div(tasks, atl_ceil_div(op->queries, op->tile));
}

/* ---- states ---- */

typedef struct job {
    const atl_run_state *run;
    const atl_attend_op *op;
    const atl_kernels *kernels;
    float slope; /* scale * log2(e): queries are multiplied by it, so that weights are powers of 2 */
    int64_t tiles, wants_statistics;
    int64_t row_tasks; /* of the map, a sample */
    int stream_map;    /* the maps of the run are larger than the last-level cache */
} job;

/* The state of lanes [p, p + nr) within a tile's block of floats: outputs first, panel by panel. */
static atl_attend_state panel_state(const atl_attend_op *op, float *state, int64_t p) {
    return (atl_attend_state){state + op->c * op->tile + p, state + (op->c + 1) * op->tile + p, state + op->c * p};
}

static void clear_state(const atl_attend_op *op, float *state) {
    memset(state, 0, (size_t)state_floats(op) * sizeof(float));
    for (int64_t i = 0; i < op->tile; i++)
        state[op->c * op->tile + i] = floor_score;
}

/* Queries [from, from + tile), scaled, as lane panels [d][nr]; zero beyond the last. */
static void load_queries(const job *j, int64_t b, int64_t from, float *lanes) {
    const atl_attend_op *op = j->op;
    int64_t nr = j->kernels->attend.nr;
    for (int64_t p = 0; p < op->tile; p += nr) {
        int64_t i = from + p, n = atl_max(0, atl_min(nr, op->queries - i));
        const float *q = n ? atl_panels_block(j->run, b, &op->q, i / ATL_BLOCK) + i % ATL_BLOCK : NULL;
        for (int64_t l = 0; l < op->d; l++) {
            float *to = lanes + (p * op->d + l * nr);
            if (n)
                memcpy(to, q + l * ATL_PANEL_ROW, (size_t)n * sizeof(float));
            memset(to + n, 0, (size_t)(nr - n) * sizeof(float));
            for (int64_t v = 0; v < n; v++)
                to[v] *= j->slope;
        }
    }
}

/* One chunk of keys over a tile of queries, into a cleared state. */
static void attend_chunk(const job *j, int64_t b, int64_t tile, int64_t chunk, const float *lanes, float *scores,
                         float *state) {
    const atl_attend_op *op = j->op;
    int64_t nr = j->kernels->attend.nr, used = atl_min(op->tile, op->queries - tile * op->tile);
    int64_t first = chunk * op->chunk_blocks,
            end = atl_min(first + op->chunk_blocks, atl_ceil_div(op->keys, ATL_BLOCK));
    clear_state(op, state);
    for (int64_t block = first; block < end; block++) {
        const float *k = atl_panels_block(j->run, b, &op->k, block), *v = atl_panels_block(j->run, b, &op->v, block);
        int64_t keys = atl_min(ATL_BLOCK, op->keys - block * ATL_BLOCK);
        for (int64_t p = 0; p < used; p += nr)
            j->kernels->attend.fn(lanes + p * op->d, k, v, op->d, op->c, keys, panel_state(op, state, p), scores);
    }
}

static void merge_states(const job *j, float *into, float *from) {
    const atl_attend_op *op = j->op;
    int64_t nr = j->kernels->attend.nr;
    for (int64_t p = 0; p < op->tile; p += nr)
        j->kernels->merge.fn(nr, op->c, panel_state(op, into, p), panel_state(op, from, p));
}

static void finish_tile(const job *j, int64_t b, int64_t tile, float *state) {
    const atl_attend_op *op = j->op;
    const atl_run_state *run = j->run;
    atl_sample sample = atl_run_sample(run, b);
    int64_t nr = j->kernels->attend.nr, from = tile * op->tile, used = atl_min(op->tile, op->queries - from);
    for (int64_t p = 0; p < used; p += nr)
        j->kernels->finish.fn(nr, op->c, atl_min(nr, used - p), op->gamma, panel_state(op, state, p),
                              sample.x + from + p, run->x_row, sample.y + from + p, run->y_row);
    if (!j->wants_statistics)
        return;
    float *max = atl_run_workspace(run, b) + op->statistics;
    memcpy(max + from, state + op->c * op->tile, (size_t)used * sizeof(float));
    memcpy(max + j->tiles * op->tile + from, state + (op->c + 1) * op->tile, (size_t)used * sizeof(float));
}

/* ---- tasks ---- */

static void whole_tile(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_attend_op *op = j->op;
    int64_t b = task / j->tiles, tile = task % j->tiles;
    float *scratch = atl_run_scratch(j->run, slot);
    float *lanes = scratch + op->q_lanes, *state = scratch + op->state, *other = scratch + op->other_state;
    load_queries(j, b, tile * op->tile, lanes);
    for (int64_t chunk = 0; chunk < op->chunks; chunk++) {
        attend_chunk(j, b, tile, chunk, lanes, scratch + op->scores, chunk ? other : state);
        if (chunk)
            merge_states(j, state, other);
    }
    finish_tile(j, b, tile, state);
}

static float *partial_state(const job *j, int64_t b, int64_t tile, int64_t chunk) {
    const atl_attend_op *op = j->op;
    return atl_run_workspace(j->run, b) + op->partial + (tile * op->chunks + chunk) * state_floats(op);
}

static void chunk_of_tile(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_attend_op *op = j->op;
    int64_t chunk = task % op->chunks, tile = task / op->chunks % j->tiles, b = task / op->chunks / j->tiles;
    float *scratch = atl_run_scratch(j->run, slot);
    load_queries(j, b, tile * op->tile, scratch + op->q_lanes);
    attend_chunk(j, b, tile, chunk, scratch + op->q_lanes, scratch + op->scores, partial_state(j, b, tile, chunk));
}

static void merge_tile(void *context, int64_t task, int slot) {
    (void)slot;
    const job *j = context;
    int64_t b = task / j->tiles, tile = task % j->tiles;
    float *state = partial_state(j, b, tile, 0);
    for (int64_t chunk = 1; chunk < j->op->chunks; chunk++)
        merge_states(j, state, partial_state(j, b, tile, chunk));
    finish_tile(j, b, tile, state);
}

/* ---- the map ---- */

/* Query position of map row r. */
static int64_t map_position(const atl_run_state *run, int64_t r) {
    return run->map_rows.rows ? run->map_rows.rows[r] : r;
}

/* Gathers the queries of `count` map rows from row `first` on, their maxima and the inverses of their sums. */
static void load_map_rows(const job *j, int64_t b, int64_t first, int64_t count, float *q, float *statistics) {
    const atl_attend_op *op = j->op;
    const float *max = atl_run_workspace(j->run, b) + op->statistics;
    int64_t mr = j->kernels->map.mr;
    for (int64_t r = 0; r < count; r++) {
        int64_t i = map_position(j->run, first + r);
        const float *from = atl_panels_block(j->run, b, &op->q, i / ATL_BLOCK) + i % ATL_BLOCK;
        for (int64_t l = 0; l < op->d; l++) {
            q[(r / mr * op->d + l) * mr + r % mr] = from[l * ATL_PANEL_ROW] * j->slope;
        }
        statistics[r] = max[i];
        statistics[MAP_ROWS + r] = 1.0f / max[j->tiles * op->tile + i];
    }
}

static void map_rows(void *context, int64_t task, int slot) {
    const job *j = context;
    const atl_attend_op *op = j->op;
    int64_t b = task / j->row_tasks, first = task % j->row_tasks * MAP_ROWS;
    int64_t count = atl_min(MAP_ROWS, j->run->map_rows.count - first);
    float *scratch = atl_run_scratch(j->run, slot), *q = scratch + op->map_q,
          *statistics = scratch + op->map_statistics;
    float *map = atl_run_sample(j->run, b).map + first * op->keys;
    int stream = j->stream_map && ((uintptr_t)map | (uintptr_t)op->keys * sizeof(float)) % ATL_ALIGN == 0;
    load_map_rows(j, b, first, count, q, statistics);
    for (int64_t key = 0; key < op->keys; key += ATL_BLOCK)
        j->kernels->map.fn(q, atl_panels_block(j->run, b, &op->k, key / ATL_BLOCK), op->d, count,
                           atl_min(ATL_BLOCK, op->keys - key), statistics, statistics + MAP_ROWS, map + key, op->keys,
                           stream);
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
             atl_ceil_div(run->map_rows.count, MAP_ROWS),
             (double)run->batch * (double)run->map_rows.count * (double)op->keys * sizeof(float) >
                 (double)atl_engine_cache(run->plan->engine)};
    int64_t tasks = run->batch * j.tiles;
    if (op->chunks == 1 || threads == 1 || tasks >= TASKS_PER_THREAD * threads) {
        atl_run_tasks(run, whole_tile, &j, tasks);
    } else {
        atl_run_tasks(run, chunk_of_tile, &j, tasks * op->chunks);
        atl_run_tasks(run, merge_tile, &j, tasks);
    }
    if (has_map)
        atl_run_tasks(run, map_rows, &j, run->batch * j.row_tasks);
}

void atl_attend_describe(const atl_plan *plan, const atl_attend_op *op, atl_text *text) {
    const atl_kernels *k = &plan->engine->kernels;
    atl_text_add(text,
                 "attend: %lld queries x %lld keys, d %lld, c %lld, tiles of %lld queries, blocks of %d keys, "
                 "%lld chunk%s (%s, %s, %s)\n",
                 (long long)op->queries, (long long)op->keys, (long long)op->d, (long long)op->c, (long long)op->tile,
                 ATL_BLOCK, (long long)op->chunks, op->chunks == 1 ? "" : "s", k->attend.variant, k->merge.variant,
                 k->finish.variant);
    atl_text_add(text, "map: on request, recomputed by rows from max and sum (%s)\n", k->map.variant);
}
