/* SPDX-License-Identifier: Apache-2.0 */
/* The shared library as a plug-in: loaded, used and unloaded, while its threads have run. */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "attentile/attentile.h"

/* ATTENTILE_TEST_LOADS says how often in a long test. */
static int loads(void) {
    const char *text = getenv("ATTENTILE_TEST_LOADS");
    return text ? atoi(text) : 20;
}

static void *library;

static void *find(const char *name) {
    void *symbol = dlsym(library, name);
    cr_assert(symbol, "%s", dlerror());
    return symbol;
}

#define CALL(function) ((__typeof__(function) *)find(#function))

/* An SE layer over eight samples with four threads; returns y[1]. */
static float use(void) {
    enum { CHANNELS = 16, POSITIONS = 1000, BATCH = 8 };
    static float x[BATCH * CHANNELS * POSITIONS], y[BATCH * CHANNELS * POSITIONS], values[CHANNELS];
    for (int i = 0; i < BATCH * CHANNELS * POSITIONS; i++)
        x[i] = (float)(i % 17);
    for (int i = 0; i < CHANNELS; i++)
        values[i] = 0.01f * (float)i;
    const atl_tensor weights[] = {{"fc.0.weight", values, ATL_F32, 2, {1, CHANNELS}},
                                  {"fc.2.weight", values, ATL_F32, 2, {CHANNELS, 1}}};
    atl_layer_desc desc;
    CALL(atl_layer_desc_init)(&desc);
    desc.kind = "se", desc.tensors = weights, desc.tensor_count = 2;
    atl_engine_options options;
    CALL(atl_engine_options_init)(&options);
    options.threads = 4;
    atl_engine *engine;
    atl_layer *layer;
    atl_plan *plan;
    cr_assert_eq(CALL(atl_engine_create)(&options, &engine, NULL), ATL_OK);
    cr_assert_eq(CALL(atl_layer_create)(&desc, &layer, NULL), ATL_OK);
    cr_assert_eq(CALL(atl_plan_create)(layer, engine, 2, (int64_t[]){CHANNELS, POSITIONS}, NULL, &plan, NULL), ATL_OK);
    cr_assert_eq(CALL(atl_run)(plan, BATCH, x, y, NULL, NULL, NULL), ATL_OK);
    CALL(atl_plan_release)(plan);
    CALL(atl_layer_release)(layer);
    CALL(atl_engine_release)(engine);
    return y[1];
}

Test(unload, after_use, .timeout = 120) {
    float first = 0;
    for (int i = 0; i < loads(); i++) {
        library = dlopen(ATTENTILE_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        cr_assert(library, "%s", dlerror());
        const float got = use();
        if (i == 0)
            first = got;
        cr_expect(got > 0 && memcmp(&got, &first, sizeof got) == 0, "load %d: %a, the first gave %a", i, got, first);
        cr_assert_eq(dlclose(library), 0, "%s", dlerror());
        /* It stays in memory, since threads of an engine that nobody released would go on in it. */
        library = dlopen(ATTENTILE_LIBRARY, RTLD_NOW | RTLD_NOLOAD);
        cr_assert(library, "dlclose has removed the library");
        dlclose(library);
    }
}
