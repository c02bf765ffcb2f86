/* SPDX-License-Identifier: Apache-2.0 */
/* A gate per pixel: the spatial attention of CBAM: Woo, Park, Lee, Kweon, ECCV 2018. See <attentile/layers.h>. */
#include "../error.h"
#include "../layer.h"
#include "../plan.h"

enum { CONV, CONV_BIAS };
static const atl_weight_spec weights[] = {{"conv.weight", "12kk", 0}, {"conv.bias", "1", 1}, {0}};

enum { BATCH_FIRST };
static const atl_param_spec params[] = {{"batch_first", ATL_PARAM_BOOL, 1, NULL}, {0}};

static atl_status build(atl_layer *layer, float **w, atl_error *error) {
    int64_t k = layer->widths['k'];
    if (k != 3 && k != 5 && k != 7)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "conv.weight: wrong kernel size (expected 3, 5 or 7, got %lld in [1, 2, %lld, %lld])",
                        (long long)k, (long long)k, (long long)k);
    atl_status status = atl_layer_linears(layer, 1, error);
    if (status != ATL_OK)
        return status;
    layer->linears[0] = (atl_linear){.m = 1, .k = 2 * k * k, .weight = w[CONV], .bias = w[CONV_BIAS]};
    w[CONV] = w[CONV_BIAS] = NULL;
    return ATL_OK;
}

static atl_status plan(atl_plan *plan, atl_error *error) {
    atl_layer *layer = plan->layer;
    atl_status status = atl_plan_image(plan, error);
    if (status != ATL_OK)
        return status;
    plan->batch_inside = layer->params[BATCH_FIRST] == 0;
    double c = (double)plan->channels, n = (double)plan->positions, k = (double)layer->widths['k'];
    plan->info.flops = 2 * c * n + 4 * k * k * n;
    plan->info.exps = n;
    plan->info.bytes = 8 * c * n;
    return atl_pixel_gate_plan(plan, &layer->linears[0], layer->widths['k'], plan->channels, plan->shape[1],
                               plan->shape[2], &plan->op.pixel_gate, error);
}

static void run(const atl_run_state *run) {
    atl_pixel_gate_run(run, &run->plan->op.pixel_gate);
}

static void describe(const atl_plan *plan, atl_text *text) {
    atl_pixel_gate_describe(plan, &plan->op.pixel_gate, text);
}

const atl_kind atl_kind_cbam_spatial = {"cbam-spatial", weights, params, build, plan, run, describe, 0};
