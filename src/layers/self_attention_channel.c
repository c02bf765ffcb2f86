/* SPDX-License-Identifier: Apache-2.0 */
/* Self-attention over channels: Fu et al., "Dual Attention Network", CVPR 2019 (channel attention), with projections. See
 * <attentile/layers.h>. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../error.h"
#include "../layer.h"
#include "../memory.h"
#include "../plan.h"

enum { QUERY, KEY, VALUE, SKIP, GAMMA, QUERY_BIAS, KEY_BIAS, VALUE_BIAS, SKIP_BIAS };
static const atl_weight_spec weights[] = {
    {"query_conv.weight", "oC", 0},
    {"key_conv.weight", "oC", 0},
    {"value_conv.weight", "oC", 0},
    {"x_conv.weight", "oC", 0},
    {"gamma", "", 0},
    {"query_conv.bias", "o", 1},
    {"key_conv.bias", "o", 1},
    {"value_conv.bias", "o", 1},
    {"x_conv.bias", "o", 1},
    {0},
};

enum { SCALE };
static const atl_param_spec params[] = {{"scale", ATL_PARAM_NUMBER, 1.0, NULL}, {0}};

/* The layer's matrices: queries and keys, values and x_conv [2o, C] as projections; queries, keys and x_conv transposed [C, row];
 * gamma, once for every output, then as many zeros [2, o], and beside them the bias of the values alone. */
enum { QUERY_KEY, VALUES_SKIP, QUERY_COLUMNS, KEY_COLUMNS, SKIP_COLUMNS, GAMMAS, LINEARS };

static atl_status make_floats(int64_t m, int64_t k, float **floats, atl_error *error) {
    int64_t count;
    if (atl_mul(m, k, &count) && count <= PTRDIFF_MAX / (int64_t)sizeof(float))
        *floats = calloc((size_t)count, sizeof(float));
    return *floats ? ATL_OK : atl_fail(error, ATL_OUT_OF_MEMORY, "layer: out of memory");
}

/* w [o, C] as columns of a matrix. */
static void fill_columns(const float *w, int64_t o, int64_t c, atl_linear *to) {
    for (int64_t i = 0; i < o; i++)
        for (int64_t l = 0; l < c; l++)
            to->weight[l * to->k + i] = w[i * c + l];
}

/* The convolutions `first` and the one behind it. */
static atl_status fill_pair(float **w, int first, int64_t o, int64_t c, atl_linear *to, atl_error *error) {
    float **bias = w + QUERY_BIAS + first;
    for (int part = 0; part < 2; part++)
        memcpy(to->weight + part * o * c, w[first + part], (size_t)(o * c) * sizeof(float));
    if (!bias[0] && !bias[1])
        return ATL_OK;
    atl_status status = make_floats(2, o, &to->bias, error);
    for (int part = 0; status == ATL_OK && part < 2; part++)
        if (bias[part])
            memcpy(to->bias + part * o, bias[part], (size_t)o * sizeof(float));
    return status;
}

static int all_finite(const float *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return 0;
    return 1;
}

static float *take(float **weight) {
    float *taken = *weight;
    *weight = NULL;
    return taken;
}

static atl_status build(atl_layer *layer, float **w, atl_error *error) {
    int64_t c = layer->widths['C'], o = layer->widths['o'], row = atl_matrix_row(o);
    atl_status status = atl_layer_linears(layer, LINEARS, error);
    const int64_t rows[LINEARS] = {2 * o, 2 * o, c, c, c, 2}, columns[LINEARS] = {c, c, row, row, row, o};
    atl_linear *l = layer->linears;
    for (int i = 0; status == ATL_OK && i < LINEARS; i++) {
        l[i] = (atl_linear){.m = rows[i], .k = columns[i]};
        status = make_floats(rows[i], columns[i], &l[i].weight, error);
    }
    if (status == ATL_OK)
        status = fill_pair(w, QUERY, o, c, &l[QUERY_KEY], error);
    if (status == ATL_OK)
        status = fill_pair(w, VALUE, o, c, &l[VALUES_SKIP], error);
    if (status != ATL_OK)
        return status;
    fill_columns(w[QUERY], o, c, &l[QUERY_COLUMNS]);
    fill_columns(w[KEY], o, c, &l[KEY_COLUMNS]);
    fill_columns(w[SKIP], o, c, &l[SKIP_COLUMNS]);
    l[QUERY_COLUMNS].bias = take(&w[QUERY_BIAS]);
    l[KEY_COLUMNS].bias = take(&w[KEY_BIAS]);
    l[SKIP_COLUMNS].bias = take(&w[SKIP_BIAS]);
    l[GAMMAS].bias = take(&w[VALUE_BIAS]);
    for (int64_t i = 0; i < o; i++)
        l[GAMMAS].weight[i] = w[GAMMA][0];
    return ATL_OK;
}

static atl_status plan(atl_plan *plan, atl_error *error) {
    atl_layer *layer = plan->layer;
    int64_t c = layer->widths['C'], o = layer->widths['o'];
    atl_status status = atl_plan_positions(plan, c, error);
    if (status != ATL_OK)
        return status;
    int64_t shape[ATL_MAX_RANK];
    memcpy(shape, plan->shape, sizeof shape);
    shape[0] = o;
    if (o != c)
        status = atl_plan_output(plan, plan->rank, shape, error);
    if (status != ATL_OK)
        return status;
    atl_linear *l = layer->linears;
    atl_channel_attend_op *op = &plan->op.channel;
    *op = (atl_channel_attend_op){.channels = c,
                                  .outputs = o,
                                  .scale = (float)layer->params[SCALE],
                                  .row = l[QUERY_COLUMNS].k,
                                  .query = l[QUERY_COLUMNS].weight,
                                  .query_bias = l[QUERY_COLUMNS].bias,
                                  .key = l[KEY_COLUMNS].weight,
                                  .key_bias = l[KEY_COLUMNS].bias,
                                  .value = l[VALUES_SKIP].weight,
                                  .value_bias = l[GAMMAS].bias,
                                  .skip = l[SKIP_COLUMNS].weight,
                                  .skip_bias = l[SKIP_COLUMNS].bias,
                                  .gammas = l[GAMMAS].weight,
                                  .zeros = l[GAMMAS].weight + o};
    /* The sums of infinities that an eager implementation makes, and those alone. */
    op->no_gram =
        !all_finite(l[QUERY_KEY].weight, 2 * o * c) || (l[QUERY_KEY].bias && !all_finite(l[QUERY_KEY].bias, 2 * o));
    op->no_fold = !all_finite(l[GAMMAS].weight, 1);
    atl_plan_map(plan, 0, o, o);
    status = atl_channel_attend_plan(plan, &l[QUERY_KEY], &l[VALUES_SKIP], op, error);
    double n = (double)plan->positions;
    plan->info.flops = op->flops;
    plan->info.exps = (double)o * (double)o;
    plan->info.bytes = 4 * n * (double)(2 * c + o);
    return status;
}

static void run_wave(const atl_run_state *run) {
    atl_channel_attend_run(run, &run->plan->op.channel);
}

static void run(const atl_run_state *run) {
    atl_run_waves(run, run_wave);
}

static void describe(const atl_plan *plan, atl_text *text) {
    atl_channel_attend_describe(plan, &plan->op.channel, text);
}

const atl_kind atl_kind_self_attention_channel = {
    "self-attention-channel", weights, params, build, plan, run, describe, 0,
};
