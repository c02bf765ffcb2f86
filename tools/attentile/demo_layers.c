/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of the build on the same picture. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"
#include "weights.h"

/* One example under way. */
typedef struct stage {
    const demo_example *example;
    demo_sample half;          /* a smaller picture, where the example wants one */
    const demo_sample *sample; /* that, or the demo's */
    float *tokens;
    shape_row row;
    weights weights;
    demo_run run;
} stage;

static void stage_free(stage *s) {
    demo_run_free(&s->run);
    if (s->run.desc)
        weights_free(&s->weights);
    demo_sample_free(&s->half);
    free(s->tokens);
    free(s);
}

/* x of the sample, one pixel after the other. */
static float *make_tokens(const demo_sample *sample) {
    float *tokens = malloc((size_t)sample->positions * DEMO_CHANNELS * sizeof *tokens);
    for (int64_t i = 0; tokens && i < sample->positions; i++)
        for (int c = 0; c < DEMO_CHANNELS; c++)
            tokens[i * DEMO_CHANNELS + c] = sample->x[c * sample->positions + i];
    return tokens;
}

static int make_input(const demo *demo, stage *s) {
    const demo_example *example = s->example;
    s->sample = &demo->sample;
    if (example->divide > 1) {
        if (demo_sample_make(&demo->source, demo->size / example->divide, &s->half) != DONE)
            return FAILED;
        s->sample = &s->half;
    }
    s->run.x = s->sample->x;
    if (example->tokens) {
        s->tokens = make_tokens(s->sample);
        if (!s->tokens)
            return failed("out of memory");
        s->run.x = s->tokens;
        s->run.tokens = 1;
    }
    return DONE;
}

static int make_weights(stage *s) {
    char line[160], shape[64];
    const int size = s->sample->size;
    if (s->example->tokens)
        snprintf(shape, sizeof shape, "%" PRId64 "x%d", s->sample->positions, DEMO_CHANNELS);
    else
        snprintf(shape, sizeof shape, "%dx%dx%d", DEMO_CHANNELS, size, size);
    snprintf(line, sizeof line, "%s demo 1 %s %s", s->example->kind, shape, s->example->weights);
    if (shape_parse(line, &s->row, NULL) != 1)
        return failed("demo: malformed example \"%s\"", line);
    if (weights_make(&s->weights, &s->row, 2018))
        return failed("demo: no weights for %s, or no memory", s->example->kind);
    s->run.desc = &s->weights.desc;
    s->run.rank = s->row.rank;
    memcpy(s->run.shape, s->row.shape, sizeof s->run.shape);
    return DONE;
}

/* Positions of a picture of any size. */
static void spread_rows(int64_t positions, int64_t *rows) {
    uint64_t state = 2018;
    for (int i = 0; i < DEMO_ROWS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        rows[i] = (int64_t)((state >> 33) % (uint64_t)positions);
    }
}

static int check(demo *demo, const stage *s, demo_line *line) {
    int64_t rows[DEMO_ROWS];
    spread_rows(s->sample->positions, rows);
    line->share = demo_run_error_share(&s->run, s->example->sampled ? rows : NULL, NULL);
    if (line->share < 0)
        return failed("%s: no oracle, or no memory for it", line->kind);
    demo->wrong |= !(line->share <= 1);
    return DONE;
}

/* The map's last axes are queries and keys. */
static double pairs_of(const stage *s) {
    const atl_plan_info *info = &s->run.info;
    double pairs = s->example->sampled ? 1 : 0;
    for (int i = 0; i < info->map_rank; i++)
        pairs *= (double)info->map_shape[i];
    return pairs;
}

static int show(demo *demo, const demo_example *example, double done) {
    demo_line line = {.kind = example->kind};
    stage *s = calloc(1, sizeof *s);
    if (!s)
        return failed("out of memory");
    s->example = example;
    s->run.task = example->kind;
    s->run.done = done;
    progress_bar(done, "%s", example->kind);
    int code = make_input(demo, s);
    if (code == DONE)
        code = make_weights(s);
    if (code == DONE)
        code = demo_run_measure(demo, &s->run, &line);
    line.pairs = pairs_of(s);
    if (code == DONE) {
        progress_bar(done, "%s: the float64 oracle", example->kind);
        code = check(demo, s, &line);
    }
    progress_clear();
    if (code == DONE) {
        demo_print_line(&line);
        demo->lines[demo->line_count++] = line;
    }
    fflush(stdout);
    stage_free(s);
    return code;
}

int demo_layers(demo *demo) {
    int code = DONE, kinds = 0;
    while (atl_kind_name(kinds) && kinds < DEMO_KINDS)
        kinds++;
    demo_print_head();
    for (int i = 0; i < kinds && code == DONE; i++) {
        const demo_example *example = demo_find_example(atl_kind_name(i));
        code =
            example ? show(demo, example, (double)i / (kinds + 1)) : failed("demo: no example of %s", atl_kind_name(i));
    }
    if (code == DONE)
        demo_print_foot();
    return code;
}
