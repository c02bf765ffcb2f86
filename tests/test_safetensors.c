/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: what is read from good files; files that change or are no files; misuse. */
#include <criterion/criterion.h>

#include "checkpoints.h"

TestSuite(safetensors, .init = make_folder, .fini = remove_folder, .timeout = 60);

/* ---------------------------------------------------------------- good files */

Test(safetensors, tensors_in_the_order_of_the_data) {
    atl_checkpoint *c = open_text("{\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},"
                                  "\"__metadata__\":{\"format\":\"pt\",\"attentile.layer\":\"se\"},"
                                  "\"n\":{\"shape\":[],\"data_offsets\":[0,8],\"dtype\":\"I64\"},"
                                  "\"z\":{\"dtype\":\"BF16\",\"shape\":[0,7],\"data_offsets\":[8,8]}}  ",
                                  32);
    cr_assert_eq(atl_checkpoint_count(c), 3);
    const atl_tensor *t = atl_checkpoint_tensors(c);
    cr_expect_str_eq(t[0].name, "n");
    cr_expect_eq(t[0].dtype, ATL_I64, "%d", t[0].dtype);
    cr_expect_eq(t[0].rank, 0, "%d", t[0].rank);
    cr_expect_str_eq(t[1].name, "z");
    cr_expect_eq(t[1].dtype, ATL_BF16);
    cr_expect(t[1].rank == 2 && t[1].shape[0] == 0 && t[1].shape[1] == 7);
    cr_expect_str_eq(t[2].name, "b");
    cr_expect(t[2].rank == 2 && t[2].shape[0] == 2 && t[2].shape[1] == 3);
    cr_expect_eq(atl_checkpoint_bytes(c, 0), 8);
    cr_expect_eq(atl_checkpoint_bytes(c, 1), 0);
    cr_expect_eq(atl_checkpoint_bytes(c, 2), 24);
    cr_expect_eq(atl_checkpoint_bytes(c, 3), -1);
    cr_expect_str_eq(atl_checkpoint_dtype_name(c, 2), "F32");
    cr_expect_null(atl_checkpoint_dtype_name(c, 3));
    for (int i = 0; i < 3; i++)
        cr_expect_null(t[i].data, "tensor %d has data before it is loaded", i);
    atl_checkpoint_close(c);
}

Test(safetensors, metadata) {
    atl_checkpoint *c = open_text("{\"__metadata__\":{\"b\":\"1\",\"a\":\"\\u00e9\\ud83d\\ude00\\n\",\"\":\"\"}}", 0);
    cr_expect_str_eq(atl_checkpoint_metadata(c, "b"), "1");
    cr_expect_str_eq(atl_checkpoint_metadata(c, "a"), "\xc3\xa9\xf0\x9f\x98\x80\n");
    cr_expect_str_eq(atl_checkpoint_metadata(c, ""), "");
    cr_expect_null(atl_checkpoint_metadata(c, "c"));
    const char *key = NULL, *value = NULL;
    cr_expect_eq(atl_checkpoint_metadata_at(c, 0, &key, &value), 1);
    cr_expect_str_eq(key, "b");
    cr_expect_str_eq(value, "1");
    cr_expect_eq(atl_checkpoint_metadata_at(c, 1, &key, NULL), 1);
    cr_expect_str_eq(key, "a");
    cr_expect_eq(atl_checkpoint_metadata_at(c, 3, &key, &value), 0);
    cr_expect_eq(atl_checkpoint_count(c), 0);
    cr_expect_eq(atl_checkpoint_load(c, NULL, NULL), ATL_OK);
    atl_checkpoint_close(c);
}

Test(safetensors, load_reads_what_the_prefix_names) {
    atl_checkpoint *c = open_text("{\"a.x\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                                  "\"a.y\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[3,3]},"
                                  "\"b.x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}",
                                  5);
    const atl_tensor *t = atl_checkpoint_tensors(c);
    cr_assert_eq(atl_checkpoint_load(c, "a.", NULL), ATL_OK);
    cr_assert_not_null(t[0].data);
    cr_expect_not_null(t[1].data, "a loaded tensor without elements still has data");
    cr_expect_null(t[2].data);
    cr_expect_arr_eq(t[0].data, ((unsigned char[]){0, 1, 2}), 3);
    const void *first = t[0].data;
    cr_assert_eq(atl_checkpoint_load(c, NULL, NULL), ATL_OK);
    cr_expect_eq(t[0].data, first, "a tensor was read twice");
    cr_expect_arr_eq(t[2].data, ((unsigned char[]){3, 4}), 2);
    atl_checkpoint_close(c);
}

Test(safetensors, every_dtype_word) {
    static const struct {
        const char *word;
        int bits;
        atl_dtype dtype;
    } words[] = {{"F64", 64, ATL_F64},          {"F32", 32, ATL_F32},      {"F16", 16, ATL_F16},
                 {"BF16", 16, ATL_BF16},        {"I64", 64, ATL_I64},      {"I32", 32, ATL_I32},
                 {"I16", 16, ATL_I16},          {"I8", 8, ATL_I8},         {"U8", 8, ATL_U8},
                 {"BOOL", 8, ATL_BOOL},         {"U16", 16, ATL_OTHER},    {"U32", 32, ATL_OTHER},
                 {"U64", 64, ATL_OTHER},        {"C64", 64, ATL_OTHER},    {"F8_E4M3", 8, ATL_OTHER},
                 {"F8_E5M2", 8, ATL_OTHER},     {"F8_E8M0", 8, ATL_OTHER}, {"F8_E4M3FNUZ", 8, ATL_OTHER},
                 {"F8_E5M2FNUZ", 8, ATL_OTHER}, {"F6_E2M3", 6, ATL_OTHER}, {"F6_E3M2", 6, ATL_OTHER},
                 {"F4", 4, ATL_OTHER}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char header[200];
        const char *form = "{\"t\":{\"dtype\":\"%s\",\"shape\":[8],\"data_offsets\":[0,%d]}}";
        snprintf(header, sizeof header, form, words[i].word, words[i].bits);
        atl_checkpoint *c = open_text(header, (size_t)words[i].bits);
        cr_expect_eq(atl_checkpoint_tensors(c)->dtype, words[i].dtype, "%s: %d", words[i].word,
                     atl_checkpoint_tensors(c)->dtype);
        cr_expect_str_eq(atl_checkpoint_dtype_name(c, 0), words[i].word);
        atl_checkpoint_close(c);
        snprintf(header, sizeof header, form, words[i].word, words[i].bits + 1);
        expect_refusal(put_text(header, (size_t)words[i].bits + 1), words[i].word, ATL_BAD_FORMAT, "wrong size");
    }
}

Test(safetensors, good_headers) {
    static const struct {
        const char *label, *header;
        size_t data;
    } good[] = {
        {"no tensor", "{}", 0},
        {"empty metadata", "{\"__metadata__\":{}}", 0},
        {"white space inside", "{ \"a\" :\t{\n\"dtype\"\r: \"U8\" , \"shape\": [ 1 ] ,\"data_offsets\" : [ 0 , 1 ] } }",
         1},
        {"white space after", "{" T("a", "[0,1]") "} \t\r\n", 1},
        {"an empty name", "{" T("", "[0,1]") "}", 1},
        {"any order", "{" T("a", "[1,2]") "," T("b", "[2,3]") "," T("c", "[0,1]") "}", 3},
        {"a name in all lengths of UTF-8", "{" T("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f", "[0,1]") "}", 1},
        {"escapes in a name", "{" T("\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\uD83D\\uDE00", "[0,1]") "}", 1},
        {"an escaped field name", "{\"a\":{\"\\u0064type\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1},
        {"eight axes", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,2],\"data_offsets\":[0,2]}}", 2},
        {"no elements, twice, in the same place",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
         "\"b\":{\"dtype\":\"F64\",\"shape\":[3,0,9223372036854775807],\"data_offsets\":[0,0]}}",
         0},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        atl_error error;
        atl_status status = try_open(put_text(good[i].header, good[i].data), &error);
        cr_expect_eq(status, ATL_OK, "%s: status %d (%s)", good[i].label, status, error.message);
    }
}

Test(safetensors, hundred_thousand_tensors) {
    enum { COUNT = 100000 };
    size_t capacity = (size_t)COUNT * 100, length = 0;
    char *header = malloc(capacity);
    cr_assert_not_null(header);
    /* Backwards, so that nothing is sorted already. */
    for (int i = COUNT - 1; i >= 0; i--)
        length += (size_t)snprintf(header + length, capacity - length,
                                   "%c\"layers.%d.weight\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                                   i == COUNT - 1 ? '{' : ',', i, 4 * i, 4 * i + 4);
    header[length++] = '}';
    atl_error error = {0};
    atl_checkpoint *c = NULL;
    atl_status status = atl_checkpoint_open(put_checkpoint("c", header, length, 4 * COUNT), &c, &error);
    cr_assert_eq(status, ATL_OK, "%s", error.message);
    cr_assert_eq(atl_checkpoint_count(c), COUNT);
    const atl_tensor *t = atl_checkpoint_tensors(c);
    cr_expect_str_eq(t[0].name, "layers.0.weight");
    cr_expect_str_eq(t[COUNT - 1].name, "layers.99999.weight");
    cr_assert_eq(atl_checkpoint_load(c, "layers.9999", NULL), ATL_OK);
    cr_expect_not_null(t[99990].data);
    cr_expect_null(t[99989].data);
    atl_checkpoint_close(c);
    free(header);
}

/* ---------------------------------------------------------------- no files, changing files, misuse */

Test(safetensors, only_regular_files) {
    expect_refusal(in_folder("missing"), "missing", ATL_IO_ERROR, "cannot open");
    expect_refusal(folder, "a folder", ATL_IO_ERROR, "got a directory");
    expect_refusal("/dev/zero", "a device", ATL_IO_ERROR, "got a device");
    const char *pipe = in_folder("pipe");
    cr_assert_eq(mkfifo(pipe, 0600), 0);
    expect_refusal(pipe, "a pipe that nobody writes to", ATL_IO_ERROR, "got a pipe");
    const char *loop = in_folder("loop");
    cr_assert_eq(symlink(loop, loop), 0);
    expect_refusal(loop, "a link to itself", ATL_IO_ERROR, "cannot open");
}

Test(safetensors, file_that_shrinks) {
    atl_checkpoint *c = open_text("{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                                  "\"b\":{\"dtype\":\"U8\",\"shape\":[100000],\"data_offsets\":[3,100003]}}",
                                  100003);
    const char *path = in_folder("c.safetensors");
    struct stat info;
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(truncate(path, info.st_size - 50000), 0);
    atl_error error = {0};
    cr_expect_eq(atl_checkpoint_load(c, NULL, &error), ATL_IO_ERROR);
    cr_expect(strstr(error.message, "c.safetensors: the file has shrunk"), "\"%s\"", error.message);
    const atl_tensor *t = atl_checkpoint_tensors(c);
    cr_expect_not_null(t[0].data, "what was read before stays");
    cr_expect_null(t[1].data);
    cr_assert_eq(truncate(path, info.st_size), 0);
    cr_expect_eq(atl_checkpoint_load(c, NULL, &error), ATL_OK, "a second attempt works");
    cr_expect_not_null(t[1].data);
    atl_checkpoint_close(c);
}

Test(safetensors, misuse) {
    atl_checkpoint *c = NULL;
    atl_error error;
    cr_expect_eq(atl_checkpoint_open(NULL, &c, &error), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_checkpoint_open("x", NULL, &error), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_checkpoint_open("", &c, NULL), ATL_IO_ERROR);
    cr_expect_eq(atl_checkpoint_load(NULL, NULL, &error), ATL_INVALID_ARGUMENT);
    atl_checkpoint_close(NULL);
    cr_expect_null(c);
}

/* ---------------------------------------------------------------- layers */

#define SE_WEIGHTS                                                                                                     \
    "\"m.fc.0.weight\":{\"dtype\":\"F32\",\"shape\":[2,4],\"data_offsets\":[0,32]},"                                   \
    "\"m.fc.2.weight\":{\"dtype\":\"F32\",\"shape\":[4,2],\"data_offsets\":[32,64]},"                                  \
    "\"other\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[64,72]}"

/* A checkpoint of an SE block whose metadata is `metadata`. */
static atl_checkpoint *open_se(const char *metadata) {
    char header[1000];
    snprintf(header, sizeof header, "{\"__metadata__\":{%s}," SE_WEIGHTS "}", metadata);
    return open_text(header, 72);
}

static atl_status load_se(const char *metadata, const char *kind, const atl_param *param, atl_error *error) {
    atl_checkpoint *c = open_se(metadata);
    atl_layer_desc desc;
    atl_layer_desc_init(&desc);
    desc.kind = kind;
    desc.prefix = "m.";
    desc.params = param;
    desc.param_count = param ? 1 : 0;
    atl_layer *layer = NULL;
    *error = (atl_error){0};
    atl_status status = atl_layer_load(c, &desc, &layer, error);
    cr_expect_eq(status == ATL_OK, layer != NULL, "status %d but layer %p", status, (void *)layer);
    cr_expect_null(atl_checkpoint_tensors(c)[2].data, "a tensor outside the prefix was loaded");
    atl_checkpoint_close(c);
    if (!status) /* the layer has copies of its own */
        cr_expect_str_eq(atl_layer_kind(layer), "se");
    atl_layer_release(layer);
    return status;
}

static void expect_load_refused(const char *metadata, const char *kind, const atl_param *param, const char *reason) {
    atl_error error;
    atl_status status = load_se(metadata, kind, param, &error);
    cr_expect_eq(status, ATL_INVALID_ARGUMENT, "%s: status %d", reason, status);
    cr_expect(strncmp(error.message, folder, strlen(folder)) == 0, "no path in \"%s\"", error.message);
    cr_expect(strstr(error.message, reason), "no \"%s\" in \"%s\"", reason, error.message);
}

Test(safetensors, layer_from_metadata) {
    atl_error error;
    static const atl_param relu = {"activation", "relu"};
    cr_expect_eq(load_se("", "se", NULL, &error), ATL_OK, "%s", error.message);
    cr_expect_eq(load_se("\"attentile.layer\":\"se\"", NULL, NULL, &error), ATL_OK, "%s", error.message);
    cr_expect_eq(load_se("\"attentile.layer\":\"no kind\"", "se", NULL, &error), ATL_OK, "%s", error.message);
    cr_expect_eq(load_se("\"attentile.activation\":\"silu\"", "se", NULL, &error), ATL_OK, "%s", error.message);
    cr_expect_eq(load_se("\"attentile.activation\":\"wrong\"", "se", &relu, &error), ATL_OK,
                 "the caller's parameter comes first: %s", error.message);
    cr_expect_eq(load_se("\"attentile\":\"x\",\"format\":\"pt\"", "se", NULL, &error), ATL_OK, "%s", error.message);
}

Test(safetensors, layer_from_wrong_metadata) {
    static const atl_param unknown = {"radius", "3"};
    expect_load_refused("", NULL, NULL, "metadata key \"attentile.layer\"");
    expect_load_refused("\"attentile.layer\":\"cnn\"", NULL, NULL, "cnn");
    expect_load_refused("\"attentile.radius\":\"3\"", "se", NULL, "metadata key \"attentile.radius\"");
    expect_load_refused("\"attentile.activation\":\"wrong\"", "se", NULL, "metadata key \"attentile.activation\"");
    expect_load_refused("", "se", &unknown, "radius");
    atl_error error;
    cr_expect_eq(load_se("\"attentile.radius\":\"3\"", "se", &unknown, &error), ATL_INVALID_ARGUMENT);
    cr_expect_null(strstr(error.message, "metadata"), "the caller's own mistake: \"%s\"", error.message);
    /* The message lists the names that there are, one of which the file sets. */
    cr_expect_eq(load_se("\"attentile.alpha\":\"0.2\"", "se", &unknown, &error), ATL_INVALID_ARGUMENT);
    cr_expect_null(strstr(error.message, "metadata"), "the caller's own mistake: \"%s\"", error.message);
}

Test(safetensors, layer_misuse) {
    atl_checkpoint *c = open_se("\"attentile.layer\":\"se\"");
    atl_layer *layer = NULL;
    atl_layer_desc desc;
    atl_layer_desc_init(&desc);
    desc.tensors = atl_checkpoint_tensors(c);
    cr_expect_eq(atl_layer_load(c, &desc, &layer, NULL), ATL_INVALID_ARGUMENT);
    atl_layer_desc_init(&desc);
    desc.param_count = 1;
    cr_expect_eq(atl_layer_load(c, &desc, &layer, NULL), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_layer_load(NULL, &desc, &layer, NULL), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_layer_load(c, NULL, NULL, NULL), ATL_INVALID_ARGUMENT);
    desc.size = 1;
    cr_expect_eq(atl_layer_load(c, &desc, &layer, NULL), ATL_INVALID_ARGUMENT);
    cr_expect_eq(atl_layer_load(c, NULL, &layer, NULL), ATL_INVALID_ARGUMENT, "no prefix: no weights of an SE block");
    cr_expect_null(layer);
    atl_checkpoint_close(c);
}

Test(safetensors, files_of_torch_save_are_named) {
    static const char *const starts[] = {"PK\3\4\0\0\b\b", "\x80\2}q\0.", "\x80\5\x95\0\0"};
    char bytes[64] = {0};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        memset(bytes, 'x', sizeof bytes);
        memcpy(bytes, starts[i], strlen(starts[i]));
        put_file("model.pt", bytes, sizeof bytes);
        expect_refusal(in_folder("model.pt"), starts[i], ATL_BAD_FORMAT, "torch.save");
    }
}
