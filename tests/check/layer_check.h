/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layer checker: shapes of the built-in list, filled in several ways, through the scalar kernels on one thread; those
 * outputs are held against the float64 oracle, and those of every other instruction set, thread count and position in
 * the batch against their bits. Calls the library through its public header alone.
 */
#ifndef ATL_TESTS_LAYER_CHECK_H
#define ATL_TESTS_LAYER_CHECK_H

#include "attentile/attentile.h"

enum { LAYER_ENGINES_MAX = 12, LAYER_THREADS = 3 };

/* Engines of every instruction set with 1, 2 and 3 threads; the first is scalar with one. */
typedef struct layer_engines {
    int count;
    atl_engine *engines[LAYER_ENGINES_MAX];
    atl_engine_info infos[LAYER_ENGINES_MAX];
} layer_engines;

/* `isas` NULL-terminated, "scalar" first. On failure nothing is held. */
atl_status layer_engines_open(const char *const *isas, layer_engines *engines, atl_error *error);
void layer_engines_close(layer_engines *engines);

typedef struct layer_report {
    long shapes, failed_shapes;
    long comparisons; /* outputs held against the oracle or against the reference's bits */
    double share;     /* the largest share of its error bound that an output used */
    char where[96];   /* the shape and the fill of that output */
    uint64_t digest;  /* of the reference's outputs: the same on every machine */
    char first[256];  /* the first failure */
} layer_report;

/* Checks a kind of the build. `small` leaves out most fills and all large shapes (for emulation). */
void layer_check(const layer_engines *engines, const char *kind, int small, layer_report *report);

#endif
