/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How runs are split among many threads: an engine of 64 threads, whose tasks a host's pool runs one after another. Every row of
 * the benchmarks that is worth sharing has tasks for all of them; the slow suite, which may look at clocks, sees to it that
 * none waits long for another. The bits are those of one thread.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

enum {
    THREADS = 64,
    ROWS = 256,
    EVENTS = 1 << 16,
    FEW_RUNS = 3,
    RUNS = 10,
    BATCH = 3,
    LEAST_TASKS = 56 /* of some stage */
};

#define BALANCED 1.35  /* times as long as with work cut evenly */
#define WORTH    10e-6 /* seconds of a thread's share, below which waking it costs more */
#define LONG     0.2   /* seconds on one thread, above which a row is for the slow suite */

/* Rows whose attention has too few lane panels of queries. */
static const struct {
    const char *name;
    double bound;
} exceptions[] = {
    {"nl-1x512x28x28", 1.8},    /* 25 */
    {"nl-1x1024x4x14x14", 2.0}, /* 25 */
    {"nl-2x1024x4x14x14", 1.6}, /* 50 */
    {"mha-1x197x768", 1.4}      /* 12 heads of 7, of which the last is almost empty */
};

/* The tasks of a run in order, with the least time that each has taken in any run: other work of the machine only adds. */
typedef struct events {
    atl_trace_event list[EVENTS];
    int count, at; /* at: the next of the run under way */
} events;

static void record(void *host, const atl_trace_event *event) {
    events *e = host;
    cr_assert_lt(e->at, EVENTS);
    atl_trace_event *task = &e->list[e->at++];
    if (e->at > e->count) {
        *task = *event;
        e->count = e->at;
        return;
    }
    cr_assert(task->task == event->task && strcmp(task->stage, event->stage) == 0, "%s differs", event->stage);
    task->nanoseconds = event->nanoseconds < task->nanoseconds ? event->nanoseconds : task->nanoseconds;
}

static void run_in_turn(void *host, int64_t count, void (*task)(void *context, int64_t i), void *context) {
    (void)host;
    for (int64_t i = 0; i < count; i++)
        task(context, i);
}

static atl_engine *simulated_engine(events *e) {
    atl_engine_options options;
    atl_engine *engine = NULL;
    atl_error error;
    atl_engine_options_init(&options);
    options.threads = THREADS;
    options.parallel_for = run_in_turn;
    options.trace = record;
    options.trace_host = e;
    cr_assert_eq(atl_engine_create(&options, &engine, &error), ATL_OK, "%s", error.message);
    return engine;
}

/* When the last thread is done with a stage, each claiming the next task as soon as it has none. */
static double span(const atl_trace_event *tasks) {
    double ends[THREADS] = {0}, last = 0;
    for (int64_t i = 0; i < tasks->tasks; i++) {
        int first = 0;
        for (int t = 1; t < THREADS; t++)
            first = ends[t] < ends[first] ? t : first;
        ends[first] += (double)tasks[i].nanoseconds;
        last = ends[first] > last ? ends[first] : last;
    }
    return last;
}

/* The least that tasks of equal length would take, of so much work. */
static double even_span(const atl_trace_event *tasks, double work) {
    int64_t rounds = (tasks->tasks + THREADS - 1) / THREADS;
    return work * (double)rounds / (double)tasks->tasks;
}

/* How much longer a run takes than its work cut evenly: stages by the number of their tasks or, where these are unequal, by
 * what they took, whichever is better. */
static double imbalance(const events *e) {
    double work = 0, spans = 0;
    for (int i = 0; i < e->count; i += (int)e->list[i].tasks) {
        const atl_trace_event *stage = &e->list[i];
        double stage_work = 0, measured = span(stage);
        for (int64_t k = 0; k < stage->tasks; k++)
            stage_work += (double)stage[k].nanoseconds;
        const double even = even_span(stage, stage_work);
        work += stage_work;
        spans += even < measured ? even : measured;
    }
    return spans / (work / THREADS);
}

/* Tasks of the stage that has most. */
static int64_t most_tasks(const events *e) {
    int64_t most = 0;
    for (int i = 0; i < e->count; i += (int)e->list[i].tasks)
        most = e->list[i].tasks > most ? e->list[i].tasks : most;
    return most;
}

static double bound_of(const char *name) {
    for (size_t i = 0; i < sizeof exceptions / sizeof *exceptions; i++)
        if (strcmp(exceptions[i].name, name) == 0)
            return exceptions[i].bound;
    return BALANCED;
}

/* What one thread takes at least, about. */
static double model_seconds(const atl_plan *plan, int64_t batch) {
    atl_plan_info info = {.size = sizeof info};
    cr_assert_eq(atl_plan_get_info(plan, &info, NULL), ATL_OK);
    return (double)batch * (info.flops / 60e9 + info.bytes / 20e9);
}

/* Returns whether the row was looked at. */
static int check_row(const shape_row *row) {
    static events e;
    layer_case c;
    case_make(&c, row, 5);
    atl_engine *engine = simulated_engine(&e);
    atl_plan *plan = case_plan(&c, engine);
    const double seconds = model_seconds(plan, row->batch), bound = bound_of(row->name);
    const int looked_at = seconds >= WORTH * THREADS && (seconds <= LONG || case_slow());
    double got = 1e9;
    e.count = 0;
    if (looked_at) {
        float *x = case_alloc(row->batch * c.size), *y = case_alloc(row->batch * c.out_size);
        fill(x, row->batch * c.size, FILL_RANDOM, 1, 6);
        for (int run = 0; run < (case_slow() ? RUNS : 1) && (run < FEW_RUNS || got > bound); run++) {
            e.at = 0;
            case_run(plan, row->batch, x, y, NULL, NULL);
            got = imbalance(&e);
        }
        cr_expect_geq(most_tasks(&e), LEAST_TASKS, "%s: %lld tasks for %d threads", row->name,
                      (long long)most_tasks(&e), THREADS);
        if (case_slow())
            cr_expect_leq(got, bound,
                          "%s: %d threads take %.2f times as long as with its work cut evenly (expected %.2f)",
                          row->name, THREADS, got, bound);
        free(x), free(y);
    }
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
    return looked_at;
}

Test(split, benchmarks_fill_64_threads) {
    shape_row *rows = calloc(ROWS, sizeof *rows);
    shape_fault fault = {0};
    int looked_at = 0;
    for (int kind = 0; atl_kind_name(kind); kind++) {
        char path[4096];
        snprintf(path, sizeof path, SHAPES_DIR "/%s.txt", atl_kind_name(kind));
        const int count = shapes_read(path, rows, ROWS, &fault);
        cr_assert_gt(count, 0, "%s, line %d: %s", path, fault.line, fault.text);
        for (int i = 0; i < count; i++)
            looked_at += check_row(&rows[i]);
    }
    cr_expect_gt(looked_at, 60, "%d rows are worth sharing", looked_at);
    free(rows);
}

Test(split, tasks_of_64_threads_give_the_bits_of_one) {
    static events e;
    int count;
    shape_row *rows = case_rows(&count);
    for (int i = 0; i < count; i++) {
        layer_case c;
        case_make(&c, &rows[i], 7);
        float *x = case_alloc(BATCH * c.size), *y = case_alloc(BATCH * c.out_size),
              *want = case_alloc(BATCH * c.out_size);
        atl_engine *one = case_engine("scalar", 1), *many = simulated_engine(&e);
        atl_plan *expected = case_plan(&c, one), *plan = case_plan(&c, many);
        fill(x, BATCH * c.size, FILL_RANDOM, 1, 8);
        e.at = e.count = 0;
        case_run(expected, BATCH, x, want, NULL, NULL);
        case_run(plan, BATCH, x, y, NULL, NULL);
        cr_expect_eq(case_difference(y, want, BATCH * c.out_size), -1, "%s: other bits", rows[i].name);
        atl_plan_release(plan), atl_plan_release(expected);
        atl_engine_release(many), atl_engine_release(one);
        free(want), free(y), free(x);
        case_free(&c);
    }
    free(rows);
}
