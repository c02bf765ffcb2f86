/* SPDX-License-Identifier: Apache-2.0 */
/* sk: what it refuses, what it infers, results that are exact, and how far a NaN reaches. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

static const char plain_line[] = "sk plain 1 8x6x7 m=2 groups=2 d=3";

/* ---------------------------------------------------------------- weights */

/* Each weight with another shape; [8, 4, 3, 3] and [8, 4, 5, 5] are right. */
static const struct {
    const char *name;
    int rank;
    int64_t shape[4];
    const char *words[3];
} wrong_shapes[] = {
    {"convs.0.0.weight", 4, {8, 4, 5, 5}, {"convs.0.0.weight", "C, g, 3, 3", "[8, 4, 5, 5]"}},
    {"convs.1.0.weight", 4, {8, 4, 3, 3}, {"convs.1.0.weight", "5, 5]", "[8, 4, 3, 3]"}},
    {"convs.1.0.weight", 4, {8, 4, 4, 4}, {"convs.1.0.weight", "5, 5]", "[8, 4, 4, 4]"}},
    {"convs.1.0.weight", 4, {8, 4, 5, 3}, {"convs.1.0.weight", "5, 5]", "[8, 4, 5, 3]"}},
    {"convs.1.0.weight", 4, {8, 2, 5, 5}, {"convs.1.0.weight", "contradicts convs.0.0.weight", "g=4"}},
    {"convs.1.0.weight", 4, {6, 4, 5, 5}, {"convs.1.0.weight", "contradicts convs.0.0.weight", "C=8"}},
    {"convs.1.0.weight", 2, {8, 100}, {"convs.1.0.weight", "rank", "[8, 100]"}},
    {"convs.0.0.bias", 1, {4}, {"convs.0.0.bias", "contradicts convs.0.0.weight", "[4]"}},
    {"convs.1.1.running_var", 1, {7}, {"convs.1.1.running_var", "contradicts convs.0.0.weight", "[7]"}},
    {"fc.weight", 2, {3, 4}, {"fc.weight", "contradicts convs.0.0.weight", "C=8"}},
    {"fcs.1.weight", 2, {8, 2}, {"fcs.1.weight", "contradicts fc.weight", "d=3"}},
    {"fcs.0.bias", 1, {3}, {"fcs.0.bias", "contradicts convs.0.0.weight", "[3]"}},
};

Test(selective_kernel, contradictions_name_both_sides) {
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

/* Three channels a group, of eight. */
Test(selective_kernel, groups_that_do_not_divide) {
    layer_case c;
    case_parse(&c, plain_line, 1);
    case_tensor(&c, "convs.0.0.weight")->shape[1] = 3;
    case_tensor(&c, "convs.1.0.weight")->shape[1] = 3;
    case_refuse(&c, "3 of 8", CASE_WORDS("convs.0.0.weight", "3 channels of a group", "the 8 of the layer"));
    case_free(&c);
}

Test(selective_kernel, weights_that_it_needs) {
    layer_case c;
    case_parse(&c, plain_line, 1);
    cr_assert_eq(c.weights.desc.tensor_count, 2 * 6 + 2 + 2 * 2);
    for (size_t i = 0; i < c.weights.desc.tensor_count; i++) {
        atl_tensor *t = &c.weights.tensors[i];
        const char *name = t->name;
        t->name = "another";
        if (strcmp(strrchr(name, '.'), ".bias") == 0)
            case_rebuild(&c);
        else
            case_refuse(&c, name, CASE_WORDS(name, "missing"));
        t->name = name;
    }
    case_free(&c);
}

/* Half a batch norm is named with the half that is there. */
Test(selective_kernel, part_of_a_batch_norm) {
    layer_case c;
    case_parse(&c, plain_line, 1);
    static const char *const names[] = {"convs.1.1.weight", "convs.1.1.running_mean", "convs.1.1.running_var"};
    for (int i = 0; i < 3; i++)
        case_tensor(&c, names[i])->name = "another";
    case_refuse(&c, "bias alone", CASE_WORDS("convs.1.1.weight: missing", "convs.1.1.bias"));
    case_tensor(&c, "convs.1.1.bias")->name = "another";
    case_rebuild(&c); /* none at all: that branch has none, the other keeps its own */
    case_free(&c);
}

Test(selective_kernel, recognised) {
    static const int64_t tracked = 7;
    layer_case c;
    const char *kind = NULL;
    case_parse(&c, "sk branches 1 6x5x4 m=3 groups=3 d=2", 1);
    c.weights.tensors[c.weights.desc.tensor_count++] =
        (atl_tensor){.name = "convs.0.1.num_batches_tracked", .data = &tracked, .dtype = ATL_I64};
    c.weights.desc.kind = "auto";
    cr_expect_eq(atl_recognize(&c.weights.desc, &kind, NULL), ATL_OK);
    cr_expect_str_eq(kind, "sk");
    c.weights.desc.tensor_count--;
    case_free(&c);
}

/* ---------------------------------------------------------------- parameters and shapes */

Test(selective_kernel, parameters) {
    static const atl_param wrong[] = {{"stride", "0"},  {"stride", "1.5"}, {"stride", "1e300"},
                                      {"eps", "small"}, {"groups", "2"},   {"batch_first", "2"}};
    layer_case c;
    case_parse(&c, plain_line, 1);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        c.weights.desc.params = &wrong[i];
        c.weights.desc.param_count = 1;
        case_refuse(&c, wrong[i].value, CASE_WORDS(wrong[i].name, "expected"));
    }
    case_free(&c);
}

static void expect_output(const char *stride, int64_t height, int64_t width) {
    layer_case c;
    char line[96];
    atl_plan_info info = {.size = sizeof info};
    snprintf(line, sizeof line, "sk shapes 1 4x6x7 m=2 groups=2 d=2 set.stride=%s", stride);
    case_parse(&c, line, 1);
    atl_engine *engine = case_engine("scalar", 1);
    atl_plan *plan = case_plan(&c, engine);
    cr_assert_eq(atl_plan_get_info(plan, &info, NULL), ATL_OK);
    cr_expect(info.output_rank == 3 && info.output_shape[0] == 4 && info.output_shape[1] == height &&
                  info.output_shape[2] == width,
              "%s: [%lld, %lld, %lld]", line, (long long)info.output_shape[0], (long long)info.output_shape[1],
              (long long)info.output_shape[2]);
    float *x = case_alloc(c.size);
    fill(x, c.size, FILL_RANDOM, 1, 3);
    case_check(&c, engine, x, ORACLE_RANDOM, stride);
    free(x);
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
}

Test(selective_kernel, output_shapes) {
    expect_output("1", 6, 7);
    expect_output("2", 3, 4);
    expect_output("3", 2, 3);
    expect_output("5", 2, 2);
    expect_output("6", 1, 2);
    expect_output("7", 1, 1);
    expect_output("9007199254740992", 1, 1);
}

Test(selective_kernel, samples_that_do_not_fit) {
    layer_case c;
    atl_plan *plan = NULL;
    atl_error error = {0};
    case_parse(&c, plain_line, 1);
    atl_engine *engine = case_engine("scalar", 1);
    case_expect_error("channels", atl_plan_create(c.layer, engine, 3, (int64_t[]){4, 6, 7}, NULL, &plan, &error),
                      ATL_INVALID_ARGUMENT, &error, CASE_WORDS("expected 8", "[4, 6, 7]"));
    case_expect_error("rank", atl_plan_create(c.layer, engine, 2, (int64_t[]){8, 42}, NULL, &plan, &error),
                      ATL_INVALID_ARGUMENT, &error, CASE_WORDS("[C, H, W]", "[8, 42]"));
    cr_expect_null(plan);
    atl_engine_release(engine);
    case_free(&c);
}

Test(selective_kernel, in_place_is_refused) {
    layer_case c;
    atl_error error = {0};
    case_parse(&c, plain_line, 1);
    float *x = case_alloc(c.size);
    atl_engine *engine = case_engine("scalar", 1);
    atl_plan *plan = case_plan(&c, engine);
    case_expect_error("y is x", atl_run(plan, 1, x, x, NULL, NULL, &error), ATL_INVALID_ARGUMENT, &error,
                      CASE_WORDS("x of sample 0", "y of sample 0"));
    atl_plan_release(plan);
    atl_engine_release(engine);
    free(x);
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

static float convolved(const float *x, const float *w, int64_t k, int64_t row, int64_t column) {
    float sum = 0;
    for (int64_t r = 0; r < k; r++)
        for (int64_t j = 0; j < k; j++) {
            int64_t y = row + r - k / 2, z = column + j - k / 2;
            sum += y < 0 || y >= 9 || z < 0 || z >= 37 ? 0 : w[r * k + j] * x[y * 37 + z];
        }
    return sum;
}

/* Two branches of equal weight: half of relu((conv3 + 4 - 1) / 2 + 1), and half of relu(conv5 + 4), depthwise. */
static void exact(atl_engine *engine) {
    enum { SIZE = 9 * 37, C = 3 };
    layer_case c;
    float x[C * SIZE], y[C * SIZE];
    case_parse(&c, "sk exact 1 3x9x37 m=2 groups=3 d=1 set.eps=0", 1);
    float *w3 = case_weight(&c, "convs.0.0.weight"), *w5 = case_weight(&c, "convs.1.0.weight");
    fill(w3, C * 9, FILL_INTEGER, 1, 3);
    fill(w5, C * 25, FILL_INTEGER, 1, 4);
    for (int i = 0; i < C; i++) {
        case_weight(&c, "convs.0.0.bias")[i] = case_weight(&c, "convs.1.0.bias")[i] = 4;
        case_weight(&c, "convs.0.1.weight")[i] = case_weight(&c, "convs.0.1.bias")[i] = 1;
        case_weight(&c, "convs.0.1.running_mean")[i] = 1;
        case_weight(&c, "convs.0.1.running_var")[i] = 4;
        case_weight(&c, "fcs.0.weight")[i] = case_weight(&c, "fcs.1.weight")[i] = 0.5f;
        case_weight(&c, "fcs.0.bias")[i] = case_weight(&c, "fcs.1.bias")[i] = -3;
    }
    for (size_t i = 0; i < c.weights.desc.tensor_count; i++) /* the other branch without its batch norm */
        if (strncmp(c.weights.tensors[i].name, "convs.1.1.", 10) == 0)
            c.weights.tensors[i].name = "another";
    case_rebuild(&c);
    fill(x, C * SIZE, FILL_INTEGER, 10, 5);
    atl_plan *plan = case_plan(&c, engine);
    case_run(plan, 1, x, y, NULL, NULL);
    for (int i = 0; i < C * SIZE; i++) {
        const float *plane = x + i / SIZE * SIZE;
        int64_t row = i % SIZE / 37, column = i % SIZE % 37;
        float u3 = fmaxf((convolved(plane, w3 + i / SIZE * 9, 3, row, column) + 3) / 2 + 1, 0);
        float u5 = fmaxf(convolved(plane, w5 + i / SIZE * 25, 5, row, column) + 4, 0);
        cr_expect(y[i] == 0.5f * u3 + 0.5f * u5, "y[%d] = %.9g of %g and %g", i, (double)y[i], (double)u3, (double)u5);
    }
    atl_plan_release(plan);
    case_free(&c);
}

Test(selective_kernel, exact_results_are_exact) {
    on_every_isa(exact);
}

/* An infinite weight that meets nothing but padding: 0 times infinity. */
static void padding_is_multiplied(atl_engine *engine) {
    layer_case c;
    case_parse(&c, "sk padding 1 1x1x1 m=1 groups=1 d=1 bn=0", 1);
    float x = 3, y = 0;
    for (int tap = -1; tap < 9; tap++) {
        float *w = case_weight(&c, "convs.0.0.weight");
        fill(w, 9, FILL_CONSTANT, 3, 1);
        if (tap >= 0)
            w[tap] = INFINITY;
        case_rebuild(&c);
        atl_plan *plan = case_plan(&c, engine);
        case_run(plan, 1, &x, &y, NULL, NULL);
        cr_expect(tap < 0 ? isfinite(y) : isnan(y), "infinite tap %d: %g", tap, (double)y);
        atl_plan_release(plan);
    }
    case_free(&c);
}

Test(selective_kernel, padding_is_multiplied_like_any_value) {
    on_every_isa(padding_is_multiplied);
}
