/* SPDX-License-Identifier: Apache-2.0 */
/* Which instruction sets this machine runs, and which one to use. */
#ifndef ATL_SRC_CPU_H
#define ATL_SRC_CPU_H

#include "attentile/attentile.h"
#include "kernels.h"

/* The best that this machine, its operating system and this build have. */
atl_isa atl_cpu_best(void);

/* The ISA to use: the cap `name`, or ATTENTILE_MAX_ISA when name is NULL, or the best. A name that is none and an ISA
 * that the machine lacks are errors. */
atl_status atl_cpu_choose(const char *name, atl_isa *isa, atl_error *error);

/* The calling thread's floating-point state, and the default one: round to nearest, no exception traps, subnormals
 * kept. */
typedef struct atl_fp_state {
    uint64_t control, flags; /* x86-64 has both in one word */
} atl_fp_state;
atl_fp_state atl_fp_enter(void);
void atl_fp_leave(atl_fp_state state);

#endif
