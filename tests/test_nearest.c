/* SPDX-License-Identifier: Apache-2.0 */
/* Misspelt names: which one is suggested, and what a layer says of weights that are not where it looks. */
#include <criterion/criterion.h>
#include <string.h>

#include "attentile/attentile.h"
#include "nearest.h"

/* The nearest of a list that ends with NULL. */
static const char *nearest_of(const char *word, const char *const names[]) {
    atl_nearest nearest = atl_nearest_to(word);
    for (int i = 0; names[i]; i++)
        atl_nearest_show(&nearest, names[i]);
    return nearest.name ? nearest.name : "";
}

Test(nearest, resembles) {
    static const char *const names[] = {"run", "info", "bench", "output", "map", "map-rows", NULL};
    static const char *const pairs[][2] = {
        {"rnu", "run"},     {"outptu", "output"}, {"maprows", "map-rows"},  {"mpa", "map"},
        {"benhc", "bench"}, {"inof", "info"},     {"outputs", "output"},    {"", ""},
        {"zzz", ""},        {"xyzw", ""},         {"map-rows", "map-rows"}, {"map-row", "map-rows"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        cr_expect_str_eq(nearest_of(pairs[i][0], names), pairs[i][1], "%s: %s", pairs[i][0],
                         nearest_of(pairs[i][0], names));
}

Test(nearest, counts_letters) {
    static const struct {
        const char *a, *b;
        int distance;
    } cases[] = {{"weight", "weight", 0}, {"weigth", "weight", 1}, {"weght", "weight", 1},  {"weeight", "weight", 1},
                 {"woight", "weight", 1}, {"thgiew", "weight", 4}, {"wieghts", "weight", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        atl_nearest nearest = atl_nearest_to(cases[i].a);
        atl_nearest_show(&nearest, cases[i].b);
        cr_expect_eq(nearest.distance, cases[i].distance, "%s: %d", cases[i].a, nearest.distance);
        cr_expect_eq(nearest.name != NULL, cases[i].distance < 4, "%s", cases[i].a);
    }
}

Test(nearest, long_words_resemble_nothing) {
    char a[200], b[200];
    memset(a, 'x', sizeof a);
    memset(b, 'x', sizeof b);
    for (int length = 1; length < 199; length++) {
        a[length] = b[length] = '\0';
        cr_expect_eq(*nearest_of(a, (const char *const[]){b, NULL}) != '\0', length <= 80, "length %d", length);
        a[length] = b[length] = 'x';
    }
}

/* ---- layers */

enum { TENSORS = 3 };

/* What an SE layer of these names under the prefix says; the names end with NULL. */
static const char *message_of(const char *prefix, const char *const names[]) {
    static const float zeros[4];
    static atl_error error;
    atl_tensor tensors[TENSORS];
    atl_layer_desc desc;
    atl_layer *layer = NULL;
    atl_layer_desc_init(&desc);
    desc.kind = "se";
    desc.prefix = prefix;
    desc.tensors = tensors;
    for (; names[desc.tensor_count]; desc.tensor_count++)
        tensors[desc.tensor_count] = (atl_tensor){names[desc.tensor_count], zeros, ATL_F32, 2, {2, 2}};
    cr_assert_eq(atl_layer_create(&desc, &layer, &error), ATL_INVALID_ARGUMENT);
    return error.message;
}

Test(nearest, missing_weights) {
    static const struct {
        const char *prefix, *names[TENSORS + 1], *message;
    } cases[] = {
        {NULL, {"fc.0.weigth", "fc.2.weight"}, "fc.0.weight: missing (se needs it; did you mean 'fc.0.weigth'?)"},
        {"a.", {"a.fc.0.weight", "a.fc.2.weigh"}, "a.fc.2.weight: missing (se needs it; did you mean 'a.fc.2.weigh'?)"},
        /* what the layer reads already is not meant; nor is what lies elsewhere */
        {NULL, {"fc.0.weight", "other"}, "fc.2.weight: missing (se needs it)"},
        {"a.", {"a.fc.0.weight", "b.fc.2.weigh"}, "a.fc.2.weight: missing (se needs it)"},
        {NULL,
         {"layer1.0.se.fc.0.weight", "layer1.0.se.fc.2.weight"},
         "fc.0.weight: missing (se needs it; with the prefix 'layer1.0.se.' it is there)"},
        {"layer1.0.se",
         {"layer1.0.se.fc.0.weight"},
         "layer1.0.sefc.0.weight: missing (se needs it; with the prefix 'layer1.0.se.' it is there)"},
        {"a.", {"fc.0.weight"}, "a.fc.0.weight: missing (se needs it; with the prefix '' it is there)"},
        {NULL, {"xfc.0.weight", "other"}, "fc.0.weight: missing (se needs it; did you mean 'xfc.0.weight'?)"},
        {NULL,
         {"b.fc.0.weight", "b.fc.2.weight"},
         "fc.0.weight: missing (se needs it; with the prefix 'b.' it is there)"},
        {"a.",
         {"a.fc.0.weight", "a.fc.2.weigh", "b.fc.2.weight"},
         "a.fc.2.weight: missing (se needs it; did you mean 'a.fc.2.weigh'?)"},
        {NULL, {NULL}, "fc.0.weight: missing (se needs it)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect_str_eq(message_of(cases[i].prefix, cases[i].names), cases[i].message, "case %zu: \"%s\"", i,
                         message_of(cases[i].prefix, cases[i].names));
}

Test(nearest, unknown_kinds) {
    atl_layer_desc desc;
    atl_layer *layer = NULL;
    atl_error error;
    atl_layer_desc_init(&desc);
    desc.kind = "non-locl";
    cr_assert_eq(atl_layer_create(&desc, &layer, &error), ATL_INVALID_ARGUMENT);
    cr_expect_str_eq(error.message, "layer 'non-locl': no such kind (did you mean 'non-local'?)");
    desc.kind = "convolution";
    cr_assert_eq(atl_layer_create(&desc, &layer, &error), ATL_INVALID_ARGUMENT);
    cr_expect(strstr(error.message, "'convolution': no such kind (expected one of: se, cbam-channel"), "%s",
              error.message);
    for (int i = 0; atl_kind_name(i); i++)
        cr_expect(strstr(error.message, atl_kind_name(i)), "no %s in \"%s\"", atl_kind_name(i), error.message);
}
