/* SPDX-License-Identifier: Apache-2.0 */
/* Self-attention over positions: SAGAN (Zhang et al., ICML 2019), DANet's position attention (Fu et al., CVPR 2019).
 * See <attentile/layers.h>. */
#include <stdlib.h>
#include <string.h>

#include "../error.h"
#include "../layer.h"
#include "../memory.h"
#include "../plan.h"

enum { QUERY, KEY, VALUE, GAMMA, QUERY_BIAS, KEY_BIAS, VALUE_BIAS };
static const atl_weight_spec weights[] = {
    {"query_conv.weight", "dC", 0}, {"key_conv.weight", "dC", 0}, {"value_conv.weight", "CC", 0}, {"gamma", "", 0},
    {"query_conv.bias", "d", 1},    {"key_conv.bias", "d", 1},    {"value_conv.bias", "C", 1},    {0},
};

enum { SCALE };
static const atl_param_spec params[] = {{"scale", ATL_PARAM_NUMBER, 1.0, NULL}, {0}};

/* Query, key and value rows in one matrix, so that x is read once; gamma rides along as a matrix of one element. */
static atl_status build(atl_layer *layer, float **w, atl_error *error) {
    int64_t c = layer->widths['C'], d = layer->widths['d'], m = 2 * d + c;
    atl_status status = atl_layer_linears(layer, 2, error);
    if (status != ATL_OK)
        return status;
    atl_linear *all = &layer->linears[0];
    int has_bias = w[QUERY_BIAS] || w[KEY_BIAS] || w[VALUE_BIAS];
    *all = (atl_linear){.m = m,
                        .k = c,
                        .weight = malloc((size_t)(m * c) * sizeof(float)),
                        .bias = has_bias ? calloc((size_t)m, sizeof(float)) : NULL};
    if (!all->weight || (has_bias && !all->bias))
        return atl_fail(error, ATL_OUT_OF_MEMORY, "layer: out of memory");
    const int64_t rows[] = {d, d, c};
    for (int64_t part = 0, at = 0; part < 3; at += rows[part++]) {
        memcpy(all->weight + at * c, w[QUERY + part], (size_t)(rows[part] * c) * sizeof(float));
        if (w[QUERY_BIAS + part])
            memcpy(all->bias + at, w[QUERY_BIAS + part], (size_t)rows[part] * sizeof(float));
    }
    layer->linears[1] = (atl_linear){.m = 1, .k = 1, .weight = w[GAMMA]};
    w[GAMMA] = NULL;
    return ATL_OK;
}

static atl_panels rows_from(atl_panels panels, int64_t row) {
    panels.row = row;
    return panels;
}

static atl_status plan(atl_plan *plan, atl_error *error) {
    atl_layer *layer = plan->layer;
    atl_status status = atl_plan_positions(plan, layer->widths['C'], error);
    if (status != ATL_OK)
        return status;
    double n = (double)plan->positions, c = (double)plan->channels, d = (double)layer->widths['d'];
    plan->info.flops = 2 * n * n * (d + c) + 2 * n * c * (2 * d + c);
    plan->info.exps = n * n;
    plan->info.bytes = 8 * c * n;
    atl_plan_map(plan, 0, plan->positions, plan->positions);
    atl_project_op *project = &plan->op.spatial.project;
    *project = (atl_project_op){.source = ATL_SOURCE_X, .positions = plan->positions};
    status = atl_project_plan(plan, &layer->linears[0], project, error);
    if (status != ATL_OK)
        return status;
    int64_t width = layer->widths['d'];
    atl_attend_op *attend = &plan->op.spatial.attend;
    *attend = (atl_attend_op){.heads = 1,
                              .d = width,
                              .c = plan->channels,
                              .queries = plan->positions,
                              .keys = plan->positions,
                              .scale = (float)layer->params[SCALE],
                              .into_y = 1,
                              .gamma = layer->linears[1].weight[0],
                              .q = rows_from(project->to, 0),
                              .k = rows_from(project->to, width),
                              .v = rows_from(project->to, 2 * width)};
    status = atl_attend_plan(plan, attend, error);
    plan->info.workspace_samples = atl_attend_samples(plan, attend);
    return status;
}

static void run_wave(const atl_run_state *run) {
    atl_project_run(run, &run->plan->op.spatial.project);
    atl_attend_run(run, &run->plan->op.spatial.attend);
}

static void run(const atl_run_state *run) {
    atl_run_waves(run, run_wave);
}

static void describe(const atl_plan *plan, atl_text *text) {
    atl_project_describe(plan, &plan->op.spatial.project, text);
    atl_attend_describe(plan, &plan->op.spatial.attend, text);
}

const atl_kind atl_kind_self_attention_spatial = {
    "self-attention-spatial", weights, params, build, plan, run, describe, 0,
};
