/* SPDX-License-Identifier: Apache-2.0 */
/* Selective kernels: Li, Wang, Hu, Yang, CVPR 2019. See <attentile/layers.h>. */
#include <stdlib.h>
#include <string.h>

#include "../error.h"
#include "../layer.h"
#include "../memory.h"
#include "../plan.h"

enum { CONV, FC, FCS, CONV_BIAS, GAMMA, BETA, MEAN, VARIANCE, FC_BIAS, FCS_BIAS, WEIGHTS };
static const atl_weight_spec weights[] = {
    {"convs.#.0.weight", "Cg%%", 0},
    {"fc.weight", "dC", 0},
    {"fcs.#.weight", "Cd", 0},
    {"convs.#.0.bias", "C", 1},
    {"convs.#.1.weight", "C", 1},
    {"convs.#.1.bias", "C", 1},
    {"convs.#.1.running_mean", "C", 1},
    {"convs.#.1.running_var", "C", 1},
    {"fc.bias", "d", 1},
    {"fcs.#.bias", "C", 1},
    {0},
};

enum { STRIDE, EPS, BATCH_FIRST };
static const atl_param_spec params[] = {
    {"stride", ATL_PARAM_COUNT, 1, NULL},
    {"eps", ATL_PARAM_NUMBER, 1e-5, NULL},
    {"batch_first", ATL_PARAM_BOOL, 1, NULL},
    {0},
};

/* The layer's linears: fc, all of fcs in one, and then the convolutions. */
enum { LINEAR_FC, LINEAR_FCS, LINEAR_CONVS };

static int64_t kernel_of(int branch) {
    return 3 + 2 * (int64_t)branch;
}

static float *take(float **weight) {
    float *taken = *weight;
    *weight = NULL;
    return taken;
}

/* ---- build ---- */

static atl_status check_groups(const atl_layer *layer, atl_error *error) {
    int64_t c = layer->widths['C'], g = layer->widths['g'];
    if (c % g)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "convs.0.0.weight: %lld channels of a group do not divide the %lld of the layer (expected "
                        "[C, C/groups, 3, 3], got [%lld, %lld, 3, 3])",
                        (long long)g, (long long)c, (long long)c, (long long)g);
    return ATL_OK;
}

/* A batch norm is there as a whole, though its bias may be absent, or not at all. */
static atl_status check_norm(float *const *w, int branch, atl_error *error) {
    static const char *const names[] = {
        [GAMMA] = "weight", [BETA] = "bias", [MEAN] = "running_mean", [VARIANCE] = "running_var"};
    int given = GAMMA, missing = GAMMA;
    while (given <= VARIANCE && !w[given])
        given++;
    while (missing <= VARIANCE && (missing == BETA || w[missing]))
        missing++;
    if (given <= VARIANCE && missing <= VARIANCE)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "convs.%d.1.%s: missing (convs.%d.1.%s needs it; without batch norm, expected neither)", branch,
                        names[missing], branch, names[given]);
    return ATL_OK;
}

static atl_status build_branch(atl_layer *layer, float **w, int branch, atl_error *error) {
    int64_t k = kernel_of(branch);
    atl_linear *conv = &layer->linears[LINEAR_CONVS + branch];
    atl_status status = check_norm(w, branch, error);
    if (status != ATL_OK)
        return status;
    *conv = (atl_linear){.m = layer->widths['C'],
                         .k = layer->widths['g'] * k * k,
                         .weight = take(&w[CONV]),
                         .bias = take(&w[CONV_BIAS])};
    const atl_norm norm = {w[GAMMA], w[BETA], w[MEAN], w[VARIANCE], layer->params[EPS]};
    return atl_linear_fold(conv, &norm, error);
}

/* The logits of all branches in one product. */
static atl_status stack_fcs(atl_layer *layer, float **w, atl_error *error) {
    int64_t c = layer->widths['C'], d = layer->widths['d'], m, floats, bytes;
    int has_bias = 0;
    for (int i = 0; i < layer->copies; i++)
        has_bias |= w[FCS_BIAS + i * WEIGHTS] != NULL;
    atl_linear *fcs = &layer->linears[LINEAR_FCS];
    if (!atl_mul(layer->copies, c, &m) || !atl_mul(m, d, &floats) || !atl_mul(floats, sizeof(float), &bytes))
        return atl_fail(error, ATL_OUT_OF_MEMORY, "layer: out of memory");
    *fcs = (atl_linear){
        .m = m, .k = d, .weight = malloc((size_t)bytes), .bias = has_bias ? calloc((size_t)m, sizeof(float)) : NULL};
    if (!fcs->weight || (has_bias && !fcs->bias))
        return atl_fail(error, ATL_OUT_OF_MEMORY, "layer: out of memory");
    for (int i = 0; i < layer->copies; i++) {
        memcpy(fcs->weight + i * c * d, w[FCS + i * WEIGHTS], (size_t)(c * d) * sizeof(float));
        if (w[FCS_BIAS + i * WEIGHTS])
            memcpy(fcs->bias + i * c, w[FCS_BIAS + i * WEIGHTS], (size_t)c * sizeof(float));
    }
    return ATL_OK;
}

static atl_status build(atl_layer *layer, float **w, atl_error *error) {
    atl_status status = check_groups(layer, error);
    if (status == ATL_OK)
        status = atl_layer_linears(layer, LINEAR_CONVS + layer->copies, error);
    if (status != ATL_OK)
        return status;
    layer->linears[LINEAR_FC] = (atl_linear){
        .m = layer->widths['d'], .k = layer->widths['C'], .weight = take(&w[FC]), .bias = take(&w[FC_BIAS])};
    status = stack_fcs(layer, w, error);
    for (int i = 0; status == ATL_OK && i < layer->copies; i++)
        status = build_branch(layer, w + i * WEIGHTS, i, error);
    return status;
}

/* ---- plan and run ---- */

static void bound(atl_plan *plan, int64_t positions) {
    const atl_layer *layer = plan->layer;
    double n = (double)positions, c = (double)plan->channels, m = layer->copies, taps = 0;
    for (int i = 0; i < layer->copies; i++)
        taps += (double)(kernel_of(i) * kernel_of(i));
    plan->info.flops = 2 * n * c * (double)layer->widths['g'] * taps + 2 * c * (double)layer->widths['d'] * (m + 1);
    plan->info.flops += 3 * m * c * n;
    plan->info.exps = m * c;
    plan->info.bytes = 4 * c * ((double)plan->positions + n);
}

static atl_status plan(atl_plan *plan, atl_error *error) {
    atl_layer *layer = plan->layer;
    atl_status status = atl_plan_image(plan, error);
    if (status == ATL_OK)
        status = atl_plan_positions(plan, layer->widths['C'], error);
    if (status != ATL_OK)
        return status;
    plan->batch_inside = layer->params[BATCH_FIRST] == 0;
    atl_select_op *op = &plan->op.select;
    op->conv = (atl_conv_op){.channels = plan->channels,
                             .height = plan->shape[1],
                             .width = plan->shape[2],
                             .rows = plan->channels,
                             .groups = plan->channels / layer->widths['g'],
                             .stride = (int64_t)layer->params[STRIDE],
                             .relu = 1,
                             .count = layer->copies};
    int64_t k[ATL_MAX_COPIES];
    for (int i = 0; i < layer->copies; i++)
        k[i] = kernel_of(i);
    status = atl_conv_plan(plan, &layer->linears[LINEAR_CONVS], k, &op->conv, error);
    if (status != ATL_OK)
        return status;
    bound(plan, op->conv.out_height * op->conv.out_width);
    status = atl_plan_output(plan, 3, (int64_t[]){plan->channels, op->conv.out_height, op->conv.out_width}, error);
    if (status != ATL_OK)
        return status;
    return atl_select_plan(plan, &layer->linears[LINEAR_FC], &layer->linears[LINEAR_FCS], op, error);
}

static void run(const atl_run_state *run) {
    atl_select_run(run, &run->plan->op.select);
}

static void describe(const atl_plan *plan, atl_text *text) {
    atl_select_describe(plan, &plan->op.select, text);
}

const atl_kind atl_kind_sk = {"sk", weights, params, build, plan, run, describe, 0};
