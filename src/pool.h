/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool: the only owner of threads, the only file that includes omp.h. One OpenMP team per pool, entered once by a
 * leader thread, pulls tasks from a queue (queue.h) that any number of callers feed.
 *
 * Team threads run in the default floating-point state with the host's signals blocked, whatever their creator had.
 */
#ifndef ATL_SRC_POOL_H
#define ATL_SRC_POOL_H

#include <stdint.h>

#include "attentile/attentile.h"

typedef struct atl_pool atl_pool;

enum { ATL_MAX_THREADS = 1024 };

/* One task. `slot` is in [0, atl_pool_threads): no two tasks that run at the same time in one call have the same, so
 * it indexes the call's per-thread scratch. */
typedef void atl_task_fn(void *context, int64_t task, int slot);

typedef struct atl_pool_options {
    int threads;                      /* 1 to ATL_MAX_THREADS */
    int bind;                         /* bind each worker to a core of its own */
    atl_parallel_for_fn parallel_for; /* a host's pool instead of a team, or NULL */
    void *parallel_for_host;
} atl_pool_options;

/* Errors: ATL_INVALID_ARGUMENT, ATL_OUT_OF_MEMORY. Threads that the system refuses are no error: the team is smaller.
 */
atl_status atl_pool_create(const atl_pool_options *options, atl_pool **pool, atl_error *error);
void atl_pool_destroy(atl_pool *pool);

/* The team's size: what the system granted, at most what was asked for. */
int atl_pool_threads(const atl_pool *pool);

/* Tasks that need what the stages before have done. */
typedef struct atl_stage {
    atl_task_fn *function;
    void *context;
    int64_t count;
    _Alignas(64) _Atomic int64_t done; /* 0; counted by the pool, apart from what every task reads */
} atl_stage;

/* Runs function(context, i, slot) for i in [0, count) and returns when all are done. The caller helps when a token is
 * free. Cannot fail: without a team the caller does everything. A task must not run tasks on the same pool. */
void atl_pool_run(atl_pool *pool, atl_task_fn *function, void *context, int64_t count);

/* The same for stages, one after the other. Those who wait between two of them keep their tokens and spin: for stages of a
 * few microseconds. Each has a task. */
void atl_pool_run_stages(atl_pool *pool, atl_stage *stages, int count);

/* The same on the calling thread alone, for work that is too small to share; waits for a token. */
void atl_pool_run_inline(atl_pool *pool, atl_task_fn *function, void *context, int64_t count);

/*
 * One lock for global and shared state that changes rarely (caches, lists). A fork waits for it and a forked child
 * finds it free, so a child never sees such state half-changed. For short sections: not recursive, nothing that waits,
 * and no pool is created or destroyed inside. Effective once the process has its first pool.
 */
void atl_fork_lock(void);
void atl_fork_unlock(void);

#endif
