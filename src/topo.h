/* SPDX-License-Identifier: Apache-2.0 */
/* The machine as far as planning needs it. topo.c is the only file that includes hwloc.h. */
#ifndef ATL_SRC_TOPO_H
#define ATL_SRC_TOPO_H

#include <stdint.h>

#include "attentile/attentile.h"

typedef struct atl_topo {
    char cpu[64];                                /* the processor's name, or "unknown" */
    int packages, numa_nodes, cores, processors; /* 0 = unknown */
    int64_t l1d_bytes, l2_bytes, l3_bytes;       /* per instance, 0 = none or unknown */
} atl_topo;

/* Reads the machine's topology through hwloc (HWLOC_SYNTHETIC and HWLOC_XMLFILE are honoured). What cannot be found out
 * stays 0; only memory running out is an error. */
atl_status atl_topo_read(atl_topo *topo, atl_error *error);

/* Binds the calling thread to the index-th core (wrapping round) of those the process may use. 0 on success. */
int atl_topo_bind_thread(int index);

/* Processors in the calling thread's affinity mask, OMP_PROC_BIND's narrowing undone; at least 1. As OpenMP counts them:
 * clang's looks at the mask once, when it starts. */
int atl_processors_available(void);

/* Processors that the cgroup of this process grants (v1 cfs quota / period, v2 cpu.max; the least over the cgroup and
 * its ancestors); 0 = no limit. `root` is prepended to /proc and /sys paths: "" except in tests. */
double atl_cgroup_quota(const char *root);

/* The default team size: ATTENTILE_NUM_THREADS, else the first number of OMP_NUM_THREADS, else min(processors
 * available, quota rounded up). A wrong ATTENTILE_NUM_THREADS is ATL_INVALID_ARGUMENT; a wrong OMP_NUM_THREADS is
 * ignored. */
atl_status atl_default_threads(int *threads, atl_error *error);

#endif
