/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints that are to be refused, each with a part of the reason that the message has to give. */
#include <criterion/criterion.h>

#include "checkpoints.h"

TestSuite(safetensors_hostile, .init = make_folder, .fini = remove_folder, .timeout = 60);

/* One tensor "a" of dtype U8 with this shape and these offsets. */
#define SHAPE(shape, offsets) "{\"a\":{\"dtype\":\"U8\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define DTYPE(dtype)          "{\"a\":{\"dtype\":" dtype ",\"shape\":[1],\"data_offsets\":[0,1]}}"
#define META(value)           "{\"__metadata__\":" value "}"

typedef struct hostile {
    const char *label, *header;
    size_t data;
    const char *reason;
} hostile;

static const hostile broken_json[] = {
    {"a space first", " {" T("a", "[0,1]") "}", 1, "byte 0 (expected an object"},
    {"a byte order mark", "\xef\xbb\xbf{}", 0, "byte 0 (expected an object"},
    {"an array", "[]", 0, "expected an object"},
    {"a string", "\"a\"", 0, "expected an object"},
    {"not JSON", "PK\x03\x04", 0, "expected an object"},
    {"only an opening brace", "{ ", 0, "expected a string, got the end"},
    {"no closing brace", "{" T("a", "[0,1]") " ", 1, "expected ',' or '}', got the end"},
    {"an extra closing brace", "{" T("a", "[0,1]") "}}", 1, "nothing after the object"},
    {"two objects", "{}{}", 0, "nothing after the object"},
    {"a comma after the last", "{" T("a", "[0,1]") ",}", 1, "expected a string, got '}'"},
    {"a comma first", "{," T("a", "[0,1]") "}", 1, "expected a string, got ','"},
    {"two commas", "{" T("a", "[0,1]") ",," T("b", "[1,2]") "}", 2, "expected a string"},
    {"no comma", "{" T("a", "[0,1]") T("b", "[1,2]") "}", 2, "expected ',' or '}'"},
    {"no colon", "{\"a\" {}}", 0, "expected ':'"},
    {"a comment", "{/**/}", 0, "expected a string"},
    {"single quotes", "{'a':{}}", 0, "expected a string"},
    {"a name without quotes", "{a:{}}", 0, "expected a string"},
    {"a number as name", "{1:{}}", 0, "expected a string"},
    {"a name without end", "{\"a", 0, "expected the end of a string"},
    {"an escape at the end", "{\"a\\", 0, "expected an escape"},
    {"an unknown escape", "{\"\\x41\":{}}", 0, "expected an escape"},
    {"an escaped quote as the end", "{\"a\\\":{}}", 0, "expected the end of a string"},
    {"a short \\u", "{\"\\u12\":{}}", 0, "four hexadecimal digits"},
    {"\\u with a sign", "{\"\\u+123\":{}}", 0, "four hexadecimal digits"},
    {"\\u at the end", "{\"\\u", 0, "four hexadecimal digits"},
    {"an escaped NUL", "{" T("a\\u0000b", "[0,1]") "}", 1, "without NUL"},
    {"a lone high surrogate", "{" T("\\ud800", "[0,1]") "}", 1, "pair of surrogates"},
    {"a lone low surrogate", "{" T("\\udc00", "[0,1]") "}", 1, "pair of surrogates"},
    {"two high surrogates", "{" T("\\ud800\\ud800", "[0,1]") "}", 1, "pair of surrogates"},
    {"a high surrogate and a letter", "{" T("\\ud800\\u0041", "[0,1]") "}", 1, "pair of surrogates"},
    {"a raw newline in a name", "{" T("a\nb", "[0,1]") "}", 1, "UTF-8"},
    {"a raw tab in a name", "{" T("a\tb", "[0,1]") "}", 1, "UTF-8"},
    {"Latin-1", "{" T("\xe9", "[0,1]") "}", 1, "UTF-8"},
    {"a lone continuation byte", "{" T("\x80", "[0,1]") "}", 1, "UTF-8"},
    {"an overlong slash", "{" T("\xc0\xaf", "[0,1]") "}", 1, "UTF-8"},
    {"an overlong three-byte form", "{" T("\xe0\x80\xaf", "[0,1]") "}", 1, "UTF-8"},
    {"an overlong four-byte form", "{" T("\xf0\x80\x80\xaf", "[0,1]") "}", 1, "UTF-8"},
    {"a surrogate in UTF-8", "{" T("\xed\xa0\x80", "[0,1]") "}", 1, "UTF-8"},
    {"past U+10FFFF", "{" T("\xf4\x90\x80\x80", "[0,1]") "}", 1, "UTF-8"},
    {"a five-byte form", "{" T("\xf8\x88\x80\x80\x80", "[0,1]") "}", 1, "UTF-8"},
    {"a character cut by the end", "{\"a\xe2\x82", 0, "UTF-8"},
    {"0xff outside a string", "{\xff}", 0, "expected a string, got byte 0xff"},
    {"a vertical tab as white space", "{\v}", 0, "expected a string, got byte 0x0b"},
};

static const hostile broken_entries[] = {
    {"an entry that is null", "{\"a\":null}", 0, "expected an object"},
    {"an entry that is an array", "{\"a\":[\"U8\",[1],[0,1]]}", 1, "expected an object"},
    {"an entry that is a number", "{\"a\":1}", 0, "expected an object"},
    {"an empty entry", "{\"a\":{}}", 0, "is missing"},
    {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "is missing"},
    {"no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "is missing"},
    {"no data_offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "is missing"},
    {"an unknown field", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1, "unknown field"},
    {"a field in the wrong case", "{\"a\":{\"Dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "unknown field"},
    {"dtype twice", "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "duplicate field"},
    {"shape twice, once escaped", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"sh\\u0061pe\":[1],\"data_offsets\":[0,1]}}",
     1, "duplicate field"},
    {"data_offsets twice", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"data_offsets\":[0,1]}}", 1,
     "duplicate field"},
    {"an unknown dtype", DTYPE("\"F12\""), 1, "unknown dtype \"F12\""},
    {"an empty dtype", DTYPE("\"\""), 1, "unknown dtype"},
    {"a dtype in lower case", DTYPE("\"u8\""), 1, "unknown dtype"},
    {"a dtype of NumPy", DTYPE("\"uint8\""), 1, "unknown dtype"},
    {"a dtype with a space", DTYPE("\"U8 \""), 1, "unknown dtype"},
    {"a dtype that is null", DTYPE("null"), 1, "expected a string"},
    {"a dtype that is a number", DTYPE("8"), 1, "expected a string"},
    {"a dtype that is an object", DTYPE("{\"U8\":null}"), 1, "expected a string"},
    {"a shape that is a number", SHAPE("1", "[0,1]"), 1, "expected an array"},
    {"a shape that is null", SHAPE("null", "[0,1]"), 1, "expected an array"},
    {"a shape that is a string", SHAPE("\"[1]\"", "[0,1]"), 1, "expected an array"},
    {"a shape of strings", SHAPE("[\"1\"]", "[0,1]"), 1, "expected an integer"},
    {"a shape of arrays", SHAPE("[[1]]", "[0,1]"), 1, "expected an integer"},
    {"a shape of booleans", SHAPE("[true]", "[0,1]"), 1, "expected an integer"},
    {"a negative size", SHAPE("[-1]", "[0,1]"), 1, "expected an integer"},
    {"two negative sizes", SHAPE("[-1,-1]", "[0,1]"), 1, "expected an integer"},
    {"minus zero", SHAPE("[1]", "[-0,1]"), 1, "expected an integer"},
    {"a size with a fraction", SHAPE("[1.0]", "[0,1]"), 1, "expected ',' or ']'"},
    {"a size with an exponent", SHAPE("[1e0]", "[0,1]"), 1, "expected ',' or ']'"},
    {"a size in hexadecimal", SHAPE("[0x1]", "[0,1]"), 1, "expected ',' or ']'"},
    {"a leading zero", SHAPE("[01]", "[0,1]"), 1, "expected an integer"},
    {"a leading plus", SHAPE("[+1]", "[0,1]"), 1, "expected an integer"},
    {"a size of 2^63", SHAPE("[9223372036854775808]", "[0,1]"), 1, "expected an integer"},
    {"a size of 2^64 + 1", SHAPE("[18446744073709551617]", "[0,1]"), 1, "expected an integer"},
    {"a size of 400 digits as far as it matters", SHAPE("[11111111111111111111111111111111]", "[0,1]"), 1,
     "expected an integer"},
    {"nine axes", SHAPE("[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, "expected fewer elements"},
    {"a comma after the last size", SHAPE("[1,]", "[0,1]"), 1, "expected an integer"},
    {"no comma between sizes", SHAPE("[1 1]", "[0,1]"), 1, "expected ',' or ']'"},
    {"an array without end", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1", 1, "expected ',' or ']', got the end"},
    {"a product of 2^64", SHAPE("[4294967296,4294967296]", "[0,0]"), 0, "no size"},
    {"a product of 2^64 + 2^33 + 1", SHAPE("[4294967297,4294967297]", "[0,1]"), 1, "no size"},
    {"a product that a zero would hide", SHAPE("[4294967296,4294967296,0]", "[0,0]"), 0, "no size"},
    {"2^61 elements of 64 bits", "{\"a\":{\"dtype\":\"I64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}",
     0, "no size"},
    {"half a byte", "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2, "no size in whole bytes"},
    {"six bits", "{\"a\":{\"dtype\":\"F6_E2M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "no size in whole bytes"},
    {"one offset", SHAPE("[1]", "[0]"), 1, "not [begin, end]"},
    {"no offsets", SHAPE("[1]", "[]"), 1, "not [begin, end]"},
    {"three offsets", SHAPE("[1]", "[0,1,1]"), 1, "expected fewer elements"},
    {"offsets that are an object", SHAPE("[1]", "{}"), 1, "expected an array"},
    {"an offset that is null", SHAPE("[1]", "[null,1]"), 1, "expected an integer"},
    {"an end before the begin", SHAPE("[1]", "[1,0]"), 1, "end before they begin"},
    {"an end at 2^64 - 1", SHAPE("[1]", "[0,18446744073709551615]"), 1, "expected an integer"},
    {"offsets longer than the shape", SHAPE("[1]", "[0,2]"), 2, "wrong size of data_offsets (expected 1 bytes"},
    {"offsets shorter than the shape", SHAPE("[2]", "[0,1]"), 1, "wrong size of data_offsets (expected 2 bytes"},
    {"elements counted as bytes", "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4,
     "expected 16 bytes"},
    {"a scalar without data", SHAPE("[]", "[0,0]"), 0, "wrong size"},
};

static const hostile broken_layouts[] = {
    {"a hole at the start", SHAPE("[1]", "[1,2]"), 2, "a hole"},
    {"a hole between", "{" T("a", "[0,1]") "," T("b", "[2,3]") "}", 3, "a hole"},
    {"an overlap", "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}," T("b", "[1,2]") "}", 2,
     "an overlap"},
    {"the same place twice", "{" T("a", "[0,1]") "," T("b", "[0,1]") "}", 1, "an overlap"},
    {"one inside another", "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}," T("b", "[1,2]") "}", 3,
     "an overlap"},
    {"data missing at the end", SHAPE("[2]", "[0,2]"), 1, "do not cover the data (expected 2"},
    {"all data missing", SHAPE("[2]", "[0,2]"), 0, "do not cover the data"},
    {"data left over", SHAPE("[2]", "[0,2]"), 3, "do not cover the data (expected 2"},
    {"data without tensors", "{}", 1, "do not cover the data"},
    {"no elements past the end", SHAPE("[0]", "[1,1]"), 1, "a hole"},
    {"no elements inside another tensor",
     "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"z\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]}}",
     2, "an overlap"},
    {"far offsets", SHAPE("[1]", "[9223372036854775806,9223372036854775807]"), 1, "a hole"},
    {"a name twice", "{" T("a", "[0,1]") "," T("a", "[1,2]") "}", 2, "duplicate name \"a\""},
    {"a name twice, once escaped", "{" T("a", "[0,1]") "," T("\\u0061", "[1,2]") "}", 2, "duplicate name \"a\""},
    {"a name twice, far apart", "{" T("a", "[0,1]") "," T("b", "[1,2]") "," T("a", "[2,3]") "}", 3, "duplicate name"},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "duplicate name \"__metadata__\""},
    {"metadata twice, once escaped", "{\"__metadata__\":{},\"\\u005f_metadata__\":{}}", 0, "duplicate name"},
    {"a metadata key twice", META("{\"a\":\"1\",\"b\":\"\",\"a\":\"1\"}"), 0, "duplicate name \"a\""},
    {"metadata that is null", META("null"), 0, "expected an object"},
    {"metadata that is a string", META("\"pt\""), 0, "expected an object"},
    {"metadata that is an array", META("[]"), 0, "expected an object"},
    {"a metadata value that is a number", META("{\"a\":1}"), 0, "expected a string"},
    {"a metadata value that is null", META("{\"a\":null}"), 0, "expected a string"},
    {"a metadata value that is an object", META("{\"a\":{}}"), 0, "expected a string"},
    {"metadata that is a tensor", "{" T("__metadata__", "[0,1]") "}", 1, "expected a string"},
};

static void expect_all_refused(const hostile *cases, size_t count) {
    for (size_t i = 0; i < count; i++)
        expect_refusal(put_text(cases[i].header, cases[i].data), cases[i].label, ATL_BAD_FORMAT, cases[i].reason);
}

Test(safetensors_hostile, broken_json) {
    expect_all_refused(broken_json, sizeof broken_json / sizeof *broken_json);
}

Test(safetensors_hostile, broken_entries) {
    expect_all_refused(broken_entries, sizeof broken_entries / sizeof *broken_entries);
}

Test(safetensors_hostile, broken_layouts) {
    expect_all_refused(broken_layouts, sizeof broken_layouts / sizeof *broken_layouts);
}

Test(safetensors_hostile, nul_bytes_in_the_header) {
    expect_refusal(put_checkpoint("c", "{}\0", 3, 0), "after the object", ATL_BAD_FORMAT, "nothing after the object");
    expect_refusal(put_checkpoint("c", "{\0}", 3, 0), "in the object", ATL_BAD_FORMAT, "got byte 0x00");
    expect_refusal(put_checkpoint("c", "{\"\0\":{}}", 8, 0), "in a name", ATL_BAD_FORMAT, "UTF-8");
}

Test(safetensors_hostile, header_lengths) {
    static const struct {
        const char *label;
        unsigned char bytes[12];
        size_t size;
    } files[] = {
        {"an empty file", {0}, 0},
        {"seven bytes", {2, 0, 0, 0, 0, 0, 0}, 7},
        {"a length alone", {2, 0, 0, 0, 0, 0, 0, 0}, 8},
        {"length 0", {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10},
        {"length 1", {1, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10},
        {"one more than there is", {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10},
        {"100,000,001", {0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, '{', '}'}, 10},
        {"2^32 + 2", {2, 0, 0, 0, 1, 0, 0, 0, '{', '}'}, 10},
        {"2^63", {0, 0, 0, 0, 0, 0, 0, 0x80, '{', '}'}, 10},
        {"2^64 - 8", {0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'}, 10},
        {"2^64 - 1", {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'}, 10},
        {"big-endian", {0, 0, 0, 0, 0, 0, 0, 2, '{', '}'}, 10},
        {"a pickle", {0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20}, 10},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        expect_refusal(put_file("c", files[i].bytes, files[i].size), files[i].label, ATL_BAD_FORMAT,
                       "not a safetensors file");
}

/* A header of 100,000,001 bytes that is really there, in a file with holes. */
Test(safetensors_hostile, header_over_the_limit) {
    const char *path = put_file("c", "\x01\xe1\xf5\x05\0\0\0\0{}", 10);
    cr_assert_eq(truncate(path, 8 + 100000001), 0);
    expect_refusal(path, "over the limit", ATL_BAD_FORMAT, "expected 2 to 100000000, got 100000001");
}

Test(safetensors_hostile, deep_nesting) {
    enum { DEPTH = 1000000 };
    static const char *const openings[] = {"[", "{\"a\":", "{\"__metadata__\":"};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(openings[i]);
        char *header = malloc(DEPTH * length + 1);
        cr_assert_not_null(header);
        for (size_t k = 0; k < DEPTH; k++)
            memcpy(header + k * length, openings[i], length);
        expect_refusal(put_checkpoint("c", header, DEPTH * length, 0), openings[i], ATL_BAD_FORMAT, "");
        free(header);
    }
}

/* The reason has to survive a hostile name and a long path. */
Test(safetensors_hostile, long_names_leave_room_for_the_reason) {
    static char header[4096], name[3001], path[2000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,1]}}", name);
    expect_refusal(put_text(header, 1), "a long name", ATL_BAD_FORMAT, "got 1)");

    memset(path, 'p', sizeof path);
    memcpy(path + sizeof path - 12, "/missing.sft", 12);
    path[sizeof path - 1] = '\0';
    atl_error error;
    cr_expect_eq(try_open(path, &error), ATL_IO_ERROR);
    cr_expect(strstr(error.message, "missing.sf: cannot open"), "\"%s\"", error.message);
}
