/* SPDX-License-Identifier: Apache-2.0 */
#include "weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fill.h"

/* A weight [out, in] or, as a 1x1 convolution spells it, [out, in, 1, 1]; with in 0 a vector [out]. */
static int add(weights *w, const char *name, int64_t out, int64_t in, float scale, uint64_t *seed) {
    int64_t count = in ? out * in : out;
    float *values = malloc((size_t)count * sizeof *values);
    if (!values)
        return -1;
    fill(values, count, FILL_RANDOM, scale, fill_bits(seed));
    const int rank = !in ? 1 : fill_bits(seed) % 2 ? 4 : 2;
    w->tensors[w->desc.tensor_count++] = (atl_tensor){
        .name = name, .data = values, .dtype = ATL_F32, .rank = rank, .shape = {out, in, rank == 4, rank == 4}};
    return 0;
}

/* A linear layer; `bias` NULL = without one. */
static int add_linear(weights *w, const char *weight, const char *bias, int64_t out, int64_t in, uint64_t *seed) {
    if (add(w, weight, out, in, sqrtf(3.0f / (float)in), seed))
        return -1;
    return bias ? add(w, bias, out, 0, 0.5f, seed) : 0;
}

static int add_se(weights *w, const shape_row *row, uint64_t *seed) {
    int64_t c = row->shape[0], hidden = shape_number(row, "hidden", 1);
    int64_t bias = shape_number(row, "bias", 1);
    return add_linear(w, "fc.0.weight", bias ? "fc.0.bias" : NULL, hidden, c, seed) ||
           add_linear(w, "fc.2.weight", bias ? "fc.2.bias" : NULL, c, hidden, seed);
}

static int add_cbam_channel(weights *w, const shape_row *row, uint64_t *seed) {
    int64_t c = row->shape[0], hidden = shape_number(row, "hidden", 1);
    int64_t bias = shape_number(row, "bias", 1);
    return add_linear(w, "sharedMLP.0.weight", bias ? "sharedMLP.0.bias" : NULL, hidden, c, seed) ||
           add_linear(w, "sharedMLP.2.weight", bias ? "sharedMLP.2.bias" : NULL, c, hidden, seed);
}

/* A convolution [out, in, k, k]; `bias` NULL = without one. */
static int add_conv(weights *w, const char *weight, const char *bias, int64_t out, int64_t in, int64_t k,
                    uint64_t *seed) {
    if (add(w, weight, out * in * k * k, 0, sqrtf(3.0f / (float)(in * k * k)), seed))
        return -1;
    atl_tensor *conv = &w->tensors[w->desc.tensor_count - 1];
    conv->rank = 4;
    memcpy(conv->shape, (int64_t[]){out, in, k, k}, 4 * sizeof(int64_t));
    return bias ? add(w, bias, out, 0, 0.5f, seed) : 0;
}

/* A batch norm: weight, bias, mean, variance. Weights and variances are positive. */
static int add_norm(weights *w, const char *const names[4], int64_t channels, uint64_t *seed) {
    for (int part = 0; part < 4; part++) {
        if (add(w, names[part], channels, 0, 0.5f, seed))
            return -1;
        float *values = (float *)w->tensors[w->desc.tensor_count - 1].data;
        for (int64_t i = 0; part % 3 == 0 && i < channels; i++)
            values[i] += 1.0f;
    }
    return 0;
}

static int add_cbam_spatial(weights *w, const shape_row *row, uint64_t *seed) {
    return add_conv(w, "conv.weight", shape_number(row, "bias", 0) ? "conv.bias" : NULL, 1, 2,
                    shape_number(row, "k", 7), seed);
}

static int add_cbam_res(weights *w, const shape_row *row, uint64_t *seed) {
    static const char *const norm[] = {"bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"};
    int64_t in = row->shape[0], out = shape_number(row, "out", 1), hidden = shape_number(row, "hidden", 1);
    int64_t bias = shape_number(row, "bias", 1);
    return add_conv(w, "conv1.weight", bias ? "conv1.bias" : NULL, out, in, shape_number(row, "k", 3), seed) ||
           add_norm(w, norm, out, seed) ||
           add_linear(w, "ca.sharedMLP.0.weight", bias ? "ca.sharedMLP.0.bias" : NULL, hidden, out, seed) ||
           add_linear(w, "ca.sharedMLP.2.weight", bias ? "ca.sharedMLP.2.bias" : NULL, out, hidden, seed) ||
           add_conv(w, "sa.conv.weight", bias ? "sa.conv.bias" : NULL, 1, 2, shape_number(row, "sa", 7), seed) ||
           add_conv(w, "conv_res.weight", bias ? "conv_res.bias" : NULL, out, in, 1, seed);
}

static int add_self_attention_spatial(weights *w, const shape_row *row, uint64_t *seed) {
    int64_t c = row->shape[0], d = shape_number(row, "d", 1);
    int64_t bias = shape_number(row, "bias", 1);
    return add_linear(w, "query_conv.weight", bias ? "query_conv.bias" : NULL, d, c, seed) ||
           add_linear(w, "key_conv.weight", bias ? "key_conv.bias" : NULL, d, c, seed) ||
           add_linear(w, "value_conv.weight", bias ? "value_conv.bias" : NULL, c, c, seed) ||
           add(w, "gamma", 1, 0, 1, seed);
}

/* "<list>.<i>.<rest>". */
static const char *indexed(weights *w, const char *list, int64_t i, const char *rest) {
    char *name = w->names[w->name_count++];
    snprintf(name, sizeof w->names[0], "%s.%d.%s", list, (int)i, rest);
    return name;
}

/* Branch i: a kernel of 3 + 2i, C/groups -> C channels. */
static int add_branch(weights *w, const shape_row *row, int64_t i, uint64_t *seed) {
    int64_t c = row->shape[0], in = c / shape_number(row, "groups", 1), bias = shape_number(row, "bias", 1);
    if (add_conv(w, indexed(w, "convs", i, "0.weight"), bias ? indexed(w, "convs", i, "0.bias") : NULL, c, in,
                 3 + 2 * i, seed))
        return -1;
    const char *const norm[] = {indexed(w, "convs", i, "1.weight"), indexed(w, "convs", i, "1.bias"),
                                indexed(w, "convs", i, "1.running_mean"), indexed(w, "convs", i, "1.running_var")};
    return shape_number(row, "bn", 1) ? add_norm(w, norm, c, seed) : 0;
}

static int add_sk(weights *w, const shape_row *row, uint64_t *seed) {
    int64_t c = row->shape[0], m = shape_number(row, "m", 2), d = shape_number(row, "d", 1);
    int64_t bias = shape_number(row, "bias", 1);
    int failed = add_linear(w, "fc.weight", bias ? "fc.bias" : NULL, d, c, seed);
    for (int64_t i = 0; !failed && i < m; i++)
        failed = add_branch(w, row, i, seed) ||
                 add_linear(w, indexed(w, "fcs", i, "weight"), bias ? indexed(w, "fcs", i, "bias") : NULL, c, d, seed);
    return failed;
}

/* A 1x1 convolution whose rank tells the number of axes. */
static int add_pointwise(weights *w, const char *weight, const char *bias, int64_t out, int64_t in, int axes,
                         uint64_t *seed) {
    atl_tensor *tensor = &w->tensors[w->desc.tensor_count];
    if (add_linear(w, weight, bias, out, in, seed))
        return -1;
    tensor->rank = 2 + axes;
    for (int i = 0; i < axes; i++)
        tensor->shape[2 + i] = 1;
    return 0;
}

static int add_non_local(weights *w, const shape_row *row, uint64_t *seed) {
    static const char *const norm[] = {"W.1.weight", "W.1.bias", "W.1.running_mean", "W.1.running_var"};
    const int axes = row->rank - 1, bias = shape_number(row, "bias", 1) != 0;
    const int sub = shape_number(row, "sub", 0) != 0, bn = shape_number(row, "bn", 0) != 0;
    int64_t c = row->shape[0], inner = shape_number(row, "inner", c / 2 + c % 2), g = shape_number(row, "g", inner);
    const struct {
        const char *weight, *bias;
        int64_t out, in;
    } parts[] = {
        {"theta.weight", "theta.bias", inner, c},
        {sub ? "phi.0.weight" : "phi.weight", sub ? "phi.0.bias" : "phi.bias", inner, c},
        {sub ? "g.0.weight" : "g.weight", sub ? "g.0.bias" : "g.bias", g, c},
        {bn ? "W.0.weight" : "W.weight", bn ? "W.0.bias" : "W.bias", c, g},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (add_pointwise(w, parts[i].weight, bias ? parts[i].bias : NULL, parts[i].out, parts[i].in, axes, seed))
            return -1;
    return bn ? add_norm(w, norm, c, seed) : 0;
}

static int add_multi_head(weights *w, const shape_row *row, uint64_t *seed) {
    int64_t d = row->shape[1], bias = shape_number(row, "bias", 1);
    return add_linear(w, "Wq.weight", bias ? "Wq.bias" : NULL, d, d, seed) ||
           add_linear(w, "Wk.weight", bias ? "Wk.bias" : NULL, d, d, seed) ||
           add_linear(w, "Wv.weight", bias ? "Wv.bias" : NULL, d, d, seed) ||
           add_linear(w, "fc.weight", bias ? "fc.bias" : NULL, d, d, seed);
}

/* Logits are sums over positions: queries and keys that keep them small whatever N. */
static int add_self_attention_channel(weights *w, const shape_row *row, uint64_t *seed) {
    int64_t c = row->shape[0], out = shape_number(row, "out", c), bias = shape_number(row, "bias", 1);
    static const char *const names[][2] = {{"query_conv.weight", "query_conv.bias"},
                                           {"key_conv.weight", "key_conv.bias"},
                                           {"value_conv.weight", "value_conv.bias"},
                                           {"x_conv.weight", "x_conv.bias"}};
    float small = 1.0f / sqrtf(sqrtf((float)shape_positions(row)));
    for (int i = 0; i < 4; i++) {
        float scale = i < 2 ? small : 1.0f;
        if (add(w, names[i][0], out, c, scale * sqrtf(3.0f / (float)c), seed) ||
            (bias && add(w, names[i][1], out, 0, 0.5f * scale, seed)))
            return -1;
    }
    return add(w, "gamma", 1, 0, 1, seed);
}

static const struct {
    const char *kind;
    int (*add)(weights *w, const shape_row *row, uint64_t *seed);
    const char *keys; /* that a row may have, each between blanks */
} makers[] = {
    {"se", add_se, " hidden bias "},
    {"cbam-channel", add_cbam_channel, " hidden bias "},
    {"cbam-spatial", add_cbam_spatial, " k bias "},
    {"cbam-res", add_cbam_res, " out k hidden sa bias "},
    {"sk", add_sk, " m groups d bn bias "},
    {"self-attention-spatial", add_self_attention_spatial, " d bias map "},
    {"self-attention-channel", add_self_attention_channel, " out bias map "},
    {"non-local", add_non_local, " inner g sub bn bias map "},
    {"multi-head", add_multi_head, " bias keys mask padding map "},
};

enum { MAKERS = sizeof makers / sizeof *makers };

static int maker_of(const char *kind) {
    int i = 0;
    while (i < MAKERS && strcmp(makers[i].kind, kind) != 0)
        i++;
    return i;
}

const char *weights_unknown_key(const shape_row *row) {
    const int maker = maker_of(row->kind);
    if (maker == MAKERS)
        return row->kind;
    for (int i = 0; i < row->key_count; i++) {
        char word[sizeof row->keys[i] + 2];
        snprintf(word, sizeof word, " %s ", row->keys[i]);
        if (strncmp(row->keys[i], "set.", 4) != 0 && !strstr(makers[maker].keys, word))
            return row->keys[i];
    }
    return NULL;
}

int weights_make(weights *w, const shape_row *row, uint64_t seed) {
    memset(w, 0, sizeof *w);
    atl_layer_desc_init(&w->desc);
    w->desc.kind = row->kind;
    w->desc.tensors = w->tensors;
    w->desc.params = w->params;
    w->desc.param_count = shape_params(row, w->params);
    const int maker = maker_of(row->kind);
    if (maker < MAKERS && makers[maker].add(w, row, &seed) == 0)
        return 0;
    weights_free(w);
    return -1;
}

void weights_free(weights *w) {
    for (size_t i = 0; i < w->desc.tensor_count; i++)
        free((void *)w->tensors[i].data);
    w->desc.tensor_count = 0;
}
