/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel checker: every line of kernels.def against the scalar variant of its slot, bit by bit, between guard
 * pages. Plain C without fork or exec, so that it also runs under user-mode emulation. New lines of kernels.def need no
 * change here; a new slot needs a checker of its own (the build says so).
 */
#ifndef ATL_TESTS_KERNEL_CHECK_H
#define ATL_TESTS_KERNEL_CHECK_H

#include "kernels.h"

typedef struct kernel_report {
    long cases, failures;
    uint64_t digest; /* of all reference results: equal on every machine for the same seed and tile */
    char first[256]; /* the first failure, with the sizes that give it */
} kernel_report;

enum {
    KERNEL_CHECK_THOROUGH = 1,       /* all sizes; without it most are skipped (for emulation) */
    KERNEL_CHECK_READABLE_GUARDS = 2 /* see guard.h: reads past an array go unseen unless they change a result */
};

/* Checks one variant against the scalar one. `flags` are those above. */
void kernel_check(const atl_kernel_entry *entry, uint64_t seed, int flags, kernel_report *report);

#endif
