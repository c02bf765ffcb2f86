/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of the build on the same picture. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"
#include "machine.h"
#include "weights.h"

/* One example under way. */
typedef struct stage {
    const demo_example *example;
    demo_sample half;          /* a smaller picture, where the example wants one */
    const demo_sample *sample; /* that, or the demo's */
    float *tokens, *y;
    const float *x;
    shape_row row;
    weights weights;
    const atl_layer_desc *desc;
    atl_engine *engine; /* its own, whose workspaces go with it: each line tells its own memory */
    atl_layer *layer;
    atl_plan *plan;
    atl_plan_info info;
    int64_t x_bytes, y_values;
} stage;

static void stage_free(stage *s) {
    atl_plan_release(s->plan);
    atl_layer_release(s->layer);
    atl_engine_release(s->engine);
    if (s->desc == &s->weights.desc)
        weights_free(&s->weights);
    demo_sample_free(&s->half);
    free(s->tokens);
    free(s->y);
    free(s);
}

static int64_t values_of(int rank, const int64_t *shape) {
    int64_t values = 1;
    for (int i = 0; i < rank; i++)
        values *= shape[i];
    return values;
}

/* ---- what a layer reads ---- */

/* x of the sample, one pixel after the other. */
static float *make_tokens(const demo_sample *sample) {
    float *tokens = malloc((size_t)sample->positions * DEMO_CHANNELS * sizeof *tokens);
    for (int64_t i = 0; tokens && i < sample->positions; i++)
        for (int c = 0; c < DEMO_CHANNELS; c++)
            tokens[i * DEMO_CHANNELS + c] = sample->x[c * sample->positions + i];
    return tokens;
}

static int make_input(demo *demo, stage *s) {
    const demo_example *example = s->example;
    s->sample = &demo->sample;
    if (example->divide > 1) {
        if (demo_sample_make(&demo->source, demo->size / example->divide, &s->half) != DONE)
            return FAILED;
        s->sample = &s->half;
    }
    s->x = s->sample->x;
    if (example->tokens) {
        s->tokens = make_tokens(s->sample);
        if (!s->tokens)
            return failed("out of memory");
        s->x = s->tokens;
    }
    return DONE;
}

static int make_weights(const demo *demo, stage *s) {
    char line[160], shape[64];
    const int size = s->sample->size;
    if (s->example->tokens)
        snprintf(shape, sizeof shape, "%" PRId64 "x%d", s->sample->positions, DEMO_CHANNELS);
    else
        snprintf(shape, sizeof shape, "%dx%dx%d", DEMO_CHANNELS, size, size);
    snprintf(line, sizeof line, "%s demo 1 %s %s", s->example->kind, shape,
             s->example->weights ? s->example->weights : "");
    if (shape_parse(line, &s->row, NULL) != 1)
        return failed("demo: malformed example \"%s\"", line);
    s->desc = &demo->weights->desc;
    if (!s->example->weights)
        return DONE;
    if (weights_make(&s->weights, &s->row, 2018))
        return failed("demo: no weights for %s, or no memory", s->example->kind);
    s->desc = &s->weights.desc;
    return DONE;
}

/* ---- runs ---- */

static int make_plan(const demo *demo, stage *s) {
    atl_error error;
    atl_engine_info info;
    s->info.size = sizeof s->info;
    const int code = engine_open(demo->threads, &s->engine, &info);
    if (code != DONE)
        return code;
    if (atl_layer_create(s->desc, &s->layer, &error) != ATL_OK ||
        atl_plan_create(s->layer, s->engine, s->row.rank, s->row.shape, NULL, &s->plan, &error) != ATL_OK ||
        atl_plan_get_info(s->plan, &s->info, &error) != ATL_OK)
        return failed("%s", error.message);
    s->y_values = values_of(s->info.output_rank, s->info.output_shape);
    s->y = aligned_alloc(64, ((size_t)s->y_values * sizeof(float) + 63) / 64 * 64);
    return s->y ? DONE : failed("out of memory");
}

/* The shortest of two runs or more, of many where they are short, of one where it takes long. */
static int time_runs(const stage *s, double *shortest) {
    atl_error error;
    const double begin = machine_now();
    for (int i = 0; i < 50; i++) {
        const double spent = machine_now() - begin;
        if ((i >= 2 && spent > 0.25) || (i == 1 && spent > DEMO_PATIENCE / 10))
            break;
        const double start = machine_now();
        if (atl_run(s->plan, 1, s->x, s->y, NULL, NULL, &error) != ATL_OK)
            return failed("%s", error.message);
        const double seconds = machine_now() - start;
        *shortest = i == 0 || seconds < *shortest ? seconds : *shortest;
    }
    return DONE;
}

static int run_example(const demo *demo, stage *s, demo_line *line) {
    malloc_trim(0); /* what others have freed does not count as there */
    machine_reset_peak();
    const int64_t before = machine_peak_bytes();
    int code = make_plan(demo, s);
    if (code == DONE)
        code = time_runs(s, &line->seconds);
    const int64_t over = machine_peak_bytes() - before - s->y_values * (int64_t)sizeof(float);
    line->memory = before > 0 && over > 0 ? over : -1;
    line->rank = s->row.rank;
    memcpy(line->shape, s->row.shape, sizeof line->shape);
    line->flops = s->info.flops;
    line->bound = machine_bound_seconds(demo->machine.isa, s->info.flops, s->info.exps, s->info.bytes, demo->fma_gflops,
                                        demo->stream_gbs);
    if (s->example->sampled)
        line->pairs = (double)values_of(s->info.map_rank, s->info.map_shape);
    return code;
}

/* ---- checks ---- */

/* Positions of a picture of any size. */
static void spread_rows(int64_t positions, int64_t *rows) {
    uint64_t state = 2018;
    for (int i = 0; i < DEMO_ROWS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        rows[i] = (int64_t)((state >> 33) % (uint64_t)positions);
    }
}

/* The outputs at some positions. */
static float *gather(const stage *s, const int64_t *rows) {
    const int64_t outputs = s->y_values / DEMO_CHANNELS;
    float *values = malloc(sizeof(float) * DEMO_CHANNELS * DEMO_ROWS);
    for (int c = 0; values && c < DEMO_CHANNELS; c++)
        for (int r = 0; r < DEMO_ROWS; r++)
            values[s->example->tokens ? r * DEMO_CHANNELS + c : c * DEMO_ROWS + r] =
                s->y[s->example->tokens ? rows[r] * DEMO_CHANNELS + c : c * outputs + rows[r]];
    return values;
}

static double share_at(const stage *s, const int64_t *rows, const float *map) {
    float *values = gather(s, rows);
    const demo_result result = {.desc = s->desc,
                                .rank = s->row.rank,
                                .shape = s->row.shape,
                                .x = s->x,
                                .rows = rows,
                                .count = DEMO_ROWS,
                                .y = values,
                                .map = map,
                                .y_values = DEMO_ROWS * DEMO_CHANNELS,
                                .map_values = map ? DEMO_ROWS * s->sample->positions : 0};
    const double share = values ? demo_error_share(&result) : -1;
    free(values);
    return share;
}

/* Runs again, with the map of the chosen rows. */
static int run_with_map(demo *demo, const stage *s) {
    atl_error error;
    atl_run_options options;
    atl_run_options_init(&options);
    options.map_rows = demo->rows;
    options.map_row_count = DEMO_ROWS;
    demo->map = malloc(sizeof(float) * DEMO_ROWS * (size_t)demo->sample.positions);
    if (!demo->map)
        return failed("out of memory");
    if (atl_run(s->plan, 1, s->x, s->y, demo->map, &options, &error) != ATL_OK)
        return failed("%s", error.message);
    return DONE;
}

static int check_example(demo *demo, const stage *s, demo_line *line) {
    int64_t rows[DEMO_ROWS];
    if (!s->example->sampled) {
        const demo_result result = {
            .desc = s->desc, .rank = s->row.rank, .shape = s->row.shape, .x = s->x, .y = s->y, .y_values = s->y_values};
        line->share = demo_error_share(&result);
    } else if (s->example->weights) {
        spread_rows(s->sample->positions, rows);
        line->share = share_at(s, rows, NULL);
    } else { /* outputs without the map, then with it, and the map */
        line->share = share_at(s, demo->rows, NULL);
        if (run_with_map(demo, s) != DONE)
            return FAILED;
        const double mapped = share_at(s, demo->rows, demo->map);
        line->share = mapped < 0 || mapped > line->share ? mapped : line->share;
    }
    if (line->share < 0)
        return failed("%s: no oracle, or no memory for it", line->kind);
    demo->wrong |= !(line->share <= 1);
    return DONE;
}

/* ---- the table ---- */

static int show(demo *demo, const demo_example *example) {
    demo_line line = {.kind = example->kind};
    stage *s = calloc(1, sizeof *s);
    if (!s)
        return failed("out of memory");
    s->example = example;
    progress("%s", example->kind);
    int code = make_input(demo, s);
    if (code == DONE)
        code = make_weights(demo, s);
    if (code == DONE)
        code = run_example(demo, s, &line);
    if (code == DONE) {
        progress("%s: the float64 oracle", example->kind);
        code = check_example(demo, s, &line);
    }
    progress_clear();
    if (code == DONE)
        demo_print_line(&line);
    fflush(stdout);
    stage_free(s);
    return code;
}

int demo_layers(demo *demo) {
    int code = DONE;
    demo_print_head();
    for (int i = 0; atl_kind_name(i) && code == DONE; i++) {
        const demo_example *example = demo_find_example(atl_kind_name(i));
        code = example ? show(demo, example) : failed("demo: no example of %s", atl_kind_name(i));
    }
    if (code == DONE)
        demo_print_foot();
    return code;
}

int demo_time_attention(demo *demo, int size, double *seconds) {
    static const demo_example drawn = {"self-attention-spatial", NULL, 1, 0, 1};
    stage *s = calloc(1, sizeof *s);
    if (!s)
        return failed("out of memory");
    s->example = &drawn;
    int code = demo_sample_make(&demo->source, size, &s->half);
    s->sample = &s->half;
    s->x = s->half.x;
    if (code == DONE)
        code = make_weights(demo, s);
    if (code == DONE)
        code = make_plan(demo, s);
    if (code == DONE)
        code = time_runs(s, seconds);
    stage_free(s);
    return code;
}
