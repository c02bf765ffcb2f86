/* SPDX-License-Identifier: Apache-2.0 */
#include "probe.h"

#include <ctype.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "sync.h"

/* Reads a stack size as libgomp does: a number, optional B, K, M or G (default K), spaces around both. 0 = not valid.
 */
static size_t parse_stack_size(const char *text) {
    if (text == NULL)
        return 0;
    while (isspace((unsigned char)*text))
        text++;
    if (!isdigit((unsigned char)*text))
        return 0;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0)
        return 0;
    while (isspace((unsigned char)*end))
        end++;
    int shift = 10;
    if (*end != '\0') {
        const char *units = "bkmg", *unit = strchr(units, tolower((unsigned char)*end));
        if (unit == NULL)
            return 0;
        shift = 10 * (int)(unit - units);
        for (end++; isspace((unsigned char)*end); end++)
            ;
        if (*end != '\0')
            return 0;
    }
    return number > SIZE_MAX >> shift ? 0 : (size_t)number << shift;
}

/* The attributes that OpenMP's threads get. */
static int team_attributes(pthread_attr_t *attributes) {
    if (pthread_attr_init(attributes) != 0)
        return -1;
    size_t size = parse_stack_size(getenv("OMP_STACKSIZE"));
    if (size == 0)
        size = parse_stack_size(getenv("GOMP_STACKSIZE"));
    if (size != 0)
        pthread_attr_setstacksize(attributes, size); /* one that is too small is refused, here as there */
    return 0;
}

static void *stay(void *context) {
    _Atomic uint32_t *leave = context;
    while (atomic_load_explicit(leave, memory_order_acquire) == 0)
        atl_futex_wait(leave, 0);
    return NULL;
}

/* Creates threads until one fails, all of them alive together. */
static int try_threads(pthread_t *threads, int wanted, const pthread_attr_t *attributes) {
    _Atomic uint32_t leave = 0;
    int created = 0;
    while (created < wanted && pthread_create(&threads[created], attributes, stay, &leave) == 0)
        created++;
    atomic_store_explicit(&leave, 1, memory_order_release);
    atl_futex_wake(&leave, created);
    for (int i = 0; i < created; i++)
        pthread_join(threads[i], NULL);
    return created;
}

int atl_probe_threads(int wanted) {
    /* libgomp's team takes about 300 bytes a thread and 4 KiB; this is held while the threads exist. */
    size_t size = ((size_t)64 << 10) + ((size_t)wanted << 10);
    pthread_attr_t attributes;
    pthread_t *threads = malloc(size);
    if (threads == NULL || team_attributes(&attributes) != 0) {
        free(threads);
        return 1;
    }
    int created = try_threads(threads, wanted - 1, &attributes);
    pthread_attr_destroy(&attributes);
    free(threads);
    return 1 + created;
}

int atl_probe_thread_exit(void) {
    void *frame; /* backtrace loads the same library, keeps it, and finds no frames when it cannot */
    return backtrace(&frame, 1) > 0;
}
