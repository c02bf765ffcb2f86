/* SPDX-License-Identifier: Apache-2.0 */
/* non-local: what it infers and refuses, the orders of its products, results that are exact, and how far a NaN reaches. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

static const char sub_line[] = "non-local sub 1 6x5x7 sub=1 bn=1 inner=3 g=4";

/* ---------------------------------------------------------------- weights */

/* Names that are changed, as many as there are, and what the error then has to say. */
static const struct {
    const char *from[3], *to[3], *words[3];
} contradictions[] = {
    {{"g.0.weight", "g.0.bias"}, {"g.weight", "g.bias"}, {"phi.0.weight", "contradicts g.weight", "sub-sampled"}},
    {{"phi.0.weight", "phi.0.bias"}, {"phi.weight", "phi.bias"}, {"phi.weight", "g.0.weight", "sub-sampled"}},
    {{"phi.0.bias"}, {"phi.bias"}, {"phi.bias", "contradicts phi.0.weight", "expected phi.0.bias"}},
    {{"W.0.weight"}, {"W.weight"}, {"W.0.bias", "contradicts W.weight", "expected W.bias"}},
    {{"W.0.weight", "W.0.bias"}, {"W.weight", "W.bias"}, {"W.1.weight", "contradicts W.weight", "batch norm"}},
    {{"W.1.weight"}, {"another"}, {"W.1.weight", "missing", "W.0.weight"}},
    {{"W.1.running_mean"}, {"another"}, {"W.1.running_mean", "missing", "W.0.weight"}},
    {{"W.1.running_var"}, {"another"}, {"W.1.running_var", "missing", "W.0.weight"}},
    {{"theta.weight"}, {"another"}, {"theta.weight", "missing", "non-local"}},
    {{"phi.0.weight"}, {"another"}, {"phi.weight", "missing", "non-local"}},
    {{"theta.bias"}, {"phi.weight"}, {"phi.weight", "given twice", "phi.0.weight"}},
};

Test(non_local, contradicting_names) {
    for (size_t i = 0; i < sizeof contradictions / sizeof *contradictions; i++) {
        layer_case c;
        case_parse(&c, sub_line, 1);
        for (int k = 0; k < 3 && contradictions[i].from[k]; k++)
            case_tensor(&c, contradictions[i].from[k])->name = contradictions[i].to[k];
        case_refuse(&c, contradictions[i].to[0],
                    CASE_WORDS(contradictions[i].words[0], contradictions[i].words[1], contradictions[i].words[2]));
        case_free(&c);
    }
}

/* Each weight with another shape, [3, 6, 1, 1] and so on being right. */
static const struct {
    const char *name;
    int rank;
    int64_t shape[6];
    const char *words[3];
} wrong_shapes[] = {
    {"phi.0.weight", 4, {4, 6, 1, 1}, {"phi.0.weight", "contradicts theta.weight", "[4, 6, 1, 1]"}},
    {"g.0.weight", 4, {4, 5, 1, 1}, {"g.0.weight", "contradicts theta.weight", "[4, 5, 1, 1]"}},
    {"W.0.weight", 4, {6, 3, 1, 1}, {"W.0.weight", "contradicts g.0.weight", "[6, 3, 1, 1]"}},
    {"W.0.weight", 4, {5, 4, 1, 1}, {"W.0.weight", "contradicts theta.weight", "[5, 4, 1, 1]"}},
    {"W.1.running_var", 1, {5}, {"W.1.running_var", "contradicts theta.weight", "[5]"}},
    {"phi.0.weight", 3, {3, 6, 1}, {"phi.0.weight", "contradicts theta.weight", "expected 4 axes, got 3"}},
    {"g.0.weight", 2, {4, 6}, {"g.0.weight", "contradicts theta.weight", "expected 4 axes, got 2"}},
    {"W.0.weight", 5, {6, 4, 1, 1, 1}, {"W.0.weight", "contradicts theta.weight", "expected 4 axes, got 5"}},
    {"theta.weight", 6, {3, 6, 1, 1, 1, 1}, {"theta.weight", "too many axes", "2 to 5, got 6"}},
    {"theta.weight", 4, {1, 6, 1, 3}, {"theta.weight", "rank", "[1, 6, 1, 3]"}},
};

Test(non_local, contradicting_shapes) {
    for (size_t i = 0; i < sizeof wrong_shapes / sizeof *wrong_shapes; i++) {
        layer_case c;
        case_parse(&c, sub_line, 1);
        atl_tensor *t = case_tensor(&c, wrong_shapes[i].name);
        t->rank = wrong_shapes[i].rank;
        memcpy(t->shape, wrong_shapes[i].shape, sizeof wrong_shapes[i].shape);
        case_refuse(&c, wrong_shapes[i].name,
                    CASE_WORDS(wrong_shapes[i].words[0], wrong_shapes[i].words[1], wrong_shapes[i].words[2]));
        case_free(&c);
    }
}

Test(non_local, parameters) {
    static const atl_param wrong[] = {{"scale", "none"}, {"eps", "-1"}, {"eps", ""}, {"num_heads", "2"}};
    layer_case c;
    case_parse(&c, sub_line, 1);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        c.weights.desc.params = &wrong[i];
        c.weights.desc.param_count = 1;
        case_refuse(&c, wrong[i].value, CASE_WORDS(wrong[i].name));
    }
    case_free(&c);
}

Test(non_local, recognised) {
    static const char *const lines[] = {sub_line, "non-local plain 1 6x5", "non-local three 1 6x5x2x2 bn=1 bias=0"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        layer_case c;
        const char *kind = NULL;
        case_parse(&c, lines[i], 1);
        c.weights.desc.kind = "auto";
        cr_expect_eq(atl_recognize(&c.weights.desc, &kind, NULL), ATL_OK, "%s", lines[i]);
        cr_expect(kind && strcmp(kind, "non-local") == 0, "%s is taken for %s", lines[i], kind);
        case_free(&c);
    }
}

/* ---------------------------------------------------------------- shapes */

static void refuse_shape(const layer_case *c, int rank, const int64_t *shape, const char *const words[]) {
    atl_engine *engine = case_engine("scalar", 1);
    atl_plan *plan = NULL;
    atl_error error = {0};
    case_expect_error(c->row.name, atl_plan_create(c->layer, engine, rank, shape, NULL, &plan, &error),
                      ATL_INVALID_ARGUMENT, &error, words);
    cr_expect_null(plan);
    atl_engine_release(engine);
}

Test(non_local, shapes_that_contradict_the_weights) {
    layer_case c;
    case_parse(&c, sub_line, 1);
    refuse_shape(&c, 2, (int64_t[]){6, 8}, CASE_WORDS("theta.weight", "2 axes", "[C, H, W]", "rank 2"));
    refuse_shape(&c, 4, (int64_t[]){6, 8, 2, 2}, CASE_WORDS("theta.weight", "[C, H, W]", "rank 4"));
    refuse_shape(&c, 3, (int64_t[]){5, 8, 8}, CASE_WORDS("weights", "expected 6", "[5, 8, 8]"));
    refuse_shape(&c, 3, (int64_t[]){6, 1, 8}, CASE_WORDS("phi.0.weight", "no key", "1 x 8"));
    refuse_shape(&c, 3, (int64_t[]){6, 8, 1}, CASE_WORDS("phi.0.weight", "no key", "8 x 1"));
    case_free(&c);
}

/* Weights [o, i] are those of any number of axes. */
Test(non_local, linear_weights_take_every_rank) {
    static const char *const names[] = {"theta.weight", "phi.0.weight", "g.0.weight", "W.0.weight"};
    static const int64_t shapes[][4] = {{6, 35}, {6, 5, 7}, {6, 2, 5, 3}};
    static const int64_t keys[] = {17, 6, 4};
    layer_case c;
    case_parse(&c, sub_line, 1);
    for (size_t i = 0; i < 4; i++)
        case_tensor(&c, names[i])->rank = 2;
    case_rebuild(&c);
    atl_engine *engine = case_engine("scalar", 1);
    for (int i = 0; i < 3; i++) {
        atl_plan *plan = NULL;
        atl_plan_info info = {.size = sizeof info};
        cr_assert_eq(atl_plan_create(c.layer, engine, i + 2, shapes[i], NULL, &plan, NULL), ATL_OK);
        cr_assert_eq(atl_plan_get_info(plan, &info, NULL), ATL_OK);
        cr_expect_eq(info.map_shape[1], keys[i], "%d axes: %lld keys", i + 1, (long long)info.map_shape[1]);
        atl_plan_release(plan);
    }
    atl_engine_release(engine);
    case_free(&c);
}

/* ---------------------------------------------------------------- orders */

static const struct {
    const char *line, *words;
} orders[] = {
    {"non-local plain 1 4x6x7", "theta applied to queries, W to results"},
    {"non-local sub 1 4x2x4x11 sub=1 inner=2 g=2", "theta applied to queries, W to results"},
    {"non-local theta 1 4x4x9 sub=1 inner=9 g=1", "theta applied to keys, W to results"},
    {"non-local output 1 4x9x4 sub=1 inner=1 g=9", "theta applied to queries, W to values"},
    {"non-local both 1 4x17 sub=1 inner=9 g=9 bias=0", "theta applied to keys, W to values"},
};

#define ORDERS (sizeof orders / sizeof *orders)

static void on_every_order(void (*body)(layer_case *c, atl_engine *engine, const atl_plan *plan)) {
    for (int isa = 0; isa < CASE_ISAS; isa++) {
        atl_engine *engine = case_engine(case_isas[isa], 2);
        for (size_t i = 0; engine && i < ORDERS; i++) {
            layer_case c;
            char text[2048];
            case_parse(&c, orders[i].line, 5 + i);
            atl_plan *plan = case_plan(&c, engine);
            atl_plan_describe(plan, text, sizeof text);
            cr_expect(strstr(text, orders[i].words), "%s: expected \"%s\" in\n%s", orders[i].line, orders[i].words,
                      text);
            body(&c, engine, plan);
            atl_plan_release(plan);
            case_free(&c);
        }
        atl_engine_release(engine);
    }
}

/* The window of a position; -1 where it belongs to none. */
static int64_t window_of(const shape_row *row, int64_t position, int64_t *windows) {
    int64_t width = row->shape[row->rank - 1], height = row->rank > 2 ? row->shape[row->rank - 2] : 1;
    int64_t step = row->rank > 2 ? 2 : 1, outer = row->rank > 3 ? row->shape[1] : 1;
    int64_t i = position % width / 2, j = position / width % height / step, plane = position / width / height;
    if (!shape_number(row, "sub", 0)) {
        *windows = shape_positions(row);
        return position;
    }
    *windows = outer * (height / step) * (width / 2);
    return i < width / 2 && j < height / step ? (plane * (height / step) + j) * (width / 2) + i : -1;
}

/* With theta = 0 every key has the same weight, and the result is x plus the mean over keys. g reads channel 0 alone, and
 * W gives c times that to channel c. */
static void weigh_equally(layer_case *c) {
    int64_t d = shape_number(&c->row, "inner", c->channels / 2), g = shape_number(&c->row, "g", d);
    int sub = shape_number(&c->row, "sub", 0) != 0;
    memset(case_weight(c, "theta.weight"), 0, (size_t)(d * c->channels) * sizeof(float));
    if (shape_number(&c->row, "bias", 1)) {
        memset(case_weight(c, "theta.bias"), 0, (size_t)d * sizeof(float));
        memset(case_weight(c, sub ? "g.0.bias" : "g.bias"), 0, (size_t)g * sizeof(float));
        memset(case_weight(c, "W.bias"), 0, (size_t)c->channels * sizeof(float));
    }
    float *values = case_weight(c, sub ? "g.0.weight" : "g.weight"), *out = case_weight(c, "W.weight");
    for (int64_t i = 0; i < g * c->channels; i++) {
        values[i] = i == 0;
        out[i] = i % g ? 3.0f : (float)(i / g);
    }
    case_rebuild(c);
}

/* 7 in the last position of every window and less in the others, much more where there is none. */
static void fill_windows(const layer_case *c, float *x) {
    int64_t n = c->positions, windows = 0, last = -1;
    for (int64_t i = 0; i < c->size; i++)
        x[i] = (float)(i % 5) - 2;
    for (int64_t i = 0; i < n; i++) {
        int64_t w = window_of(&c->row, i, &windows);
        x[i] = w < 0 ? 100 : 7;
        for (int64_t k = i + 1; k < n && w >= 0; k++)
            if (window_of(&c->row, k, &windows) == w)
                x[i] = (float)-i;
        last = w > last ? w : last;
    }
    cr_assert_eq(last, windows - 1);
}

static void equal_keys(layer_case *c, atl_engine *engine, const atl_plan *plan) {
    (void)plan; /* of other weights */
    weigh_equally(c);
    float *x = case_alloc(c->size), *y = case_alloc(c->size);
    fill_windows(c, x);
    atl_plan *equal = case_plan(c, engine);
    case_run(equal, 1, x, y, NULL, NULL);
    for (int64_t i = 0; i < c->size; i++)
        cr_assert(fabsf(y[i] - (x[i] + 7 * (float)(i / c->positions))) <= 1e-5f, "%s: y[%lld] = %.9g from %g",
                  c->row.name, (long long)i, (double)y[i], (double)x[i]);
    atl_plan_release(equal);
    free(y);
    free(x);
}

Test(non_local, keys_are_the_largest_of_their_windows) {
    on_every_order(equal_keys);
}

/* A NaN in a window is in a key, and so in every position; one that no window reaches stays where it is. */
static void nan_reach(layer_case *c, atl_engine *engine, const atl_plan *plan) {
    int64_t n = c->positions, windows;
    float *x = case_alloc(c->size), *clean = case_alloc(c->size), *y = case_alloc(c->size);
    fill(x, c->size, FILL_RANDOM, 1, 3);
    case_run(plan, 1, x, clean, NULL, NULL);
    for (int64_t at = 0; at < n; at++) {
        float saved = x[n + at];
        int inside = window_of(&c->row, at, &windows) >= 0;
        x[n + at] = NAN;
        case_run(plan, 1, x, y, NULL, NULL);
        for (int64_t i = 0; i < c->size; i++) {
            int reached = inside || i % n == at;
            cr_assert(reached ? isnan(y[i]) : y[i] == clean[i], "%s: NaN at %lld, y[%lld] = %g", c->row.name,
                      (long long)at, (long long)i, (double)y[i]);
        }
        if (at % 7 == 0)
            case_check(c, engine, x, ORACLE_ANY, "a NaN");
        x[n + at] = saved;
    }
    free(y);
    free(clean);
    free(x);
}

Test(non_local, nan_in_a_window_and_beside_all) {
    on_every_order(nan_reach);
}

/* In place, with a map and without: what is read again has been kept. */
static void in_place(layer_case *c, atl_engine *engine, const atl_plan *plan) {
    enum { SAMPLES = 3 };
    float *x = case_alloc(SAMPLES * c->size), *y = case_alloc(SAMPLES * c->size), *both = case_alloc(SAMPLES * c->size);
    float *map = case_alloc(SAMPLES * c->map_size), *again = case_alloc(SAMPLES * c->map_size);
    (void)engine;
    fill(x, SAMPLES * c->size, FILL_RANDOM, 1, 9);
    case_run(plan, SAMPLES, x, y, NULL, NULL);
    memcpy(both, x, (size_t)(SAMPLES * c->size) * sizeof *x);
    case_run(plan, SAMPLES, both, both, NULL, NULL);
    cr_expect_eq(case_difference(both, y, SAMPLES * c->size), -1, "%s: in place", c->row.name);
    case_run(plan, SAMPLES, x, y, map, NULL);
    case_run(plan, SAMPLES, x, x, again, NULL);
    cr_expect_eq(case_difference(x, y, SAMPLES * c->size), -1, "%s: in place with a map", c->row.name);
    cr_expect_eq(case_difference(again, map, SAMPLES * c->map_size), -1, "%s: the map in place", c->row.name);
    free(again);
    free(map);
    free(both);
    free(y);
    free(x);
}

Test(non_local, in_place) {
    on_every_order(in_place);
}

/* Infinite weights are met by the inputs alone, whatever the shape says. */
Test(non_local, infinite_weights_are_not_multiplied_with_one_another) {
    layer_case c;
    char text[2048];
    case_parse(&c, orders[4].line, 5);
    atl_engine *engine = case_engine("scalar", 1);
    case_weight(&c, "theta.weight")[3] = INFINITY;
    case_weight(&c, "W.weight")[5] = -INFINITY;
    case_rebuild(&c);
    atl_plan *plan = case_plan(&c, engine);
    atl_plan_describe(plan, text, sizeof text);
    cr_expect(strstr(text, orders[0].words), "%s", text);
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
}
