/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this machine can do at the moment, measured: the yardsticks that the command and the benchmarks hold times
 * against. Each measurement takes a fraction of a second. Machines are noisy: compare only numbers of one run of a
 * program.
 */
#ifndef ATTENTILE_TOOLS_MACHINE_H
#define ATTENTILE_TOOLS_MACHINE_H

#include <stdint.h>

/* The best rate of independent fused multiply-adds, in GFLOP/s (two per multiply-add), of `threads` threads with the
 * instruction set that atl_engine_info.isa names; "scalar" is plain C of the compiler's baseline (a multiplication and
 * an addition). 0 when it cannot be measured: an instruction set this build does not know, or no threads. */
double machine_fma_gflops(const char *isa, int threads);

/* The best rate at which `threads` threads read a buffer, copy it, or copy it with non-temporal stores, in GB/s, bytes
 * read plus bytes written. *bytes is what the work that it is for reads and writes, which may fit in the caches: both
 * buffers together have that size, at most one well past the last-level cache (INFINITY asks for that one), and
 * *bytes becomes theirs. 0 when it cannot be measured (no memory, no threads). */
double machine_stream_gbs(int threads, double *bytes);

/* The seconds below which work cannot get: max((flops + the exponentials' instructions) / fma_gflops,
 * bytes / stream_gbs). An exponential costs as many multiply-add slots as the shortest known sequence on `isa`: 13 on
 * AVX-512, 16 on AVX2, 17 elsewhere. 0 when a rate is 0. */
double machine_bound_seconds(const char *isa, double flops, double exps, double bytes, double fma_gflops,
                             double stream_gbs);

/* Seconds of the monotonic clock. */
double machine_now(void);

/* The largest resident size that this process has had (VmHWM), in bytes; 0 = unknown. */
int64_t machine_peak_bytes(void);

/* Starts machine_peak_bytes anew from the present size, where the system allows it. */
void machine_reset_peak(void);

/* The value in the middle (the mean of the two there); sorts `values`. */
double machine_median(double *values, int count);

#endif
