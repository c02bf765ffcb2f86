/* SPDX-License-Identifier: Apache-2.0 */
/* Misuse of engines, the environment they read, and what they tell about themselves. */
#include <criterion/criterion.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

static void expect_no_engine(const char *what, const atl_engine_options *options, atl_status want,
                             const char *const words[]) {
    atl_engine *const untouched = (atl_engine *)(void *)&options;
    atl_engine *engine = untouched;
    atl_error error = {0};
    case_expect_error(what, atl_engine_create(options, &engine, &error), want, &error, words);
    cr_expect_eq(engine, untouched, "%s: the output argument has changed", what);
}

Test(api, engine_options) {
    atl_engine_options options;
    atl_error error = {0};
    case_expect_error("NULL engine", atl_engine_create(NULL, NULL, &error), ATL_INVALID_ARGUMENT, &error, NULL);
    atl_engine_options_init(&options);
    options.threads = -1;
    expect_no_engine("-1 threads", &options, ATL_INVALID_ARGUMENT, CASE_WORDS("-1"));
    options.threads = 1025;
    expect_no_engine("1025 threads", &options, ATL_INVALID_ARGUMENT, CASE_WORDS("1025", "1024"));
    options.threads = 1;
    options.max_isa = "sse9";
    expect_no_engine("unknown ISA", &options, ATL_INVALID_ARGUMENT, CASE_WORDS("sse9"));
#if defined(__x86_64__)
    options.max_isa = "neon";
    expect_no_engine("neon on x86", &options, ATL_UNSUPPORTED, CASE_WORDS("neon"));
#endif
    options.max_isa = NULL;
    options.size = 0;
    expect_no_engine("size 0", &options, ATL_INVALID_ARGUMENT, NULL);
    atl_engine_release(NULL);
    atl_engine_options_init(NULL);
}

Test(api, engine_environment) {
    static const char *const bad_threads[] = {"0", "-3", "x", "", "1025", "2x", "99999999999999999999"};
    static const char *const bad_isas[] = {"", "AVX", "avx 2", "everything"};
    atl_engine_options options;
    atl_engine_options_init(&options);
    for (size_t i = 0; i < sizeof bad_threads / sizeof *bad_threads; i++) {
        setenv("ATTENTILE_NUM_THREADS", bad_threads[i], 1);
        expect_no_engine(bad_threads[i], NULL, ATL_INVALID_ARGUMENT,
                         CASE_WORDS("ATTENTILE_NUM_THREADS", bad_threads[i]));
    }
    options.threads = 2; /* a wrong variable is an error even where it would not count */
    options.max_isa = "scalar";
    expect_no_engine("options beside a wrong variable", &options, ATL_INVALID_ARGUMENT,
                     CASE_WORDS("ATTENTILE_NUM_THREADS"));
    setenv("ATTENTILE_NUM_THREADS", "3", 1);
    setenv("ATTENTILE_MAX_ISA", "AVX", 1);
    expect_no_engine("options beside a wrong variable", &options, ATL_INVALID_ARGUMENT,
                     CASE_WORDS("ATTENTILE_MAX_ISA"));
    atl_engine_options_init(&options);
    for (size_t i = 0; i < sizeof bad_isas / sizeof *bad_isas; i++) {
        setenv("ATTENTILE_MAX_ISA", bad_isas[i], 1);
        expect_no_engine(bad_isas[i], NULL, ATL_INVALID_ARGUMENT, CASE_WORDS("ATTENTILE_MAX_ISA", bad_isas[i]));
    }
    setenv("ATTENTILE_MAX_ISA", "scalar", 1);
    atl_engine *engine = NULL;
    atl_error error;
    atl_engine_info info = {.size = sizeof info};
    cr_assert_eq(atl_engine_create(&options, &engine, &error), ATL_OK, "%s", error.message);
    cr_assert_eq(atl_engine_get_info(engine, &info, &error), ATL_OK, "%s", error.message);
    cr_expect_eq(info.threads, 3, "ATTENTILE_NUM_THREADS=3 gave %d", info.threads);
    cr_expect_eq(info.threads_requested, 3, "requested %d", info.threads_requested);
    cr_expect_str_eq(info.isa, "scalar");
    atl_engine_release(engine);
}

Test(api, engine_info) {
    atl_engine *engine = case_engine("scalar", 2);
    struct {
        atl_engine_info info;
        unsigned char more[8];
    } wide = {.info.size = sizeof wide, .more = {0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa}};
    atl_error error = {0};
    cr_expect_eq(atl_engine_get_info(engine, &wide.info, &error), ATL_OK, "%s", error.message);
    cr_expect_str_eq(wide.info.isa, "scalar");
    cr_expect(wide.info.isa_found && wide.info.isa_found[0] && wide.info.cpu && wide.info.cpu[0]);
    cr_expect_eq(wide.info.threads_requested, 2);
    cr_expect_gt(wide.info.processors_available, 0);
    cr_expect(wide.info.quota >= 0, "quota %g", wide.info.quota);
    cr_expect_eq(wide.more[7], 0xaa, "wrote past the struct it knows");
    atl_engine_info small;
    memset(&small, 0x5a, sizeof small);
    small.size = offsetof(atl_engine_info, isa);
    cr_expect_eq(atl_engine_get_info(engine, &small, &error), ATL_OK, "%s", error.message);
    cr_expect_eq(small.threads, 2);
    cr_expect_eq(((unsigned char *)&small)[offsetof(atl_engine_info, isa)], 0x5a,
                 "wrote past an older caller's struct");
    small.size = 0;
    case_expect_error("info of size 0", atl_engine_get_info(engine, &small, &error), ATL_INVALID_ARGUMENT, &error,
                      NULL);
    case_expect_error("NULL info", atl_engine_get_info(engine, NULL, &error), ATL_INVALID_ARGUMENT, &error, NULL);
    case_expect_error("NULL engine", atl_engine_get_info(NULL, &wide.info, &error), ATL_INVALID_ARGUMENT, &error, NULL);
    const char *slot, *name;
    int kernels = 0;
    for (; atl_engine_kernel(engine, kernels, &slot, &name); kernels++)
        cr_expect(slot[0] && strncmp(name, "atl_", 4) == 0, "kernel %d: %s, %s", kernels, slot, name);
    cr_expect_gt(kernels, 0, "an engine without kernels");
    cr_expect_eq(atl_engine_kernel(engine, 0, NULL, NULL), 1);
    cr_expect_eq(atl_engine_kernel(engine, -1, &slot, &name), 0);
    atl_engine_release(engine);
}
