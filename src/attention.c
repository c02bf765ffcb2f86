/* SPDX-License-Identifier: Apache-2.0 */
/* The public attention call: a plan without a layer, made for one run. */
#include <math.h>

#include "cpu.h"
#include "error.h"
#include "memory.h"
#include "options.h"
#include "plan.h"

void atl_attention_args_init(atl_attention_args *args) {
    if (args)
        *args = (atl_attention_args){.size = sizeof *args, .batch = 1, .heads = 1, .scale = NAN};
}

atl_attention_strides atl_attention_dense(atl_attention_layout layout, int64_t heads, int64_t positions, int64_t dim) {
    int64_t tokens, sample;
    if (heads < 1 || positions < 1 || dim < 1 || !atl_mul(heads, dim, &tokens) || !atl_mul(tokens, positions, &sample))
        return (atl_attention_strides){0};
    switch (layout) {
    case ATL_TOKEN_MAJOR: return (atl_attention_strides){sample, dim, tokens, 1};
    case ATL_HEAD_MAJOR: return (atl_attention_strides){sample, positions * dim, dim, 1};
    case ATL_CHANNEL_MAJOR: return (atl_attention_strides){sample, positions * dim, 1, positions};
    }
    return (atl_attention_strides){0};
}

/* ---- checks ---- */

/* A tensor of the call: its sizes and steps by axis (batch, head, position, feature), and the elements that it spans. */
typedef struct tensor {
    const char *name;
    const float *data;
    int64_t sizes[4], steps[4], extent;
} tensor;

enum {
    QUERY = ATL_VIEW_QUERY,
    KEY = ATL_VIEW_KEY,
    VALUE = ATL_VIEW_VALUE,
    OUTPUT = ATL_VIEW_OUTPUT,
    TENSORS = ATL_VIEWS
};

static tensor make_tensor(const char *name, const float *data, const atl_attention_args *a, int64_t positions,
                          int64_t dim, const atl_attention_strides *s) {
    return (tensor){name, data, {a->batch, a->heads, positions, dim}, {s->batch, s->head, s->position, s->feature}, 0};
}

static void list_tensors(const atl_attention_args *a, tensor t[TENSORS]) {
    t[QUERY] = make_tensor("query", a->query, a, a->queries, a->key_dim, &a->query_strides);
    t[KEY] = make_tensor("key", a->key, a, a->keys, a->key_dim, &a->key_strides);
    t[VALUE] = make_tensor("value", a->value, a, a->keys, a->value_dim, &a->value_strides);
    t[OUTPUT] = make_tensor("output", a->output, a, a->queries, a->value_dim, &a->output_strides);
}

static atl_status check_sizes(const atl_attention_args *a, atl_error *error) {
    const struct {
        const char *name;
        int64_t size;
    } sizes[] = {{"batch", a->batch}, {"heads", a->heads},     {"queries", a->queries},
                 {"keys", a->keys},   {"key_dim", a->key_dim}, {"value_dim", a->value_dim}};
    int64_t product = 1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (sizes[i].size < 1)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: expected 1 or more, got %lld", sizes[i].name,
                            (long long)sizes[i].size);
        /* keeps every product of four of them, and their panels, in range */
        if (sizes[i].size > INT64_MAX / 1024)
            return atl_fail(error, ATL_OUT_OF_MEMORY, "%s: more bytes than can be represented (got %lld)",
                            sizes[i].name, (long long)sizes[i].size);
    }
    const int64_t lengths[] = {a->queries, a->keys}, dims[] = {a->key_dim, a->value_dim};
    for (int l = 0; l < 2; l++)
        for (int d = 0; d < 2; d++)
            if (!atl_mul(a->batch, a->heads, &product) || !atl_mul(product, lengths[l] + ATL_BLOCK, &product) ||
                !atl_mul(product, dims[d] + 2, &product) || product > INT64_MAX / 64)
                return atl_fail(error, ATL_OUT_OF_MEMORY, "sizes: more bytes than can be represented");
    return ATL_OK;
}

/* What is neither a size nor a stride. */
static atl_status check_others(const atl_attention_args *a, atl_error *error) {
    const struct {
        const char *name;
        const void *data;
    } optional[] = {{"map", a->map}, {"additive", a->additive}};
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++)
        if ((uintptr_t)optional[i].data % sizeof(float))
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: expected a pointer aligned to a float, got %p",
                            optional[i].name, optional[i].data);
    if (isinf(a->scale))
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "scale: expected a finite number, or NaN for 1/sqrt(key_dim), got %g", (double)a->scale);
    return ATL_OK;
}

static atl_status span_tensor(tensor *t, atl_error *error) {
    static const char *const axes[] = {"batch", "head", "position", "feature"};
    if (!t->data || (uintptr_t)t->data % sizeof(float))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: expected a pointer aligned to a float, got %p", t->name,
                        (const void *)t->data);
    t->extent = 1;
    for (int i = 0; i < 4; i++) {
        int64_t reach;
        if (t->steps[i] < 0 || !atl_mul(t->steps[i], t->sizes[i] - 1, &reach) ||
            !atl_add(t->extent, reach, &t->extent) || t->extent > ATL_MOST_FLOATS)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s_strides.%s: out of range (got %lld)", t->name, axes[i],
                            (long long)t->steps[i]);
    }
    return ATL_OK;
}

/* No two elements of the output may be one: axes from the smallest step on, each past all that lies inside. */
static atl_status check_apart(const tensor *t, atl_error *error) {
    int64_t inside = 0;
    int done[4] = {0};
    for (int n = 0; n < 4; n++) {
        int best = -1;
        for (int i = 0; i < 4; i++)
            if (!done[i] && (best < 0 || t->steps[i] < t->steps[best]))
                best = i;
        done[best] = 1;
        if (t->sizes[best] > 1 && t->steps[best] <= inside)
            return atl_fail(error, ATL_INVALID_ARGUMENT,
                            "output_strides: elements would overlap (a step of %lld over %lld elements)",
                            (long long)t->steps[best], (long long)inside + 1);
        inside += t->sizes[best] > 1 ? t->steps[best] * (t->sizes[best] - 1) : 0;
    }
    return ATL_OK;
}

static int overlap(const void *a, int64_t a_bytes, const void *b, int64_t b_bytes) {
    return a && b && (uintptr_t)a < (uintptr_t)b + (uintptr_t)b_bytes &&
           (uintptr_t)b < (uintptr_t)a + (uintptr_t)a_bytes;
}

static int64_t mask_count(int rank, const int64_t *shape) {
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    return count;
}

/* Output and map against all inputs and one another. */
static atl_status check_overlap(const atl_run_state *run, const atl_attention_args *a, const tensor t[TENSORS],
                                atl_error *error) {
    enum { FLOAT = sizeof(float) };
    const struct {
        const char *name;
        const void *data;
        int64_t bytes;
    } parts[] = {{"output", a->output, t[OUTPUT].extent * FLOAT},
                 {"map", a->map, run->map_stride * a->batch * FLOAT},
                 {"query", a->query, t[QUERY].extent * FLOAT},
                 {"key", a->key, t[KEY].extent * FLOAT},
                 {"value", a->value, t[VALUE].extent * FLOAT},
                 {"mask", a->mask, a->mask ? mask_count(a->mask_rank, a->mask_shape) : 0},
                 {"additive", a->additive, a->additive ? mask_count(a->additive_rank, a->additive_shape) * FLOAT : 0}};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = i + 1; k < sizeof parts / sizeof *parts; k++)
            if (overlap(parts[i].data, parts[i].bytes, parts[k].data, parts[k].bytes))
                return atl_fail(error, ATL_INVALID_ARGUMENT, "%s overlaps %s (expected them apart)", parts[i].name,
                                parts[k].name);
    return ATL_OK;
}

/* ---- plan ---- */

enum { MANY_QUERIES = 1024 };

static const atl_kind attention_kind = {.name = "attention", .takes_key = 1};

/* Whether attention is to read a tensor, or to write it, where it lies: features have to be side by side. The rows of many
 * queries read those of keys so often that these had better be side by side, too. */
static int suits(const tensor *t, int64_t queries) {
    int64_t dim = t->sizes[3], position = t->steps[2];
    return t->steps[3] == 1 && position > 0 && (position < 2 * dim || queries <= MANY_QUERIES);
}

/* How the op gets at the tensors: where they lie, or by way of panels. */
static atl_status plan_views(atl_plan *plan, const tensor tensors[TENSORS], int map, atl_error *error) {
    static const atl_source sources[TENSORS] = {ATL_SOURCE_X, ATL_SOURCE_KEY, ATL_SOURCE_VALUE, ATL_SOURCE_PANELS};
    atl_view_op *views = plan->op.attention.views;
    atl_attend_op *op = &plan->op.attention.attend;
    atl_panels *const panels[TENSORS] = {&op->q, &op->k, &op->v, &op->to};
    int in_place = !map;
    for (int i = 0; i < TENSORS; i++) {
        const tensor *t = &tensors[i];
        views[i] = (atl_view_op){sources[i],  t->sizes[1], t->sizes[2], t->sizes[3],
                                 t->steps[1], t->steps[2], t->steps[3], {0}};
        in_place = in_place && suits(t, tensors[QUERY].sizes[2]);
    }
    op->tensors = in_place ? views : NULL;
    atl_status status = ATL_OK;
    for (int i = 0; status == ATL_OK && !in_place && i < TENSORS; i++) {
        status = atl_panels_reserve(plan, views[i].heads * views[i].dim, views[i].positions, panels[i], error);
        views[i].panels = *panels[i];
    }
    return status;
}

static atl_status make_plan(atl_plan *plan, const atl_attention_args *a, const tensor t[TENSORS], atl_error *error) {
    atl_attend_op *op = &plan->op.attention.attend;
    double scale = isnan(a->scale) ? 1 / sqrt((double)a->key_dim) : (double)a->scale;
    plan->channels = a->queries;
    plan->positions = a->key_dim;
    plan->heads = a->heads;
    plan->key_length = a->keys;
    plan->info.flops =
        2.0 * (double)a->heads * (double)a->queries * (double)a->keys * (double)(a->key_dim + a->value_dim);
    plan->small = atl_is_small(&plan->info);
    if (a->map)
        atl_plan_map(plan, a->heads, a->queries, a->keys);
    *op = (atl_attend_op){.heads = a->heads,
                          .d = a->key_dim,
                          .c = a->value_dim,
                          .queries = a->queries,
                          .keys = a->keys,
                          .scale = (float)scale,
                          .masked = 1,
                          .causal = a->causal,
                          .blind_zero = a->mask_zero};
    atl_status status = plan_views(plan, t, a->map != NULL, error);
    if (status == ATL_OK)
        status = atl_attend_plan(plan, op, error);
    if (status == ATL_OK &&
        !atl_mul(plan->info.workspace_fixed, atl_pool_threads(plan->engine->pool), &plan->info.workspace_fixed))
        status = atl_fail(error, ATL_OUT_OF_MEMORY, "attention: the scratch of the team cannot be represented");
    if (status == ATL_OK)
        plan->info.workspace_samples = atl_attend_samples(plan, op);
    return status;
}

/* ---- run ---- */

static void run_wave(const atl_run_state *run) {
    const atl_view_op *views = run->plan->op.attention.views;
    const atl_attend_op *op = &run->plan->op.attention.attend;
    for (int i = 0; i < ATL_VIEW_OUTPUT && !op->tensors; i++)
        atl_view_run(run, &views[i]);
    atl_attend_run(run, op);
    if (!op->tensors)
        atl_view_run(run, &views[ATL_VIEW_OUTPUT]);
}

static atl_status size_map(atl_run_state *run, const atl_attention_args *a, atl_error *error) {
    int64_t floats;
    if (!atl_mul(a->heads, run->map_rows.count, &run->map_stride) ||
        !atl_mul(run->map_stride, a->keys, &run->map_stride) || !atl_mul(run->map_stride, a->batch, &floats) ||
        floats > ATL_MOST_FLOATS)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "map: more bytes than an address space has");
    return ATL_OK;
}

static atl_status bind(atl_run_state *run, const atl_attention_args *a, atl_error *error) {
    atl_run_options o;
    atl_run_options_init(&o);
    o.mask = a->mask;
    o.additive = a->additive;
    o.mask_rank = a->mask ? a->mask_rank : 0;
    o.additive_rank = a->additive ? a->additive_rank : 0;
    for (int i = 0; i < 4; i++) {
        o.mask_shape[i] = a->mask_shape[i];
        o.additive_shape[i] = a->additive_shape[i];
    }
    o.map_rows = a->map_rows;
    o.map_row_count = a->map_row_count;
    run->batch = a->batch;
    run->total = a->batch;
    run->first = (atl_sample){.x = a->query, .y = a->output, .map = a->map, .key = a->key, .value = a->value};
    run->x_stride = a->query_strides.batch;
    run->y_stride = a->output_strides.batch;
    run->key_stride = a->key_strides.batch;
    run->value_stride = a->value_strides.batch;
    atl_status status = atl_bind_masks(run, &o, error);
    if (status == ATL_OK && (a->map || a->map_rows || a->map_row_count))
        status = atl_bind_map(run, a->map != NULL, &o, error);
    return status == ATL_OK ? size_map(run, a, error) : status;
}

static atl_status attend(atl_engine *engine, const atl_attention_args *a, atl_error *error) {
    tensor tensors[TENSORS];
    atl_status status = check_sizes(a, error);
    list_tensors(a, tensors);
    for (int i = 0; status == ATL_OK && i < TENSORS; i++)
        status = span_tensor(&tensors[i], error);
    if (status == ATL_OK)
        status = check_apart(&tensors[OUTPUT], error);
    if (status == ATL_OK)
        status = check_others(a, error);
    atl_layer layer = {.kind = &attention_kind};
    atl_plan plan = {.layer = &layer, .engine = engine};
    atl_run_state run = {.plan = &plan};
    if (status == ATL_OK)
        status = make_plan(&plan, a, tensors, error);
    if (status == ATL_OK)
        status = bind(&run, a, error);
    if (status == ATL_OK)
        status = check_overlap(&run, a, tensors, error);
    if (status != ATL_OK)
        return status;
    int64_t size = atl_plan_workspace_size(&plan, a->batch);
    atl_workspace *workspace = size < 0 ? NULL : atl_engine_borrow(engine, size);
    if (!workspace)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "attention: no memory for a workspace of %lld bytes",
                        (long long)size);
    run.workspace = workspace->memory;
    atl_run_waves(&run, run_wave);
    atl_engine_return(engine, workspace);
    return ATL_OK;
}

atl_status atl_attention(atl_engine *engine, const atl_attention_args *args, atl_error *error) {
    if (!engine || !args)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: expected a pointer, got NULL", engine ? "args" : "engine");
    atl_fp_state caller = atl_fp_enter();
    atl_attention_args a;
    atl_attention_args_init(&a);
    atl_status status = ATL_READ_OPTIONS(a, args, "atl_attention_args", error);
    if (status == ATL_OK)
        status = attend(engine, &a, error);
    atl_fp_leave(caller);
    return status;
}
