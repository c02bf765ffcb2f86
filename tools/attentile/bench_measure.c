/* SPDX-License-Identifier: Apache-2.0 */
/* Rows measured by Google Benchmark: NAME/tTHREADS, the output preallocated, the input warm. */
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "bench.h"
#include "machine.h"
#include "shim.h"

/* What the machine reaches with a row's threads: measured before the row and every now and then while it is repeated, as
 * machines have slow seconds, which have to lower both or neither. The best of them counts. */
typedef struct yardstick {
    double fma_gflops, stream_gbs, stream_bytes;
    double when; /* the last of them was */
} yardstick;

#define INTERVAL 0.5 /* seconds */

typedef struct session {
    bench_job *job;
    bench_case loaded;           /* one at a time */
    const struct entry *current; /* the entry that is loaded, or that has failed to */
    yardstick machine;           /* for that row */
    double peak_bytes;           /* negative = unknown */
    int started, failed;
} session;

/* A row with a number of threads. */
typedef struct entry {
    session *session;
    const shape_row *row;
    int index; /* of the row */
    int threads;
} entry;

/* ---- loading ---- */

/* The least that the row's runs read and write. */
static double bytes_of(const session *s, const shape_row *row) {
    return s->loaded.info.bytes * (double)row->batch + (double)s->loaded.map_size;
}

/* 0, or -1 with the reason in s->loaded.problem. */
static int measure_machine(session *s) {
    yardstick *m = &s->machine;
    m->stream_bytes = bytes_of(s, s->current->row);
    const double fma = machine_fma_gflops(s->job->machine.isa, s->current->threads);
    const double stream = machine_stream_gbs(s->current->threads, &m->stream_bytes);
    m->fma_gflops = fma > m->fma_gflops ? fma : m->fma_gflops;
    m->stream_gbs = stream > m->stream_gbs ? stream : m->stream_gbs;
    m->when = machine_now();
    if (fma > 0 && stream > 0)
        return 0;
    snprintf(s->loaded.problem, sizeof s->loaded.problem, "this machine's peak or bandwidth cannot be measured");
    return -1;
}

/* Returns whether it failed, with the reason in s->loaded.problem. A row that is too large for this machine is passed over: it has
 * a problem, too. */
static int load(session *s, const entry *e) {
    bench_case *c = &s->loaded;
    atl_engine_options options;
    atl_engine_options_init(&options);
    options.threads = e->threads;
    bench_case_free(c);
    malloc_trim(0); /* what others have freed is gone */
    s->current = e;
    s->machine = (yardstick){0};
    s->peak_bytes = -1;
    if (bench_case_inputs(c, e->row) || bench_case_plan(c, &options))
        return 1;
    if (bench_case_check_memory(c))
        return 0;
    s->peak_bytes = (double)bench_memory_peak(c, e->index, e->threads);
    return bench_case_outputs(c) || measure_machine(s) ||
           bench_case_run(c); /* which makes the workspace, and wakes the team */
}

/* ---- the benchmark ---- */

static void report(bench_state *state, const bench_line *line, const yardstick *m) {
    char label[160];
    bench_counter(state, "GFLOP/s", line->gflops);
    bench_counter(state, "GB/s", line->gbs);
    bench_counter(state, "bound_share", line->bound_share);
    bench_counter(state, "plan_ms", line->plan_seconds * 1e3);
    if (line->peak_mib >= 0)
        bench_counter(state, "peak_MiB", line->peak_mib);
    bench_counter(state, "fma_GFLOP/s", m->fma_gflops);
    bench_counter(state, "stream_GB/s", m->stream_gbs);
    bench_counter(state, "stream_MiB", m->stream_bytes / 0x1p20);
    snprintf(label, sizeof label, "%s-bound: of %.1f GFLOP/s, and %.1f GB/s in %.4g MiB",
             line->memory_bound ? "memory" : "FMA", m->fma_gflops, m->stream_gbs, m->stream_bytes / 0x1p20);
    bench_label(state, label);
}

/* The rates of the layer's least work in so many seconds. */
static bench_line line_of(const entry *e, double seconds) {
    const session *s = e->session;
    const atl_plan_info *info = &s->loaded.info;
    const yardstick *m = &s->machine;
    const double batch = (double)e->row->batch, flops = info->flops * batch, exps = info->exps * batch;
    const double bytes = bytes_of(s, e->row);
    const char *isa = s->job->machine.isa;
    const double bound = machine_bound_seconds(isa, flops, exps, bytes, m->fma_gflops, m->stream_gbs);
    const double compute = machine_bound_seconds(isa, flops, exps, 0, m->fma_gflops, m->stream_gbs);
    return (bench_line){.row = e->row,
                        .threads = e->threads,
                        .seconds = seconds,
                        .gflops = flops / seconds * 1e-9,
                        .gbs = bytes / seconds * 1e-9,
                        .bound_share = bound / seconds,
                        .memory_bound = bound > compute,
                        .peak_mib = s->peak_bytes / 0x1p20,
                        .plan_seconds = s->loaded.plan_seconds};
}

static void body(bench_state *state, void *context) {
    entry *e = context;
    session *s = e->session;
    bench_case *c = &s->loaded;
    if (s->current != e) {
        progress("row %d of %d: %s, %d thread%s", e->index + 1, s->job->row_count, e->row->name, e->threads,
                 e->threads == 1 ? "" : "s");
        s->failed += load(s, e);
    }
    if (!c->problem[0] && machine_now() - s->machine.when > INTERVAL)
        s->failed += measure_machine(s) || bench_case_run(c); /* the caches are the row's again */
    while (!c->problem[0] && bench_next(state))
        s->failed += bench_case_run(c) != 0;
    if (c->problem[0]) {
        bench_skip(state, c->problem);
        return;
    }
    const bench_line line = line_of(e, bench_seconds(state));
    report(state, &line, &s->machine);
}

static void print_done(void *context, double seconds) {
    session *s = context;
    progress_clear();
    if (!s->started++)
        bench_print_head(s->job);
    bench_line line = {.row = s->current->row, .threads = s->current->threads, .problem = s->loaded.problem};
    if (!s->loaded.problem[0])
        line = line_of(s->current, seconds);
    bench_print_line(&line);
}

/* ---- the machine's fingerprint ---- */

static void add_context(const char *key, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_context(const char *key, const char *format, ...) {
    char value[256];
    va_list values;
    va_start(values, format);
    vsnprintf(value, sizeof value, format, values);
    va_end(values);
    bench_context(key, value);
}

static void add_fingerprint(const bench_job *job) {
    const atl_engine_info *m = &job->machine;
    struct utsname system;
    add_context("attentile_version", "%s", atl_version());
    add_context("cpu", "%s", m->cpu);
    add_context("isa", "%s", m->isa);
    add_context("isa_found", "%s", m->isa_found);
    add_context("cores", "%d", m->cores);
    add_context("processors", "%d", m->processors);
    add_context("processors_available", "%d", m->processors_available);
    add_context("threads", "%d", m->threads);
    add_context("l1d_bytes", "%lld", (long long)m->l1d_bytes);
    add_context("l2_bytes", "%lld", (long long)m->l2_bytes);
    add_context("l3_bytes", "%lld", (long long)m->l3_bytes);
    add_context("compiler", "%s", __VERSION__);
    if (uname(&system) == 0)
        add_context("system", "%s %s %s", system.sysname, system.release, system.machine);
}

/* ---- all of it ---- */

static void add_entries(session *s, entry *entries) {
    const bench_job *job = s->job;
    int count = 0;
    for (int i = 0; i < job->row_count; i++)
        for (int t = 0; t < BENCH_TEAMS && job->threads[t]; t++) {
            char name[64];
            snprintf(name, sizeof name, "%s/t%d", job->rows[i].name, job->threads[t]);
            entries[count] = (entry){s, &job->rows[i], i, job->threads[t]};
            bench_add(name, body, &entries[count++]);
        }
}

int bench_measure(bench_job *job) {
    static char program[] = "attentile", all[] = "--benchmark_display_aggregates_only=false";
    static char json_format[] = "--benchmark_format=json", repetitions[64];
    const int json = argument_value(job->arguments, BENCH_JSON) != NULL;
    char *words[] = {program, all, repetitions, json ? json_format : NULL, NULL};
    snprintf(repetitions, sizeof repetitions, "--benchmark_repetitions=%d", (int)job->repetitions);
    session *s = calloc(1, sizeof *s);
    entry *entries = calloc((size_t)job->row_count * BENCH_TEAMS, sizeof *entries);
    if (!s || !entries || bench_init(json ? 4 : 3, words)) {
        free(s);
        free(entries);
        return failed("bench: out of memory, or Google Benchmark refuses its options");
    }
    s->job = job;
    add_entries(s, entries);
    add_fingerprint(job);
    bench_run(json ? NULL : print_done, s);
    if (s->started)
        bench_print_foot();
    const int code = s->failed ? failed("bench: %d measurement%s failed", s->failed, s->failed == 1 ? "" : "s") : DONE;
    bench_case_free(&s->loaded);
    free(entries);
    free(s);
    return code;
}
