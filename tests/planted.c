/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults on purpose, each of which a sanitizer must find, in kernels and in tasks of the pool as well; without a word there
 * is none. With "none found" on standard output the sanitizers of this build are of no use.
 *
 *     planted [heap | kernel | undefined | race]
 */
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "src/pool.h"

enum { FLOATS = 16, THREADS = 2, ADDITIONS = 100000 };

static volatile int sink;

static void read_beyond_the_heap(int past) {
    int *volatile numbers = calloc(FLOATS, sizeof *numbers);
    if (numbers != NULL)
        sink = numbers[FLOATS - 1 + past];
    free(numbers);
}

static void read_beyond_in_a_kernel(int past) {
    atl_kernels kernels;
    float sum = 0, *x = calloc(FLOATS, sizeof *x);
    atl_kernels_select(&kernels, ATL_ISA_SCALAR);
    if (x != NULL)
        kernels.sum.fn(x, FLOATS + past, 1, 0, &sum);
    sink = (int)sum;
    free(x);
}

static void overflow(int past) {
    volatile int most = INT_MAX - 1;
    sink = most + 1 + past;
}

typedef struct meeting {
    _Atomic int present;
    int past;
    volatile int shared[THREADS];
} meeting;

/* Both threads at once; relaxed, so that nothing orders what they do then. Many additions, as ThreadSanitizer does not see two that
 * come at the very same time. */
static void meet(void *context, int64_t task, int slot) {
    (void)slot;
    meeting *m = context;
    atomic_fetch_add_explicit(&m->present, 1, memory_order_relaxed);
    while (atomic_load_explicit(&m->present, memory_order_relaxed) < THREADS)
        ;
    for (int i = 0; i < ADDITIONS; i++)
        m->shared[m->past ? 0 : task]++;
}

static void race(int past) {
    atl_pool *pool = NULL;
    meeting m = {.past = past};
    if (atl_pool_create(&(atl_pool_options){.threads = THREADS}, &pool, NULL) != ATL_OK ||
        atl_pool_threads(pool) != THREADS) {
        fprintf(stderr, "no pool of %d threads\n", (int)THREADS);
        abort();
    }
    atl_pool_run(pool, meet, &m, THREADS);
    atl_pool_destroy(pool);
    sink = m.shared[0];
}

int main(int count, char **words) {
    static const struct {
        const char *name;
        void (*run)(int past);
    } faults[] = {
        {"heap", read_beyond_the_heap}, {"kernel", read_beyond_in_a_kernel}, {"undefined", overflow}, {"race", race}};
    const char *wanted = count > 1 ? words[1] : "";
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        faults[i].run(strcmp(faults[i].name, wanted) == 0);
    puts("none found");
    return 0;
}
