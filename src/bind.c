/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a description: names, shapes, widths, conversion to float32; and which kind they are. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "layer.h"
#include "memory.h"
#include "options.h"
#include "text.h"

static const char *prefix_of(const atl_layer_desc *desc) {
    return desc->prefix ? desc->prefix : "";
}

/* What the functions below read without asking. */
static atl_status check_lists(const atl_layer_desc *desc, atl_error *error) {
    if ((desc->tensor_count && !desc->tensors) || (desc->rename_count && !desc->renames))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: expected a pointer, got NULL",
                        desc->tensor_count && !desc->tensors ? "tensors" : "renames");
    for (size_t i = 0; i < desc->rename_count; i++)
        if (!desc->renames[i].name || !desc->renames[i].value)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "renames[%zu]: expected two names, got NULL", i);
    return ATL_OK;
}

/* The name of a tensor after the prefix and the renames; NULL when it lies outside the prefix. */
static const char *own_name(const atl_layer_desc *desc, const atl_tensor *tensor) {
    size_t n = strlen(prefix_of(desc));
    if (!tensor->name || strncmp(tensor->name, prefix_of(desc), n) != 0)
        return NULL;
    const char *name = tensor->name + n;
    for (size_t i = 0; i < desc->rename_count; i++)
        if (strcmp(desc->renames[i].name, name) == 0)
            return desc->renames[i].value;
    return name;
}

/* The first such tensor from index `from` on. */
static const atl_tensor *find_from(const atl_layer_desc *desc, const char *name, size_t from) {
    for (size_t i = from; i < desc->tensor_count; i++) {
        const char *own = own_name(desc, &desc->tensors[i]);
        if (own && strcmp(own, name) == 0)
            return &desc->tensors[i];
    }
    return NULL;
}

const atl_tensor *atl_find_tensor(const atl_layer_desc *desc, const char *name) {
    return find_from(desc, name, 0);
}

/* ---- shapes ---- */

static void add_shape(atl_text *text, const atl_tensor *tensor) {
    atl_text_add(text, "[");
    for (int i = 0; i < tensor->rank; i++)
        atl_text_add(text, i ? ", %lld" : "%lld", (long long)tensor->shape[i]);
    atl_text_add(text, "]");
}

/* "[h=4, C]": the axes, those that are known with their widths. */
static void add_axes(atl_text *text, const char *axes, const int64_t widths[128]) {
    atl_text_add(text, "[");
    for (int i = 0; axes[i]; i++) {
        atl_text_add(text, i ? ", %c" : "%c", axes[i]);
        if (widths[(unsigned char)axes[i]])
            atl_text_add(text, "=%lld", (long long)widths[(unsigned char)axes[i]]);
    }
    atl_text_add(text, "]");
}

static int is_literal(char axis) {
    return axis >= '0' && axis <= '9';
}

/* Rank of a tensor without the trailing axes of size 1 that its spec does not name. */
static int rank_matches(const atl_weight_spec *spec, const atl_tensor *tensor) {
    int axes = (int)strlen(spec->shape);
    if (tensor->rank < axes)
        return 0;
    for (int i = axes; i < tensor->rank; i++)
        if (tensor->shape[i] != 1)
            return 0;
    return 1;
}

/* Whether axes that the spec gives a size have it; the rank matches. */
static int literals_match(const atl_weight_spec *spec, const atl_tensor *tensor) {
    for (int i = 0; spec->shape[i]; i++)
        if (is_literal(spec->shape[i]) && tensor->shape[i] != spec->shape[i] - '0')
            return 0;
    return 1;
}

/* Which other weight of the layer fixed the width of an axis. */
static const char *fixed_by(const atl_kind *kind, const atl_weight_spec *spec, const atl_layer_desc *desc, char axis) {
    for (const atl_weight_spec *w = kind->weights; w != spec; w++)
        if (strchr(w->shape, axis) && atl_find_tensor(desc, w->name))
            return w->name;
    return spec->name;
}

static atl_status bind_shape(atl_layer *layer, const atl_layer_desc *desc, const atl_weight_spec *spec,
                             const atl_tensor *tensor, atl_error *error) {
    char expected[128], got[256];
    atl_text want = {expected, sizeof expected, 0}, have = {got, sizeof got, 0};
    add_axes(&want, spec->shape, layer->widths);
    add_shape(&have, tensor);
    if (!rank_matches(spec, tensor))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: wrong rank (expected %s, got %s)", prefix_of(desc),
                        spec->name, expected, got);
    if (!literals_match(spec, tensor))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: wrong size (expected %s, got %s)", prefix_of(desc),
                        spec->name, expected, got);
    for (int i = 0; spec->shape[i]; i++) {
        char axis = spec->shape[i];
        if (is_literal(axis))
            continue;
        int64_t *width = &layer->widths[(unsigned char)axis];
        if (tensor->shape[i] < 1)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: a size below 1 (expected %s, got %s)", prefix_of(desc),
                            spec->name, expected, got);
        if (*width && *width != tensor->shape[i] && memchr(spec->shape, axis, (size_t)i) &&
            fixed_by(layer->kind, spec, desc, axis) == spec->name)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: two sizes that must be equal (expected %s, got %s)",
                            prefix_of(desc), spec->name, expected, got);
        if (*width && *width != tensor->shape[i])
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: contradicts %s%s (expected %s, got %s)",
                            prefix_of(desc), spec->name, prefix_of(desc), fixed_by(layer->kind, spec, desc, axis),
                            expected, got);
        *width = tensor->shape[i];
    }
    return ATL_OK;
}

/* ---- conversion ---- */

static float from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023, bits;
    float f;
    if (exponent == 0) { /* zero or subnormal: exact in float */
        f = (float)mantissa * 0x1p-24f;
        return sign ? -f : f;
    }
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float element(const atl_tensor *tensor, int64_t i) {
    const char *data = tensor->data;
    float f;
    double d;
    uint16_t h;
    uint32_t bits;
    switch (tensor->dtype) {
    case ATL_F64: memcpy(&d, data + i * 8, 8); return (float)d;
    case ATL_F16: memcpy(&h, data + i * 2, 2); return from_f16(h);
    case ATL_BF16:
        memcpy(&h, data + i * 2, 2);
        bits = (uint32_t)h << 16;
        memcpy(&f, &bits, 4);
        return f;
    default: memcpy(&f, data + i * 4, 4); return f;
    }
}

static atl_status convert(const atl_layer_desc *desc, const atl_weight_spec *spec, const atl_tensor *tensor,
                          float **out, atl_error *error) {
    if (tensor->dtype != ATL_F32 && tensor->dtype != ATL_F16 && tensor->dtype != ATL_BF16 && tensor->dtype != ATL_F64)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: wrong dtype (expected F32, F16, BF16 or F64, got %s)",
                        prefix_of(desc), spec->name, atl_dtype_name(tensor->dtype));
    if (!tensor->data)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: data: expected a pointer, got NULL", prefix_of(desc),
                        spec->name);
    int64_t count = 1, bytes;
    for (int i = 0; i < tensor->rank; i++)
        if (!atl_mul(count, tensor->shape[i], &count))
            count = INT64_MAX;
    if (!atl_mul(count, sizeof(float), &bytes) || !(*out = malloc((size_t)bytes)))
        return atl_fail(error, ATL_OUT_OF_MEMORY, "%s%s: out of memory", prefix_of(desc), spec->name);
    for (int64_t i = 0; i < count; i++)
        (*out)[i] = element(tensor, i);
    return ATL_OK;
}

atl_status atl_layer_bind(atl_layer *layer, const atl_layer_desc *desc, float **weights, atl_error *error) {
    atl_status listed = check_lists(desc, error);
    if (listed != ATL_OK)
        return listed;
    const atl_weight_spec *specs = layer->kind->weights;
    for (int i = 0; specs[i].name; i++) {
        const atl_tensor *tensor = atl_find_tensor(desc, specs[i].name);
        if (!tensor && specs[i].optional)
            continue;
        if (!tensor)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: missing (%s needs it)", prefix_of(desc), specs[i].name,
                            layer->kind->name);
        if (tensor->rank < 0 || tensor->rank > ATL_MAX_RANK)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: rank out of range (expected 0 to %d, got %d)",
                            prefix_of(desc), specs[i].name, ATL_MAX_RANK, tensor->rank);
        const atl_tensor *second = find_from(desc, specs[i].name, (size_t)(tensor - desc->tensors) + 1);
        if (second)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: given twice (as %s and as %s)", prefix_of(desc),
                            specs[i].name, tensor->name, second->name);
        atl_status status = bind_shape(layer, desc, &specs[i], tensor, error);
        if (status == ATL_OK)
            status = convert(desc, &specs[i], tensor, &weights[i], error);
        if (status != ATL_OK)
            return status;
    }
    return ATL_OK;
}

/* ---- recognition ---- */

static int kind_fits(const atl_kind *kind, const atl_layer_desc *desc) {
    for (const atl_weight_spec *w = kind->weights; w->name; w++) {
        const atl_tensor *tensor = atl_find_tensor(desc, w->name);
        if (tensor ? tensor->rank < 0 || tensor->rank > ATL_MAX_RANK || !rank_matches(w, tensor) ||
                         !literals_match(w, tensor)
                   : !w->optional)
            return 0;
    }
    return 1;
}

atl_status atl_recognize(const atl_layer_desc *desc, const char **kind, atl_error *error) {
    if (!desc || !kind)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: expected a pointer, got NULL", desc ? "kind" : "desc");
    atl_layer_desc d;
    atl_layer_desc_init(&d);
    atl_status status = ATL_READ_OPTIONS(d, desc, "atl_layer_desc", error);
    if (status == ATL_OK)
        status = check_lists(&d, error);
    if (status != ATL_OK)
        return status;
    const atl_kind *found = NULL;
    for (int i = 0; atl_kinds[i]; i++) {
        if (!kind_fits(atl_kinds[i], &d))
            continue;
        if (found)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "prefix '%s': fits both %s and %s (name the layer)",
                            prefix_of(&d), found->name, atl_kinds[i]->name);
        found = atl_kinds[i];
    }
    if (!found)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "prefix '%s': the names under it fit no layer", prefix_of(&d));
    *kind = found->name;
    return ATL_OK;
}
