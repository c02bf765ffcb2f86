/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library for LD_PRELOAD that lets allocations and thread creation fail, between inject_start() and inject_stop():
 *
 *     INJECT_MALLOC=once:K          the K-th allocation (malloc, calloc, realloc, aligned_alloc, ...) fails
 *     INJECT_MALLOC=from:K          the K-th and all later ones fail
 *     INJECT_PTHREAD_CREATE=K       the K-th and all later pthread_create fail
 *     INJECT_THREAD_LIMIT=N         pthread_create fails while N threads besides the first are alive
 *
 * The first three neither count nor fail what libgomp and hwloc themselves ask for: libgomp ends the process at the
 * first refusal, hwloc does not check all of its allocations, and no program can prevent that for a failure which
 * strikes between its own trial and their request. The limit spares nobody. It is how systems refuse in earnest (they
 * go on refusing), and what the trial protects from.
 */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* For programs: weak references, NULL without the library. */
void inject_start(void);
void inject_stop(void);
long inject_failures(void);

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static create_fn *real_create;
static atomic_int active;
static atomic_long failures;
static atomic_long allocations, first_allocation, creations, first_creation;
static int once;
static atomic_long alive, alive_limit = -1;
static uintptr_t gomp_begin, gomp_end;
static __thread int exempt __attribute__((tls_model("initial-exec")));

static int find_gomp(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    (void)context;
    if (strstr(info->dlpi_name, "libgomp") == NULL)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && end > gomp_end)
            gomp_end = end;
    }
    gomp_begin = info->dlpi_addr;
    return 1;
}

void inject_start(void) {
    const char *memory = getenv("INJECT_MALLOC"), *threads = getenv("INJECT_PTHREAD_CREATE");
    const char *limit = getenv("INJECT_THREAD_LIMIT");
    real_create = (create_fn *)(uintptr_t)dlsym(RTLD_NEXT, "pthread_create");
    dl_iterate_phdr(find_gomp, NULL);
    if (memory != NULL && strchr(memory, ':') != NULL) {
        once = strncmp(memory, "once", 4) == 0;
        first_allocation = atol(strchr(memory, ':') + 1);
    }
    if (threads != NULL)
        first_creation = atol(threads);
    if (limit != NULL)
        alive_limit = atol(limit);
    active = 1;
}

void inject_stop(void) {
    active = 0;
}

/* How many requests were refused. */
long inject_failures(void) {
    return failures;
}

static int from_gomp(const void *caller) {
    return exempt || ((uintptr_t)caller >= gomp_begin && (uintptr_t)caller < gomp_end);
}

/* Counts an allocation; 1 = it must fail. */
static int refuse_memory(const void *caller) {
    if (!active || first_allocation == 0 || from_gomp(caller))
        return 0;
    long number = ++allocations;
    int refused = once ? number == first_allocation : number >= first_allocation;
    failures += refused;
    if (refused)
        errno = ENOMEM;
    return refused;
}

#define REFUSE_MEMORY refuse_memory(__builtin_return_address(0))

void *malloc(size_t size) {
    return REFUSE_MEMORY ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return REFUSE_MEMORY ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    return REFUSE_MEMORY ? NULL : __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    return REFUSE_MEMORY ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return REFUSE_MEMORY ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    void *made = REFUSE_MEMORY ? NULL : __libc_memalign(alignment, size);
    if (made == NULL)
        return ENOMEM;
    *memory = made;
    return 0;
}

/* ---------------------------------------------------------------- hwloc */

/* A function of hwloc, which runs with `exempt` set. */
#define EXEMPT(name, parameters, arguments)                                                                            \
    int name parameters;                                                                                               \
    int name parameters {                                                                                              \
        int(*real) parameters = (int(*) parameters)(uintptr_t)dlsym(RTLD_NEXT, #name);                                 \
        exempt = 1;                                                                                                    \
        int result = real arguments;                                                                                   \
        exempt = 0;                                                                                                    \
        return result;                                                                                                 \
    }

EXEMPT(hwloc_topology_init, (void *topology), (topology))
EXEMPT(hwloc_topology_load, (void *topology), (topology))
EXEMPT(hwloc_get_cpubind, (void *topology, void *set, int flags), (topology, set, flags))
EXEMPT(hwloc_set_cpubind, (void *topology, const void *set, int flags), (topology, set, flags))

/* ---------------------------------------------------------------- threads */

typedef struct start {
    void *(*function)(void *);
    void *context;
} start;

static void leave(void *unused) {
    (void)unused;
    alive--;
}

static void *counted(void *context) {
    start begin = *(start *)context;
    void *result;
    pthread_cleanup_push(leave, NULL);
    result = begin.function(begin.context);
    pthread_cleanup_pop(1);
    return result;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *), void *context) {
    static start starts[4096];
    static atomic_uint next;
    int gomp = from_gomp(__builtin_return_address(0));
    if (real_create == NULL)
        real_create = (create_fn *)(uintptr_t)dlsym(RTLD_NEXT, "pthread_create");
    int refused = active && !gomp && first_creation != 0 && ++creations >= first_creation;
    refused |= active && alive_limit >= 0 && alive >= alive_limit;
    if (refused) {
        failures++;
        return EAGAIN;
    }
    start *begin = &starts[next++ % 4096];
    *begin = (start){function, context};
    alive++;
    exempt = gomp;
    int failed = real_create(thread, attributes, counted, begin);
    exempt = 0;
    if (failed != 0)
        alive--;
    return failed;
}
