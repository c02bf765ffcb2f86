/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How runs would be split among T threads: an engine of T threads whose tasks run one after another on this one, and are
 * recorded. What they would take on T threads follows from the order in which threads claim them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "json.h"
#include "machine.h"

enum { STAGES_MAX = 64, RUNS = 5, THREADS_MAX = 1024 };
#define PATIENCE  2.0   /* seconds after which a row is not run again */
#define STARVING  1.3   /* imbalance from which on a row is named at the end */
#define TOO_SMALL 10e-6 /* seconds of work a thread below which waking it costs more than sharing gains */

typedef struct recorded {
    const char *stage;
    int64_t tasks;
    int shared;
    double seconds; /* the least of all runs */
    double before;  /* between the stage's first task and what was before it; 0 in others */
} recorded;

/* The tasks of a run in order; those of further runs are the same. */
typedef struct recording {
    recorded *tasks;
    int64_t count, capacity, at; /* at: the next task of the run under way */
    int64_t left;                /* of the stage under way */
    double last;                 /* when the last task ended, or the stage */
    int failed;
} recording;

/* The calls of a stage that have the same name. */
typedef struct stage {
    const char *name;
    int shared;
    int64_t calls, tasks;
    double work, longest, span; /* seconds: of all tasks, of one, and until the last thread is done */
} stage;

typedef struct plan_result {
    stage stages[STAGES_MAX];
    int stage_count;
    double work, span, serial; /* serial: between tasks, on the calling thread */
    double imbalance;
} plan_result;

/* ---- recording ---- */

static double least(double a, double b) {
    return a < b ? a : b;
}

static int grow(recording *r) {
    const int64_t capacity = r->capacity ? 2 * r->capacity : 1024;
    recorded *larger = realloc(r->tasks, (size_t)capacity * sizeof *larger);
    if (!larger)
        return -1;
    r->tasks = larger;
    r->capacity = capacity;
    return 0;
}

static void record(void *host, const atl_trace_event *event) {
    recording *r = host;
    const double now = machine_now(), seconds = (double)event->nanoseconds * 1e-9;
    const double before = r->left == 0 && now - seconds > r->last ? now - seconds - r->last : 0;
    if (r->at == r->capacity && grow(r)) {
        r->failed = 1;
        return;
    }
    recorded *task = &r->tasks[r->at];
    const int first_run = r->at++ == r->count;
    if (first_run) {
        *task = (recorded){event->stage, event->tasks, event->shared, seconds, before};
        r->count = r->at;
    } else {
        task->seconds = least(task->seconds, seconds);
        task->before = least(task->before, before);
    }
    r->left = (r->left ? r->left : event->tasks) - 1;
    r->last = machine_now();
}

/* The first of the host's tasks does all of ours: that the others then find nothing is not time between stages. */
static void run_in_turn(void *host, int64_t count, void (*task)(void *context, int64_t i), void *context) {
    recording *r = host;
    for (int64_t i = 0; i < count; i++)
        task(context, i);
    r->last = machine_now();
}

static int record_runs(bench_case *c, recording *r) {
    const double begin = machine_now();
    for (int run = 0; run < RUNS && (run < 2 || machine_now() - begin < PATIENCE); run++) {
        r->at = r->left = 0;
        r->last = machine_now();
        if (bench_case_run(c))
            return -1;
    }
    return 0;
}

/* ---- what T threads would make of it ---- */

/* When the last of the threads is done, each claiming the next task as soon as it has none. */
static double span_of(const recorded *tasks, int64_t count, int threads) {
    static double ends[THREADS_MAX]; /* when each is done so far */
    double span = 0;
    memset(ends, 0, sizeof ends);
    for (int64_t i = 0; i < count; i++) {
        int first = 0;
        for (int t = 1; t < threads; t++)
            first = ends[t] < ends[first] ? t : first;
        ends[first] += tasks[i].seconds;
        span = ends[first] > span ? ends[first] : span;
    }
    return span;
}

static stage *find_stage(plan_result *result, const recorded *task) {
    int i = 0;
    while (i < result->stage_count &&
           (strcmp(result->stages[i].name, task->stage) != 0 || result->stages[i].shared != task->shared))
        i++;
    if (i == STAGES_MAX)
        return &result->stages[STAGES_MAX - 1];
    if (i == result->stage_count)
        result->stages[result->stage_count++] = (stage){.name = task->stage, .shared = task->shared};
    return &result->stages[i];
}

static void summarize(const recording *r, int threads, plan_result *result) {
    for (int64_t i = 0; i < r->count; i += r->tasks[i].tasks) {
        const recorded *first = &r->tasks[i];
        stage *s = find_stage(result, first);
        double work = 0;
        for (int64_t k = 0; k < first->tasks; k++) {
            work += first[k].seconds;
            s->longest = first[k].seconds > s->longest ? first[k].seconds : s->longest;
        }
        const double span = span_of(first, first->tasks, first->shared ? threads : 1);
        s->calls++;
        s->tasks += first->tasks;
        s->work += work;
        s->span += span;
        result->work += work;
        result->span += span;
        result->serial += first->before;
    }
    result->imbalance = (result->span + result->serial) / ((result->work + result->serial) / threads);
}

/* ---- output ---- */

static void print_result(const shape_row *row, int threads, const plan_result *result) {
    char shape[192];
    printf("%s (%s, %s): %.4g ms on one thread, %.4g on %d, imbalance %.2f\n", row->name, row->kind,
           bench_shape_text(row, shape, sizeof shape), (result->work + result->serial) * 1e3,
           (result->span + result->serial) * 1e3, threads, result->imbalance);
    printf("  %-22s %6s %8s %10s %10s %7s  %s\n", "stage", "calls", "tasks", "mean us", "max us", "work", "imbalance");
    for (int i = 0; i < result->stage_count; i++) {
        const stage *s = &result->stages[i];
        printf("  %-22s %6lld %8lld %10.4g %10.4g %5.1f %%  ", s->name, (long long)s->calls, (long long)s->tasks,
               s->work / (double)s->tasks * 1e6, s->longest * 1e6, 100 * s->work / (result->work + result->serial));
        if (s->shared)
            printf("%.2f\n", s->span * threads / s->work);
        else
            printf("one thread\n");
    }
    printf("  %-22s %6s %8s %10s %10s %5.1f %%  one thread\n\n", "between stages", "", "", "", "",
           100 * result->serial / (result->work + result->serial));
    fflush(stdout);
}

static json_t *result_json(const shape_row *row, const plan_result *result) {
    json_t *root = json_object(), *stages = json_array();
    json_put(root, "name", json_string(row->name));
    json_put(root, "kind", json_string(row->kind));
    json_put(root, "work_ms", json_real((result->work + result->serial) * 1e3));
    json_put(root, "span_ms", json_real((result->span + result->serial) * 1e3));
    json_put(root, "serial_ms", json_real(result->serial * 1e3));
    json_put(root, "imbalance", json_real(result->imbalance));
    for (int i = 0; i < result->stage_count; i++) {
        const stage *s = &result->stages[i];
        json_t *object = json_object();
        json_put(object, "stage", json_string(s->name));
        json_put(object, "shared", json_boolean(s->shared));
        json_put(object, "calls", json_integer(s->calls));
        json_put(object, "tasks", json_integer(s->tasks));
        json_put(object, "work_ms", json_real(s->work * 1e3));
        json_put(object, "longest_ms", json_real(s->longest * 1e3));
        json_put(object, "span_ms", json_real(s->span * 1e3));
        json_add(stages, object);
    }
    json_put(root, "stages", stages);
    return root;
}

/* ---- all of it ---- */

static int plan_row(const shape_row *row, int threads, plan_result *result) {
    recording recording = {0};
    atl_engine_options options;
    atl_engine_options_init(&options);
    options.threads = threads;
    options.parallel_for = run_in_turn;
    options.parallel_for_host = &recording;
    options.trace = record;
    options.trace_host = &recording;
    bench_case *c = calloc(1, sizeof *c);
    if (!c)
        return failed("out of memory");
    int code = DONE;
    if (bench_case_inputs(c, row) || bench_case_plan(c, &options) || bench_case_check_memory(c) ||
        bench_case_outputs(c) || record_runs(c, &recording))
        code = failed("bench: %s: %s", row->name, c->problem);
    else if (recording.failed)
        code = failed("out of memory");
    else
        summarize(&recording, threads, result);
    bench_case_free(c);
    free(c);
    free(recording.tasks);
    return code;
}

static void print_starving(const bench_job *job, int threads, const plan_result *results) {
    int starving = 0, small = 0;
    for (int i = 0; i < job->row_count; i++) {
        const int bad = results[i].imbalance > STARVING;
        if (bad && results[i].work >= TOO_SMALL * threads)
            starving += printf("%s%s %.2f", starving ? ", " : "imbalance over 1.3: ", job->rows[i].name,
                               results[i].imbalance) > 0;
        small += bad && results[i].work < TOO_SMALL * threads;
    }
    printf("%s%d rows, %d with an imbalance over %.1f, and %d more with less than %.0f us of work a thread\n",
           starving ? "\n" : "", job->row_count, starving, STARVING, small, TOO_SMALL * 1e6);
}

int bench_plan_for(bench_job *job, int threads) {
    const int json = argument_value(job->arguments, BENCH_JSON) != NULL;
    plan_result *results = calloc((size_t)job->row_count, sizeof *results);
    json_t *list = json ? json_array() : NULL, *root = json ? json_object() : NULL;
    int code = results ? DONE : failed("out of memory");
    for (int i = 0; i < job->row_count && code == DONE; i++) {
        progress("%s", job->rows[i].name);
        code = plan_row(&job->rows[i], threads, &results[i]);
        progress_clear();
        if (code == DONE && json)
            json_add(list, result_json(&job->rows[i], &results[i]));
        else if (code == DONE)
            print_result(&job->rows[i], threads, &results[i]);
    }
    if (code == DONE && !json)
        print_starving(job, threads, results);
    free(results);
    if (!json)
        return code;
    json_put(root, "threads", json_integer(threads));
    json_put(root, "rows", list);
    if (code == DONE)
        return json_print(root);
    json_decref(root);
    return code;
}
