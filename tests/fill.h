/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs from a seed, the same on every machine. */
#ifndef ATL_TESTS_FILL_H
#define ATL_TESTS_FILL_H

#include <stdint.h>

typedef enum fill_kind {
    FILL_RANDOM,    /* uniform in (-scale, scale) */
    FILL_INTEGER,   /* whole numbers in [-3, 3]; scale is ignored */
    FILL_PEAKS,     /* small values, and a few nearly equal ones near scale */
    FILL_CONSTANT,  /* scale / 3 everywhere, which is not representable */
    FILL_SUBNORMAL, /* subnormals of all sizes, +0 and -0; scale is ignored */
    FILL_TOP,       /* zeros, and one value just below FLT_MAX */
    FILL_KINDS
} fill_kind;

const char *fill_name(fill_kind kind);

void fill(float *x, int64_t count, fill_kind kind, float scale, uint64_t seed);

/* The next value of a generator whose state is *seed. */
uint64_t fill_bits(uint64_t *seed);

#endif
