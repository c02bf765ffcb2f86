/* SPDX-License-Identifier: Apache-2.0 */
/* The pool: every task once, slots, tokens, concurrent callers, a host's own pool. */
#include <criterion/criterion.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "src/pool.h"

enum { MAX_TASKS = 300, MAX_TEAM = 8, CALLERS = 8 };

static const int team_sizes[] = {1, 2, 3, 4, 8};

#define FOR_EACH_TEAM(threads)                                                                                         \
    for (size_t t_ = 0, threads = 0; t_ < sizeof team_sizes / sizeof *team_sizes && (threads = team_sizes[t_]); t_++)

static atl_pool *make_pool(int threads) {
    atl_pool_options options = {.threads = threads};
    atl_pool *pool = NULL;
    atl_error error = {0};
    atl_status status = atl_pool_create(&options, &pool, &error);
    cr_assert_eq(status, ATL_OK, "pool of %d threads: %s", threads, error.message);
    cr_assert_eq(atl_pool_threads(pool), threads, "asked for %d threads, got %d", threads, atl_pool_threads(pool));
    return pool;
}

static void sleep_us(long us) {
    nanosleep(&(struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000}, NULL);
}

/* ---------------------------------------------------------------- a call that checks itself */

typedef struct call {
    int threads;
    atomic_int *computing, *most; /* shared by the calls on a pool: tasks that run now, and ever at once */
    atomic_int busy[MAX_TEAM];    /* by slot */
    atomic_int faults;
    atomic_int runs[MAX_TASKS];
    int64_t square[MAX_TASKS];
} call;

static void checked_task(void *context, int64_t task, int slot) {
    call *call = context;
    int computing = ++*call->computing, most = *call->most;
    while (most < computing && !atomic_compare_exchange_weak(call->most, &most, computing))
        ;
    if (slot < 0 || slot >= call->threads)
        call->faults += 1;
    else if (atomic_exchange(&call->busy[slot], 1) != 0)
        call->faults += 1000;
    for (volatile int i = 0; i < 200; i++)
        ;
    call->square[task] = task * task;
    call->runs[task]++;
    if (slot >= 0 && slot < call->threads)
        call->busy[slot] = 0;
    --*call->computing;
}

/* Runs `count` tasks and returns what is wrong: 0 = nothing. */
static int wrong_tasks(atl_pool *pool, call *call, int64_t count, int alone) {
    int wrong = 0;
    memset(call->runs, 0, sizeof call->runs);
    memset(call->square, 0, sizeof call->square);
    (alone ? atl_pool_run_inline : atl_pool_run)(pool, checked_task, call, count);
    for (int64_t task = 0; task < MAX_TASKS; task++) {
        int expected = task < count;
        wrong += call->runs[task] != expected || call->square[task] != (expected ? task * task : 0);
    }
    return wrong + call->faults;
}

Test(pool, runs_every_task_once, .timeout = 60) {
    static const int counts[] = {0, 1, 2, 3, 7, 8, 9, 64, MAX_TASKS};
    FOR_EACH_TEAM(threads) {
        atl_pool *pool = make_pool((int)threads);
        for (int round = 0; round < 30; round++) {
            for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
                atomic_int computing = 0, most = 0;
                call call = {.threads = (int)threads, .computing = &computing, .most = &most};
                int wrong = wrong_tasks(pool, &call, counts[i], round % 3 == 2);
                cr_assert_eq(wrong, 0, "%zu threads, %d tasks, round %d: %d faults", threads, counts[i], round, wrong);
                cr_assert_leq(most, (int)threads, "%d tasks at once on %zu threads", most, threads);
            }
        }
        atl_pool_run(pool, checked_task, NULL, -1); /* nothing to do: the task would crash */
        atl_pool_run_inline(pool, checked_task, NULL, -1);
        atl_pool_destroy(pool);
    }
}

Test(pool, refuses_sizes_out_of_range) {
    static const int sizes[] = {-1, 0, 1025};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        atl_pool *pool = NULL;
        atl_error error = {0};
        atl_status status = atl_pool_create(&(atl_pool_options){.threads = sizes[i]}, &pool, &error);
        cr_assert_eq(status, ATL_INVALID_ARGUMENT, "%d threads: status %d", sizes[i], status);
        cr_assert_null(pool, "%d threads: a pool came out", sizes[i]);
        cr_assert_not_null(strstr(error.message, "1024"), "%d threads: message \"%s\"", sizes[i], error.message);
    }
    atl_pool_destroy(NULL);
}

/* ---------------------------------------------------------------- many callers */

typedef struct caller {
    atl_pool *pool;
    call call;
    int index, wrong;
} caller;

static void *call_repeatedly(void *context) {
    caller *caller = context;
    static const int counts[] = {1, 2, 5, 30, 200};
    for (int i = 0; i < 200; i++)
        caller->wrong += wrong_tasks(caller->pool, &caller->call, counts[(i + caller->index) % 5], i % 4 == 3);
    return NULL;
}

Test(pool, shares_its_tokens_among_callers, .timeout = 120) {
    FOR_EACH_TEAM(threads) {
        atl_pool *pool = make_pool((int)threads);
        atomic_int computing = 0, most = 0;
        static caller callers[CALLERS];
        pthread_t thread[CALLERS];
        memset(callers, 0, sizeof callers);
        for (int i = 0; i < CALLERS; i++) {
            callers[i] = (caller){.pool = pool, .index = i};
            callers[i].call.threads = (int)threads;
            callers[i].call.computing = &computing;
            callers[i].call.most = &most;
            cr_assert_eq(pthread_create(&thread[i], NULL, call_repeatedly, &callers[i]), 0);
        }
        for (int i = 0; i < CALLERS; i++) {
            pthread_join(thread[i], NULL);
            cr_assert_eq(callers[i].wrong, 0, "%zu threads, caller %d: %d faults", threads, i, callers[i].wrong);
        }
        cr_assert_leq(most, (int)threads, "%d tasks at once on %zu threads", most, threads);
        atl_pool_destroy(pool);
    }
}

/* ---------------------------------------------------------------- stages */

enum { STAGES = 5, STAGE_ROUNDS = 300 };

/* One stage of a call; `early` counts tasks that began before all of the stage before were done. */
typedef struct stage_call {
    const struct stage_call *before;
    int count;
    atomic_int done, early;
} stage_call;

static void stage_task(void *context, int64_t task, int slot) {
    (void)slot;
    stage_call *call = context;
    call->early += call->before && call->before->done < call->before->count;
    if (task % 4 == 3)
        sleep_us(20);
    call->done++;
}

/* Returns the number of faults. */
static int wrong_stages(atl_pool *pool, int seed) {
    stage_call calls[STAGES] = {{0}};
    atl_stage stages[STAGES] = {{0}};
    int faults = 0;
    for (int i = 0; i < STAGES; i++) {
        calls[i].count = 1 + (seed * 7 + i * 5) % 9;
        calls[i].before = i ? &calls[i - 1] : NULL;
        stages[i] = (atl_stage){.function = stage_task, .context = &calls[i], .count = calls[i].count};
    }
    atl_pool_run_stages(pool, stages, 1 + seed % STAGES);
    for (int i = 0; i < STAGES; i++)
        faults += calls[i].early + (calls[i].done != (i <= seed % STAGES ? calls[i].count : 0));
    return faults;
}

typedef struct stage_caller {
    atl_pool *pool;
    int wrong;
} stage_caller;

static void *call_stages(void *context) {
    stage_caller *caller = context;
    for (int i = 0; i < STAGE_ROUNDS; i++)
        caller->wrong += wrong_stages(caller->pool, i);
    return NULL;
}

Test(pool, runs_stages_one_after_the_other, .timeout = 60) {
    FOR_EACH_TEAM(threads) {
        atl_pool *pool = make_pool((int)threads);
        stage_caller callers[3] = {{pool, 0}, {pool, 0}, {pool, 0}};
        pthread_t thread[3];
        for (int i = 0; i < 3; i++)
            cr_assert_eq(pthread_create(&thread[i], NULL, call_stages, &callers[i]), 0);
        for (int i = 0; i < 3; i++) {
            pthread_join(thread[i], NULL);
            cr_assert_eq(callers[i].wrong, 0, "%zu threads, caller %d: %d faults", threads, i, callers[i].wrong);
        }
        atl_pool_destroy(pool);
    }
}

/* ---------------------------------------------------------------- fairness */

enum { LONG_TASKS = 600 };

typedef struct long_call {
    atl_pool *pool;
    int alone;
    atomic_int done;
} long_call;

static void long_task(void *context, int64_t task, int slot) {
    (void)task, (void)slot;
    sleep_us(500);
    ((long_call *)context)->done++;
}

static void *call_long(void *context) {
    long_call *call = context;
    (call->alone ? atl_pool_run_inline : atl_pool_run)(call->pool, long_task, call, LONG_TASKS);
    return NULL;
}

static void count_task(void *context, int64_t task, int slot) {
    (void)task, (void)slot;
    ++*(atomic_int *)context;
}

/* Short calls do not wait for the end of long ones, even when the long ones hold all tokens. */
Test(pool, lets_short_calls_in, .timeout = 60) {
    for (int variant = 0; variant < 8; variant++) {
        int threads = 1 + variant % 2, long_alone = variant / 2 % 2, short_alone = variant / 4;
        atl_pool *pool = make_pool(threads);
        long_call calls[2] = {{.pool = pool, .alone = long_alone}, {.pool = pool, .alone = long_alone}};
        pthread_t thread[2];
        for (int i = 0; i < 2; i++)
            cr_assert_eq(pthread_create(&thread[i], NULL, call_long, &calls[i]), 0);
        while (calls[0].done + calls[1].done < 10)
            sleep_us(100);
        atomic_int done = 0;
        (short_alone ? atl_pool_run_inline : atl_pool_run)(pool, count_task, &done, 5);
        int progress = calls[0].done + calls[1].done;
        cr_assert_eq(done, 5, "%d of 5 tasks", done);
        cr_assert_lt(progress, LONG_TASKS, "%d threads, long calls alone: %d, short: %d: waited for %d long tasks",
                     threads, long_alone, short_alone, progress);
        for (int i = 0; i < 2; i++) {
            pthread_join(thread[i], NULL);
            cr_assert_eq(calls[i].done, LONG_TASKS, "%d of %d tasks", calls[i].done, (int)LONG_TASKS);
        }
        atl_pool_destroy(pool);
    }
}

/* ---------------------------------------------------------------- inline */

typedef struct inline_call {
    pthread_t thread;
    int64_t next;
    int wrong;
} inline_call;

static void inline_task(void *context, int64_t task, int slot) {
    inline_call *call = context;
    call->wrong += !pthread_equal(call->thread, pthread_self()) || task != call->next++ || slot != 0;
}

Test(pool, runs_inline_in_order_on_the_caller, .timeout = 20) {
    FOR_EACH_TEAM(threads) {
        atl_pool *pool = make_pool((int)threads);
        inline_call call = {.thread = pthread_self()};
        atl_pool_run_inline(pool, inline_task, &call, MAX_TASKS);
        cr_assert_eq(call.next, MAX_TASKS, "%d of %d tasks", (int)call.next, (int)MAX_TASKS);
        cr_assert_eq(call.wrong, 0, "%d tasks on another thread, out of order or with another slot", call.wrong);
        call = (inline_call){.thread = pthread_self()};
        atl_pool_run(pool, inline_task, &call, 1);
        cr_assert(call.next == 1 && call.wrong == 0, "a single task left its caller");
        atl_pool_destroy(pool);
    }
}

/* ---------------------------------------------------------------- a host's own threads */

typedef struct host_task {
    void (*task)(void *context, int64_t i);
    void *context;
    int64_t index;
} host_task;

static void *run_host_task(void *context) {
    host_task *host = context;
    host->task(host->context, host->index);
    return NULL;
}

static atomic_int host_calls;
static atomic_long host_most;

static void threads_for(void *host, int64_t count, void (*task)(void *context, int64_t i), void *context) {
    cr_assert_eq(host, &host_calls, "another host pointer");
    pthread_t thread[MAX_TEAM];
    host_task tasks[MAX_TEAM];
    host_calls++;
    if (count > host_most)
        host_most = count;
    for (int64_t i = 0; i < count && i < MAX_TEAM; i++) {
        tasks[i] = (host_task){task, context, i};
        cr_assert_eq(pthread_create(&thread[i], NULL, run_host_task, &tasks[i]), 0);
    }
    for (int64_t i = 0; i < count && i < MAX_TEAM; i++)
        pthread_join(thread[i], NULL);
}

static void serial_for(void *host, int64_t count, void (*task)(void *context, int64_t i), void *context) {
    (void)host;
    for (int64_t i = count; i-- > 0;)
        task(context, i);
}

Test(pool, uses_a_hosts_threads, .timeout = 60) {
    atl_parallel_for_fn hosts[] = {threads_for, serial_for};
    for (int i = 0; i < 4; i++) {
        int threads = i < 2 ? 4 : 1;
        atl_pool_options options = {.threads = threads, .parallel_for = hosts[i % 2], .parallel_for_host = &host_calls};
        atl_pool *pool;
        cr_assert_eq(atl_pool_create(&options, &pool, NULL), ATL_OK);
        cr_assert_eq(atl_pool_threads(pool), threads, "%d threads", atl_pool_threads(pool));
        for (int count = 0; count < 100; count += 1 + count / 5) {
            atomic_int computing = 0, most = 0;
            call call = {.threads = threads, .computing = &computing, .most = &most};
            int wrong = wrong_tasks(pool, &call, count, count % 4 == 3);
            cr_assert_eq(wrong, 0, "host %d, %d tasks: %d faults", i, count, wrong);
        }
        atl_pool_destroy(pool);
    }
    cr_assert_gt(host_calls, 0, "the host's function was never called");
    cr_assert_eq(host_most, 4, "%ld host tasks at once", (long)host_most);
}

/* Callers inside a host's own OpenMP region, and after it. */
Test(pool, runs_inside_a_parallel_region, .timeout = 60) {
    atl_pool *pool = make_pool(3);
    atomic_int computing = 0, most = 0;
    int wrong = 0, size = 0;
#pragma omp parallel num_threads(4) reduction(+ : wrong)
    {
        static call calls[4];
        call *call = &calls[omp_get_thread_num()];
        call->threads = 3;
        call->computing = &computing;
        call->most = &most;
#pragma omp single
        size = omp_get_num_threads();
        for (int i = 0; i < 50; i++)
            wrong += wrong_tasks(pool, call, 1 + 3 * i, i % 5 == 4);
    }
    cr_assert_eq(size, 4, "the host's region had %d threads", size);
    cr_assert_eq(wrong, 0, "%d faults", wrong);
    cr_assert_leq(most, 3, "%d tasks at once on 3 threads", most);
    call call = {.threads = 3, .computing = &computing, .most = &most};
    cr_assert_eq(wrong_tasks(pool, &call, 100, 0), 0);
    atl_pool_destroy(pool);
}
