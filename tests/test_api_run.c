/* SPDX-License-Identifier: Apache-2.0 */
/* Misuse of plans and runs: an error, and outputs untouched. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

static const char se_line[] = "se se 1 3x4x5 hidden=2";
static const char cbam_channel_line[] = "cbam-channel cbamc 1 3x4x5 hidden=2";
static const char cbam_spatial_line[] = "cbam-spatial cbams 1 3x4x5 k=3";
static const char sas_line[] = "self-attention-spatial sas 1 3x4x5 d=2";

#define SIZE      60 /* of a sample of any of them */
#define MAP_SIZE  400
#define BATCH     3
#define UNTOUCHED 4321.0f

/* ---------------------------------------------------------------- plan */

static void expect_no_plan(const char *what, const layer_case *c, atl_engine *engine, int rank, const int64_t *shape,
                           const atl_plan_options *options, const char *word) {
    atl_plan *const untouched = (atl_plan *)(void *)&se_line;
    atl_plan *plan = untouched;
    atl_error error = {0};
    atl_status status = atl_plan_create(c ? c->layer : NULL, engine, rank, shape, options, &plan, &error);
    cr_expect_eq(status, ATL_INVALID_ARGUMENT, "%s: %s (%s)", what, atl_status_name(status), error.message);
    cr_expect_eq(error.status, status, "%s: error.status is %d", what, (int)error.status);
    cr_expect(strstr(error.message, word), "%s: \"%s\" does not name %s", what, error.message, word);
    cr_expect_eq(plan, untouched, "%s: the output argument has changed", what);
}

static void refuse_plans(const char *line) {
    layer_case c;
    atl_plan_options options;
    atl_error error = {0};
    const int64_t shape[ATL_MAX_RANK] = {3, 4, 5, 1, 1, 1, 1, 1}, wrong[2] = {4, 5};
    case_parse(&c, line, 1);
    atl_engine *engine = case_engine("scalar", 1);
    expect_no_plan("NULL layer", NULL, engine, 3, shape, NULL, "");
    expect_no_plan("NULL engine", &c, NULL, 3, shape, NULL, "");
    expect_no_plan("NULL shape", &c, engine, 3, NULL, NULL, "");
    expect_no_plan("C = 4", &c, engine, 2, wrong, NULL, "4");
    expect_no_plan("rank 1", &c, engine, 1, shape, NULL, "1");
    expect_no_plan("rank 0", &c, engine, 0, shape, NULL, "0");
    expect_no_plan("rank -1", &c, engine, -1, shape, NULL, "-1");
    expect_no_plan("rank 5", &c, engine, 5, shape, NULL, "5");
    expect_no_plan("rank 9", &c, engine, 9, shape, NULL, "9");
    atl_plan_options_init(&options);
    options.reserve_batch = -1;
    expect_no_plan("reserve -1", &c, engine, 3, shape, &options, "-1");
    options.reserve_batch = 1;
    options.size = 0;
    expect_no_plan("size 0", &c, engine, 3, shape, &options, "");
    cr_expect_eq(atl_plan_create(c.layer, engine, 3, shape, NULL, NULL, &error), ATL_INVALID_ARGUMENT);
    atl_plan_options_init(NULL);
    atl_plan_release(NULL);
    atl_engine_release(engine);
    case_free(&c);
}

Test(api_run, plans_that_cannot_be) {
    refuse_plans(se_line);
    refuse_plans(cbam_channel_line);
    refuse_plans(cbam_spatial_line);
    refuse_plans(sas_line);
}

static void expect_info(const char *line, int map_rank) {
    layer_case c;
    case_parse(&c, line, 1);
    atl_engine *engine = case_engine("scalar", 2);
    atl_plan *plan = case_plan(&c, engine);
    atl_plan_info info = {.size = sizeof info};
    atl_error error = {0};
    cr_assert_eq(atl_plan_get_info(plan, &info, &error), ATL_OK, "%s", error.message);
    cr_expect(info.rank == 3 && info.output_rank == 3 && info.map_rank == map_rank, "ranks %d, %d, %d", info.rank,
              info.output_rank, info.map_rank);
    for (int i = 0; i < 3; i++)
        cr_expect(info.shape[i] == c.row.shape[i] && info.output_shape[i] == c.row.shape[i]);
    for (int i = 0; i < map_rank; i++)
        cr_expect_eq(info.map_shape[i], 20, "map axis %d is %lld", i, (long long)info.map_shape[i]);
    cr_expect(info.flops > 0 && info.bytes >= 8 * SIZE, "%g FLOPs, %g bytes", info.flops, info.bytes);
    cr_expect_eq(info.exps >= 400, map_rank > 0, "%g exps", info.exps);
    for (int64_t batch = 1; batch < 4; batch++)
        cr_expect_geq(atl_plan_workspace_size(plan, batch),
                      info.workspace_fixed + (batch < info.workspace_samples ? batch : info.workspace_samples) *
                                                 info.workspace_per_sample);
    cr_expect_geq(info.workspace_samples, 1);
    cr_expect_eq(atl_plan_workspace_size(plan, -1), -1);
    info.size = 1;
    cr_expect_eq(atl_plan_get_info(plan, &info, &error), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_plan_get_info(NULL, &info, &error), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_plan_get_info(plan, NULL, &error), ATL_INVALID_ARGUMENT);
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
}

Test(api_run, plan_info) {
    expect_info(se_line, 0);
    expect_info(cbam_channel_line, 0);
    expect_info(cbam_spatial_line, 0);
    expect_info(sas_line, 2);
}

Test(api_run, describe_writes_like_snprintf) {
    layer_case c;
    case_parse(&c, sas_line, 1);
    atl_engine *engine = case_engine("scalar", 1);
    atl_plan *plan = case_plan(&c, engine);
    size_t length = atl_plan_describe(plan, NULL, 0);
    cr_assert_gt(length, 20, "a description of %zu bytes", length);
    char *whole = malloc(length + 1), *part = malloc(length + 1);
    cr_assert(whole && part);
    cr_expect_eq(atl_plan_describe(plan, whole, length + 1), length);
    cr_expect_eq(strlen(whole), length);
    cr_expect(strstr(whole, "self-attention-spatial") && strchr(whole, '\n'), "%s", whole);
    memset(part, 'x', length + 1);
    cr_expect_eq(atl_plan_describe(plan, part, 10), length);
    cr_expect(strlen(part) == 9 && strncmp(part, whole, 9) == 0 && part[10] == 'x', "cut to \"%.12s\"", part);
    free(part);
    free(whole);
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
}

/* ---------------------------------------------------------------- run */

typedef struct setup {
    layer_case c;
    atl_engine *engine;
    atl_plan *plan;
    atl_run_options options;
    float *x, *y, *map; /* with room for strides and shifted pointers */
} setup;

static void setup_make(setup *s, const char *line) {
    case_parse(&s->c, line, 1);
    s->engine = case_engine("scalar", 2);
    s->plan = case_plan(&s->c, s->engine);
    atl_run_options_init(&s->options);
    s->x = case_alloc(3 * BATCH * SIZE);
    s->y = case_alloc(3 * BATCH * SIZE);
    s->map = case_alloc(3 * BATCH * MAP_SIZE);
    fill(s->x, 3 * BATCH * SIZE, FILL_RANDOM, 1, 3);
    for (int i = 0; i < 3 * BATCH * SIZE; i++)
        s->y[i] = UNTOUCHED;
    for (int i = 0; i < 3 * BATCH * MAP_SIZE; i++)
        s->map[i] = UNTOUCHED;
}

static void setup_free(setup *s) {
    free(s->map);
    free(s->y);
    free(s->x);
    atl_plan_release(s->plan);
    atl_engine_release(s->engine);
    case_free(&s->c);
}

static void expect_status(const char *what, atl_status status, const atl_error *error) {
    cr_expect_eq(status, ATL_INVALID_ARGUMENT, "%s: %s (%s)", what, atl_status_name(status), error->message);
    if (status != ATL_OK)
        cr_expect(error->status == status && error->message[0], "%s: error not filled", what);
}

/* A run that must fail; then nothing of x, y and map has changed. The options are as new afterwards. */
static void refuse(setup *s, const char *what, int64_t batch, const float *x, float *y, float *map) {
    atl_error error = {0};
    float *x_before = case_alloc(3 * BATCH * SIZE);
    memcpy(x_before, s->x, 3 * BATCH * SIZE * sizeof *x_before);
    expect_status(what, atl_run(s->plan, batch, x, y, map, &s->options, &error), &error);
    cr_expect_eq(case_difference(s->x, x_before, 3 * BATCH * SIZE), -1, "%s: x has changed", what);
    for (int i = 0; i < 3 * BATCH * SIZE; i++)
        cr_assert(s->y[i] == UNTOUCHED, "%s: y[%d] has changed", what, i);
    for (int i = 0; i < 3 * BATCH * MAP_SIZE; i++)
        cr_assert(s->map[i] == UNTOUCHED, "%s: map[%d] has changed", what, i);
    atl_run_options_init(&s->options);
    free(x_before);
}

static void refuse_arguments(setup *s) {
    atl_error error = {0};
    expect_status("NULL plan", atl_run(NULL, BATCH, s->x, s->y, NULL, NULL, &error), &error);
    refuse(s, "NULL x", BATCH, NULL, s->y, NULL);
    refuse(s, "NULL y", BATCH, s->x, NULL, NULL);
    refuse(s, "batch 0", 0, s->x, s->y, NULL);
    refuse(s, "batch -1", -1, s->x, s->y, NULL);
    s->options.size = 0;
    refuse(s, "size 0", BATCH, s->x, s->y, NULL);
    s->options.size = sizeof(size_t) - 1;
    refuse(s, "a size too small for itself", BATCH, s->x, s->y, NULL);
}

static void refuse_overlaps(setup *s) {
    refuse(s, "y one element into x", BATCH, s->x, s->x + 1, NULL);
    refuse(s, "y is the second sample of x", BATCH, s->x, s->x + SIZE, NULL);
    refuse(s, "y ends in x", BATCH, s->x + SIZE, s->x + 1, NULL);
    s->options.y_stride = SIZE - 1;
    refuse(s, "samples of y overlap", BATCH, s->x, s->y, NULL);
    s->options.x_stride = SIZE;
    s->options.y_stride = 2 * SIZE;
    refuse(s, "y = x with another stride", BATCH, s->x, s->x, NULL);
    s->options.y_stride = -SIZE;
    refuse(s, "negative stride of y", BATCH, s->x, s->y, NULL);
    s->options.x_stride = -1;
    refuse(s, "negative stride of x", BATCH, s->x, s->y, NULL);
    s->options.x_stride = INT64_MAX;
    refuse(s, "stride past 2^63", BATCH, s->x, s->y, NULL);
}

static void refuse_workspaces(setup *s) {
    int64_t bytes = atl_plan_workspace_size(s->plan, BATCH);
    char *memory = aligned_alloc(64, (size_t)(bytes + 127) / 64 * 64 + 64);
    cr_assert(memory);
    s->options.workspace = memory;
    s->options.workspace_size = bytes - 1;
    refuse(s, "workspace too small", BATCH, s->x, s->y, NULL);
    s->options.workspace = memory + 4;
    s->options.workspace_size = bytes;
    refuse(s, "workspace misaligned", BATCH, s->x, s->y, NULL);
    s->options.workspace = memory;
    s->options.workspace_size = -1;
    refuse(s, "workspace of size -1", BATCH, s->x, s->y, NULL);
    free(memory);
}

static void refuse_samples(setup *s) {
    const size_t size = sizeof(atl_sample);
    float *x = s->x, *y = s->y;
    atl_error error = {0};
    atl_sample same_y[2] = {{.x = x, .y = y}, {.x = x + SIZE, .y = y}};
    atl_sample close_y[2] = {{.x = x, .y = y}, {.x = x + SIZE, .y = y + SIZE - 1}};
    atl_sample into_other[2] = {{.x = x, .y = x + SIZE}, {.x = x + SIZE, .y = y}};
    atl_sample shifted[1] = {{.x = x, .y = x + 3}};
    atl_sample no_x[2] = {{.x = x, .y = y}, {.x = NULL, .y = y + SIZE}};
    atl_sample fine[2] = {{.x = x, .y = y}, {.x = x, .y = y + SIZE}};
    expect_status("same y", atl_run_samples(s->plan, 2, same_y, size, NULL, &error), &error);
    expect_status("close y", atl_run_samples(s->plan, 2, close_y, size, NULL, &error), &error);
    expect_status("y is another's x", atl_run_samples(s->plan, 2, into_other, size, NULL, &error), &error);
    expect_status("y shifted in x", atl_run_samples(s->plan, 1, shifted, size, NULL, &error), &error);
    expect_status("x missing", atl_run_samples(s->plan, 2, no_x, size, NULL, &error), &error);
    expect_status("NULL samples", atl_run_samples(s->plan, 2, NULL, size, NULL, &error), &error);
    expect_status("sample size 0", atl_run_samples(s->plan, 2, fine, 0, NULL, &error), &error);
    expect_status("batch 0", atl_run_samples(s->plan, 0, fine, size, NULL, &error), &error);
    expect_status("NULL plan", atl_run_samples(NULL, 2, fine, size, NULL, &error), &error);
    s->options.x_stride = SIZE;
    expect_status("a stride", atl_run_samples(s->plan, 2, fine, size, &s->options, &error), &error);
    atl_run_options_init(&s->options);
    for (int i = 0; i < 3 * BATCH * SIZE; i++)
        cr_assert(s->y[i] == UNTOUCHED, "y[%d] has changed", i);
    cr_expect_eq(atl_run_samples(s->plan, 2, fine, size, NULL, &error), ATL_OK, "%s", error.message);
}

static void refuse_runs(const char *line) {
    setup s;
    setup_make(&s, line);
    refuse_arguments(&s);
    refuse_overlaps(&s);
    refuse_workspaces(&s);
    refuse_samples(&s);
    setup_free(&s);
}

Test(api_run, channels_past_the_address_space) {
    layer_case c;
    atl_run_options options;
    atl_error error = {0};
    static float x[SIZE], y[SIZE];
    case_parse(&c, "se se 1 5x4x3 hidden=2 set.batch_first=false", 1);
    atl_engine *engine = case_engine("scalar", 1);
    atl_plan *plan = case_plan(&c, engine);
    atl_run_options_init(&options);
    options.x_stride = options.y_stride = INT64_MAX / 8; /* of one channel; five wrap round */
    case_expect_error("stride", atl_run(plan, 1, x, y, NULL, &options, &error), ATL_INVALID_ARGUMENT, &error,
                      CASE_WORDS("x_stride"));
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
}

/* Refused in no time: the samples of a dense tensor are not looked at one by one. */
Test(api_run, batch_past_memory) {
    layer_case c;
    atl_error error = {0};
    static float x[SIZE];
    case_parse(&c, sas_line, 1);
    atl_engine *engine = case_engine("scalar", 1);
    atl_plan *plan = case_plan(&c, engine);
    case_expect_error("batch", atl_run(plan, INT64_C(1) << 54, x, x, NULL, NULL, &error), ATL_INVALID_ARGUMENT, &error,
                      CASE_WORDS("batch", "18014398509481984"));
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
}

Test(api_run, misuse_se) {
    refuse_runs(se_line);
}

Test(api_run, misuse_cbam_channel) {
    refuse_runs(cbam_channel_line);
}

Test(api_run, misuse_cbam_spatial) {
    refuse_runs(cbam_spatial_line);
}

Test(api_run, images_of_another_rank) {
    layer_case c;
    case_parse(&c, cbam_spatial_line, 1);
    atl_engine *engine = case_engine("scalar", 1);
    expect_no_plan("rank 2", &c, engine, 2, (int64_t[]){3, 20}, NULL, "expected rank 3, got rank 2");
    expect_no_plan("rank 4", &c, engine, 4, (int64_t[]){3, 4, 5, 1}, NULL, "expected rank 3, got rank 4");
    atl_engine_release(engine);
    case_free(&c);
}

Test(api_run, misuse_self_attention_spatial) {
    refuse_runs(sas_line);
}

Test(api_run, maps) {
    setup s;
    const int64_t bad[3][2] = {{0, 20}, {-1, 0}, {0, INT64_MAX}}, good[2] = {19, 0};
    setup_make(&s, se_line);
    refuse(&s, "a map of se", BATCH, s.x, s.y, s.map);
    setup_free(&s);
    setup_make(&s, sas_line);
    for (int i = 0; i < 3; i++) {
        s.options.map_rows = bad[i];
        s.options.map_row_count = 2;
        refuse(&s, "map row out of range", BATCH, s.x, s.y, s.map);
    }
    s.options.map_rows = good;
    s.options.map_row_count = 0;
    refuse(&s, "no map rows", BATCH, s.x, s.y, s.map);
    s.options.map_rows = good;
    s.options.map_row_count = -1;
    refuse(&s, "-1 map rows", BATCH, s.x, s.y, s.map);
    s.options.map_row_count = 2;
    refuse(&s, "a count without rows", BATCH, s.x, s.y, s.map);
    s.options.map_rows = good;
    s.options.map_row_count = 2;
    s.options.map_stride = 39;
    refuse(&s, "maps overlap", BATCH, s.x, s.y, s.map);
    refuse(&s, "map is x", 1, s.map, s.y, s.map);
    refuse(&s, "map is y", 1, s.x, s.map, s.map + 1);
    atl_sample samples[2] = {{.x = s.x, .y = s.y, .map = s.map}, {.x = s.x, .y = s.y + SIZE}};
    atl_error error = {0};
    expect_status("one map of two", atl_run_samples(s.plan, 2, samples, sizeof *samples, NULL, &error), &error);
    setup_free(&s);
}

/* Handles may go in any order: a plan keeps its layer and engine. */
Test(api_run, release_in_any_order) {
    setup s;
    float y[SIZE];
    setup_make(&s, sas_line);
    case_run(s.plan, 1, s.x, s.y, NULL, NULL);
    atl_plan *plan = atl_plan_retain(s.plan);
    cr_expect_eq(plan, s.plan);
    cr_expect_eq(atl_layer_retain(s.c.layer), s.c.layer);
    cr_expect_eq(atl_engine_retain(s.engine), s.engine);
    atl_layer_release(s.c.layer);
    atl_engine_release(s.engine);
    atl_plan_release(plan);
    atl_layer *layer = s.c.layer;
    s.c.layer = NULL;
    atl_layer_release(layer); /* the last of each but the plan's own */
    atl_engine_release(s.engine);
    s.engine = NULL;
    case_run(s.plan, 1, s.x, y, NULL, NULL);
    cr_expect_eq(case_difference(y, s.y, SIZE), -1, "other bits after the handles went");
    setup_free(&s);
}
