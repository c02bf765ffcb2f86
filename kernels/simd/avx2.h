/* SPDX-License-Identifier: Apache-2.0 */
/* Vector vocabulary: AVX2 with FMA, 8 lanes. See simd.h for the meaning of each word. */
#if !defined(__AVX2__) || !defined(__FMA__) || defined(__AVX512F__)
#error "compile with -mavx2 -mfma and nothing above"
#endif
#include <immintrin.h>
#include <string.h>

#define VL        8
#define TILE_MR   6
#define TILE_NV   2
#define TILE_NAME 6x16
#define ISA_NAME  avx2

#define CONV_MR    4
#define CONV_NV    3
#define CONV_NAME  4x24
#define CONV_EXTRA 0

typedef __m256 vf;

#define V_INLINE static inline __attribute__((always_inline))

V_INLINE __m256i v_mask(int64_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > VL ? VL : (int)n), lane);
}

V_INLINE vf v_zero(void) {
    return _mm256_setzero_ps();
}
V_INLINE vf v_set(float a) {
    return _mm256_set1_ps(a);
}
V_INLINE vf v_load(const float *p) {
    return _mm256_loadu_ps(p);
}
V_INLINE vf v_set_of(const float *p, int i) {
    return v_set(p[i]);
}
V_INLINE void v_store(float *p, vf a) {
    _mm256_storeu_ps(p, a);
}
V_INLINE vf v_load_part(const float *p, int64_t n) {
    return _mm256_maskload_ps(p, v_mask(n));
}
V_INLINE vf v_in_order(vf a) { /* of four pairs: 0, 2, 1, 3 */
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(a), 0xd8));
}
V_INLINE void v_load_pairs(const float *p, int64_t n, vf *even, vf *odd) {
    vf low = v_load_part(p, n), high = v_load_part(p + VL, n > VL ? n - VL : 0);
    *even = v_in_order(_mm256_shuffle_ps(low, high, 0x88));
    *odd = v_in_order(_mm256_shuffle_ps(low, high, 0xdd));
}
V_INLINE void v_store_part(float *p, int64_t n, vf a) {
    _mm256_maskstore_ps(p, v_mask(n), a);
}
V_INLINE vf v_load_bytes(const uint8_t *p, int64_t n) {
    uint64_t bytes = 0;
    memcpy(&bytes, p, n >= VL ? VL : (size_t)n);
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bytes)));
}
typedef __m256 vm;
V_INLINE vm v_lane_mask(const uint16_t *bits, int64_t lane) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i all = _mm256_set1_epi32(bits[lane / 16] >> lane % 16);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(all, bit), bit));
}
V_INLINE vf v_load_masked(const float *p, vm m) {
    return _mm256_and_ps(m, v_load(p));
}
V_INLINE vf v_select(vm m, vf yes, vf no) {
    return _mm256_blendv_ps(no, yes, m);
}
V_INLINE void v_stream(float *p, vf a) {
    _mm256_stream_ps(p, a);
}
V_INLINE void v_stream_end(void) {
    _mm_sfence();
}
V_INLINE vf v_add(vf a, vf b) {
    return _mm256_add_ps(a, b);
}
V_INLINE vf v_sub(vf a, vf b) {
    return _mm256_sub_ps(a, b);
}
V_INLINE vf v_mul(vf a, vf b) {
    return _mm256_mul_ps(a, b);
}
V_INLINE vf v_div(vf a, vf b) {
    return _mm256_div_ps(a, b);
}
V_INLINE vf v_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
V_INLINE vf v_neg(vf a) {
    return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f));
}
V_INLINE vf v_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
V_INLINE vf v_max_nan(vf a, vf b) {
    return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
V_INLINE vf v_max_keep(vf a, vf limit) {
    return _mm256_max_ps(limit, a); /* the second where they are equal or one is NaN */
}
V_INLINE vf v_min_keep(vf a, vf limit) {
    return _mm256_min_ps(limit, a);
}
V_INLINE vf v_select_gt(vf a, vf b, vf yes, vf no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
V_INLINE vf v_round(vf a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* 2^n for an integer n in [-126, 127]; anything for other n. */
V_INLINE vf v_pow2(vf n) {
    const __m256i bias = _mm256_set1_epi32(127);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), bias), 23));
}
V_INLINE vf v_scale2_or_zero(vf p, vf n, vf t, vf limit) {
    return _mm256_and_ps(_mm256_mul_ps(p, v_pow2(n)), _mm256_cmp_ps(t, limit, _CMP_NLT_UQ));
}
V_INLINE float v_sum16(const vf a[2]) {
    __m256 h = _mm256_add_ps(a[0], a[1]);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
V_INLINE float v_max16(const vf a[2]) {
    __m256 h = _mm256_max_ps(a[0], a[1]);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}
/* Rows 0 and 1, 2 and 3 side by side in a vector's halves, then all four in the lanes 0, 4, 1 and 5. */
V_INLINE void v_tree16x4(vf (*op)(vf, vf), const vf a[4][2], float out[4]) {
    vf h[4];
    for (int r = 0; r < 4; r++)
        h[r] = op(a[r][0], a[r][1]);
    vf low = op(_mm256_permute2f128_ps(h[0], h[1], 0x20), _mm256_permute2f128_ps(h[0], h[1], 0x31));
    vf high = op(_mm256_permute2f128_ps(h[2], h[3], 0x20), _mm256_permute2f128_ps(h[2], h[3], 0x31));
    vf s = op(_mm256_shuffle_ps(low, high, 0x44), _mm256_shuffle_ps(low, high, 0xee));
    s = op(_mm256_shuffle_ps(s, s, 0x88), _mm256_shuffle_ps(s, s, 0xdd));
    _mm_storeu_ps(out, _mm_unpacklo_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
V_INLINE void v_sum16x4(const vf a[4][2], float out[4]) {
    v_tree16x4(v_add, a, out);
}
V_INLINE void v_max16x4(const vf a[4][2], float out[4]) {
    v_tree16x4(v_max, a, out);
}
/* Pairs of lanes, pairs of those, then halves. */
V_INLINE void v_transpose(vf a[8]) {
    vf pairs[8], fours[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int h = 0; h < 2; h++) {
            fours[i + 2 * h] = _mm256_shuffle_ps(pairs[i + h], pairs[i + h + 2], 0x44);
            fours[i + 2 * h + 1] = _mm256_shuffle_ps(pairs[i + h], pairs[i + h + 2], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        a[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
        a[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
    }
}
