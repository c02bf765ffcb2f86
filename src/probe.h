/* SPDX-License-Identifier: Apache-2.0 */
/* What a team needs is tried out before OpenMP, which ends the process when it cannot have it, takes it. */
#ifndef ATL_SRC_PROBE_H
#define ATL_SRC_PROBE_H

/* How many threads, the calling one included and at most `wanted`, can exist at the same time with the stacks that
 * OpenMP gives them, with memory left for OpenMP's own needs; at least 1. Called by the thread that will lead. */
int atl_probe_threads(int wanted);

/* Whether threads can end. libgomp's do so by pthread_exit, which loads libgcc_s at its first use and aborts the
 * process when it cannot. Called by the thread that creates the pool: the loader's lock may be its own (in a
 * constructor). */
int atl_probe_thread_exit(void);

#endif
