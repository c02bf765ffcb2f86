/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled into each of the libraries, hidden: the core and libattentile-io both report failures this way. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Drops a UTF-8 sequence that the end of the buffer has cut short. */
static void trim_partial_utf8(char *text, size_t length) {
    size_t start = length;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0xc0)
        text[start - 1] = '\0';
}

atl_status atl_fail(atl_error *error, atl_status status, const char *format, ...) {
    if (!error)
        return status;
    error->status = status;
    va_list args;
    va_start(args, format);
    int written = vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    if (written < 0)
        error->message[0] = '\0';
    size_t length = strlen(error->message);
    if (written >= (int)sizeof error->message)
        trim_partial_utf8(error->message, length);
    for (char *c = error->message; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    return status;
}
