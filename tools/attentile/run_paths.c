/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "run.h"

/* The folder part of a path, "." without one. 0, or -1 when it does not fit. */
static int folder_of(const char *path, char *folder, size_t capacity) {
    const char *slash = strrchr(path, '/');
    if (!slash)
        return snprintf(folder, capacity, ".") < (int)capacity ? 0 : -1;
    const size_t length = slash == path ? 1 : (size_t)(slash - path);
    if (length >= capacity)
        return -1;
    memcpy(folder, path, length);
    folder[length] = '\0';
    return 0;
}

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int same_file(const char *a, const char *b) {
    struct stat sa, sb;
    char fa[2048], fb[2048];
    const int a_exists = stat(a, &sa) == 0, b_exists = stat(b, &sb) == 0;
    if (a_exists && b_exists)
        return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
    if (a_exists != b_exists || strcmp(name_of(a), name_of(b)) != 0)
        return 0;
    if (folder_of(a, fa, sizeof fa) != 0 || folder_of(b, fb, sizeof fb) != 0)
        return strcmp(a, b) == 0;
    return stat(fa, &sa) == 0 && stat(fb, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

int check_target(const char *path) {
    atl_error error;
    atl_file *file;
    if (atl_file_create(path, &file, &error) != ATL_OK)
        return failed("%s", error.message);
    atl_file_discard(file);
    return DONE;
}

static int check_output(const run_job *job, const char *option, const char *path) {
    if (same_file(path, job->weights_path))
        return wrong_usage("%s: --%s names the checkpoint, which is an input", path, option);
    const struct {
        const char *name, *path;
    } inputs[] = {
        {"input", job->input_path}, {"key", job->key_path}, {"value", job->value_path}, {"mask", job->mask_path}};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (inputs[i].path && same_file(path, inputs[i].path))
            return wrong_usage("%s: --%s names the same file as --%s", path, option, inputs[i].name);
    return check_target(path);
}

int run_check_paths(const run_job *job) {
    int code = check_output(job, "output", job->output_path);
    if (code != DONE || !job->map_path)
        return code;
    if (same_file(job->map_path, job->output_path))
        return wrong_usage("%s: --map names the same file as --output", job->map_path);
    return check_output(job, "map", job->map_path);
}
