/* SPDX-License-Identifier: Apache-2.0 */
#include "cases.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const case_isas[CASE_ISAS] = {"scalar", "avx2", "avx512", "neon"};
const int case_threads[CASE_THREADS] = {1, 2, 3, 4, 8};

float *case_alloc(int64_t count) {
    float *values = calloc(count > 0 ? (size_t)count : 1, sizeof *values);
    cr_assert(values, "no memory for %lld floats", (long long)count);
    return values;
}

bool case_slow(void) {
    const char *slow = getenv("ATTENTILE_SLOW");
    return slow && strcmp(slow, "1") == 0;
}

/* ---------------------------------------------------------------- layers */

void case_rebuild(layer_case *c) {
    atl_error error;
    atl_layer_release(c->layer);
    oracle_free(c->oracle);
    atl_status status = atl_layer_create(&c->weights.desc, &c->layer, &error);
    cr_assert_eq(status, ATL_OK, "%s: %s", c->row.name, error.message);
    c->oracle = oracle_create(&c->weights.desc);
    cr_assert(c->oracle, "%s: no oracle", c->row.name);
}

static int64_t product(int rank, const int64_t *shape) {
    int64_t size = rank > 0;
    for (int i = 0; i < rank; i++)
        size *= shape[i];
    return size;
}

/* What the layer says of a sample, on the simplest engine. */
static void read_sizes(layer_case *c) {
    static atl_engine *engine;
    engine = engine ? engine : case_engine("scalar", 1);
    atl_plan *plan = case_plan(c, engine);
    atl_plan_info info = {.size = sizeof info};
    cr_assert_eq(atl_plan_get_info(plan, &info, NULL), ATL_OK);
    c->out_size = product(info.output_rank, info.output_shape);
    c->map_size = product(info.map_rank, info.map_shape);
    c->map_rows = info.map_rank ? info.map_shape[info.map_rank - 2] : 0;
    c->map_keys = info.map_rank ? info.map_shape[info.map_rank - 1] : 0;
    c->in_place = info.in_place;
    atl_plan_release(plan);
}

void case_make(layer_case *c, const shape_row *row, uint64_t seed) {
    memset(c, 0, sizeof *c);
    c->row = *row;
    c->channels = row->shape[0];
    c->positions = shape_positions(row);
    c->size = c->channels * c->positions;
    cr_assert_eq(weights_make(&c->weights, &c->row, seed), 0, "%s: no weights for kind %s", row->name, row->kind);
    case_rebuild(c);
    read_sizes(c);
}

void case_parse(layer_case *c, const char *line, uint64_t seed) {
    shape_row row;
    shape_fault fault = {0};
    cr_assert_eq(shape_parse(line, &row, &fault), 1, "malformed: %s: %s", line, fault.text);
    case_make(c, &row, seed);
}

float *case_weight(layer_case *c, const char *name) {
    for (size_t i = 0; i < c->weights.desc.tensor_count; i++)
        if (strcmp(c->weights.tensors[i].name, name) == 0)
            return (float *)c->weights.tensors[i].data;
    cr_assert_fail("%s: no weight %s", c->row.name, name);
    return NULL;
}

void case_free(layer_case *c) {
    atl_layer_release(c->layer);
    oracle_free(c->oracle);
    weights_free(&c->weights);
}

shape_row *case_rows(int *count) {
    enum { CAPACITY = 256 };
    shape_fault fault;
    shape_row *rows = malloc(CAPACITY * sizeof *rows);
    cr_assert(rows);
    *count = shapes_read(SHAPES_DIR "/test.txt", rows, CAPACITY, &fault);
    cr_assert_gt(*count, 0, "%s/test.txt: line %d: %s", SHAPES_DIR, fault.line, fault.text);
    return rows;
}

/* ---------------------------------------------------------------- engines */

atl_engine *case_engine(const char *isa, int threads) {
    atl_engine_options options;
    atl_engine *engine = NULL;
    atl_error error;
    atl_engine_options_init(&options);
    options.max_isa = isa;
    options.threads = threads;
    atl_status status = atl_engine_create(&options, &engine, &error);
    if (status == ATL_UNSUPPORTED && strcmp(isa, "scalar") != 0)
        return NULL;
    cr_assert_eq(status, ATL_OK, "engine %s, %d threads: %s", isa, threads, error.message);
    atl_engine_info info = {.size = sizeof info};
    cr_assert_eq(atl_engine_get_info(engine, &info, &error), ATL_OK, "%s", error.message);
    cr_assert_eq(info.threads, threads, "asked for %d threads, got %d", threads, info.threads);
    cr_assert_str_eq(info.isa, isa, "asked for %s, got %s", isa, info.isa);
    return engine;
}

/* ---------------------------------------------------------------- runs */

atl_plan *case_plan(const layer_case *c, atl_engine *engine) {
    atl_plan *plan = NULL;
    atl_error error;
    atl_status status = atl_plan_create(c->layer, engine, c->row.rank, c->row.shape, NULL, &plan, &error);
    cr_assert_eq(status, ATL_OK, "%s: %s", c->row.name, error.message);
    return plan;
}

void case_run(const atl_plan *plan, int64_t batch, const float *x, float *y, float *map,
              const atl_run_options *options) {
    atl_error error;
    atl_status status = atl_run(plan, batch, x, y, map, options, &error);
    cr_assert_eq(status, ATL_OK, "%s", error.message);
}

static void check_share(const layer_case *c, const char *what, const char *which, const float *got, const double *want,
                        const double *bound, int64_t count) {
    int64_t worst;
    double share = oracle_error_share(got, want, bound, count, &worst);
    cr_expect_leq(share, 1, "%s, %s: %s[%lld] = %.9g, expected %.17g, bound %.3g, share %.3g", c->row.name, what, which,
                  (long long)worst, (double)got[worst], want[worst], bound[worst], share);
}

void case_check(const layer_case *c, atl_engine *engine, const float *x, oracle_fill fill, const char *what) {
    atl_plan *plan = case_plan(c, engine);
    float *y = case_alloc(c->out_size), *map = case_alloc(c->map_size);
    double *want = calloc(2 * (size_t)(c->out_size + c->map_size) + 1, sizeof *want);
    cr_assert(want);
    double *bound = want + c->out_size, *map_want = bound + c->out_size, *map_bound = map_want + c->map_size;
    cr_assert_eq(oracle_run(c->oracle, c->row.rank, c->row.shape, x, fill, NULL, 0, want, bound,
                            c->map_size ? map_want : NULL, c->map_size ? map_bound : NULL),
                 0);
    case_run(plan, 1, x, y, NULL, NULL);
    check_share(c, what, "y", y, want, bound, c->out_size);
    if (c->map_size) {
        case_run(plan, 1, x, y, map, NULL);
        check_share(c, what, "y beside the map", y, want, bound, c->out_size);
        check_share(c, what, "map", map, map_want, map_bound, c->map_size);
    }
    free(want);
    free(map);
    free(y);
    atl_plan_release(plan);
}

static bool same_bits(float a, float b) {
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

int64_t case_difference(const float *a, const float *b, int64_t count) {
    if (count == 0 || memcmp(a, b, (size_t)count * sizeof *a) == 0)
        return -1;
    for (int64_t i = 0; i < count; i++)
        if (!same_bits(a[i], b[i]))
            return i;
    return -1;
}

void case_expect_error(const char *what, atl_status got, atl_status want, const atl_error *error,
                       const char *const words[]) {
    cr_expect_eq(got, want, "%s: \"%s\" instead of \"%s\" (%s)", what, atl_status_name(got), atl_status_name(want),
                 error->message);
    if (got == ATL_OK)
        return;
    cr_expect_eq(error->status, got, "%s: error.status is %d", what, (int)error->status);
    cr_expect(error->message[0] && !strchr(error->message, '\n'), "%s: message \"%s\"", what, error->message);
    for (int i = 0; words && words[i]; i++)
        cr_expect(strstr(error->message, words[i]), "%s: \"%s\" does not name %s", what, error->message, words[i]);
}

atl_tensor *case_tensor(layer_case *c, const char *name) {
    for (size_t i = 0; i < c->weights.desc.tensor_count; i++)
        if (strcmp(c->weights.tensors[i].name, name) == 0)
            return &c->weights.tensors[i];
    cr_assert_fail("no weight %s", name);
    return NULL;
}

void case_refuse(const layer_case *c, const char *what, const char *const words[]) {
    atl_layer *layer = NULL;
    atl_error error = {0};
    case_expect_error(what, atl_layer_create(&c->weights.desc, &layer, &error), ATL_INVALID_ARGUMENT, &error, words);
    cr_expect_null(layer, "%s: a layer in spite of the error", what);
}
