/* SPDX-License-Identifier: Apache-2.0 */
/* Non-local block: Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018. See <attentile/layers.h>. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../error.h"
#include "../layer.h"
#include "../memory.h"
#include "../plan.h"

/* A part is a convolution ("phi") or a module that begins with one ("phi.0"): for the latter, its weight is bound a second
 * time, under that name. */
enum { THETA, PHI, G, OUT, PARTS };
enum { FIRST = PARTS - PHI, BIAS = FIRST + PARTS, FIRST_BIAS = BIAS + PARTS - PHI, NORM = FIRST_BIAS + PARTS };
enum { GAMMA = NORM, BETA, MEAN, VARIANCE, NORM_END };
static const atl_weight_spec weights[] = {
    {"theta.weight", "iC", 0},
    {"phi.weight|phi.0.weight", "iC", 0},
    {"g.weight|g.0.weight", "gC", 0},
    {"W.weight|W.0.weight", "Cg", 0},
    [FIRST + PHI] = {"phi.0.weight", "iC", 1},
    {"g.0.weight", "gC", 1},
    {"W.0.weight", "Cg", 1},
    [BIAS + THETA] = {"theta.bias", "i", 1},
    {"phi.bias", "i", 1},
    {"g.bias", "g", 1},
    {"W.bias", "C", 1},
    [FIRST_BIAS + PHI] = {"phi.0.bias", "i", 1},
    {"g.0.bias", "g", 1},
    {"W.0.bias", "C", 1},
    [GAMMA] = {"W.1.weight", "C", 1},
    {"W.1.bias", "C", 1},
    {"W.1.running_mean", "C", 1},
    {"W.1.running_var", "C", 1},
    {0},
};

enum { SCALE, EPS };
static const atl_param_spec params[] = {
    {"scale", ATL_PARAM_NUMBER, 1.0, NULL}, {"eps", ATL_PARAM_NUMBER, 1e-5, NULL}, {0}};

/* The layer's matrices: theta, phi and g in one, W; theta for keys, its columns and then its bias being rows; W's bias; the batch
 * norm's scale and shift. */
enum { QUERIES, KEYS, OUTPUT, THETA_ROWS, OUTPUT_BIAS, BATCH_NORM, LINEARS };

static int is_pooled(const atl_layer *layer) {
    return layer->ranks[FIRST + PHI] > 0;
}

/* ---- build ---- */

/* Whether a part is a module with more than its convolution. */
static int is_module(float **w, int part) {
    return part != THETA && w[FIRST + part];
}

static const char *weight_name(float **w, int part) {
    static const char *const names[PARTS] = {"theta.weight", "phi.weight", "g.weight", "W.weight"};
    return is_module(w, part) ? weights[FIRST + part].name : names[part];
}

static float *bias_of(float **w, int part) {
    return w[(is_module(w, part) ? FIRST_BIAS : BIAS) + part];
}

static atl_status check_part(const atl_layer *layer, float **w, int part, atl_error *error) {
    const char *name = weight_name(w, part);
    int axes = layer->ranks[part], first = layer->ranks[THETA], module = is_module(w, part);
    if (axes > 5)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: too many axes (expected 2 to 5, got %d)", name, axes);
    if (axes != first)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: contradicts theta.weight (expected %d axes, got %d)", name,
                        first, axes);
    int wrong_bias = (module ? BIAS : FIRST_BIAS) + part;
    if (part != THETA && w[wrong_bias])
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: contradicts %s (expected %s)", weights[wrong_bias].name, name,
                        weights[(module ? FIRST_BIAS : BIAS) + part].name);
    return ATL_OK;
}

static atl_status check_norm(float **w, atl_error *error) {
    const char *name = weight_name(w, OUT);
    for (int i = NORM; i < NORM_END; i++) {
        if (w[i] && !is_module(w, OUT))
            return atl_fail(error, ATL_INVALID_ARGUMENT,
                            "%s: contradicts %s (batch norm stands behind W.0.weight alone)", weights[i].name, name);
        if (!w[i] && is_module(w, OUT) && i != BETA)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: missing (%s has a batch norm behind it)", weights[i].name,
                            name);
    }
    return ATL_OK;
}

static atl_status check(const atl_layer *layer, float **w, atl_error *error) {
    for (int part = THETA; part < PARTS; part++) {
        atl_status status = check_part(layer, w, part, error);
        if (status != ATL_OK)
            return status;
    }
    if (is_module(w, PHI) != is_module(w, G))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: contradicts %s (expected both sub-sampled or neither)",
                        weight_name(w, PHI), weight_name(w, G));
    return check_norm(w, error);
}

/* Parts [first, end) below one another in one matrix, so that x is read once. */
static atl_status stack(const atl_layer *layer, float **w, int first, int end, atl_linear *to, atl_error *error) {
    const int64_t rows[] = {layer->widths['i'], layer->widths['i'], layer->widths['g']};
    int64_t c = layer->widths['C'];
    int has_bias = 0;
    *to = (atl_linear){.k = c};
    for (int part = first; part < end; part++) {
        to->m += rows[part];
        has_bias |= bias_of(w, part) != NULL;
    }
    to->weight = malloc((size_t)(to->m * c) * sizeof(float));
    to->bias = has_bias ? calloc((size_t)to->m, sizeof(float)) : NULL;
    if (!to->weight || (has_bias && !to->bias))
        return atl_fail(error, ATL_OUT_OF_MEMORY, "layer: out of memory");
    for (int64_t part = first, at = 0; part < end; at += rows[part++]) {
        memcpy(to->weight + at * c, w[part], (size_t)(rows[part] * c) * sizeof(float));
        if (bias_of(w, (int)part))
            memcpy(to->bias + at, bias_of(w, (int)part), (size_t)rows[part] * sizeof(float));
    }
    return ATL_OK;
}

static float *take(float **weight) {
    float *taken = *weight;
    *weight = NULL;
    return taken;
}

/* theta as it is applied to keys: theta^T phi instead of theta x. */
static atl_status turn_theta(const atl_linear *theta, atl_linear *to, atl_error *error) {
    *to = (atl_linear){.m = theta->k + (theta->bias != NULL), .k = theta->m};
    to->weight = malloc((size_t)(to->m * to->k) * sizeof(float));
    if (!to->weight)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "layer: out of memory");
    for (int64_t l = 0; l < theta->k; l++)
        for (int64_t i = 0; i < theta->m; i++)
            to->weight[l * to->k + i] = theta->weight[i * theta->k + l];
    if (theta->bias)
        memcpy(to->weight + theta->k * to->k, theta->bias, (size_t)to->k * sizeof(float));
    return ATL_OK;
}

static atl_status build(atl_layer *layer, float **w, atl_error *error) {
    atl_status status = check(layer, w, error);
    if (status == ATL_OK)
        status = atl_layer_linears(layer, LINEARS, error);
    if (status != ATL_OK)
        return status;
    atl_linear *l = layer->linears;
    int normed = is_module(w, OUT);
    status = stack(layer, w, THETA, PHI, &l[QUERIES], error);
    if (status == ATL_OK)
        status = stack(layer, w, PHI, OUT, &l[KEYS], error);
    if (status == ATL_OK)
        status = turn_theta(&l[QUERIES], &l[THETA_ROWS], error);
    l[OUTPUT] = (atl_linear){.m = layer->widths['C'], .k = layer->widths['g'], .weight = take(&w[OUT])};
    l[OUTPUT_BIAS].bias = take(&w[(normed ? FIRST_BIAS : BIAS) + OUT]);
    /* apart from the bias before it: where one of them is infinite, so is the sum or it is not a number, as in PyTorch */
    const atl_norm norm = {w[GAMMA], w[BETA], w[MEAN], w[VARIANCE], layer->params[EPS]};
    l[BATCH_NORM].m = layer->widths['C'];
    return status == ATL_OK && normed ? atl_linear_fold(&l[BATCH_NORM], &norm, error) : status;
}

/* ---- plan ---- */

/* What the pooling windows go over. */
static void set_windows(const atl_plan *plan, atl_project_pooled_op *op) {
    int axes = plan->rank - 1;
    op->planes = axes == 3 ? plan->shape[1] : 1;
    op->height = axes == 1 ? 1 : plan->shape[axes - 1];
    op->width = plan->shape[axes];
    op->window_rows = axes == 1 ? 1 : 2;
}

static atl_status check_shape(const atl_plan *plan, atl_error *error) {
    static const char *const shapes[] = {"[C, L]", "[C, H, W]", "[C, T, H, W]"};
    const atl_layer *layer = plan->layer;
    int axes = plan->rank - 1, wanted = layer->ranks[THETA] - 2;
    if (wanted > 0 && axes != wanted)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "shape: contradicts theta.weight, a convolution over %d axes (expected %s, got rank %d)",
                        wanted, shapes[wanted - 1], plan->rank);
    if (!is_pooled(layer))
        return ATL_OK;
    atl_project_pooled_op op;
    set_windows(plan, &op);
    if (op.height < op.window_rows || op.width < 2)
        return atl_fail(
            error, ATL_INVALID_ARGUMENT,
            "shape: phi.0.weight and g.0.weight sub-sample, which leaves no key (expected %lld x 2 positions "
            "or more, got %lld x %lld)",
            (long long)op.window_rows, (long long)op.height, (long long)op.width);
    return ATL_OK;
}

/* Multiplications that a matrix [C, width] or [width, C] costs together with the products beside it: applied at every
 * position, or at every key. */
static double apart(double n, double keys, double c, double width) {
    return n * c * width + n * keys * width;
}
static double folded(double n, double keys, double c, double width) {
    return keys * c * width + n * keys * c;
}

static int is_finite(const float *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return 0;
    return 1;
}

/* Where weights are infinite, only the sums that an eager implementation makes will do. Otherwise frozen: changes bits. */
static int folds(const atl_linear *linear, double n, double keys, double c, double width) {
    return folded(n, keys, c, width) < apart(n, keys, c, width) && is_finite(linear->weight, linear->m * linear->k);
}

/* Keys and values as panels; returns them, with the number of keys. */
static atl_status plan_keys(atl_plan *plan, atl_panels *panels, int64_t *keys, atl_error *error) {
    atl_linear *linear = &plan->layer->linears[KEYS];
    atl_project_op *all = &plan->op.non_local.project[0];
    atl_project_pooled_op *pooled = &plan->op.non_local.pooled;
    atl_status status;
    if (is_pooled(plan->layer)) {
        set_windows(plan, pooled);
        status = atl_project_pooled_plan(plan, linear, pooled, error);
        *panels = pooled->to;
        *keys = pooled->positions;
    } else {
        *all = (atl_project_op){.source = ATL_SOURCE_X, .positions = plan->positions};
        status = atl_project_plan(plan, linear, all, error);
        *panels = all->to;
        *keys = plan->positions;
    }
    return status;
}

/* theta x and phi, or x and theta^T phi. */
static atl_status plan_scores(atl_plan *plan, atl_panels keys, atl_attend_op *attend, atl_error *error) {
    atl_linear *l = plan->layer->linears;
    atl_project_op *queries = &plan->op.non_local.project[1], *theta = &plan->op.non_local.theta;
    atl_status status;
    if (!plan->op.non_local.folds_theta) {
        *queries = (atl_project_op){.source = ATL_SOURCE_X, .positions = plan->positions};
        status = atl_project_plan(plan, &l[QUERIES], queries, error);
        attend->q = queries->to;
        attend->k = keys;
        attend->d = l[QUERIES].m;
        return status;
    }
    *theta = (atl_project_op){.source = ATL_SOURCE_PANELS, .positions = attend->keys, .from = keys};
    status = atl_project_plan(plan, &l[THETA_ROWS], theta, error);
    attend->k = theta->to;
    attend->d = l[THETA_ROWS].m;
    attend->queries_in_x = 1;
    return status == ATL_OK ? atl_panels_reserve(plan, attend->d, plan->positions, &attend->q, error) : status;
}

/* g and W of the result, or W g. */
static atl_status plan_output(atl_plan *plan, atl_panels values, atl_attend_op *attend, atl_error *error) {
    atl_linear *l = plan->layer->linears;
    atl_project_op *output = &plan->op.non_local.output, *folded = &plan->op.non_local.values;
    const atl_affine affine = {l[OUTPUT_BIAS].bias, l[BATCH_NORM].scale, l[BATCH_NORM].bias};
    atl_status status;
    values.row = plan->layer->widths['i'];
    if (plan->op.non_local.folds_output) {
        *folded = (atl_project_op){.source = ATL_SOURCE_PANELS, .positions = attend->keys, .from = values};
        status = atl_project_plan(plan, &l[OUTPUT], folded, error);
        attend->v = folded->to;
        attend->c = l[OUTPUT].m;
        attend->into_y = 1;
        attend->gamma = 1.0f;
        attend->affine = affine;
        return status;
    }
    attend->v = values;
    attend->c = l[OUTPUT].k;
    status = atl_panels_reserve(plan, attend->c, plan->positions, &attend->to, error);
    if (status != ATL_OK)
        return status;
    *output = (atl_project_op){.source = ATL_SOURCE_PANELS,
                               .positions = plan->positions,
                               .from = attend->to,
                               .into_y = 1,
                               .residual = 1,
                               .affine = affine};
    return atl_project_plan(plan, &l[OUTPUT], output, error);
}

/* Chooses the order of the products, and says what it costs. */
static void choose_order(atl_plan *plan, int64_t keys) {
    const atl_layer *layer = plan->layer;
    const atl_linear *l = layer->linears;
    double n = (double)plan->positions, n1 = (double)keys, c = (double)plan->channels;
    double d = (double)layer->widths['i'], g = (double)layer->widths['g'];
    plan->op.non_local.folds_theta = folds(&l[THETA_ROWS], n, n1, c, d);
    plan->op.non_local.folds_output = folds(&l[OUTPUT], n, n1, c, g);
    plan->info.flops = 2 * n * c * (d + g) + 2 * fmin(folded(n, n1, c, d), apart(n, n1, c, d)) +
                       2 * fmin(folded(n, n1, c, g), apart(n, n1, c, g));
    plan->info.exps = n * n1;
    plan->info.bytes = 8 * c * n;
}

static atl_status plan(atl_plan *plan, atl_error *error) {
    atl_layer *layer = plan->layer;
    atl_attend_op *attend = &plan->op.non_local.attend;
    atl_panels keys;
    atl_status status = atl_plan_positions(plan, layer->widths['C'], error);
    if (status == ATL_OK)
        status = check_shape(plan, error);
    if (status != ATL_OK)
        return status;
    *attend = (atl_attend_op){.heads = 1, .queries = plan->positions, .scale = (float)layer->params[SCALE]};
    status = plan_keys(plan, &keys, &attend->keys, error);
    if (status != ATL_OK)
        return status;
    choose_order(plan, attend->keys);
    atl_plan_map(plan, 0, plan->positions, attend->keys);
    status = plan_scores(plan, keys, attend, error);
    if (status == ATL_OK)
        status = plan_output(plan, keys, attend, error);
    if (status == ATL_OK)
        status = atl_attend_plan(plan, attend, error);
    if (status == ATL_OK)
        plan->info.workspace_samples = atl_attend_samples(plan, attend);
    return status;
}

/* ---- run ---- */

/* y may be x: the output comes last, and a task that writes positions has read what it needs of them, as no other task does. */
static void run_wave(const atl_run_state *run) {
    const atl_plan *plan = run->plan;
    const atl_project_op *project = plan->op.non_local.project;
    int folds_theta = plan->op.non_local.folds_theta, folds_output = plan->op.non_local.folds_output;
    if (is_pooled(plan->layer)) {
        atl_project_pooled_run(run, &plan->op.non_local.pooled);
        if (!folds_theta)
            atl_project_run(run, &project[1]);
    } else {
        atl_project_run_together(run, project, folds_theta ? 1 : 2);
    }
    if (folds_theta)
        atl_project_run(run, &plan->op.non_local.theta);
    if (folds_output)
        atl_project_run(run, &plan->op.non_local.values);
    atl_attend_run(run, &plan->op.non_local.attend);
    if (!folds_output)
        atl_project_run(run, &plan->op.non_local.output);
}

static void run(const atl_run_state *run) {
    atl_run_waves(run, run_wave);
}

static void describe(const atl_plan *plan, atl_text *text) {
    int folds_theta = plan->op.non_local.folds_theta, folds_output = plan->op.non_local.folds_output;
    if (is_pooled(plan->layer))
        atl_project_pooled_describe(plan, &plan->op.non_local.pooled, text);
    else
        atl_project_describe(plan, &plan->op.non_local.project[0], text);
    atl_text_add(text, "order: theta applied to %s, W to %s\n", folds_theta ? "keys" : "queries",
                 folds_output ? "values" : "results");
    atl_project_describe(plan, folds_theta ? &plan->op.non_local.theta : &plan->op.non_local.project[1], text);
    if (folds_output)
        atl_project_describe(plan, &plan->op.non_local.values, text);
    atl_attend_describe(plan, &plan->op.non_local.attend, text);
    if (!folds_output)
        atl_project_describe(plan, &plan->op.non_local.output, text);
}

const atl_kind atl_kind_non_local = {
    .name = "non-local",
    .weights = weights,
    .params = params,
    .build = build,
    .plan = plan,
    .run = run,
    .describe = describe,
};
