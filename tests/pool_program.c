/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small user of the pool, for test_limits.c to run in surroundings of its own: another environment, less memory,
 * refused threads (tests/inject.c).
 *
 *     pool_program pool THREADS [MIB]    makes a pool, uses it, makes a second one; MIB more address space than now
 *     pool_program topo                  reads the topology, the quota and the default thread count
 *
 * Prints "granted N failures F": the threads of the first pool, or the processors available; the refused requests. Exit
 * status, chosen so that it
 * is neither libgomp's nor a signal's:
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "src/pool.h"
#include "src/topo.h"

enum { WORKED = 0, CLEAN_ERROR = 10, WRONG_RESULT = 11, WRONG_USAGE = 12, NO_SECOND_TRY = 13 };

void inject_start(void) __attribute__((weak));
void inject_stop(void) __attribute__((weak));
long inject_failures(void) __attribute__((weak));

enum { TASKS = 500 };

static atomic_int done[TASKS];

static void count_task(void *context, int64_t task, int slot) {
    done[task] += slot >= 0 && slot < *(int *)context ? 1 : TASKS;
}

/* Whether a pool runs every task exactly once. */
static int works(atl_pool *pool) {
    int threads = atl_pool_threads(pool);
    for (int round = 0; round < 20; round++) {
        memset(done, 0, sizeof done);
        atl_pool_run(pool, count_task, &threads, TASKS);
        for (int task = 0; task < TASKS; task++) {
            if (done[task] != 1)
                return 0;
        }
    }
    return 1;
}

static void limit_memory(long mib) {
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;
    if (file == NULL || fscanf(file, "%ld", &pages) != 1)
        exit(WRONG_USAGE);
    fclose(file);
    struct rlimit limit = {.rlim_cur = (rlim_t)pages * 4096 + ((rlim_t)mib << 20), .rlim_max = RLIM_INFINITY};
    setrlimit(RLIMIT_AS, &limit);
}

static int use_pool(int threads, int *granted) {
    atl_pool_options options = {.threads = threads, .bind = getenv("POOL_PROGRAM_BIND") != NULL};
    atl_pool *pool = NULL;
    atl_error error;
    int result = WORKED;
    if (atl_pool_create(&options, &pool, &error) != ATL_OK) {
        fprintf(stderr, "%s\n", error.message);
        if (pool != NULL || error.status != ATL_OUT_OF_MEMORY)
            return WRONG_RESULT;
        result = CLEAN_ERROR;
    } else {
        *granted = atl_pool_threads(pool);
        if (!works(pool))
            return WRONG_RESULT;
        atl_pool_destroy(pool);
    }
    /* Nothing is broken for good; and the process ends while this one's team sleeps. */
    if (inject_stop != NULL)
        inject_stop();
    if (atl_pool_create(&options, &pool, &error) != ATL_OK || !works(pool))
        return NO_SECOND_TRY;
    return result;
}

static int read_topology(int *available) {
    atl_topo topo;
    atl_error error;
    int threads = 0, result = WORKED;
    *available = atl_processors_available();
    if (atl_topo_read(&topo, &error) != ATL_OK)
        result = error.status == ATL_OUT_OF_MEMORY ? CLEAN_ERROR : WRONG_RESULT;
    if (atl_cgroup_quota("") < 0 || atl_default_threads(&threads, &error) != ATL_OK || threads < 1)
        return WRONG_RESULT;
    if (inject_stop != NULL)
        inject_stop();
    return atl_topo_read(&topo, &error) == ATL_OK && topo.processors > 0 ? result : NO_SECOND_TRY;
}

int main(int argc, char **argv) {
    int granted = 0, result = WRONG_USAGE;
    if (argc == 4)
        limit_memory(atol(argv[3]));
    if (inject_start != NULL)
        inject_start();
    if (argc >= 3 && strcmp(argv[1], "pool") == 0)
        result = use_pool(atoi(argv[2]), &granted);
    else if (argc == 2 && strcmp(argv[1], "topo") == 0)
        result = read_topology(&granted);
    printf("granted %d failures %ld\n", granted, inject_failures != NULL ? inject_failures() : 0);
    return result;
}
