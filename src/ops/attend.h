/* SPDX-License-Identifier: Apache-2.0 */
/* What attention, its tiles of queries and its map share: a run of the op, one head of one sample of it, one tile. */
#ifndef ATL_SRC_ATTEND_H
#define ATL_SRC_ATTEND_H

#include "../plan.h"
#include "mask.h"

enum {
    ATL_TILE_MAX = 256, /* queries of a tile */
    ATL_HEADS_MAX = 12, /* of a tile that share a bias */
    ATL_MAP_ROWS = 48   /* of a task; a multiple of every map tile */
};

typedef struct atl_attend_job {
    const atl_run_state *run;
    const atl_attend_op *op;
    const atl_kernels *kernels;
    float slope;         /* scale * log2(e): queries are multiplied by it, so that weights are powers of 2 */
    int64_t tile, tiles; /* queries of a tile, and tiles of a head */
    int64_t together;    /* heads of a tile: those of a sample that see the same keys */
    int by_tile;         /* tasks go from tile to tile over all heads, not from head to head */
    int wants_map;
    int keeps;         /* scores, which become the map when a tile is done; else rows of the map are recomputed: */
    int64_t row_tasks; /* of a head */
    int stream_map;    /* the maps of the run are larger than the last-level cache */
} atl_attend_job;

/* A head of a sample of the run. */
typedef struct atl_attend_head {
    int64_t b, h;
    atl_panels q, k, v, to;
    atl_mask mask;
} atl_attend_head;

/* The head that comes `index`th in the run. */
atl_attend_head atl_attend_run_head(const atl_attend_job *j, int64_t index);

/* ---- tiles ---- */

/* A tile of queries of heads [index, index + heads) of the run; blind[i] where query `from` + i sees no key. */
typedef struct atl_query_tile {
    int64_t index, heads;
    atl_mask mask;
    int64_t from, used;
    int64_t next; /* the head of the tile that this thread is likely to take next, or -1 */
    uint8_t blind[ATL_TILE_MAX];
} atl_query_tile;

/* Floats of the state that a head of a tile has. */
int64_t atl_tile_state(const atl_attend_op *op);

void atl_tile_open(const atl_attend_job *j, int64_t index, int64_t heads, int64_t tile, atl_query_tile *t);
/* Puts the queries into the slot's scratch. */
void atl_tile_load(const atl_attend_job *j, const atl_query_tile *t, float *scratch);
/* One chunk of keys over the tile; the heads' states, one behind the other, are cleared first. */
void atl_tile_attend(const atl_attend_job *j, const atl_query_tile *t, int64_t chunk, float *scratch, float *states);
void atl_tile_merge(const atl_attend_job *j, const atl_query_tile *t, float *into, float *from);
/* Writes the output, and what the map needs or is. */
void atl_tile_finish(const atl_attend_job *j, const atl_query_tile *t, float *scratch, float *states);

/* ---- map ---- */

/* Where the maxima of a head's queries are kept for the map; their sums follow, atl_attend_padded floats behind. */
float *atl_attend_statistics(const atl_attend_job *j, const atl_attend_head *head);
int64_t atl_attend_padded(const atl_attend_op *op);

/* Rows [first, first + count) of those that are wanted, at most ATL_MAP_ROWS, from the statistics. */
void atl_attend_map_rows(const atl_attend_job *j, const atl_attend_head *head, int64_t first, int64_t count,
                         float *scratch);
/* Rows of the nr queries at p of a head of a tile, from the scores that were kept. */
void atl_attend_map_kept(const atl_attend_job *j, const atl_query_tile *t, const atl_attend_head *head, int64_t p,
                         float *scratch);
/* The scores of a block of keys, [keys][nr], for the queries at p of a tile. */
float *atl_attend_kept(const atl_attend_job *j, float *scratch, int64_t p, int64_t block);

#endif
