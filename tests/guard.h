/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that end, or begin, exactly at an unreadable page. */
#ifndef ATL_TESTS_GUARD_H
#define ATL_TESTS_GUARD_H

#include <stdint.h>

typedef enum guard_side { GUARD_BEFORE, GUARD_AFTER } guard_side;

typedef struct guard {
    char *mapping;
    int64_t bytes; /* usable, a multiple of the page size */
} guard;

/* Room for `floats` floats between two PROT_NONE pages. Returns 0 on success. */
int guard_open(guard *g, int64_t floats);
void guard_close(guard *g);

/* Where an array of `floats` begins if it is to touch the guard page on that side. */
float *guard_place(const guard *g, guard_side side, int64_t floats);

#endif
