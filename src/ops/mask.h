/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which keys a query sees: a mask of bytes, an additive mask and the causal rule together, turned into the bias of the
 * attend and map kernels. A row that sees no key is "blind".
 */
#ifndef ATL_SRC_MASK_H
#define ATL_SRC_MASK_H

#include <stdint.h>

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

typedef enum atl_sight { ATL_SEES_ALL, ATL_SEES_NONE, ATL_SEES_SOME } atl_sight;

/* Whether there is anything to mask. */
int atl_mask_is_empty(const atl_mask *mask);

/* blind[i] = whether query `first` + i sees no key. */
void atl_mask_blind(const atl_mask *mask, int64_t first, int64_t count, uint8_t *blind);

/* What queries [query, query + count) see of keys [key, key + keys): none and all are told only when they hold for every
 * one of the queries and no bias is needed. */
atl_sight atl_mask_sight(const atl_mask *mask, int64_t query, int64_t count, const uint8_t *blind, int64_t key,
                         int64_t keys);

/* The bias of one query for `keys` keys, `step` floats apart. */
void atl_mask_bias(const atl_mask *mask, int64_t query, int blind, int64_t key, int64_t keys, float *bias,
                   int64_t step);

#endif
