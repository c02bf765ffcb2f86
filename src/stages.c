/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stages of a run. Those of a short one are gathered first and given to the pool together: between two of them threads then
 * need no more than to see that all tasks are done.
 */
#include <stddef.h>
#include <string.h>

#include "memory.h"
#include "plan.h"
#include "sync.h"

enum { STAGES = 8 };

/* Stages that have not run yet, and copies of their contexts: what a stage is asked with may change afterwards. */
struct atl_gathered {
    atl_pool *pool;
    atl_stage stages[STAGES];
    int count;
    _Alignas(max_align_t) char contexts[STAGES][ATL_CONTEXT_BYTES];
};

/* ---- gathering ---- */

static void run_gathered(struct atl_gathered *g) {
    atl_pool_run_stages(g->pool, g->stages, g->count);
    g->count = 0;
}

static void gather(struct atl_gathered *g, atl_task_fn *function, const void *context, size_t size, int64_t count) {
    if (g->count == STAGES)
        run_gathered(g);
    void *copy = memcpy(g->contexts[g->count], context, size);
    g->stages[g->count++] = (atl_stage){function, copy, count, 0};
}

/* Threads that wait keep their processors: for less than about 100 us in all on a core of today. */
static int is_short(const atl_run_state *run) {
    const atl_plan_info *info = &run->plan->info;
    return (info->flops / 60e9 + info->bytes / 20e9) * (double)run->batch < 300e-6;
}

/* ---- tracing ---- */

/* A stage whose tasks somebody wants to see. */
typedef struct traced_stage {
    const atl_engine *engine;
    const char *name;
    atl_task_fn *function;
    void *context;
    int64_t count;
    int shared;
} traced_stage;

static void traced_task(void *context, int64_t task, int slot) {
    const traced_stage *stage = context;
    const int64_t start = atl_now_ns();
    stage->function(stage->context, task, slot);
    const atl_trace_event event = {.stage = stage->name,
                                   .tasks = stage->count,
                                   .task = task,
                                   .shared = stage->shared,
                                   .nanoseconds = atl_now_ns() - start};
    stage->engine->trace(stage->engine->trace_host, &event);
}

/* ---- running ---- */

int atl_run_alone(const atl_run_state *run) {
    return run->plan->small && run->batch == 1;
}

void atl_run_stage(const atl_run_state *run, const char *stage, atl_task_fn *function, void *context, size_t size,
                   int64_t count) {
    const atl_engine *engine = run->plan->engine;
    const int alone = atl_run_alone(run);
    traced_stage traced = {engine, stage, function, context, count, 0};
    if (engine->trace) {
        traced.shared = !alone && count > 1 && atl_pool_threads(engine->pool) > 1;
        function = traced_task;
        context = &traced;
    }
    if (count < 1)
        return;
    if (run->gathered)
        gather(run->gathered, function, context, size, count);
    else if (alone)
        atl_pool_run_inline(engine->pool, function, context, count);
    else
        atl_pool_run(engine->pool, function, context, count);
}

void atl_run_waves(const atl_run_state *run, void (*wave)(const atl_run_state *part)) {
    struct atl_gathered gathered;
    const atl_engine *engine = run->plan->engine;
    int64_t waves = atl_ceil_div(run->batch, run->plan->info.workspace_samples);
    int64_t together = atl_ceil_div(run->batch, waves);
    int gathers = !atl_run_alone(run) && !engine->trace && atl_pool_threads(engine->pool) > 1 && is_short(run);
    gathered.pool = engine->pool;
    gathered.count = 0;
    for (int64_t first = 0; first < run->batch; first += together) {
        atl_run_state part = atl_run_part(run, first, atl_min(together, run->batch - first));
        part.gathered = gathers ? &gathered : NULL;
        wave(&part);
        if (gathers)
            run_gathered(&gathered);
    }
}
