/* SPDX-License-Identifier: Apache-2.0 */
/* Vector vocabulary: AVX-512 (F, DQ, BW, VL), 16 lanes. See simd.h for the meaning of each word. */
#if !defined(__AVX512F__) || !defined(__AVX512DQ__) || !defined(__AVX512BW__) || !defined(__AVX512VL__)
#error "compile with -mavx512f -mavx512dq -mavx512bw -mavx512vl"
#endif
#include <immintrin.h>

#define VL       16
#define ISA_NAME avx512
#if !defined(TILE_NAME) /* a file of kernels/avx512 may name another tile */
#define TILE_MR   12
#define TILE_NV   2
#define TILE_NAME 12x32
#endif

#define CONV_MR    8
#define CONV_NV    3
#define CONV_NAME  8x48
#define CONV_EXTRA 1

typedef __m512 vf;

#define V_INLINE static inline __attribute__((always_inline))

V_INLINE __mmask16 v_mask(int64_t n) {
    return (__mmask16)_cvtu32_mask16(n >= VL ? 0xffffu : (1u << n) - 1u);
}

V_INLINE vf v_zero(void) {
    return _mm512_setzero_ps();
}
V_INLINE vf v_set(float a) {
    return _mm512_set1_ps(a);
}
V_INLINE vf v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
V_INLINE vf v_set_of(const float *p, int i) {
    return v_set(p[i]);
}
V_INLINE void v_store(float *p, vf a) {
    _mm512_storeu_ps(p, a);
}
V_INLINE vf v_load_part(const float *p, int64_t n) {
    return _mm512_maskz_loadu_ps(v_mask(n), p);
}
V_INLINE void v_load_pairs(const float *p, int64_t n, vf *even, vf *odd) {
    const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    vf low = v_load_part(p, n), high = v_load_part(p + VL, n > VL ? n - VL : 0);
    *even = _mm512_permutex2var_ps(low, evens, high);
    *odd = _mm512_permutex2var_ps(low, odds, high);
}
V_INLINE void v_store_part(float *p, int64_t n, vf a) {
    _mm512_mask_storeu_ps(p, v_mask(n), a);
}
V_INLINE vf v_load_bytes(const uint8_t *p, int64_t n) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(v_mask(n), p)));
}
typedef __mmask16 vm;
V_INLINE vm v_lane_mask(const uint16_t *bits, int64_t lane) {
    return bits[lane / 16];
}
V_INLINE vf v_load_masked(const float *p, vm m) {
    return _mm512_maskz_loadu_ps(m, p);
}
V_INLINE vf v_select(vm m, vf yes, vf no) {
    return _mm512_mask_mov_ps(no, m, yes);
}
V_INLINE void v_stream(float *p, vf a) {
    _mm512_stream_ps(p, a);
}
V_INLINE void v_stream_end(void) {
    _mm_sfence();
}
V_INLINE vf v_add(vf a, vf b) {
    return _mm512_add_ps(a, b);
}
V_INLINE vf v_sub(vf a, vf b) {
    return _mm512_sub_ps(a, b);
}
V_INLINE vf v_mul(vf a, vf b) {
    return _mm512_mul_ps(a, b);
}
V_INLINE vf v_div(vf a, vf b) {
    return _mm512_div_ps(a, b);
}
V_INLINE vf v_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}
V_INLINE vf v_neg(vf a) {
    return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f));
}
V_INLINE vf v_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}
V_INLINE vf v_max_nan(vf a, vf b) {
    return _mm512_mask_max_ps(a, _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), a, b);
}
V_INLINE vf v_max_keep(vf a, vf limit) {
    return _mm512_max_ps(limit, a); /* the second where they are equal or one is NaN */
}
V_INLINE vf v_min_keep(vf a, vf limit) {
    return _mm512_min_ps(limit, a);
}
V_INLINE vf v_select_gt(vf a, vf b, vf yes, vf no) {
    return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), yes);
}
V_INLINE vf v_round(vf a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
V_INLINE vf v_scale2_or_zero(vf p, vf n, vf t, vf limit) {
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(t, limit, _CMP_NLT_UQ), p, n);
}
V_INLINE float v_sum16(const vf a[1]) {
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a[0]), _mm512_extractf32x8_ps(a[0], 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
V_INLINE float v_max16(const vf a[1]) {
    __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a[0]), _mm512_extractf32x8_ps(a[0], 1));
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}
/* Two rows, then all four, side by side in one vector: quarter r ends up with the tree of row r in its first lane. */
V_INLINE void v_tree16x4(vf (*op)(vf, vf), const vf a[4][1], float out[4]) {
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    vf low = op(_mm512_shuffle_f32x4(a[0][0], a[1][0], 0x44), _mm512_shuffle_f32x4(a[0][0], a[1][0], 0xee));
    vf high = op(_mm512_shuffle_f32x4(a[2][0], a[3][0], 0x44), _mm512_shuffle_f32x4(a[2][0], a[3][0], 0xee));
    vf s = op(_mm512_shuffle_f32x4(low, high, 0x88), _mm512_shuffle_f32x4(low, high, 0xdd));
    s = op(s, _mm512_permute_ps(s, 0x4e));
    s = op(s, _mm512_permute_ps(s, 0xb1));
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, s)));
}
V_INLINE void v_sum16x4(const vf a[4][1], float out[4]) {
    v_tree16x4(v_add, a, out);
}
V_INLINE void v_max16x4(const vf a[4][1], float out[4]) {
    v_tree16x4(v_max, a, out);
}
/* Pairs of lanes, pairs of those, then quarters: lane 4q + i of row r ends up in row 4q + i, quarter by quarter. */
V_INLINE void v_transpose(vf a[16]) {
    vf pairs[16], fours[16];
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int h = 0; h < 2; h++) {
            fours[i + 2 * h] = _mm512_shuffle_ps(pairs[i + h], pairs[i + h + 2], 0x44);
            fours[i + 2 * h + 1] = _mm512_shuffle_ps(pairs[i + h], pairs[i + h + 2], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        vf even[2] = {_mm512_shuffle_f32x4(fours[i], fours[i + 4], 0x88),
                      _mm512_shuffle_f32x4(fours[i + 8], fours[i + 12], 0x88)};
        vf odd[2] = {_mm512_shuffle_f32x4(fours[i], fours[i + 4], 0xdd),
                     _mm512_shuffle_f32x4(fours[i + 8], fours[i + 12], 0xdd)};
        a[i] = _mm512_shuffle_f32x4(even[0], even[1], 0x88);
        a[i + 4] = _mm512_shuffle_f32x4(odd[0], odd[1], 0x88);
        a[i + 8] = _mm512_shuffle_f32x4(even[0], even[1], 0xdd);
        a[i + 12] = _mm512_shuffle_f32x4(odd[0], odd[1], 0xdd);
    }
}
