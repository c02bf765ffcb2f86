/* SPDX-License-Identifier: Apache-2.0 */
/* A program as somebody else would write it: a layer, a run, and its output through a file. Prints "y = ..., version". */
#include <attentile/attentile.h>
#include <attentile/io.h>
#include <stdio.h>

static int fail(const atl_error *error) {
    fprintf(stderr, "%s\n", error->message);
    return 1;
}

int main(void) {
    const float down[] = {1, 1}, up[] = {0, 0}; /* gates of sigmoid(0) = 1/2 */
    float x[] = {2, 4, 6, 8}, y[4];
    const int64_t shape[] = {2, 2};
    const atl_tensor weights[] = {{"fc.0.weight", down, ATL_F32, 2, {1, 2}}, {"fc.2.weight", up, ATL_F32, 2, {2, 1}}};
    atl_layer_desc desc;
    atl_engine *engine;
    atl_layer *layer;
    atl_plan *plan;
    atl_error error;
    atl_array array = {ATL_F32, 3, {1, 2, 2}, y}, back;
    atl_layer_desc_init(&desc);
    desc.kind = "se", desc.tensors = weights, desc.tensor_count = 2;
    if (atl_engine_create(NULL, &engine, &error) || atl_layer_create(&desc, &layer, &error) ||
        atl_plan_create(layer, engine, 2, shape, NULL, &plan, &error) || atl_run(plan, 1, x, y, NULL, NULL, &error) ||
        atl_npy_write("y.npy", &array, &error) || atl_npy_read("y.npy", &back, &error))
        return fail(&error);
    const float *values = back.data;
    printf("y = %g %g %g %g, %s\n", values[0], values[1], values[2], values[3], atl_version());
    atl_array_clear(&back);
    atl_plan_release(plan);
    atl_layer_release(layer);
    atl_engine_release(engine);
    return 0;
}
