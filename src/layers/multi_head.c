/* SPDX-License-Identifier: Apache-2.0 */
/* Multi-head attention: Vaswani et al., "Attention Is All You Need", NeurIPS 2017. See <attentile/layers.h>. */
#include <math.h>

#include "../error.h"
#include "../layer.h"
#include "../memory.h"
#include "../plan.h"

enum { PARTS = 4 }; /* query, key, value, output: in this order everywhere */
static const atl_weight_spec weights[] = {
    {"Wq.weight", "DD", 0}, {"Wk.weight", "DD", 0}, {"Wv.weight", "DD", 0},
    {"fc.weight", "DD", 0}, {"Wq.bias", "D", 1},    {"Wk.bias", "D", 1},
    {"Wv.bias", "D", 1},    {"fc.bias", "D", 1},    {0},
};

static const char *const fills[] = {"-1e9", "-inf", NULL};
enum { NUM_HEADS, SCALE, CAUSAL, MASK_FILL };
static const atl_param_spec params[] = {
    {"num_heads", ATL_PARAM_NUMBER, 1, NULL}, {"scale", ATL_PARAM_NUMBER, NAN, NULL}, /* NaN: by the width of a head */
    {"causal", ATL_PARAM_BOOL, 0, NULL},      {"mask_fill", ATL_PARAM_CHOICE, 0, fills}, {0},
};

static atl_status build(atl_layer *layer, float **w, atl_error *error) {
    int64_t width = layer->widths['D'];
    double heads = layer->params[NUM_HEADS];
    if (heads < 1 || heads > (double)width || heads != floor(heads) || width % (int64_t)heads)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "parameter num_heads: does not divide the width (expected a divisor of %lld, which Wq.weight "
                        "has, got %g)",
                        (long long)width, heads);
    atl_status status = atl_layer_linears(layer, PARTS, error);
    for (int i = 0; status == ATL_OK && i < PARTS; i++) {
        layer->linears[i] = (atl_linear){.m = width, .k = width, .weight = w[i], .bias = w[PARTS + i]};
        w[i] = w[PARTS + i] = NULL;
    }
    return status;
}

/* ---- plan ---- */

static atl_status check_shape(atl_plan *plan, atl_error *error) {
    int64_t width = plan->layer->widths['D'];
    if (plan->rank != 2)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "shape: multi-head takes [L, D] (expected rank 2, got rank %d)",
                        plan->rank);
    if (plan->positions != width)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "shape: the width contradicts the weights (expected [L, %lld], got [%lld, %lld])",
                        (long long)width, (long long)plan->channels, (long long)plan->positions);
    plan->heads = (int64_t)plan->layer->params[NUM_HEADS];
    plan->key_length = plan->key_length ? plan->key_length : plan->channels;
    int64_t floats;
    if (!atl_mul(plan->key_length, width, &floats) || floats > INT64_MAX / 8)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "key_length: more bytes than can be represented (got %lld)",
                        (long long)plan->key_length);
    return ATL_OK;
}

/* Pairs of a query and a key that it may see. */
static double visible_pairs(double queries, double keys, int causal) {
    if (!causal)
        return queries * keys;
    double corner = fmin(queries, keys);
    return corner * (corner + 1) / 2 + (queries - corner) * keys;
}

static void set_bound(atl_plan *plan) {
    double n = (double)plan->channels, keys = (double)plan->key_length, width = (double)plan->positions;
    double pairs = visible_pairs(n, keys, plan->layer->params[CAUSAL] != 0);
    plan->info.flops = 4 * pairs * width + 4 * (n + keys) * width * width;
    plan->info.exps = pairs * (double)plan->heads;
    plan->info.bytes = 8 * n * width;
}

static atl_status plan_projections(atl_plan *plan, atl_error *error) {
    atl_project_op *ops = plan->op.multi_head.project;
    static const atl_source sources[] = {ATL_SOURCE_X, ATL_SOURCE_KEY, ATL_SOURCE_VALUE};
    atl_status status = ATL_OK;
    for (int i = 0; status == ATL_OK && i < 3; i++) {
        ops[i] = (atl_project_op){
            .source = sources[i], .tokens = 1, .positions = i == 0 ? plan->channels : plan->key_length};
        status = atl_project_plan(plan, &plan->layer->linears[i], &ops[i], error);
    }
    return status;
}

static atl_status plan_attention(atl_plan *plan, atl_error *error) {
    const atl_layer *layer = plan->layer;
    const atl_project_op *project = plan->op.multi_head.project;
    atl_attend_op *attend = &plan->op.multi_head.attend;
    int64_t width = plan->positions, head = width / plan->heads;
    double scale = layer->params[SCALE];
    *attend = (atl_attend_op){.heads = plan->heads,
                              .d = head,
                              .c = head,
                              .queries = plan->channels,
                              .keys = plan->key_length,
                              .scale = isnan(scale) ? (float)(1 / sqrt((double)head)) : (float)scale,
                              .q = project[0].to,
                              .k = project[1].to,
                              .v = project[2].to,
                              .masked = 1,
                              .causal = layer->params[CAUSAL] != 0,
                              .blind_zero = layer->params[MASK_FILL] == 1};
    atl_status status = atl_panels_reserve(plan, width, plan->channels, &attend->to, error);
    return status == ATL_OK ? atl_attend_plan(plan, attend, error) : status;
}

static atl_status plan(atl_plan *plan, atl_error *error) {
    atl_status status = check_shape(plan, error);
    if (status != ATL_OK)
        return status;
    set_bound(plan);
    atl_plan_map(plan, plan->heads, plan->channels, plan->key_length);
    status = plan_projections(plan, error);
    if (status == ATL_OK)
        status = plan_attention(plan, error);
    if (status == ATL_OK) {
        atl_join_op *join = &plan->op.multi_head.join;
        *join = (atl_join_op){.from = plan->op.multi_head.attend.to, .positions = plan->channels};
        plan->info.workspace_samples = atl_attend_samples(plan, &plan->op.multi_head.attend);
        status = atl_join_plan(plan, &plan->layer->linears[3], join, error);
    }
    return status;
}

/* ---- run ---- */

static void project(const atl_run_state *run, const atl_project_op *ops) {
    if (ops[0].positions == ops[1].positions) {
        atl_project_run_together(run, ops, 3);
        return;
    }
    atl_project_run(run, &ops[0]);
    atl_project_run_together(run, &ops[1], 2);
}

static void run_wave(const atl_run_state *run) {
    const atl_plan *plan = run->plan;
    project(run, plan->op.multi_head.project);
    atl_attend_run(run, &plan->op.multi_head.attend);
    atl_join_run(run, &plan->op.multi_head.join);
}

static void run(const atl_run_state *run) {
    atl_run_waves(run, run_wave);
}

static void describe(const atl_plan *plan, atl_text *text) {
    for (int i = 0; i < 3; i++)
        atl_project_describe(plan, &plan->op.multi_head.project[i], text);
    atl_attend_describe(plan, &plan->op.multi_head.attend, text);
    atl_join_describe(plan, &plan->op.multi_head.join, text);
}

const atl_kind atl_kind_multi_head = {"multi-head", weights, params, build, plan, run, describe, 1};
