/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle's attention kinds on samples small enough for pencil and paper, and its masks. */
#include "fill.h"
#include "oracle_model.h"

#define DOUBLES(...) ((const double[]){__VA_ARGS__})
#define LN3          "1.0986122886681098"
#define LN3_20       "0.05493061443340549"

static void expect_all(const double *got, const double *want, int count, const char *what) {
    for (int i = 0; i < count; i++)
        cr_expect(fabs(got[i] - want[i]) <= 1e-14 * (1 + fabs(want[i])), "%s[%d]: got %.17g, want %.17g", what, i,
                  got[i], want[i]);
}

static void expect_bounds(const double *bound, int count, double limit, const char *what) {
    for (int i = 0; i < count; i++)
        cr_expect(bound[i] >= 0 && bound[i] < limit, "%s[%d] = %g", what, i, bound[i]);
}

/* ---------------------------------------------------------------- channel self-attention */

/* C = 1, C1 = 2, x = (1, 3): q = (1, 3), (2, 6); k = (1, 3), (-1, -3); v = (1, 3), (10, 30). E = (10, -10), (20, -20). */
static void channel_model(model *m) {
    static const float q[2] = {1, 2}, k[2] = {1, -1}, v[2] = {1, 10}, x[2] = {0.5f, 0}, bias[2] = {0, 1}, gamma = 2;
    model_init(m, "self-attention-channel");
    add(m, "query_conv.weight", ATL_F32, q, 4, 2, 1);
    add(m, "key_conv.weight", ATL_F32, k, 4, 2, 1);
    add(m, "value_conv.weight", ATL_F32, v, 2, 2, 1);
    add(m, "x_conv.weight", ATL_F32, x, 4, 2, 1);
    add(m, "x_conv.bias", ATL_F32, bias, 1, 2, 0);
    add(m, "gamma", ATL_F32, &gamma, 0, 0, 0);
    set(m, "scale", LN3_20);
}

Test(oracle, channel_attention_by_hand) {
    static const float x[2] = {1, 3};
    const int64_t shape[2] = {1, 2}, query = 1;
    double y[4], dy[4], map[4], dmap[4], row[2], map_row[2];
    model m;
    channel_model(&m);
    oracle *o = model_oracle(&m);
    cr_assert_eq(oracle_run(o, 2, shape, x, ORACLE_ANY, NULL, 0, y, dy, map, dmap), 0);
    expect_all(map, DOUBLES(0.75, 0.25, 0.9, 0.1), 4, "map");
    expect_all(y, DOUBLES(7, 21, 4.8, 12.4), 4, "y");
    expect_bounds(dy, 4, 1e-3, "bound");
    expect_bounds(dmap, 4, 1e-4, "map bound");
    cr_assert_eq(oracle_run(o, 2, shape, x, ORACLE_ANY, &query, 1, row, NULL, map_row, NULL), 0);
    cr_expect(memcmp(row, y + 2, sizeof row) == 0 && memcmp(map_row, map + 2, sizeof map_row) == 0, "a row of its own");
    oracle_free(o);
}

Test(oracle, channel_attention_spreads_nan) {
    static const float x[3] = {1, NAN, 3};
    const int64_t shape[4] = {1, 1, 3, 1};
    double y[6];
    model m;
    channel_model(&m);
    oracle *o = model_oracle(&m);
    cr_assert_eq(oracle_run(o, 4, shape, x, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    oracle_free(o);
    for (int i = 0; i < 6; i++)
        cr_expect(isnan(y[i]), "y[%d] = %g: every score is a sum over positions", i, y[i]);
}

/* The bound of random values is smaller, and a common offset, which the library takes away first, hardly widens it. */
Test(oracle, channel_attention_bounds) {
    enum { CHANNELS = 8, POSITIONS = 300 };
    float w[4][CHANNELS * CHANNELS], x[CHANNELS * POSITIONS], gamma = 1, got[CHANNELS * POSITIONS];
    double y[CHANNELS * POSITIONS], any[CHANNELS * POSITIONS], random[CHANNELS * POSITIONS];
    static const char *const names[] = {"query_conv.weight", "key_conv.weight", "value_conv.weight", "x_conv.weight"};
    const int64_t shape[2] = {CHANNELS, POSITIONS};
    model m;
    model_init(&m, "self-attention-channel");
    add(&m, "gamma", ATL_F32, &gamma, 1, 1, 0);
    for (int i = 0; i < 4; i++) {
        fill(w[i], CHANNELS * CHANNELS, FILL_RANDOM, 0.3f, (uint64_t)i + 40);
        add(&m, names[i], ATL_F32, w[i], 2, CHANNELS, CHANNELS);
    }
    fill(x, CHANNELS * POSITIONS, FILL_RANDOM, 1, 41);
    oracle *o = model_oracle(&m);
    cr_assert_eq(oracle_run(o, 2, shape, x, ORACLE_ANY, NULL, 0, y, any, NULL, NULL), 0);
    cr_assert_eq(oracle_run(o, 2, shape, x, ORACLE_RANDOM, NULL, 0, y, random, NULL, NULL), 0);
    oracle_free(o);
    expect_bounds(any, CHANNELS * POSITIONS, 1e-2, "bound");
    expect_bounds(random, CHANNELS * POSITIONS, 2e-4, "bound of random values");
    for (int i = 0; i < CHANNELS * POSITIONS; i++)
        got[i] = (float)y[i];
    cr_expect_leq(oracle_error_share(got, y, random, CHANNELS * POSITIONS, NULL), 1, "the rounded result passes");
    got[77] += 1e-3f;
    cr_expect_gt(oracle_error_share(got, y, random, CHANNELS * POSITIONS, NULL), 1, "a wrong value fails");
}

/* ---------------------------------------------------------------- non-local */

/* One channel; W and a normalisation to (v - 0.5) * 2 where they are asked for. */
typedef struct non_local {
    float theta, phi, g, w, bias, norm[4];
    model m;
} non_local;

static void non_local_init(non_local *s, int pooled, int normalised) {
    *s = (non_local){.theta = 1, .phi = -1, .g = 1, .w = 2, .bias = 1, .norm = {2, 0, 0.5f, 0.25f}};
    model_init(&s->m, "non-local");
    add(&s->m, "theta.weight", ATL_F32, &s->theta, 4, 1, 1);
    add(&s->m, pooled ? "phi.0.weight" : "phi.weight", ATL_F32, &s->phi, 4, 1, 1);
    add(&s->m, pooled ? "g.0.weight" : "g.weight", ATL_F32, &s->g, 4, 1, 1);
    add(&s->m, normalised ? "W.0.weight" : "W.weight", ATL_F32, &s->w, 4, 1, 1);
    add(&s->m, normalised ? "W.0.bias" : "W.bias", ATL_F32, &s->bias, 1, 1, 0);
    if (!normalised)
        return;
    add(&s->m, "W.1.weight", ATL_F32, &s->norm[0], 1, 1, 0);
    add(&s->m, "W.1.bias", ATL_F32, &s->norm[1], 1, 1, 0);
    add(&s->m, "W.1.running_mean", ATL_F32, &s->norm[2], 1, 1, 0);
    add(&s->m, "W.1.running_var", ATL_F32, &s->norm[3], 1, 1, 0);
    set(&s->m, "eps", "0.75");
}

/* Windows 2 x 2 over 3 x 5 pixels leave out the last row and column; phi = -x is pooled after the product: -0 and -1, g: 2
 * and 3. A query of 1 weighs them 3 : 1, one of 0 equally. */
Test(oracle, non_local_by_hand) {
    static const float x[15] = {1, 2, 1, 1, 9, 0, 1, 2, 3, 9, 9, 9, 9, 9, 9};
    const int64_t shape[3] = {1, 3, 5}, rows[2] = {0, 5};
    double y[15], dy[15], map[30], dmap[30], few[2], few_map[4];
    non_local s;
    non_local_init(&s, 1, 1);
    set(&s.m, "scale", LN3);
    oracle *o = model_oracle(&s.m);
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, NULL, 0, y, dy, map, dmap), 0);
    cr_assert_eq(oracle_run(o, 3, shape, x, ORACLE_ANY, rows, 2, few, NULL, few_map, NULL), 0);
    oracle_free(o);
    expect_all(map, DOUBLES(0.75, 0.25, 0.9, 0.1), 4, "map");
    expect_all(y, DOUBLES(2 * (2 * 2.25 + 1 - 0.5) + 1, 2 * (2 * 2.1 + 1 - 0.5) + 2), 2, "y");
    expect_all(few, DOUBLES(11, 11), 2, "two positions");
    expect_all(few_map, DOUBLES(0.75, 0.25, 0.5, 0.5), 4, "their map");
    expect_bounds(dy, 15, 1e-3, "bound");
    expect_bounds(dmap, 30, 1e-4, "map bound");
}

Test(oracle, non_local_of_every_rank) {
    static const float line[3] = {1, 5, 7}, clip[12] = {1, 4, 9, 2, 3, 9, 8, 5, 9, 6, 7, 9};
    const int64_t line_shape[2] = {1, 3}, clip_shape[4] = {1, 2, 2, 3};
    double y[12], map[24];
    non_local s;
    non_local_init(&s, 1, 0);
    s.theta = 0; /* equal weights */
    oracle *o = model_oracle(&s.m);
    cr_assert_eq(oracle_run(o, 2, line_shape, line, ORACLE_ANY, NULL, 0, y, NULL, map, NULL), 0);
    expect_all(y, DOUBLES(2 * 5 + 1 + 1, 2 * 5 + 1 + 5, 2 * 5 + 1 + 7), 3, "1-D");
    expect_all(map, DOUBLES(1, 1, 1), 3, "1-D, the only key");
    cr_assert_eq(oracle_run(o, 4, clip_shape, clip, ORACLE_ANY, NULL, 0, y, NULL, map, NULL), 0);
    expect_all(y, DOUBLES(2 * 6 + 1 + 1, 2 * 6 + 1 + 4), 2, "3-D: the maxima 4 and 8");
    expect_all(map + 22, DOUBLES(0.5, 0.5), 2, "3-D, two keys");
    oracle_free(o);
    non_local_init(&s, 0, 0);
    s.theta = 0;
    o = model_oracle(&s.m);
    cr_assert_eq(oracle_run(o, 2, line_shape, line, ORACLE_ANY, NULL, 0, y, NULL, map, NULL), 0);
    oracle_free(o);
    expect_all(y, DOUBLES(2 * 13.0 / 3 + 1 + 1), 1, "not sub-sampled");
}

Test(oracle, non_local_pool_keeps_nan) {
    static const float x[4] = {1, 5, NAN, 7};
    const int64_t shape[2] = {1, 4};
    double y[4];
    non_local s;
    non_local_init(&s, 1, 0);
    oracle *o = model_oracle(&s.m);
    cr_assert_eq(oracle_run(o, 2, shape, x, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    oracle_free(o);
    for (int i = 0; i < 4; i++)
        cr_expect(isnan(y[i]), "y[%d] = %g", i, y[i]);
}

/* ---------------------------------------------------------------- multi-head */

/* D = 2 in two heads, Wq = Wk = Wv = identity, fc = (1, 1/2; 0, -1) + (0, 1). Two queries, three keys. */
static const float identity[4] = {1, 0, 0, 1}, fc[4] = {1, 0.5f, 0, -1}, fc_bias[2] = {0, 1};
static const float queries[4] = {1, 2, 1, 2}, keys[6] = {0, 0, 1, 0, 0, 0.5f}, values[6] = {1, 10, 2, 20, 4, 40};

static void heads_model(model *m) {
    model_init(m, "multi-head");
    add(m, "Wq.weight", ATL_F32, identity, 2, 2, 2);
    add(m, "Wk.weight", ATL_F32, identity, 2, 2, 2);
    add(m, "Wv.weight", ATL_F32, identity, 4, 2, 2);
    add(m, "fc.weight", ATL_F32, fc, 2, 2, 2);
    add(m, "fc.bias", ATL_F32, fc_bias, 1, 2, 0);
    set(m, "num_heads", "2");
    set(m, "scale", LN3);
}

static oracle_inputs heads_inputs(void) {
    return (oracle_inputs){.x = queries, .key = keys, .value = values, .key_length = 3};
}

/* Runs both queries: y [2, 2], map [2 heads, 2, 3]. */
static void run_heads(const model *m, const oracle_inputs *in, double *y, double *map) {
    const int64_t shape[2] = {2, 2};
    double dy[4], dmap[12];
    oracle *o = model_oracle(m);
    cr_assert_eq(oracle_run_inputs(o, 2, shape, in, ORACLE_ANY, NULL, 0, y, dy, map, dmap), 0);
    oracle_free(o);
    expect_bounds(dy, 4, 1e-3, "bound");
    expect_bounds(dmap, 12, 1e-4, "map bound");
    for (int i = 0; i < 12; i++)
        cr_expect(map[i] != 0 || dmap[i] == 0, "a weight of 0 is exact, map[%d]", i);
}

/* y of one query from what its heads give. */
static void expect_joined(const double *y, double a, double b, const char *what) {
    expect_all(y, DOUBLES(a + 0.5 * b, 1 - b), 2, what);
}

Test(oracle, multi_head_by_hand) {
    const int64_t shape[2] = {2, 2}, row = 1;
    oracle_inputs in = heads_inputs();
    double y[4], map[12], one[2], one_map[6];
    model m;
    heads_model(&m);
    run_heads(&m, &in, y, map);
    expect_all(map, DOUBLES(0.2, 0.6, 0.2), 3, "first head");
    expect_all(map + 6, DOUBLES(0.2, 0.2, 0.6), 3, "second head");
    expect_joined(y, 11.0 / 5, 30, "y");
    oracle *o = model_oracle(&m);
    cr_assert_eq(oracle_run_inputs(o, 2, shape, &in, ORACLE_ANY, &row, 1, one, NULL, one_map, NULL), 0);
    cr_expect(memcmp(one, y + 2, sizeof one) == 0, "a query of its own");
    expect_all(one_map, DOUBLES(0.2, 0.6, 0.2, 0.2, 0.2, 0.6), 6, "its map");
    in.value = NULL; /* x has two rows, the keys are three */
    cr_expect_eq(oracle_run_inputs(o, 2, shape, &in, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), -1, "lengths differ");
    oracle_free(o);
}

/* x is query, key and value; the scale is then 1/sqrt(2). */
Test(oracle, multi_head_of_x_alone) {
    static const float x[4] = {0, 0, 1, 1};
    const int64_t shape[2] = {2, 2};
    double y[4], map[4], s = exp(sqrt(2));
    model m;
    heads_model(&m);
    m.desc.param_count = 0;
    oracle *o = model_oracle(&m);
    cr_assert_eq(oracle_run(o, 2, shape, x, ORACLE_ANY, NULL, 0, y, NULL, map, NULL), 0);
    oracle_free(o);
    expect_all(map, DOUBLES(0.5, 0.5, 1 / (1 + s), s / (1 + s)), 4, "map");
    expect_joined(y + 2, s / (1 + s), s / (1 + s), "y");
}

/* ---------------------------------------------------------------- masks */

Test(oracle, masked_keys_are_excluded_and_unread) {
    static const unsigned char mask[3] = {1, 1, 0};
    float odd_keys[6], odd_values[6];
    oracle_inputs in = heads_inputs();
    double y[4], map[12];
    model m;
    memcpy(odd_keys, keys, sizeof keys);
    memcpy(odd_values, values, sizeof values);
    odd_keys[4] = odd_values[5] = NAN;
    odd_values[4] = INFINITY;
    in.key = odd_keys;
    in.value = odd_values;
    in.mask = mask;
    memcpy(in.mask_shape, (int64_t[]){1, 1, 3}, sizeof in.mask_shape);
    heads_model(&m);
    run_heads(&m, &in, y, map);
    expect_all(map, DOUBLES(0.25, 0.75, 0, 0.25, 0.75, 0, 0.5, 0.5, 0, 0.5, 0.5, 0), 12, "map");
    expect_joined(y, 1.75, 15, "y");
}

Test(oracle, masks_of_heads_and_queries) {
    static const unsigned char heads[6] = {1, 0, 0, 0, 1, 0}, per_query[2] = {1, 0};
    static const float additive[6] = {0, -INFINITY, -INFINITY, -INFINITY, 0, -INFINITY};
    oracle_inputs in = heads_inputs();
    double y[4], map[12], same[4], same_map[12];
    model m;
    heads_model(&m);
    in.mask = heads;
    memcpy(in.mask_shape, (int64_t[]){2, 1, 3}, sizeof in.mask_shape);
    run_heads(&m, &in, y, map);
    expect_all(map, DOUBLES(1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0), 12, "a key for each head");
    expect_joined(y + 2, 1, 20, "y");
    in.mask = NULL;
    in.additive = additive;
    memcpy(in.additive_shape, (int64_t[]){2, 1, 3}, sizeof in.additive_shape);
    run_heads(&m, &in, same, same_map);
    cr_expect(memcmp(same, y, sizeof y) == 0 && memcmp(same_map, map, sizeof map) == 0, "-infinity masks");
    in = heads_inputs();
    in.mask = per_query;
    memcpy(in.mask_shape, (int64_t[]){1, 2, 1}, sizeof in.mask_shape);
    run_heads(&m, &in, y, map);
    expect_joined(y, 11.0 / 5, 30, "the query that sees all");
    expect_joined(y + 2, 7.0 / 3, 70.0 / 3, "the query that sees none");
}

Test(oracle, additive_masks_are_added) {
    static const float additive[2] = {0, 0.5f}; /* of queries: moves all keys alike */
    static const float of_keys[3] = {0.5f, 0, 0};
    oracle_inputs in = heads_inputs();
    double y[4], map[12], e = exp(0.5);
    model m;
    heads_model(&m);
    in.additive = additive;
    memcpy(in.additive_shape, (int64_t[]){1, 2, 1}, sizeof in.additive_shape);
    run_heads(&m, &in, y, map);
    expect_all(map + 3, DOUBLES(0.2, 0.6, 0.2), 3, "the same for every key");
    in.additive = of_keys;
    memcpy(in.additive_shape, (int64_t[]){1, 1, 3}, sizeof in.additive_shape);
    run_heads(&m, &in, y, map);
    expect_all(map, DOUBLES(e / (e + 4), 3 / (e + 4), 1 / (e + 4)), 3, "one key more");
}

Test(oracle, causal_joins_the_mask) {
    static const unsigned char mask[3] = {0, 1, 1};
    oracle_inputs in = heads_inputs();
    double y[4], map[12];
    model m;
    heads_model(&m);
    set(&m, "causal", "true");
    run_heads(&m, &in, y, map);
    expect_all(map, DOUBLES(1, 0, 0, 0.25, 0.75, 0), 6, "causal");
    in.mask = mask;
    memcpy(in.mask_shape, (int64_t[]){1, 1, 3}, sizeof in.mask_shape);
    run_heads(&m, &in, y, map);
    expect_all(map, DOUBLES(1.0 / 3, 1.0 / 3, 1.0 / 3, 0, 1, 0), 6, "query 0 sees none: the mean over all");
    expect_joined(y, 7.0 / 3, 70.0 / 3, "y");
    set(&m, "mask_fill", "-inf");
    run_heads(&m, &in, y, map);
    expect_all(map, DOUBLES(0, 0, 0, 0, 1, 0), 6, "or nothing");
    expect_joined(y, 0, 0, "y");
}

Test(oracle, a_nan_query_poisons_its_row) {
    float odd[4];
    oracle_inputs in = heads_inputs();
    const int64_t shape[2] = {2, 2};
    double y[4];
    model m;
    memcpy(odd, queries, sizeof odd);
    odd[2] = NAN;
    in.x = odd;
    heads_model(&m);
    oracle *o = model_oracle(&m);
    cr_assert_eq(oracle_run_inputs(o, 2, shape, &in, ORACLE_ANY, NULL, 0, y, NULL, NULL, NULL), 0);
    oracle_free(o);
    expect_joined(y, 11.0 / 5, 30, "the other query");
    cr_expect(isnan(y[2]) && isnan(y[3]), "%g, %g", y[2], y[3]);
}

/* ---------------------------------------------------------------- heads given directly */

/* The second head above, token-major and channel-major, with two-dimensional values. */
Test(oracle, attention_of_given_heads) {
    static const float q[2] = {2, 0}, k[3] = {0, 0, 0.5f}, by_token[6] = {10, 1, 20, 2, 40, 4};
    static const float by_channel[6] = {10, 20, 40, 1, 2, 4};
    const int64_t row = 1;
    oracle_attention_inputs in = {.queries = 2, .keys = 3, .key_dim = 1, .value_dim = 2};
    in.q = (oracle_view){q, 1, 1};
    in.k = (oracle_view){k, 1, 3};
    in.v = (oracle_view){by_token, 2, 1};
    in.scale = log(3);
    double y[4], dy[4], map[6], dmap[6], same[4], one[2];
    cr_assert_eq(oracle_attention(&in, ORACLE_ANY, NULL, 0, y, dy, map, dmap), 0);
    expect_all(map, DOUBLES(0.2, 0.2, 0.6, 1.0 / 3, 1.0 / 3, 1.0 / 3), 6, "map");
    expect_all(y, DOUBLES(30, 3, 70.0 / 3, 7.0 / 3), 4, "y");
    expect_bounds(dy, 4, 1e-3, "bound");
    expect_bounds(dmap, 6, 1e-4, "map bound");
    in.v = (oracle_view){by_channel, 1, 3};
    cr_assert_eq(oracle_attention(&in, ORACLE_ANY, NULL, 0, same, NULL, NULL, NULL), 0);
    cr_expect(memcmp(same, y, sizeof y) == 0, "channel-major");
    cr_assert_eq(oracle_attention(&in, ORACLE_ANY, &row, 1, one, NULL, NULL, NULL), 0);
    cr_expect(memcmp(one, y + 2, sizeof one) == 0, "a query of its own");
    in.mask.causal = 1;
    cr_assert_eq(oracle_attention(&in, ORACLE_ANY, &row, 1, one, NULL, NULL, NULL), 0);
    expect_all(one, DOUBLES(15, 1.5), 2, "causal counts queries of the whole");
}
