/* SPDX-License-Identifier: Apache-2.0 */
/* Measures a plan's workspace: every array gets an aligned place, sizes are checked in 64 bits. */
#ifndef ATL_SRC_ARENA_H
#define ATL_SRC_ARENA_H

#include "plan.h"

/* Reserves a*b*c floats in every sample's workspace, or in every slot's scratch. */
atl_status atl_reserve_sample(atl_plan *plan, atl_offset *at, int64_t a, int64_t b, int64_t c, atl_error *error);
atl_status atl_reserve_slot(atl_plan *plan, atl_offset *at, int64_t a, int64_t b, int64_t c, atl_error *error);

#endif
