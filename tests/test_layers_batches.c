/* SPDX-License-Identifier: Apache-2.0 */
/* Batches larger than what is under way at once: the same bits, the same workspace, for every kind, dense and scattered. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

enum { BATCH = 300 };

/* One sample at a time: what every other way must give. */
static void one_by_one(const layer_case *c, const atl_plan *plan, const float *x, float *y, float *map) {
    for (int64_t b = 0; b < BATCH; b++)
        case_run(plan, 1, x + b * c->size, y + b * c->out_size, map ? map + b * c->map_size : NULL, NULL);
}

static void expect_same(const char *what, const layer_case *c, const float *got, const float *want, int64_t count) {
    cr_expect_eq(case_difference(got, want, count), -1, "%s: %s differs", c->row.name, what);
}

/* Every sample with pointers of its own, the last first. */
static void scattered(const layer_case *c, const atl_plan *plan, float *x, float *y, float *map) {
    static atl_sample samples[BATCH];
    atl_error error;
    for (int64_t b = 0; b < BATCH; b++) {
        int64_t from = BATCH - 1 - b;
        samples[b] = (atl_sample){
            .x = x + from * c->size, .y = y + from * c->out_size, .map = map ? map + from * c->map_size : NULL};
    }
    cr_assert_eq(atl_run_samples(plan, BATCH, samples, sizeof *samples, NULL, &error), ATL_OK, "%s", error.message);
}

static void check_kind(const char *line, int threads) {
    layer_case c;
    case_parse(&c, line, 7);
    atl_engine *engine = case_engine("scalar", threads);
    atl_plan *plan = case_plan(&c, engine);
    float *x = case_alloc(BATCH * c.size), *y = case_alloc(BATCH * c.out_size), *want = case_alloc(BATCH * c.out_size);
    float *map = c.map_size ? case_alloc(BATCH * c.map_size) : NULL;
    float *want_map = c.map_size ? case_alloc(BATCH * c.map_size) : NULL;
    fill(x, BATCH * c.size, FILL_RANDOM, 1, 11);
    one_by_one(&c, plan, x, want, want_map);
    case_run(plan, BATCH, x, y, map, NULL);
    expect_same("y", &c, y, want, BATCH * c.out_size);
    expect_same("map", &c, map, want_map, BATCH * c.map_size);
    memset(y, 0, (size_t)(BATCH * c.out_size) * sizeof *y);
    scattered(&c, plan, x, y, map);
    expect_same("y of scattered samples", &c, y, want, BATCH * c.out_size);
    expect_same("map of scattered samples", &c, map, want_map, BATCH * c.map_size);
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
    free(x), free(y), free(want), free(map), free(want_map);
}

Test(batches, larger_than_what_is_under_way) {
    static const char *const lines[] = {"se se 1 7x5x3 hidden=2",
                                        "cbam-channel cbamc 1 7x5x3 hidden=2",
                                        "cbam-spatial cbams 1 7x5x3 k=3",
                                        "cbam-res cbamr 1 3x5x3 out=4 hidden=2 sa=3",
                                        "sk sk 1 4x5x3 m=2 groups=2 d=3",
                                        "self-attention-spatial sas 1 5x3x5 d=2",
                                        "self-attention-channel sac 1 5x3x5 out=3",
                                        "non-local nl 1 5x4x5 sub=1 bn=1",
                                        "multi-head mha 1 9x6 set.num_heads=2"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        for (int threads = 1; threads <= 3; threads++)
            check_kind(lines[i], threads);
}

/* A machine with next to no cache: outputs then go past it, and the next sample is read while one is written. */
Test(batches, past_the_cache) {
    static const char *const lines[] = {"se se 1 7x17x19 hidden=2", "cbam-channel cbamc 1 7x17x19 hidden=2",
                                        "cbam-spatial cbams 1 7x17x19 k=5", "sk sk 1 2x17x19 m=2 groups=2 d=2"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        layer_case c;
        case_parse(&c, lines[i], 7);
        float *x = case_alloc(BATCH * c.size), *y = case_alloc(BATCH * c.out_size),
              *want = case_alloc(BATCH * c.out_size);
        fill(x, BATCH * c.size, FILL_RANDOM, 1, 11);
        unsetenv("HWLOC_SYNTHETIC");
        atl_engine *plain = case_engine("scalar", 1);
        atl_plan *one = case_plan(&c, plain);
        one_by_one(&c, one, x, want, NULL);
        setenv("HWLOC_SYNTHETIC", "package:1 l3:1(size=4096) core:4 pu:1", 1);
        for (int k = 0; k < CASE_ISAS; k++)
            for (int threads = 1; threads <= 3; threads++) {
                atl_engine *engine = case_engine(case_isas[k], threads);
                atl_engine_info info = {.size = sizeof info};
                if (!engine)
                    continue;
                cr_assert_eq(atl_engine_get_info(engine, &info, NULL), ATL_OK);
                cr_assert_eq(info.l3_bytes, 4096, "%lld bytes of cache", (long long)info.l3_bytes);
                atl_plan *plan = case_plan(&c, engine);
                case_run(plan, BATCH, x, y, NULL, NULL);
                expect_same(case_isas[k], &c, y, want, BATCH * c.out_size);
                atl_plan_release(plan);
                atl_engine_release(engine);
            }
        atl_plan_release(one);
        atl_engine_release(plain);
        case_free(&c);
        free(x), free(y), free(want);
    }
}

static void stops_growing(const char *line) {
    layer_case c;
    case_parse(&c, line, 7);
    atl_engine *engine = case_engine("scalar", 2);
    atl_plan *plan = case_plan(&c, engine);
    atl_plan_info info = {.size = sizeof info};
    cr_assert_eq(atl_plan_get_info(plan, &info, NULL), ATL_OK);
    cr_expect(info.workspace_samples >= 1 && info.workspace_samples < BATCH, "%lld samples under way at once",
              (long long)info.workspace_samples);
    cr_expect_eq(atl_plan_workspace_size(plan, BATCH), atl_plan_workspace_size(plan, info.workspace_samples));
    cr_expect_lt(atl_plan_workspace_size(plan, info.workspace_samples - 1), atl_plan_workspace_size(plan, BATCH));
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
}

/* The workspace of self-attention stops growing, so that a batch may have any size. */
Test(batches, workspace_stops_growing) {
    stops_growing("self-attention-spatial sas 1 5x3x5 d=2");
    stops_growing("self-attention-channel sac 1 5x3x5 out=3");
}
