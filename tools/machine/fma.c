/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The multiply-add peak: chains of dependent multiply-adds, enough of them side by side to hide the latency, and few
 * enough to stay in registers beside the two constants: one chain that is spilled waits for memory and slows all.
 */
#include <string.h>

#include "machine.h"
#include "team.h"

/* Chains of each kind. x86 has two ports of four to five cycles, so 10 would do; AVX2 has 16 registers, AVX-512 has 32.
 * ARM cores have up to four ports of four cycles and 32 registers. */
#define SCALAR_CHAINS 32 /* floats: the compiler makes vectors of them where its baseline has any */
#define AVX2_CHAINS   12
#define AVX512_CHAINS 16
#define NEON_CHAINS   24

/* Runs `count` rounds of a kind's chains of multiply-adds; the returned value keeps the compiler from dropping them. */
typedef float fma_loop(int64_t count, float a, float b);

typedef struct fma_kind {
    const char *isa;
    fma_loop *loop;
    int floats; /* of a round: chains times lanes */
} fma_kind;

static float scalar_loop(int64_t count, float a, float b) {
    float x[SCALAR_CHAINS];
    for (int k = 0; k < SCALAR_CHAINS; k++)
        x[k] = (float)k;
    for (int64_t i = 0; i < count; i++)
#pragma GCC unroll 32
        for (int k = 0; k < SCALAR_CHAINS; k++)
            x[k] = x[k] * a + b;
    float sum = 0;
    for (int k = 0; k < SCALAR_CHAINS; k++)
        sum += x[k];
    return sum;
}

/* The same loop over a vector type; sum(vector) gives one float of it. */
#define DEFINE_LOOP(name, attribute, chains, vector, set1, fma, sum)                                                   \
    attribute static float name(int64_t count, float a, float b) {                                                     \
        const vector va = set1(a), vb = set1(b);                                                                       \
        vector x[chains];                                                                                              \
        _Pragma("GCC unroll 32") for (int k = 0; k < chains; k++) x[k] = set1((float)k);                               \
        for (int64_t i = 0; i < count; i++)                                                                            \
            _Pragma("GCC unroll 32") for (int k = 0; k < chains; k++) x[k] = fma(x[k], va, vb);                        \
        float total = 0;                                                                                               \
        _Pragma("GCC unroll 32") for (int k = 0; k < chains; k++) total += sum(x[k]);                                  \
        return total;                                                                                                  \
    }

#if defined(__x86_64__)
#include <immintrin.h>
DEFINE_LOOP(avx2_loop, __attribute__((target("avx2,fma"))), AVX2_CHAINS, __m256, _mm256_set1_ps, _mm256_fmadd_ps,
            _mm256_cvtss_f32)
DEFINE_LOOP(avx512_loop, __attribute__((target("avx512f"))), AVX512_CHAINS, __m512, _mm512_set1_ps, _mm512_fmadd_ps,
            _mm512_cvtss_f32)
#elif defined(__aarch64__)
#include <arm_neon.h>
#define neon_fma(x, a, b) vfmaq_f32(x, a, b) /* adds to its first operand: any other would need two moves more */
#define neon_first(x)     vgetq_lane_f32(x, 0)
DEFINE_LOOP(neon_loop, , NEON_CHAINS, float32x4_t, vdupq_n_f32, neon_fma, neon_first)
#endif

static const fma_kind kinds[] = {
    {"scalar", scalar_loop, SCALAR_CHAINS},
#if defined(__x86_64__)
    {"avx2", avx2_loop, 8 * AVX2_CHAINS},
    {"avx512", avx512_loop, 16 * AVX512_CHAINS},
#elif defined(__aarch64__)
    {"neon", neon_loop, 4 * NEON_CHAINS},
#endif
};

typedef struct fma_work {
    const fma_kind *kind;
    int64_t rounds;
} fma_work;

static void fma_part(void *context, int thread, int threads) {
    (void)thread, (void)threads;
    const fma_work *work = context;
    volatile float sink = work->kind->loop(work->rounds, 0.5f, 1.0f);
    (void)sink;
}

double machine_fma_gflops(const char *isa, int threads) {
    const fma_kind *kind = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].isa, isa) == 0)
            kind = &kinds[i];
    if (!kind)
        return 0;
    /* About 5 ms a repetition: long enough for a start that is not quite common, short enough for an undisturbed one.
     */
    fma_work work = {kind, 100000};
    const double probe = team_best_seconds(fma_part, &work, 1, 2);
    if (probe <= 0)
        return 0;
    work.rounds = (int64_t)(100000 * (0.005 / probe)) + 1;
    const double best = team_best_seconds(fma_part, &work, threads, 9);
    return best > 0 ? 2.0 * kind->floats * (double)work.rounds * threads / best * 1e-9 : 0;
}

double machine_bound_seconds(const char *isa, double flops, double exps, double bytes, double fma_gflops,
                             double stream_gbs) {
    if (fma_gflops <= 0 || stream_gbs <= 0)
        return 0;
    const double slots = strcmp(isa, "avx512") == 0 ? 13 : strcmp(isa, "avx2") == 0 ? 16 : 17;
    const double compute = (flops + 2 * slots * exps) / (fma_gflops * 1e9);
    const double memory = bytes / (stream_gbs * 1e9);
    return compute > memory ? compute : memory;
}
