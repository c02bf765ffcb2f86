/* SPDX-License-Identifier: Apache-2.0 */
/* Text of any length into a buffer of any size, the way snprintf counts. */
#ifndef ATL_SRC_TEXT_H
#define ATL_SRC_TEXT_H

#include <stddef.h>

typedef struct atl_text {
    char *at;
    size_t capacity, length; /* length may pass capacity: what did not fit was counted */
} atl_text;

void atl_text_add(atl_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
