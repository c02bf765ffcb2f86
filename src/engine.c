/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "error.h"
#include "memory.h"
#include "options.h"

void atl_engine_options_init(atl_engine_options *options) {
    if (options)
        *options = (atl_engine_options){.size = sizeof *options};
}

static atl_status check_threads(const atl_engine_options *options, int *threads, atl_error *error) {
    atl_status status =
        atl_default_threads(threads, error); /* a wrong variable is an error even where it does not count */
    if (status != ATL_OK || options->threads == 0)
        return status;
    if (options->threads < 1 || options->threads > ATL_MAX_THREADS)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "threads: out of range (expected 1 to %d, or 0 for the default, got %d)", ATL_MAX_THREADS,
                        options->threads);
    *threads = options->threads;
    return ATL_OK;
}

static atl_status start(atl_engine *engine, const atl_engine_options *options, atl_error *error) {
    atl_status status = check_threads(options, &engine->threads_requested, error);
    if (status == ATL_OK)
        status = atl_cpu_choose(options->max_isa, &engine->isa, error);
    if (status == ATL_OK)
        status = atl_topo_read(&engine->topo, error);
    if (status != ATL_OK)
        return status;
    atl_kernels_select(&engine->kernels, engine->isa);
    engine->quota = atl_cgroup_quota("");
    engine->trace = options->trace;
    engine->trace_host = options->trace_host;
    atl_pool_options pool = {engine->threads_requested, options->bind, options->parallel_for,
                             options->parallel_for_host};
    return atl_pool_create(&pool, &engine->pool, error);
}

static atl_status create(const atl_engine_options *options, atl_engine **engine, atl_error *error) {
    if (!engine)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "engine: expected a pointer, got NULL");
    atl_engine_options o;
    atl_engine_options_init(&o);
    atl_status status = ATL_READ_OPTIONS(o, options, "atl_engine_options", error);
    if (status == ATL_OK && o.bind != 0 && o.bind != 1)
        status = atl_fail(error, ATL_INVALID_ARGUMENT, "bind: expected 0 or 1, got %d", o.bind);
    if (status != ATL_OK)
        return status;
    atl_engine *e = calloc(1, sizeof *e);
    if (!e)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "engine: out of memory");
    e->references = 1;
    status = start(e, &o, error);
    if (status != ATL_OK) {
        free(e);
        return status;
    }
    *engine = e;
    return ATL_OK;
}

atl_status atl_engine_create(const atl_engine_options *options, atl_engine **engine, atl_error *error) {
    atl_fp_state caller = atl_fp_enter();
    atl_status status = create(options, engine, error);
    atl_fp_leave(caller);
    return status;
}

atl_engine *atl_engine_retain(atl_engine *engine) {
    if (engine)
        engine->references++;
    return engine;
}

void atl_engine_release(atl_engine *engine) {
    if (!engine || --engine->references > 0)
        return;
    atl_pool_destroy(engine->pool);
    for (atl_workspace *w = engine->workspaces, *next; w; w = next) {
        next = w->next;
        atl_aligned_free(w->memory, w->size);
        free(w);
    }
    free(engine);
}

atl_status atl_engine_get_info(const atl_engine *engine, atl_engine_info *info, atl_error *error) {
    if (!engine || !info)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: expected a pointer, got NULL", engine ? "info" : "engine");
    const atl_topo *topo = &engine->topo;
    atl_engine_info full = {
        .threads = atl_pool_threads(engine->pool),
        .threads_requested = engine->threads_requested,
        .isa = atl_isa_name(engine->isa),
        .isa_found = atl_isa_name(atl_cpu_best()),
        .cpu = topo->cpu,
        .packages = topo->packages,
        .numa_nodes = topo->numa_nodes,
        .cores = topo->cores,
        .processors = topo->processors,
        .processors_available = atl_processors_available(),
        .quota = engine->quota,
        .l1d_bytes = topo->l1d_bytes,
        .l2_bytes = topo->l2_bytes,
        .l3_bytes = topo->l3_bytes,
    };
    return atl_fill_info(info, &full, sizeof full, "atl_engine_info", error);
}

int atl_engine_kernel(const atl_engine *engine, int index, const char **slot, const char **implementation) {
    if (!engine || index < 0 || index >= ATL_SLOT_COUNT)
        return 0;
    if (slot)
        *slot = atl_slot_name((atl_slot)index);
    if (implementation)
        *implementation = atl_kernels_variant(&engine->kernels, (atl_slot)index);
    return 1;
}

/* The smallest free workspace that is large enough, or, where there is none, the largest free one. */
static atl_workspace *best_free(atl_engine *engine, int64_t size) {
    atl_workspace *best = NULL;
    for (atl_workspace *w = engine->workspaces; w; w = w->next) {
        if (w->busy)
            continue;
        int fits = w->size >= size, best_fits = best && best->size >= size;
        if (!best || (fits && (!best_fits || w->size < best->size)) || (!fits && !best_fits && w->size > best->size))
            best = w;
    }
    return best;
}

/* A workspace marked busy, of any size; new where none is free. */
static atl_workspace *claim(atl_engine *engine, int64_t size) {
    atl_fork_lock();
    atl_workspace *w = best_free(engine, size);
    if (w)
        w->busy = 1;
    atl_fork_unlock();
    if (w)
        return w;
    w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->busy = 1;
    atl_fork_lock();
    w->next = engine->workspaces;
    engine->workspaces = w;
    atl_fork_unlock();
    return w;
}

atl_workspace *atl_engine_borrow(atl_engine *engine, int64_t size) {
    atl_workspace *w = claim(engine, size);
    if (!w || (w->memory && w->size >= size))
        return w;
    void *memory = atl_aligned(size);
    if (!memory) { /* what some plan has reserved stays */
        atl_engine_return(engine, w);
        return NULL;
    }
    atl_aligned_free(w->memory, w->size);
    w->memory = memory;
    w->size = size;
    return w;
}

void atl_engine_return(atl_engine *engine, atl_workspace *workspace) {
    (void)engine;
    atl_fork_lock();
    workspace->busy = 0;
    atl_fork_unlock();
}
