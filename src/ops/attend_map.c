/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the attention map, recomputed from the statistics that attention leaves. */
#include "../arena.h"
#include "../memory.h"
#include "attend.h"

typedef atl_attend_job job;
typedef atl_attend_head head;

/* Query position of map row r. */
static int64_t map_position(const atl_run_state *run, int64_t r) {
    return run->map_rows.rows ? run->map_rows.rows[r] : r;
}

/* Gathers the queries of `count` map rows from row `first` on, their maxima and the inverses of their sums. */
static void load_map_rows(const job *j, const head *head, int64_t first, int64_t count, float *q, float *statistics,
                          uint8_t *blind) {
    const atl_attend_op *op = j->op;
    const float *max = atl_attend_statistics(j, head);
    int64_t mr = j->kernels->map.mr;
    for (int64_t r = 0; r < count; r++) {
        int64_t i = map_position(j->run, first + r);
        const float *from = atl_panels_block(j->run, head->b, &head->q, i / ATL_BLOCK) + i % ATL_BLOCK;
        for (int64_t l = 0; l < op->d; l++)
            q[(r / mr * op->d + l) * mr + r % mr] = from[l * ATL_PANEL_ROW] * j->slope;
        statistics[r] = max[i];
        statistics[ATL_MAP_ROWS + r] = 1.0f / max[atl_attend_padded(op) + i];
        if (!atl_mask_is_empty(&head->mask))
            atl_mask_blind(&head->mask, i, 1, blind + r);
    }
}

/* Whether rows of the map from `map` on may be stored past the caches. */
static int streams(const job *j, const float *map) {
    return j->stream_map && ((uintptr_t)map | (uintptr_t)j->op->keys * sizeof(float)) % ATL_ALIGN == 0;
}

static float *map_row(const job *j, const head *head, int64_t r) {
    return atl_run_sample(j->run, head->b).map + (head->h * j->run->map_rows.count + r) * j->op->keys;
}

void atl_attend_map_rows(const job *j, const head *head, int64_t first, int64_t count, float *scratch) {
    const atl_attend_op *op = j->op;
    float *q = scratch + op->map_q, *statistics = scratch + op->map_statistics,
          *bias = atl_mask_is_empty(&head->mask) ? NULL : scratch + op->map_bias, *map = map_row(j, head, first);
    uint8_t blind[ATL_MAP_ROWS];
    load_map_rows(j, head, first, count, q, statistics, blind);
    for (int64_t key = 0; key < op->keys; key += ATL_BLOCK) {
        int64_t keys = atl_min(ATL_BLOCK, op->keys - key);
        for (int64_t r = 0; r < count && bias; r++) {
            atl_mask_rows row = {map_position(j->run, first + r), 1, blind + r};
            atl_mask_bias(&head->mask, &row, key, 0, keys, j->kernels->bias.fn, bias + r * ATL_BLOCK, ATL_BLOCK, 0);
        }
        j->kernels->map.fn(q, atl_panels_block(j->run, head->b, &head->k, key / ATL_BLOCK), op->d, count, keys,
                           statistics, statistics + ATL_MAP_ROWS, bias, map + key, op->keys, streams(j, map));
    }
}

void atl_attend_map_kept(const job *j, const atl_query_tile *t, const head *head, int64_t p, float *scratch) {
    const atl_attend_op *op = j->op;
    int64_t nr = j->kernels->attend.nr, first = t->from + p, count = atl_min(nr, t->used - p);
    const float *max = atl_attend_statistics(j, head) + first, *sums = max + atl_attend_padded(op);
    float top[ATL_TILE_MAX] = {0}, inverse[ATL_TILE_MAX] = {0}, *map = map_row(j, head, first);
    int ordinary = 1; /* a score of -inf is a weight of 0 */
    for (int64_t i = 0; i < count; i++) {
        top[i] = max[i];
        inverse[i] = 1.0f / sums[i];
        ordinary &= sums[i] > 0;
    }
    if (!ordinary && !atl_mask_is_empty(&t->mask)) /* but not where all is NaN, unless a mask says so */
        atl_attend_map_rows(j, head, first, count, scratch);
    else
        j->kernels->map_scores.fn(atl_attend_kept(j, scratch, p, 0), nr, count, op->keys, top, inverse, map, op->keys,
                                  streams(j, map));
}
