/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile bench`: how fast the layers are, held against what the machine allows. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

/* Looks at the machine, with which a wrong environment shows. Rows are measured with one thread and with all, or with as
 * many as were asked for. */
static int choose_teams(bench_job *job, int threads) {
    atl_engine *engine;
    const int code = engine_open(threads, &engine, &job->machine);
    if (code != DONE)
        return code;
    snprintf(job->isa, sizeof job->isa, "%s", job->machine.isa);
    snprintf(job->cpu, sizeof job->cpu, "%s", job->machine.cpu);
    job->machine.isa = job->isa;
    job->machine.cpu = job->cpu;
    atl_engine_release(engine);
    job->threads[0] = threads ? job->machine.threads : 1;
    job->threads[1] = threads || job->machine.threads == 1 ? 0 : job->machine.threads;
    return DONE;
}

static int measure(bench_job *job, int threads) {
#ifdef HAVE_GOOGLE_BENCHMARK
    int code = bench_memory_start(job);
    if (code != DONE)
        return code;
    code = choose_teams(job, threads);
    if (code == DONE)
        code = bench_measure(job);
    bench_memory_stop();
    return code;
#else
    (void)job, (void)threads;
    return failed(
        "bench: this build cannot measure (expected Google Benchmark and a C++ compiler when it was configured)");
#endif
}

static int plan(bench_job *job, int threads) {
    const int code = choose_teams(job, 0);
    return code == DONE ? bench_plan_for(job, threads) : code;
}

static int run_job(bench_job *job) {
    int64_t threads = 0, plan_for = 0;
    job->repetitions = bench_suite_repetitions(job);
    int code = argument_int(job->arguments, BENCH_THREADS, 1, 1024, &threads);
    if (code == DONE)
        code = argument_int(job->arguments, BENCH_PLAN_FOR, 1, 1024, &plan_for);
    if (code == DONE)
        code = argument_int(job->arguments, BENCH_REPETITIONS, 1, 1000, &job->repetitions);
    if (code == DONE)
        code = bench_read_rows(job);
    if (code != DONE)
        return code;
    if (argument_value(job->arguments, BENCH_LIST)) {
        bench_list_rows(job);
        return DONE;
    }
    return plan_for ? plan(job, (int)plan_for) : measure(job, (int)threads);
}

static int bench_main(const arguments *arguments) {
    if (argument_value(arguments, BENCH_SUITE) && argument_value(arguments, BENCH_SHAPES))
        return wrong_usage("bench: --suite and --shapes exclude each other");
    if (argument_value(arguments, BENCH_PLAN_FOR) && argument_value(arguments, BENCH_THREADS))
        return wrong_usage("bench: --plan-for and --threads exclude each other");
    if (argument_value(arguments, BENCH_LIST) && argument_value(arguments, BENCH_JSON))
        return wrong_usage("bench: --list and --json exclude each other");
    bench_job job = {.arguments = arguments};
    const int code = run_job(&job);
    free(job.rows);
    return code;
}

static const option_spec options[BENCH_OPTION_COUNT] = {
    [BENCH_FILTER] = {"filter", "REGEX", 0, "Only rows whose name matches the extended regular expression."},
    [BENCH_SUITE] = {"suite", "SUITE", 0,
                     "The rows: layers, masks or growth. layers (the default): shapes of published networks, small "
                     "ones, primes; masks: masks, maps and a "
                     "text as key; growth: time and memory against the number of positions, up to 262,144, which "
                     "takes minutes."},
    [BENCH_SHAPES] = {"shapes", "FILE", 0, "The rows of a file instead, as --list prints them."},
    [BENCH_THREADS] = {"threads", "T", 0, "With T threads only. Default: with one, and with all."},
    [BENCH_REPETITIONS] =
        {"repetitions", "R", 0,
         "Measures each row R times. Each takes at least 0.05 s. Default: 7, and 3 in the suite growth."},
    [BENCH_LIST] = {"list", NULL, 0,
                    "Prints the rows and measures nothing. A row is KIND NAME BATCH SHAPE [KEY=VALUE]..."},
    [BENCH_PLAN_FOR] = {"plan-for", "T", 0,
                        "Shows how runs would be split among T threads. Whatever this machine has: stages, their "
                        "tasks and the tasks' times on one thread, and how much longer than an even share T threads "
                        "would take (imbalance)."},
    [BENCH_JSON] = {"json", NULL, 0,
                    "Prints JSON: Google Benchmark's, with this machine in its context; with --plan-for, one object."},
};

const command_spec bench_command = {
    .name = "bench",
    .summary = "Measure the layers and hold them against what this machine allows.",
    .options = options,
    .option_count = BENCH_OPTION_COUNT,
    .details =
        "A line for each row and number of threads, as it is done: the shortest of the repetitions, the rates of\n"
        "the layer's least work in it, the share of the bound, and the peak memory over inputs and outputs (of a\n"
        "process of its own). The bound is the larger of FLOPs by the multiply-add peak, an exponential counting as\n"
        "its instructions, and of bytes by the stream bandwidth: the best of reading, copying and copying with\n"
        "non-temporal stores, in buffers of the row's own size, which the caches may hold. Peak and bandwidth are\n"
        "measured with as many threads, before each row and every half second while it is repeated. Compare numbers\n"
        "of one run on an idle machine only.\n"
        "\n"
        "ATTENTILE_MAX_ISA chooses the instruction set, ATTENTILE_NUM_THREADS what all threads are.\n",
    .examples = "  attentile bench\n"
                "  attentile bench --filter '^(se|cbam)' --threads 1\n"
                "  attentile bench --suite growth --json > growth.json\n"
                "  attentile bench --list > rows.txt; attentile bench --shapes rows.txt\n"
                "  attentile bench --plan-for 64 --filter '^sas'\n",
    .run = bench_main,
};
