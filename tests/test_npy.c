/* SPDX-License-Identifier: Apache-2.0 */
/* .npy files: what is read and written, byte by byte; what is refused and why. */
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

static void expect_refusal(const char *path, const char *label, atl_status wanted, const char *reason) {
    static const atl_array untouched = {.dtype = ATL_OTHER, .rank = -7, .shape = {42}};
    atl_array array = untouched;
    atl_error error = {0};
    int before = free_descriptor();
    atl_status status = atl_npy_read(path, &array, &error);
    cr_expect_eq(status, wanted, "%s: status %d, expected %d (%s)", label, status, wanted, error.message);
    cr_expect_eq(error.status, wanted, "%s: error.status %d", label, error.status);
    cr_expect(strncmp(error.message, path, strlen(path)) == 0, "%s: no path in \"%s\"", label, error.message);
    cr_expect(strstr(error.message, reason), "%s: no \"%s\" in \"%s\"", label, reason, error.message);
    cr_expect(memcmp(&array, &untouched, sizeof array) == 0, "%s: the array has changed", label);
    cr_expect_eq(free_descriptor(), before, "%s: a descriptor has leaked", label);
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

/* ---------------------------------------------------------------- hostile files */

typedef struct hostile {
    const char *label, *literal;
    size_t data;
    const char *reason;
} hostile;

static const hostile bad_types[] = {
    {"pickled objects", DESCR("'|O'"), 2, "Python objects"},
    {"pickled objects in words", DESCR("'|O8'"), 16, "Python objects"},
    {"big-endian floats", DESCR("'>f4'"), 8, "not little-endian"},
    {"big-endian integers", DESCR("'>i2'"), 4, "not little-endian"},
    {"native order", DESCR("'=f4'"), 8, "not little-endian"},
    {"no order", DESCR("'f4'"), 8, "dtype not supported"},
    {"a wide type without order", DESCR("'|f4'"), 8, "dtype not supported"},
    {"complex numbers", DESCR("'<c8'"), 16, "dtype not supported"},
    {"long doubles", DESCR("'<f16'"), 32, "dtype not supported"},
    {"unsigned words", DESCR("'<u4'"), 8, "dtype not supported"},
    {"text", DESCR("'<U5'"), 40, "dtype not supported"},
    {"bytes", DESCR("'|S3'"), 6, "dtype not supported"},
    {"voids", DESCR("'|V4'"), 8, "dtype not supported"},
    {"dates", DESCR("'<M8[ns]'"), 16, "dtype not supported"},
    {"an empty dtype", DESCR("''"), 2, "dtype not supported"},
    {"an order alone", DESCR("'<'"), 2, "dtype not supported"},
    {"a dtype by name", DESCR("'float32'"), 8, "dtype not supported"},
    {"a dtype and more", DESCR("'<f4 '"), 8, "dtype not supported"},
    {"a structured dtype", DESCR("[('x', '<f4'), ('y', '<f4')]"), 16, "structured dtypes"},
    {"a sub-array dtype", DESCR("('<f4', (2,))"), 16, "quoted string"},
    {"a dtype that is a number", DESCR("4"), 2, "quoted string"},
    {"a dtype that is None", DESCR("None"), 2, "quoted string"},
    {"a long dtype", DESCR("'<f4444444444444444444444444444444444444'"), 2, "no name or dtype"},
    {"an escape in a dtype", DESCR("'\\x3cf4'"), 8, "no name or dtype"},
    {"prefixed text", DESCR("u'<f4'"), 8, "quoted string"},
    {"different quotes", DESCR("'<f4\""), 8, "dtype not supported"},
};

static const hostile bad_shapes[] = {
    {"a number", SHAPE("2"), 2, "no tuple"},
    {"a number in parentheses", SHAPE("(2)"), 2, "no tuple"},
    {"a list", SHAPE("[2]"), 2, "no tuple"},
    {"None", SHAPE("None"), 2, "no tuple"},
    {"only a comma", SHAPE("(,)"), 2, "no tuple"},
    {"two commas", SHAPE("(2,,)"), 2, "no tuple"},
    {"no comma between", SHAPE("(2 1)"), 2, "no tuple"},
    {"an inner tuple", SHAPE("((2,),)"), 2, "no tuple"},
    {"an open tuple", "{'descr': '|u1', 'fortran_order': False, 'shape': (2,", 2, "no tuple"},
    {"a negative size", SHAPE("(-2,)"), 2, "no tuple"},
    {"two negative sizes", SHAPE("(-1, -2)"), 2, "no tuple"},
    {"a plus", SHAPE("(+2,)"), 2, "no tuple"},
    {"a fraction", SHAPE("(2.0,)"), 2, "no tuple"},
    {"an exponent", SHAPE("(2e0,)"), 2, "no tuple"},
    {"hexadecimal", SHAPE("(0x2,)"), 2, "in shape is 0"},
    {"an underscore", SHAPE("(1_0,)"), 10, "no tuple"},
    {"a leading zero", SHAPE("(02,)"), 2, "no tuple"},
    {"a long integer of Python 2", SHAPE("(2L,)"), 2, "no tuple"},
    {"a sum", SHAPE("(1+1,)"), 2, "no tuple"},
    {"text", SHAPE("('2',)"), 2, "no tuple"},
    {"True", SHAPE("(True, 2)"), 2, "no tuple"},
    {"size 0", SHAPE("(0,)"), 0, "is 0"},
    {"size 0 among others", SHAPE("(2, 0, 3)"), 0, "is 0"},
    {"2^63", SHAPE("(9223372036854775808,)"), 2, "beyond 64 bits"},
    {"2^64 + 2", SHAPE("(18446744073709551618,)"), 2, "beyond 64 bits"},
    {"a product of 2^64", SHAPE("(4294967296, 4294967296)"), 0, "64 bits"},
    {"a product of 2^64 + 2", SHAPE("(2, 9223372036854775807)"), 2, "64 bits"},
    {"a product that wraps to 2", SHAPE("(6, 3074457345618258603)"), 2, "64 bits"},
    {"bytes of 2^64", PLAIN("'<f4'", "False", "(4611686018427387904,)"), 0, "64 bits"},
    {"bytes of 2^62", PLAIN("'<f4'", "False", "(1152921504606846976,)"), 4, "wrong size of the data"},
    {"nine axes", SHAPE("(1, 1, 1, 1, 1, 1, 1, 1, 2)"), 2, "more than 8 axes"},
    {"one byte short", SHAPE("(2,)"), 1, "wrong size of the data (expected 2 bytes for the shape, got 1)"},
    {"no data", SHAPE("(2,)"), 0, "wrong size of the data"},
    {"one byte over", SHAPE("(2,)"), 3, "wrong size of the data"},
    {"elements counted as bytes", PLAIN("'<f8'", "False", "(2,)"), 2, "expected 16 bytes"},
    {"a scalar without data", SHAPE("()"), 0, "wrong size of the data"},
    {"Fortran order", PLAIN("'|u1'", "True", "(2, 1)"), 2, "Fortran order"},
};

static const hostile bad_literals[] = {
    {"nothing", "", 2, "no dictionary"},
    {"white space", "   \n", 2, "no dictionary"},
    {"a list", "['descr', '|u1']", 2, "no dictionary"},
    {"an empty dictionary", "{}", 2, "lacks"},
    {"only a comma", "{,}", 2, "quoted string"},
    {"an open dictionary", "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)", 2, "is missing"},
    {"an open dictionary after a comma", "{'descr': '|u1', 'fortran_order': False, 'shape': (2,),", 2, "quoted string"},
    {"something after it", SHAPE("(2,)") "x", 2, "something follows"},
    {"a NUL's place taken by a comment", SHAPE("(2,)") "# x", 2, "something follows"},
    {"two dictionaries", SHAPE("(2,)") SHAPE("(2,)"), 2, "something follows"},
    {"no descr", "{'fortran_order': False, 'shape': (2,)}", 2, "lacks"},
    {"no fortran_order", "{'descr': '|u1', 'shape': (2,)}", 2, "lacks"},
    {"no shape", "{'descr': '|u1', 'fortran_order': False}", 2, "lacks"},
    {"an unknown key", "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), 'x': 1}", 2, "unknown key"},
    {"a key twice", "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2,)}", 2, "twice"},
    {"a key without quotes", "{descr: '|u1', 'fortran_order': False, 'shape': (2,)}", 2, "quoted string"},
    {"a key without end", "{'descr", 2, "without an end"},
    {"no colon", "{'descr' '|u1', 'fortran_order': False, 'shape': (2,)}", 2, "':' is missing"},
    {"no comma", "{'descr': '|u1' 'fortran_order': False, 'shape': (2,)}", 2, "',' or '}'"},
    {"JSON's false", "{'descr': '|u1', 'fortran_order': false, 'shape': (2,)}", 2, "neither True nor False"},
    {"0 for False", "{'descr': '|u1', 'fortran_order': 0, 'shape': (2,)}", 2, "neither True nor False"},
    {"False and more", "{'descr': '|u1', 'fortran_order': Falsey, 'shape': (2,)}", 2, "',' or '}'"},
    {"UTF-8 in a key", "{'d\xc3\xa9scr': '|u1'}", 2, "no name or dtype"},
    {"a call", "__import__('os').system('true')", 2, "no dictionary"},
};

static void expect_all_refused(const hostile *cases, size_t count) {
    for (size_t i = 0; i < count; i++)
        for (int version = 1; version <= 3; version++)
            expect_refusal(put_npy(version, 0, cases[i].literal, cases[i].data), cases[i].label, ATL_BAD_FORMAT,
                           cases[i].reason);
}

Test(npy, bad_types) {
    expect_all_refused(bad_types, sizeof bad_types / sizeof *bad_types);
}

Test(npy, bad_shapes) {
    expect_all_refused(bad_shapes, sizeof bad_shapes / sizeof *bad_shapes);
}

Test(npy, bad_literals) {
    expect_all_refused(bad_literals, sizeof bad_literals / sizeof *bad_literals);
}

Test(npy, bad_beginnings) {
    static const struct {
        const char *label, *bytes;
        size_t size;
        const char *reason;
    } files[] = {
        {"an empty file", "", 0, "not a .npy file"},
        {"one byte", "\x93", 1, "not a .npy file"},
        {"the magic alone", "\x93NUMPY", 6, "not a .npy file"},
        {"no length", "\x93NUMPY\1\0\0", 9, "not a .npy file"},
        {"a zip", "PK\3\4\0\0\0\0\0\0\0\0", 12, "not a .npy file"},
        {"lower case", "\x93numpy\1\0\0\0", 10, "not a .npy file"},
        {"version 0", "\x93NUMPY\0\0\0\0\0\0", 12, "wrong .npy version"},
        {"version 4", "\x93NUMPY\4\0\0\0\0\0", 12, "got 4.0"},
        {"version 1.1", "\x93NUMPY\1\1\0\0\0\0", 12, "got 1.1"},
        {"version 255.255", "\x93NUMPY\xff\xff\0\0\0\0", 12, "got 255.255"},
        {"a header of 0 bytes", "\x93NUMPY\1\0\0\0", 10, "no dictionary"},
        {"one byte more than there is", "\x93NUMPY\1\0\3\0{}", 12, "wrong header length (expected at most 2, got 3)"},
        {"65,535 bytes", "\x93NUMPY\1\0\xff\xff{}", 12, "wrong header length"},
        {"version 2 cut in its length", "\x93NUMPY\2\0\0\0", 10, "wrong header length"},
        {"version 2, 2^32 - 1 bytes", "\x93NUMPY\2\0\xff\xff\xff\xff{}", 14, "got 4294967295"},
        {"version 3, 2^31 bytes", "\x93NUMPY\3\0\0\0\0\x80{}", 14, "got 2147483648"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        expect_refusal(put_file("a.npy", files[i].bytes, files[i].size), files[i].label, ATL_BAD_FORMAT,
                       files[i].reason);
}

Test(npy, header_over_numpys_limit) {
    static char literal[10002];
    memset(literal, ' ', sizeof literal);
    memcpy(literal, SHAPE("(2,)"), strlen(SHAPE("(2,)")));
    literal[10000] = '\0';
    atl_array array;
    cr_expect_eq(atl_npy_read(put_npy(1, 0, literal, 2), &array, NULL), ATL_OK);
    atl_array_clear(&array);
    literal[10000] = ' ';
    literal[10001] = '\0';
    expect_refusal(put_npy(2, 0, literal, 2), "10,001 bytes", ATL_BAD_FORMAT, "expected at most 10000, got 10001");
}

Test(npy, only_regular_files) {
    expect_refusal(in_folder("missing.npy"), "missing", ATL_IO_ERROR, "cannot open");
    expect_refusal(folder, "a folder", ATL_IO_ERROR, "got a directory");
    expect_refusal("/dev/zero", "a device", ATL_IO_ERROR, "got a device");
    const char *pipe = in_folder("pipe");
    cr_assert_eq(mkfifo(pipe, 0600), 0);
    expect_refusal(pipe, "a pipe", ATL_IO_ERROR, "got a pipe");
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
