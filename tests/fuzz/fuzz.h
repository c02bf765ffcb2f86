/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share (docs/fuzzing.md): a file made of the bytes, and claims that end the process when wrong. */
#ifndef ATL_TESTS_FUZZ_H
#define ATL_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "attentile/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t capacity); /* libFuzzer's */

/* What must hold whatever the input. */
#define CLAIM(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The path of a regular file in memory that holds the bytes; the next call makes another of it. */
static inline const char *file_of(const uint8_t *data, size_t size) {
    static int fd = -1;
    static char path[32];
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        CLAIM(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    CLAIM(ftruncate(fd, 0) == 0);
    CLAIM(pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

/* A refusal of a file: of its format, with the path and the reason. */
static inline void claim_refusal(atl_status status, const atl_error *error, const char *path) {
    CLAIM(status == ATL_BAD_FORMAT && error->status == status);
    CLAIM(strncmp(error->message, path, strlen(path)) == 0);
    CLAIM(strncmp(error->message + strlen(path), ": ", 2) == 0 && error->message[strlen(path) + 2]);
}

#endif
