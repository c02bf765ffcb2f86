/* SPDX-License-Identifier: Apache-2.0 */
/* How the running state of queries moves to another maximum. */
#ifndef ATL_STATE_H
#define ATL_STATE_H

#include "../simd/simd.h"

/* What counts for 1 relative to the maximum `max` counts for this relative to `top`: exactly 1 where they are equal,
 * infinite ones included. */
V_INLINE vf rescale(vf max, vf top) {
    return v_select_gt(top, max, v_exp2_weight(v_sub(max, top)), v_set(1.0f));
}

#endif
