/* SPDX-License-Identifier: Apache-2.0 */
#include "layer_check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layer_inputs.h"
#include "shape_list.h"
#include "weights.h"

/* What a sample costs at most where small shapes are asked for, in FLOPs and exponentials: an emulated AVX2 machine reaches 12 MFLOP/s. */
#define SMALL_COST 2e6

/* What is put into a sample: a fill, and values at three places of it. */
typedef struct pattern {
    const char *name;
    fill_kind fill;
    float scale;
    oracle_fill bound;
    int main;  /* also where small shapes are asked for, and through the scalar kernels on several threads */
    int gates; /* only for kinds that scale x and do nothing else with it: elsewhere sums would overflow */
    float first, middle, last; /* 0 = as filled */
} pattern;

static const pattern patterns[] = {
    {"random", FILL_RANDOM, 1, ORACLE_RANDOM, 1, 0, 0, 0, 0},
    {"random x 30", FILL_RANDOM, 30, ORACLE_RANDOM, 0, 0, 0, 0, 0},
    {"integer", FILL_INTEGER, 1, ORACLE_ANY, 0, 0, 0, 0, 0},
    {"peaks", FILL_PEAKS, 10, ORACLE_ANY, 1, 0, 0, 0, 0},
    {"constant", FILL_CONSTANT, 2, ORACLE_ANY, 0, 0, 0, 0, 0},
    {"subnormal", FILL_SUBNORMAL, 1, ORACLE_ANY, 0, 0, 0, 0, 0},
    {"large", FILL_TOP, 0x1p-84f, ORACLE_ANY, 0, 0, 0, 0, 0},
    {"top", FILL_TOP, 1, ORACLE_ANY, 0, 1, 0, 0, 0},
    {"NaN", FILL_RANDOM, 1, ORACLE_ANY, 1, 0, 0, NAN, 0},
    {"infinities", FILL_RANDOM, 1, ORACLE_ANY, 0, 0, INFINITY, 0, -INFINITY},
};

static int is_gate(const char *kind) {
    return strcmp(kind, "se") == 0 || strcmp(kind, "cbam-channel") == 0 || strcmp(kind, "cbam-spatial") == 0;
}

/* Without a map, and with one: y may differ in bits between the two. */
enum { PLAIN, MAPPED, MODES };

/* One shape: its layer planned on every engine, and memory for the outputs. */
typedef struct shape_check {
    const layer_engines *engines;
    layer_report *report;
    shape_row row;
    weights weights;
    oracle *oracle;
    atl_plan *plans[LAYER_ENGINES_MAX];
    int64_t in, out, map; /* floats of a sample; map 0 = the kind has none */
    layer_inputs inputs;  /* besides x */
    float *x, *y[MODES], *map_y;
    float *got, *got_map; /* of a batch */
    double *want, *bound; /* of y, then of the map */
    const char *pattern;
    long failures;
} shape_check;

static void fault(shape_check *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fault(shape_check *s, const char *format, ...) {
    layer_report *report = s->report;
    s->failures++;
    if (report->first[0])
        return;
    int n = snprintf(report->first, sizeof report->first, "%s, %s: ", s->row.name, s->pattern);
    va_list args;
    va_start(args, format);
    vsnprintf(report->first + n, sizeof report->first - (size_t)n, format, args);
    va_end(args);
}

/* ---- comparisons ---- */

/* The bits of a float, those of one NaN for all. */
static uint32_t bits_of(float value) {
    uint32_t bits = 0x7fc00000u;
    if (!isnan(value))
        memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void digest(layer_report *report, const float *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        report->digest = (report->digest ^ bits_of(values[i])) * 0x100000001b3u; /* FNV-1a, by words */
}

static void against_oracle(shape_check *s, const char *what, const float *got, const double *want, const double *bound,
                           int64_t count) {
    layer_report *report = s->report;
    int64_t worst;
    double share = oracle_error_share(got, want, bound, count, &worst);
    report->comparisons++;
    if (!(share <= report->share)) {
        report->share = share;
        snprintf(report->where, sizeof report->where, "%s, %s", s->row.name, s->pattern);
    }
    if (!(share <= 1))
        fault(s, "%s[%lld] is %.9g, expected %.17g within %.3g", what, (long long)worst, (double)got[worst],
              want[worst], bound[worst]);
}

static void against_bits(shape_check *s, int engine, int64_t sample, const char *what, const float *got,
                         const float *want, int64_t count) {
    s->report->comparisons++;
    for (int64_t i = 0; i < count; i++)
        if (bits_of(got[i]) != bits_of(want[i])) {
            const atl_engine_info *info = &s->engines->infos[engine];
            fault(s, "%s[%lld] is %a on %s with %d threads in sample %lld, %a on scalar with one", what, (long long)i,
                  (double)got[i], info->isa, info->threads, (long long)sample, (double)want[i]);
            return;
        }
}

/* ---- runs ---- */

/* `batch` times the same sample, with outputs of their own. */
static int run(shape_check *s, int engine, int64_t batch, float *y, float *map) {
    atl_sample samples[LAYER_THREADS] = {{0}};
    atl_run_options options;
    atl_error error;
    atl_run_options_init(&options);
    layer_inputs_run(&s->inputs, &options);
    for (int64_t i = 0; i < batch; i++) {
        layer_inputs_sample(&s->inputs, &samples[i]);
        samples[i].x = s->x;
        samples[i].y = y + i * s->out;
        samples[i].map = map ? map + i * s->map : NULL;
    }
    memset(y, 0, (size_t)(batch * s->out) * sizeof *y);
    if (atl_run_samples(s->plans[engine], batch, samples, sizeof *samples, &options, &error) == ATL_OK)
        return 0;
    fault(s, "%s", error.message);
    return -1;
}

/* One sample on the reference. */
static int run_reference(shape_check *s, oracle_fill fill) {
    double *map_want = s->want + s->out, *map_bound = s->bound + s->out;
    oracle_inputs inputs = {.x = s->x};
    layer_inputs_oracle(&s->inputs, &inputs);
    if (oracle_run_inputs(s->oracle, s->row.rank, s->row.shape, &inputs, fill, NULL, 0, s->want, s->bound,
                          s->map ? map_want : NULL, s->map ? map_bound : NULL)) {
        fault(s, "no memory for the oracle");
        return -1;
    }
    if (run(s, 0, 1, s->y[PLAIN], NULL))
        return -1;
    digest(s->report, s->y[PLAIN], s->out);
    against_oracle(s, "y", s->y[PLAIN], s->want, s->bound, s->out);
    if (!s->map)
        return 0;
    if (run(s, 0, 1, s->y[MAPPED], s->map_y))
        return -1;
    digest(s->report, s->y[MAPPED], s->out);
    digest(s->report, s->map_y, s->map);
    against_oracle(s, "y beside the map", s->y[MAPPED], s->want, s->bound, s->out);
    against_oracle(s, "map", s->map_y, map_want, map_bound, s->map);
    return 0;
}

/* As many samples as threads, so that every position in the batch is tried. */
static void run_engine(shape_check *s, int engine) {
    const int64_t batch = s->engines->infos[engine].threads;
    for (int mode = PLAIN; mode <= (s->map ? MAPPED : PLAIN); mode++) {
        if (run(s, engine, batch, s->got, mode == MAPPED ? s->got_map : NULL))
            return;
        for (int64_t i = 0; i < batch; i++) {
            against_bits(s, engine, i, "y", s->got + i * s->out, s->y[mode], s->out);
            if (mode == MAPPED)
                against_bits(s, engine, i, "map", s->got_map + i * s->map, s->map_y, s->map);
        }
    }
}

static void check_pattern(shape_check *s, const pattern *p) {
    s->pattern = p->name;
    fill(s->x, s->in, p->fill, p->scale, 31);
    for (int64_t i = 0; p->fill == FILL_TOP && i < s->in; i++) /* which knows no scale */
        s->x[i] *= p->scale;
    layer_inputs_fill(&s->inputs, p->fill, p->scale);
    s->x[0] = p->first != 0 ? p->first : s->x[0];
    s->x[s->in / 2] = p->middle != 0 ? p->middle : s->x[s->in / 2];
    s->x[s->in - 1] = p->last != 0 ? p->last : s->x[s->in - 1];
    if (run_reference(s, p->bound))
        return;
    for (int i = 1; i < s->engines->count; i++)
        if (p->main || strcmp(s->engines->infos[i].isa, "scalar") != 0) /* which take most of the time */
            run_engine(s, i);
}

/* ---- a shape ---- */

static int make_plans(shape_check *s) {
    atl_layer *layer = NULL;
    atl_plan_options options;
    atl_error error;
    int made = 0;
    if (weights_make(&s->weights, &s->row, 1)) {
        fault(s, "no weights for this kind");
        return -1;
    }
    atl_plan_options_init(&options);
    layer_inputs_plan(&s->inputs, &options);
    s->oracle = oracle_create(&s->weights.desc);
    if (!s->oracle)
        fault(s, "no oracle for this kind, or not with these weights");
    else if (atl_layer_create(&s->weights.desc, &layer, &error))
        fault(s, "%s", error.message);
    while (layer && made < s->engines->count &&
           atl_plan_create(layer, s->engines->engines[made], s->row.rank, s->row.shape, &options, &s->plans[made],
                           &error) == ATL_OK)
        made++;
    if (layer && made < s->engines->count)
        fault(s, "%s", error.message);
    atl_layer_release(layer);
    return made == s->engines->count ? 0 : -1;
}

static int64_t floats_of(int rank, const int64_t *shape) {
    int64_t floats = rank > 0;
    for (int i = 0; i < rank; i++)
        floats *= shape[i];
    return floats;
}

/* A vector beyond the end: see guard.h on emulators. */
static float *alloc_floats(int64_t count) {
    return calloc((size_t)count + 16, sizeof(float));
}

static int make_arrays(shape_check *s, const atl_plan_info *info) {
    s->in = floats_of(info->rank, info->shape);
    s->out = floats_of(info->output_rank, info->output_shape);
    s->map = floats_of(info->map_rank, info->map_shape);
    s->x = alloc_floats(s->in);
    s->y[PLAIN] = alloc_floats(s->out);
    s->y[MAPPED] = alloc_floats(s->out);
    s->map_y = alloc_floats(s->map);
    s->got = alloc_floats(LAYER_THREADS * s->out);
    s->got_map = alloc_floats(LAYER_THREADS * s->map);
    s->want = malloc((size_t)(s->out + s->map) * sizeof *s->want);
    s->bound = malloc((size_t)(s->out + s->map) * sizeof *s->bound);
    if (s->x && s->y[PLAIN] && s->y[MAPPED] && s->map_y && s->got && s->got_map && s->want && s->bound)
        return 0;
    fault(s, "no memory");
    return -1;
}

static void shape_check_free(shape_check *s) {
    for (int i = 0; i < s->engines->count; i++)
        atl_plan_release(s->plans[i]);
    oracle_free(s->oracle);
    weights_free(&s->weights);
    layer_inputs_free(&s->inputs);
    free(s->x), free(s->y[PLAIN]), free(s->y[MAPPED]), free(s->map_y);
    free(s->got), free(s->got_map), free(s->want), free(s->bound);
}

static void check_shape(const layer_engines *engines, const shape_row *row, int small, layer_report *report) {
    shape_check s = {.engines = engines, .report = report, .row = *row, .pattern = "plan"};
    atl_plan_info info = {.size = sizeof info};
    if (layer_inputs_make(row, &s.inputs))
        fault(&s, "no memory");
    int planned = s.failures == 0 && make_plans(&s) == 0;
    if (planned && atl_plan_get_info(s.plans[0], &info, NULL) != ATL_OK)
        fault(&s, "no information on the plan");
    const int wanted = !planned || !small || info.flops + 13 * info.exps <= SMALL_COST;
    if (wanted && s.failures == 0 && make_arrays(&s, &info) == 0)
        for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
            if ((patterns[i].main || !small) && (!patterns[i].gates || is_gate(row->kind)))
                check_pattern(&s, &patterns[i]);
    report->shapes += wanted;
    report->failed_shapes += s.failures > 0;
    shape_check_free(&s);
}

void layer_check(const layer_engines *engines, const char *kind, int small, layer_report *report) {
    shape_row row;
    int status;
    *report = (layer_report){.digest = 0xcbf29ce484222325u};
    for (int i = 0; (status = shape_list_row(i, &row)) > 0; i++)
        if (strcmp(row.kind, kind) == 0)
            check_shape(engines, &row, small, report);
    if (status == 0 && report->comparisons > 0)
        return;
    report->failed_shapes += report->failed_shapes == 0;
    if (!report->first[0])
        snprintf(report->first, sizeof report->first, "%s",
                 status < 0 ? "the list of shapes is malformed" : "the list has no shape of this kind");
}

/* ---- engines ---- */

atl_status layer_engines_open(const char *const *isas, layer_engines *engines, atl_error *error) {
    *engines = (layer_engines){0};
    for (int isa = 0; isas[isa]; isa++)
        for (int threads = 1; threads <= LAYER_THREADS; threads++) {
            atl_engine_options options;
            atl_engine_options_init(&options);
            options.max_isa = isas[isa];
            options.threads = threads;
            const int i = engines->count;
            engines->infos[i].size = sizeof engines->infos[i];
            atl_status status = atl_engine_create(&options, &engines->engines[i], error);
            if (status == ATL_OK) {
                engines->count++;
                status = atl_engine_get_info(engines->engines[i], &engines->infos[i], error);
            }
            if (status != ATL_OK) {
                layer_engines_close(engines);
                return status;
            }
        }
    return ATL_OK;
}

void layer_engines_close(layer_engines *engines) {
    while (engines->count > 0)
        atl_engine_release(engines->engines[--engines->count]);
}
