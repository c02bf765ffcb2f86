/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <fenv.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "probe.h"
#include "queue.h"
#include "topo.h"

/* Where the team is. Only a forked child leaves TEAM_UP: its first run finds TEAM_LOST and starts a new team. */
enum { TEAM_NONE, TEAM_UP, TEAM_LOST, TEAM_STARTING };

enum { LEADER_STACK = 512 << 10, LEADER_STACK_PER_THREAD = 1 << 10 };

struct atl_pool {
    atl_queue queue;
    int threads, bind;
    atl_parallel_for_fn parallel_for;
    void *parallel_for_host;

    _Atomic int team;
    pthread_t leader;
    atl_worker *workers;
    atl_event started; /* the whole team has arrived, or there is none */
    _Atomic int arrived;
    int granted; /* the team's size; fewer than 2 = no team */

    atl_pool *next, **link; /* in the list of all pools */
};

/* ---------------------------------------------------------------- team */

static void announce(atl_pool *pool, int granted) {
    pool->granted = granted;
    if (atl_event_set(&pool->started))
        atl_futex_wake(&pool->started.state, 1);
}

/* What every member of the team does, the leader being number 0. */
static void member(atl_pool *pool) {
    int size = omp_get_num_threads(), number = omp_get_thread_num();
    if (size < 2) {
        announce(pool, 1);
        return;
    }
    fesetenv(FE_DFL_ENV);
    pthread_setname_np(pthread_self(), "attentile");
    if (pool->bind)
        atl_topo_bind_thread(number);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 == size)
        announce(pool, size);
    atl_queue_serve(&pool->queue, &pool->workers[number]);
}

static void *lead(void *context) {
    atl_pool *pool = context;
    int limit = omp_get_thread_limit(); /* some OpenMPs print a warning when asked for more */
    int threads = atl_probe_threads(pool->threads < limit ? pool->threads : limit);
    if (threads < 2) {
        announce(pool, 1);
        return NULL;
    }
    omp_set_dynamic(0); /* of this thread alone */
#pragma omp parallel num_threads(threads)
    member(pool);
    return NULL;
}

/* Creates the leader with the host's signals blocked; its team inherits that. Those that a fault in a team thread
 * itself raises stay open, for the host's crash handlers. */
static int create_leader(atl_pool *pool) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t blocked, saved;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return -1;
    /* libgomp keeps an array for the whole team on the leader's stack while it starts. */
    size_t size = 0, least = LEADER_STACK + (size_t)pool->threads * LEADER_STACK_PER_THREAD;
    if (pthread_attr_getstacksize(&attributes, &size) == 0 && size < least)
        pthread_attr_setstacksize(&attributes, least);
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, &saved);
    int failed = pthread_create(&pool->leader, &attributes, lead, pool);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    pthread_attr_destroy(&attributes);
    return failed != 0 ? -1 : 0;
}

/* Returns the size of the team when it is up; fewer than 2 = there is none. */
static int start_team(atl_pool *pool) {
    atl_event_reset(&pool->started);
    atomic_store(&pool->arrived, 0);
    if (!atl_probe_thread_exit() || create_leader(pool) != 0)
        return 1;
    atl_event_wait(&pool->started);
    if (pool->granted < 2)
        pthread_join(pool->leader, NULL);
    return pool->granted;
}

/* In a forked child: the first thread to come starts the team; others meanwhile work alone. */
static void restart_team(atl_pool *pool) {
    int expected = TEAM_LOST;
    if (atomic_compare_exchange_strong(&pool->team, &expected, TEAM_STARTING))
        atomic_store(&pool->team, start_team(pool) < 2 ? TEAM_NONE : TEAM_UP);
}

/* ---------------------------------------------------------------- fork */

static atl_lock fork_lock; /* guards the list and whatever atl_fork_lock's other users keep */
static atl_pool *pools;

void atl_fork_lock(void) {
    atl_lock_take(&fork_lock);
}

void atl_fork_unlock(void) {
    atl_lock_drop(&fork_lock);
}

static void before_fork(void) {
    atl_fork_lock();
    for (atl_pool *pool = pools; pool != NULL; pool = pool->next)
        atl_lock_take(&pool->queue.lock);
}

static void after_fork_in_parent(void) {
    for (atl_pool *pool = pools; pool != NULL; pool = pool->next)
        atl_lock_drop(&pool->queue.lock);
    atl_fork_unlock();
}

/* Callers and workers of the parent do not exist here, nor do their jobs and tokens. */
static void after_fork_in_child(void) {
    for (atl_pool *pool = pools; pool != NULL; pool = pool->next) {
        atl_queue_reset(&pool->queue);
        if (atomic_load(&pool->team) != TEAM_NONE)
            atomic_store(&pool->team, TEAM_LOST);
    }
    atl_fork_unlock();
}

/* Adds the pool to the list; the first one brings the fork handlers. */
static int enlist(atl_pool *pool) {
    static int registered;
    atl_fork_lock();
    if (!registered)
        registered = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
    if (registered) {
        pool->next = pools;
        pool->link = &pools;
        if (pools != NULL)
            pools->link = &pool->next;
        pools = pool;
    }
    atl_fork_unlock();
    return registered ? 0 : -1;
}

static void delist(atl_pool *pool) {
    atl_fork_lock();
    *pool->link = pool->next;
    if (pool->next != NULL)
        pool->next->link = pool->link;
    atl_fork_unlock();
}

/* ---------------------------------------------------------------- life */

/* Whether there is a processor for each thread, so that one that spins takes nobody's. */
static int may_spin(int threads) {
    double quota = atl_cgroup_quota("");
    return threads <= atl_processors_available() && (quota == 0 || threads <= quota);
}

static atl_pool *allocate_pool(const atl_pool_options *options) {
    atl_pool *pool = aligned_alloc(64, sizeof *pool);
    if (pool == NULL)
        return NULL;
    *pool = (atl_pool){.threads = options->threads,
                       .bind = options->bind,
                       .parallel_for = options->parallel_for,
                       .parallel_for_host = options->parallel_for_host};
    if (pool->threads < 2 || pool->parallel_for != NULL)
        return pool;
    size_t size = (size_t)pool->threads * sizeof *pool->workers;
    pool->workers = aligned_alloc(64, size);
    if (pool->workers == NULL) {
        free(pool);
        return NULL;
    }
    memset(pool->workers, 0, size);
    return pool;
}

atl_status atl_pool_create(const atl_pool_options *options, atl_pool **pool, atl_error *error) {
    if (options->threads < 1 || options->threads > ATL_MAX_THREADS)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "threads (expected 1 to %d, got %d)", (int)ATL_MAX_THREADS,
                        options->threads);
    atl_pool *made = allocate_pool(options);
    if (made == NULL)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "no memory for a pool of %d threads", options->threads);
    if (made->workers != NULL) {
        made->threads = start_team(made);
        atomic_store(&made->team, made->threads < 2 ? TEAM_NONE : TEAM_UP);
    }
    atl_queue_open(&made->queue, made->threads, made->threads > 1 && may_spin(made->threads));
    if (enlist(made) != 0) {
        atl_pool_destroy(made);
        return atl_fail(error, ATL_OUT_OF_MEMORY, "no memory for the fork handlers of a pool");
    }
    *pool = made;
    return ATL_OK;
}

void atl_pool_destroy(atl_pool *pool) {
    if (pool == NULL)
        return;
    if (pool->link != NULL)
        delist(pool);
    if (atomic_load(&pool->team) == TEAM_UP) {
        atl_queue_stop(&pool->queue);
        pthread_join(pool->leader, NULL);
    }
    free(pool->workers);
    free(pool);
}

int atl_pool_threads(const atl_pool *pool) {
    return pool->threads;
}

/* ---------------------------------------------------------------- run */

/* A call that a host's pool runs: `runners` tasks of the host, each of which claims tasks of ours. */
typedef struct host_run {
    atl_task_fn *function;
    void *context;
    int64_t count;
    _Atomic int64_t claimed;
} host_run;

static void host_runner(void *context, int64_t index) {
    host_run *run = context;
    fenv_t saved;
    fegetenv(&saved);
    fesetenv(FE_DFL_ENV);
    for (int64_t task; (task = atomic_fetch_add_explicit(&run->claimed, 1, memory_order_relaxed)) < run->count;)
        run->function(run->context, task, (int)index);
    fesetenv(&saved);
}

static void run_on_host(atl_pool *pool, atl_task_fn *function, void *context, int64_t count) {
    host_run run = {.function = function, .context = context, .count = count};
    int64_t runners = count < pool->threads ? count : pool->threads;
    pool->parallel_for(pool->parallel_for_host, runners, host_runner, &run);
}

static int has_team(atl_pool *pool) {
    if (atomic_load_explicit(&pool->team, memory_order_acquire) == TEAM_LOST)
        restart_team(pool);
    return atomic_load_explicit(&pool->team, memory_order_acquire) == TEAM_UP;
}

void atl_pool_run(atl_pool *pool, atl_task_fn *function, void *context, int64_t count) {
    atl_stage stage = {function, context, count, 0};
    if (count < 2 || pool->threads < 2)
        atl_pool_run_inline(pool, function, context, count);
    else if (pool->parallel_for != NULL)
        run_on_host(pool, function, context, count);
    else if (has_team(pool))
        atl_queue_run(&pool->queue, &stage, 1);
    else
        atl_pool_run_inline(pool, function, context, count);
}

void atl_pool_run_stages(atl_pool *pool, atl_stage *stages, int count) {
    if (count > 1 && pool->queue.spin && pool->parallel_for == NULL && has_team(pool)) {
        atl_queue_run(&pool->queue, stages, count);
        return;
    }
    for (int i = 0; i < count; i++)
        atl_pool_run(pool, stages[i].function, stages[i].context, stages[i].count);
}

void atl_pool_run_inline(atl_pool *pool, atl_task_fn *function, void *context, int64_t count) {
    if (pool->parallel_for != NULL) { /* who computes when is the host's business */
        for (int64_t task = 0; task < count; task++)
            function(context, task, 0);
    } else if (count > 0) {
        atl_queue_run_alone(&pool->queue, function, context, count);
    }
}

int atl_processors_available(void) {
    int processors = omp_get_num_procs();
    return processors > 0 ? processors : 1;
}
