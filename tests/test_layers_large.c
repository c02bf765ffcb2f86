/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes at the edges of integers: N*N past 2^31 and 2^32 is right, and what cannot fit is an error that costs nothing.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

/* ---------------------------------------------------------------- sizes that cannot be */

static void expect_refused(const char *kind_line, int rank, const int64_t *shape) {
    layer_case c;
    atl_plan *plan = NULL;
    atl_error error = {0};
    case_parse(&c, kind_line, 1);
    atl_engine *engine = case_engine("scalar", 1);
    atl_status status = atl_plan_create(c.layer, engine, rank, shape, NULL, &plan, &error);
    cr_expect(status == ATL_INVALID_ARGUMENT || status == ATL_OUT_OF_MEMORY, "%s, rank %d, [%lld, %lld, ...]: %s",
              c.row.kind, rank, (long long)shape[0], (long long)shape[1], atl_status_name(status));
    cr_expect_eq(error.status, status, "error.status %d, status %d", (int)error.status, (int)status);
    cr_expect(error.message[0], "no message");
    cr_expect_null(plan, "a plan in spite of %s", error.message);
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
}

static void refuse_all(const char *kind_line) {
    const int64_t big = INT64_C(1) << 31;
    const int64_t shapes[][4] = {
        {4, 0, 5, 1},         {4, 5, 0, 1},       {4, -1, 5, 1},        {4, 5, -7, 1},      {0, 5, 5, 1},
        {-4, 5, 5, 1},        {4, big, big, 1},   {4, big, 2 * big, 1}, {4, INT64_MAX, 1},  {4, INT64_MAX, 2, 1},
        {4, INT64_MIN, 1, 1}, {4, big, big, big}, {4, big, -big, 1},    {4, -big, -big, 1},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        expect_refused(kind_line, 3, shapes[i]);
        expect_refused(kind_line, 4, shapes[i]);
    }
    expect_refused(kind_line, 2, (int64_t[]){4, INT64_MAX});
    expect_refused(kind_line, 2, (int64_t[]){4, INT64_MAX / 8});
}

Test(large, impossible_shapes_se) {
    refuse_all("se s 1 4x5 hidden=2");
}

Test(large, impossible_shapes_cbam_channel) {
    refuse_all("cbam-channel c 1 4x5 hidden=2");
}

Test(large, impossible_shapes_cbam_spatial) {
    refuse_all("cbam-spatial c 1 4x5x1 k=7");
}

Test(large, impossible_shapes_cbam_res) {
    refuse_all("cbam-res c 1 4x5x1 out=3");
}

Test(large, impossible_shapes_sk) {
    refuse_all("sk s 1 4x5x1 m=2 groups=2 d=3");
}

Test(large, impossible_shapes_self_attention_spatial) {
    refuse_all("self-attention-spatial s 1 4x5 d=1");
}

Test(large, impossible_shapes_self_attention_channel) {
    refuse_all("self-attention-channel s 1 4x5 out=3");
}

Test(large, impossible_shapes_non_local) {
    refuse_all("non-local s 1 4x5");
    refuse_all("non-local s 1 4x5x4 sub=1");
    refuse_all("non-local s 1 4x5x4x2 sub=1 bn=1");
}

Test(large, impossible_batches) {
    static const char *const lines[] = {"se s 1 4x5 hidden=2",
                                        "cbam-channel c 1 4x5 hidden=2",
                                        "cbam-spatial c 1 4x5x1 k=7",
                                        "cbam-res c 1 4x5x1 out=4 set.stride=1",
                                        "sk s 1 4x5x1 m=2 groups=2 d=3",
                                        "self-attention-spatial s 1 4x5 d=1",
                                        "self-attention-channel s 1 4x5",
                                        "non-local s 1 4x5"};
    static const int64_t batches[] = {0, -1, INT64_MIN, INT64_MAX, INT64_MAX / 4, INT64_C(1) << 62, INT64_C(1) << 60};
    atl_engine *engine = case_engine("scalar", 1);
    for (size_t k = 0; k < sizeof lines / sizeof *lines; k++) {
        layer_case c;
        float x[20] = {0}, y[20] = {0};
        case_parse(&c, lines[k], 1);
        atl_plan *plan = case_plan(&c, engine);
        for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
            atl_error error = {0};
            atl_status status = atl_run(plan, batches[i], x, y, NULL, NULL, &error);
            cr_expect(status == ATL_INVALID_ARGUMENT || status == ATL_OUT_OF_MEMORY, "%s, batch %lld: %s", c.row.kind,
                      (long long)batches[i], atl_status_name(status));
            cr_expect(error.message[0], "no message");
        }
        atl_plan_info info = {.size = sizeof info};
        atl_plan_get_info(plan, &info, NULL);
        cr_expect_eq(atl_plan_workspace_size(plan, INT64_MAX) == -1, info.workspace_samples == INT64_MAX,
                     "%s: workspace of 2^63 - 1 samples", c.row.kind);
        cr_expect_gt(atl_plan_workspace_size(plan, 2), 0, "%s: workspace of 2 samples", c.row.kind);
        atl_plan_release(plan);
        case_free(&c);
    }
    atl_engine_release(engine);
}

/* ---------------------------------------------------------------- memory */

static int64_t workspace_of(const char *kind_line, int threads) {
    layer_case c;
    case_parse(&c, kind_line, 1);
    atl_engine *engine = case_engine("scalar", threads);
    atl_plan *plan = case_plan(&c, engine);
    int64_t bytes = atl_plan_workspace_size(plan, 1);
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
    return bytes;
}

/* 65,536 positions, whose matrix would take 16 GiB: within 128 MiB, and no more per position than a quarter of them. */
Test(large, memory_grows_with_positions_not_with_their_square) {
    for (int threads = 1; threads <= 8; threads *= 2) {
        int64_t quarter = workspace_of("self-attention-spatial quarter 1 64x128x128 d=8", threads);
        int64_t whole = workspace_of("self-attention-spatial whole 1 64x256x256 d=8", threads);
        cr_expect(whole > 0 && whole <= INT64_C(128) << 20, "%d threads: %lld bytes", threads, (long long)whole);
        cr_expect_leq(whole, 4 * quarter, "%d threads: %lld bytes, %lld for a quarter of the positions", threads,
                      (long long)whole, (long long)quarter);
    }
}

/* Channels attend to one another within what the input takes up, however many positions there are. */
Test(large, memory_of_channel_attention) {
    static const char *const lines[] = {"self-attention-channel gram 1 64x256x256",
                                        "self-attention-channel projected 1 64x256x256 out=8"};
    for (int threads = 1; threads <= 8; threads *= 2)
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
            int64_t bytes = workspace_of(lines[i], threads);
            cr_expect(bytes > 0 && bytes <= 64 * 65536 * 4, "%d threads, %s: %lld bytes", threads, lines[i],
                      (long long)bytes);
        }
}

/* ---------------------------------------------------------------- large N */

#define ROWS 6

static void expect_share(const char *what, const float *got, const double *want, const double *bound, int64_t count) {
    int64_t worst;
    double share = oracle_error_share(got, want, bound, count, &worst);
    cr_expect_leq(share, 1, "%s[%lld] = %.9g, want %.17g, bound %g, share %g", what, (long long)worst,
                  (double)got[worst], want[worst], bound[worst], share);
}

/* Sampled query positions, with their map rows, against the oracle. */
static void large(int64_t n) {
    layer_case c;
    char line[96];
    snprintf(line, sizeof line, "self-attention-spatial large 1 4x%lld d=1", (long long)n);
    case_parse(&c, line, 81);
    const int64_t rows[ROWS] = {0, n - 1, n / 2, 46340 % n, 32768 % n, n - 2};
    float *x = case_alloc(c.size), *y = case_alloc(c.size), *map = case_alloc(ROWS * n);
    double *want = malloc((2 * 4 * ROWS + 2 * ROWS * (size_t)n) * sizeof *want);
    cr_assert(want);
    double *bound = want + 4 * ROWS, *map_want = bound + 4 * ROWS, *map_bound = map_want + ROWS * n;
    fill(x, c.size, FILL_RANDOM, 1.5f, 83);
    cr_assert_eq(
        oracle_run(c.oracle, c.row.rank, c.row.shape, x, ORACLE_RANDOM, rows, ROWS, want, bound, map_want, map_bound),
        0);
    atl_engine *engine;
    cr_assert_eq(atl_engine_create(NULL, &engine, NULL), ATL_OK);
    atl_plan *plan = case_plan(&c, engine);
    atl_run_options options;
    atl_run_options_init(&options);
    options.map_rows = rows;
    options.map_row_count = ROWS;
    for (int with_map = 0; with_map < 2; with_map++) {
        float sampled[4 * ROWS];
        case_run(plan, 1, x, y, with_map ? map : NULL, with_map ? &options : NULL);
        for (int i = 0; i < 4 * ROWS; i++)
            sampled[i] = y[i / ROWS * n + rows[i % ROWS]];
        expect_share("y", sampled, want, bound, 4 * ROWS);
    }
    expect_share("map", map, map_want, map_bound, ROWS * n);
    atl_plan_release(plan);
    atl_engine_release(engine);
    free(want);
    free(map);
    free(y);
    free(x);
    case_free(&c);
}

/* The smallest N whose square passes 2^31, and one whose square is 2^32: about 40 GFLOP, so only when asked for. */
Test(large, energy_matrix_past_32_bits) {
    if (!case_slow())
        cr_skip_test("ATTENTILE_SLOW=1 runs N = 46,341 and 65,536");
    large(46341);
    large(65536);
}

/* A smaller N that the default suite affords: several blocks of keys, a tail, several tasks. */
Test(large, thousands_of_positions) {
    large(5003);
}
