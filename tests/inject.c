/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library for LD_PRELOAD that lets calls fail, between inject_start() and inject_stop(), or from the start of the program
 * with INJECT_AT_START=1:
 *
 *     INJECT_MALLOC=once:K          the K-th allocation fails (malloc, calloc, realloc, aligned_alloc, ...; our own mmap)
 *     INJECT_MALLOC=from:K          the K-th and all later ones fail
 *     INJECT_THREAD=MODE:K          likewise pthread_create
 *     INJECT_READ, _WRITE, _FSYNC, _RENAME, _OPEN=MODE:K
 *                                   likewise (p)read, write, fsync, rename(at), open(at)
 *     INJECT_THREAD_LIMIT=N         pthread_create fails while N threads besides the first are alive
 *     INJECT_REPORT=FILE            at its exit the program leaves "failures F leaked L" there: the refused calls, and
 *                                   what our code has allocated meanwhile and not released
 *
 * All but the limit neither count nor fail what libgomp and hwloc themselves ask for: libgomp ends the process at the
 * first refusal, hwloc does not check all of its allocations, and no program can prevent that for a failure which
 * strikes between its own trial and their request. The limit spares nobody. It is how systems refuse in earnest (they
 * go on refusing), and what the trial protects from.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* For programs: weak references, NULL without the library. */
void inject_start(void);
void inject_stop(void);
long inject_failures(void);
long inject_leaked(void);

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

/* A kind of call: how many were seen, and which of them fail. */
typedef struct target {
    const char *variable;
    int code; /* errno of a failure */
    int once;
    long first; /* 0 = none fails */
    atomic_long calls;
} target;

enum { MALLOC, THREAD, READ, WRITE, FSYNC, RENAME, OPEN, TARGETS };

static target targets[TARGETS] = {
    [MALLOC] = {.variable = "INJECT_MALLOC", .code = ENOMEM}, [THREAD] = {.variable = "INJECT_THREAD", .code = EAGAIN},
    [READ] = {.variable = "INJECT_READ", .code = EIO},        [WRITE] = {.variable = "INJECT_WRITE", .code = ENOSPC},
    [FSYNC] = {.variable = "INJECT_FSYNC", .code = EIO},      [RENAME] = {.variable = "INJECT_RENAME", .code = EACCES},
    [OPEN] = {.variable = "INJECT_OPEN", .code = EMFILE},
};

static create_fn *real_create;
static atomic_int active;
static atomic_long failures;
static atomic_long alive, alive_limit = -1;
static __thread int exempt __attribute__((tls_model("initial-exec")));

/* ---------------------------------------------------------------- whose call it is */

typedef struct range {
    uintptr_t begin, end;
} range;

static range gomp, ours[3]; /* the program and the two libraries */

static range range_of(const struct dl_phdr_info *info) {
    range found = {info->dlpi_addr, 0};
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && end > found.end)
            found.end = end;
    }
    return found;
}

static int find_module(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    (void)context;
    if (strstr(info->dlpi_name, "libgomp"))
        gomp = range_of(info);
    else if (strstr(info->dlpi_name, "/libattentile-io"))
        ours[2] = range_of(info);
    else if (strstr(info->dlpi_name, "/libattentile"))
        ours[1] = range_of(info);
    else if (!*info->dlpi_name && !ours[0].end)
        ours[0] = range_of(info);
    return 0;
}

static int inside(range module, const void *caller) {
    return (uintptr_t)caller >= module.begin && (uintptr_t)caller < module.end;
}

static int from_gomp(const void *caller) {
    return exempt || inside(gomp, caller);
}

static int from_us(const void *caller) {
    return inside(ours[0], caller) || inside(ours[1], caller) || inside(ours[2], caller);
}

/* ---------------------------------------------------------------- what we hold */

enum { SLOTS = 1 << 16 }; /* more than a run allocates */

static _Atomic(void *) held[SLOTS];
static atomic_long mapped; /* bytes */

#define RELEASED ((void *)1) /* a slot that was in use: what was put behind it is still there */

static void *hold(void *memory, const void *caller) {
    if (memory == NULL || !active || exempt || !from_us(caller))
        return memory;
    for (size_t i = (uintptr_t)memory / 16;; i++) {
        void *found = held[i % SLOTS];
        if ((found == NULL || found == RELEASED) && atomic_compare_exchange_strong(&held[i % SLOTS], &found, memory))
            return memory;
    }
}

static void let_go(void *memory) {
    if (memory == NULL)
        return;
    for (size_t i = (uintptr_t)memory / 16, n = 0; n < SLOTS && held[i % SLOTS] != NULL; i++, n++) {
        void *expected = memory;
        if (atomic_compare_exchange_strong(&held[i % SLOTS], &expected, RELEASED))
            return;
    }
}

/* Blocks, and mapped bytes. */
long inject_leaked(void) {
    long count = mapped;
    for (int i = 0; i < SLOTS; i++)
        count += held[i] != NULL && held[i] != RELEASED;
    return count;
}

/* ---------------------------------------------------------------- control */

void inject_start(void) {
    const char *limit = getenv("INJECT_THREAD_LIMIT");
    real_create = (create_fn *)(uintptr_t)dlsym(RTLD_NEXT, "pthread_create");
    dl_iterate_phdr(find_module, NULL);
    for (int i = 0; i < TARGETS; i++) {
        const char *setting = getenv(targets[i].variable), *colon = setting ? strchr(setting, ':') : NULL;
        targets[i].once = colon && strncmp(setting, "once", 4) == 0;
        targets[i].first = colon ? atol(colon + 1) : 0;
    }
    if (limit != NULL)
        alive_limit = atol(limit);
    active = 1;
}

__attribute__((constructor)) static void start_with_the_program(void) {
    if (getenv("INJECT_AT_START"))
        inject_start();
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("INJECT_REPORT");
    active = 0;
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file == NULL)
        return;
    fprintf(file, "failures %ld leaked %ld\n", (long)failures, inject_leaked());
    fclose(file);
}

void inject_stop(void) {
    active = 0;
}

/* How many requests were refused. */
long inject_failures(void) {
    return failures;
}

/* Counts a call; 1 = it must fail. */
static int refuse(int kind, const void *caller) {
    target *t = &targets[kind];
    if (!active || t->first == 0 || from_gomp(caller))
        return 0;
    long number = ++t->calls;
    int refused = t->once ? number == t->first : number >= t->first;
    failures += refused;
    if (refused)
        errno = t->code;
    return refused;
}

#define CALLER       __builtin_return_address(0)
#define REFUSE(kind) refuse(kind, CALLER)

/* ---------------------------------------------------------------- memory */

void *malloc(size_t size) {
    return REFUSE(MALLOC) ? NULL : hold(__libc_malloc(size), CALLER);
}

void *calloc(size_t count, size_t size) {
    return REFUSE(MALLOC) ? NULL : hold(__libc_calloc(count, size), CALLER);
}

void *realloc(void *memory, size_t size) {
    if (REFUSE(MALLOC))
        return NULL;
    let_go(memory);
    return hold(__libc_realloc(memory, size), CALLER);
}

void *memalign(size_t alignment, size_t size) {
    return REFUSE(MALLOC) ? NULL : hold(__libc_memalign(alignment, size), CALLER);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return REFUSE(MALLOC) ? NULL : hold(__libc_memalign(alignment, size), CALLER);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    void *made = REFUSE(MALLOC) ? NULL : hold(__libc_memalign(alignment, size), CALLER);
    if (made == NULL)
        return ENOMEM;
    *memory = made;
    return 0;
}

void free(void *memory) {
    let_go(memory);
    __libc_free(memory);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    const int our = from_us(CALLER);
    if (our && REFUSE(MALLOC))
        return MAP_FAILED;
    void *made = (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
    mapped += active && our && made != MAP_FAILED ? (long)size : 0;
    return made;
}

int munmap(void *address, size_t size) {
    mapped -= active && from_us(CALLER) ? (long)size : 0;
    return (int)syscall(SYS_munmap, address, size);
}

/* ---------------------------------------------------------------- files */

ssize_t read(int fd, void *data, size_t size) {
    return REFUSE(READ) ? -1 : syscall(SYS_read, fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t offset) {
    return REFUSE(READ) ? -1 : syscall(SYS_pread64, fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size) {
    return REFUSE(WRITE) ? -1 : syscall(SYS_write, fd, data, size);
}

int fsync(int fd) {
    return REFUSE(FSYNC) ? -1 : (int)syscall(SYS_fsync, fd);
}

int renameat(int from, const char *name, int to, const char *new_name) {
    return REFUSE(RENAME) ? -1 : (int)syscall(SYS_renameat, from, name, to, new_name);
}

static mode_t mode_of(int flags, va_list values) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(values, mode_t) : 0;
}

int open64(const char *path, int flags, ...) {
    va_list values;
    va_start(values, flags);
    mode_t mode = mode_of(flags, values);
    va_end(values);
    return REFUSE(OPEN) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
    va_list values;
    va_start(values, flags);
    mode_t mode = mode_of(flags, values);
    va_end(values);
    return REFUSE(OPEN) ? -1 : (int)syscall(SYS_openat, folder, path, flags, mode);
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
    int theirs = from_gomp(CALLER);
    if (real_create == NULL)
        real_create = (create_fn *)(uintptr_t)dlsym(RTLD_NEXT, "pthread_create");
    if (REFUSE(THREAD))
        return EAGAIN;
    if (active && alive_limit >= 0 && alive >= alive_limit) {
        failures++;
        return EAGAIN;
    }
    start *begin = &starts[next++ % 4096];
    *begin = (start){function, context};
    alive++;
    exempt = theirs;
    int failed = real_create(thread, attributes, counted, begin);
    exempt = 0;
    if (failed != 0)
        alive--;
    return failed;
}
