/* SPDX-License-Identifier: Apache-2.0 */
/* Misuse of layers: an error that says what is wrong, and no output argument changed. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

/* ---------------------------------------------------------------- names */

Test(api, names) {
    static const char *const used[] = {"se", "cbam-channel", "cbam-spatial", "self-attention-spatial"};
    for (int status = ATL_OK; status <= ATL_BAD_FORMAT; status++)
        cr_expect(atl_status_name((atl_status)status)[0], "status %d has no name", status);
    cr_expect(atl_status_name((atl_status)77), "an unknown status has a name");
    cr_expect_str_eq(atl_version(), "0.1.0");
    cr_expect_str_eq(atl_dtype_name(ATL_BF16), "BF16");
    cr_expect_str_eq(atl_dtype_name((atl_dtype)99), "?");
    for (size_t k = 0; k < sizeof used / sizeof *used; k++) {
        int found = 0;
        for (int i = 0; atl_kind_name(i); i++)
            found += strcmp(atl_kind_name(i), used[k]) == 0;
        cr_expect_eq(found, 1, "%s is listed %d times", used[k], found);
    }
    cr_expect_null(atl_kind_name(-1));
    cr_expect_null(atl_kind_name(1000));
}

/* ---------------------------------------------------------------- layer */

/* A descriptor of an se block with C = 3, h = 2, to be spoiled. */
typedef struct parts {
    atl_tensor tensors[6];
    atl_param params[2], renames[2];
    atl_layer_desc desc;
} parts;

static const float ones[64] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

static void se_parts(parts *p) {
    *p = (parts){.tensors = {{"fc.0.weight", ones, ATL_F32, 2, {2, 3}}, {"fc.2.weight", ones, ATL_F32, 2, {3, 2}}}};
    atl_layer_desc_init(&p->desc);
    p->desc.kind = "se";
    p->desc.tensors = p->tensors;
    p->desc.tensor_count = 2;
    p->desc.params = p->params;
    p->desc.renames = p->renames;
}

/* The same as the channel attention of CBAM. */
static void cbam_channel_parts(parts *p) {
    se_parts(p);
    p->tensors[0] = (atl_tensor){"sharedMLP.0.weight", ones, ATL_F32, 4, {2, 3, 1, 1}};
    p->tensors[1] = (atl_tensor){"sharedMLP.2.weight", ones, ATL_F32, 4, {3, 2, 1, 1}};
    p->desc.kind = "cbam-channel";
}

static const float taps[2 * 9 * 9] = {1};

static void cbam_spatial_parts(parts *p) {
    se_parts(p);
    p->tensors[0] = (atl_tensor){"conv.weight", taps, ATL_F32, 4, {1, 2, 3, 3}};
    p->tensors[1] = (atl_tensor){"conv.bias", taps, ATL_F32, 1, {1}};
    p->desc.kind = "cbam-spatial";
}

static void sas_parts(parts *p) {
    *p = (parts){.tensors = {{"query_conv.weight", ones, ATL_F32, 4, {2, 3, 1, 1}},
                             {"key_conv.weight", ones, ATL_F32, 4, {2, 3, 1, 1}},
                             {"value_conv.weight", ones, ATL_F32, 4, {3, 3, 1, 1}},
                             {"gamma", ones, ATL_F32, 1, {1}}}};
    atl_layer_desc_init(&p->desc);
    p->desc.kind = "self-attention-spatial";
    p->desc.tensors = p->tensors;
    p->desc.tensor_count = 4;
    p->desc.params = p->params;
    p->desc.renames = p->renames;
}

static void expect_layer(const char *what, const parts *p, const char *kind) {
    atl_layer *layer = NULL;
    atl_error error = {0};
    atl_status status = atl_layer_create(&p->desc, &layer, &error);
    cr_expect_eq(status, ATL_OK, "%s: %s", what, error.message);
    if (layer)
        cr_expect_str_eq(atl_layer_kind(layer), kind, "%s", what);
    atl_layer_release(layer);
}

static void expect_no_layer(const char *what, const parts *p, const char *const words[]) {
    atl_layer *const untouched = (atl_layer *)(void *)&ones;
    atl_layer *layer = untouched;
    atl_error error = {0};
    atl_status status = atl_layer_create(&p->desc, &layer, &error);
    case_expect_error(what, status, ATL_INVALID_ARGUMENT, &error, words);
    cr_expect_eq(layer, untouched, "%s: the output argument has changed", what);
    if (status == ATL_OK)
        atl_layer_release(layer);
    status = atl_layer_create(&p->desc, &layer, NULL);
    cr_expect_neq(status, ATL_OK, "%s: without an error to fill", what);
    if (status == ATL_OK)
        atl_layer_release(layer);
}

Test(api, layers_that_work) {
    parts p;
    se_parts(&p);
    expect_layer("se", &p, "se");
    p.desc.kind = "auto";
    expect_layer("auto", &p, "se");
    p.tensors[2] = (atl_tensor){"num_batches_tracked", NULL, ATL_I64, 0, {0}};
    p.tensors[3] = (atl_tensor){"other.weight", NULL, ATL_OTHER, 3, {5, 5, 5}};
    p.desc.tensor_count = 4;
    expect_layer("unknown tensors are ignored", &p, "se");
    p.tensors[0].name = "layer1.0.se.fc.0.weight";
    p.tensors[1].name = "layer1.0.se.up.weight";
    p.desc.prefix = "layer1.0.se.";
    p.renames[0] = (atl_param){"up.weight", "fc.2.weight"};
    p.desc.rename_count = 1;
    p.desc.kind = "se";
    expect_layer("prefix and rename", &p, "se");
    cbam_channel_parts(&p);
    expect_layer("channel attention", &p, "cbam-channel");
    p.tensors[2] = (atl_tensor){"sharedMLP.2.bias", ones, ATL_F32, 1, {3}};
    p.params[0] = (atl_param){"activation", "silu"};
    p.desc.tensor_count = 3;
    p.desc.param_count = 1;
    expect_layer("one bias and silu", &p, "cbam-channel");
    p.desc.kind = "auto";
    expect_layer("channel attention, auto", &p, "cbam-channel");
    cbam_spatial_parts(&p);
    expect_layer("spatial attention", &p, "cbam-spatial");
    for (int k = 3; k <= 7; k += 2) {
        cbam_spatial_parts(&p);
        p.tensors[0].shape[2] = p.tensors[0].shape[3] = k;
        p.params[0] = (atl_param){"batch_first", "false"};
        p.desc.tensor_count = p.desc.param_count = 1;
        p.desc.kind = "auto";
        expect_layer("spatial attention without bias, auto", &p, "cbam-spatial");
    }
    sas_parts(&p);
    expect_layer("attention", &p, "self-attention-spatial");
    p.tensors[3].rank = 0;
    p.params[0] = (atl_param){"scale", "0.125"};
    p.desc.param_count = 1;
    expect_layer("gamma [] and a scale", &p, "self-attention-spatial");
    p.desc.param_count = 0;
    p.desc.kind = "auto";
    expect_layer("attention, auto", &p, "self-attention-spatial");
}

Test(api, kinds_that_do_not_exist) {
    parts p;
    se_parts(&p);
    p.desc.kind = NULL;
    expect_no_layer("no kind", &p, NULL);
    p.desc.kind = "";
    expect_no_layer("empty kind", &p, NULL);
    p.desc.kind = "self-atention-spatial";
    expect_no_layer("misspelt kind", &p, CASE_WORDS("self-atention-spatial", "did you mean", "self-attention-spatial"));
    p.desc.kind = "auto";
    p.tensors[0].name = "conv1.weight";
    p.tensors[1].name = "conv2.weight";
    expect_no_layer("nothing to recognise", &p, NULL);
    cbam_channel_parts(&p);
    p.desc.kind = "se";
    expect_no_layer("channel attention as se", &p, CASE_WORDS("fc.0.weight"));
    p.desc.kind = "auto";
    p.tensors[2] = (atl_tensor){"fc.0.weight", ones, ATL_F32, 2, {2, 3}};
    p.tensors[3] = (atl_tensor){"fc.2.weight", ones, ATL_F32, 2, {3, 2}};
    p.desc.tensor_count = 4;
    expect_no_layer("two kinds at once", &p, CASE_WORDS("se", "cbam-channel"));
    p.desc.kind = "cbam-channel";
    expect_layer("one of the two, named", &p, "cbam-channel");
    const char *kind = "unchanged";
    atl_error error = {0};
    parts other; /* a convolution of that name is no layer: sizes tell */
    cbam_spatial_parts(&other);
    other.tensors[0].shape[0] = 64;
    other.desc.kind = "auto";
    expect_no_layer("any convolution", &other, CASE_WORDS("fit no layer"));
    p.desc.kind = "auto";
    case_expect_error("recognize", atl_recognize(&p.desc, &kind, &error), ATL_INVALID_ARGUMENT, &error, NULL);
    cr_expect_str_eq(kind, "unchanged");
    sas_parts(&p);
    p.desc.kind = NULL;
    for (int i = 0; i < 4; i++)
        p.tensors[i].data = NULL; /* names and ranks are enough */
    cr_expect_eq(atl_recognize(&p.desc, &kind, &error), ATL_OK, "%s", error.message);
    cr_expect_str_eq(kind, "self-attention-spatial");
}

static void refuse_lists(parts *p, const char *word) {
    const char *kind = "unchanged";
    atl_error error = {0};
    case_expect_error("recognize", atl_recognize(&p->desc, &kind, &error), ATL_INVALID_ARGUMENT, &error,
                      CASE_WORDS(word));
    cr_expect_str_eq(kind, "unchanged");
    expect_no_layer(word, p, CASE_WORDS(word));
    p->desc.kind = "auto";
    expect_no_layer(word, p, CASE_WORDS(word));
}

Test(api, lists_that_are_not_there) {
    parts p;
    se_parts(&p);
    p.desc.tensors = NULL;
    refuse_lists(&p, "tensors");
    se_parts(&p);
    p.desc.renames = NULL;
    p.desc.rename_count = 1;
    refuse_lists(&p, "renames");
    se_parts(&p);
    p.desc.rename_count = 1;
    refuse_lists(&p, "renames[0]");
    p.renames[0] = (atl_param){"fc.0.weight", NULL};
    refuse_lists(&p, "renames[0]");
}

Test(api, weights_missing_or_of_the_wrong_type) {
    parts p;
    se_parts(&p);
    p.desc.tensor_count = 1;
    expect_no_layer("missing weight", &p, CASE_WORDS("fc.2.weight"));
    p.desc.tensor_count = 0;
    p.desc.tensors = NULL;
    expect_no_layer("no tensors", &p, CASE_WORDS("fc.0.weight"));
    se_parts(&p);
    p.desc.tensors = NULL;
    expect_no_layer("a count without tensors", &p, NULL);
    se_parts(&p);
    p.tensors[1].name = NULL;
    expect_no_layer("tensor without a name", &p, NULL);
    se_parts(&p);
    p.tensors[1].data = NULL;
    expect_no_layer("weight without data", &p, CASE_WORDS("fc.2.weight"));
    se_parts(&p);
    p.tensors[1].dtype = ATL_I64;
    expect_no_layer("integer weight", &p, CASE_WORDS("fc.2.weight", "I64"));
    p.tensors[1].dtype = (atl_dtype)55;
    expect_no_layer("no dtype at all", &p, CASE_WORDS("fc.2.weight"));
    se_parts(&p);
    p.tensors[2] = p.tensors[0];
    p.desc.tensor_count = 3;
    expect_no_layer("a name twice", &p, CASE_WORDS("fc.0.weight"));
    se_parts(&p);
    p.desc.prefix = "se";
    expect_no_layer("prefix that nothing has", &p, CASE_WORDS("fc.0.weight"));
    sas_parts(&p);
    p.desc.tensor_count = 3;
    expect_no_layer("gamma missing", &p, CASE_WORDS("gamma"));
}

Test(api, shapes_that_contradict) {
    parts p;
    se_parts(&p);
    p.tensors[1].shape[1] = 4;
    expect_no_layer("fc.2 reads 4, fc.0 writes 2", &p, CASE_WORDS("fc.0.weight", "fc.2.weight", "4", "2"));
    se_parts(&p);
    p.tensors[1].shape[0] = 5;
    expect_no_layer("fc.2 writes 5, fc.0 reads 3", &p, CASE_WORDS("fc.0.weight", "fc.2.weight", "5", "3"));
    se_parts(&p);
    p.tensors[2] = (atl_tensor){"fc.0.bias", ones, ATL_F32, 1, {7}};
    p.desc.tensor_count = 3;
    expect_no_layer("bias of another length", &p, CASE_WORDS("fc.0.bias", "fc.0.weight", "7"));
    p.tensors[2] = (atl_tensor){"fc.0.bias", ones, ATL_F32, 2, {1, 2}};
    expect_no_layer("bias of rank 2", &p, CASE_WORDS("fc.0.bias"));
    se_parts(&p);
    p.tensors[0].rank = 1;
    expect_no_layer("weight of rank 1", &p, CASE_WORDS("fc.0.weight"));
    p.tensors[0].rank = ATL_MAX_RANK + 1;
    expect_no_layer("rank 9", &p, NULL);
    p.tensors[0].rank = -1;
    expect_no_layer("rank -1", &p, NULL);
    p.tensors[0] = (atl_tensor){"fc.0.weight", ones, ATL_F32, 4, {2, 3, 3, 3}};
    expect_no_layer("3x3 weight", &p, CASE_WORDS("fc.0.weight"));
    p.tensors[0] = (atl_tensor){"fc.0.weight", ones, ATL_F32, 2, {0, 3}};
    expect_no_layer("empty weight", &p, CASE_WORDS("fc.0.weight"));
    p.tensors[0] = (atl_tensor){"fc.0.weight", ones, ATL_F32, 2, {INT64_MAX, INT64_MAX}};
    atl_layer *layer = NULL;
    atl_error error = {0};
    p.tensors[1] = (atl_tensor){"fc.2.weight", ones, ATL_F32, 2, {INT64_MAX, INT64_MAX}};
    case_expect_error("weights past 2^63 bytes", atl_layer_create(&p.desc, &layer, &error), ATL_OUT_OF_MEMORY, &error,
                      NULL);
    cbam_channel_parts(&p);
    p.tensors[1].shape[1] = 4;
    expect_no_layer("sharedMLP.2 reads 4, sharedMLP.0 writes 2", &p,
                    CASE_WORDS("sharedMLP.0.weight", "sharedMLP.2.weight", "4", "2"));
    static const int64_t bad_kernels[][4] = {{1, 2, 4, 4}, {1, 2, 1, 1}, {1, 2, 9, 9}, {1, 2, 3, 5},
                                             {1, 3, 3, 3}, {2, 2, 3, 3}, {1, 2, 0, 0}, {1, 2, 6, 6}};
    for (size_t i = 0; i < sizeof bad_kernels / sizeof *bad_kernels; i++) {
        char sizes[32];
        cbam_spatial_parts(&p);
        memcpy(p.tensors[0].shape, bad_kernels[i], sizeof bad_kernels[i]);
        snprintf(sizes, sizeof sizes, "[%d, %d, %d, %d]", (int)bad_kernels[i][0], (int)bad_kernels[i][1],
                 (int)bad_kernels[i][2], (int)bad_kernels[i][3]);
        expect_no_layer(sizes, &p, CASE_WORDS("conv.weight", "expected", sizes));
    }
    cbam_spatial_parts(&p);
    p.tensors[0].rank = 3;
    expect_no_layer("a kernel of rank 3", &p, CASE_WORDS("conv.weight", "[1, 2, k, k]", "[1, 2, 3]"));
    cbam_spatial_parts(&p);
    p.tensors[1].shape[0] = 2;
    expect_no_layer("two biases", &p, CASE_WORDS("conv.bias", "[1]", "[2]"));
    sas_parts(&p);
    p.tensors[1].shape[0] = 1;
    expect_no_layer("key of another width", &p, CASE_WORDS("query_conv.weight", "key_conv.weight"));
    sas_parts(&p);
    p.tensors[2].shape[0] = 2;
    expect_no_layer("value that is not square", &p, CASE_WORDS("value_conv.weight"));
    sas_parts(&p);
    p.tensors[3].shape[0] = 2;
    expect_no_layer("two gammas", &p, CASE_WORDS("gamma"));
}

Test(api, parameters) {
    static const atl_param se_bad[] = {
        {"activation", "gelu"}, {"gate", "tanh"},  {"alpha", "x"},          {"alpha", ""},     {"alpha", "nan"},
        {"batch_first", "yes"}, {"alpha", "1e99"}, {"batch_first", "True"}, {"alpha", "0.5 "}, {"gate", ""},
    };
    static const atl_param sas_bad[] = {{"scale", "one"}, {"scale", "inf"}, {"scale", ""}, {"scale", "1,5"}};
    static const atl_param se_good[] = {{"activation", "silu"}, {"gate", "hard-sigmoid"}, {"alpha", "0.2"},
                                        {"batch_first", "0"},   {"batch_first", "true"},  {"alpha", "1e-1"}};
    parts p;
    se_parts(&p);
    p.desc.param_count = 1;
    for (size_t i = 0; i < sizeof se_bad / sizeof *se_bad; i++) {
        p.params[0] = se_bad[i];
        expect_no_layer("bad parameter of se", &p, CASE_WORDS(se_bad[i].name, se_bad[i].value));
    }
    for (size_t i = 0; i < sizeof se_good / sizeof *se_good; i++) {
        p.params[0] = se_good[i];
        expect_layer(se_good[i].name, &p, "se");
    }
    p.params[0] = (atl_param){"alpha", NULL};
    expect_no_layer("parameter without a value", &p, NULL);
    p.params[0] = (atl_param){NULL, "1"};
    expect_no_layer("parameter without a name", &p, NULL);
    p.params[0] = (atl_param){"activatoin", "silu"};
    expect_no_layer("misspelt parameter", &p, CASE_WORDS("activatoin", "activation"));
    p.params[0] = (atl_param){"scale", "1"};
    expect_no_layer("parameter of another kind", &p, CASE_WORDS("scale", "alpha"));
    p.desc.params = NULL;
    expect_no_layer("a count without parameters", &p, NULL);
    sas_parts(&p);
    p.desc.param_count = 1;
    for (size_t i = 0; i < sizeof sas_bad / sizeof *sas_bad; i++) {
        p.params[0] = sas_bad[i];
        expect_no_layer("bad parameter of attention", &p, CASE_WORDS(sas_bad[i].name, sas_bad[i].value));
    }
}

Test(api, layer_arguments) {
    parts p;
    atl_error error = {0};
    atl_layer *layer = NULL;
    se_parts(&p);
    case_expect_error("NULL desc", atl_layer_create(NULL, &layer, &error), ATL_INVALID_ARGUMENT, &error, NULL);
    case_expect_error("NULL layer", atl_layer_create(&p.desc, NULL, &error), ATL_INVALID_ARGUMENT, &error, NULL);
    p.desc.size = 0;
    expect_no_layer("size 0", &p, NULL);
    p.desc.size = sizeof(size_t);
    expect_no_layer("size of almost nothing", &p, NULL);
    atl_layer_release(NULL);
    atl_layer_desc_init(NULL);
}

/* A caller built against a newer header hands over a larger struct. Fields that this release does not know may be
 * there, but not be used. */
Test(api, structs_of_the_future) {
    struct {
        atl_engine_options options;
        char more[64];
    } engine_options;
    struct {
        atl_layer_desc desc;
        char more[64];
    } layer_desc;
    parts p;
    atl_engine *engine = NULL;
    atl_layer *layer = NULL;
    atl_error error = {0};
    memset(&engine_options, 0, sizeof engine_options);
    atl_engine_options_init(&engine_options.options);
    engine_options.options.size = sizeof engine_options;
    engine_options.options.threads = 1;
    cr_expect_eq(atl_engine_create(&engine_options.options, &engine, &error), ATL_OK, "%s", error.message);
    se_parts(&p);
    memset(&layer_desc, 0, sizeof layer_desc);
    layer_desc.desc = p.desc;
    layer_desc.desc.size = sizeof layer_desc;
    cr_expect_eq(atl_layer_create(&layer_desc.desc, &layer, &error), ATL_OK, "%s", error.message);
    atl_layer_release(layer);
    atl_engine_release(engine);
    engine_options.more[63] = 1;
    cr_expect_eq(atl_engine_create(&engine_options.options, &engine, &error), ATL_UNSUPPORTED);
    layer_desc.more[0] = 1;
    cr_expect_eq(atl_layer_create(&layer_desc.desc, &layer, &error), ATL_UNSUPPORTED);
}
