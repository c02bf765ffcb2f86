/* SPDX-License-Identifier: Apache-2.0 */
/* Channel self-attention: each of the ways to compute it, exact results, and what a common offset may not cost. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

/* What a sample's shape decides, and words of the plan's description that say so. */
static const struct {
    const char *line, *logits, *values;
} ways[] = {
    {"self-attention-channel gram 1 6x8x16 out=5", "Gram matrix of 6 rows", "folded"},
    {"self-attention-channel chunks 1 3x2048 out=4", "2 chunks", "folded"},
    {"self-attention-channel folded 1 40x512 out=3", "products of 3 rows", "folded"},
    {"self-attention-channel projected 1 40x2x4 out=33", "products of 33 rows", "values and input"},
};

#define WAYS (sizeof ways / sizeof *ways)

static void expect_way(size_t way, const atl_plan *plan) {
    char text[2048];
    atl_plan_describe(plan, text, sizeof text);
    cr_expect(strstr(text, ways[way].logits) && strstr(text, ways[way].values), "%s: expected %s, %s in\n%s",
              ways[way].line, ways[way].logits, ways[way].values, text);
}

static void on_every_way(void (*body)(size_t way, layer_case *c, atl_engine *engine)) {
    for (int isa = 0; isa < CASE_ISAS; isa++) {
        atl_engine *engine = case_engine(case_isas[isa], 2);
        for (size_t way = 0; engine && way < WAYS; way++) {
            layer_case c;
            case_parse(&c, ways[way].line, 5 + way);
            body(way, &c, engine);
            case_free(&c);
        }
        atl_engine_release(engine);
    }
}

/* ---------------------------------------------------------------- exact results */

/* Small integers as weights. Queries are all channel 0, of the keys only number 0 is: A picks value 0 for every output. */
static void integer_weights(layer_case *c, int64_t out) {
    float *query = case_weight(c, "query_conv.weight"), *key = case_weight(c, "key_conv.weight");
    static const char *const others[] = {"value_conv.weight", "x_conv.weight"};
    static const char *const biases[] = {"query_conv.bias", "key_conv.bias", "value_conv.bias", "x_conv.bias"};
    memset(query, 0, (size_t)(out * c->channels) * sizeof *query);
    memset(key, 0, (size_t)(out * c->channels) * sizeof *key);
    key[0] = 1;
    for (int64_t i = 0; i < out; i++)
        query[i * c->channels] = 1;
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < out * c->channels; i++)
            case_weight(c, others[k])[i] = (float)((i * 7 + k) % 5 - 2);
    for (int k = 0; k < 4; k++)
        for (int64_t i = 0; i < out; i++)
            case_weight(c, biases[k])[i] = k < 2 ? 0 : (float)(i % 3 - k);
    *case_weight(c, "gamma") = -2;
    case_rebuild(c);
}

/* y[i][p] = -2 * v[0][p] + x_conv(x)[i][p], and A[i] = (1, 0, ...): nothing rounds, so there is no tolerance. */
static void exact(size_t way, layer_case *c, atl_engine *engine) {
    int64_t n = c->positions, out = c->map_keys;
    float *x = case_alloc(c->size), *y = case_alloc(c->out_size), *map = case_alloc(c->map_size);
    integer_weights(c, out);
    for (int64_t i = 0; i < c->size; i++) /* channel 0 has squares that add up to more than 88 and the mean 4 */
        x[i] = i < n ? (i % 2 ? 8.0f : 0.0f) : (float)(i * i % 7 - 3);
    const float *value = case_weight(c, "value_conv.weight"), *skip = case_weight(c, "x_conv.weight");
    const float *value_bias = case_weight(c, "value_conv.bias"), *skip_bias = case_weight(c, "x_conv.bias");
    atl_plan *plan = case_plan(c, engine);
    expect_way(way, plan);
    case_run(plan, 1, x, y, map, NULL);
    for (int64_t i = 0; i < out; i++)
        for (int64_t p = 0; p < n; p++) {
            float want = -2 * value_bias[0] + skip_bias[i];
            for (int64_t l = 0; l < c->channels; l++)
                want += (-2 * value[l] + skip[i * c->channels + l]) * x[l * n + p];
            cr_assert(y[i * n + p] == want, "%s: y[%lld, %lld] = %.9g, want %.9g", c->row.name, (long long)i,
                      (long long)p, (double)y[i * n + p], (double)want);
        }
    for (int64_t i = 0; i < c->map_size; i++)
        cr_assert(map[i] == (i % out == 0), "%s: map[%lld] = %.9g", c->row.name, (long long)i, (double)map[i]);
    atl_plan_release(plan);
    free(map), free(y), free(x);
}

Test(channel, integers_are_exact_in_every_way) {
    on_every_way(exact);
}

/* ---------------------------------------------------------------- scores */

/* Logits up to 1e4 of either sign, and equal ones. */
static void large_scores(size_t way, layer_case *c, atl_engine *engine) {
    float *x = case_alloc(c->size);
    (void)way;
    for (float amplitude = 1; amplitude <= 1e4f; amplitude *= 10) {
        char what[64];
        snprintf(what, sizeof what, "amplitude %g", (double)amplitude);
        fill(x, c->size, FILL_RANDOM, sqrtf(amplitude), 23);
        case_check(c, engine, x, ORACLE_ANY, what);
        fill(x, c->size, FILL_CONSTANT, sqrtf(amplitude), 29);
        case_check(c, engine, x, ORACLE_ANY, what);
    }
    free(x);
}

Test(channel, scores_of_any_size) {
    on_every_way(large_scores);
}

/* An offset of 1e4 on inputs around 1, which queries and keys do not see: the map is that of the inputs without it, to what
 * rounding the inputs themselves has changed. Sums of their products alone would be off by 2^-24 * 1e8 * N. */
static void offset(size_t way, layer_case *c, atl_engine *engine) {
    static const char *const names[] = {"query_conv.weight", "key_conv.weight"};
    if (!strstr(ways[way].logits, "Gram") && !strstr(ways[way].logits, "chunks"))
        return;
    float *x = case_alloc(c->size), *y = case_alloc(c->out_size), *map = case_alloc(c->map_size),
          *want = case_alloc(c->map_size);
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < c->map_keys * c->channels; i++) /* rows (a, -a, 0, ...) */
            case_weight(c, names[k])[i] =
                i % c->channels > 1 ? 0 : 0.1f * (float)(i / c->channels + k) * (i % c->channels ? -1 : 1);
    case_rebuild(c);
    fill(x, c->size, FILL_RANDOM, 1, 31);
    for (int64_t i = 0; i < c->size; i++)
        x[i] = (x[i] + 1e4f) - 1e4f;
    atl_plan *plan = case_plan(c, engine);
    case_run(plan, 1, x, y, want, NULL);
    for (int64_t i = 0; i < c->size; i++)
        x[i] += 1e4f;
    case_run(plan, 1, x, y, map, NULL);
    for (int64_t i = 0; i < c->map_size; i++)
        cr_expect(fabsf(map[i] - want[i]) <= 1e-6f, "%s: map[%lld] = %.9g with an offset, %.9g without", c->row.name,
                  (long long)i, (double)map[i], (double)want[i]);
    case_check(c, engine, x, ORACLE_ANY, "offset");
    atl_plan_release(plan);
    free(want), free(map), free(y), free(x);
}

Test(channel, a_common_offset_cancels) {
    on_every_way(offset);
}

/* ---------------------------------------------------------------- weights and shapes */

static void expect_kind(layer_case *c, const char *want) {
    const char *kind = NULL;
    atl_error error = {0};
    c->weights.desc.kind = "auto";
    cr_expect_eq(atl_recognize(&c->weights.desc, &kind, &error), ATL_OK, "%s", error.message);
    cr_expect(kind && strcmp(kind, want) == 0, "recognised as %s, expected %s", kind ? kind : "nothing", want);
}

/* The names include those of spatial self-attention. */
Test(channel, recognised_beside_spatial_attention) {
    layer_case c;
    case_parse(&c, "self-attention-channel square 1 6x8x16", 3);
    expect_kind(&c, "self-attention-channel");
    case_free(&c);
    case_parse(&c, "self-attention-spatial square 1 6x8x16 d=6", 3);
    expect_kind(&c, "self-attention-spatial");
    case_free(&c);
}

Test(channel, contradictions_name_both_sides) {
    static const char *const names[] = {"key_conv.weight", "value_conv.weight", "x_conv.weight", "x_conv.bias"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        layer_case c;
        atl_layer *layer = NULL;
        atl_error error = {0};
        case_parse(&c, "self-attention-channel c 1 6x8 out=5", 3);
        for (size_t t = 0; t < c.weights.desc.tensor_count; t++)
            if (strcmp(c.weights.tensors[t].name, names[i]) == 0)
                c.weights.tensors[t].shape[0] = 4;
        case_expect_error(names[i], atl_layer_create(&c.weights.desc, &layer, &error), ATL_INVALID_ARGUMENT, &error,
                          CASE_WORDS(names[i], "query_conv.weight", "4", "5"));
        case_free(&c);
    }
}

/* C1 channels out of C: no room for them in x. */
Test(channel, in_place_only_where_widths_are_equal) {
    layer_case c;
    atl_error error = {0};
    atl_engine *engine = case_engine("scalar", 1);
    case_parse(&c, "self-attention-channel narrow 1 6x8 out=3", 3);
    atl_plan *plan = case_plan(&c, engine);
    float *x = case_alloc(c.size);
    case_expect_error("in place", atl_run(plan, 1, x, x, NULL, NULL, &error), ATL_INVALID_ARGUMENT, &error,
                      CASE_WORDS("overlaps"));
    atl_plan_release(plan);
    atl_engine_release(engine);
    case_free(&c);
    free(x);
}
