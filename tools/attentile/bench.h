/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile bench`: what its parts hand one another. */
#ifndef ATTENTILE_TOOLS_BENCH_H
#define ATTENTILE_TOOLS_BENCH_H

#include <attentile/attentile.h>

#include "command.h"
#include "layer_inputs.h"
#include "weights.h"

enum {
    BENCH_FILTER,
    BENCH_SUITE,
    BENCH_SHAPES,
    BENCH_THREADS,
    BENCH_REPETITIONS,
    BENCH_LIST,
    BENCH_PLAN_FOR,
    BENCH_JSON,
    BENCH_OPTION_COUNT
};

enum { BENCH_TEAMS = 2 };

typedef struct bench_job {
    const arguments *arguments;
    shape_row *rows; /* those selected */
    int row_count;
    int64_t repetitions;
    int threads[BENCH_TEAMS]; /* with how many threads each row is measured; 0 = that is all */
    atl_engine_info machine;
    char isa[16], cpu[128]; /* what `machine` points to */
} bench_job;

/* ---- bench_rows.c */

/* Fills in the rows that the options select. DONE or the exit code. */
int bench_read_rows(bench_job *job);
/* How often a row of the suite is measured unless the options say it. */
int bench_suite_repetitions(const bench_job *job);
/* Prints the rows as lines of a list of shapes. */
void bench_list_rows(const bench_job *job);
/* The row's batch and shape, "32x256x56x56"; returns `text`. */
const char *bench_shape_text(const shape_row *row, char *text, size_t capacity);

/* ---- bench_case.c: a row made ready to run */

typedef struct bench_case {
    const shape_row *row;
    weights weights;
    layer_inputs masks;
    float *x, *y, *map, *key, *value;
    uint8_t *padding;
    size_t x_size, y_size, map_size, key_size; /* bytes; map and key 0 = none */
    atl_engine *engine;
    atl_layer *layer;
    atl_plan *plan;
    atl_plan_info info;
    double plan_seconds; /* that the first plan of the layer took, weights packed */
    atl_run_options options;
    char problem[768]; /* why one of the functions below failed */
} bench_case;

/* Each returns 0, or -1 with the reason in `problem`. bench_case_free is due in any case. A case is all zero before its first
 * and is not copied. */

/* Weights and all inputs. */
int bench_case_inputs(bench_case *c, const shape_row *row);
/* Engine, layer and plan, and so the sizes of y and map. Once the weights are there. */
int bench_case_plan(bench_case *c, const atl_engine_options *options);
/* Refuses what needs more than half of the machine's memory. */
int bench_case_check_memory(bench_case *c);
/* y and, where the row asks for it, the map; their sizes are set. */
int bench_case_outputs(bench_case *c);
int bench_case_run(bench_case *c);
void bench_case_free(bench_case *c);

/* ---- bench_memory.c, with Google Benchmark only: peak memory, each row in a process of its own */

/* To be called while the process has no threads, and has the rows. DONE or FAILED. */
int bench_memory_start(const bench_job *job);
/* Bytes at the peak over inputs and outputs, layer, plan and team included; -1 = unknown. `c` tells the outputs' sizes. */
int64_t bench_memory_peak(const bench_case *c, int row, int threads);
void bench_memory_stop(void);

/* ---- bench_plan.c */

int bench_plan_for(bench_job *job, int threads);

/* ---- bench_measure.c and bench_report.c, with Google Benchmark only */

int bench_measure(bench_job *job);

/* A row as it was measured. */
typedef struct bench_line {
    const shape_row *row;
    int threads;
    double seconds; /* the shortest repetition */
    double gflops, gbs, bound_share, peak_mib, plan_seconds;
    int memory_bound;
    const char *problem; /* NULL = it ran */
} bench_line;

void bench_print_head(const bench_job *job);
void bench_print_line(const bench_line *line);
void bench_print_foot(void);

#endif
