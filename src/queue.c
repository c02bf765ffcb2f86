/* SPDX-License-Identifier: Apache-2.0 */
#include "queue.h"

#include <string.h>

#include "place.h"

enum {
    QUANTUM_NS = 200000, /* how long to keep a token while others wait */
    AGED_NS = 1000000,   /* who has waited this long is handed a token; until then any running thread may take it first,
                            which saves two changes of thread */
    WAKE_LIMIT = 2       /* threads woken at once; each of them wakes others, so a big team wakes as a tree */
};

struct atl_job {
    atl_stage *stages; /* whose tasks are numbered one after the other */
    int64_t count;     /* of all tasks */
    atl_event event;   /* shared job: all tasks done. In `callers`: look for a token */
    int slot;          /* in `callers`: the token that came with the event, or -1 */
    int refs;          /* threads that work on it */
    int64_t since;     /* when it began to wait, in `callers` and `waiting` */
    atl_job_list *list;
    atl_job *prev, *next;
    _Alignas(64) _Atomic int64_t claimed; /* apart from what every task reads */
};

/* The threads to wake after the lock is dropped. */
typedef struct wake_list {
    atl_event *event[WAKE_LIMIT + 1]; /* one dispatch and one finished job */
    int count;
} wake_list;

static void wake_later(wake_list *wakeups, atl_event *event) {
    if (atl_event_set(event))
        wakeups->event[wakeups->count++] = event;
}

static void drop_and_wake(atl_queue *queue, wake_list *wakeups) {
    atl_lock_drop(&queue->lock);
    for (int i = 0; i < wakeups->count; i++)
        atl_futex_wake(&wakeups->event[i]->state, 1);
    wakeups->count = 0;
}

/* ---------------------------------------------------------------- lists */

static void publish_hints(atl_queue *queue) {
    int hungry = queue->callers.count + queue->waiting.count;
    atomic_store_explicit(&queue->hungry, hungry, memory_order_relaxed);
    atomic_store_explicit(&queue->jobs, hungry + queue->active.count, memory_order_relaxed);
}

static void append(atl_queue *queue, atl_job_list *list, atl_job *job) {
    job->list = list;
    job->prev = list->tail;
    job->next = NULL;
    *(list->tail != NULL ? &list->tail->next : &list->head) = job;
    list->tail = job;
    list->count++;
    publish_hints(queue);
}

static void prepend(atl_queue *queue, atl_job_list *list, atl_job *job) {
    job->list = list;
    job->prev = NULL;
    job->next = list->head;
    *(list->head != NULL ? &list->head->prev : &list->tail) = job;
    list->head = job;
    list->count++;
    publish_hints(queue);
}

static void detach(atl_queue *queue, atl_job *job) {
    atl_job_list *list = job->list;
    *(job->prev != NULL ? &job->prev->next : &list->head) = job->next;
    *(job->next != NULL ? &job->next->prev : &list->tail) = job->prev;
    list->count--;
    job->list = NULL;
    publish_hints(queue);
}

/* ---------------------------------------------------------------- tokens */

static int take_token(atl_queue *queue) {
    for (int word = 0; queue->free_count > 0; word++) {
        if (queue->free[word] == 0)
            continue;
        int bit = __builtin_ctzll(queue->free[word]);
        queue->free[word] &= queue->free[word] - 1;
        queue->free_count--;
        return word * 64 + bit;
    }
    return -1;
}

static void put_token(atl_queue *queue, int slot) {
    queue->free[slot / 64] |= UINT64_C(1) << slot % 64;
    queue->free_count++;
}

/* Free tokens that nobody is on the way to. */
static int spare_tokens(const atl_queue *queue) {
    return queue->free_count - queue->waking;
}

/* At most as many threads compute or spin as there are tokens: an idle team must not take a caller's processor. */
static int64_t spin_time(atl_queue *queue) {
    int spinners = atomic_load_explicit(&queue->spinners, memory_order_relaxed);
    return queue->spin && spinners < queue->free_count ? ATL_SPIN_NS : 0;
}

static void wait_event(atl_queue *queue, atl_event *event, int64_t spin_ns) {
    if (spin_ns > 0) {
        atomic_fetch_add_explicit(&queue->spinners, 1, memory_order_relaxed);
        atl_event_spin(event, spin_ns);
        atomic_fetch_sub_explicit(&queue->spinners, 1, memory_order_relaxed);
    }
    atl_event_wait(event);
}

/* ---------------------------------------------------------------- jobs */

static int64_t claim(atl_job *job) {
    return atomic_fetch_add_explicit(&job->claimed, 1, memory_order_relaxed);
}

static int64_t unclaimed(atl_job *job) {
    return job->count - atomic_load_explicit(&job->claimed, memory_order_relaxed);
}

/* The job whose turn it is, waiting ones first, or NULL. Those without tasks to claim leave the lists. */
static atl_job *first_job(atl_queue *queue) {
    for (;;) {
        atl_job *job = queue->waiting.head != NULL ? queue->waiting.head : queue->active.head;
        if (job == NULL || unclaimed(job) > 0)
            return job;
        detach(queue, job);
    }
}

/* Whether the next free token is for a caller that waits for one rather than for a shared job. */
static int caller_is_next(const atl_queue *queue) {
    const atl_job *caller = queue->callers.head, *job = queue->waiting.head;
    return caller != NULL && (job == NULL || queue->idle == NULL || caller->since <= job->since);
}

/* The token for a thread about to be woken for `job`: one of its own when the job has waited for too long, else -1,
 * which leaves the tokens to whoever comes first. `since` is 0 in active jobs. */
static int hand_over(atl_queue *queue, const atl_job *job) {
    if (job->since != 0 && atl_now_ns() - job->since > AGED_NS)
        return take_token(queue);
    queue->waking++;
    return -1;
}

/* Wakes threads for the free tokens. Called before the lock is dropped by whoever changed tokens, jobs or `waking`. */
static void dispatch(atl_queue *queue, wake_list *wakeups) {
    for (int woken = 0; woken < WAKE_LIMIT && spare_tokens(queue) > 0; woken++) {
        if (caller_is_next(queue)) {
            atl_job *caller = queue->callers.head;
            detach(queue, caller);
            caller->slot = hand_over(queue, caller);
            wake_later(wakeups, &caller->event);
            continue;
        }
        atl_job *job = queue->idle != NULL ? first_job(queue) : NULL;
        if (job == NULL || unclaimed(job) <= queue->waking)
            return;
        atl_worker *worker = queue->idle;
        queue->idle = worker->next;
        worker->slot = hand_over(queue, job);
        wake_later(wakeups, &worker->event);
    }
}

/* The calling thread stops working on the job. Returns 1 when that finishes it. */
static int leave(atl_queue *queue, atl_job *job) {
    job->refs--;
    if (unclaimed(job) <= 0) {
        if (job->list != NULL)
            detach(queue, job);
        return job->refs == 0;
    }
    if (job->refs == 0) {
        detach(queue, job);
        job->since = atl_now_ns();
        append(queue, &queue->waiting, job);
    }
    return 0;
}

/* Whether to go back to the queue. *since: when others were first seen waiting, 0 = not yet. */
static int quantum_over(int64_t *since) {
    int64_t now = atl_now_ns();
    if (*since == 0)
        *since = now;
    return now - *since > QUANTUM_NS;
}

/* Runs `task` and all that can be claimed after it; stops early when the quantum is over and *others > alone. */
static void work(atl_job *job, int64_t task, int slot, _Atomic int *others, int alone) {
    int64_t since = 0;
    atl_place at = {.stage = job->stages};
    while (task < job->count) {
        atl_place_find(&at, task);
        at.stage->function(at.stage->context, task - at.first, slot);
        at.done++;
        if (atomic_load_explicit(others, memory_order_relaxed) > alone && quantum_over(&since))
            break;
        task = claim(job);
    }
    atl_place_report(&at);
}

/* ---------------------------------------------------------------- callers */

static int acquire_token(atl_queue *queue, atl_job *job) {
    wake_list wakeups = {.count = 0};
    atl_lock_take(&queue->lock);
    int slot = take_token(queue);
    if (slot < 0) {
        job->since = atl_now_ns();
        append(queue, &queue->callers, job);
    }
    while (slot < 0) {
        atl_event_reset(&job->event);
        dispatch(queue, &wakeups);
        drop_and_wake(queue, &wakeups);
        atl_event_wait(&job->event);
        atl_lock_take(&queue->lock);
        slot = job->slot;
        if (slot >= 0)
            break;
        queue->waking--;
        slot = take_token(queue);
        if (slot < 0)
            prepend(queue, &queue->callers, job);
    }
    dispatch(queue, &wakeups);
    drop_and_wake(queue, &wakeups);
    return slot;
}

static void release_token(atl_queue *queue, int slot) {
    wake_list wakeups = {.count = 0};
    atl_lock_take(&queue->lock);
    put_token(queue, slot);
    dispatch(queue, &wakeups);
    drop_and_wake(queue, &wakeups);
}

void atl_queue_run_alone(atl_queue *queue, atl_task_fn *function, void *context, int64_t count) {
    atl_stage stage = {function, context, count, 0};
    atl_job job = {.stages = &stage, .count = count};
    for (int64_t task; (task = claim(&job)) < count;) {
        int slot = acquire_token(queue, &job);
        work(&job, task, slot, &queue->hungry, 0);
        release_token(queue, slot);
    }
}

void atl_queue_run(atl_queue *queue, atl_stage *stages, int count) {
    atl_job job = {.stages = stages};
    wake_list wakeups = {.count = 0};
    for (int i = 0; i < count; i++)
        job.count += stages[i].count;
    atl_lock_take(&queue->lock);
    int slot = take_token(queue);
    if (slot >= 0) {
        atomic_store_explicit(&job.claimed, 1, memory_order_relaxed); /* task 0 is this thread's */
        job.refs = 1;
        append(queue, &queue->active, &job);
    } else {
        job.since = atl_now_ns();
        append(queue, &queue->waiting, &job);
    }
    dispatch(queue, &wakeups);
    drop_and_wake(queue, &wakeups);

    int64_t spin_ns = 0;
    if (slot >= 0) {
        work(&job, 0, slot, &queue->hungry, 0);
        atl_lock_take(&queue->lock);
        int finished = leave(queue, &job);
        put_token(queue, slot);
        dispatch(queue, &wakeups);
        spin_ns = spin_time(queue);
        drop_and_wake(queue, &wakeups);
        if (finished)
            return;
    }
    wait_event(queue, &job.event, spin_ns);
}

/* ---------------------------------------------------------------- workers */

/* A job to work on, with a task of it and a token, or NULL (and no token). */
static atl_job *next_job(atl_queue *queue, int *slot, int64_t *task) {
    if (*slot >= 0 && spare_tokens(queue) <= 0 && caller_is_next(queue)) {
        put_token(queue, *slot);
        *slot = -1;
    } else if (*slot < 0 && spare_tokens(queue) > 0 && first_job(queue) != NULL) {
        *slot = take_token(queue);
    }
    if (*slot < 0)
        return NULL;
    for (atl_job *job; (job = first_job(queue)) != NULL;) {
        *task = claim(job); /* can be the one past the last: others claim without the lock */
        detach(queue, job);
        if (*task >= job->count)
            continue;
        job->refs++;
        job->since = 0;
        append(queue, &queue->active, job);
        return job;
    }
    put_token(queue, *slot);
    *slot = -1;
    return NULL;
}

/* Waits to be woken. Takes and returns with the lock; returns the token that came along, or -1. */
static int park(atl_queue *queue, atl_worker *worker, wake_list *wakeups) {
    atl_event_reset(&worker->event);
    dispatch(queue, wakeups);
    worker->next = queue->idle;
    queue->idle = worker;
    int64_t spin_ns = spin_time(queue);
    drop_and_wake(queue, wakeups);
    wait_event(queue, &worker->event, spin_ns);
    atl_lock_take(&queue->lock);
    if (worker->slot < 0)
        queue->waking--;
    return worker->slot;
}

void atl_queue_serve(atl_queue *queue, atl_worker *worker) {
    wake_list wakeups = {.count = 0};
    int slot = -1;
    atl_lock_take(&queue->lock);
    while (!queue->stop) {
        int64_t task;
        atl_job *job = next_job(queue, &slot, &task);
        if (job == NULL) {
            slot = park(queue, worker, &wakeups);
            continue;
        }
        dispatch(queue, &wakeups);
        drop_and_wake(queue, &wakeups);
        work(job, task, slot, &queue->jobs, 1);
        atl_lock_take(&queue->lock);
        if (leave(queue, job))
            wake_later(&wakeups, &job->event);
    }
    if (slot >= 0)
        put_token(queue, slot);
    drop_and_wake(queue, &wakeups);
}

/* ---------------------------------------------------------------- life */

void atl_queue_open(atl_queue *queue, int tokens, int spin) {
    atl_lock_take(&queue->lock);
    queue->tokens = tokens;
    queue->spin = spin;
    for (int slot = 0; slot < tokens; slot++)
        put_token(queue, slot);
    atl_lock_drop(&queue->lock);
}

void atl_queue_reset(atl_queue *queue) {
    int tokens = queue->tokens, spin = queue->spin;
    memset(queue, 0, sizeof *queue);
    atl_queue_open(queue, tokens, spin);
}

void atl_queue_stop(atl_queue *queue) {
    atl_lock_take(&queue->lock);
    queue->stop = 1;
    while (queue->idle != NULL) {
        atl_worker *worker = queue->idle;
        queue->idle = worker->next;
        worker->slot = -1;
        queue->waking++;
        if (atl_event_set(&worker->event))
            atl_futex_wake(&worker->event.state, 1); /* the worker cannot be gone: it needs the lock first */
    }
    atl_lock_drop(&queue->lock);
}
