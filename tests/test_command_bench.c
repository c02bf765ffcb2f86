/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile bench`: which rows, what is measured of them, how runs are split, and what is refused. */
#include <jansson.h>

#include "shapes.h"
#include "shell.h"

TestSuite(command_bench, .init = make_command_folder, .fini = remove_folder, .timeout = 200);

/* A row of each kind, as small as they come, and what rows may have besides. */
static const char tiny[] = "# tiny rows\n"
                           "se tiny-se 2 5x3x7 hidden=3\n"
                           "cbam-channel tiny-cbamc 1 5x3x7 hidden=3\n"
                           "cbam-spatial tiny-cbams 1 5x3x7 k=3 # a comment\n"
                           "\n"
                           "cbam-res tiny-cbamr 1 5x3x7 out=4 hidden=2 sa=3\n"
                           "sk tiny-sk 1 4x3x7 m=2 groups=2 d=3\n"
                           "self-attention-spatial tiny-sas 1 5x3x7 d=2 map=1\n"
                           "self-attention-channel tiny-sac 1 5x3x7 out=3\n"
                           "non-local tiny-nl 1 5x3x7 sub=1 bn=1\n"
                           "multi-head tiny-mha 2 5x6 set.num_heads=2 keys=7 mask=3\n"
                           "multi-head tiny-padded 1 5x6 padding=2\n";

enum { TINY_ROWS = 10 };

static void put_tiny(void) {
    put_file("tiny.txt", tiny, strlen(tiny));
}

static json_t *parse(const outcome *o) {
    json_error_t error;
    json_t *root = json_loads(o->out, JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(root, "line %d: %s in \"%.300s\"", error.line, error.text, o->out);
    return root;
}

/* ---------------------------------------------------------------- which rows */

/* A name of the list, wherever it stands. */
static int lists(const char *out, const char *name) {
    char word[64];
    snprintf(word, sizeof word, "  %s  ", name);
    return strstr(out, word) != NULL;
}

static int expect_file_listed(const char *out, const char *list) {
    static shape_row rows[256];
    char path[4096];
    shape_fault fault = {0};
    snprintf(path, sizeof path, SHAPES_DIR "/%s.txt", list);
    const int count = shapes_read(path, rows, 256, &fault);
    cr_assert_gt(count, 0, "%s:%d: %s", path, fault.line, fault.text);
    for (int i = 0; i < count; i++)
        cr_expect(lists(out, rows[i].name), "%s is not listed", rows[i].name);
    return count;
}

static int count_lines(const char *text) {
    int lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

Test(command_bench, list_has_every_row) {
    const outcome *o = shell("\"$A\" bench --list");
    int count = 0;
    expect_done(o);
    for (int i = 0; atl_kind_name(i); i++)
        count += expect_file_listed(o->out, atl_kind_name(i));
    cr_expect_eq(count_lines(o->out), count, "%d lines, %d rows", count_lines(o->out), count);
    o = shell("\"$A\" bench --suite masks --list");
    expect_done(o);
    cr_expect_eq(expect_file_listed(o->out, "masks"), count_lines(o->out));
    o = shell("\"$A\" bench --suite=growth --list");
    expect_done(o);
    cr_expect_eq(expect_file_listed(o->out, "growth"), count_lines(o->out));
}

Test(command_bench, a_list_is_a_file_of_rows) {
    static char first[sizeof(outcome)];
    const outcome *o = shell("\"$A\" bench --list >rows.txt; \"$A\" bench --suite layers --list");
    expect_done(o);
    strcpy(first, o->out);
    o = shell("\"$A\" bench --shapes rows.txt --list");
    expect_done(o);
    cr_expect_str_eq(o->out, first);
}

Test(command_bench, filter_selects_by_name) {
    put_tiny();
    const outcome *o = shell("\"$A\" bench --shapes tiny.txt --list --filter 'cbam(c|s)$|^tiny-nl'");
    expect_done(o);
    cr_expect_eq(count_lines(o->out), 3, "\"%s\"", o->out);
    cr_expect(lists(o->out, "tiny-cbamc") && lists(o->out, "tiny-cbams") && lists(o->out, "tiny-nl"), "\"%s\"", o->out);
}

Test(command_bench, refusals) {
    put_tiny();
    put_file("batch.txt", "# fine\nse a 1 1x1\nse b 0 1x1\n", 29);
    put_file("kind.txt", "es a 1 1x1\n", 11);
    put_file("key.txt", "se a 1 1x1 hiden=3\n", 19);
    put_file("empty.txt", "# nothing\n", 10);
    static const struct {
        const char *line;
        int code;
        const char *reason;
    } cases[] = {
        {"--filter '('", 2, "--filter: expected an extended regular expression, got \"(\""},
        {"--filter none-of-these", 1, "no row's name matches \"none-of-these\""},
        {"--fliter x", 2, "did you mean --filter?"},
        {"--suite all", 2, "--suite: expected layers, masks or growth, got \"all\""},
        {"--suite masks --shapes tiny.txt", 2, "exclude each other"},
        {"--plan-for 2 --threads 2", 2, "exclude each other"},
        {"--list --json", 2, "exclude each other"},
        {"--threads 0", 2, "--threads: expected a whole number from 1 to 1024, got \"0\""},
        {"--plan-for 1025", 2, "--plan-for: expected a whole number from 1 to 1024"},
        {"--repetitions 0", 2, "--repetitions: expected a whole number from 1"},
        {"rows.txt", 2, "one argument too many"},
        {"--shapes absent.txt", 1, "absent.txt: No such file"},
        {"--shapes .", 1, ".: "},
        {"--shapes batch.txt", 1, "batch.txt:3: batch: expected a whole number from 1, got \"0\""},
        {"--shapes kind.txt", 1, "kind.txt: row a: no such kind \"es\""},
        {"--shapes key.txt", 1, "key.txt: row a: se has no key \"hiden\""},
        {"--shapes empty.txt", 1, "empty.txt: no rows"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const outcome *o = shell("\"$A\" bench %s", cases[i].line);
        expect_error(o, cases[i].code, cases[i].reason, cases[i].line);
        cr_expect_str_empty(o->out, "%s", cases[i].line);
    }
    expect_error(shell("ATTENTILE_MAX_ISA=mmx \"$A\" bench --shapes tiny.txt --plan-for 2"), 2, "ATTENTILE_MAX_ISA",
                 "ISA");
}

/* ---------------------------------------------------------------- how runs are split */

static void expect_plan(const json_t *row) {
    const char *name = json_string_value(json_object_get(row, "name"));
    const json_t *stages = json_object_get(row, "stages"), *stage;
    double work = json_number_value(json_object_get(row, "serial_ms")), span = work;
    size_t i;
    cr_expect_gt(json_array_size(stages), 0, "%s: no stages", name);
    json_array_foreach(stages, i, stage) {
        const double stage_work = json_number_value(json_object_get(stage, "work_ms"));
        const double stage_span = json_number_value(json_object_get(stage, "span_ms"));
        const double longest = json_number_value(json_object_get(stage, "longest_ms"));
        const int shared = json_is_true(json_object_get(stage, "shared"));
        cr_expect_gt(json_integer_value(json_object_get(stage, "tasks")), 0, "%s", name);
        cr_expect(stage_span >= longest && stage_span <= stage_work * 1.0001, "%s: span %g, work %g, longest %g", name,
                  stage_span, stage_work, longest);
        cr_expect(shared || stage_span > stage_work * 0.9999, "%s: span %g, work %g", name, stage_span, stage_work);
        work += stage_work;
        span += stage_span;
    }
    const double imbalance = json_number_value(json_object_get(row, "imbalance"));
    cr_expect(imbalance > 0.999 && imbalance < 64.001, "%s: %g", name, imbalance);
    cr_expect(imbalance > 64 * span / work * 0.999 && imbalance < 64 * span / work * 1.001, "%s: %g of %g by %g", name,
              imbalance, span, work);
}

Test(command_bench, plan_for_many_threads) {
    put_tiny();
    put_file("large.txt", "se large-se 3 16x40x40 hidden=3\nmulti-head large-mha 1 600x32 set.num_heads=2\n", 79);
    const outcome *o = shell("cat tiny.txt large.txt >all.txt; \"$A\" bench --shapes all.txt --plan-for 64 --json");
    expect_done(o);
    json_t *root = parse(o), *rows = json_object_get(root, "rows"), *row;
    size_t i;
    int shared = 0;
    cr_expect_eq(json_integer_value(json_object_get(root, "threads")), 64);
    cr_expect_eq(json_array_size(rows), TINY_ROWS + 2);
    json_array_foreach(rows, i, row) {
        expect_plan(row);
        shared += json_number_value(json_object_get(row, "imbalance")) < 60;
    }
    cr_expect_gt(shared, 0, "nothing is split");
    json_decref(root);
    o = shell("\"$A\" bench --shapes tiny.txt --plan-for 64 --filter mha");
    expect_done(o);
    cr_expect(strstr(o->out, "tiny-mha (multi-head, 2x5x6): ") && strstr(o->out, "between stages"), "\"%s\"", o->out);
}

/* With one thread there is nothing to lose. */
Test(command_bench, plan_for_one_thread_is_balanced) {
    put_tiny();
    const outcome *o = shell("\"$A\" bench --shapes tiny.txt --plan-for 1 --json");
    expect_done(o);
    json_t *root = parse(o), *row;
    size_t i;
    json_array_foreach(json_object_get(root, "rows"), i, row) {
        const double imbalance = json_number_value(json_object_get(row, "imbalance"));
        cr_expect(imbalance > 0.999 && imbalance < 1.001, "%s: %g", json_string_value(json_object_get(row, "name")),
                  imbalance);
    }
    json_decref(root);
}

/* ---------------------------------------------------------------- measuring */

#ifdef HAVE_GOOGLE_BENCHMARK

Test(command_bench, a_table_of_every_kind) {
    put_tiny();
    const outcome *o = shell("\"$A\" bench --shapes tiny.txt --repetitions 1 --threads 2");
    expect_done(o);
    cr_expect_eq(count_lines(o->out), 3 + TINY_ROWS + 3, "\"%s\"", o->out);
    int rows = 0;
    for (const char *line = strstr(o->out, "\ntiny-"); line; line = strstr(line + 1, "\ntiny-"), rows++) {
        char bound[16];
        double threads, ms, gflops, gbs, share, peak, plan_ms;
        cr_assert_eq(sscanf(line, " %*s %lf %lf %lf %lf %lf %% %15s %lf %lf", &threads, &ms, &gflops, &gbs, &share,
                            bound, &peak, &plan_ms),
                     8, "%.120s", line);
        cr_expect(threads == 2 && ms > 0 && gflops > 0 && gbs > 0 && share > 0 && plan_ms > 0, "%.120s", line);
        cr_expect(strcmp(bound, "FMA") == 0 || strcmp(bound, "memory") == 0, "%s", bound);
        cr_expect(peak > 0 && peak < 64, "%.120s", line);
    }
    cr_expect_eq(rows, TINY_ROWS);
}

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    cr_expect(json_is_number(value), "no number %s", key);
    return json_number_value(value);
}

Test(command_bench, json_is_google_benchmarks) {
    static const char *const context[] = {"attentile_version", "cpu",       "isa",      "cores",    "threads",
                                          "l1d_bytes",         "l2_bytes",  "l3_bytes", "compiler", "system",
                                          "num_cpus",          "host_name", "date"};
    static const char *const counters[] = {"real_time",   "cpu_time",    "GFLOP/s",  "GB/s",
                                           "bound_share", "fma_GFLOP/s", "peak_MiB", "stream_GB/s",
                                           "stream_MiB",  "iterations",  "plan_ms"};
    put_tiny();
    const outcome *o =
        shell("\"$A\" bench --shapes tiny.txt --filter 'mha|-se' --repetitions 2 --threads 1 --json 2>/dev/null");
    cr_assert_eq(o->code, 0);
    json_t *root = parse(o), *run;
    for (size_t i = 0; i < sizeof context / sizeof *context; i++)
        cr_expect_not_null(json_object_get(json_object_get(root, "context"), context[i]), "no %s", context[i]);
    size_t i;
    int repetitions = 0;
    json_array_foreach(json_object_get(root, "benchmarks"), i, run) {
        if (strcmp(json_string_value(json_object_get(run, "run_type")), "iteration") != 0)
            continue;
        repetitions++;
        cr_expect(strstr(json_string_value(json_object_get(run, "name")), "/t1/process_time/real_time"));
        for (size_t k = 0; k < sizeof counters / sizeof *counters; k++)
            cr_expect_gt(number(run, counters[k]), 0, "%s", counters[k]);
        cr_expect(strstr(json_string_value(json_object_get(run, "label")), "-bound: of "));
    }
    cr_expect_eq(repetitions, 2 * 2);
    json_decref(root);
}

/* One thread and all: a name each. */
Test(command_bench, one_thread_and_all) {
    put_tiny();
    const outcome *o = shell("ATTENTILE_NUM_THREADS=3 \"$A\" bench --shapes tiny.txt --filter tiny-se --repetitions 1");
    expect_done(o);
    cr_expect(strstr(o->out, " 1 ") && strstr(o->out, " 3 "), "\"%s\"", o->out);
    cr_expect_eq(count_lines(o->out), 3 + 2 + 3, "\"%s\"", o->out);
}

static double peak_of(const json_t *benchmarks, const char *name) {
    const json_t *run;
    size_t i;
    json_array_foreach(benchmarks, i, run) if (strncmp(json_string_value(json_object_get(run, "name")), name,
                                                       strlen(name)) == 0) return number(run, "peak_MiB");
    cr_assert_fail("no %s", name);
    return 0;
}

/* The workspace of N positions, 4 * N * (2 * 8 + 64) bytes and some, over input and output of 8 MiB each; se with the same has none. The
 * matrix would have 4 GiB. */
Test(command_bench, peak_memory_is_over_input_and_output) {
    put_file("peak.txt",
             "self-attention-spatial peak-sas 1 64x32768 d=8\n"
             "se peak-se 1 64x32768 hidden=4\n",
             78);
    /* malloc must not touch what nothing uses */
    const outcome *o =
        shell("MALLOC_PERTURB_=0 \"$A\" bench --shapes peak.txt --repetitions 1 --threads 2 --json 2>/dev/null");
    cr_assert_eq(o->code, 0, "code %d", o->code);
    json_t *root = parse(o), *benchmarks = json_object_get(root, "benchmarks");
    const double attention = peak_of(benchmarks, "peak-sas"), excite = peak_of(benchmarks, "peak-se");
    cr_expect(attention > 10 && attention < 30, "%g MiB", attention);
    cr_expect(excite > 0 && excite < 6, "%g MiB", excite);
    json_decref(root);
}

/* What does not fit is said in its place, and is no failure; what is wrong is one. */
Test(command_bench, rows_that_cannot_run) {
    put_file("huge.txt", "se huge 1000000 1000x1000 hidden=4\nse tiny 1 5x3x7 hidden=3\n", 60);
    const outcome *o = shell("ulimit -v 8000000; \"$A\" bench --shapes huge.txt --repetitions 1 --threads 1");
    cr_expect(strstr(o->out, "no memory for the input") || strstr(o->out, "skipped: needs"), "\"%s\"", o->out);
    cr_expect(strstr(o->out, "\ntiny "), "the next row is missing in \"%s\"", o->out);
    put_file("wrong.txt", "multi-head wrong 1 5x6 set.num_heads=4\n", 39);
    o = shell("\"$A\" bench --shapes wrong.txt --repetitions 1 --threads 1");
    cr_expect(strstr(o->out, "num_heads"), "\"%s\"", o->out);
    expect_error(o, 1, "1 measurement failed", "heads that do not divide");
    o = shell("\"$A\" bench --shapes wrong.txt --repetitions 1 --threads 1 --json 2>/dev/null");
    cr_expect_eq(o->code, 1);
    json_t *root = parse(o);
    const json_t *run = json_array_get(json_object_get(root, "benchmarks"), 0);
    cr_expect(json_is_true(json_object_get(run, "error_occurred")));
    json_decref(root);
}

Test(command_bench, streams_and_environment) {
    put_tiny();
    expect_error(shell("\"$A\" bench --shapes tiny.txt --filter tiny-se --repetitions 1 --threads 1 >/dev/full"), 1,
                 "standard output", "full");
    expect_error(shell("ATTENTILE_NUM_THREADS=x \"$A\" bench --shapes tiny.txt"), 2, "ATTENTILE_NUM_THREADS",
                 "threads");
}

#else

Test(command_bench, a_build_that_cannot_measure_says_so) {
    put_tiny();
    const outcome *o = shell("\"$A\" bench --shapes tiny.txt");
    expect_error(o, 1, "this build cannot measure (expected Google Benchmark", "no Google Benchmark");
    cr_expect_str_empty(o->out);
}

#endif
