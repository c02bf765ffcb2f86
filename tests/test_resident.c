/* SPDX-License-Identifier: Apache-2.0 */
/* Peak resident size of attention over many positions, measured: it grows with N, not with N * N. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "cases.h"

enum {
    MIB = 1 << 20,
    SLACK = 6 * MIB /* stacks of the team, its scratch, what the run itself loads, the rest of a huge page */
};

static int64_t peak_bytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (int64_t)usage.ru_maxrss * 1024;
}

/* What one sample needs over its input and output: at most `rows` floats a position, panels being 17/16 of that. */
static void check_growth(const char *line, int64_t positions, int64_t rows) {
    layer_case c;
    case_parse(&c, line, 91);
    atl_engine *engine;
    cr_assert_eq(atl_engine_create(NULL, &engine, NULL), ATL_OK);
    float *x = case_alloc(c.size), *y = case_alloc(c.out_size);
    fill(x, c.size, FILL_RANDOM, 1, 93);
    fill(y, c.out_size, FILL_RANDOM, 1, 95); /* so that its pages are there */
    int64_t before = peak_bytes(), allowed = positions * rows * 4 * 17 / 16 + SLACK;
    atl_plan *plan = case_plan(&c, engine);
    case_run(plan, 1, x, y, NULL, NULL);
    int64_t growth = peak_bytes() - before;
    fprintf(stderr, "%s: %.1f MiB over input and output, %.0f MiB for the matrix\n", line, (double)growth / MIB,
            (double)positions * (double)positions * 4 / MIB);
    cr_expect_leq(growth, allowed, "%s: %lld bytes, expected at most %lld", line, (long long)growth,
                  (long long)allowed);
    atl_plan_release(plan);
    atl_engine_release(engine);
    free(y);
    free(x);
    case_free(&c);
}

/* Each kind over N positions, with the rows that it keeps: queries, keys and values, and their results where a product
 * follows; channel attention no more than its input. */
static const struct {
    const char *line;
    int64_t rows;
} kinds[] = {
    {"self-attention-spatial spatial 1 64x%d d=8", 2 * 8 + 64},
    {"non-local non-local 1 16x%d", 4 * 8},
    {"self-attention-channel channel 1 64x%d", 64},
    {"multi-head heads 1 %dx16 set.num_heads=2", 4 * 16},
};

enum { KINDS = sizeof kinds / sizeof *kinds };
static const int sizes[] = {4096, 16384, 65536};

/* A process each, as a peak never falls. */
ParameterizedTestParameters(resident, grows_with_positions) {
    static int cases[3 * KINDS];
    int count = (case_slow() ? 3 : 1) * KINDS;
    for (int i = 0; i < count; i++)
        cases[i] = i;
    return cr_make_param_array(int, cases, (size_t)count, NULL);
}

ParameterizedTest(int *index, resident, grows_with_positions) {
    char line[96];
    int64_t positions = sizes[*index / KINDS];
    snprintf(line, sizeof line, kinds[*index % KINDS].line, (int)positions);
    check_growth(line, positions, kinds[*index % KINDS].rows);
}
