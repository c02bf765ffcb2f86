/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a description: shapes, widths, conversion to float32. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "layer.h"
#include "memory.h"
#include "nearest.h"
#include "text.h"

/* ---- shapes ---- */

static void add_shape(atl_text *text, const atl_tensor *tensor) {
    atl_text_add(text, "[");
    for (int i = 0; i < tensor->rank; i++)
        atl_text_add(text, i ? ", %lld" : "%lld", (long long)tensor->shape[i]);
    atl_text_add(text, "]");
}

/* The size that an axis of a spec has whatever the layer; 0 = it has none. */
static int64_t literal(char axis, int copy) {
    return axis == '%' ? 3 + 2 * (int64_t)copy : axis >= '0' && axis <= '9' ? axis - '0' : 0;
}

/* "[h=4, C]": the axes, those that are known with their widths. */
static void add_axes(atl_text *text, const char *axes, int copy, const int64_t widths[128]) {
    atl_text_add(text, "[");
    for (int i = 0; axes[i]; i++) {
        atl_text_add(text, i ? ", " : "");
        if (literal(axes[i], copy)) {
            atl_text_add(text, "%lld", (long long)literal(axes[i], copy));
            continue;
        }
        atl_text_add(text, "%c", axes[i]);
        if (widths[(unsigned char)axes[i]])
            atl_text_add(text, "=%lld", (long long)widths[(unsigned char)axes[i]]);
    }
    atl_text_add(text, "]");
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
static int literals_match(const atl_weight_spec *spec, int copy, const atl_tensor *tensor) {
    for (int i = 0; spec->shape[i]; i++)
        if (literal(spec->shape[i], copy) && tensor->shape[i] != literal(spec->shape[i], copy))
            return 0;
    return 1;
}

int atl_rank_fits(const atl_weight_spec *spec, int copy, const atl_tensor *tensor) {
    return tensor->rank >= 0 && tensor->rank <= ATL_MAX_RANK && rank_matches(spec, tensor) &&
           literals_match(spec, copy, tensor);
}

/* A weight to bind: its spec, which of the copies, its tensor and the name it was found by. */
typedef struct weight {
    const atl_weight_spec *spec;
    int copy;
    const atl_tensor *tensor;
    atl_weight_name name;
} weight;

/* Which weight of the layer that was bound before fixed the width of an axis. */
static atl_weight_name fixed_by(const atl_layer *layer, const atl_layer_desc *desc, const weight *w, char axis) {
    atl_weight_name name;
    for (const atl_weight_spec *spec = layer->kind->weights; spec->name; spec++)
        for (int copy = 0; copy < (atl_weight_is_indexed(spec) ? layer->copies : 1); copy++) {
            if (spec == w->spec && copy == w->copy)
                return w->name;
            if (strchr(spec->shape, axis) && atl_find_weight(desc, spec, copy, &name))
                return name;
        }
    return w->name;
}

static atl_status check_axis(atl_layer *layer, const atl_layer_desc *desc, const weight *w, int i, const char *expected,
                             const char *got, atl_error *error) {
    char axis = w->spec->shape[i];
    int64_t *width = &layer->widths[(unsigned char)axis], size = w->tensor->shape[i];
    if (size < 1)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: a size below 1 (expected %s, got %s)", atl_prefix(desc),
                        w->name.text, expected, got);
    if (*width && *width != size) {
        atl_weight_name first = fixed_by(layer, desc, w, axis);
        if (strcmp(first.text, w->name.text) == 0)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: two sizes that must be equal (expected %s, got %s)",
                            atl_prefix(desc), w->name.text, expected, got);
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: contradicts %s%s (expected %s, got %s)", atl_prefix(desc),
                        w->name.text, atl_prefix(desc), first.text, expected, got);
    }
    *width = size;
    return ATL_OK;
}

static atl_status bind_shape(atl_layer *layer, const atl_layer_desc *desc, const weight *w, atl_error *error) {
    char expected[128], got[256];
    atl_text want = {expected, sizeof expected, 0}, have = {got, sizeof got, 0};
    add_axes(&want, w->spec->shape, w->copy, layer->widths);
    add_shape(&have, w->tensor);
    if (!rank_matches(w->spec, w->tensor))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: wrong rank (expected %s, got %s)", atl_prefix(desc),
                        w->name.text, expected, got);
    if (!literals_match(w->spec, w->copy, w->tensor))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: wrong size (expected %s, got %s)", atl_prefix(desc),
                        w->name.text, expected, got);
    for (int i = 0; w->spec->shape[i]; i++) {
        atl_status status =
            literal(w->spec->shape[i], 0) ? ATL_OK : check_axis(layer, desc, w, i, expected, got, error);
        if (status != ATL_OK)
            return status;
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

static atl_status convert(const atl_layer_desc *desc, const weight *w, float **out, atl_error *error) {
    const atl_tensor *tensor = w->tensor;
    if (tensor->dtype != ATL_F32 && tensor->dtype != ATL_F16 && tensor->dtype != ATL_BF16 && tensor->dtype != ATL_F64)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: wrong dtype (expected F32, F16, BF16 or F64, got %s)",
                        atl_prefix(desc), w->name.text, atl_dtype_name(tensor->dtype));
    if (!tensor->data)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: data: expected a pointer, got NULL", atl_prefix(desc),
                        w->name.text);
    int64_t count = 1, bytes;
    for (int i = 0; i < tensor->rank; i++)
        if (!atl_mul(count, tensor->shape[i], &count))
            count = INT64_MAX;
    if (!atl_mul(count, sizeof(float), &bytes) || !(*out = malloc((size_t)bytes)))
        return atl_fail(error, ATL_OUT_OF_MEMORY, "%s%s: out of memory", atl_prefix(desc), w->name.text);
    for (int64_t i = 0; i < count; i++)
        (*out)[i] = element(tensor, i);
    return ATL_OK;
}

/* ---- weights that are missing ---- */

static int layer_reads(const atl_layer *layer, const atl_layer_desc *desc, const atl_tensor *tensor) {
    atl_weight_name name;
    for (const atl_weight_spec *spec = layer->kind->weights; spec->name; spec++)
        for (int copy = 0; copy < (atl_weight_is_indexed(spec) ? layer->copies : 1); copy++)
            if (atl_find_weight(desc, spec, copy, &name) == tensor)
                return 1;
    return 0;
}

/* How long another prefix is under which a tensor has the missing name, -1 where it is none. */
static int prefix_of(const char *tensor, const char *missing) {
    const size_t whole = tensor ? strlen(tensor) : 0, length = strlen(missing);
    if (whole < length || whole - length > 128 || strcmp(tensor + whole - length, missing) != 0)
        return -1;
    return whole == length || tensor[whole - length - 1] == '.' ? (int)(whole - length) : -1;
}

/* The name under the prefix that may be the missing one misspelt, or NULL. */
static const char *misspelt(const atl_layer *layer, const atl_layer_desc *desc, const char *missing) {
    const size_t skip = strlen(atl_prefix(desc));
    atl_nearest nearest = atl_nearest_to(missing);
    for (size_t i = 0; i < desc->tensor_count; i++) {
        const char *name = desc->tensors[i].name;
        atl_nearest nearer = nearest;
        if (!name || strncmp(name, atl_prefix(desc), skip) != 0 || prefix_of(name, missing) >= 0)
            continue;
        atl_nearest_show(&nearer, name + skip);
        if (nearer.name != nearest.name && nearer.distance > 0 && !layer_reads(layer, desc, &desc->tensors[i]))
            nearest = nearer;
    }
    return nearest.name;
}

/* Whether any weight of the layer is under the prefix. */
static int anything_there(const atl_layer *layer, const atl_layer_desc *desc) {
    atl_weight_name name;
    for (const atl_weight_spec *spec = layer->kind->weights; spec->name; spec++)
        if (atl_find_weight(desc, spec, 0, &name))
            return 1;
    return 0;
}

/* Another prefix under which the missing name is; its length in *length. NULL when there is none. */
static const char *other_prefix(const atl_layer_desc *desc, const char *missing, int *length) {
    for (size_t i = 0; i < desc->tensor_count; i++) {
        const char *name = desc->tensors[i].name;
        *length = prefix_of(name, missing);
        if (*length >= 0 &&
            ((size_t)*length != strlen(atl_prefix(desc)) || strncmp(name, atl_prefix(desc), (size_t)*length)))
            return name;
    }
    return NULL;
}

/* Says what may have been meant: a name that resembles the missing one, another prefix, another kind of layer. */
static atl_status fail_missing(const atl_layer *layer, const atl_layer_desc *desc, const char *name, atl_error *error) {
    const char *prefix = atl_prefix(desc), *kind = layer->kind->name, *other_kind;
    int length;
    const char *elsewhere = other_prefix(desc, name, &length);
    /* With the wrong prefix whatever resembles the name is there by chance. */
    const char *instead = elsewhere && !anything_there(layer, desc) ? NULL : misspelt(layer, desc, name);
    if (instead)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: missing (%s needs it; did you mean '%s%s'?)", prefix, name,
                        kind, prefix, instead);
    if (elsewhere)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: missing (%s needs it; with the prefix '%.*s' it is there)",
                        prefix, name, kind, length, elsewhere);
    if (atl_recognize(desc, &other_kind, NULL) == ATL_OK)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: missing (%s needs it; the names there are those of %s)",
                        prefix, name, kind, other_kind);
    return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: missing (%s needs it)", prefix, name, kind);
}

/* ---- binding ---- */

static atl_status bind_weight(atl_layer *layer, const atl_layer_desc *desc, weight *w, float **out, atl_error *error) {
    w->tensor = atl_find_weight(desc, w->spec, w->copy, &w->name);
    if (!w->tensor && w->spec->optional)
        return ATL_OK;
    if (!w->tensor)
        return fail_missing(layer, desc, w->name.text, error);
    if (w->tensor->rank < 0 || w->tensor->rank > ATL_MAX_RANK)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: rank out of range (expected 0 to %d, got %d)",
                        atl_prefix(desc), w->name.text, ATL_MAX_RANK, w->tensor->rank);
    const atl_tensor *second = atl_find_second(desc, w->spec, w->copy, w->tensor);
    if (second)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: given twice (as %s and as %s)", atl_prefix(desc),
                        w->name.text, w->tensor->name, second->name);
    atl_status status = bind_shape(layer, desc, w, error);
    return status == ATL_OK ? convert(desc, w, out, error) : status;
}

/* An indexed weight past the last of another: convs.2.0.weight without fcs.2.weight, or the other way round, is found as
 * missing; what is left is an index beyond those that a layer may have. */
static atl_status check_copies(const atl_layer *layer, const atl_layer_desc *desc, atl_error *error) {
    for (const atl_weight_spec *spec = layer->kind->weights; spec->name; spec++) {
        atl_weight_name name;
        if (atl_weight_is_indexed(spec) && atl_find_weight(desc, spec, layer->copies, &name))
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s%s: index out of range (expected 0 to %d)",
                            atl_prefix(desc), name.text, ATL_MAX_COPIES - 1);
    }
    return ATL_OK;
}

atl_status atl_layer_bind(atl_layer *layer, const atl_layer_desc *desc, float **weights, atl_error *error) {
    atl_status status = check_copies(layer, desc, error);
    const atl_weight_spec *specs = layer->kind->weights;
    int count = atl_kind_weights(layer->kind);
    for (int i = 0; specs[i].name; i++)
        for (int copy = 0; status == ATL_OK && copy < (atl_weight_is_indexed(&specs[i]) ? layer->copies : 1); copy++) {
            weight w = {.spec = &specs[i], .copy = copy};
            status = bind_weight(layer, desc, &w, &weights[i + copy * count], error);
            if (status == ATL_OK && w.tensor && copy == 0)
                layer->ranks[i] = (int8_t)w.tensor->rank;
        }
    return status;
}
