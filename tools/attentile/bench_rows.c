/* SPDX-License-Identifier: Apache-2.0 */
/* Which rows to run. */
#include <errno.h>
#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "nearest.h"

enum { ROWS_MAX = 1024, REPETITIONS = 7, REPETITIONS_OF_LONG_ROWS = 3 };

/* Strings that the build makes of bench/shapes. */
static const char *const layers[] = {
#include "rows_layers.inc"
};
static const char *const masks[] = {
#include "rows_masks.inc"
};
static const char *const growth[] = {
#include "rows_growth.inc"
};

static const struct suite {
    const char *name;
    const char *const *lines;
    size_t count;
    int repetitions;
} suites[] = {
    {"layers", layers, sizeof layers / sizeof *layers, REPETITIONS},
    {"masks", masks, sizeof masks / sizeof *masks, REPETITIONS},
    {"growth", growth, sizeof growth / sizeof *growth, REPETITIONS_OF_LONG_ROWS},
};

enum { SUITES = sizeof suites / sizeof *suites };

const char *bench_suite_name(int nth) {
    return nth < SUITES ? suites[nth].name : NULL;
}

/* The suite that is asked for, which exists; the first where none is. */
static const struct suite *chosen_suite(const bench_job *job) {
    const char *name = argument_value(job->arguments, BENCH_SUITE);
    for (int i = 1; name && i < SUITES; i++)
        if (strcmp(suites[i].name, name) == 0)
            return &suites[i];
    return suites;
}

int bench_suite_repetitions(const bench_job *job) {
    return chosen_suite(job)->repetitions;
}

static int read_suite(bench_job *job) {
    const struct suite *suite = chosen_suite(job);
    shape_fault fault;
    for (size_t i = 0; i < suite->count; i++) {
        if (job->row_count == ROWS_MAX || shape_parse(suite->lines[i], &job->rows[job->row_count++], &fault) != 1)
            return failed("bench: this build's row \"%s\" is malformed", suite->lines[i]);
    }
    return DONE;
}

/* What is wrong with a row's kind, and what may have been meant. */
static int unknown_kind(const char *path, const shape_row *row) {
    atl_nearest nearest = atl_nearest_to(row->kind);
    for (int i = 0; atl_kind_name(i); i++)
        atl_nearest_show(&nearest, atl_kind_name(i));
    if (nearest.name)
        return failed("%s: row %s: no such kind \"%s\" (did you mean %s?)", path, row->name, row->kind, nearest.name);
    return failed("%s: row %s: no such kind \"%s\" (attentile bench --list shows some of each)", path, row->name,
                  row->kind);
}

static int read_file(bench_job *job, const char *path) {
    shape_fault fault;
    job->row_count = shapes_read(path, job->rows, ROWS_MAX, &fault);
    if (job->row_count < 0 && fault.line == 0)
        return failed("%s: %s", path, fault.text);
    if (job->row_count < 0)
        return failed("%s:%d: %s", path, fault.line, fault.text);
    for (int i = 0; i < job->row_count; i++) {
        const char *key = weights_unknown_key(&job->rows[i]);
        if (key == job->rows[i].kind)
            return unknown_kind(path, &job->rows[i]);
        if (key)
            return failed("%s: row %s: %s has no key \"%s\"", path, job->rows[i].name, job->rows[i].kind, key);
    }
    return job->row_count ? DONE : failed("%s: no rows (expected lines KIND NAME BATCH SHAPE [KEY=VALUE]...)", path);
}

static int keep_matching(bench_job *job, const char *expression) {
    regex_t regex;
    const int wrong = regcomp(&regex, expression, REG_EXTENDED | REG_NOSUB);
    if (wrong) {
        char reason[128];
        regerror(wrong, &regex, reason, sizeof reason);
        return wrong_usage("bench: --filter: expected an extended regular expression, got \"%s\" (%s)", expression,
                           reason);
    }
    int kept = 0;
    for (int i = 0; i < job->row_count; i++)
        if (regexec(&regex, job->rows[i].name, 0, NULL, 0) == 0)
            job->rows[kept++] = job->rows[i];
    regfree(&regex);
    job->row_count = kept;
    return kept ? DONE : failed("bench: no row's name matches \"%s\" (see attentile bench --list)", expression);
}

int bench_read_rows(bench_job *job) {
    const char *path = argument_value(job->arguments, BENCH_SHAPES);
    const char *expression = argument_value(job->arguments, BENCH_FILTER);
    job->rows = calloc(ROWS_MAX, sizeof *job->rows);
    if (!job->rows)
        return failed("out of memory");
    int code = path ? read_file(job, path) : read_suite(job);
    if (code == DONE && expression)
        code = keep_matching(job, expression);
    return code;
}

const char *bench_shape_text(const shape_row *row, char *text, size_t capacity) {
    const int used = snprintf(text, capacity, "%" PRId64 "x", row->batch);
    shape_text(row->rank, row->shape, text + used, capacity - (size_t)used);
    return text;
}

void bench_list_rows(const bench_job *job) {
    for (int i = 0; i < job->row_count; i++) {
        const shape_row *row = &job->rows[i];
        char shape[192];
        printf("%-22s  %-26s  %3" PRId64 "  %s", row->kind, row->name, row->batch,
               shape_text(row->rank, row->shape, shape, sizeof shape));
        for (int k = 0; k < row->key_count; k++)
            printf("  %s=%s", row->keys[k], row->values[k]);
        putchar('\n');
    }
}
