/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints for tests: written as bytes, good ones and bad ones. */
#ifndef ATL_TESTS_CHECKPOINTS_H
#define ATL_TESTS_CHECKPOINTS_H

#include "attentile/io.h"
#include "files.h"

/* A member of a header around which everything is right. */
#define T(name, rest) "\"" name "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":" rest "}"

/* Writes a checkpoint: length, header, `data_size` bytes that count up. */
static inline const char *put_checkpoint(const char *name, const char *header, size_t header_size, size_t data_size) {
    size_t size = 8 + header_size + data_size;
    unsigned char *bytes = malloc(size);
    cr_assert_not_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)header_size >> 8 * i);
    memcpy(bytes + 8, header, header_size);
    for (size_t i = 0; i < data_size; i++)
        bytes[8 + header_size + i] = (unsigned char)i;
    const char *path = put_file(name, bytes, size);
    free(bytes);
    return path;
}

static inline const char *put_text(const char *header, size_t data_size) {
    return put_checkpoint("c.safetensors", header, strlen(header), data_size);
}

/* Opens and closes; *error is cleared first. */
static inline atl_status try_open(const char *path, atl_error *error) {
    atl_checkpoint *c = NULL;
    *error = (atl_error){0};
    int before = free_descriptor();
    atl_status status = atl_checkpoint_open(path, &c, error);
    cr_expect_eq(status == ATL_OK, c != NULL, "status %d but handle %p", status, (void *)c);
    atl_checkpoint_close(c);
    cr_expect_eq(free_descriptor(), before, "a descriptor has leaked (status %d)", status);
    return status;
}

/* A refusal has to name the file and the reason. */
static inline void expect_refusal(const char *path, const char *label, atl_status wanted, const char *reason) {
    atl_error error;
    atl_status status = try_open(path, &error);
    cr_expect_eq(status, wanted, "%s: status %d, expected %d (%s)", label, status, wanted, error.message);
    cr_expect_eq(error.status, wanted, "%s: error.status %d", label, error.status);
    cr_expect(strncmp(error.message, path, strlen(path)) == 0, "%s: no path in \"%s\"", label, error.message);
    cr_expect(strstr(error.message, reason), "%s: no \"%s\" in \"%s\"", label, reason, error.message);
    cr_expect_null(strchr(error.message, '\n'), "%s: more than one line", label);
}

static inline atl_checkpoint *open_text(const char *header, size_t data_size) {
    atl_error error = {0};
    atl_checkpoint *c = NULL;
    atl_status status = atl_checkpoint_open(put_text(header, data_size), &c, &error);
    cr_assert_eq(status, ATL_OK, "status %d: %s", status, error.message);
    return c;
}

#endif
