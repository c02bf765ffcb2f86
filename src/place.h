/* SPDX-License-Identifier: Apache-2.0 */
/* How a thread goes through the stages of a job. */
#ifndef ATL_SRC_PLACE_H
#define ATL_SRC_PLACE_H

#include "pool.h"
#include "sync.h"

/* Where a thread is in a job: its stage, the first task of that, and how many of them it has done. */
typedef struct atl_place {
    atl_stage *stage;
    int64_t first, done;
} atl_place;

static inline void atl_place_report(atl_place *at) {
    atomic_fetch_add_explicit(&at->stage->done, at->done, memory_order_release);
    at->done = 0;
}

/* Moves on to the stage of a task, and waits for the one before. Tasks are claimed in order, and by whom they are claimed they
 * are done: nothing waits for a thread that waits. */
static inline void atl_place_find(atl_place *at, int64_t task) {
    if (task - at->first < at->stage->count)
        return;
    atl_place_report(at);
    while (task - at->first >= at->stage->count)
        at->first += at->stage++->count;
    atl_count_wait(&at->stage[-1].done, at->stage[-1].count);
}

#endif
