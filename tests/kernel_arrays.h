/* SPDX-License-Identifier: Apache-2.0 */
/* What the checkers share: guarded arrays of both variants, fills, comparison. */
#ifndef ATL_TESTS_KERNEL_ARRAYS_H
#define ATL_TESTS_KERNEL_ARRAYS_H

#include "guard.h"
#include "kernel_check.h"

enum { ARRAYS = 13, ARRAY_FLOATS = 224 * 1024 };

/* A check under way: guarded rooms for inputs and outputs, used again by every case. */
typedef struct check {
    const atl_kernel_entry *entry, *scalar;
    kernel_report *report;
    uint64_t seed;
    int thorough;
    guard_side side;
    guard rooms[ARRAYS];
} check;

/* An array of `count` floats in room `room`, against the guard page of this case's side. */
float *array(const check *c, int room, int64_t count);

/* Fills: ordinary values of a magnitude, or with NaN, infinities, zeros of both signs and subnormals among them. */
void fill_plain(check *c, float *x, int64_t count, float magnitude);
void fill_special(check *c, float *x, int64_t count);

/* A whole number in [low, high]. */
int64_t pick(check *c, int64_t low, int64_t high);

/* The largest of both, by definition: NaN where one is, +0 for zeros. */
float larger(float a, float b);

/* Same bits, any NaN being as good as another. `want` also goes into the digest. */
int same_bits(check *c, const float *got, const float *want, int64_t count);

/* Counts a case; on failure keeps the message of the first. */
void verdict(check *c, int ok, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The checkers, one per slot of kernels.def. */
#define ATL_SLOT(name) void check_##name(check *c, atl_##name##_fn *kernel, atl_##name##_fn *reference);
#include "kernels.def"
#undef ATL_SLOT

#endif
