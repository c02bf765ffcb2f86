/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: kernels, pool, topology, and the workspaces that runs borrow. */
#ifndef ATL_SRC_ENGINE_H
#define ATL_SRC_ENGINE_H

#include "attentile/attentile.h"
#include "kernels.h"
#include "pool.h"
#include "topo.h"

typedef struct atl_workspace {
    struct atl_workspace *next;
    void *memory;
    int64_t size;
    int busy;
} atl_workspace;

struct atl_engine {
    _Atomic int references;
    atl_pool *pool;
    atl_isa isa;
    atl_kernels kernels;
    atl_topo topo;
    int threads_requested;
    double quota;
    atl_trace_fn trace; /* or NULL */
    void *trace_host;
    atl_workspace *workspaces; /* guarded by the fork lock: held for a list walk, never during a run */
};

/* Borrows a workspace of at least `size` bytes: a free one that is large enough, else a new one in place of the
 * largest that is too small. NULL when memory runs out. */
atl_workspace *atl_engine_borrow(atl_engine *engine, int64_t size);
void atl_engine_return(atl_engine *engine, atl_workspace *workspace);

/* Bytes of the last-level cache; a usual size where it is unknown. */
static inline int64_t atl_engine_cache(const atl_engine *engine) {
    const atl_topo *topo = &engine->topo;
    return topo->l3_bytes ? topo->l3_bytes : topo->l2_bytes ? topo->l2_bytes : (int64_t)32 << 20;
}

#endif
