/* SPDX-License-Identifier: Apache-2.0 */
#include "mask.h"

#include <math.h>
#include <string.h>

int atl_mask_is_empty(const atl_mask *mask) {
    return !mask->bytes && !mask->additive && !mask->causal;
}

static int sees(const atl_mask *m, int64_t query, int64_t key) {
    return !(m->causal && key > query) && !(m->bytes && !m->bytes[query * m->byte_query + key * m->byte_key]) &&
           !(m->additive && m->additive[query * m->additive_query + key * m->additive_key] == -INFINITY);
}

static int same_rows(const atl_mask *m) {
    return !m->causal && !m->byte_query && !m->additive_query;
}

void atl_mask_blind(const atl_mask *m, int64_t first, int64_t count, uint8_t *blind) {
    for (int64_t i = 0; i < count; i++) {
        if (i > 0 && same_rows(m)) {
            blind[i] = blind[0];
            continue;
        }
        int64_t key = 0;
        while (key < m->keys && !sees(m, first + i, key))
            key++;
        blind[i] = key == m->keys;
    }
}

/* What one query sees by the masks alone. */
static atl_sight row_sight(const atl_mask *m, int64_t query, int64_t key, int64_t keys) {
    if (m->additive)
        return ATL_SEES_SOME;
    const uint8_t *row = m->bytes + query * m->byte_query + key * m->byte_key;
    if (m->byte_key == 0)
        return *row ? ATL_SEES_ALL : ATL_SEES_NONE;
    int64_t visible = 0;
    for (int64_t j = 0; j < keys; j++)
        visible += row[j] != 0;
    return visible == keys ? ATL_SEES_ALL : visible == 0 ? ATL_SEES_NONE : ATL_SEES_SOME;
}

atl_sight atl_mask_sight(const atl_mask *m, int64_t query, int64_t count, const uint8_t *blind, int64_t key,
                         int64_t keys) {
    if (memchr(blind, 1, (size_t)count))
        return ATL_SEES_SOME;
    if (m->causal && key > query + count - 1)
        return ATL_SEES_NONE;
    if (m->causal && key + keys - 1 > query)
        return ATL_SEES_SOME;
    if (!m->bytes && !m->additive)
        return ATL_SEES_ALL;
    atl_sight sight = row_sight(m, query, key, keys);
    for (int64_t i = 1; i < count && sight != ATL_SEES_SOME && (m->byte_query || m->additive_query); i++)
        if (row_sight(m, query + i, key, keys) != sight)
            sight = ATL_SEES_SOME;
    return sight;
}

/* An additive value in the unit of scores, log2(e) times it: the infinities have a meaning of their own. Where frameworks
 * mean "masked" they write -FLT_MAX: stays above the floor that maxima start from, so that a row of nothing else is a mean. */
static float additive_bias(float value) {
    const float least = -1e30f, largest = 0x1.fffffep+127f;
    if (value == -INFINITY)
        return value;
    float bias = value * 1.44269504f;
    if (bias > largest)
        return value == INFINITY ? NAN : largest;
    return bias < least ? least : bias;
}

void atl_mask_bias(const atl_mask *m, int64_t query, int blind, int64_t key, int64_t keys, float *bias, int64_t step) {
    for (int64_t j = 0; j < keys; j++)
        bias[j * step] = blind ? m->blind_bias : 0.0f;
    if (blind)
        return;
    const float *add = m->additive ? m->additive + query * m->additive_query + key * m->additive_key : NULL;
    for (int64_t j = 0; j < keys && add; j++)
        bias[j * step] = additive_bias(add[j * m->additive_key]);
    const uint8_t *bytes = m->bytes ? m->bytes + query * m->byte_query + key * m->byte_key : NULL;
    for (int64_t j = 0; j < keys && bytes; j++)
        bias[j * step] = bytes[j * m->byte_key] ? bias[j * step] : -INFINITY;
    for (int64_t j = query + 1 > key ? query + 1 - key : 0; j < keys && m->causal; j++)
        bias[j * step] = -INFINITY;
}
