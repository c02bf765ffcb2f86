/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vector vocabulary that kernel templates are written in: one header per ISA, chosen by the build with
 * -DATL_SIMD_<ISA>. Every word means the same, to the bit, on every ISA; lanes never mix except in v_sum16, v_max16, those
 * of four rows and v_transpose.
 *
 *   VL                    lanes of a vector vf
 *   TILE_MR, TILE_NV      register tile of the products: rows, vectors; TILE_NR lanes
 *   CONV_MR, CONV_NV      that of convolutions; their rows may be halved, for twice as many vectors, ATL_CONV_LANES lanes at most
 *   CONV_EXTRA            whether registers hold another vector of CONV_MR sums beside a tile, and what these need
 *   TILE_NAME, CONV_NAME, ISA_NAME
 *                         the words in a kernel's name
 *   v_load, v_store       VL floats at any address
 *   v_set_of(p, i)        p[i] in all lanes, where the VL floats from p[i / VL * VL] on may be read
 *   v_load_part, v_store_part
 *                         the first n lanes (n may exceed VL); others read as 0 and are not touched in memory
 *   v_load_pairs(p, n, even, odd)
 *                         the first n of 2*VL floats, others 0: those of even and those of odd index
 *   v_load_bytes(p, n)    the first n bytes as numbers, other lanes 0
 *   vm                    which lanes count; v_lane_mask(bits, lane): VL lanes from `lane` on, a multiple of VL, of those
 *                         that are set in bits[i / 16] >> i % 16
 *   v_load_masked(p, m)   a load, 0 in lanes that do not count; all may be read
 *   v_select(m, yes, no)  `yes` in lanes that count, `no` in others
 *   v_stream              a store past the caches, aligned to the vector; v_stream_end after the last
 *   v_fma(a, b, c)        a*b + c, rounded once
 *   v_max(a, b)           a > b ? a : b
 *   v_max_nan(a, b)       the same, and NaN where either is NaN
 *   v_max_keep(a, limit)  the larger, a where a is NaN; v_min_keep likewise
 *   v_select_gt(a,b,y,n)  a > b ? y : n
 *   v_round               nearest integer, ties to even, for |a| < 2^22 (for others not the same on every ISA)
 *   v_scale2_or_zero(p, n, t, limit)
 *                         t < limit ? 0 : p * 2^n, for an integer n in [-126, 127] where t >= limit; p where it is NaN
 *   v_sum16(a)            the fixed tree over 16/VL vectors: lane i with i + 8, then + 4, + 2, + 1
 *   v_max16(a)            the same tree with v_max
 *   v_sum16x4(a, out), v_max16x4(a, out)
 *                         the trees of four rows
 *   v_transpose(a)        VL vectors: lane i of vector r changes places with lane r of vector i
 */
#ifndef ATL_SIMD_H
#define ATL_SIMD_H

#include "../kernels.h"

#if defined(ATL_SIMD_AVX512)
#include "avx512.h"
#elif defined(ATL_SIMD_AVX2)
#include "avx2.h"
#elif defined(ATL_SIMD_NEON)
#include "neon.h"
#elif defined(ATL_SIMD_SCALAR)
#include "scalar.h"
#else
#error "the build names the ISA: -DATL_SIMD_<ISA>"
#endif

#define TILE_NR (TILE_NV * VL)
#define NV16    (ATL_SUM_LANES / VL) /* vectors that make up 16 lanes */

/* Function names: KERNEL(sum) is atl_f32_sum_<isa>, TILE_KERNEL(gemm) is atl_f32_gemm_<mr>x<nr>_<isa>. */
#define ATL_PASTE3_(a, b, c)    a##b##_##c
#define ATL_PASTE3(a, b, c)     ATL_PASTE3_(a, b, c)
#define ATL_PASTE4_(a, b, t, c) a##b##_##t##_##c
#define ATL_PASTE4(a, b, t, c)  ATL_PASTE4_(a, b, t, c)
#define KERNEL(op)              ATL_PASTE3(atl_f32_, op, ISA_NAME)
#define TILE_KERNEL(op)         ATL_PASTE4(atl_f32_, op, TILE_NAME, ISA_NAME)
#define CONV_KERNEL(op)         ATL_PASTE4(atl_f32_, op, CONV_NAME, ISA_NAME)

#ifndef UNROLL /* the build with sanitizers says that it wants none */
#define UNROLL _Pragma("GCC unroll 16")
#endif

/*
 * 2^t for t <= 0: exactly 0 below -126, 1 at 0, NaN kept. The polynomials are minimax fits of 2^f on [-1/2, 1/2] with
 * p(0) = 1, the shorter one rounded to floats by search. For softmax weights: at most 2.1 ULP.
 */
V_INLINE vf v_exp2_weight(vf t) {
    vf n = v_round(t), f = v_sub(t, n);
    vf p = v_set(0x1.5b7cacp-10f);
    p = v_fma(p, f, v_set(0x1.3ce032p-7f));
    p = v_fma(p, f, v_set(0x1.c6b7ap-5f));
    p = v_fma(p, f, v_set(0x1.ebf9ep-3f));
    p = v_fma(p, f, v_set(0x1.62e42ap-1f));
    p = v_fma(p, f, v_set(1.0f));
    return v_scale2_or_zero(p, n, t, v_set(-126.0f));
}

/* For maps: at most 1.1 ULP. */
V_INLINE vf v_exp2_map(vf t) {
    vf n = v_round(t), f = v_sub(t, n);
    vf p = v_set(0x1.470b4ap-13f);
    p = v_fma(p, f, v_set(0x1.5f7276p-10f));
    p = v_fma(p, f, v_set(0x1.3b270ep-7f));
    p = v_fma(p, f, v_set(0x1.c6ae72p-5f));
    p = v_fma(p, f, v_set(0x1.ebfbe2p-3f));
    p = v_fma(p, f, v_set(0x1.62e432p-1f));
    p = v_fma(p, f, v_set(1.0f));
    return v_scale2_or_zero(p, n, t, v_set(-126.0f));
}

/*
 * exp(x): at most 2 ULP for normal results, 0 below 2^-126, +inf above FLT_MAX, NaN kept. Argument reduction in two
 * parts (Cody, Waite, "Software Manual for the Elementary Functions", 1980): x = n*ln2 + r; e^r = 1 + r + r^2 q(r).
 */
V_INLINE vf v_exp(vf x) {
    const vf lowest = v_set(-0x1.5d589ep+6f); /* the least x with exp(x) >= 2^-126 */
    vf inside = v_min_keep(x, v_set(89.0f));  /* exp(89) is past FLT_MAX; keeps n small */
    vf n = v_round(v_mul(inside, v_set(0x1.715476p+0f)));
    vf r = v_fma(n, v_set(-0x1.62e4p-1f), inside);
    r = v_fma(n, v_set(-0x1.7f7d1cp-20f), r);
    vf q = v_set(0x1.6a2352p-10f);
    q = v_fma(q, r, v_set(0x1.123a6cp-7f));
    q = v_fma(q, r, v_set(0x1.5558f4p-5f));
    q = v_fma(q, r, v_set(0x1.55549p-3f));
    q = v_fma(q, r, v_set(0x1.fffffcp-2f));
    vf p = v_add(v_set(1.0f), v_fma(v_mul(r, r), q, r));
    /* 2^n in two factors, since n reaches 128 */
    vf half = v_round(v_mul(n, v_set(0.5f)));
    p = v_scale2_or_zero(p, half, inside, lowest);
    return v_scale2_or_zero(p, v_sub(n, half), inside, lowest);
}

/* 1 / (1 + exp(-x)): at most 3 ULP for normal results. */
V_INLINE vf v_sigmoid(vf x) {
    return v_div(v_set(1.0f), v_add(v_set(1.0f), v_exp(v_neg(x))));
}

#endif
