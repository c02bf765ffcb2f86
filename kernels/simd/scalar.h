/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vector vocabulary: plain C, one lane, for any machine. It is what every other ISA is compared with. See simd.h for
 * the meaning of each word.
 */
#include <string.h>

#define VL        1
#define TILE_MR   4
#define TILE_NV   4
#define TILE_NAME 4x4
#define ISA_NAME  scalar

#define CONV_MR    4
#define CONV_NV    4
#define CONV_NAME  4x4
#define CONV_EXTRA 0

typedef float vf;

#define V_INLINE static inline __attribute__((always_inline))

V_INLINE vf v_zero(void) {
    return 0.0f;
}
V_INLINE vf v_set(float a) {
    return a;
}
V_INLINE vf v_load(const float *p) {
    return *p;
}
V_INLINE vf v_set_of(const float *p, int i) {
    return v_set(p[i]);
}
V_INLINE void v_store(float *p, vf a) {
    *p = a;
}
V_INLINE vf v_load_part(const float *p, int64_t n) {
    return n > 0 ? *p : 0.0f;
}
V_INLINE void v_load_pairs(const float *p, int64_t n, vf *even, vf *odd) {
    *even = n > 0 ? p[0] : 0.0f;
    *odd = n > 1 ? p[1] : 0.0f;
}
V_INLINE void v_store_part(float *p, int64_t n, vf a) {
    if (n > 0)
        *p = a;
}
V_INLINE vf v_load_bytes(const uint8_t *p, int64_t n) {
    return n > 0 ? (float)*p : 0.0f;
}
typedef int vm;
V_INLINE vm v_lane_mask(const uint16_t *bits, int64_t lane) {
    return bits[lane / 16] >> lane % 16 & 1;
}
V_INLINE vf v_load_masked(const float *p, vm m) {
    return m ? *p : 0.0f;
}
V_INLINE vf v_select(vm m, vf yes, vf no) {
    return m ? yes : no;
}
V_INLINE void v_stream(float *p, vf a) {
    *p = a;
}
V_INLINE void v_stream_end(void) {
}
V_INLINE vf v_add(vf a, vf b) {
    return a + b;
}
V_INLINE vf v_sub(vf a, vf b) {
    return a - b;
}
V_INLINE vf v_mul(vf a, vf b) {
    return a * b;
}
V_INLINE vf v_div(vf a, vf b) {
    return a / b;
}
#if defined(__FP_FAST_FMAF)
V_INLINE vf v_fma(vf a, vf b, vf c) {
    return __builtin_fmaf(a, b, c);
}
#else
/*
 * Fused multiply-add without the instruction, 10x faster than the C library's. The product of two floats is exact in
 * double; their sum with c is rounded to odd (Boldo, Melquiond, "Emulation of FMA and correctly rounded sums", IEEE
 * TC 2008), so that the second rounding, to float, gives what a single one would have.
 */
V_INLINE vf v_fma(vf a, vf b, vf c) {
    double p = (double)a * (double)b, s = p + (double)c;
    double t = s - p, e = (p - (s - t)) + ((double)c - t); /* s + e == p + c exactly (Knuth's two-sum) */
    int64_t bits;
    memcpy(&bits, &s, sizeof bits);
    int64_t inexact = (e > 0.0) | (e < 0.0); /* not for NaN, which an infinite s gives */
    int64_t towards = (e > 0.0) == (s > 0.0) ? 1 : -1;
    bits += inexact & ~bits & 1 ? towards : 0;
    memcpy(&s, &bits, sizeof s);
    return (float)s;
}
#endif
V_INLINE vf v_neg(vf a) {
    return -a;
}
V_INLINE vf v_max(vf a, vf b) {
    return a > b ? a : b;
}
V_INLINE vf v_max_nan(vf a, vf b) {
    return a > b || a != a ? a : b;
}
V_INLINE vf v_max_keep(vf a, vf limit) {
    return a < limit ? limit : a;
}
V_INLINE vf v_min_keep(vf a, vf limit) {
    return a > limit ? limit : a;
}
V_INLINE vf v_select_gt(vf a, vf b, vf yes, vf no) {
    return a > b ? yes : no;
}
/* Nearest integer, ties to even, for |a| < 2^22; other values come back changed, but stay that large, infinite or NaN.
 */
V_INLINE vf v_round(vf a) {
    const float magic = 0x1.8p23f;
    return a + magic - magic;
}
/* 2^n for an integer n in [-126, 127]; 1 for other n. */
V_INLINE vf v_pow2(vf n) {
    int32_t bits = n >= -126.0f && n <= 127.0f ? ((int32_t)n + 127) << 23 : 127 << 23;
    float p;
    memcpy(&p, &bits, sizeof p);
    return p;
}
V_INLINE vf v_scale2_or_zero(vf p, vf n, vf t, vf limit) {
    return t < limit ? 0.0f : p * v_pow2(n);
}
V_INLINE float v_sum16(const vf a[16]) {
    float s[16];
    for (int i = 0; i < 16; i++)
        s[i] = a[i];
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            s[i] = s[i] + s[i + half];
    return s[0];
}
V_INLINE float v_max16(const vf a[16]) {
    float s[16];
    for (int i = 0; i < 16; i++)
        s[i] = a[i];
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            s[i] = v_max(s[i], s[i + half]);
    return s[0];
}
V_INLINE void v_sum16x4(const vf a[4][16], float out[4]) {
    for (int r = 0; r < 4; r++)
        out[r] = v_sum16(a[r]);
}
V_INLINE void v_max16x4(const vf a[4][16], float out[4]) {
    for (int r = 0; r < 4; r++)
        out[r] = v_max16(a[r]);
}
V_INLINE void v_transpose(vf a[1]) {
    (void)a;
}
