/* SPDX-License-Identifier: Apache-2.0 */
/* .npy files: what is read and written, byte by byte. What is refused for its format: tests/hostile, by test_hostile.c. */
#include <criterion/criterion.h>

#include "attentile/io.h"
#include "files.h"

TestSuite(npy, .init = make_folder, .fini = remove_folder, .timeout = 60);

/* Writes version `major`.`minor`, the literal as it is, and `data_size` bytes that count up. */
static const char *put_npy(int major, int minor, const char *literal, size_t data_size) {
    static unsigned char bytes[12 + 20000 + 256];
    const unsigned char start[] = {0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)major, (unsigned char)minor};
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, start, sizeof start);
    size_t length = strlen(literal), at = major == 1 ? 10 : 12;
    cr_assert_lt(length, 20000);
    cr_assert_leq(data_size, 256);
    bytes[8] = (unsigned char)length;
    bytes[9] = (unsigned char)(length >> 8);
    memcpy(bytes + at, literal, length);
    for (size_t i = 0; i < data_size; i++)
        bytes[at + length + i] = (unsigned char)i;
    return put_file("a.npy", bytes, at + length + data_size);
}

/* The literal of a plain array with one thing changed. */
#define PLAIN(descr, order, shape) "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }\n"
#define DESCR(descr)               PLAIN(descr, "False", "(2,)")
#define SHAPE(shape)               PLAIN("'|u1'", "False", shape)

/* ---------------------------------------------------------------- good files */

Test(npy, good_headers) {
    static const struct {
        const char *label, *literal;
        size_t data;
        atl_dtype dtype;
        int rank;
        int64_t first;
    } good[] = {
        {"f4", PLAIN("'<f4'", "False", "(2, 3)"), 24, ATL_F32, 2, 2},
        {"f2", DESCR("'<f2'"), 4, ATL_F16, 1, 2},
        {"f8", DESCR("'<f8'"), 16, ATL_F64, 1, 2},
        {"i8", DESCR("'<i8'"), 16, ATL_I64, 1, 2},
        {"i4", DESCR("'<i4'"), 8, ATL_I32, 1, 2},
        {"i2", DESCR("'<i2'"), 4, ATL_I16, 1, 2},
        {"i1", DESCR("'|i1'"), 2, ATL_I8, 1, 2},
        {"u1", DESCR("'|u1'"), 2, ATL_U8, 1, 2},
        {"b1", DESCR("'|b1'"), 2, ATL_BOOL, 1, 2},
        {"bytes have no order", DESCR("'>u1'"), 2, ATL_U8, 1, 2},
        {"double quotes", "{\"descr\": \"|u1\", \"fortran_order\": False, \"shape\": (2,)}", 2, ATL_U8, 1, 2},
        {"another order", "{'shape': (2,), 'descr': '|u1', 'fortran_order': False}", 2, ATL_U8, 1, 2},
        {"no white space", "{'descr':'|u1','fortran_order':False,'shape':(2,)}", 2, ATL_U8, 1, 2},
        {"much white space", " {\n'descr'\t: '|u1' , 'fortran_order' :\rFalse, 'shape' : ( 2 , ) , } \n ", 2, ATL_U8, 1,
         2},
        {"a scalar", SHAPE("()"), 1, ATL_U8, 0, 0},
        {"a comma after the last size", SHAPE("(2, 3,)"), 6, ATL_U8, 2, 2},
        {"eight axes", SHAPE("(2, 1, 1, 1, 1, 1, 1, 1)"), 2, ATL_U8, 8, 2},
        {"Fortran order of one axis", PLAIN("'|u1'", "True", "(2,)"), 2, ATL_U8, 1, 2},
        {"Fortran order of a scalar", PLAIN("'|u1'", "True", "()"), 1, ATL_U8, 0, 0},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        for (int version = 1; version <= 3; version++) {
            atl_array array = {0};
            atl_error error = {0};
            atl_status status = atl_npy_read(put_npy(version, 0, good[i].literal, good[i].data), &array, &error);
            cr_assert_eq(status, ATL_OK, "%s, version %d: %s", good[i].label, version, error.message);
            cr_expect_eq(array.dtype, good[i].dtype, "%s: dtype %d", good[i].label, array.dtype);
            cr_expect_eq(array.rank, good[i].rank, "%s: rank %d", good[i].label, array.rank);
            cr_expect_eq(array.shape[0], good[i].first, "%s: size %ld", good[i].label, (long)array.shape[0]);
            for (size_t k = 0; k < good[i].data; k++)
                cr_expect_eq(((unsigned char *)array.data)[k], k, "%s: byte %zu", good[i].label, k);
            atl_array_clear(&array);
            cr_expect_null(array.data);
        }
}

static void expect_refusal(const char *path, const char *label, const char *reason) {
    static const atl_array untouched = {.dtype = ATL_OTHER, .rank = -7, .shape = {42}};
    atl_array array = untouched;
    atl_error error = {0};
    int before = free_descriptor();
    atl_status status = atl_npy_read(path, &array, &error);
    cr_expect_eq(status, ATL_IO_ERROR, "%s: status %d (%s)", label, status, error.message);
    cr_expect_eq(error.status, status, "%s: error.status %d", label, error.status);
    cr_expect(strncmp(error.message, path, strlen(path)) == 0, "%s: no path in \"%s\"", label, error.message);
    cr_expect(strstr(error.message, reason), "%s: no \"%s\" in \"%s\"", label, reason, error.message);
    cr_expect(memcmp(&array, &untouched, sizeof array) == 0, "%s: the array has changed", label);
    cr_expect_eq(free_descriptor(), before, "%s: a descriptor has leaked", label);
}

Test(npy, only_regular_files) {
    expect_refusal(in_folder("missing.npy"), "missing", "cannot open");
    expect_refusal(folder, "a folder", "got a directory");
    expect_refusal("/dev/zero", "a device", "got a device");
    const char *pipe = in_folder("pipe");
    cr_assert_eq(mkfifo(pipe, 0600), 0);
    expect_refusal(pipe, "a pipe", "got a pipe");
}

/* ---------------------------------------------------------------- writing */

/* What numpy.save writes for numpy.arange(6, dtype='<f4').reshape(2, 3), NumPy 2.4. */
Test(npy, written_as_numpy_does) {
    char expected[128 + 24];
    memset(expected, ' ', 127);
    expected[127] = '\n';
    memcpy(expected, "\x93NUMPY\1\0\x76\0", 10);
    const char *literal = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    memcpy(expected + 10, literal, strlen(literal));
    float values[6] = {0, 1, 2, 3, 4, 5};
    memcpy(expected + 128, values, sizeof values);
    atl_array array = {.dtype = ATL_F32, .rank = 2, .shape = {2, 3}, .data = values};
    atl_error error = {0};
    const char *path = in_folder("w.npy");
    cr_assert_eq(atl_npy_write(path, &array, &error), ATL_OK, "%s", error.message);
    size_t size;
    char *bytes = get_file(path, &size);
    cr_assert_eq(size, sizeof expected, "%zu bytes", size);
    cr_expect(memcmp(bytes, expected, size) == 0, "the bytes differ");
    free(bytes);
    cr_expect_eq(folder_entries(), 1, "%d entries in the folder", folder_entries());
}

/* All dtypes, ranks 0 to 8: what is written reads back the same. */
Test(npy, round_trip) {
    static const atl_dtype dtypes[] = {ATL_F32, ATL_F16, ATL_F64, ATL_I64, ATL_I32, ATL_I16, ATL_I8, ATL_U8, ATL_BOOL};
    static const int bytes[] = {4, 2, 8, 8, 4, 2, 1, 1, 1};
    unsigned char values[8 * 256];
    for (size_t i = 0; i < sizeof values; i++)
        values[i] = (unsigned char)(i * 37);
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
        for (int rank = 0; rank <= ATL_MAX_RANK; rank++) {
            atl_array array = {.dtype = dtypes[d], .rank = rank, .data = values}, back;
            for (int i = 0; i < rank; i++)
                array.shape[i] = 2;
            atl_error error = {0};
            const char *path = in_folder("r.npy");
            cr_assert_eq(atl_npy_write(path, &array, &error), ATL_OK, "%s", error.message);
            cr_assert_eq(atl_npy_read(path, &back, &error), ATL_OK, "%s", error.message);
            cr_expect_eq(back.dtype, array.dtype, "dtype %d", back.dtype);
            cr_expect_eq(back.rank, rank, "rank %d", back.rank);
            cr_expect_arr_eq(back.shape, array.shape, sizeof array.shape, "rank %d", rank);
            cr_expect_arr_eq(back.data, values, (size_t)bytes[d] << rank, "dtype %d, rank %d", array.dtype, rank);
            atl_array_clear(&back);
        }
}

Test(npy, created_and_committed_later) {
    float values[2] = {1, 2};
    atl_array array = {.dtype = ATL_F32, .rank = 1, .shape = {2}, .data = values}, back = {0};
    atl_file *file = NULL;
    const char *path = in_folder("c.npy");
    cr_assert_eq(atl_npy_create(path, &array, &file, NULL), ATL_OK);
    cr_expect_neq(access(path, F_OK), 0, "the file is there before it is committed");
    cr_assert_eq(atl_file_commit(file, NULL), ATL_OK);
    cr_assert_eq(atl_npy_read(path, &back, NULL), ATL_OK);
    cr_expect_arr_eq(back.data, values, sizeof values);
    atl_array_clear(&back);
    file = NULL;
    cr_expect_eq(atl_npy_create(in_folder("missing/c.npy"), &array, &file, NULL), ATL_IO_ERROR);
    cr_expect_eq(atl_npy_create(path, &array, NULL, NULL), ATL_INVALID_ARGUMENT);
    cr_expect_null(file, "a handle after a failure");
}

Test(npy, arrays_that_cannot_be_written) {
    float value = 1;
    static const struct {
        const char *label;
        atl_array array;
        const char *reason;
    } bad[] = {
        {"size 0", {.dtype = ATL_F32, .rank = 2, .shape = {3, 0}}, "axis 1"},
        {"a negative size", {.dtype = ATL_F32, .rank = 1, .shape = {-1}}, "axis 0"},
        {"nine axes", {.dtype = ATL_F32, .rank = 9}, "rank"},
        {"a negative rank", {.dtype = ATL_F32, .rank = -1}, "rank"},
        {"too many bytes", {.dtype = ATL_F32, .rank = 2, .shape = {INT64_MAX, 2}}, "64 bits"},
        {"bfloat16", {.dtype = ATL_BF16, .rank = 1, .shape = {1}}, "BF16"},
        {"another dtype", {.dtype = ATL_OTHER, .rank = 1, .shape = {1}}, "OTHER"},
        {"no dtype", {.dtype = (atl_dtype)77, .rank = 1, .shape = {1}}, "dtype ?"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        atl_array array = bad[i].array;
        array.data = &value;
        atl_error error = {0};
        atl_status status = atl_npy_write(in_folder("w.npy"), &array, &error);
        cr_expect_eq(status, ATL_INVALID_ARGUMENT, "%s: status %d", bad[i].label, status);
        cr_expect(strstr(error.message, bad[i].reason), "%s: \"%s\"", bad[i].label, error.message);
    }
    atl_array empty = {.dtype = ATL_F32, .rank = 0};
    cr_expect_eq(atl_npy_write(in_folder("w.npy"), &empty, NULL), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_npy_write(NULL, &empty, NULL), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_npy_write("w.npy", NULL, NULL), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_npy_read(NULL, &empty, NULL), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_npy_read("w.npy", NULL, NULL), ATL_INVALID_ARGUMENT);
    atl_array_clear(NULL);
    cr_expect_eq(folder_entries(), 0, "something was written");
}
