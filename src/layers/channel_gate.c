/* SPDX-License-Identifier: Apache-2.0 */
/* A gate per channel. Squeeze-and-excitation: Hu, Shen, Sun, CVPR 2018; the channel attention of CBAM: Woo, Park, Lee,
 * Kweon, ECCV 2018. See <attentile/layers.h>. */
#include "../layer.h"
#include "../plan.h"

enum { FC1, FC2, FC1_BIAS, FC2_BIAS };
static const atl_weight_spec se_weights[] = {
    {"fc.0.weight", "hC", 0}, {"fc.2.weight", "Ch", 0}, {"fc.0.bias", "h", 1}, {"fc.2.bias", "C", 1}, {0},
};
static const atl_weight_spec cbam_channel_weights[] = {
    {"sharedMLP.0.weight", "hC", 0},
    {"sharedMLP.2.weight", "Ch", 0},
    {"sharedMLP.0.bias", "h", 1},
    {"sharedMLP.2.bias", "C", 1},
    {0},
};

static const char *const activations[] = {"relu", "silu", NULL};
static const char *const gates[] = {"sigmoid", "hard-sigmoid", NULL};
enum { ACTIVATION, GATE, ALPHA, BATCH_FIRST };
static const atl_param_spec params[] = {
    {"activation", ATL_PARAM_CHOICE, 0, activations},
    {"gate", ATL_PARAM_CHOICE, 0, gates},
    {"alpha", ATL_PARAM_NUMBER, 1.0 / 6.0, NULL},
    {"batch_first", ATL_PARAM_BOOL, 1, NULL},
    {0},
};

static float *take(float **weight) {
    float *taken = *weight;
    *weight = NULL;
    return taken;
}

static atl_status build(atl_layer *layer, float **w, atl_error *error) {
    int64_t channels = layer->widths['C'], hidden = layer->widths['h'];
    atl_status status = atl_layer_linears(layer, 2, error);
    if (status != ATL_OK)
        return status;
    layer->linears[0] = (atl_linear){.m = hidden, .k = channels, .weight = take(&w[FC1]), .bias = take(&w[FC1_BIAS])};
    layer->linears[1] = (atl_linear){.m = channels, .k = hidden, .weight = take(&w[FC2]), .bias = take(&w[FC2_BIAS])};
    return ATL_OK;
}

/* `pools`: 1, the mean; 2, the maximum as well. */
static atl_status plan(atl_plan *plan, int pools, atl_error *error) {
    atl_layer *layer = plan->layer;
    atl_status status = atl_plan_positions(plan, layer->widths['C'], error);
    if (status != ATL_OK)
        return status;
    atl_excite_op *op = &plan->op.excite;
    op->activation = layer->params[ACTIVATION] == 0 ? ATL_UNARY_RELU : ATL_UNARY_SILU;
    op->gate = layer->params[GATE] == 0 ? ATL_UNARY_SIGMOID : ATL_UNARY_HARD_SIGMOID;
    op->alpha = (float)layer->params[ALPHA];
    op->with_max = pools == 2;
    plan->batch_inside = layer->params[BATCH_FIRST] == 0;
    double c = (double)plan->channels, n = (double)plan->positions, h = (double)layer->widths['h'];
    plan->info.flops = 2 * c * n + pools * 4 * c * h;
    plan->info.exps = op->gate == ATL_UNARY_SIGMOID ? c : 0;
    plan->info.exps += op->activation == ATL_UNARY_SILU ? pools * h : 0;
    plan->info.bytes = 8 * c * n;
    return atl_excite_plan(plan, &layer->linears[0], &layer->linears[1], plan->positions, op, error);
}

static atl_status se_plan(atl_plan *made, atl_error *error) {
    return plan(made, 1, error);
}

static atl_status cbam_channel_plan(atl_plan *made, atl_error *error) {
    return plan(made, 2, error);
}

static void run(const atl_run_state *run) {
    atl_excite_run(run, &run->plan->op.excite);
}

static void describe(const atl_plan *plan, atl_text *text) {
    atl_excite_describe(plan, &plan->op.excite, text);
}

const atl_kind atl_kind_se = {"se", se_weights, params, build, se_plan, run, describe, 0};
const atl_kind atl_kind_cbam_channel = {
    "cbam-channel", cbam_channel_weights, params, build, cbam_channel_plan, run, describe, 0,
};
