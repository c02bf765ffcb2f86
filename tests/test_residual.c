/* SPDX-License-Identifier: Apache-2.0 */
/* cbam-res: what it refuses, what it infers, results that are exact, and how far a NaN reaches. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

static const char plain_line[] = "cbam-res plain 1 5x6x7 out=4 k=3 hidden=2 sa=3";

/* ---------------------------------------------------------------- weights */

/* Each weight with another shape, that of [4, 5, 3, 3] and so on being right. */
static const struct {
    const char *name;
    int rank;
    int64_t shape[4];
    const char *words[3];
} wrong_shapes[] = {
    {"conv1.weight", 4, {4, 5, 2, 2}, {"conv1.weight", "odd", "2 x 2"}},
    {"conv1.weight", 4, {4, 5, 3, 1}, {"conv1.weight", "equal", "[4, 5, 3, 1]"}},
    {"conv1.weight", 2, {4, 45}, {"conv1.weight", "rank", "[4, 45]"}},
    {"conv1.weight", 4, {3, 5, 3, 3}, {"bn1.weight", "contradicts conv1.weight", "o=3"}},
    {"bn1.running_mean", 1, {3}, {"bn1.running_mean", "contradicts conv1.weight", "[3]"}},
    {"bn1.bias", 1, {2}, {"bn1.bias", "contradicts conv1.weight", "[2]"}},
    {"ca.sharedMLP.0.weight", 2, {2, 3}, {"ca.sharedMLP.0.weight", "contradicts conv1.weight", "[2, 3]"}},
    {"ca.sharedMLP.2.weight", 2, {4, 1}, {"ca.sharedMLP.2.weight", "contradicts ca.sharedMLP.0.weight", "[4, 1]"}},
    {"sa.conv.weight", 4, {1, 2, 1, 1}, {"sa.conv.weight", "3, 5 or 7", "1"}},
    {"sa.conv.weight", 4, {1, 1, 3, 3}, {"sa.conv.weight", "wrong size", "[1, 1, 3, 3]"}},
    {"conv_res.weight", 4, {4, 4, 1, 1}, {"conv_res.weight", "contradicts conv1.weight", "C=5"}},
    {"conv_res.weight", 4, {4, 5, 3, 1}, {"conv_res.weight", "rank", "[4, 5, 3, 1]"}},
    {"conv_res.bias", 1, {3}, {"conv_res.bias", "contradicts conv1.weight", "[3]"}},
};

Test(residual, contradictions_name_both_sides) {
    for (size_t i = 0; i < sizeof wrong_shapes / sizeof *wrong_shapes; i++) {
        layer_case c;
        case_parse(&c, plain_line, 1);
        atl_tensor *t = case_tensor(&c, wrong_shapes[i].name);
        t->rank = wrong_shapes[i].rank;
        memcpy(t->shape, wrong_shapes[i].shape, sizeof wrong_shapes[i].shape);
        case_refuse(&c, wrong_shapes[i].name,
                    CASE_WORDS(wrong_shapes[i].words[0], wrong_shapes[i].words[1], wrong_shapes[i].words[2]));
        case_free(&c);
    }
}

Test(residual, weights_that_it_needs) {
    static const char *const optional[] = {"conv1.bias",          "bn1.bias",     "ca.sharedMLP.0.bias",
                                           "ca.sharedMLP.2.bias", "sa.conv.bias", "conv_res.bias"};
    layer_case c;
    case_parse(&c, plain_line, 1);
    cr_assert_eq(c.weights.desc.tensor_count, 14);
    for (size_t i = 0; i < c.weights.desc.tensor_count; i++) {
        atl_tensor *t = &c.weights.tensors[i];
        const char *name = t->name;
        int is_optional = 0;
        for (size_t j = 0; j < sizeof optional / sizeof *optional; j++)
            is_optional |= strcmp(name, optional[j]) == 0;
        t->name = "another";
        if (is_optional)
            case_rebuild(&c);
        else
            case_refuse(&c, name, CASE_WORDS(name, "missing"));
        t->name = name;
    }
    case_free(&c);
}

Test(residual, recognised) {
    static const int64_t tracked = 7;
    layer_case c;
    const char *kind = NULL;
    case_parse(&c, plain_line, 1);
    c.weights.tensors[c.weights.desc.tensor_count++] =
        (atl_tensor){.name = "bn1.num_batches_tracked", .data = &tracked, .dtype = ATL_I64};
    c.weights.desc.kind = "auto";
    cr_expect_eq(atl_recognize(&c.weights.desc, &kind, NULL), ATL_OK);
    cr_expect_str_eq(kind, "cbam-res");
    c.weights.desc.tensor_count--;
    case_free(&c);
}

/* ---------------------------------------------------------------- parameters and shapes */

Test(residual, parameters) {
    static const atl_param wrong[] = {{"stride", "0"},   {"stride", "-1"},    {"stride", "1.5"},   {"stride", "two"},
                                      {"stride", ""},    {"stride", "1e300"}, {"stride", "nan"},   {"eps", "small"},
                                      {"eps", "-0.001"}, {"padding", "1"},    {"batch_first", "2"}};
    layer_case c;
    case_parse(&c, plain_line, 1);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        c.weights.desc.params = &wrong[i];
        c.weights.desc.param_count = 1;
        case_refuse(
            &c, wrong[i].value,
            CASE_WORDS(wrong[i].name, strcmp(wrong[i].name, "stride") == 0 ? "a whole number from 1 on" : "expected"));
    }
    case_free(&c);
}

static void expect_output(const char *stride, const int64_t shape[3], int64_t height, int64_t width) {
    layer_case c;
    char line[96];
    atl_plan_info info = {.size = sizeof info};
    snprintf(line, sizeof line, "cbam-res shapes 1 5x%dx%d out=4 set.stride=%s", (int)shape[1], (int)shape[2], stride);
    case_parse(&c, line, 1);
    atl_engine *engine = case_engine("scalar", 1);
    atl_plan *plan = case_plan(&c, engine);
    cr_assert_eq(atl_plan_get_info(plan, &info, NULL), ATL_OK);
    cr_expect(info.output_rank == 3 && info.output_shape[0] == 4 && info.output_shape[1] == height &&
                  info.output_shape[2] == width,
              "%s: [%lld, %lld, %lld]", line, (long long)info.output_shape[0], (long long)info.output_shape[1],
              (long long)info.output_shape[2]);
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
}

Test(residual, output_shapes) {
    expect_output("1", (int64_t[]){5, 6, 7}, 6, 7);
    expect_output("2", (int64_t[]){5, 6, 7}, 3, 4);
    expect_output("3", (int64_t[]){5, 6, 7}, 2, 3);
    expect_output("6", (int64_t[]){5, 6, 7}, 1, 2);
    expect_output("7", (int64_t[]){5, 6, 7}, 1, 1);
    expect_output("9007199254740992", (int64_t[]){5, 6, 7}, 1, 1);
}

Test(residual, samples_that_do_not_fit) {
    layer_case c;
    atl_plan *plan = NULL;
    atl_error error = {0};
    case_parse(&c, plain_line, 1);
    atl_engine *engine = case_engine("scalar", 1);
    case_expect_error("channels", atl_plan_create(c.layer, engine, 3, (int64_t[]){4, 6, 7}, NULL, &plan, &error),
                      ATL_INVALID_ARGUMENT, &error, CASE_WORDS("expected 5", "[4, 6, 7]"));
    case_expect_error("rank", atl_plan_create(c.layer, engine, 2, (int64_t[]){5, 6}, NULL, &plan, &error),
                      ATL_INVALID_ARGUMENT, &error, CASE_WORDS("[C, H, W]", "[5, 6]"));
    cr_expect_null(plan);
    atl_engine_release(engine);
    case_free(&c);
}

/* ---------------------------------------------------------------- values */

static void on_every_isa(void (*body)(atl_engine *engine)) {
    for (int isa = 0; isa < CASE_ISAS; isa++) {
        atl_engine *engine = case_engine(case_isas[isa], 2);
        if (engine)
            body(engine);
        atl_engine_release(engine);
    }
}

static float at(const float *plane, int64_t height, int64_t width, int64_t row, int64_t column, float outside) {
    return row < 0 || row >= height || column < 0 || column >= width ? outside : plane[row * width + column];
}

/* What one output is when all gates are 1/2: a quarter of relu((conv + 3) / 2 + 1), and the difference of the channels' maxima
 * less 1. */
static float exact_output(const float *x, const float *w, int64_t height, int64_t width, int64_t row, int64_t column) {
    float sum = 0, largest[2] = {-INFINITY, -INFINITY};
    for (int64_t c = 0; c < 2; c++)
        for (int64_t r = -1; r <= 1; r++)
            for (int64_t j = -1; j <= 1; j++) {
                const float *plane = x + c * height * width;
                sum += w[(c * 3 + r + 1) * 3 + j + 1] * at(plane, height, width, row + r, column + j, 0);
                largest[c] = fmaxf(largest[c], at(plane, height, width, row + r, column + j, -INFINITY));
            }
    return fmaxf(0.25f * fmaxf((sum + 3) / 2 + 1, 0) + largest[0] - largest[1] - 1, 0);
}

static void exact(atl_engine *engine) {
    enum { HEIGHT = 9, WIDTH = 37, OUT = 5 * 19 };
    layer_case c;
    float x[2 * HEIGHT * WIDTH], y[OUT];
    case_parse(&c, "cbam-res exact 1 2x9x37 out=1 hidden=1 sa=3 set.stride=2 set.eps=0", 1);
    float *w = case_weight(&c, "conv1.weight");
    fill(w, 18, FILL_INTEGER, 1, 3);
    *case_weight(&c, "conv1.bias") = 4; /* less the mean of 1 */
    *case_weight(&c, "bn1.weight") = 1;
    *case_weight(&c, "bn1.bias") = 1;
    *case_weight(&c, "bn1.running_mean") = 1;
    *case_weight(&c, "bn1.running_var") = 4;
    memset(case_weight(&c, "sa.conv.weight"), 0, 18 * sizeof(float));
    *case_weight(&c, "sa.conv.bias") = 0;
    *case_weight(&c, "ca.sharedMLP.2.weight") = 0;
    *case_weight(&c, "ca.sharedMLP.2.bias") = 0;
    memcpy(case_weight(&c, "conv_res.weight"), (float[]){1, -1}, 2 * sizeof(float));
    *case_weight(&c, "conv_res.bias") = -1;
    case_rebuild(&c);
    fill(x, 2 * HEIGHT * WIDTH, FILL_INTEGER, 10, 5);
    atl_plan *plan = case_plan(&c, engine);
    case_run(plan, 1, x, y, NULL, NULL);
    int positive = 0;
    for (int i = 0; i < OUT; i++) {
        float want = exact_output(x, w, HEIGHT, WIDTH, i / 19 * 2, i % 19 * 2);
        cr_expect(y[i] == want, "y[%d] = %.9g, want %.9g", i, (double)y[i], (double)want);
        positive += want > 0;
    }
    cr_expect(positive > OUT / 8 && positive < OUT, "%d of %d are positive", positive, (int)OUT);
    atl_plan_release(plan);
    case_free(&c);
}

Test(residual, exact_results_are_exact) {
    on_every_isa(exact);
}

/* The convolution of one tap and stride 2 steps over odd pixels: a NaN there reaches the windows that hold it, no others. */
static void nan_in_the_shortcut(atl_engine *engine) {
    layer_case c;
    case_parse(&c, "cbam-res nan 1 3x9x11 out=4 k=1 hidden=2 sa=3 set.stride=2", 1);
    float *x = case_alloc(c.size), *clean = case_alloc(c.out_size), *y = case_alloc(c.out_size);
    atl_plan *plan = case_plan(&c, engine);
    fill(x, c.size, FILL_RANDOM, 1, 7);
    case_run(plan, 1, x, clean, NULL, NULL);
    x[2 * 99 + 3 * 11 + 5] = NAN;
    case_run(plan, 1, x, y, NULL, NULL);
    for (int64_t i = 0; i < c.out_size; i++) {
        int64_t row = i / 6 % 5, column = i % 6;
        int inside = (row == 1 || row == 2) && (column == 2 || column == 3);
        cr_assert(inside ? isnan(y[i]) : y[i] == clean[i], "y[%lld] = %g, without the NaN %g", (long long)i,
                  (double)y[i], (double)clean[i]);
    }
    atl_plan_release(plan);
    free(y), free(clean), free(x);
    case_free(&c);
}

Test(residual, a_nan_that_only_the_shortcut_sees) {
    on_every_isa(nan_in_the_shortcut);
}
