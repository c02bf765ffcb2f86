/* SPDX-License-Identifier: Apache-2.0 */
/* The copy bandwidth: each thread copies its own part, which it touched first, so that it lies near it. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "machine.h"
#include "team.h"

#define PAGE 4096
#define MIB  ((size_t)1 << 20)

typedef struct copy_work {
    char *from, *to;
    size_t size; /* of each buffer, whole pages */
} copy_work;

static void part_of(const copy_work *work, int thread, int threads, size_t *begin, size_t *size) {
    const size_t pages = work->size / PAGE;
    *begin = pages * (size_t)thread / (size_t)threads * PAGE;
    *size = pages * ((size_t)thread + 1) / (size_t)threads * PAGE - *begin;
}

static void touch(void *context, int thread, int threads) {
    const copy_work *work = context;
    size_t begin, size;
    part_of(work, thread, threads, &begin, &size);
    memset(work->from + begin, 1, size);
    memset(work->to + begin, 2, size);
}

static void copy_plain(void *context, int thread, int threads) {
    const copy_work *work = context;
    size_t begin, size;
    part_of(work, thread, threads, &begin, &size);
    memcpy(work->to + begin, work->from + begin, size);
}

#if defined(__x86_64__)
/* A copy by vectors of one type. Which is fastest depends on the machine: memcpy chooses between caching and
 * non-temporal stores by the size, and wide non-temporal stores reach a few per cent more than narrow ones. */
#define DEFINE_COPY(name, attribute, vector, load, store)                                                              \
    attribute static void name(void *context, int thread, int threads) {                                               \
        const copy_work *work = context;                                                                               \
        size_t begin, size;                                                                                            \
        part_of(work, thread, threads, &begin, &size);                                                                 \
        const char *from = work->from + begin;                                                                         \
        char *to = work->to + begin;                                                                                   \
        for (size_t i = 0; i < size; i += 64)                                                                          \
            _Pragma("GCC unroll 4") for (size_t k = 0; k < 64; k += sizeof(vector))                                    \
                store((vector *)(to + i + k), load((const vector *)(from + i + k)));                                   \
        _mm_sfence();                                                                                                  \
    }
DEFINE_COPY(copy_caching, , __m128i, _mm_load_si128, _mm_store_si128)
DEFINE_COPY(copy_stream16, , __m128i, _mm_load_si128, _mm_stream_si128)
DEFINE_COPY(copy_stream32, __attribute__((target("avx"))), __m256i, _mm256_load_si256, _mm256_stream_si256)
DEFINE_COPY(copy_stream64, __attribute__((target("avx512f"))), __m512i, _mm512_load_si512, _mm512_stream_si512)
#endif

static FILE *open_cache(const char *what) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index3/%s", what);
    return fopen(path, "re");
}

/* The size of one last-level cache; 0 = unknown. */
static size_t cache_size(void) {
    long kib = 0;
    FILE *f = open_cache("size");
    if (f) {
        if (fscanf(f, "%ldK", &kib) != 1)
            kib = 0;
        fclose(f);
    }
    return kib > 0 ? (size_t)kib * 1024 : 0;
}

/* The processors that share a last-level cache, from a list such as 0-7,64-71; at least 1. */
static int cache_sharers(void) {
    int sharers = 0, first, last, separator = ',';
    FILE *f = open_cache("shared_cpu_list");
    while (f && separator == ',' && fscanf(f, "%d", &first) == 1) {
        last = first;
        separator = fgetc(f);
        if (separator == '-' && fscanf(f, "%d", &last) == 1)
            separator = fgetc(f);
        sharers += last - first + 1;
    }
    if (f)
        fclose(f);
    return sharers > 0 ? sharers : 1;
}

/* Each of the two buffers is four times the last-level caches that the threads may use (some caches keep part of what
 * passes through them, so twice is not enough), and at most a sixteenth of the memory. */
static size_t buffer_size(int threads) {
    const int sharers = cache_sharers();
    const size_t caches = (size_t)((threads + sharers - 1) / sharers) * cache_size();
    const size_t most = (size_t)sysconf(_SC_PHYS_PAGES) / 16 * (size_t)sysconf(_SC_PAGESIZE);
    const size_t size = 4 * caches < 128 * MIB ? 128 * MIB : 4 * caches;
    return (size < most ? size : most) / PAGE * PAGE;
}

static char *map_pages(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, size, MADV_HUGEPAGE); /* fewer page faults; no harm where it is refused */
    return p;
}

/* Keeps the shorter time; 0 = none yet, or not to be had. */
static void try_copy(team_function *copy, copy_work *work, int threads, double *best) {
    const double seconds = team_best_seconds(copy, work, threads, 5);
    if (seconds > 0 && (*best == 0 || seconds < *best))
        *best = seconds;
}

double machine_copy_gbs(int threads) {
    copy_work work = {.size = buffer_size(threads)};
    work.from = map_pages(work.size);
    work.to = map_pages(work.size);
    double best = 0;
    if (work.from && work.to && team_best_seconds(touch, &work, threads, 1) > 0) {
        try_copy(copy_plain, &work, threads, &best);
#if defined(__x86_64__)
        try_copy(copy_caching, &work, threads, &best);
        try_copy(copy_stream16, &work, threads, &best);
        if (__builtin_cpu_supports("avx"))
            try_copy(copy_stream32, &work, threads, &best);
        if (__builtin_cpu_supports("avx512f"))
            try_copy(copy_stream64, &work, threads, &best);
#endif
    }
    if (work.from)
        munmap(work.from, work.size);
    if (work.to)
        munmap(work.to, work.size);
    return best > 0 ? 2.0 * (double)work.size / best * 1e-9 : 0;
}
