/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Google Benchmark for C. Times are wall time (real time) beside the CPU time of the whole process. Every benchmark is
 * repeated; minimum, median and maximum over the repetitions are reported beside the library's own statistics. Each is
 * taken of every column by itself: the rates that belong to the minimum of the time are the maximum of the rates.
 *
 * All of the library's options work (--benchmark_filter, --benchmark_list_tests, --benchmark_format=json, ...).
 * Defaults that differ from its own: 7 repetitions of at least 0.05 s, and only statistics on the display.
 */
#ifndef ATL_BENCH_SHIM_H
#define ATL_BENCH_SHIM_H

#ifdef __cplusplus
extern "C" {
#endif

/* A benchmark under way. */
typedef struct bench_state bench_state;

/*
 * The body of a benchmark, called several times with different numbers of iterations:
 *
 *     set up;  while (bench_next(state)) work();  counters
 */
typedef void bench_fn(bench_state *state, void *context);

/* Takes the library's options out of the arguments. 0, or -1 when others are left (it says which on stderr). */
int bench_init(int argc, char **argv);

/* A line for the head of JSON output. */
void bench_context(const char *key, const char *value);

/* Registers a benchmark; `context` has to live until bench_run returns. */
void bench_add(const char *name, bench_fn *fn, void *context);

/* Is told of each benchmark once its repetitions are done: the seconds of an iteration in the shortest of them; 0 = given
 * up. */
typedef void bench_done_fn(void *context, double seconds);

/* Runs what the options select, or lists it. Returns how many benchmarks that were. With `done` the library displays
 * nothing; it then has to show the repetitions (--benchmark_display_aggregates_only=false). */
int bench_run(bench_done_fn *done, void *context);

/* Whether to do one more iteration. */
int bench_next(bench_state *state);

/* The wall time of an iteration in seconds; valid once bench_next has returned 0. */
double bench_seconds(const bench_state *state);

/* A number beside the times. */
void bench_counter(bench_state *state, const char *name, double value);

/* A text beside the times. */
void bench_label(bench_state *state, const char *text);

/* Gives the benchmark up with a reason; bench_next then returns 0. */
void bench_skip(bench_state *state, const char *reason);

#ifdef __cplusplus
}
#endif

#endif
