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

/* What `yes` is where a bias excludes its key: where it is -inf. */
V_INLINE vf where_excluded(vf bias, vf yes, vf no) {
    return v_select_gt(v_set(-0x1.fffffep+127f), bias, yes, no);
}

/* A score and its bias: -inf where that excludes the key, 0 where it is +inf, whatever the score is. */
V_INLINE vf biased(vf score, vf bias) {
    vf sum = v_select_gt(bias, v_set(0x1.fffffep+127f), v_zero(), v_add(score, bias));
    return where_excluded(bias, v_set(-__builtin_inff()), sum);
}

#endif
