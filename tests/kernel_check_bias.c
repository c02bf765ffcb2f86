/* SPDX-License-Identifier: Apache-2.0 */
/* Checkers of what masks become, and of what scores become in the map. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernel_arrays.h"

enum { LANES = 32 /* a multiple of every variant's */ };

/* What an element of an additive mask becomes, said without vectors. */
static float bias_of(float value) {
    if (isinf(value))
        return value > 0 ? NAN : value;
    float bias = value * 1.44269504f;
    return bias > FLT_MAX ? FLT_MAX : bias < -1e30f ? -1e30f : bias;
}

/* Masks of every broadcast form: the step between queries or keys may be 0. */
static void random_masks(check *c, int form, int64_t row, atl_bias_args *a) {
    static const float values[] = {-INFINITY, INFINITY, NAN, FLT_MAX, -FLT_MAX, 2.4e38f, 0.0f, -0.0f, -1e30f, -7e29f};
    a->additive_query = form & 1 ? row : 0;
    a->byte_query = form & 2 ? row : 0;
    a->additive_key = (form & 4) != 0;
    a->byte_key = (form & 8) != 0;
    int64_t floats = a->additive_query * (a->queries - 1) + (a->additive_key ? a->keys : 1);
    int64_t bytes = a->byte_query * (a->queries - 1) + (a->byte_key ? a->keys : 1);
    int64_t special = pick(c, 0, 2);
    float *additive = array(c, 0, floats);
    fill_plain(c, additive, floats, 9.0f);
    for (int64_t i = 0; i < floats && special; i++) {
        uint64_t kind = (uint64_t)pick(c, 0, 30);
        additive[i] = kind < sizeof values / sizeof *values ? values[kind] : additive[i];
    }
    /* against the guard page as well */
    uint8_t *to = (uint8_t *)array(c, 1, (bytes + 3) / 4) + (c->side == GUARD_AFTER ? (bytes + 3) / 4 * 4 - bytes : 0);
    for (int64_t i = 0; i < bytes; i++)
        to[i] = pick(c, 0, 2) ? (uint8_t)pick(c, 1, 255) : 0;
    a->additive = form & 16 ? additive : NULL;
    a->bytes = form & 32 ? to : NULL;
}

/* By the definition alone; `to` is [queries][keys]. */
static void expect(const atl_bias_args *a, float *to) {
    for (int64_t i = 0; i < a->queries; i++)
        for (int64_t j = 0; j < a->keys; j++) {
            float bias = a->additive ? bias_of(a->additive[i * a->additive_query + j * a->additive_key]) : 0.0f;
            int seen = !a->bytes || a->bytes[i * a->byte_query + j * a->byte_key];
            to[i * a->keys + j] = seen && j <= i + a->diagonal ? bias : -INFINITY;
        }
}

/* What a variant made, as [queries][keys]; whether lanes of no query are 0. */
static int gather(const atl_bias_args *a, float *dense) {
    int zero = 1;
    for (int64_t j = 0; j < a->keys; j++) {
        for (int64_t i = 0; i < a->queries; i++)
            dense[i * a->keys + j] = a->to[a->by_key ? j * a->row + i : i * a->row + j];
        for (int64_t i = a->queries; a->by_key && i < a->row; i++)
            zero &= a->to[j * a->row + i] == 0;
    }
    return zero;
}

static void bias_case(check *c, atl_bias_fn *kernel, int64_t keys, int form) {
    atl_bias_args a = {.keys = keys, .queries = pick(c, 1, LANES), .by_key = (int)pick(c, 0, 1)};
    random_masks(c, form, keys + pick(c, 0, 5), &a);
    a.diagonal = pick(c, 0, 2) ? keys : pick(c, -a.queries - 2, keys + 1);
    a.row = a.by_key ? LANES : keys + pick(c, 0, 3);
    int64_t floats = a.by_key ? keys * LANES : (a.queries - 1) * a.row + keys, count = a.queries * keys;
    float *to = a.to = array(c, 2, floats), *dense = array(c, 3, count), *want = array(c, 4, count);
    memset(to, 0xff, (size_t)floats * sizeof *to);
    int may_exclude = kernel(&a), zero = gather(&a, dense);
    expect(&a, want);
    for (int64_t i = 0; i < count; i++)
        may_exclude |= want[i] != -INFINITY ? 0 : 2;
    verdict(c, same_bits(c, dense, want, count) && zero && may_exclude != 2,
            "queries %lld keys %lld form %d by_key %d diagonal %lld", (long long)a.queries, (long long)keys, form,
            a.by_key, (long long)a.diagonal);
}

/* Against the definition, which leaves nothing open: so no variant needs the reference. */
void check_bias(check *c, atl_bias_fn *kernel, atl_bias_fn *reference) {
    (void)reference;
    for (int64_t keys = 1; keys <= ATL_BLOCK; keys += c->thorough ? 1 : 1 + keys)
        for (int form = 0; form < 64; form++)
            bias_case(c, kernel, keys, form);
}

/* ---- map from scores ---- */

void check_map_scores(check *c, atl_map_scores_fn *kernel, atl_map_scores_fn *reference) {
    for (int64_t keys = 1; keys <= 2 * ATL_BLOCK; keys += c->thorough ? 1 : 1 + keys) {
        int64_t rows = pick(c, 1, LANES), stride = keys + pick(c, 0, 3) * (keys % 16 ? 1 : 16);
        int stream = keys % 16 == 0 && stride % 16 == 0 && c->side == GUARD_BEFORE; /* then map is aligned as well */
        int64_t floats = (rows - 1) * stride + keys;
        float *scores = array(c, 0, keys * LANES), *max = array(c, 1, LANES), *inverse = array(c, 2, LANES);
        float *map = array(c, 3, floats), *want = array(c, 4, floats);
        keys % 3 ? fill_plain(c, scores, keys * LANES, 40.0f) : fill_special(c, scores, keys * LANES);
        for (int64_t i = 0; i < keys * LANES; i++)
            scores[i] = scores[i] == INFINITY ? -INFINITY : scores[i]; /* no score exceeds max */
        for (int64_t i = 0; i < LANES; i++) {
            max[i] = keys % 3 ? 40.0f : 3e38f;
            inverse[i] = 1.0f / (float)pick(c, 1, 60);
        }
        memset(map, 0, (size_t)floats * sizeof *map);
        memset(want, 0, (size_t)floats * sizeof *map);
        kernel(scores, LANES, rows, keys, max, inverse, map, stride, stream);
        reference(scores, LANES, rows, keys, max, inverse, want, stride, 0);
        verdict(c, same_bits(c, map, want, floats), "rows %lld keys %lld", (long long)rows, (long long)keys);
    }
}
