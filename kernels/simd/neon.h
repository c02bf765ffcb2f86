/* SPDX-License-Identifier: Apache-2.0 */
/* Vector vocabulary: AArch64 Advanced SIMD, 4 lanes. See simd.h for the meaning of each word. */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "compile for aarch64"
#endif
#include <arm_neon.h>
#include <string.h>

#define VL        4
#define TILE_MR   12
#define TILE_NV   2
#define TILE_NAME 12x8
#define ISA_NAME  neon

#define CONV_MR    8
#define CONV_NV    3
#define CONV_NAME  8x12
#define CONV_EXTRA 0

typedef float32x4_t vf;

#define V_INLINE static inline __attribute__((always_inline))

V_INLINE vf v_zero(void) {
    return vdupq_n_f32(0.0f);
}
V_INLINE vf v_set(float a) {
    return vdupq_n_f32(a);
}
V_INLINE vf v_load(const float *p) {
    return vld1q_f32(p);
}
/* Of a vector in a register, since products take a lane as it is: fewer loads, and fewer registers than one for each. */
V_INLINE vf v_set_of(const float *p, int i) {
    return vdupq_n_f32(v_load(p + i / VL * VL)[i % VL]);
}
V_INLINE void v_store(float *p, vf a) {
    vst1q_f32(p, a);
}
V_INLINE vf v_load_part(const float *p, int64_t n) {
    if (n >= VL)
        return vld1q_f32(p);
    float lanes[VL] = {0};
    for (int64_t i = 0; i < n; i++)
        lanes[i] = p[i];
    return vld1q_f32(lanes);
}
V_INLINE void v_load_pairs(const float *p, int64_t n, vf *even, vf *odd) {
    vf low = v_load_part(p, n), high = v_load_part(p + VL, n > VL ? n - VL : 0);
    *even = vuzp1q_f32(low, high);
    *odd = vuzp2q_f32(low, high);
}
V_INLINE void v_store_part(float *p, int64_t n, vf a) {
    if (n >= VL) {
        vst1q_f32(p, a);
        return;
    }
    float lanes[VL];
    vst1q_f32(lanes, a);
    for (int64_t i = 0; i < n; i++)
        p[i] = lanes[i];
}
V_INLINE vf v_load_bytes(const uint8_t *p, int64_t n) {
    uint32_t bytes = 0;
    memcpy(&bytes, p, n >= VL ? VL : (size_t)n);
    uint8x8_t eight = vreinterpret_u8_u32(vdup_n_u32(bytes));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(eight))));
}
typedef uint32x4_t vm;
V_INLINE vm v_lane_mask(const uint16_t *bits, int64_t lane) {
    const uint32x4_t bit = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32((uint32_t)(bits[lane / 16] >> lane % 16)), bit);
}
V_INLINE vf v_load_masked(const float *p, vm m) {
    return vreinterpretq_f32_u32(vandq_u32(m, vreinterpretq_u32_f32(v_load(p))));
}
V_INLINE vf v_select(vm m, vf yes, vf no) {
    return vbslq_f32(m, yes, no);
}
V_INLINE void v_stream(float *p, vf a) {
    vst1q_f32(p, a);
}
V_INLINE void v_stream_end(void) {
}
V_INLINE vf v_add(vf a, vf b) {
    return vaddq_f32(a, b);
}
V_INLINE vf v_sub(vf a, vf b) {
    return vsubq_f32(a, b);
}
V_INLINE vf v_mul(vf a, vf b) {
    return vmulq_f32(a, b);
}
V_INLINE vf v_div(vf a, vf b) {
    return vdivq_f32(a, b);
}
V_INLINE vf v_fma(vf a, vf b, vf c) {
    return vfmaq_f32(c, a, b);
}
V_INLINE vf v_neg(vf a) {
    return vnegq_f32(a);
}
V_INLINE vf v_max(vf a, vf b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
V_INLINE vf v_max_nan(vf a, vf b) {
    return vbslq_f32(vandq_u32(vceqq_f32(a, a), vmvnq_u32(vcgtq_f32(a, b))), b, a);
}
V_INLINE vf v_max_keep(vf a, vf limit) {
    return vbslq_f32(vcltq_f32(a, limit), limit, a);
}
V_INLINE vf v_min_keep(vf a, vf limit) {
    return vbslq_f32(vcgtq_f32(a, limit), limit, a);
}
V_INLINE vf v_select_gt(vf a, vf b, vf yes, vf no) {
    return vbslq_f32(vcgtq_f32(a, b), yes, no);
}
V_INLINE vf v_round(vf a) {
    return vrndnq_f32(a);
}
/* 2^n for an integer n in [-126, 127]; anything for other n. */
V_INLINE vf v_pow2(vf n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}
V_INLINE vf v_scale2_or_zero(vf p, vf n, vf t, vf limit) {
    return vbslq_f32(vcltq_f32(t, limit), vdupq_n_f32(0.0f), vmulq_f32(p, v_pow2(n)));
}
V_INLINE float v_sum16(const vf a[4]) {
    float32x4_t q = vaddq_f32(vaddq_f32(a[0], a[2]), vaddq_f32(a[1], a[3]));
    float32x2_t d = vadd_f32(vget_low_f32(q), vget_high_f32(q));
    return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}
V_INLINE float v_max16(const vf a[4]) {
    float32x4_t q = v_max(v_max(a[0], a[2]), v_max(a[1], a[3]));
    q = v_max(q, vextq_f32(q, q, 2));
    return vgetq_lane_f32(v_max(q, vextq_f32(q, q, 1)), 0);
}
V_INLINE void v_sum16x4(const vf a[4][4], float out[4]) {
    for (int r = 0; r < 4; r++)
        out[r] = v_sum16(a[r]);
}
V_INLINE void v_max16x4(const vf a[4][4], float out[4]) {
    for (int r = 0; r < 4; r++)
        out[r] = v_max16(a[r]);
}
V_INLINE void v_transpose(vf a[4]) {
    float32x4_t t0 = vzip1q_f32(a[0], a[2]), t1 = vzip2q_f32(a[0], a[2]);
    float32x4_t t2 = vzip1q_f32(a[1], a[3]), t3 = vzip2q_f32(a[1], a[3]);
    a[0] = vzip1q_f32(t0, t2);
    a[1] = vzip2q_f32(t0, t2);
    a[2] = vzip1q_f32(t1, t3);
    a[3] = vzip2q_f32(t1, t3);
}
