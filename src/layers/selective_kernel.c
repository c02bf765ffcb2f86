/* SPDX-License-Identifier: Apache-2.0 */
/* Selective kernels: Li, Wang, Hu, Yang, CVPR 2019. See <attentile/layers.h>. */
#include <stdlib.h>
#include <string.h>

#include "../error.h"
#include "../layer.h"
#include "../memory.h"
#include "../plan.h"

enum { CONV0, CONV1, FC, FCS0, FCS1, CB0, CB1, G0, B0, M0, V0, G1, B1, M1, V1, FCB, FCSB0, FCSB1 };
static const atl_weight_spec weights[] = {
    {"convs.0.0.weight", "Cg33", 0}, {"convs.1.0.weight", "Cg55", 0}, {"fc.weight", "dC", 0}, {"fcs.0.weight", "Cd", 0}, {"fcs.1.weight", "Cd", 0},
    {"convs.0.0.bias", "C", 1}, {"convs.1.0.bias", "C", 1},
    {"convs.0.1.weight", "C", 1}, {"convs.0.1.bias", "C", 1}, {"convs.0.1.running_mean", "C", 1}, {"convs.0.1.running_var", "C", 1},
    {"convs.1.1.weight", "C", 1}, {"convs.1.1.bias", "C", 1}, {"convs.1.1.running_mean", "C", 1}, {"convs.1.1.running_var", "C", 1},
    {"fc.bias", "d", 1}, {"fcs.0.bias", "C", 1}, {"fcs.1.bias", "C", 1}, {0},
};

enum { STRIDE, EPS, BATCH_FIRST };
static const atl_param_spec params[] = {
    {"stride", ATL_PARAM_NUMBER, 1, NULL},
    {"eps", ATL_PARAM_NUMBER, 1e-5, NULL},
    {"batch_first", ATL_PARAM_BOOL, 1, NULL},
    {0},
};

static float *take(float **weight) {
    float *taken = *weight;
    *weight = NULL;
    return taken;
}

static atl_status build(atl_layer *layer, float **w, atl_error *error) {
    int64_t c = layer->widths['C'], d = layer->widths['d'], g = layer->widths['g'];
    atl_status status = atl_layer_linears(layer, 4, error);
    if (status != ATL_OK)
        return status;
    for (int i = 0; i < 2; i++) {
        layer->linears[2 + i] = (atl_linear){.m = c, .k = g * (3 + 2 * i) * (3 + 2 * i), .weight = take(&w[CONV0 + i]), .bias = take(&w[CB0 + i])};
        atl_norm norm = {w[G0 + 4 * i], w[B0 + 4 * i], w[M0 + 4 * i], w[V0 + 4 * i], layer->params[EPS]};
        status = atl_linear_fold(&layer->linears[2 + i], &norm, error);
        if (status != ATL_OK)
            return status;
    }
    layer->linears[0] = (atl_linear){.m = d, .k = c, .weight = take(&w[FC]), .bias = take(&w[FCB])};
    layer->linears[1] = (atl_linear){.m = 2 * c, .k = d, .weight = malloc(2 * c * d * 4), .bias = calloc(2 * c, 4)};
    for (int i = 0; i < 2; i++) {
        memcpy(layer->linears[1].weight + i * c * d, w[FCS0 + i], c * d * 4);
        if (w[FCSB0 + i])
            memcpy(layer->linears[1].bias + i * c, w[FCSB0 + i], c * 4);
    }
    return ATL_OK;
}

static atl_status plan(atl_plan *plan, atl_error *error) {
    atl_layer *layer = plan->layer;
    atl_status status = atl_plan_image(plan, error);
    if (status != ATL_OK)
        return status;
    plan->batch_inside = layer->params[BATCH_FIRST] == 0;
    atl_select_op *op = &plan->op.select;
    op->conv = (atl_conv_op){.channels = plan->channels, .height = plan->shape[1], .width = plan->shape[2], .rows = plan->channels,
        .groups = plan->channels / layer->widths['g'], .stride = (int64_t)layer->params[STRIDE], .relu = 1, .count = 2};
    int64_t k[2] = {3, 5};
    status = atl_conv_plan(plan, layer->linears + 2, k, &op->conv, error);
    if (status != ATL_OK)
        return status;
    double n = (double)(op->conv.out_height * op->conv.out_width), c = (double)plan->channels;
    plan->info.flops = 2 * n * c * layer->widths['g'] * 34;
    plan->info.exps = 2 * c;
    plan->info.bytes = 8 * c * n;
    return atl_select_plan(plan, &layer->linears[0], &layer->linears[1], op, error);
}

static void run(const atl_run_state *run) {
    atl_select_run(run, &run->plan->op.select);
}

static void describe(const atl_plan *plan, atl_text *text) {
    atl_select_describe(plan, &plan->op.select, text);
}

const atl_kind atl_kind_sk = {"sk", weights, params, build, plan, run, describe};
