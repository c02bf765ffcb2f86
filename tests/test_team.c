/* SPDX-License-Identifier: Apache-2.0 */
/* The team's threads: their number, state, stacks, and what they cost while idle. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "src/pool.h"

static atl_pool *make_pool(int threads) {
    atl_pool_options options = {.threads = threads};
    atl_pool *pool = NULL;
    cr_assert_eq(atl_pool_create(&options, &pool, NULL), ATL_OK);
    cr_assert_eq(atl_pool_threads(pool), threads, "asked for %d threads, got %d", threads, atl_pool_threads(pool));
    return pool;
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void sleep_ms(int ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

static int count_threads(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    cr_assert_not_null(tasks);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

/* ---------------------------------------------------------------- a task on every thread at once */

typedef struct gathering {
    pthread_t caller;
    int wanted;
    atomic_int present, workers, wrong;
    void (*inspect)(struct gathering *, int on_caller);
} gathering;

/* Waits for the others, so that no thread can take two tasks; gives up after 20 s. */
static void gather_task(void *context, int64_t task, int slot) {
    (void)task, (void)slot;
    gathering *all = context;
    int on_caller = pthread_equal(all->caller, pthread_self());
    all->present++;
    all->workers += !on_caller;
    for (double end = seconds(CLOCK_MONOTONIC) + 20; all->present < all->wanted && seconds(CLOCK_MONOTONIC) < end;)
        sched_yield();
    if (all->inspect != NULL)
        all->inspect(all, on_caller);
}

/* Inspects the caller and threads - 1 workers. */
static gathering gather(atl_pool *pool, void (*inspect)(gathering *, int on_caller)) {
    gathering all = {.caller = pthread_self(), .wanted = atl_pool_threads(pool), .inspect = inspect};
    atl_pool_run(pool, gather_task, &all, all.wanted);
    cr_assert_eq(all.present, all.wanted, "%d of %d tasks at once", all.present, all.wanted);
    cr_assert_eq(all.workers, all.wanted - 1, "%d of %d tasks on workers", all.workers, all.wanted);
    return all;
}

Test(team, computes_with_all_threads, .timeout = 120) {
    for (int threads = 2; threads <= 8; threads++) {
        atl_pool *pool = make_pool(threads);
        for (int round = 0; round < 20; round++)
            gather(pool, NULL);
        atl_pool_destroy(pool);
    }
}

/* ---------------------------------------------------------------- floating point */

/* 1 when this thread rounds to nearest, keeps subnormals and raises no signals. */
static int default_state(void) {
    volatile float tiny = 1e-38f, half = 0.25f, one = 1.0f, small = 1e-9f;
    int subnormals = tiny * half > 0.0f;
    int nearest = fegetround() == FE_TONEAREST && one + small == 1.0f && -one - small == -1.0f;
    return subnormals && nearest && fegetexcept() == 0;
}

static void check_state(gathering *all, int on_caller) {
    all->wrong += !on_caller && !default_state();
}

static void set_odd_state(void) {
    fesetround(FE_UPWARD);
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040); /* flush to zero, subnormals are zero */
#endif
    feenableexcept(FE_DIVBYZERO);
}

Test(team, has_the_default_floating_point_state, .timeout = 60) {
    fenv_t saved;
    fegetenv(&saved);
    set_odd_state();
    atl_pool *pool = make_pool(4);
    gathering first = gather(pool, check_state), second = gather(pool, check_state);
    int kept = fegetround() == FE_UPWARD && (fegetexcept() & FE_DIVBYZERO) != 0;
    atl_pool_destroy(pool);
    fesetenv(&saved);
    cr_assert_eq(first.wrong + second.wrong, 0, "%d workers in another state", first.wrong + second.wrong);
    cr_assert(kept, "the caller's state has changed");
}

static void check_on_host(void *context, int64_t task, int slot) {
    (void)task, (void)slot;
    *(int *)context += !default_state();
}

static void odd_serial_for(void *host, int64_t count, void (*task)(void *context, int64_t i), void *context) {
    set_odd_state();
    for (int64_t i = 0; i < count; i++)
        task(context, i);
    *(int *)host = fegetround() == FE_UPWARD && (fegetexcept() & FE_DIVBYZERO) != 0;
}

Test(team, protects_tasks_and_a_hosts_threads_from_each_other) {
    int kept = 0, wrong = 0;
    fenv_t saved;
    fegetenv(&saved);
    atl_pool_options options = {.threads = 3, .parallel_for = odd_serial_for, .parallel_for_host = &kept};
    atl_pool *pool;
    cr_assert_eq(atl_pool_create(&options, &pool, NULL), ATL_OK);
    atl_pool_run(pool, check_on_host, &wrong, 10);
    fesetenv(&saved);
    cr_assert_eq(wrong, 0, "%d tasks in the host's state", wrong);
    cr_assert(kept, "the host's state has changed");
    atl_pool_destroy(pool);
}

/* ---------------------------------------------------------------- signals */

static const int host_signals[] = {SIGHUP,  SIGINT,  SIGTERM, SIGUSR1, SIGUSR2, SIGALRM,
                                   SIGCHLD, SIGPIPE, SIGPROF, SIGIO,   SIGWINCH};
static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

static void check_signals(gathering *all, int on_caller) {
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    for (size_t i = 0; i < sizeof host_signals / sizeof *host_signals; i++)
        all->wrong += sigismember(&mask, host_signals[i]) == on_caller;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        all->wrong += sigismember(&mask, faults[i]);
}

Test(team, leaves_signals_to_the_host, .timeout = 60) {
    sigset_t none, mask;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    atl_pool *pool = make_pool(4);
    gathering all = gather(pool, check_signals);
    cr_assert_eq(all.wrong, 0, "%d signals blocked on the caller, open on a worker, or faults blocked", all.wrong);
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    cr_assert(sigisemptyset(&mask), "the caller's mask has changed");
    atl_pool_destroy(pool);
}

/* ---------------------------------------------------------------- number and cost */

enum { CALLERS = 6 };

static void count_task(void *context, int64_t task, int slot) {
    (void)task, (void)slot;
    ++*(atomic_int *)context;
}

typedef struct hammer {
    atl_pool *pool;
    atomic_int *stop;
} hammer;

static void *call_until_stopped(void *context) {
    hammer *hammer = context;
    atomic_int done = 0;
    while (!*hammer->stop)
        atl_pool_run(hammer->pool, count_task, &done, 16);
    return NULL;
}

/* Clang's OpenMP keeps the threads of the largest team for the next ones, but for the leader's, and one of its own. */
enum { LARGEST = 5 };
#ifdef __clang__
enum { KEPT_BESIDE = 1, KEPT = LARGEST - 1 + KEPT_BESIDE };
#else
enum { KEPT_BESIDE = 0, KEPT = 0 };
#endif

Test(team, is_all_the_threads_there_are, .timeout = 60) {
    int before = count_threads();
    atl_pool *pool = make_pool(4);
    atomic_int stop = 0;
    hammer hammer = {pool, &stop};
    pthread_t caller[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        cr_assert_eq(pthread_create(&caller[i], NULL, call_until_stopped, &hammer), 0);
    int most = 0;
    for (int i = 0; i < 100; i++) {
        int threads = count_threads();
        most = threads > most ? threads : most;
        sleep_ms(2);
    }
    stop = 1;
    for (int i = 0; i < CALLERS; i++)
        pthread_join(caller[i], NULL);
    cr_assert_leq(most, before + CALLERS + 4 + KEPT_BESIDE, "%d threads with %d callers, a team of 4 and %d before",
                  most, (int)CALLERS, before);
    atl_pool_destroy(pool);
}

/* libgomp's threads are not joined: they may need a moment to go. */
Test(team, goes_with_the_pool, .timeout = 60) {
    int before = count_threads(), after = 0;
    for (int i = 0; i < 50; i++) {
        atl_pool *pool = make_pool(2 + i % (LARGEST - 1));
        atomic_int done = 0;
        if (i % 3 != 0)
            atl_pool_run(pool, count_task, &done, 20);
        atl_pool_destroy(pool);
    }
    for (int wait = 0; wait < 500 && (after = count_threads()) > before + KEPT; wait++)
        sleep_ms(10);
    cr_assert_leq(after, before + KEPT, "%d threads before, %d after", before, after);
}

Test(team, sleeps_while_idle, .timeout = 60) {
    atl_pool *pool = make_pool(2);
    gather(pool, NULL);
    sleep_ms(50);
    double begin = seconds(CLOCK_PROCESS_CPUTIME_ID);
    sleep_ms(500);
    double used = seconds(CLOCK_PROCESS_CPUTIME_ID) - begin;
    cr_assert_lt(used, 0.02, "an idle team took %.1f ms in 500", 1e3 * used);
    atl_pool_destroy(pool);
}

Test(team, of_one_has_no_thread) {
    int before = count_threads();
    atl_pool *pool = make_pool(1);
    atomic_int done = 0;
    atl_pool_run(pool, count_task, &done, 100);
    cr_assert_eq(done, 100, "%d of 100 tasks", done);
    cr_assert_eq(count_threads(), before, "%d threads before, %d after", before, count_threads());
    atl_pool_destroy(pool);
}

static void *use_a_pool(void *context) {
    atl_pool *pool = make_pool(3);
    for (int i = 0; i < 50; i++)
        atl_pool_run(pool, count_task, context, 30);
    atl_pool_destroy(pool);
    return NULL;
}

Test(team, serves_callers_with_small_stacks, .timeout = 60) {
    atomic_int done = 0;
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    cr_assert_eq(pthread_attr_setstacksize(&attributes, 64 << 10), 0);
    cr_assert_eq(pthread_create(&thread, &attributes, use_a_pool, &done), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    cr_assert_eq(done, 1500, "%d of 1500 tasks", done);
}
