/* SPDX-License-Identifier: Apache-2.0 */
#include "mask.h"

#include <math.h>
#include <string.h>

#include "../memory.h"

int atl_mask_is_empty(const atl_mask *mask) {
    return !mask->bytes && !mask->additive && !mask->causal;
}

int atl_mask_same_rows(const atl_mask *m) {
    return !m->causal && (!m->bytes || !m->byte_query) && (!m->additive || !m->additive_query);
}

/* ---- blind rows ---- */

static int sees(const atl_mask *m, int64_t query, int64_t key) {
    return !(m->causal && key > query) && !(m->bytes && !m->bytes[query * m->byte_query + key * m->byte_key]) &&
           !(m->additive && m->additive[query * m->additive_query + key * m->additive_key] == -INFINITY);
}

/* How many keys from `key` on a query surely does not see, by runs of zero bytes. */
static int64_t zeros(const atl_mask *m, int64_t query, int64_t key) {
    uint64_t eight = 1;
    if (m->bytes && m->byte_key && m->keys - key >= (int64_t)sizeof eight)
        memcpy(&eight, m->bytes + query * m->byte_query + key, sizeof eight);
    return eight ? 0 : (int64_t)sizeof eight;
}

/* The first key that a query sees, m->keys if there is none. */
static int64_t first_seen(const atl_mask *m, int64_t query) {
    int64_t key = 0, end = m->causal ? atl_min(query + 1, m->keys) : m->keys;
    while (key < end && !sees(m, query, key))
        key += atl_max(1, zeros(m, query, key));
    return key < end ? key : m->keys;
}

void atl_mask_blind(const atl_mask *m, int64_t first, int64_t count, uint8_t *blind) {
    int64_t seen = 0; /* by the row before: often by this one, too */
    if (atl_mask_same_rows(m)) {
        memset(blind, first_seen(m, first) == m->keys, (size_t)count);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        if (seen == m->keys || !sees(m, first + i, seen))
            seen = first_seen(m, first + i);
        blind[i] = seen == m->keys;
    }
}

/* ---- sight ---- */

enum { SEEN = 1, BIASED = 2 }; /* marks of some elements: not all exclude, not all are as if there were no mask */

static unsigned mark_bytes(const uint8_t *row, int64_t step, int64_t keys) {
    uint8_t some = 0, zero = 0;
    for (int64_t j = 0; j < (step ? keys : 1); j++) {
        some |= row[j];
        zero |= row[j] == 0;
    }
    return (some ? SEEN : 0) | (zero ? BIASED : 0);
}

static unsigned mark_floats(const float *row, int64_t step, int64_t keys) {
    uint32_t some = 0, other = 0, bits;
    for (int64_t j = 0; j < (step ? keys : 1); j++) {
        memcpy(&bits, row + j, sizeof bits);
        some |= bits ^ 0xff800000u; /* anything but -inf */
        other |= bits << 1;         /* anything but a zero */
    }
    return (some ? SEEN : 0) | (other ? BIASED : 0);
}

/* The marks of one mask for `count` queries: BIASED alone where it excludes every key from all of them. */
static unsigned marks_of(const atl_mask *m, int additive, const atl_mask_rows *rows, int64_t key, int64_t keys) {
    unsigned marks = 0;
    int64_t count = (additive ? m->additive_query : m->byte_query) ? rows->count : 1;
    for (int64_t i = rows->first; i < rows->first + count && marks != (SEEN | BIASED); i++)
        marks |= additive
                     ? mark_floats(m->additive + i * m->additive_query + key * m->additive_key, m->additive_key, keys)
                     : mark_bytes(m->bytes + i * m->byte_query + key * m->byte_key, m->byte_key, keys);
    return marks;
}

atl_sight atl_mask_sight(const atl_mask *m, const atl_mask_rows *rows, int64_t key, int64_t keys) {
    atl_sight s = {0, keys, keys};
    unsigned bytes = SEEN, additive = SEEN;
    if (m->blind_bias > 0 && memchr(rows->blind, 1, (size_t)rows->count))
        return (atl_sight){0, keys, 0};
    if (m->causal) {
        s.end = atl_max(0, atl_min(keys, rows->first + rows->count - key));
        s.biased = atl_max(0, atl_min(s.end, rows->first + 1 - key));
    }
    if (m->bytes && s.end > 0)
        bytes = marks_of(m, 0, rows, key, s.end);
    if (m->additive && s.end > 0 && bytes & SEEN)
        additive = marks_of(m, 1, rows, key, s.end);
    if (!(bytes & additive & SEEN))
        return (atl_sight){0, 0, 0};
    if ((bytes | additive) & BIASED)
        s.biased = 0;
    return s;
}

/* ---- bias ---- */

int atl_mask_bias(const atl_mask *m, const atl_mask_rows *rows, int64_t key, int64_t from, int64_t end,
                  atl_bias_fn *kernel, float *bias, int64_t row, int by_key) {
    int64_t first = key + from;
    atl_bias_args args = {.byte_query = m->byte_query,
                          .byte_key = m->byte_key,
                          .additive_query = m->additive_query,
                          .additive_key = m->additive_key,
                          .diagonal = m->causal ? rows->first - first : m->keys,
                          .queries = rows->count,
                          .keys = end - from,
                          .to = bias + from * (by_key ? row : 1),
                          .row = row,
                          .by_key = by_key};
    if (m->bytes)
        args.bytes = m->bytes + rows->first * m->byte_query + first * m->byte_key;
    if (m->additive)
        args.additive = m->additive + rows->first * m->additive_query + first * m->additive_key;
    int excludes = kernel(&args);
    for (int64_t i = 0; i < rows->count; i++)
        for (int64_t j = from; j < end && rows->blind[i]; j++)
            bias[by_key ? j * row + i : i * row + j] = m->blind_bias;
    return excludes;
}

static int excludes(const float *bias, int64_t queries) {
    int64_t i = 0;
    while (i < queries && bias[i] == -INFINITY)
        i++;
    return i == queries;
}

static int is_nothing(const float *bias, int64_t queries) {
    int64_t i = 0;
    while (i < queries && bias[i] == 0)
        i++;
    return i == queries;
}

void atl_mask_trim(const float *bias, int64_t row, int64_t queries, atl_sight *s) {
    while (s->end > s->biased && excludes(bias + (s->end - 1) * row, queries))
        s->end--;
    while (s->biased == s->from && s->from < s->end && excludes(bias + s->from * row, queries))
        s->from = ++s->biased;
    while (s->biased < s->end && is_nothing(bias + s->biased * row, queries))
        s->biased++;
}
