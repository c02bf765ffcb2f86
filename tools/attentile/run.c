/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile run`: a layer of a checkpoint over an array. */
#include <stdlib.h>

#include "machine.h"
#include "run.h"

static int execute_once(run_job *job, const atl_run_options *options, double *seconds) {
    atl_error error;
    const double start = machine_now();
    if (atl_run(job->plan, job->batch, job->x.data, job->y.data, job->map.data, options, &error) != ATL_OK)
        return failed("%s", error.message);
    *seconds = machine_now() - start;
    return DONE;
}

/* The first run, then those of --repeat; without any, the first is the one that counts. */
static int execute(run_job *job) {
    atl_run_options options;
    atl_run_options_init(&options);
    options.map_rows = job->rows;
    options.map_row_count = job->row_count;
    options.key = job->key.data;
    options.value = job->value.data;
    options.mask = job->mask.data;
    options.mask_rank = job->mask.rank;
    for (int i = 0; i < job->mask.rank; i++)
        options.mask_shape[i] = job->mask.shape[i];
    job->runs = job->repeat > 0 ? (int)job->repeat : 1;
    job->seconds = calloc((size_t)job->runs, sizeof *job->seconds);
    if (!job->seconds)
        return failed("out of memory");
    progress("running %s", atl_layer_kind(job->layer));
    int code = execute_once(job, &options, &job->seconds[0]);
    double shown = machine_now();
    for (int i = 0; i < job->repeat && code == DONE; i++) {
        if (machine_now() - shown > 0.2) {
            progress("run %d of %d", i + 1, job->runs);
            shown = machine_now();
        }
        code = execute_once(job, &options, &job->seconds[i]);
    }
    progress_clear();
    return code;
}

/* Both outputs are complete in temporary files before the first of them gets its name. */
static int write_outputs(const run_job *job) {
    atl_error error;
    atl_file *y = NULL, *map = NULL;
    atl_status status = atl_npy_create(job->output_path, &job->y, &y, &error);
    if (status == ATL_OK && job->map_path)
        status = atl_npy_create(job->map_path, &job->map, &map, &error);
    if (status == ATL_OK) {
        status = atl_file_commit(y, &error);
        y = NULL;
    }
    if (status == ATL_OK && map) {
        status = atl_file_commit(map, &error);
        map = NULL;
    }
    atl_file_discard(y);
    atl_file_discard(map);
    return status == ATL_OK ? DONE : failed("%s", error.message);
}

static void job_free(run_job *job) {
    atl_plan_release(job->plan);
    atl_engine_release(job->engine);
    atl_layer_release(job->layer);
    atl_checkpoint_close(job->checkpoint);
    atl_array_clear(&job->x);
    atl_array_clear(&job->key);
    atl_array_clear(&job->value);
    atl_array_clear(&job->mask);
    free(job->y.data);
    free(job->map.data);
    free(job->rows);
    free(job->seconds);
    params_free(job->set, job->set_count);
    params_free(job->renames, job->rename_count);
}

static int run_main(const arguments *arguments) {
    run_job job = {.arguments = arguments};
    int code = run_read_options(&job);
    if (code == DONE)
        code = run_check_paths(&job);
    if (code == DONE)
        code = run_prepare(&job);
    if (code == DONE)
        code = execute(&job);
    if (code == DONE)
        code = write_outputs(&job);
    if (code == DONE)
        code = run_report(&job);
    job_free(&job);
    return code;
}

static const option_spec options[RUN_OPTION_COUNT] = {
    [RUN_LAYER] = {"layer", "KIND", 0,
                   "The kind of layer. auto recognises it from the names of the weights. Required unless the "
                   "checkpoint's metadata key attentile.layer names it."},
    [RUN_PREFIX] =
        {"prefix", "P", 0,
         "What the names of the weights begin with. The last dot belongs to it: layer1.0.se. is such a prefix."},
    [RUN_RENAME] = {"rename", "OLD=NEW", 1,
                    "The weight that the checkpoint calls OLD (after the prefix) is the layer's NEW. Repeatable."},
    [RUN_SET] = {"set", "NAME=VALUE", 1,
                 "A parameter of the layer, such as activation=silu. Goes before the metadata's attentile.NAME. "
                 "Repeatable."},
    [RUN_INPUT] = {"input", "X.npy", 0, "The input, float32 [B, C, ...], or [C, B, ...] with batch_first=false."},
    [RUN_KEY] = {"key", "K.npy", 0, "The key input [B, keys, D], for a kind that takes one. Default: the input."},
    [RUN_VALUE] = {"value", "V.npy", 0, "The value input, likewise."},
    [RUN_MASK] = {"mask", "M.npy", 0,
                  "A mask, uint8 or bool, 0 = masked, that broadcasts right-aligned to [B, heads, queries, keys]."},
    [RUN_OUTPUT] = {"output", "Y.npy", 0, "Where the output goes; a file there is replaced."},
    [RUN_MAP] = {"map", "A.npy", 0, "Where the attention map goes, for a kind that has one."},
    [RUN_MAP_ROWS] = {"map-rows", "I,J,...", 0, "Limits the map to the rows of these query positions, in this order."},
    [RUN_THREADS] = {"threads", "T", 0,
                     "Threads, 1 to 1024. Default: ATTENTILE_NUM_THREADS, else OMP_NUM_THREADS, else the processors "
                     "available within the cgroup's quota."},
    [RUN_REPEAT] = {"repeat", "R", 0, "Runs R more times and reports the shortest and the median time of these."},
    [RUN_JSON] =
        {"json", NULL, 0,
         "Prints JSON. It has layer, shapes, isa, threads, runs, min_ms, median_ms, gflops, bound_ms (the least "
         "time that this machine's speed allows, measured after the runs), fma_gflops and stream_gbs (that "
         "speed) and peak_mib (of the process)."},
};

const command_spec run_command = {
    .name = "run",
    .summary = "Run a layer of a checkpoint over an array.",
    .operands = "WEIGHTS.safetensors",
    .operands_max = 1,
    .options = options,
    .option_count = RUN_OPTION_COUNT,
    .details = "Arrays are .npy files. Outputs appear whole or not at all.\n",
    .examples = "  attentile run se.safetensors --layer se --input x.npy --output y.npy\n"
                "  attentile run net.safetensors --layer auto --prefix layer1.0.se. \\\n"
                "      --set activation=silu --input x.npy --output y.npy\n"
                "  attentile run sagan.safetensors --layer self-attention-spatial --input x.npy \\\n"
                "      --output y.npy --map a.npy --map-rows 0,17 --repeat 10 --json\n",
    .run = run_main,
};
