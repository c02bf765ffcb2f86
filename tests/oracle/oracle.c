/* SPDX-License-Identifier: Apache-2.0 */
/* The table of kinds, and the comparison. */
#include "internal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const oracle_kind *const kinds[] = {
    &oracle_kind_se,       &oracle_kind_cbam_channel, &oracle_kind_cbam_spatial,
    &oracle_kind_cbam_res, &oracle_kind_sk,           &oracle_kind_self_attention_spatial,
};

struct oracle {
    const oracle_kind *kind;
    void *weights;
};

static const oracle_kind *find_kind(const char *name) {
    for (size_t i = 0; name && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}

oracle *oracle_create(const atl_layer_desc *desc) {
    const oracle_kind *kind = find_kind(desc->kind);
    if (!kind)
        return NULL;
    oracle *o = malloc(sizeof *o);
    if (!o)
        return NULL;
    o->kind = kind;
    o->weights = kind->create(desc);
    if (!o->weights) {
        free(o);
        return NULL;
    }
    return o;
}

void oracle_free(oracle *o) {
    if (!o)
        return;
    o->kind->free(o->weights);
    free(o);
}

double *oracle_alloc(int64_t count) {
    if (count < 0 || (uint64_t)count > PTRDIFF_MAX / sizeof(double))
        return NULL;
    return malloc(count > 0 ? (size_t)count * sizeof(double) : 1);
}

int oracle_run(const oracle *o, int rank, const int64_t *shape, const float *x, oracle_fill fill, const int64_t *rows,
               int64_t row_count, double *y, double *y_bound, double *map, double *map_bound) {
    oracle_request request = {.channels = shape[0], .positions = 1, .rank = rank, .shape = shape, .fill = fill};
    for (int i = 1; i < rank; i++)
        request.positions *= shape[i];
    request.rows = rows;
    request.row_count = rows ? row_count : o->kind->rows ? o->kind->rows(o->weights, &request) : request.positions;
    request.y = y;
    request.y_bound = y_bound;
    request.map = map;
    request.map_bound = map_bound;

    int64_t count = request.channels * request.positions;
    double *copy = oracle_alloc(count);
    if (!copy)
        return -1;
    for (int64_t i = 0; i < count; i++)
        copy[i] = x[i];
    request.x = copy;
    int status = o->kind->run(o->weights, &request);
    free(copy);
    return status;
}

/* One element's |got - want| / bound. Where want rounds to an infinity of float32, or could within the bound, that
 * infinity is right. */
static double element_share(float got, double want, double bound) {
    const double overflow = (double)FLT_MAX * (1 + 0x1p-25);
    if (isnan(want))
        return isnan(got) ? 0 : INFINITY;
    if (isinf(got))
        return (got > 0) == (want > 0) && fabs(want) + (isinf(want) ? 0 : bound) >= overflow ? 0 : INFINITY;
    if (isnan(got) || isinf(want))
        return INFINITY;
    double error = fabs(got - want);
    if (error == 0)
        return 0;
    return bound > 0 ? error / bound : INFINITY; /* a bound that is NaN is a failure too */
}

double oracle_error_share(const float *got, const double *want, const double *bound, int64_t count, int64_t *worst) {
    double largest = 0;
    int64_t index = 0;
    for (int64_t i = 0; i < count; i++) {
        double share = element_share(got[i], want[i], bound[i]);
        if (share > largest) {
            largest = share;
            index = i;
        }
    }
    if (worst)
        *worst = index;
    return largest;
}
