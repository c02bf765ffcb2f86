/* SPDX-License-Identifier: Apache-2.0 */
/* Linear layers and convolutions: weights packed per kernel format, batch norm folded. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "layer.h"
#include "memory.h"
#include "pool.h"

/* [ceil(m/mr)][k][mr], zero filled. */
static void fill_panels(const atl_linear *linear, int mr, float *to) {
    for (int64_t i = 0; i < linear->m; i++)
        for (int64_t l = 0; l < linear->k; l++)
            to[(i / mr * linear->k + l) * mr + i % mr] = linear->weight[i * linear->k + l];
}

/* Tiles of mr rows, then of half as many, down to 1: each [k][its rows]. */
static void fill_tiles(const atl_linear *linear, int64_t mr, int64_t first, int64_t rows, float *to) {
    for (int64_t i = 0; i < rows; i += mr) {
        while (mr > rows - i)
            mr /= 2;
        for (int64_t l = 0; l < linear->k; l++)
            for (int64_t r = 0; r < mr; r++)
                to[(first + i) * linear->k + l * mr + r] = linear->weight[(first + i + r) * linear->k + l];
    }
}

static atl_pack *make_pack(const atl_linear *linear, int mr, int64_t groups) {
    int64_t floats, bytes;
    if (!atl_mul(atl_round_up(linear->m, mr), linear->k, &floats) || !atl_mul(floats, sizeof(float), &bytes))
        return NULL;
    if (bytes > INT64_MAX / 2)
        return NULL;
    bytes += (int64_t)sizeof(atl_pack);
    atl_pack *pack = atl_aligned(bytes);
    if (!pack)
        return NULL;
    memset(pack, 0, (size_t)bytes);
    pack->bytes = bytes;
    pack->mr = mr;
    pack->groups = groups;
    if (!groups)
        fill_panels(linear, mr, pack->data);
    for (int64_t g = 0; g < groups; g++)
        fill_tiles(linear, mr, g * (linear->m / groups), linear->m / groups, pack->data);
    return pack;
}

atl_pack *atl_pack_free(atl_pack *pack) {
    atl_pack *next = pack ? pack->next : NULL;
    if (pack)
        atl_aligned_free(pack, pack->bytes);
    return next;
}

static atl_pack *find_pack(atl_linear *linear, int mr, int64_t groups) {
    atl_pack *pack = linear->packs;
    while (pack && (pack->mr != mr || pack->groups != groups))
        pack = pack->next;
    return pack;
}

static const float *pack_once(atl_linear *linear, int mr, int64_t groups) {
    atl_fork_lock();
    atl_pack *pack = find_pack(linear, mr, groups);
    atl_fork_unlock();
    if (pack)
        return pack->data;
    atl_pack *made = make_pack(linear, mr, groups);
    if (!made)
        return NULL;
    atl_fork_lock();
    pack = find_pack(linear, mr, groups); /* another thread may have been first */
    if (!pack) {
        made->next = linear->packs;
        linear->packs = pack = made;
        made = NULL;
    }
    atl_fork_unlock();
    atl_pack_free(made);
    return pack->data;
}

const float *atl_linear_pack(atl_linear *linear, int mr) {
    return pack_once(linear, mr, 0);
}

const float *atl_linear_pack_tiles(atl_linear *linear, int mr, int64_t groups) {
    return pack_once(linear, mr, groups);
}

atl_status atl_linear_fold(atl_linear *linear, const atl_norm *norm, atl_error *error) {
    if (norm->gamma && norm->eps < 0)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "parameter eps: wrong value (expected 0 or more, got %g)",
                        norm->eps);
    size_t bytes = (size_t)linear->m * sizeof(float);
    float *scale = malloc(bytes), *shift = malloc(bytes);
    if (!scale || !shift) {
        free(scale);
        free(shift);
        return atl_fail(error, ATL_OUT_OF_MEMORY, "layer: out of memory");
    }
    for (int64_t i = 0; i < linear->m; i++) {
        if (!norm->gamma) { /* -0 changes no sum, not even one that is -0 */
            scale[i] = 1.0f;
            shift[i] = linear->bias ? linear->bias[i] : -0.0f;
            continue;
        }
        double factor = (double)norm->gamma[i] / sqrt((double)norm->variance[i] + norm->eps);
        double bias = linear->bias ? (double)linear->bias[i] : 0.0;
        scale[i] = (float)factor;
        shift[i] = (float)((norm->beta ? (double)norm->beta[i] : 0.0) + (bias - (double)norm->mean[i]) * factor);
    }
    free(linear->bias);
    linear->scale = scale;
    linear->bias = shift;
    return ATL_OK;
}
