/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every shape of the test list over ISA x threads x batch and position: the bits of the scalar build with one thread
 * and one sample, which in turn lie within the oracle's bound.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

#define SAMPLES   5
#define MAP_ROWS  3
#define MAX_BATCH 5

/* What a run returns besides y. */
typedef enum mode { PLAIN, WITH_MAP, WITH_ROWS, MODES } mode;

static const char *const mode_names[] = {"plain", "map", "map rows"};

/* Five samples, and the reference's outputs in each mode. */
typedef struct reference {
    layer_case c;
    float *x;
    float *y[MODES], *map[MODES];
    int64_t rows[MAP_ROWS];
    int64_t map_size[MODES];
} reference;

static int mode_count(const layer_case *c) {
    return c->map_size ? MODES : 1;
}

static atl_run_options run_options(const reference *r, mode m) {
    atl_run_options options;
    atl_run_options_init(&options);
    if (m == WITH_ROWS) {
        options.map_rows = r->rows;
        options.map_row_count = MAP_ROWS;
    }
    return options;
}

static void reference_make(reference *r, const shape_row *row, atl_engine *engine) {
    memset(r, 0, sizeof *r);
    case_make(&r->c, row, 1);
    int64_t n = r->c.positions;
    memcpy(r->rows, (int64_t[MAP_ROWS]){n - 1, 0, n / 2}, sizeof r->rows);
    r->map_size[WITH_MAP] = r->c.map_size;
    r->map_size[WITH_ROWS] = MAP_ROWS * r->c.map_keys;
    r->x = case_alloc(SAMPLES * r->c.size);
    for (int s = 0; s < SAMPLES; s++)
        fill(r->x + s * r->c.size, r->c.size, FILL_RANDOM, 1 + 0.5f * (float)s, 100 + (uint64_t)s);
    atl_plan *plan = case_plan(&r->c, engine);
    for (mode m = PLAIN; (int)m < mode_count(&r->c); m++) {
        atl_run_options options = run_options(r, m);
        r->y[m] = case_alloc(SAMPLES * r->c.out_size);
        r->map[m] = case_alloc(SAMPLES * r->map_size[m]);
        for (int s = 0; s < SAMPLES; s++)
            case_run(plan, 1, r->x + s * r->c.size, r->y[m] + s * r->c.out_size,
                     r->map_size[m] ? r->map[m] + s * r->map_size[m] : NULL, &options);
    }
    atl_plan_release(plan);
}

static void reference_free(reference *r) {
    for (int m = 0; m < MODES; m++) {
        free(r->y[m]);
        free(r->map[m]);
    }
    free(r->x);
    case_free(&r->c);
}

static void expect_bits(const reference *r, const char *isa, int threads, int64_t batch, int64_t i, const char *what,
                        const float *got, const float *want, int64_t count) {
    int64_t at = case_difference(got, want, count);
    cr_expect(at < 0, "%s, %s, %d threads, sample %lld of %lld: %s[%lld] = %a, want %a", r->c.row.name, isa, threads,
              (long long)i, (long long)batch, what, (long long)at, (double)got[at < 0 ? 0 : at],
              (double)want[at < 0 ? 0 : at]);
}

/* A batch whose samples are the reference's, in an order that depends on its size, so that they change position. */
static void run_batch(const reference *r, const atl_plan *plan, const char *isa, int threads, int64_t batch, mode m) {
    int64_t size = r->c.size, out_size = r->c.out_size, map_size = r->map_size[m];
    float *x = case_alloc(batch * size), *y = case_alloc(batch * out_size), *map = case_alloc(batch * map_size);
    atl_run_options options = run_options(r, m);
    for (int64_t i = 0; i < batch; i++)
        memcpy(x + i * size, r->x + (2 * i + batch) % SAMPLES * size, (size_t)size * sizeof *x);
    case_run(plan, batch, x, y, map_size ? map : NULL, &options);
    for (int64_t i = 0; i < batch; i++) {
        int64_t s = (2 * i + batch) % SAMPLES;
        expect_bits(r, isa, threads, batch, i, mode_names[m], y + i * out_size, r->y[m] + s * out_size, out_size);
        if (map_size)
            expect_bits(r, isa, threads, batch, i, "map", map + i * map_size, r->map[m] + s * map_size, map_size);
    }
    free(map);
    free(y);
    free(x);
}

static void run_engine(const reference *r, atl_engine *engine, const char *isa, int threads) {
    static const int64_t batches[] = {1, 2, 3, MAX_BATCH};
    atl_plan *plan = case_plan(&r->c, engine);
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++)
        for (mode m = PLAIN; (int)m < mode_count(&r->c); m++)
            if (m == PLAIN || batches[b] == 3 || case_slow())
                run_batch(r, plan, isa, threads, batches[b], m);
    atl_plan_release(plan);
}

/* All engines of one ISA, or NULLs. */
static int engines_of(const char *isa, atl_engine **engines) {
    for (int t = 0; t < CASE_THREADS; t++)
        engines[t] = case_engine(isa, case_threads[t]);
    if (!engines[0])
        fprintf(stderr, "%s: not on this machine\n", isa);
    return engines[0] != NULL;
}

static void sweep(const char *kind) {
    int count, tested = 0;
    shape_row *rows = case_rows(&count);
    atl_engine *single = case_engine("scalar", 1);
    atl_engine *engines[CASE_THREADS];
    for (int isa = 0; isa < CASE_ISAS; isa++) {
        if (!engines_of(case_isas[isa], engines))
            continue;
        for (int i = 0; i < count; i++) {
            if (strcmp(rows[i].kind, kind) != 0)
                continue;
            reference r;
            reference_make(&r, &rows[i], single);
            for (int t = 0; t < CASE_THREADS; t++)
                run_engine(&r, engines[t], case_isas[isa], case_threads[t]);
            reference_free(&r);
            tested++;
        }
        for (int t = 0; t < CASE_THREADS; t++)
            atl_engine_release(engines[t]);
    }
    atl_engine_release(single);
    free(rows);
    cr_expect_gt(tested, 0, "nothing tested for %s", kind);
}

/* Every kind of the build, so that a new one cannot go untested. Parameters are copied: the kinds' numbers. */
ParameterizedTestParameters(layers, bits) {
    static int kinds[64];
    int count = 0;
    while (count < 64 && atl_kind_name(count)) {
        kinds[count] = count;
        count++;
    }
    return cr_make_param_array(int, kinds, (size_t)count, NULL);
}

ParameterizedTest(int *kind, layers, bits) {
    sweep(atl_kind_name(*kind));
}

/* ---------------------------------------------------------------- accuracy */

static void check_random(const layer_case *c, atl_engine *engine) {
    static const float scales[] = {0.3f, 1, 5, 30};
    float *x = case_alloc(c->size);
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        char what[64];
        snprintf(what, sizeof what, "random x %g", (double)scales[i]);
        fill(x, c->size, FILL_RANDOM, scales[i], 7 + i);
        case_check(c, engine, x, ORACLE_RANDOM, what);
    }
    free(x);
}

static void check_fills(const layer_case *c, atl_engine *engine) {
    float *x = case_alloc(c->size);
    for (fill_kind kind = FILL_INTEGER; kind < FILL_KINDS; kind++) {
        if (kind == FILL_TOP && (c->map_size || strcmp(c->row.kind, "cbam-res") == 0 || strcmp(c->row.kind, "sk") == 0))
            continue; /* scores beyond 1e30 are outside the contract, and a convolution's sums pass FLT_MAX */
        fill(x, c->size, kind, kind == FILL_CONSTANT ? 2 : 10, 31);
        case_check(c, engine, x, ORACLE_ANY, fill_name(kind));
    }
    free(x);
}

static void accuracy(void (*check)(const layer_case *c, atl_engine *engine)) {
    int count;
    shape_row *rows = case_rows(&count);
    atl_engine *engine = case_engine("scalar", 1);
    for (int i = 0; i < count; i++) {
        layer_case c;
        case_make(&c, &rows[i], 3);
        check(&c, engine);
        case_free(&c);
    }
    atl_engine_release(engine);
    free(rows);
}

Test(layers, random_values_within_the_bound) {
    accuracy(check_random);
}

Test(layers, special_fills_within_the_bound) {
    accuracy(check_fills);
}
