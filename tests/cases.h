/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer with its oracle, made from a shape row and a seed; engines of the ISA ladder; comparisons. Faults of the
 * set-up fail the running test.
 */
#ifndef ATL_TESTS_CASES_H
#define ATL_TESTS_CASES_H

#include <stdbool.h>

#include "attentile/attentile.h"
#include "fill.h"
#include "oracle.h"
#include "shapes.h"
#include "weights.h"

typedef struct layer_case {
    shape_row row;
    weights weights; /* points into this struct: do not copy */
    atl_layer *layer;
    oracle *oracle;
    int64_t channels, positions;
    int64_t size;               /* of a sample of x */
    int64_t out_size;           /* of a sample of y */
    bool in_place;              /* y may be x */
    int64_t map_size;           /* 0 = the kind has no map */
    int64_t map_rows, map_keys; /* of each head */
} layer_case;

/* Weights are those of weights_make. */
void case_make(layer_case *c, const shape_row *row, uint64_t seed);
/* The same from the text of a row. */
void case_parse(layer_case *c, const char *line, uint64_t seed);
/* The weights of a name, to be changed; case_rebuild then makes layer and oracle anew. */
float *case_weight(layer_case *c, const char *name);
void case_rebuild(layer_case *c);
void case_free(layer_case *c);

/* Every row of the test list; the caller frees the array. */
shape_row *case_rows(int *count);

/* ---------------------------------------------------------------- engines */

#define CASE_ISAS    4
#define CASE_THREADS 5
extern const char *const case_isas[CASE_ISAS]; /* from the reference upward */
extern const int case_threads[CASE_THREADS];

/* An engine whose team has exactly `threads`; NULL when this machine or build lacks the ISA (never for "scalar"). */
atl_engine *case_engine(const char *isa, int threads);

/* Whether the long sweeps are wanted: ATTENTILE_SLOW=1. */
bool case_slow(void);

/* ---------------------------------------------------------------- runs */

atl_plan *case_plan(const layer_case *c, atl_engine *engine);

/* Runs and asserts success. */
void case_run(const atl_plan *plan, int64_t batch, const float *x, float *y, float *map,
              const atl_run_options *options);

/* One sample, without and (for kinds that have one) with a map, against the oracle. `what` goes into messages. */
void case_check(const layer_case *c, atl_engine *engine, const float *x, oracle_fill fill, const char *what);

/* Index of the first element whose bits differ, all NaNs being the same; -1 = none. */
int64_t case_difference(const float *a, const float *b, int64_t count);

float *case_alloc(int64_t count);

/* A status, and a one-line message that names each of the words (NULL ends them, or is all). */
void case_expect_error(const char *what, atl_status got, atl_status want, const atl_error *error,
                       const char *const words[]);
#define CASE_WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The weight of this name, to be changed; there must be one. */
atl_tensor *case_tensor(layer_case *c, const char *name);
/* Expects that no layer is made of the weights, with an error that has all of these words. */
void case_refuse(const layer_case *c, const char *what, const char *const words[]);

#endif
