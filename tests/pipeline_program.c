/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A user of both libraries, for check_faults.py to run under tests/inject.c: a layer from a checkpoint over an array, with its
 * output and its map written.
 *
 *     pipeline_program WEIGHTS.safetensors X.npy Y.npy MAP.npy Y2.npy MAP2.npy
 *
 * Then, with nothing refused any more, the same again to the second pair of files, which must work. Prints the error of the
 * first time. Exit status:
 */
#include <stdio.h>
#include <stdlib.h>

#include "attentile/io.h"

enum { WORKED = 0, CLEAN_ERROR = 1, WRONG_USAGE = 12, NO_SECOND_TRY = 13, NO_MESSAGE = 14, LEAK = 15 };

void inject_start(void) __attribute__((weak));
void inject_stop(void) __attribute__((weak));
long inject_leaked(void) __attribute__((weak));

typedef struct objects {
    atl_checkpoint *checkpoint;
    atl_layer *layer;
    atl_engine *engine;
    atl_plan *plan;
    atl_array x, y, map;
    atl_file *y_file, *map_file;
} objects;

static atl_status load(objects *o, char **paths, atl_error *error) {
    atl_layer_desc desc;
    atl_engine_options options;
    atl_layer_desc_init(&desc);
    desc.kind = "auto";
    atl_engine_options_init(&options);
    options.threads = 3;
    atl_status status = atl_checkpoint_open(paths[0], &o->checkpoint, error);
    if (!status)
        status = atl_layer_load(o->checkpoint, &desc, &o->layer, error);
    if (!status)
        status = atl_npy_read(paths[1], &o->x, error);
    if (!status)
        status = atl_engine_create(&options, &o->engine, error);
    if (!status)
        status = atl_plan_create(o->layer, o->engine, o->x.rank - 1, o->x.shape + 1, NULL, &o->plan, error);
    return status;
}

/* Memory for a result of the batch and the sample's shape. */
static atl_status allocate(atl_array *array, int64_t batch, int rank, const int64_t *shape, atl_error *error) {
    size_t bytes = sizeof(float) * (size_t)batch;
    array->dtype = ATL_F32;
    array->rank = rank + 1;
    array->shape[0] = batch;
    for (int i = 0; i < rank; i++)
        bytes *= (size_t)(array->shape[i + 1] = shape[i]);
    array->data = malloc(bytes);
    if (array->data)
        return ATL_OK;
    snprintf(error->message, sizeof error->message, "no memory for a result");
    return ATL_OUT_OF_MEMORY;
}

static atl_status run(objects *o, atl_error *error) {
    atl_plan_info info = {.size = sizeof info};
    const int64_t batch = o->x.shape[0];
    atl_status status = atl_plan_get_info(o->plan, &info, error);
    if (!status)
        status = allocate(&o->y, batch, info.output_rank, info.output_shape, error);
    if (!status)
        status = allocate(&o->map, batch, info.map_rank, info.map_shape, error);
    if (!status)
        status = atl_run(o->plan, batch, o->x.data, o->y.data, o->map.data, NULL, error);
    return status;
}

static atl_status commit(atl_file **file, atl_error *error) {
    atl_file *whole = *file;
    *file = NULL;
    return atl_file_commit(whole, error);
}

static atl_status use(char **inputs, char **outputs, atl_error *error) {
    objects o = {0};
    atl_status status = load(&o, inputs, error);
    if (!status)
        status = run(&o, error);
    if (!status)
        status = atl_npy_create(outputs[0], &o.y, &o.y_file, error);
    if (!status)
        status = atl_npy_create(outputs[1], &o.map, &o.map_file, error);
    if (!status)
        status = commit(&o.y_file, error);
    if (!status)
        status = commit(&o.map_file, error);
    atl_file_discard(o.y_file);
    atl_file_discard(o.map_file);
    atl_array_clear(&o.x);
    atl_array_clear(&o.y);
    atl_array_clear(&o.map);
    atl_plan_release(o.plan);
    atl_engine_release(o.engine);
    atl_layer_release(o.layer);
    atl_checkpoint_close(o.checkpoint);
    return status;
}

int main(int argc, char **argv) {
    atl_error error = {0}, second = {0};
    if (argc != 7)
        return WRONG_USAGE;
    if (inject_start)
        inject_start();
    const atl_status status = use(argv + 1, argv + 3, &error);
    if (inject_stop)
        inject_stop();
    if (inject_leaked && inject_leaked() != 0)
        return LEAK;
    if (status != ATL_OK && !error.message[0])
        return NO_MESSAGE;
    if (use(argv + 1, argv + 5, &second) != ATL_OK) {
        fprintf(stderr, "%s\n", second.message);
        return NO_SECOND_TRY;
    }
    if (status != ATL_OK)
        fprintf(stderr, "%s\n", error.message);
    return status == ATL_OK ? WORKED : CLEAN_ERROR;
}
