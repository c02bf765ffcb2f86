/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile check`: whether this build computes what it should on this machine. */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "json.h"

enum {
    CHECK_KERNELS,
    CHECK_LAYERS,
    CHECK_SMALL,
    CHECK_ISA,
    CHECK_EXPECT,
    CHECK_NO_GUARDS,
    CHECK_JSON,
    CHECK_OPTION_COUNT
};

void check_count(check_job *job, long passed, long failed_ones) {
    job->passed += passed;
    job->failed += failed_ones;
}

static int read_options(const arguments *arguments, check_job *job) {
    atl_error error;
    const char *isa = argument_value(arguments, CHECK_ISA);
    const int kernels = argument_value(arguments, CHECK_KERNELS) != NULL;
    const int layers = argument_value(arguments, CHECK_LAYERS) != NULL;
    job->kernels = kernels || !layers;
    job->layers = layers || !kernels;
    job->small = argument_value(arguments, CHECK_SMALL) != NULL;
    job->readable_guards = argument_value(arguments, CHECK_NO_GUARDS) != NULL;
    job->found = atl_cpu_best();
    const atl_status status = atl_cpu_choose(isa, &job->limit, &error);
    if (status == ATL_OK)
        return DONE;
    if (isa && strncmp(error.message, "max_isa", 7) == 0)
        return failed("check: --isa%s", error.message + 7); /* it exists, but this machine lacks it */
    return status == ATL_UNSUPPORTED ? failed("%s", error.message) : wrong_usage("%s", error.message);
}

/* The machine that this is must be the one that the caller had in mind: an emulator's, say. */
static int check_expected(const check_job *job, const char *expected) {
    if (expected && strcmp(expected, atl_isa_name(job->found)) != 0)
        return failed("check: another machine (expected %s, found %s)", expected, atl_isa_name(job->found));
    return DONE;
}

static int check_main(const arguments *arguments) {
    check_job job = {0};
    int code = read_options(arguments, &job);
    if (code != DONE)
        return code;
    if (argument_value(arguments, CHECK_JSON)) {
        job.json = json_object();
        json_put(job.json, "version", json_string(atl_version()));
        json_put(job.json, "isa", json_string(atl_isa_name(job.found)));
        json_put(job.json, "checked_up_to", json_string(atl_isa_name(job.limit)));
    } else {
        printf("isa: %s%s%s\n", atl_isa_name(job.found), job.limit == job.found ? "" : ", checked up to ",
               job.limit == job.found ? "" : atl_isa_name(job.limit));
        fflush(stdout);
    }
    code = check_expected(&job, argument_value(arguments, CHECK_EXPECT));
    if (code == DONE && job.kernels)
        code = check_kernels(&job);
    if (code == DONE && job.layers)
        code = check_layers(&job);
    if (code != DONE) {
        json_decref(job.json);
        return code;
    }
    code = job.failed > 0 || job.passed == 0 ? FAILED : DONE;
    if (!job.json) {
        printf("%ld passed, %ld failed\n", job.passed, job.failed);
        return code;
    }
    json_put(job.json, "passed", json_integer(job.passed));
    json_put(job.json, "failed", json_integer(job.failed));
    const int printed = json_print(job.json);
    return code == DONE ? printed : code;
}

static const option_spec options[CHECK_OPTION_COUNT] = {
    [CHECK_KERNELS] = {"kernels", NULL, 0, "Checks only the kernels: one thread, no further processes."},
    [CHECK_LAYERS] = {"layers", NULL, 0, "Checks only the layers."},
    [CHECK_SMALL] = {"small", NULL, 0, "Leaves out most sizes and fills, and all large shapes: for emulated machines."},
    [CHECK_ISA] = {"isa", "ISA", 0,
                   "The highest instruction set to check: scalar, avx2, avx512 or neon. Default: ATTENTILE_MAX_ISA, "
                   "else the best this machine has."},
    [CHECK_EXPECT] = {"expect", "ISA", 0, "Fails at once unless this is the best instruction set of the machine."},
    [CHECK_NO_GUARDS] = {"no-guards", NULL, 0,
                         "Lets kernels read past the ends of their arrays, for emulators that read the lanes which a "
                         "masked load leaves out (QEMU 7.2, for AVX2). Writes are caught all the same."},
    [CHECK_JSON] = {"json", NULL, 0, "Prints one JSON object at the end."},
};

const command_spec check_command = {
    .name = "check",
    .summary = "Check every kernel and every layer of this build on this machine.",
    .options = options,
    .option_count = CHECK_OPTION_COUNT,
    .details = "Kernels: each variant that the machine runs must give the bits of the scalar one of its slot, between\n"
               "pages that may not be touched. Layers: small shapes of every kind, with ordinary values, constants,\n"
               "values near the top of the range, subnormals, NaN and infinities, must lie within the error bound\n"
               "around a float64 computation, and have the same bits on every instruction set, with 1, 2 and 3\n"
               "threads, at every place of a batch. The digests of the scalar kernels and of the layers are those\n"
               "of every other machine that runs this version with the same options.\n"
               "\n"
               "The first line names the machine's best instruction set, the last one says \"N passed, N failed\":\n"
               "kernels, and shapes of layers. Exit status: 0 nothing failed, 1 something did or nothing ran,\n"
               "2 wrong usage. Takes less than a minute on two cores.\n",
    .examples = "  attentile check\n"
                "  attentile check --layers --isa avx2\n"
                "  qemu-x86_64 -cpu max attentile check --small --no-guards --expect avx2\n",
    .run = check_main,
};
