/* SPDX-License-Identifier: Apache-2.0 */
/* The residual block of CBAM: Woo, Park, Lee, Kweon, ECCV 2018. See <attentile/layers.h>. */
#include "../error.h"
#include "../layer.h"
#include "../plan.h"

enum {
    CONV,
    BN_WEIGHT,
    BN_MEAN,
    BN_VAR,
    FC1,
    FC2,
    GATE,
    SHORTCUT,
    CONV_BIAS,
    BN_BIAS,
    FC1_BIAS,
    FC2_BIAS,
    GATE_BIAS,
    SHORTCUT_BIAS
};
static const atl_weight_spec weights[] = {
    {"conv1.weight", "oCkk", 0},
    {"bn1.weight", "o", 0},
    {"bn1.running_mean", "o", 0},
    {"bn1.running_var", "o", 0},
    {"ca.sharedMLP.0.weight", "ho", 0},
    {"ca.sharedMLP.2.weight", "oh", 0},
    {"sa.conv.weight", "12ss", 0},
    {"conv_res.weight", "oC", 0},
    {"conv1.bias", "o", 1},
    {"bn1.bias", "o", 1},
    {"ca.sharedMLP.0.bias", "h", 1},
    {"ca.sharedMLP.2.bias", "o", 1},
    {"sa.conv.bias", "1", 1},
    {"conv_res.bias", "o", 1},
    {0},
};

enum { STRIDE, EPS, BATCH_FIRST };
static const atl_param_spec params[] = {
    {"stride", ATL_PARAM_COUNT, 2, NULL},
    {"eps", ATL_PARAM_NUMBER, 1e-5, NULL},
    {"batch_first", ATL_PARAM_BOOL, 1, NULL},
    {0},
};

static float *take(float **weight) {
    float *taken = *weight;
    *weight = NULL;
    return taken;
}

static atl_status check_kernels(int64_t k, int64_t s, atl_error *error) {
    if (k % 2 == 0)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "conv1.weight: wrong kernel size (expected an odd one, got %lld x %lld)", (long long)k,
                        (long long)k);
    if (s != 3 && s != 5 && s != 7)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "sa.conv.weight: wrong kernel size (expected 3, 5 or 7, got %lld in [1, 2, %lld, %lld])",
                        (long long)s, (long long)s, (long long)s);
    return ATL_OK;
}

static atl_status build(atl_layer *layer, float **w, atl_error *error) {
    int64_t in = layer->widths['C'], out = layer->widths['o'], hidden = layer->widths['h'];
    int64_t k = layer->widths['k'], s = layer->widths['s'];
    atl_status status = check_kernels(k, s, error);
    if (status == ATL_OK)
        status = atl_layer_linears(layer, ATL_RESIDUAL_LINEARS, error);
    if (status != ATL_OK)
        return status;
    const struct {
        int64_t m, k;
        int weight, bias;
    } parts[ATL_RESIDUAL_LINEARS] = {
        [ATL_RESIDUAL_CONV] = {out, in * k * k, CONV, CONV_BIAS},
        [ATL_RESIDUAL_FC1] = {hidden, out, FC1, FC1_BIAS},
        [ATL_RESIDUAL_FC2] = {out, hidden, FC2, FC2_BIAS},
        [ATL_RESIDUAL_GATE] = {1, 2 * s * s, GATE, GATE_BIAS},
        [ATL_RESIDUAL_SHORTCUT] = {out, in, SHORTCUT, SHORTCUT_BIAS},
    };
    for (int i = 0; i < ATL_RESIDUAL_LINEARS; i++)
        layer->linears[i] = (atl_linear){
            .m = parts[i].m, .k = parts[i].k, .weight = take(&w[parts[i].weight]), .bias = take(&w[parts[i].bias])};
    const atl_norm norm = {w[BN_WEIGHT], w[BN_BIAS], w[BN_MEAN], w[BN_VAR], layer->params[EPS]};
    return atl_linear_fold(&layer->linears[ATL_RESIDUAL_CONV], &norm, error);
}

static atl_status plan(atl_plan *plan, atl_error *error) {
    atl_layer *layer = plan->layer;
    int64_t stride = (int64_t)layer->params[STRIDE], out = layer->widths['o'], k = layer->widths['k'];
    int64_t gate_k = layer->widths['s'];
    atl_status status = atl_plan_image(plan, error);
    if (status == ATL_OK)
        status = atl_plan_positions(plan, layer->widths['C'], error);
    if (status != ATL_OK)
        return status;
    int64_t height = (plan->shape[1] - 1) / stride + 1, width = (plan->shape[2] - 1) / stride + 1;
    status = atl_plan_output(plan, 3, (int64_t[]){out, height, width}, error);
    if (status != ATL_OK)
        return status;
    plan->batch_inside = layer->params[BATCH_FIRST] == 0;
    double n = (double)height * (double)width, c = (double)plan->channels, o = (double)out;
    double per_pixel = 2 * c * (double)(k * k) * o + 2 * c * o + 7 * o + 4 * (double)(gate_k * gate_k);
    plan->info.flops = n * per_pixel + 8 * o * (double)layer->widths['h'];
    plan->info.exps = o + n;
    plan->info.bytes = 4 * (c * (double)plan->positions + o * n);
    atl_residual_op *op = &plan->op.residual;
    op->conv =
        (atl_conv_op){.channels = plan->channels, .height = plan->shape[1], .width = plan->shape[2], .stride = stride};
    return atl_residual_plan(plan, layer->linears, k, gate_k, op, error);
}

static void run(const atl_run_state *run) {
    atl_residual_run(run, &run->plan->op.residual);
}

static void describe(const atl_plan *plan, atl_text *text) {
    atl_residual_describe(plan, &plan->op.residual, text);
}

const atl_kind atl_kind_cbam_res = {"cbam-res", weights, params, build, plan, run, describe, 0};
