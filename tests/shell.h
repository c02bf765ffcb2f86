/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running the attentile command in tests. The environment variable ATTENTILE_COMMAND names it. Every test has a folder of
 * its own, which is the command's working directory, so that file names in command lines are plain words.
 */
#ifndef ATL_TESTS_SHELL_H
#define ATL_TESTS_SHELL_H

#include <stdarg.h>
#include <sys/wait.h>

#include "attentile/io.h"
#include "files.h"

typedef struct outcome {
    int code; /* the exit status; a signal's number + 128 */
    char out[16384], err[4096];
} outcome;

static inline void read_stream(FILE *stream, char *text, size_t capacity) {
    rewind(stream);
    const size_t length = fread(text, 1, capacity - 1, stream);
    text[length] = '\0';
    fclose(stream);
}

/* Runs a line of shell in the folder, where "$A" is the command. Its streams go to unnamed files. */
static inline const outcome *shell(const char *format, ...) {
    static outcome result;
    char line[4096];
    va_list values;
    va_start(values, format);
    vsnprintf(line, sizeof line, format, values);
    va_end(values);
    FILE *out = tmpfile(), *err = tmpfile();
    cr_assert(out && err, "no temporary files");
    fflush(NULL);
    const pid_t child = fork();
    cr_assert(child >= 0, "fork failed");
    if (child == 0) {
        setenv("A", getenv("ATTENTILE_COMMAND"), 1);
        if (chdir(folder) == 0 && dup2(fileno(out), 1) == 1 && dup2(fileno(err), 2) == 2)
            execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(126);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    read_stream(out, result.out, sizeof result.out);
    read_stream(err, result.err, sizeof result.err);
    return &result;
}

static inline void make_command_folder(void) {
    cr_assert(getenv("ATTENTILE_COMMAND"), "ATTENTILE_COMMAND names no command");
    make_folder();
}

/* The command must succeed and say nothing on stderr. */
#define expect_done(o) cr_assert((o)->code == 0 && !*(o)->err, "code %d, stderr \"%s\"", (o)->code, (o)->err)

/* The command must fail with the code and one line on stderr that begins with its name and contains `reason`. */
static inline void expect_error(const outcome *o, int code, const char *reason, const char *what) {
    const char *newline = strchr(o->err, '\n');
    cr_expect_eq(o->code, code, "%s: code %d, expected %d (stderr \"%s\")", what, o->code, code, o->err);
    cr_expect(strncmp(o->err, "attentile: ", 11) == 0, "%s: stderr \"%s\"", what, o->err);
    cr_expect(newline && newline[1] == '\0', "%s: not one line: \"%s\"", what, o->err);
    cr_expect(strstr(o->err, reason), "%s: no \"%s\" in \"%s\"", what, reason, o->err);
}

/* ---- files */

static inline void put_array(const char *name, int rank, const int64_t *shape, const float *values) {
    atl_error error = {0};
    atl_array array = {.dtype = ATL_F32, .rank = rank, .data = (void *)values};
    memcpy(array.shape, shape, (size_t)rank * sizeof *shape);
    cr_assert_eq(atl_npy_write(in_folder(name), &array, &error), ATL_OK, "%s", error.message);
}

/* The array must be float32 of this shape; the values are freed by the caller. */
static inline float *get_array(const char *name, int rank, const int64_t *shape) {
    atl_error error = {0};
    atl_array array;
    cr_assert_eq(atl_npy_read(in_folder(name), &array, &error), ATL_OK, "%s", error.message);
    cr_assert_eq(array.dtype, ATL_F32, "%s: dtype %s", name, atl_dtype_name(array.dtype));
    cr_assert_eq(array.rank, rank, "%s: rank %d", name, array.rank);
    for (int i = 0; i < rank; i++)
        cr_assert_eq(array.shape[i], shape[i], "%s: axis %d is %lld", name, i, (long long)array.shape[i]);
    return array.data;
}

static inline void expect_values(const char *name, int rank, const int64_t *shape, const float *expected) {
    float *values = get_array(name, rank, shape);
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    for (int64_t i = 0; i < count; i++)
        cr_expect_eq(values[i], expected[i], "%s[%lld] is %g, expected %g", name, (long long)i, values[i], expected[i]);
    free(values);
}

static inline void put_weights(const char *name, const char *header, const float *values, size_t count) {
    const size_t length = strlen(header);
    unsigned char bytes[4096];
    cr_assert(8 + length + count * 4 <= sizeof bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(bytes + 8, header, length);
    memcpy(bytes + 8 + length, values, count * 4);
    put_file(name, bytes, 8 + length + count * 4);
}

/* SE over two channels whose gates are 1 and 0 (sigmoid of +-200): y is x in channel 0 and 0 in channel 1. `prefix` goes
 * before the names, `metadata` ("" or "\"key\":\"value\"") into the metadata. */
static inline void put_se(const char *name, const char *prefix, const char *metadata) {
    static const float values[] = {0, 0, 0, 0, 200, -200};
    char header[2048];
    snprintf(header, sizeof header,
             "{\"__metadata__\":{%s},"
             "\"%sfc.0.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
             "\"%sfc.2.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[8,16]},"
             "\"%sfc.2.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]}}",
             metadata, prefix, prefix, prefix);
    put_weights(name, header, values, 6);
}

/* Attention over one channel whose queries are 0: every weight is 1/N, and y = mean(x) + x. */
static inline void put_attention(const char *name) {
    static const float values[] = {0, 1, 1, 1};
    put_weights(name,
                "{\"query_conv.weight\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1],\"data_offsets\":[0,4]},"
                "\"key_conv.weight\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1],\"data_offsets\":[4,8]},"
                "\"value_conv.weight\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1],\"data_offsets\":[8,12]},"
                "\"gamma\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}",
                values, 4);
}

#endif
