/* SPDX-License-Identifier: Apache-2.0 */
/* Files that appear whole or not at all. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "attentile/io.h"
#include "files.h"

TestSuite(files, .init = make_folder, .fini = remove_folder, .timeout = 60);

static atl_status write_text(const char *path, const char *text, atl_error *error) {
    atl_file *file = NULL;
    atl_status status = atl_file_create(path, &file, error);
    if (status) {
        cr_expect_null(file, "a handle after a failure");
        return status;
    }
    status = atl_file_write(file, text, strlen(text), error);
    if (!status)
        return atl_file_commit(file, error);
    atl_file_discard(file);
    return status;
}

static void expect_text(const char *path, const char *text) {
    size_t size;
    char *bytes = get_file(path, &size);
    cr_expect_str_eq(bytes, text, "%s holds \"%s\", expected \"%s\"", path, bytes, text);
    free(bytes);
}

Test(files, appears_at_commit) {
    const char *path = in_folder("f");
    atl_file *file = NULL;
    int before = free_descriptor();
    cr_assert_eq(atl_file_create(path, &file, NULL), ATL_OK);
    cr_assert_eq(atl_file_write(file, "ab", 2, NULL), ATL_OK);
    cr_assert_eq(atl_file_write(file, NULL, 0, NULL), ATL_OK);
    cr_assert_eq(atl_file_write(file, "c\n", 2, NULL), ATL_OK);
    cr_expect_neq(access(path, F_OK), 0, "the file is there before it is complete");
    cr_assert_eq(atl_file_commit(file, NULL), ATL_OK);
    expect_text(path, "abc\n");
    cr_expect_eq(folder_entries(), 1, "%d entries", folder_entries());
    cr_expect_eq(free_descriptor(), before, "a descriptor has leaked");
}

Test(files, replaces) {
    const char *path = put_file("f", "old", 3);
    cr_assert_eq(write_text(path, "newer", NULL), ATL_OK);
    expect_text(path, "newer");
    cr_expect_eq(folder_entries(), 1);
}

Test(files, discard_leaves_the_old_file) {
    const char *path = put_file("f", "old", 3);
    atl_file *file = NULL;
    cr_assert_eq(atl_file_create(path, &file, NULL), ATL_OK);
    cr_assert_eq(atl_file_write(file, "new", 3, NULL), ATL_OK);
    atl_file_discard(file);
    expect_text(path, "old");
    cr_expect_eq(folder_entries(), 1, "a temporary file is left");
    atl_file_discard(NULL);
}

Test(files, mode_follows_the_umask) {
    static const mode_t masks[] = {0, 022, 027, 077};
    for (int i = 0; i < 4; i++) {
        const char *path = in_folder("f");
        mode_t old = umask(masks[i]);
        cr_assert_eq(write_text(path, "x", NULL), ATL_OK);
        umask(old);
        struct stat info;
        cr_assert_eq(stat(path, &info), 0);
        cr_expect_eq(info.st_mode & 0777, 0666 & ~masks[i], "mode %o with umask %o", info.st_mode & 0777, masks[i]);
    }
}

Test(files, follows_symbolic_links) {
    const char *target = put_file("target", "old", 3), *link = in_folder("link");
    cr_assert_eq(symlink("target", link), 0);
    cr_assert_eq(write_text(link, "new", NULL), ATL_OK);
    expect_text(target, "new");
    struct stat info;
    cr_assert_eq(lstat(link, &info), 0);
    cr_expect(S_ISLNK(info.st_mode), "the link was replaced");

    const char *dangling = in_folder("dangling");
    cr_assert_eq(symlink("nowhere", dangling), 0);
    cr_expect_eq(write_text(dangling, "new", NULL), ATL_IO_ERROR);
}

Test(files, survives_a_change_of_directory) {
    cr_assert_eq(chdir(folder), 0);
    atl_file *file = NULL;
    cr_assert_eq(atl_file_create("f", &file, NULL), ATL_OK);
    cr_assert_eq(chdir("/"), 0);
    cr_assert_eq(atl_file_write(file, "x", 1, NULL), ATL_OK);
    cr_assert_eq(atl_file_commit(file, NULL), ATL_OK);
    expect_text(in_folder("f"), "x");
}

/* Two writers of one file: whoever commits last wins, whole. */
Test(files, two_writers) {
    const char *path = in_folder("f");
    atl_file *a = NULL, *b = NULL;
    cr_assert_eq(atl_file_create(path, &a, NULL), ATL_OK);
    cr_assert_eq(atl_file_create(path, &b, NULL), ATL_OK);
    cr_assert_eq(atl_file_write(a, "aaaa", 4, NULL), ATL_OK);
    cr_assert_eq(atl_file_write(b, "bb", 2, NULL), ATL_OK);
    cr_assert_eq(atl_file_commit(a, NULL), ATL_OK);
    cr_assert_eq(atl_file_commit(b, NULL), ATL_OK);
    expect_text(path, "bb");
    cr_expect_eq(folder_entries(), 1);
}

static void expect_failure(const char *path, const char *reason) {
    atl_error error = {0};
    atl_status status = write_text(path, "new", &error);
    cr_expect_eq(status, ATL_IO_ERROR, "%s: status %d", path, status);
    cr_expect(strncmp(error.message, path, strlen(path)) == 0, "no path in \"%s\"", error.message);
    cr_expect(strstr(error.message, reason), "no \"%s\" in \"%s\"", reason, error.message);
}

Test(files, targets_that_are_no_files) {
    const char *pipe = in_folder("pipe");
    cr_assert_eq(mkfifo(pipe, 0600), 0);
    expect_failure(pipe, "got a pipe");
    expect_failure(folder, "got a directory");
    expect_failure(in_folder(""), "expected the name of a file");
    expect_failure(in_folder("missing/f"), "cannot open its folder: No such file");
    expect_failure("/dev/full", "got a device");
    expect_failure("", "expected the name of a file");
    expect_failure(".", "got a directory");
    put_file("file", "x", 1);
    expect_failure(in_folder("file/f"), "cannot open its folder");
    char long_name[300];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    atl_error error = {0};
    cr_expect_eq(write_text(in_folder(long_name), "new", &error), ATL_IO_ERROR);
    cr_expect(strstr(error.message, "nnn: cannot examine: File name too long"), "\"%s\"", error.message);
    cr_expect_eq(folder_entries(), 2, "%d entries", folder_entries());
}

/* A pipe that takes the name between create and commit is not replaced. */
Test(files, target_that_changes) {
    const char *path = in_folder("f");
    atl_file *file = NULL;
    atl_error error = {0};
    cr_assert_eq(atl_file_create(path, &file, NULL), ATL_OK);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_expect_eq(atl_file_commit(file, &error), ATL_IO_ERROR);
    cr_expect(strstr(error.message, "got a pipe"), "\"%s\"", error.message);
    cr_expect_eq(folder_entries(), 1, "a temporary file is left");
}

/* Permissions do not bind the superuser, who therefore becomes nobody for a while. */
Test(files, folder_without_permission) {
    const uid_t nobody = 65534;
    put_file("f", "old", 3);
    cr_assert_eq(chmod(folder, 0500), 0);
    int super = geteuid() == 0;
    if (super && (chown(folder, nobody, (gid_t)-1) != 0 || seteuid(nobody) != 0)) {
        remove_folder();
        cr_skip("the superuser cannot become another user here");
    }
    expect_failure(in_folder("f"), "Permission denied");
    expect_failure(in_folder("g"), "Permission denied");
    expect_text(in_folder("f"), "old");
    if (super)
        cr_assert_eq(seteuid(0), 0);
}

/* A write that the system really refuses: the file-size limit stands for a full disk. */
Test(files, write_that_fails) {
    const char *path = put_file("f", "old", 3);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {.rlim_cur = 1000, .rlim_max = RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    static char data[4000];
    atl_file *file = NULL;
    atl_error error = {0};
    cr_assert_eq(atl_file_create(path, &file, &error), ATL_OK);
    atl_status written = atl_file_write(file, data, sizeof data, &error);
    atl_error again = {0};
    atl_status committed = atl_file_commit(file, &again);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    cr_expect_eq(written, ATL_IO_ERROR, "status %d", written);
    cr_expect(strstr(error.message, "f: cannot write: File too large"), "\"%s\"", error.message);
    cr_expect_eq(committed, ATL_IO_ERROR, "a file with a hole in it was committed");
    cr_expect(strstr(again.message, "an earlier write has failed"), "\"%s\"", again.message);
    expect_text(path, "old");
    cr_expect_eq(folder_entries(), 1, "a temporary file is left");
}

Test(files, misuse) {
    atl_file *file = NULL;
    cr_expect_eq(atl_file_create(NULL, &file, NULL), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_file_create(in_folder("f"), NULL, NULL), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_file_write(NULL, "x", 1, NULL), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_file_commit(NULL, NULL), ATL_INVALID_ARGUMENT);
    cr_assert_eq(atl_file_create(in_folder("f"), &file, NULL), ATL_OK);
    cr_expect_eq(atl_file_write(file, NULL, 1, NULL), ATL_INVALID_ARGUMENT);
    atl_file_discard(file);
    cr_expect_eq(folder_entries(), 0);
}
