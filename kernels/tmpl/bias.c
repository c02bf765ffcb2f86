/* SPDX-License-Identifier: Apache-2.0 */
/* Template: masks turned into what attention adds to scores. Rows of masks are runs of keys, rows of the bias of queries: squares
 * of VL are transposed on the way. */
#include "../simd/simd.h"

/* An additive value in the unit of scores, log2(e) times it: the infinities have a meaning of their own. Where frameworks
 * mean "masked" they write -FLT_MAX: stays above the floor that maxima start from, so that a row of nothing else is a mean. */
V_INLINE vf additive_bias(vf value) {
    const vf largest = v_set(0x1.fffffep+127f), most = v_set(0x1.62e42ep+127f);
    vf bias = v_max(v_set(-1e30f), v_mul(value, v_set(1.44269504f)));
    bias = v_select_gt(value, most, v_fma(value, v_zero(), largest), bias); /* NaN for +inf */
    return v_select_gt(v_neg(largest), value, v_set(-__builtin_inff()), bias);
}

/* VL rows of finite values in the unit of scores, which is all that most masks hold; 0 if there are others. */
V_INLINE int finite_rows(const float *from, int64_t step, vf *square) {
    vf test[NV16]; /* NaN where a product is infinite or NaN */
    UNROLL
    for (int v = 0; v < NV16; v++)
        test[v] = v_zero();
    UNROLL
    for (int r = 0; r < VL; r++) {
        vf product = v_mul(v_load(from + r * step), v_set(1.44269504f));
        test[r % NV16] = v_fma(product, v_zero(), test[r % NV16]);
        square[r] = v_max(v_set(-1e30f), product);
    }
    return v_sum16(test) == 0;
}

/* Of query i and the n keys from j on, of which `all` (a constant) says that they fill a vector. */
V_INLINE vf masked(int additive, int bytes, int all, const atl_bias_args *a, int64_t i, int64_t j, int64_t n) {
    vf bias = v_zero();
    if (additive) {
        const float *from = a->additive + i * a->additive_query + j * a->additive_key;
        bias = additive_bias(!a->additive_key ? v_set(*from) : all ? v_load(from) : v_load_part(from, n));
    }
    if (bytes) {
        const uint8_t *from = a->bytes + i * a->byte_query + j * a->byte_key;
        vf seen = !a->byte_key ? v_set((float)*from) : v_load_bytes(from, all ? VL : n);
        bias = v_select_gt(seen, v_zero(), bias, v_set(-__builtin_inff()));
    }
    return bias;
}

/* The same without what lies beyond the diagonal. */
V_INLINE vf masked_to_diagonal(int additive, int bytes, const atl_bias_args *a, int64_t i, int64_t j, int64_t n) {
    static const float numbers[ATL_SUM_LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vf bias = masked(additive, bytes, 0, a, i, j, n);
    int64_t last = i + a->diagonal - j; /* the key that the query still sees */
    if (last < n - 1)
        bias = v_select_gt(v_load(numbers), v_set(last < 0 ? -1.0f : (float)last), v_set(-__builtin_inff()), bias);
    return bias;
}

/* VL queries from i on and the n <= VL keys from j on. With `whole` (a constant) all of them exist and none is beyond the
 * diagonal. Whether keys may be excluded. */
V_INLINE int bias_square(int additive, int bytes, int whole, const atl_bias_args *a, int64_t i, int64_t j, int64_t n) {
    vf square[VL];
    int finite = 0;
    if (additive && !bytes && whole && a->additive_key)
        finite = finite_rows(a->additive + i * a->additive_query + j, a->additive_query, square);
    UNROLL
    for (int r = 0; r < VL && !finite; r++)
        square[r] = whole                ? masked(additive, bytes, 1, a, i + r, j, VL)
                    : i + r < a->queries ? masked_to_diagonal(additive, bytes, a, i + r, j, n)
                                         : v_zero();
    v_transpose(square);
    UNROLL
    for (int t = 0; t < VL; t++)
        if (whole || t < n)
            v_store(a->to + (j + t) * a->row + i, square[t]);
    return !finite;
}

V_INLINE int bias_by_key(int additive, int bytes, const atl_bias_args *a) {
    int excludes = 0;
    for (int64_t i = 0; i < a->row; i += VL)
        for (int64_t j = 0; j < a->keys; j += VL) {
            int64_t n = a->keys - j < VL ? a->keys - j : VL;
            if (n == VL && i + VL <= a->queries && j + VL - 1 <= i + a->diagonal)
                excludes |= bias_square(additive, bytes, 1, a, i, j, VL);
            else
                excludes |= bias_square(additive, bytes, 0, a, i, j, n);
        }
    return excludes;
}

V_INLINE int bias_by_query(int additive, int bytes, const atl_bias_args *a) {
    for (int64_t i = 0; i < a->queries; i++)
        for (int64_t j = 0; j < a->keys; j += VL) {
            int64_t n = a->keys - j < VL ? a->keys - j : VL;
            v_store_part(a->to + i * a->row + j, n, masked_to_diagonal(additive, bytes, a, i, j, n));
        }
    return 1;
}

V_INLINE int bias_all(int additive, int bytes, const atl_bias_args *a) {
    return a->by_key ? bias_by_key(additive, bytes, a) : bias_by_query(additive, bytes, a);
}

int KERNEL(bias)(const atl_bias_args *args) {
    if (args->additive)
        return args->bytes ? bias_all(1, 1, args) : bias_all(1, 0, args);
    return args->bytes ? bias_all(0, 1, args) : bias_all(0, 0, args);
}
