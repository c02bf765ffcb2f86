/* SPDX-License-Identifier: Apache-2.0 */
/* Pools in forked children: a child may use a pool made before the fork, and never hangs. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/pool.h"

enum { TASKS = 200, HAMMERS = 4, CHILD_SECONDS = 60 };

/*
 * AddressSanitizer's allocator may be locked for ever in a child when another thread of the parent was using it.
 * ThreadSanitizer itself crashes in threads of a child when the parent was starting or ending threads: it promises nothing of
 * children of several threads. Archer, the part of clang's OpenMP that informs it, crashes in exit() of a child that has a
 * team of its own.
 */
#ifdef ADDRESS_SANITIZER
enum { POOL_MAKERS = 0, EXIT_CHILDREN = 1 };
#elif defined(THREAD_SANITIZER)
enum { POOL_MAKERS = 0, EXIT_CHILDREN = 0 };
#else
enum { POOL_MAKERS = 1, EXIT_CHILDREN = 1 };
#endif

/* Exit statuses of children. */
enum { RIGHT = 0, WRONG = 41, NO_TEAM = 42, NO_THREAD = 43 };

/* How often to fork; more for a long test. */
static int forks(void) {
    const char *text = getenv("ATTENTILE_TEST_FORKS");
    return text != NULL ? atoi(text) : 50;
}

static atl_pool *make_pool(int threads) {
    atl_pool_options options = {.threads = threads};
    atl_pool *pool = NULL;
    cr_assert_eq(atl_pool_create(&options, &pool, NULL), ATL_OK);
    cr_assert_eq(atl_pool_threads(pool), threads, "asked for %d threads, got %d", threads, atl_pool_threads(pool));
    return pool;
}

static void square_task(void *context, int64_t task, int slot) {
    for (volatile int i = 0; i < 300; i++)
        ;
    ((int64_t *)context)[task] += task * task + (slot < 0);
}

static int works(atl_pool *pool, int rounds) {
    for (int round = 0; round < rounds; round++) {
        int64_t result[TASKS] = {0};
        (round % 4 == 3 ? atl_pool_run_inline : atl_pool_run)(pool, square_task, result, TASKS);
        for (int64_t task = 0; task < TASKS; task++) {
            if (result[task] != task * task)
                return 0;
        }
    }
    return 1;
}

static int count_threads(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *entry; tasks != NULL && (entry = readdir(tasks)) != NULL;)
        count += entry->d_name[0] != '.';
    if (tasks != NULL)
        closedir(tasks);
    return count;
}

/* Runs `child` in a forked process with a time limit and returns its wait status. */
static int in_child(int (*child)(atl_pool *), atl_pool *pool) {
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(CHILD_SECONDS);
        _exit(child(pool));
    }
    cr_assert_gt(pid, 0, "fork: %s", strerror(errno));
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

#define ASSERT_RIGHT(status, i)                                                                                        \
    cr_assert_eq(status, 0, "child %d: %s %d", i, WIFSIGNALED(status) ? "signal" : "exit status",                      \
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status))

/* ---------------------------------------------------------------- one parent thread */

static int use(atl_pool *pool) {
    return works(pool, 8) ? RIGHT : WRONG;
}

Test(fork, children_use_the_parents_pool, .timeout = 600) {
    for (int threads = 1; threads <= 4; threads++) {
        atl_pool *pool = make_pool(threads);
        for (int i = 0; i < forks(); i++) {
            if (i % 2 == 0)
                cr_assert(works(pool, 2), "the parent's results are wrong");
            int status = in_child(use, pool);
            ASSERT_RIGHT(status, i);
        }
        cr_assert(works(pool, 10), "the parent's results are wrong after the forks");
        atl_pool_destroy(pool);
    }
}

static int count_team(atl_pool *pool) {
    if (count_threads() != 1)
        return NO_TEAM;
    if (!works(pool, 4))
        return WRONG;
    return count_threads() == 1 + 3 && atl_pool_threads(pool) == 3 ? RIGHT : NO_TEAM;
}

Test(fork, child_starts_a_team_of_its_own, .timeout = 60) {
    atl_pool *pool = make_pool(3);
    cr_assert(works(pool, 4));
    int status = in_child(count_team, pool);
    ASSERT_RIGHT(status, 0);
    atl_pool_destroy(pool);
}

static int destroy_unused(atl_pool *pool) {
    atl_pool_destroy(pool);
    return RIGHT;
}

static int destroy_used(atl_pool *pool) {
    int right = works(pool, 4);
    atl_pool_destroy(pool);
    return right ? RIGHT : WRONG;
}

static int make_another(atl_pool *pool) {
    atl_pool *other = NULL;
    if (atl_pool_create(&(atl_pool_options){.threads = 3}, &other, NULL) != ATL_OK || atl_pool_threads(other) != 3)
        return NO_TEAM;
    int right = works(other, 4) && works(pool, 4) && works(other, 4);
    atl_pool_destroy(other);
    return right && works(pool, 4) ? RIGHT : WRONG;
}

static int have_a_child(atl_pool *pool) {
    if (!works(pool, 4))
        return WRONG;
    int status = in_child(destroy_used, pool);
    return status == 0 && works(pool, 4) ? RIGHT : WRONG;
}

static int leave_by_exit(atl_pool *pool) {
    if (!works(pool, 4))
        return WRONG;
    if (EXIT_CHILDREN)
        exit(RIGHT);
    return RIGHT;
}

Test(fork, children_may_do_anything, .timeout = 60) {
    int (*children[])(atl_pool *) = {destroy_unused, destroy_used, make_another, have_a_child, leave_by_exit};
    atl_pool *pool = make_pool(3), *other = make_pool(2);
    for (int i = 0; i < 15; i++) {
        cr_assert(works(pool, 2) && works(other, 2), "the parent's results are wrong");
        int status = in_child(children[i % 5], i % 2 ? pool : other);
        ASSERT_RIGHT(status, i);
    }
    atl_pool_destroy(other);
    atl_pool_destroy(pool);
}

/* ---------------------------------------------------------------- several threads in the child */

static void *use_in_thread(void *context) {
    return works(context, 20) ? NULL : context;
}

static int use_with_threads(atl_pool *pool) {
    pthread_t thread[HAMMERS];
    int wrong = 0;
    for (int i = 0; i < HAMMERS; i++) {
        if (pthread_create(&thread[i], NULL, use_in_thread, pool) != 0)
            return NO_THREAD;
    }
    for (int i = 0; i < HAMMERS; i++) {
        void *result;
        pthread_join(thread[i], &result);
        wrong += result != NULL;
    }
    return wrong == 0 && works(pool, 2) ? RIGHT : WRONG;
}

Test(fork, threads_of_a_child_race_for_the_first_run, .timeout = 120) {
    atl_pool *pool = make_pool(3);
    cr_assert(works(pool, 4));
    for (int i = 0; i < forks(); i++) {
        int status = in_child(use_with_threads, pool);
        ASSERT_RIGHT(status, i);
    }
    atl_pool_destroy(pool);
}

/* ---------------------------------------------------------------- several threads in the parent */

typedef struct hammer {
    atl_pool *pool;
    atomic_int *running, *stop;
    int wrong;
} hammer;

static void *hammer_pool(void *context) {
    hammer *hammer = context;
    ++*hammer->running;
    while (!*hammer->stop) {
        atl_fork_lock();
        atl_fork_unlock();
        hammer->wrong += !works(hammer->pool, 4);
    }
    return NULL;
}

static void *make_pools(void *context) {
    hammer *hammer = context;
    ++*hammer->running;
    while (!*hammer->stop) {
        atl_pool *pool = NULL;
        if (atl_pool_create(&(atl_pool_options){.threads = 2}, &pool, NULL) != ATL_OK || !works(pool, 2))
            hammer->wrong++;
        atl_pool_destroy(pool);
    }
    return NULL;
}

static int use_and_lock(atl_pool *pool) {
    atl_fork_lock();
    atl_fork_unlock();
    return works(pool, 8) ? RIGHT : WRONG;
}

Test(fork, amid_calls_of_other_threads, .timeout = 600) {
    atl_pool *pool = make_pool(3);
    atomic_int running = 0, stop = 0;
    hammer hammers[HAMMERS + POOL_MAKERS];
    pthread_t thread[HAMMERS + POOL_MAKERS];
    for (int i = 0; i < HAMMERS + POOL_MAKERS; i++) {
        hammers[i] = (hammer){.pool = pool, .running = &running, .stop = &stop};
        void *(*function)(void *) = i < HAMMERS ? hammer_pool : make_pools;
        cr_assert_eq(pthread_create(&thread[i], NULL, function, &hammers[i]), 0);
    }
    while (running < HAMMERS + POOL_MAKERS) /* a thread that starts holds locks of AddressSanitizer */
        sched_yield();
    for (int i = 0; i < forks(); i++) {
        int status = in_child(i % 2 ? use_with_threads : use_and_lock, pool);
        ASSERT_RIGHT(status, i);
    }
    stop = 1;
    for (int i = 0; i < HAMMERS + POOL_MAKERS; i++) {
        pthread_join(thread[i], NULL);
        cr_assert_eq(hammers[i].wrong, 0, "thread %d of the parent: %d wrong results", i, hammers[i].wrong);
    }
    atl_pool_destroy(pool);
}
