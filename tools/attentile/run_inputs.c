/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "run.h"

int run_check_dtype(const char *path, const atl_array *array) {
    if (array->dtype == ATL_F32)
        return DONE;
    return failed("%s: wrong dtype (expected F32, got %s; in NumPy: x.astype(\"float32\"))", path,
                  atl_dtype_name(array->dtype));
}

/* Key or value: [B, keys, D] with the batch and the width of the input. */
static int read_tensor(const run_job *job, const char *path, atl_array *array) {
    atl_error error;
    char text[256], input[256];
    if (!path)
        return DONE;
    if (atl_npy_read(path, array, &error) != ATL_OK)
        return failed("%s", error.message);
    if (run_check_dtype(path, array) != DONE)
        return FAILED;
    if (array->rank != 3 || job->x.rank != 3 || array->shape[0] != job->x.shape[0] ||
        array->shape[2] != job->x.shape[2])
        return failed("%s: wrong shape (expected [B, keys, D] to go with the input [%s], got [%s])", path,
                      shape_text(job->x.rank, job->x.shape, input, sizeof input),
                      shape_text(array->rank, array->shape, text, sizeof text));
    return DONE;
}

static int read_mask(run_job *job) {
    atl_error error;
    if (!job->mask_path)
        return DONE;
    if (atl_npy_read(job->mask_path, &job->mask, &error) != ATL_OK)
        return failed("%s", error.message);
    if (job->mask.dtype != ATL_U8 && job->mask.dtype != ATL_BOOL)
        return failed("%s: wrong dtype (expected U8 or BOOL, got %s)", job->mask_path, atl_dtype_name(job->mask.dtype));
    return DONE;
}

static int check_lengths(const run_job *job) {
    const int64_t keys = job->key.data ? job->key.shape[1] : job->x.shape[1];
    const int64_t values = job->value.data ? job->value.shape[1] : job->x.shape[1];
    if (keys == values)
        return DONE;
    return failed("%s: key and value differ in length (expected %" PRId64 ", got %" PRId64 "%s)",
                  job->value_path ? job->value_path : job->key_path, keys, values,
                  job->value_path ? "" : " of the input, which stands in for --value");
}

int run_read_inputs(run_job *job) {
    static const int options[] = {RUN_KEY, RUN_VALUE, RUN_MASK};
    for (size_t i = 0; i < sizeof options / sizeof *options && !atl_layer_takes_key(job->layer); i++)
        if (argument_value(job->arguments, options[i]))
            return wrong_usage("--%s: a layer of kind %s takes none", job->arguments->command->options[options[i]].name,
                               atl_layer_kind(job->layer));
    int code = read_tensor(job, job->key_path, &job->key);
    if (code == DONE)
        code = read_tensor(job, job->value_path, &job->value);
    if (code == DONE && (job->key.data || job->value.data))
        code = check_lengths(job);
    return code == DONE ? read_mask(job) : code;
}

int run_check_mask(const run_job *job) {
    if (!job->mask.data)
        return DONE;
    const atl_plan_info *info = &job->plan_info;
    const int64_t full[] = {job->batch, info->heads, info->shape[0], info->key_length};
    const int rank = job->mask.rank;
    char text[256], expected[256];
    for (int i = 0; i < rank; i++)
        if (rank > 4 || (job->mask.shape[i] != 1 && job->mask.shape[i] != full[4 - rank + i]))
            return failed("%s: the mask does not broadcast (expected sizes of 1 or, right-aligned, of [%s], got [%s])",
                          job->mask_path, shape_text(4, full, expected, sizeof expected),
                          shape_text(rank, job->mask.shape, text, sizeof text));
    return DONE;
}
