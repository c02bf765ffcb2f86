/* SPDX-License-Identifier: Apache-2.0 */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../error.h"

#define LONGEST_PATH 200 /* bytes of a path that a message shows */

static bool continues_character(char c) {
    return ((unsigned char)c & 0xc0) == 0x80;
}

atl_status atl_fail_at(const char *path, atl_error *error, atl_status status, const char *format, ...) {
    char reason[sizeof error->message];
    va_list args;
    va_start(args, format);
    if (vsnprintf(reason, sizeof reason, format, args) < 0)
        reason[0] = '\0';
    va_end(args);

    size_t length = strlen(path);
    if (length <= LONGEST_PATH)
        return atl_fail(error, status, "%s: %s", path, reason);
    const char *tail = path + length - LONGEST_PATH;
    while (continues_character(*tail))
        tail++;
    return atl_fail(error, status, "...%s: %s", tail, reason);
}

atl_status atl_fail_errno(const char *path, atl_error *error, const char *action) {
    int code = errno;
    char buffer[128];
    /* The GNU form returns the text, which need not be in the buffer. */
    const char *text = strerror_r(code, buffer, sizeof buffer);
    return atl_fail_at(path, error, code == ENOMEM ? ATL_OUT_OF_MEMORY : ATL_IO_ERROR, "cannot %s: %s", action, text);
}

atl_status atl_fail_memory(const char *path, atl_error *error, uint64_t bytes) {
    return atl_fail_at(path, error, ATL_OUT_OF_MEMORY, "cannot allocate %" PRIu64 " bytes", bytes);
}

atl_excerpt atl_excerpt_of(const char *text) {
    atl_excerpt excerpt;
    size_t room = sizeof excerpt.text - 1;
    size_t length = strnlen(text, room + 1);
    if (length <= room) {
        memcpy(excerpt.text, text, length + 1);
        return excerpt;
    }
    size_t cut = room - 3;
    while (cut > 0 && continues_character(text[cut]))
        cut--;
    memcpy(excerpt.text, text, cut);
    memcpy(excerpt.text + cut, "...", 4);
    return excerpt;
}

const char *atl_file_kind(unsigned mode) {
    switch (mode & S_IFMT) {
    case S_IFREG: return "a regular file";
    case S_IFDIR: return "a directory";
    case S_IFIFO: return "a pipe";
    case S_IFSOCK: return "a socket";
    case S_IFLNK: return "a symbolic link";
    case S_IFCHR:
    case S_IFBLK: return "a device";
    default: return "something else";
    }
}

atl_status atl_input_open(atl_input *input, const char *path, atl_error *error) {
    /* O_NONBLOCK: opening a pipe that nobody writes to must fail, not hang. */
    int fd;
    do
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return atl_fail_errno(path, error, "open");
    struct stat info;
    atl_status status = ATL_OK;
    if (fstat(fd, &info) != 0)
        status = atl_fail_errno(path, error, "examine");
    else if (!S_ISREG(info.st_mode))
        status = atl_fail_at(path, error, ATL_IO_ERROR, "cannot read (expected a regular file, got %s)",
                             atl_file_kind(info.st_mode));
    if (status) {
        close(fd);
        return status;
    }
    *input = (atl_input){.fd = fd, .size = info.st_size, .path = path};
    return ATL_OK;
}

atl_status atl_input_read(const atl_input *input, int64_t offset, void *data, int64_t size, atl_error *error) {
    char *at = data;
    while (size > 0) {
        ssize_t got = pread(input->fd, at, (size_t)size, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return atl_fail_errno(input->path, error, "read");
        if (got == 0)
            return atl_fail_at(input->path, error, ATL_IO_ERROR,
                               "the file has shrunk while it was read (expected %" PRId64 " bytes, got %" PRId64 ")",
                               input->size, offset);
        at += got;
        offset += got;
        size -= got;
    }
    return ATL_OK;
}

void *atl_allocate(int64_t bytes) {
    if (bytes < 0 || bytes > PTRDIFF_MAX)
        return NULL;
    return malloc(bytes ? (size_t)bytes : 1);
}

void atl_input_close(atl_input *input) {
    if (input->fd >= 0)
        close(input->fd);
    input->fd = -1;
}
