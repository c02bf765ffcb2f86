/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that end, or begin, exactly at a page that must not be touched. */
#ifndef ATL_TESTS_GUARD_H
#define ATL_TESTS_GUARD_H

#include <stdint.h>

typedef enum guard_side { GUARD_BEFORE, GUARD_AFTER } guard_side;

/* An emulator may read lanes that a masked load leaves out (QEMU 7.2 does, for AVX): guard pages full of NaN that can be
 * read then still catch writes, and reads that matter. */
typedef enum guard_kind { GUARD_UNREADABLE, GUARD_READABLE } guard_kind;

typedef struct guard {
    char *mapping;
    int64_t bytes; /* usable, a multiple of the page size */
} guard;

/* Room for `floats` floats between two guard pages. Returns 0 on success, and holds nothing otherwise. */
int guard_open(guard *g, int64_t floats, guard_kind kind);
void guard_close(guard *g);

/* Where an array of `floats` begins if it is to touch the guard page on that side. */
float *guard_place(const guard *g, guard_side side, int64_t floats);

#endif
