/* SPDX-License-Identifier: Apache-2.0 */
/* Weights and parameters out of a descriptor, and the linear layer that they feed. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *layer_name(const atl_layer_desc *desc, const char *name) {
    size_t length = desc->prefix ? strlen(desc->prefix) : 0;
    if (length && strncmp(name, desc->prefix, length) != 0)
        return NULL;
    name += length;
    for (size_t i = 0; i < desc->rename_count; i++)
        if (strcmp(desc->renames[i].name, name) == 0)
            return desc->renames[i].value;
    return name;
}

const atl_tensor *oracle_find(const atl_layer_desc *desc, const char *name) {
    for (size_t i = 0; i < desc->tensor_count; i++) {
        const char *own = layer_name(desc, desc->tensors[i].name);
        if (own && strcmp(own, name) == 0)
            return &desc->tensors[i];
    }
    return NULL;
}

const char *oracle_param(const atl_layer_desc *desc, const char *name, const char *fallback) {
    for (size_t i = 0; i < desc->param_count; i++)
        if (strcmp(desc->params[i].name, name) == 0)
            return desc->params[i].value;
    return fallback;
}

double oracle_number(const atl_layer_desc *desc, const char *name, double fallback) {
    const char *text = oracle_param(desc, name, NULL);
    return text ? strtod(text, NULL) : fallback;
}

static double half_to_double(uint16_t bits) {
    double sign = bits >> 15 ? -1 : 1;
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31)
        return fraction ? (double)NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, -24);
    return sign * ldexp(1024 + fraction, exponent - 25);
}

double oracle_element(const atl_tensor *tensor, int64_t i) {
    const char *data = tensor->data;
    uint16_t half;
    uint32_t word;
    float single;
    double wide;
    switch (tensor->dtype) {
    case ATL_F32: memcpy(&single, data + 4 * i, 4); return single;
    case ATL_F64: memcpy(&wide, data + 8 * i, 8); return (float)wide;
    case ATL_F16: memcpy(&half, data + 2 * i, 2); return half_to_double(half);
    case ATL_BF16:
        memcpy(&half, data + 2 * i, 2);
        word = (uint32_t)half << 16;
        memcpy(&single, &word, 4);
        return single;
    default: return NAN;
    }
}

static const atl_tensor *find(const atl_layer_desc *desc, const char *name, const char *suffix) {
    char key[128];
    if (strlen(name) + strlen(suffix) >= sizeof key)
        return NULL;
    return oracle_find(desc, strcat(strcpy(key, name), suffix));
}

int oracle_has(const atl_layer_desc *desc, const char *name, const char *suffix) {
    return find(desc, name, suffix) != NULL;
}

double *oracle_vector(const atl_layer_desc *desc, const char *name, const char *suffix, int64_t count) {
    const atl_tensor *tensor = find(desc, name, suffix);
    int64_t size = 1;
    for (int i = 0; tensor && i < tensor->rank; i++)
        size *= tensor->shape[i];
    double *values = tensor && size == count ? oracle_alloc(count) : NULL;
    for (int64_t i = 0; values && i < count; i++)
        values[i] = oracle_element(tensor, i);
    return values;
}

int oracle_linear_load(const atl_layer_desc *desc, const char *name, oracle_linear *linear) {
    *linear = (oracle_linear){0};
    const atl_tensor *weight = find(desc, name, ".weight");
    if (!weight || weight->rank < 2)
        return -1;
    linear->out = weight->shape[0];
    linear->in = weight->shape[1];
    linear->weight = oracle_vector(desc, name, ".weight", linear->out * linear->in);
    linear->bias = oracle_vector(desc, name, ".bias", linear->out);
    if (linear->weight && !linear->bias == !oracle_has(desc, name, ".bias"))
        return 0;
    oracle_linear_clear(linear);
    return -1;
}

void oracle_linear_clear(oracle_linear *linear) {
    free(linear->weight);
    free(linear->bias);
    *linear = (oracle_linear){0};
}

/* y += w x, |.|: sum += |w x|, propagated: dy += |w| dx, over one row of positions. */
static void accumulate(double w, int64_t n, const double *x, const double *dx, double unit, double *y, double *dy) {
    double magnitude = fabs(w);
    for (int64_t j = 0; j < n; j++) {
        double product = w * x[j];
        y[j] += product;
        dy[j] += unit * fabs(product);
    }
    for (int64_t j = 0; dx && j < n; j++)
        dy[j] += magnitude * dx[j];
}

void oracle_linear_apply(const oracle_linear *linear, int64_t n, const double *x, const double *dx, oracle_fill fill,
                         double *y, double *dy) {
    double unit = ORACLE_U * oracle_sum_count(fill, linear->in);
    for (int64_t o = 0; o < linear->out; o++) {
        double *row = y + o * n, *error = dy + o * n;
        double bias = linear->bias ? linear->bias[o] : 0;
        for (int64_t j = 0; j < n; j++) {
            row[j] = bias;
            /* Each product and each block sum may also end below the normal range. */
            error[j] = unit * fabs(bias) + ((double)linear->in + 8) * ORACLE_TINY;
        }
        for (int64_t i = 0; i < linear->in; i++)
            accumulate(linear->weight[o * linear->in + i], n, x + i * n, dx ? dx + i * n : NULL, unit, row, error);
        /* An infinity comes from an infinite input and is the same infinity in float32. */
        for (int64_t j = 0; j < n; j++)
            if (!isfinite(row[j]))
                error[j] = 0;
    }
}

/* K products: every term passes through the additions of its block, then those of the blocks, then a few roundings for
 * product, bias and scaling. Independent roundings add up like their root. */
double oracle_sum_count(oracle_fill fill, int64_t terms) {
    double block = terms < ORACLE_BLOCK ? (double)terms : ORACLE_BLOCK;
    double all = block + ceil((double)terms / ORACLE_BLOCK) + 4;
    return fill == ORACLE_RANDOM ? fmin(all, sqrt((double)terms) + 4) : all;
}

/* 16 lanes: a term passes through at most 1,024 / 16 additions of its lane, four of the tree, one for each block of
 * 1,024; then 1/N is rounded and multiplied with. */
double oracle_mean_count(oracle_fill fill, int64_t terms) {
    double lane = ceil(fmin((double)terms, 1024) / 16);
    double all = lane + 4 + ceil((double)terms / 1024) + 2;
    return fill == ORACLE_RANDOM ? fmin(all, sqrt((double)terms) + 4) : all;
}
