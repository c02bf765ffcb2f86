/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of a pool: which thread runs which task when.
 *
 * Whoever computes holds one of `tokens` tokens; its number is the slot that tasks see. A job is one call of
 * atl_queue_run; it lives on its caller's stack and in one of two lists: `waiting` (nobody works on it) or `active`. A
 * caller that finds a free token works on its own job, workers work on any. Tasks are claimed by one atomic counter.
 * Who has held a token for a quantum while others wait goes back to the queue, so that concurrent callers share.
 *
 * Everything but claiming happens under one lock; a worker takes it twice per job, not per task.
 */
#ifndef ATL_SRC_QUEUE_H
#define ATL_SRC_QUEUE_H

#include "pool.h"
#include "sync.h"

typedef struct atl_job atl_job;

typedef struct atl_job_list {
    atl_job *head, *tail;
    int count;
} atl_job_list;

/* A team thread while it looks for work. On a cache line of its own, because it spins there. */
typedef struct atl_worker {
    _Alignas(64) atl_event event;
    int slot;                /* the token that came with the wake-up, or -1 */
    struct atl_worker *next; /* in queue->idle */
} atl_worker;

/* All zero is an empty queue without tokens, which workers may already serve. */
typedef struct atl_queue {
    int tokens;
    int spin; /* waiting threads may spin a little before they sleep */

    _Alignas(64) atl_lock lock; /* guards what follows */
    int stop;
    int free_count;
    uint64_t free[ATL_MAX_THREADS / 64]; /* bit t: token t is free */
    int waking;                          /* threads that were woken to take a free token and have not come yet */
    atl_worker *idle;                    /* the last to become idle is the first to be woken: it may still spin */
    atl_job_list callers;                /* threads that wait for a token to work alone */
    atl_job_list waiting;                /* shared jobs that nobody works on, the oldest first */
    atl_job_list active;                 /* shared jobs that somebody works on, next turn first */

    _Atomic int spinners; /* threads that spin before they sleep; counted without the lock */

    /* Hints, read after each task and written under the lock. */
    _Alignas(64) _Atomic int hungry; /* callers + waiting */
    _Atomic int jobs;                /* callers + waiting + active */
} atl_queue;

/* Fills in the constants, before any job. */
void atl_queue_open(atl_queue *queue, int tokens, int spin);

/* Empties the queue in a forked child, where all other threads are gone. */
void atl_queue_reset(atl_queue *queue);

/* Runs all tasks of some stages, shared with the workers; each stage has some. */
void atl_queue_run(atl_queue *queue, atl_stage *stages, int count);

/* Runs all tasks on the calling thread; waits for a token when none is free. */
void atl_queue_run_alone(atl_queue *queue, atl_task_fn *function, void *context, int64_t count);

/* The life of a worker; returns after atl_queue_stop. */
void atl_queue_serve(atl_queue *queue, atl_worker *worker);
void atl_queue_stop(atl_queue *queue);

#endif
