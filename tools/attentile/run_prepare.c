/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nearest.h"
#include "run.h"

/* Whether the checkpoint has the tensor; else says which one may have been meant. */
static int check_rename(const run_job *job, const char *prefix, const char *name) {
    const size_t length = strlen(prefix);
    const atl_tensor *tensors = atl_checkpoint_tensors(job->checkpoint);
    atl_nearest nearest = atl_nearest_to(name);
    char hint[128] = "";
    for (size_t i = 0; i < atl_checkpoint_count(job->checkpoint); i++) {
        if (strncmp(tensors[i].name, prefix, length) != 0)
            continue;
        if (strcmp(tensors[i].name + length, name) == 0)
            return DONE;
        atl_nearest_show(&nearest, tensors[i].name + length);
    }
    if (nearest.name)
        snprintf(hint, sizeof hint, "; did you mean \"%s\"?", nearest.name);
    return wrong_usage("%s: --rename: no such tensor (expected the name of one after the prefix \"%s\", got \"%s\"%s)",
                       job->weights_path, prefix, name, hint);
}

/* A misspelt name must not pass for an optional weight that is absent. */
static int check_renames(const run_job *job, const char *prefix) {
    int code = DONE;
    for (size_t i = 0; i < job->rename_count && code == DONE; i++)
        code = check_rename(job, prefix, job->renames[i].name);
    return code;
}

static int load_layer(run_job *job) {
    atl_error error;
    if (atl_checkpoint_open(job->weights_path, &job->checkpoint, &error) != ATL_OK)
        return failed("%s", error.message);
    atl_layer_desc desc;
    atl_layer_desc_init(&desc);
    desc.kind = argument_value(job->arguments, RUN_LAYER);
    desc.prefix = argument_value(job->arguments, RUN_PREFIX);
    desc.params = job->set;
    desc.param_count = job->set_count;
    desc.renames = job->renames;
    desc.rename_count = job->rename_count;
    if (!desc.kind && !atl_checkpoint_metadata(job->checkpoint, "attentile.layer"))
        return wrong_usage("%s: --layer is missing (its metadata has no attentile.layer; --layer auto recognises the "
                           "kind)",
                           job->weights_path);
    if (check_renames(job, desc.prefix ? desc.prefix : "") != DONE)
        return WRONG_USAGE;
    const atl_status status = atl_layer_load(job->checkpoint, &desc, &job->layer, &error);
    if (status == ATL_OK)
        return DONE;
    const char *hint =
        desc.kind && strcmp(desc.kind, "auto") == 0 ? "; see attentile info for the layers in a file" : "";
    failed("%s%s", error.message, hint);
    /* The fault is the command line's when the layer loads without its parameters. */
    desc.param_count = 0;
    if (status == ATL_INVALID_ARGUMENT && job->set_count > 0 &&
        atl_layer_load(job->checkpoint, &desc, &job->layer, NULL) == ATL_OK)
        return WRONG_USAGE;
    return FAILED;
}

/* A layer that has the parameter has checked its value already. */
static int batch_axis(const run_job *job) {
    const char *value = atl_checkpoint_metadata(job->checkpoint, "attentile.batch_first");
    for (size_t i = 0; i < job->set_count; i++)
        if (strcmp(job->set[i].name, "batch_first") == 0)
            value = job->set[i].value;
    return value && (strcmp(value, "false") == 0 || strcmp(value, "0") == 0);
}

static int read_input(run_job *job) {
    atl_error error;
    char text[256];
    if (atl_npy_read(job->input_path, &job->x, &error) != ATL_OK)
        return failed("%s", error.message);
    if (run_check_dtype(job->input_path, &job->x) != DONE)
        return FAILED;
    if (job->x.rank < 2)
        return failed("%s: wrong shape (expected [B, C, ...], got [%s])", job->input_path,
                      shape_text(job->x.rank, job->x.shape, text, sizeof text));
    job->batch_axis = batch_axis(job);
    job->batch = job->x.shape[job->batch_axis];
    return DONE;
}

static int make_plan(run_job *job) {
    atl_error error;
    int64_t shape[ATL_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < job->x.rank; i++)
        if (i != job->batch_axis)
            shape[rank++] = job->x.shape[i];
    atl_plan_options options;
    atl_plan_options_init(&options);
    options.reserve_batch = job->batch;
    options.key_length = job->key.data ? job->key.shape[1] : 0;
    job->plan_info.size = sizeof job->plan_info;
    if (atl_plan_create(job->layer, job->engine, rank, shape, &options, &job->plan, &error) != ATL_OK ||
        atl_plan_get_info(job->plan, &job->plan_info, &error) != ATL_OK)
        return failed("%s: %s", job->input_path, error.message);
    return DONE;
}

/* Memory for the array's shape, aligned as whole cache lines. */
static int allocate(atl_array *array, const char *path) {
    int64_t bytes = sizeof(float);
    char text[256];
    for (int i = 0; i < array->rank; i++)
        if (__builtin_mul_overflow(bytes, array->shape[i], &bytes))
            return failed("%s: [%s] is too large", path, shape_text(array->rank, array->shape, text, sizeof text));
    array->dtype = ATL_F32;
    if (bytes < INT64_MAX - 64)
        array->data = aligned_alloc(64, ((size_t)bytes + 63) / 64 * 64);
    if (!array->data)
        return failed("%s: not enough memory for [%s], %" PRId64 " bytes", path,
                      shape_text(array->rank, array->shape, text, sizeof text), bytes);
    return DONE;
}

static int check_rows(const run_job *job) {
    const int64_t queries = job->plan_info.map_shape[job->plan_info.map_rank - 2];
    for (int64_t i = 0; i < job->row_count; i++)
        if (job->rows[i] >= queries)
            return wrong_usage("--map-rows: no such query position (expected 0 to %" PRId64 ", got %" PRId64 ")",
                               queries - 1, job->rows[i]);
    return DONE;
}

static int allocate_map(run_job *job) {
    const atl_plan_info *info = &job->plan_info;
    if (!job->map_path)
        return DONE;
    if (info->map_rank == 0)
        return wrong_usage("--map: a layer of kind %s has none", atl_layer_kind(job->layer));
    const int code = check_rows(job);
    if (code != DONE)
        return code;
    job->map.rank = info->map_rank + 1;
    job->map.shape[0] = job->batch;
    memcpy(job->map.shape + 1, info->map_shape, sizeof *info->map_shape * (size_t)info->map_rank);
    if (job->row_count > 0)
        job->map.shape[job->map.rank - 2] = job->row_count;
    return allocate(&job->map, job->map_path);
}

static int allocate_output(run_job *job) {
    const atl_plan_info *info = &job->plan_info;
    job->y.rank = info->output_rank + 1;
    for (int i = 0, from = 0; i < job->y.rank; i++)
        job->y.shape[i] = i == job->batch_axis ? job->batch : info->output_shape[from++];
    return allocate(&job->y, job->output_path);
}

int run_prepare(run_job *job) {
    int code = load_layer(job);
    if (code == DONE)
        code = read_input(job);
    if (code == DONE)
        code = run_read_inputs(job);
    if (code == DONE)
        code = engine_open((int)job->threads, &job->engine, &job->engine_info);
    if (code == DONE)
        code = make_plan(job);
    if (code == DONE)
        code = run_check_mask(job);
    if (code == DONE)
        code = allocate_map(job);
    if (code == DONE)
        code = allocate_output(job);
    return code;
}
