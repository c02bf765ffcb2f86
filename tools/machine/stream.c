/* SPDX-License-Identifier: Apache-2.0 */
/* The stream bandwidth: each thread reads or copies its own part, which it touched first, so that it lies near it. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "machine.h"
#include "team.h"

#define UNIT    ((size_t)256) /* buffers and parts are whole units: some of the widest vectors */
#define MIB     ((size_t)1 << 20)
#define REPEATS 5
#define LEAST   0.5e-3 /* seconds of a repetition, so that its start does not count where buffers are small */
#define GROWTH  8      /* of the passes from try to try until one takes as long */

typedef struct stream_work {
    char *from, *to;
    size_t size;   /* of each buffer */
    size_t passes; /* over the buffers, in a repetition */
} stream_work;

/* Goes over a thread's part of both buffers, `size` bytes each. */
typedef void pass_function(const char *from, char *to, size_t size);

typedef struct stream_task {
    const stream_work *work;
    pass_function *pass;
} stream_task;

static void run_part(void *context, int thread, int threads) {
    const stream_task *task = context;
    const size_t units = task->work->size / UNIT;
    const size_t begin = units * (size_t)thread / (size_t)threads * UNIT;
    const size_t end = units * ((size_t)thread + 1) / (size_t)threads * UNIT;
    for (size_t i = 0; i < task->work->passes; i++)
        task->pass(task->work->from + begin, task->work->to + begin, end - begin);
}

static void touch(const char *from, char *to, size_t size) {
    memset((char *)from, 1, size);
    memset(to, 2, size);
}

static void copy_plain(const char *from, char *to, size_t size) {
    memcpy(to, from, size);
}

static void read_plain(const char *from, char *to, size_t size) {
    const char *const parts[] = {from, to};
    uint32_t sum = 0; /* of addends that the compiler turns into vectors */
    for (int p = 0; p < 2; p++)
        for (size_t i = 0; i < size / sizeof sum; i++)
            sum += ((const uint32_t *)parts[p])[i];
    volatile uint32_t sink = sum;
    (void)sink;
}

#if defined(__x86_64__)
/* Passes by vectors of one type. Which is fastest depends on the machine and the size: memcpy chooses between caching and
 * non-temporal stores by the size, wide non-temporal stores reach a few per cent more than narrow ones, and what the
 * caches hold is moved best by the widest. */
#define DEFINE_COPY(name, attribute, vector, load, store)                                                              \
    attribute static void name(const char *from, char *to, size_t size) {                                              \
        for (size_t i = 0; i < size; i += UNIT)                                                                        \
            _Pragma("GCC unroll 16") for (size_t k = 0; k < UNIT; k += sizeof(vector))                                 \
                store((vector *)(to + i + k), load((const vector *)(from + i + k)));                                   \
        _mm_sfence();                                                                                                  \
    }
#define DEFINE_READ(name, attribute, vector, join, zero)                                                               \
    attribute static void name(const char *from, char *to, size_t size) {                                              \
        const char *const parts[] = {from, to};                                                                        \
        vector sum[4] = {zero, zero, zero, zero};                                                                      \
        for (int p = 0; p < 2; p++)                                                                                    \
            for (size_t i = 0; i < size; i += UNIT)                                                                    \
                _Pragma("GCC unroll 16") for (size_t k = 0; k < UNIT / sizeof(vector); k++) sum[k % 4] =               \
                    join(sum[k % 4], ((const vector *)(parts[p] + i))[k]);                                             \
        volatile vector sink = join(join(sum[0], sum[1]), join(sum[2], sum[3]));                                       \
        (void)sink;                                                                                                    \
    }
#define AVX    __attribute__((target("avx")))
#define AVX512 __attribute__((target("avx512f")))
DEFINE_COPY(copy_caching16, , __m128i, _mm_load_si128, _mm_store_si128)
DEFINE_COPY(copy_caching32, AVX, __m256i, _mm256_load_si256, _mm256_store_si256)
DEFINE_COPY(copy_caching64, AVX512, __m512i, _mm512_load_si512, _mm512_store_si512)
DEFINE_COPY(copy_stream16, , __m128i, _mm_load_si128, _mm_stream_si128)
DEFINE_COPY(copy_stream32, AVX, __m256i, _mm256_load_si256, _mm256_stream_si256)
DEFINE_COPY(copy_stream64, AVX512, __m512i, _mm512_load_si512, _mm512_stream_si512)
DEFINE_READ(read32, AVX, __m256, _mm256_or_ps, _mm256_setzero_ps())
DEFINE_READ(read64, AVX512, __m512i, _mm512_or_si512, _mm512_setzero_si512())
#endif

/* Every pass moves each byte of both buffers once: it reads both, or reads one and writes the other. */
static const struct {
    pass_function *pass;
    int bits; /* of the vectors that the processor has to have; 0 = none */
} kinds[] = {
    {copy_plain, 0},       {read_plain, 0},
#if defined(__x86_64__)
    {copy_caching16, 0},   {copy_stream16, 0},   {copy_caching32, 256}, {copy_stream32, 256},
    {copy_caching64, 512}, {copy_stream64, 512}, {read32, 256},         {read64, 512},
#endif
};

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

/* No buffer is larger than four times the last-level caches that the threads may use (some caches keep part of what
 * passes through them, so twice is not enough), or a sixteenth of the memory. */
static size_t buffer_size(int threads, double bytes) {
    const int sharers = cache_sharers();
    const size_t caches = (size_t)((threads + sharers - 1) / sharers) * cache_size();
    const size_t past = 4 * caches < 128 * MIB ? 128 * MIB : 4 * caches;
    const size_t memory = (size_t)sysconf(_SC_PHYS_PAGES) / 16 * (size_t)sysconf(_SC_PAGESIZE);
    const size_t most = past < memory ? past : memory, least = (size_t)threads * UNIT;
    const size_t size = bytes / 2 < (double)most ? (size_t)(bytes / 2) : most;
    return (size > least ? size : least) / UNIT * UNIT;
}

static char *map_pages(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, size, MADV_HUGEPAGE); /* fewer page faults; no harm where it is refused */
    return p;
}

/* The shortest of some repetitions, each of work->passes; 0 = not to be had. */
static double repeat(pass_function *pass, const stream_work *work, int threads, int repeats) {
    stream_task task = {work, pass};
    return team_best_seconds(run_part, &task, threads, repeats);
}

/* The shortest time of a pass; 0 = not to be had. */
static double best_seconds(pass_function *pass, stream_work *work, int threads) {
    double seconds = 0;
    for (work->passes = 1; (seconds = repeat(pass, work, threads, 1)) < LEAST; work->passes *= GROWTH)
        if (seconds <= 0)
            return 0;
    const double best = repeat(pass, work, threads, REPEATS);
    return (best < seconds ? best : seconds) / (double)work->passes;
}

static int has_vectors(int bits) {
#if defined(__x86_64__)
    return bits == 512 ? __builtin_cpu_supports("avx512f") : bits != 256 || __builtin_cpu_supports("avx");
#else
    return bits == 0;
#endif
}

/* The shortest time that any kind of pass takes to go over both buffers; 0 = none can be had. */
static double fastest(stream_work *work, int threads) {
    double best = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const double seconds = has_vectors(kinds[i].bits) ? best_seconds(kinds[i].pass, work, threads) : 0;
        if (seconds > 0 && (best == 0 || seconds < best))
            best = seconds;
    }
    return best;
}

double machine_stream_gbs(int threads, double *bytes) {
    stream_work work = {.size = buffer_size(threads, *bytes), .passes = 1};
    work.from = map_pages(work.size);
    work.to = map_pages(work.size);
    *bytes = 2 * (double)work.size;
    double best = 0;
    if (work.from && work.to && repeat(touch, &work, threads, 1) > 0)
        best = fastest(&work, threads);
    if (work.from)
        munmap(work.from, work.size);
    if (work.to)
        munmap(work.to, work.size);
    return best > 0 ? *bytes / best * 1e-9 : 0;
}
