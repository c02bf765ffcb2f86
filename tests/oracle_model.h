/* SPDX-License-Identifier: Apache-2.0 */
/* Layers of a few weights, spelled out by the tests of the oracle. */
#ifndef ATL_TESTS_ORACLE_MODEL_H
#define ATL_TESTS_ORACLE_MODEL_H

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "oracle.h"

typedef struct model {
    atl_tensor tensors[24];
    atl_param params[4];
    atl_layer_desc desc;
} model;

static inline void model_init(model *m, const char *kind) {
    memset(m, 0, sizeof *m);
    m->desc = (atl_layer_desc){.size = sizeof m->desc, .kind = kind, .tensors = m->tensors, .params = m->params};
}

static inline void add(model *m, const char *name, atl_dtype dtype, const void *data, int rank, int64_t out,
                       int64_t in) {
    m->tensors[m->desc.tensor_count++] =
        (atl_tensor){.name = name, .data = data, .dtype = dtype, .rank = rank, .shape = {out, in, 1, 1}};
}

/* A convolution's weights [out][in][k][k] in float32. */
static inline void add_conv(model *m, const char *name, const float *data, int64_t out, int64_t in, int64_t k) {
    add(m, name, ATL_F32, data, 4, out, in);
    m->tensors[m->desc.tensor_count - 1].shape[2] = m->tensors[m->desc.tensor_count - 1].shape[3] = k;
}

static inline void set(model *m, const char *name, const char *value) {
    m->params[m->desc.param_count++] = (atl_param){name, value};
}

static inline oracle *model_oracle(const model *m) {
    oracle *o = oracle_create(&m->desc);
    cr_assert(o, "%s: no oracle", m->desc.kind);
    return o;
}

static inline double logistic(double z) {
    return 1 / (1 + exp(-z));
}

static inline void expect_near(double got, double want, const char *what) {
    cr_expect(fabs(got - want) <= 1e-14 * (1 + fabs(want)), "%s: got %.17g, want %.17g", what, got, want);
}

#endif
