/* SPDX-License-Identifier: Apache-2.0 */
/* What every reader of libattentile-io shares: opening and reading regular files, and messages that begin with the
 * path. */
#ifndef ATL_SRC_IO_INPUT_H
#define ATL_SRC_IO_INPUT_H

#include <stdint.h>

#include "attentile/attentile.h"

/* Data is read from files into memory as it is. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "libattentile-io needs a little-endian machine"
#endif

/* A regular file open for reading. */
typedef struct atl_input {
    int fd;           /* -1 = none */
    int64_t size;     /* bytes, when it was opened */
    const char *path; /* for messages; somebody else's */
} atl_input;

atl_status atl_input_open(atl_input *input, const char *path, atl_error *error);

/* Reads exactly `size` bytes at `offset`; a file that ends before is ATL_IO_ERROR. */
atl_status atl_input_read(const atl_input *input, int64_t offset, void *data, int64_t size, atl_error *error);

void atl_input_close(atl_input *input);

/* malloc for a size that was counted in 64 bits; never NULL for 0 bytes as long as there is memory. */
void *atl_allocate(int64_t bytes);

/* atl_fail with "PATH: " in front. A long path loses its beginning, so that the reason always fits. */
atl_status atl_fail_at(const char *path, atl_error *error, atl_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ATL_IO_ERROR (ENOMEM: ATL_OUT_OF_MEMORY), "PATH: cannot <action>: <errno's text>". */
atl_status atl_fail_errno(const char *path, atl_error *error, const char *action);

/* ATL_OUT_OF_MEMORY: "PATH: cannot allocate N bytes". */
atl_status atl_fail_memory(const char *path, atl_error *error, uint64_t bytes);

/* A name for a message: the beginning of `text`, cut between characters and marked with "..." when it is long. */
typedef struct atl_excerpt {
    char text[96];
} atl_excerpt;

atl_excerpt atl_excerpt_of(const char *text);

/* "a directory", "a pipe", ... for a message, from st_mode. */
const char *atl_file_kind(unsigned mode);

#endif
