/* SPDX-License-Identifier: Apache-2.0 */
/* Leaks, and must therefore fail: that tests/sanitizer.c finds what the other tests leak. */
#include <stdlib.h>

#include <criterion/criterion.h>

static void *volatile lost;

Test(leaks, are_found) {
    lost = malloc(100);
    lost = NULL;
}
