/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

/* "0,17,4095" */
static int parse_rows(const char *text, int64_t **rows, int64_t *count) {
    int64_t commas = 0;
    for (const char *c = text; *c; c++)
        commas += *c == ',';
    *rows = calloc((size_t)commas + 1, sizeof **rows);
    if (!*rows)
        return failed("out of memory");
    const char *at = text;
    for (*count = 0; *count <= commas; ++*count) {
        char *end;
        errno = 0;
        const long long row = strtoll(at, &end, 10);
        if (strspn(at, "0123456789") == 0 || errno || (*end != ',' && *end != '\0'))
            return wrong_usage("--map-rows: expected positions such as 0,17,4095, got \"%s\"", text);
        (*rows)[*count] = row;
        at = end + 1;
    }
    return DONE;
}

static int required(const run_job *job) {
    if (job->arguments->operand_count == 0)
        return wrong_usage("run: the checkpoint is missing (attentile run WEIGHTS.safetensors ...)");
    if (!job->input_path)
        return wrong_usage("run: --input is missing (see attentile run --help)");
    if (!job->output_path)
        return wrong_usage("run: --output is missing (see attentile run --help)");
    if (job->row_count > 0 && !job->map_path)
        return wrong_usage("run: --map-rows needs --map");
    return DONE;
}

int run_read_options(run_job *job) {
    const arguments *arguments = job->arguments;
    job->weights_path = arguments->operands[0];
    job->input_path = argument_value(arguments, RUN_INPUT);
    job->output_path = argument_value(arguments, RUN_OUTPUT);
    job->map_path = argument_value(arguments, RUN_MAP);
    job->key_path = argument_value(arguments, RUN_KEY);
    job->value_path = argument_value(arguments, RUN_VALUE);
    job->mask_path = argument_value(arguments, RUN_MASK);
    const char *rows = argument_value(arguments, RUN_MAP_ROWS);
    int code = rows ? parse_rows(rows, &job->rows, &job->row_count) : DONE;
    if (code == DONE)
        code = required(job);
    if (code == DONE)
        code = argument_params(arguments, RUN_SET, &job->set, &job->set_count);
    if (code == DONE)
        code = argument_params(arguments, RUN_RENAME, &job->renames, &job->rename_count);
    if (code == DONE)
        code = argument_int(arguments, RUN_THREADS, 1, 1024, &job->threads);
    if (code == DONE)
        code = argument_int(arguments, RUN_REPEAT, 1, 1000000, &job->repeat);
    return code;
}
