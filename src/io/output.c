/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that appear whole or not at all: a temporary file in the same folder, then rename. The folder is held open, so
 * that a program that changes its working directory meanwhile still writes where it meant to.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../error.h"
#include "attentile/io.h"
#include "input.h"

#define ATTEMPTS 16

struct atl_file {
    int folder, fd;     /* -1 = none */
    char *path;         /* as given, for messages */
    char *target;       /* the path with symbolic links followed */
    const char *name;   /* the part of target that lies in the folder */
    char temporary[40]; /* in the folder; "" = does not exist */
    atl_status failed;  /* a write has failed: the file must not appear */
};

/* A copy of `path` that leads past symbolic links: the file behind a link is replaced, not the link. */
static char *follow_links(const char *path) {
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode))
        return realpath(path, NULL);
    size_t size = strlen(path) + 1;
    char *copy = malloc(size);
    if (copy)
        memcpy(copy, path, size);
    return copy;
}

/* Opens the folder of file->target and sets file->name. */
static atl_status open_folder(atl_file *file, atl_error *error) {
    char *slash = strrchr(file->target, '/');
    const char *folder = slash == file->target ? "/" : slash ? file->target : ".";
    file->name = slash ? slash + 1 : file->target;
    if (!*file->name)
        return atl_fail_at(file->path, error, ATL_IO_ERROR, "cannot write (expected the name of a file)");
    if (slash)
        *slash = '\0';
    file->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return file->folder < 0 ? atl_fail_errno(file->path, error, "open its folder") : ATL_OK;
}

/* A target that exists must be a regular file: a device, a pipe or a folder is not to be replaced. */
static atl_status check_target(const atl_file *file, atl_error *error) {
    struct stat info;
    if (fstatat(file->folder, file->name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? ATL_OK : atl_fail_errno(file->path, error, "examine");
    if (S_ISREG(info.st_mode))
        return ATL_OK;
    return atl_fail_at(file->path, error, ATL_IO_ERROR, "cannot write (expected a regular file, got %s)",
                       atl_file_kind(info.st_mode));
}

/* The kernel applies the umask, which cannot be read without changing it. */
static atl_status create_temporary(atl_file *file, atl_error *error) {
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        uint64_t number;
        if (getrandom(&number, sizeof number, 0) != sizeof number)
            continue;
        char name[sizeof file->temporary];
        snprintf(name, sizeof name, ".attentile-%016" PRIx64 ".tmp", number);
        file->fd = openat(file->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (file->fd >= 0) {
            memcpy(file->temporary, name, sizeof name);
            return ATL_OK;
        }
        if (errno != EEXIST && errno != EINTR)
            break;
    }
    return atl_fail_errno(file->path, error, "create a file in its folder");
}

static atl_status prepare(atl_file *file, const char *path, atl_error *error) {
    size_t size = strlen(path) + 1;
    file->path = malloc(size);
    if (!file->path)
        return atl_fail_memory(path, error, size);
    memcpy(file->path, path, size);
    file->target = follow_links(path);
    if (!file->target)
        return atl_fail_errno(path, error, "follow the symbolic link");
    atl_status status = open_folder(file, error);
    if (!status)
        status = check_target(file, error);
    return status ? status : create_temporary(file, error);
}

atl_status atl_file_create(const char *path, atl_file **file, atl_error *error) {
    if (!path || !file)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s is NULL", path ? "file" : "path");
    atl_file *f = calloc(1, sizeof *f);
    if (!f)
        return atl_fail_memory(path, error, sizeof *f);
    f->folder = f->fd = -1;
    atl_status status = prepare(f, path, error);
    if (status)
        atl_file_discard(f);
    else
        *file = f;
    return status;
}

static atl_status fail_write(atl_file *file, atl_error *error) {
    file->failed = atl_fail_errno(file->path, error, "write");
    return file->failed;
}

atl_status atl_file_write(atl_file *file, const void *data, size_t size, atl_error *error) {
    if (!file || (!data && size))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s is NULL", file ? "data" : "file");
    const char *at = data;
    while (size > 0) {
        ssize_t written = write(file->fd, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return fail_write(file, error);
        at += written;
        size -= (size_t)written;
    }
    return ATL_OK;
}

static int sync_descriptor(int fd) {
    int result;
    do
        result = fsync(fd);
    while (result != 0 && errno == EINTR);
    return result;
}

/* Makes the temporary file durable and gives it its name. */
static atl_status publish(atl_file *file, atl_error *error) {
    if (file->failed)
        return atl_fail_at(file->path, error, file->failed, "cannot write: an earlier write has failed");
    if (sync_descriptor(file->fd) != 0)
        return atl_fail_errno(file->path, error, "write");
    int fd = file->fd;
    file->fd = -1;
    if (close(fd) != 0 && errno != EINTR)
        return atl_fail_errno(file->path, error, "write");
    /* Again, because rename would replace a pipe or a device that has appeared meanwhile. */
    atl_status status = check_target(file, error);
    if (status)
        return status;
    if (renameat(file->folder, file->temporary, file->folder, file->name) != 0)
        return atl_fail_errno(file->path, error, "give the written file its name");
    file->temporary[0] = '\0';
    /* Some filesystems cannot sync folders, which then is nobody's fault. */
    if (sync_descriptor(file->folder) != 0 && errno != EINVAL)
        return atl_fail_errno(file->path, error, "sync its folder");
    return ATL_OK;
}

atl_status atl_file_commit(atl_file *file, atl_error *error) {
    if (!file)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "file is NULL");
    atl_status status = publish(file, error);
    atl_file_discard(file);
    return status;
}

void atl_file_discard(atl_file *file) {
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    if (file->temporary[0])
        unlinkat(file->folder, file->temporary, 0);
    if (file->folder >= 0)
        close(file->folder);
    free(file->target);
    free(file->path);
    free(file);
}
