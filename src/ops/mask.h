/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which keys a query sees: a mask of bytes, an additive mask and the causal rule together, turned into the bias of the
 * attend and map kernels. A row that sees no key is "blind".
 */
#ifndef ATL_SRC_MASK_H
#define ATL_SRC_MASK_H

#include <stdint.h>

#include "kernels.h"

/* The masks of one head of one sample. */
typedef struct atl_mask {
    const uint8_t *bytes; /* 0 = masked; or NULL */
    int64_t byte_query, byte_key;
    const float *additive; /* or NULL */
    int64_t additive_query, additive_key;
    int causal; /* key j is visible to query i when j <= i */
    int64_t keys;
    float blind_bias; /* of every key of a blind row */
} atl_mask;

/* Queries [first, first + count) of a head; blind[i] where query `first` + i sees no key. */
typedef struct atl_mask_rows {
    int64_t first, count;
    const uint8_t *blind;
} atl_mask_rows;

/* What some queries see of a block of keys: none outside [from, end), and all of [from, biased) without a bias. */
typedef struct atl_sight {
    int64_t from, end, biased;
} atl_sight;

/* Whether there is anything to mask. */
int atl_mask_is_empty(const atl_mask *mask);

/* Whether all queries see the same. */
int atl_mask_same_rows(const atl_mask *mask);

/* blind[i] = whether query `first` + i sees no key. */
void atl_mask_blind(const atl_mask *mask, int64_t first, int64_t count, uint8_t *blind);

/* What queries see of keys [key, key + keys), as far as it can be told from the masks in little time: a bias that turns out
 * to exclude whole keys, or nothing, atl_mask_trim finds. */
atl_sight atl_mask_sight(const atl_mask *mask, const atl_mask_rows *rows, int64_t key, int64_t keys);

/* The bias of keys [key + from, key + end): element (i, j) of bias counts for query rows->first + i and key `key` + j, in
 * `row` floats as atl_bias_args says. Returns 0 only if it excludes no key. */
int atl_mask_bias(const atl_mask *mask, const atl_mask_rows *rows, int64_t key, int64_t from, int64_t end,
                  atl_bias_fn *kernel, float *bias, int64_t row, int by_key);

/* Narrows a sight by the bias of its keys [biased, end), which lies in rows of `row` floats by key. */
void atl_mask_trim(const float *bias, int64_t row, int64_t queries, atl_sight *sight);

#endif
