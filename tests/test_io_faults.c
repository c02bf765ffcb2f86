/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the system may do to files: allocations that fail, short and interrupted reads and writes, full disks. The
 * linker puts the __wrap_ functions here in front of the system's (see the link arguments of this test).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

#include "attentile/io.h"
#include "checkpoints.h"

TestSuite(io_faults, .init = make_folder, .fini = remove_folder, .timeout = 60);

/* ---------------------------------------------------------------- faults */

/* One kind of call, counted from 0 while faults are on; from `first` on, `times` of them fail with `code`. */
typedef struct fault {
    long calls, first, times;
    int code;
} fault;

static int armed;
static fault memory, reads, writes, syncs, renames, opens;
static size_t most_bytes; /* that one read or write moves; 0 = as many as asked for */
static int interrupted;   /* 1: every other read and write fails with EINTR */
static long live;         /* allocations less frees while faults are on */

static void arm(void) {
    armed = 1;
    live = 0;
    memory.calls = reads.calls = writes.calls = syncs.calls = renames.calls = opens.calls = 0;
}

static int fails(fault *f) {
    if (!armed)
        return 0;
    long call = f->calls++;
    if (f->times == 0 || call < f->first || call - f->first >= f->times)
        return 0;
    errno = f->code;
    return 1;
}

/* Whether this read or write is interrupted; shortens it otherwise. */
static int disturbed(const fault *f, size_t *size) {
    if (!armed)
        return 0;
    if (interrupted && f->calls % 2) {
        errno = EINTR;
        return 1;
    }
    if (most_bytes && *size > most_bytes)
        *size = most_bytes;
    return 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
ssize_t __real_pread64(int fd, void *data, size_t size, off_t offset);
ssize_t __real_write(int fd, const void *data, size_t size);
int __real_fsync(int fd);
int __real_renameat(int from, const char *name, int to, const char *new_name);
int __real_openat64(int folder_fd, const char *name, int flags, mode_t mode);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);
ssize_t __wrap_pread64(int fd, void *data, size_t size, off_t offset);
ssize_t __wrap_write(int fd, const void *data, size_t size);
int __wrap_fsync(int fd);
int __wrap_renameat(int from, const char *name, int to, const char *new_name);
int __wrap_openat64(int folder_fd, const char *name, int flags, mode_t mode);

static void *counted(void *block) {
    live += armed && block;
    return block;
}

void *__wrap_malloc(size_t size) {
    return fails(&memory) ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails(&memory) ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *block, size_t size) {
    if (fails(&memory))
        return NULL;
    void *moved = __real_realloc(block, size);
    live += armed && moved && !block;
    return moved;
}

void __wrap_free(void *block) {
    live -= armed && block;
    __real_free(block);
}

ssize_t __wrap_pread64(int fd, void *data, size_t size, off_t offset) {
    if (fails(&reads) || disturbed(&reads, &size))
        return -1;
    return __real_pread64(fd, data, size, offset);
}

ssize_t __wrap_write(int fd, const void *data, size_t size) {
    if (fails(&writes) || disturbed(&writes, &size))
        return -1;
    return __real_write(fd, data, size);
}

int __wrap_fsync(int fd) {
    return fails(&syncs) ? -1 : __real_fsync(fd);
}

int __wrap_renameat(int from, const char *name, int to, const char *new_name) {
    return fails(&renames) ? -1 : __real_renameat(from, name, to, new_name);
}

int __wrap_openat64(int folder_fd, const char *name, int flags, mode_t mode) {
    return fails(&opens) ? -1 : __real_openat64(folder_fd, name, flags, mode);
}

/* ---------------------------------------------------------------- operations */

/* Each leaves nothing behind and says how it went. */
static const char *checkpoint_path, *array_path, *output_path;
static float numbers[1000];

static atl_status use_checkpoint(atl_error *error) {
    atl_checkpoint *c = NULL;
    atl_status status = atl_checkpoint_open(checkpoint_path, &c, error);
    if (!status)
        status = atl_checkpoint_load(c, NULL, error);
    if (!status) {
        const atl_tensor *t = atl_checkpoint_tensors(c);
        cr_expect_str_eq(t[0].name, "a name of more than sixteen bytes.0");
        cr_expect_eq(((const unsigned char *)t[99].data)[2], 43, "wrong data");
        cr_expect_str_eq(atl_checkpoint_metadata(c, "key"), "value");
    }
    atl_checkpoint_close(c);
    return status;
}

static atl_status use_npy_read(atl_error *error) {
    atl_array array = {0};
    atl_status status = atl_npy_read(array_path, &array, error);
    if (!status)
        cr_expect(memcmp(array.data, numbers, sizeof numbers) == 0, "wrong data");
    cr_expect(status == ATL_OK || !array.data, "data after a failure");
    atl_array_clear(&array);
    return status;
}

static atl_status use_npy_write(atl_error *error) {
    atl_array array = {.dtype = ATL_F32, .rank = 1, .shape = {1000}, .data = numbers};
    return atl_npy_write(output_path, &array, error);
}

typedef struct operation {
    const char *name;
    atl_status (*run)(atl_error *error);
} operation;

static const operation operations[] = {
    {"checkpoint", use_checkpoint}, {"npy read", use_npy_read}, {"npy write", use_npy_write}};
enum { OPERATIONS = 3 };

static void prepare(void) {
    static char paths[3][600], header[16000];
    int length = snprintf(header, sizeof header, "{\"__metadata__\":{\"key\":\"value\",\"second\":\"\"}");
    for (int i = 0; i < 100; i++)
        length += snprintf(header + length, sizeof header - (size_t)length,
                           ",\"a name of more than sixteen bytes.%d\":{\"dtype\":\"U8\",\"shape\":[3],"
                           "\"data_offsets\":[%d,%d]}",
                           i, 3 * i, 3 * i + 3);
    length += snprintf(header + length, sizeof header - (size_t)length, "}");
    for (int i = 0; i < 1000; i++)
        numbers[i] = (float)i;
    snprintf(paths[0], sizeof paths[0], "%s", put_checkpoint("c", header, (size_t)length, 300));
    snprintf(paths[1], sizeof paths[1], "%s", in_folder("a.npy"));
    snprintf(paths[2], sizeof paths[2], "%s", in_folder("out.npy"));
    checkpoint_path = paths[0];
    array_path = paths[1];
    output_path = array_path;
    cr_assert_eq(use_npy_write(NULL), ATL_OK);
    output_path = paths[2];
}

/* Runs an operation with the faults that are set. */
static atl_status run_armed(const operation *o, atl_error *error) {
    int before = free_descriptor();
    *error = (atl_error){0};
    arm();
    atl_status status = o->run(error);
    armed = 0;
    cr_expect_eq(live, 0, "%s: %ld blocks leaked (status %d)", o->name, live, status);
    cr_expect_eq(free_descriptor(), before, "%s: a descriptor has leaked", o->name);
    return status;
}

/* ---------------------------------------------------------------- tests */

/* Every allocation fails once, and from there on; then the same call succeeds. */
Test(io_faults, allocations) {
    prepare();
    atl_error error;
    for (int o = 0; o < OPERATIONS; o++) {
        memory = (fault){0};
        cr_assert_eq(run_armed(&operations[o], &error), ATL_OK, "%s", error.message);
        long count = memory.calls;
        cr_assert_geq(count, 2, "%s: only %ld allocations seen", operations[o].name, count);
        for (long k = 0; k < 2 * count; k++) {
            memory = (fault){.first = k / 2, .times = k % 2 ? 1 : 1000000, .code = ENOMEM};
            atl_status status = run_armed(&operations[o], &error);
            cr_expect_eq(status, ATL_OUT_OF_MEMORY, "%s, allocation %ld: status %d (%s)", operations[o].name, k / 2,
                         status, error.message);
            memory = (fault){0};
            cr_expect_eq(run_armed(&operations[o], &error), ATL_OK, "%s afterwards: %s", operations[o].name,
                         error.message);
        }
    }
}

Test(io_faults, short_and_interrupted_calls) {
    prepare();
    atl_error error;
    static const size_t limits[] = {1, 3, 7, 1000};
    for (int l = 0; l < 4; l++)
        for (interrupted = 0; interrupted < 2; interrupted++)
            for (int o = 0; o < OPERATIONS; o++) {
                most_bytes = limits[l];
                atl_status status = run_armed(&operations[o], &error);
                cr_expect_eq(status, ATL_OK, "%s, %zu bytes at a time: %s", operations[o].name, most_bytes,
                             error.message);
                /* Every operation moves more than 3000 bytes. */
                cr_expect_gt(reads.calls + writes.calls, 2, "%s: the faults were not seen", operations[o].name);
            }
    size_t size;
    char *bytes = get_file(output_path, &size);
    cr_expect_eq(size, 128 + sizeof numbers, "%zu bytes", size);
    cr_expect(memcmp(bytes + 128, numbers, sizeof numbers) == 0, "wrong data was written");
    free(bytes);
}

Test(io_faults, reads_that_fail) {
    prepare();
    atl_error error;
    for (int o = 0; o < 2; o++) {
        reads = (fault){0};
        cr_assert_eq(run_armed(&operations[o], &error), ATL_OK);
        long count = reads.calls;
        for (long k = 0; k < count; k++) {
            reads = (fault){.first = k, .times = 1, .code = EIO};
            cr_expect_eq(run_armed(&operations[o], &error), ATL_IO_ERROR, "%s, read %ld", operations[o].name, k);
            cr_expect(strstr(error.message, "cannot read: Input/output error"), "\"%s\"", error.message);
        }
    }
}

/* With the old file in place and without one: each step of writing fails. */
static void fail_to_write(fault *f, long first, int code, const char *reason, int replaced) {
    for (int old = 0; old < 2; old++) {
        unlink(output_path);
        if (old)
            put_file("out.npy", "old", 3);
        int entries = folder_entries();
        *f = (fault){.first = first, .times = 1, .code = code};
        atl_error error;
        atl_status status = run_armed(&operations[2], &error);
        *f = (fault){0};
        cr_expect_eq(status, ATL_IO_ERROR, "%s: status %d", reason, status);
        cr_expect(strstr(error.message, reason), "no \"%s\" in \"%s\"", reason, error.message);
        cr_expect(strncmp(error.message, output_path, strlen(output_path)) == 0, "no path in \"%s\"", error.message);
        cr_expect_eq(folder_entries(), entries + (replaced && !old), "%s: a file is left over or lost", reason);
        if (!old || replaced)
            continue;
        size_t size;
        char *bytes = get_file(output_path, &size);
        cr_expect_str_eq(bytes, "old", "%s: the old file has changed", reason);
        free(bytes);
    }
}

Test(io_faults, writes_that_fail) {
    prepare();
    fail_to_write(&opens, 0, EROFS, "cannot create a file in its folder: Read-only file system", 0);
    fail_to_write(&writes, 0, ENOSPC, "cannot write: No space left on device", 0);
    fail_to_write(&writes, 1, EDQUOT, "cannot write: Disk quota exceeded", 0);
    fail_to_write(&syncs, 0, EIO, "cannot write: Input/output error", 0);
    fail_to_write(&renames, 0, EXDEV, "cannot give the written file its name", 0);
    fail_to_write(&syncs, 1, EIO, "cannot sync its folder", 1);
    most_bytes = 100;
    fail_to_write(&writes, 3, ENOSPC, "cannot write: No space left on device", 0);
}

Test(io_faults, faults_that_are_overcome) {
    prepare();
    atl_error error;
    opens = (fault){.first = 0, .times = 5, .code = EEXIST};
    cr_expect_eq(run_armed(&operations[2], &error), ATL_OK, "temporary names in use: %s", error.message);
    opens = (fault){0};
    syncs = (fault){.first = 0, .times = 3, .code = EINTR};
    cr_expect_eq(run_armed(&operations[2], &error), ATL_OK, "an interrupted fsync: %s", error.message);
    syncs = (fault){.first = 1, .times = 1, .code = EINVAL};
    cr_expect_eq(run_armed(&operations[2], &error), ATL_OK, "a folder that cannot be synced: %s", error.message);
}
