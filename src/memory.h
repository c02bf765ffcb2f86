/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes that cannot wrap, and memory aligned to cache lines. */
#ifndef ATL_SRC_MEMORY_H
#define ATL_SRC_MEMORY_H

#include <stdint.h>
#include <stdlib.h>

#define ATL_ALIGN 64

/* No tensor is larger: 2^56 bytes, the most that a process can address today. */
#define ATL_MOST_FLOATS ((int64_t)1 << 54)

/* *out = a * b, or a + b; 0 when it does not fit or an operand is negative. */
static inline int atl_mul(int64_t a, int64_t b, int64_t *out) {
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out);
}
static inline int atl_add(int64_t a, int64_t b, int64_t *out) {
    return a >= 0 && b >= 0 && !__builtin_add_overflow(a, b, out);
}

static inline int64_t atl_ceil_div(int64_t a, int64_t b) {
    return a / b + (a % b != 0);
}
static inline int64_t atl_round_up(int64_t a, int64_t multiple) {
    return atl_ceil_div(a, multiple) * multiple;
}
static inline int64_t atl_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t atl_max(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Floats that an array takes up in an arena, so that the next one is aligned. */
static inline int64_t atl_arena_floats(int64_t count) {
    return atl_round_up(count, ATL_ALIGN / (int64_t)sizeof(float));
}

/* `bytes` aligned to ATL_ALIGN, or NULL. Large ones are in huge pages where the system has them. */
void *atl_aligned(int64_t bytes);
/* Releases what was asked for with as many bytes; p may be NULL. */
void atl_aligned_free(void *p, int64_t bytes);

#endif
