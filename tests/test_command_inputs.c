/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile run` of a layer that takes a key, a value and a mask. */
#include "shell.h"

TestSuite(command_inputs, .init = make_command_folder, .fini = remove_folder, .timeout = 60);

/* Multi-head attention over one feature whose queries are 0 and whose other weights are 1: y is the mean of the values
 * that a query sees, and the map is 1 over their number. */
static void put_multi_head(void) {
    static const float values[] = {0, 1, 1, 1};
    put_weights("w.st",
                "{\"Wq.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]},"
                "\"Wk.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[4,8]},"
                "\"Wv.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[8,12]},"
                "\"fc.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[12,16]}}",
                values, 4);
}

static const int64_t x_shape[] = {2, 3, 1}, key_shape[] = {2, 4, 1};
static const float x_values[] = {1, 2, 6, 10, 20, 60}, key_values[] = {5, 6, 7, 8, 9, 10, 11, 12},
                   value_values[] = {1, 3, 5, 7, 8, 16, 24, 32};

static void put_inputs(void) {
    put_multi_head();
    put_array("x.npy", 3, x_shape, x_values);
    put_array("k.npy", 3, key_shape, key_values);
    put_array("v.npy", 3, key_shape, value_values);
}

static void put_mask(const char *name, atl_dtype dtype, int rank, const int64_t *shape, const void *values) {
    atl_error error = {0};
    atl_array array = {.dtype = dtype, .rank = rank, .data = (void *)values};
    memcpy(array.shape, shape, (size_t)rank * sizeof *shape);
    cr_assert_eq(atl_npy_write(in_folder(name), &array, &error), ATL_OK, "%s", error.message);
}

#define RUN "\"$A\" run w.st --layer auto --input x.npy --output y.npy "

Test(command_inputs, key_and_value) {
    static const float of_x[] = {3, 3, 3, 30, 30, 30}, of_value[] = {4, 4, 4, 20, 20, 20};
    static const int64_t map_shape[] = {2, 1, 3, 4}, x_map_shape[] = {2, 1, 3, 3};
    float map[24], *x_map;
    for (int i = 0; i < 24; i++)
        map[i] = 0.25f;
    put_inputs();
    expect_done(shell(RUN "--map a.npy"));
    expect_values("y.npy", 3, x_shape, of_x);
    x_map = get_array("a.npy", 4, x_map_shape);
    cr_expect_float_eq(x_map[5], 1 / 3.0, 1e-6);
    free(x_map);
    expect_done(shell(RUN "--key k.npy --value v.npy --map a.npy"));
    expect_values("y.npy", 3, x_shape, of_value);
    expect_values("a.npy", 4, map_shape, map);
    /* One of them alone, of the length of the input. */
    static const int64_t shape[] = {2, 3, 1};
    static const float other[] = {3, 6, 9, 1, 2, 3}, of_other[] = {6, 6, 6, 2, 2, 2};
    put_array("o.npy", 3, shape, other);
    expect_done(shell(RUN "--value=o.npy"));
    expect_values("y.npy", 3, x_shape, of_other);
    expect_done(shell(RUN "--key=o.npy --threads 3"));
    expect_values("y.npy", 3, x_shape, of_x);
    expect_done(shell(RUN "--key x.npy --value x.npy"));
    expect_values("y.npy", 3, x_shape, of_x);
}

Test(command_inputs, masks) {
    static const int64_t keys[] = {4}, samples[] = {2, 1, 1, 4}, queries[] = {3, 1}, queries_of_both[] = {3, 4};
    static const uint8_t first[] = {1, 0, 0, 0}, own[] = {0, 1, 1, 0, 255, 0, 0, 7}, rows[] = {1, 0, 1};
    static const uint8_t bools[] = {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1}, none = 0;
    static const float of_first[] = {1, 1, 1, 8, 8, 8}, of_own[] = {4, 4, 4, 20, 20, 20};
    static const float of_rows[] = {4, 4, 4, 20, 20, 20}, zero_rows[] = {4, 0, 4, 20, 0, 20};
    static const float of_bools[] = {3, 4, 6, 16, 20, 28}, zeros[6] = {0};
    float *y;
    put_inputs();
    put_mask("m.npy", ATL_U8, 1, keys, first);
    expect_done(shell(RUN "--key k.npy --value v.npy --mask m.npy"));
    expect_values("y.npy", 3, x_shape, of_first);
    put_mask("m.npy", ATL_U8, 4, samples, own);
    expect_done(shell(RUN "--key k.npy --value v.npy --mask m.npy"));
    expect_values("y.npy", 3, x_shape, of_own);
    put_mask("m.npy", ATL_BOOL, 2, queries, rows);
    expect_done(shell(RUN "--key k.npy --value v.npy --mask m.npy"));
    expect_values("y.npy", 3, x_shape, of_rows);
    expect_done(shell(RUN "--key k.npy --value v.npy --mask m.npy --set mask_fill=-inf"));
    expect_values("y.npy", 3, x_shape, zero_rows);
    put_mask("m.npy", ATL_BOOL, 2, queries_of_both, bools);
    expect_done(shell(RUN "--key k.npy --value v.npy --mask m.npy"));
    y = get_array("y.npy", 3, x_shape);
    for (int i = 0; i < 6; i++) /* a mean of three is rounded */
        cr_expect_float_eq(y[i], of_bools[i], 1e-5, "y[%d] = %g", i, (double)y[i]);
    free(y);
    put_mask("m.npy", ATL_U8, 0, keys, &none);
    expect_done(shell(RUN "--mask m.npy --set mask_fill=-inf"));
    expect_values("y.npy", 3, x_shape, zeros);
}

Test(command_inputs, causal) {
    static const float of_value[] = {1, 2, 3, 8, 12, 16};
    float *y;
    put_inputs();
    expect_done(shell(RUN "--key k.npy --value v.npy --set causal=true"));
    y = get_array("y.npy", 3, x_shape);
    for (int i = 0; i < 6; i++)
        cr_expect_float_eq(y[i], of_value[i], 1e-5, "y[%d] = %g", i, (double)y[i]);
    free(y);
}

/* ---------------------------------------------------------------- refusals */

Test(command_inputs, wrong_files) {
    static const struct {
        const char *rest, *reason;
    } cases[] = {
        {"--key absent.npy", "absent.npy: "},
        {"--value absent.npy", "absent.npy: "},
        {"--mask absent.npy", "absent.npy: "},
        {"--mask w.st", "w.st: "},
        {"--key f64.npy --value v.npy", "f64.npy: wrong dtype (expected F32, got F64; in NumPy: x.astype"},
        {"--key u8.npy", "u8.npy: wrong dtype (expected F32, got U8; in NumPy: x.astype"},
        {"--key flat.npy", "flat.npy: wrong shape (expected [B, keys, D]"},
        {"--key one.npy --value one.npy", "one.npy: wrong shape (expected [B, keys, D]"},
        {"--key wide.npy --value v.npy", "wide.npy: wrong shape (expected [B, keys, D]"},
        {"--key k.npy --value wide.npy", "wide.npy: wrong shape (expected [B, keys, D]"},
        {"--key k.npy", "k.npy: key and value differ in length (expected 4, got 3 of the input"},
        {"--value v.npy", "v.npy: key and value differ in length (expected 3, got 4"},
        {"--key x.npy --value v.npy", "v.npy: key and value differ in length (expected 3, got 4"},
        {"--mask x.npy", "x.npy: wrong dtype (expected U8 or BOOL, got F32)"},
        {"--mask i64.npy", "i64.npy: wrong dtype (expected U8 or BOOL, got I64)"},
        {"--mask u8.npy", "u8.npy: the mask does not broadcast (expected sizes of 1 or, right-aligned, of [2x1x3x3], "
                          "got [4])"},
        {"--key k.npy --value v.npy --mask batch.npy",
         "batch.npy: the mask does not broadcast (expected sizes of 1 or, "
         "right-aligned, of [2x1x3x4], got [3x1x1x4])"},
        {"--key k.npy --value v.npy --mask heads.npy", "heads.npy: the mask does not broadcast"},
        {"--mask five.npy", "five.npy: the mask does not broadcast"},
    };
    static const int64_t four[] = {4}, flat[] = {8}, one[] = {1, 4, 1}, wide[] = {2, 4, 2}, batch[] = {3, 1, 1, 4};
    static const int64_t heads[] = {2, 1, 4}, five[] = {1, 1, 1, 1, 1};
    static const float floats[16];
    static const uint8_t bytes[16];
    static const double doubles[8];
    static const int64_t integers[3], three[] = {3};
    put_inputs();
    put_array("flat.npy", 1, flat, floats);
    put_array("one.npy", 3, one, floats);
    put_array("wide.npy", 3, wide, floats);
    put_mask("u8.npy", ATL_U8, 1, four, bytes);
    put_mask("f64.npy", ATL_F64, 3, key_shape, doubles);
    put_mask("i64.npy", ATL_I64, 1, three, integers);
    put_mask("batch.npy", ATL_BOOL, 4, batch, bytes);
    put_mask("heads.npy", ATL_U8, 3, heads, bytes);
    put_mask("five.npy", ATL_U8, 5, five, bytes);
    int entries = folder_entries();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_error(shell(RUN "%s", cases[i].rest), 1, cases[i].reason, cases[i].rest);
        cr_expect_eq(folder_entries(), entries, "%s left files", cases[i].rest);
    }
}

Test(command_inputs, wrong_usage) {
    static const struct {
        const char *line, *reason;
    } cases[] = {
        {"w.st --layer multi-head --output m.npy", "m.npy: --output names the same file as --mask"},
        {"w.st --layer multi-head --output ./k.npy", "k.npy: --output names the same file as --key"},
        {"w.st --layer multi-head --output link.npy", "link.npy: --output names the same file as --value"},
        {"w.st --layer multi-head --output y.npy --map m.npy", "m.npy: --map names the same file as --mask"},
        {"w.st --layer multi-head --output y.npy --map k.npy", "k.npy: --map names the same file as --key"},
        {"a.st --layer auto --output y.npy", "--key: a layer of kind self-attention-spatial takes none"},
        {"w.st --layer multi-head --output y.npy --set mask_fill=0", "mask_fill"},
        {"w.st --layer multi-head --output y.npy --set num_heads=2", "num_heads"},
    };
    static const int64_t keys[] = {4};
    static const uint8_t mask[] = {1, 0, 1, 1};
    put_inputs();
    put_attention("a.st");
    put_mask("m.npy", ATL_U8, 1, keys, mask);
    cr_assert_eq(shell("ln -s v.npy link.npy")->code, 0);
    int entries = folder_entries();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_error(shell("\"$A\" run %s --input x.npy --key k.npy --value v.npy --mask m.npy", cases[i].line), 2,
                     cases[i].reason, cases[i].line);
        cr_expect_eq(folder_entries(), entries, "%s left files", cases[i].line);
    }
    expect_error(shell("\"$A\" run a.st --layer auto --input x.npy --output y.npy --mask m.npy"), 2,
                 "--mask: a layer of kind self-attention-spatial takes none", "mask");
    expect_values("k.npy", 3, key_shape, key_values);
}
