/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of its own for each test that needs files: `.init = make_folder, .fini = remove_folder`. */
#ifndef ATL_TESTS_FILES_H
#define ATL_TESTS_FILES_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[512];

static inline void make_folder(void) {
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/attentile-test-XXXXXX", parent && *parent ? parent : P_tmpdir);
    cr_assert_not_null(mkdtemp(folder), "cannot make %s", folder);
}

/* The path of a file in the folder, in a buffer that the fourth call after reuses. */
static inline const char *in_folder(const char *name) {
    static char paths[4][sizeof folder + 300];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Entries of the folder, "." and ".." not counted. */
static inline int folder_entries(void) {
    DIR *dir = opendir(folder);
    cr_assert_not_null(dir);
    int count = -2;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static inline void remove_folder(void) {
    chmod(folder, 0700);
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));)
        if (unlinkat(dirfd(dir), e->d_name, 0) != 0 && strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR);
    closedir(dir);
    rmdir(folder);
}

static inline const char *put_file(const char *name, const void *data, size_t size) {
    const char *path = in_folder(name);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file, "cannot write %s", path);
    cr_assert_eq(fwrite(data, 1, size, file), size, "short write to %s", path);
    cr_assert_eq(fclose(file), 0);
    return path;
}

/* Everything in a file; freed by the caller. */
static inline char *get_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "cannot read %s", path);
    cr_assert_eq(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*size + 1);
    cr_assert_not_null(data);
    cr_assert_eq(fread(data, 1, *size, file), *size);
    data[*size] = '\0';
    fclose(file);
    return data;
}

/* The lowest free descriptor: grows when something leaks one. */
static inline int free_descriptor(void) {
    int fd = dup(0);
    if (fd >= 0)
        close(fd);
    return fd;
}

#endif
