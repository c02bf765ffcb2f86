/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine tells its tracer: every task once, as it is split for the number of threads, and the same bits. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

enum { BATCH = 3, EVENTS = 4096, STAGE_TASKS = 512 };

typedef struct log {
    pthread_mutex_t lock;
    int count;
    atl_trace_event events[EVENTS];
} event_log;

static void write_log(void *host, const atl_trace_event *event) {
    event_log *log = host;
    pthread_mutex_lock(&log->lock);
    cr_assert_lt(log->count, EVENTS);
    log->events[log->count++] = *event;
    pthread_mutex_unlock(&log->lock);
}

static void run_in_turn(void *host, int64_t count, void (*task)(void *context, int64_t i), void *context) {
    (void)host;
    for (int64_t i = 0; i < count; i++)
        task(context, i);
}

static atl_engine *traced_engine(int threads, int simulated, event_log *log) {
    atl_engine_options options;
    atl_engine *engine = NULL;
    atl_error error;
    atl_engine_options_init(&options);
    options.threads = threads;
    options.parallel_for = simulated ? run_in_turn : NULL;
    options.trace = write_log;
    options.trace_host = log;
    cr_assert_eq(atl_engine_create(&options, &engine, &error), ATL_OK, "%s", error.message);
    return engine;
}

/* Stages follow one another; of each every task comes once. */
static void expect_whole_stages(const event_log *log, const char *what) {
    cr_expect_gt(log->count, 0, "%s: nothing was seen", what);
    for (int i = 0; i < log->count; i += (int)log->events[i].tasks) {
        const atl_trace_event *first = &log->events[i];
        char seen[STAGE_TASKS] = {0};
        cr_assert(first->tasks > 0 && first->tasks < STAGE_TASKS && i + first->tasks <= log->count, "%s: %lld tasks",
                  what, (long long)first->tasks);
        for (int64_t k = 0; k < first->tasks; k++) {
            cr_expect_str_eq(first[k].stage, first->stage, "%s", what);
            cr_assert(first[k].task >= 0 && first[k].task < first->tasks && !seen[first[k].task], "%s: task %lld of %s",
                      what, (long long)first[k].task, first->stage);
            cr_expect(first[k].tasks == first->tasks && first[k].shared == first->shared, "%s: %s", what, first->stage);
            cr_expect(first[k].nanoseconds >= 0, "%s: %lld ns", what, (long long)first[k].nanoseconds);
            seen[first[k].task] = 1;
        }
    }
}

static int largest_stage(const event_log *log) {
    int64_t most = 0;
    for (int i = 0; i < log->count; i++)
        most = log->events[i].tasks > most ? log->events[i].tasks : most;
    return (int)most;
}

/* Returns how many tasks the largest stage has. */
static int trace_run(const layer_case *c, int threads, int simulated, const float *x, const float *expected) {
    static event_log log;
    char what[96];
    log.count = 0;
    pthread_mutex_init(&log.lock, NULL);
    snprintf(what, sizeof what, "%s, %d%s threads", c->row.kind, threads, simulated ? " simulated" : "");
    atl_engine *engine = traced_engine(threads, simulated, &log);
    atl_plan *plan = case_plan(c, engine);
    float *y = case_alloc(BATCH * c->out_size);
    case_run(plan, BATCH, x, y, NULL, NULL);
    cr_expect_eq(case_difference(y, expected, BATCH * c->out_size), -1, "%s: other bits", what);
    expect_whole_stages(&log, what);
    for (int i = 0; i < log.count; i++)
        cr_expect_eq(log.events[i].shared, threads > 1 && log.events[i].tasks > 1, "%s: %s", what, log.events[i].stage);
    free(y);
    atl_plan_release(plan);
    atl_engine_release(engine);
    return largest_stage(&log);
}

Test(trace, every_task_once_for_every_kind) {
    static const char *const lines[] = {
        "se se 1 64x40x40 hidden=3",
        "cbam-channel cbamc 1 64x40x40 hidden=3",
        "cbam-spatial cbams 1 16x40x40 k=3",
        "cbam-res cbamr 1 8x40x40 out=9 hidden=2 sa=3",
        "sk sk 1 16x40x40 m=2 groups=2 d=3",
        "self-attention-spatial sas 1 8x30x30 d=2",
        "self-attention-channel sac 1 20x30x30 out=21",
        "non-local nl 1 16x30x30 sub=1 bn=1",
        "multi-head mha 1 300x24 set.num_heads=2",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        layer_case c;
        case_parse(&c, lines[i], 17);
        float *x = case_alloc(BATCH * c.size), *y = case_alloc(BATCH * c.out_size);
        fill(x, BATCH * c.size, FILL_RANDOM, 1, 18);
        atl_engine *engine = case_engine("scalar", 1);
        atl_plan *plan = case_plan(&c, engine);
        case_run(plan, BATCH, x, y, NULL, NULL);
        const int alone = trace_run(&c, 1, 0, x, y);
        trace_run(&c, 3, 0, x, y);
        const int many = trace_run(&c, 64, 1, x, y);
        cr_expect_geq(many, alone, "%s: %d tasks for 64 threads, %d for one", c.row.kind, many, alone);
        cr_expect_gt(many, BATCH, "%s: samples are not split among 64 threads", c.row.kind);
        atl_plan_release(plan);
        atl_engine_release(engine);
        free(y), free(x);
        case_free(&c);
    }
}

Test(trace, a_small_sample_stays_on_one_thread) {
    static event_log log;
    layer_case c;
    case_parse(&c, "se se 1 4x5x5 hidden=2", 19);
    pthread_mutex_init(&log.lock, NULL);
    atl_engine *engine = traced_engine(2, 0, &log);
    atl_plan *plan = case_plan(&c, engine);
    float *x = case_alloc(c.size), *y = case_alloc(c.out_size);
    fill(x, c.size, FILL_RANDOM, 1, 20);
    case_run(plan, 1, x, y, NULL, NULL);
    expect_whole_stages(&log, "a small sample");
    for (int i = 0; i < log.count; i++)
        cr_expect_eq(log.events[i].shared, 0);
    free(x), free(y);
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
}
