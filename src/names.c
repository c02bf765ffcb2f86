/* SPDX-License-Identifier: Apache-2.0 */
/* Names of weights: prefix, renames, alternatives, indices; and which kind a set of names is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "layer.h"
#include "options.h"

const char *atl_prefix(const atl_layer_desc *desc) {
    return desc->prefix ? desc->prefix : "";
}

/* What the functions below read without asking. */
atl_status atl_check_lists(const atl_layer_desc *desc, atl_error *error) {
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
    size_t n = strlen(atl_prefix(desc));
    if (!tensor->name || strncmp(tensor->name, atl_prefix(desc), n) != 0)
        return NULL;
    const char *name = tensor->name + n;
    for (size_t i = 0; i < desc->rename_count; i++)
        if (strcmp(desc->renames[i].name, name) == 0)
            return desc->renames[i].value;
    return name;
}

/* The first tensor of that name from index `from` on. */
static const atl_tensor *find_from(const atl_layer_desc *desc, const char *name, size_t from) {
    for (size_t i = from; i < desc->tensor_count; i++) {
        const char *own = own_name(desc, &desc->tensors[i]);
        if (own && strcmp(own, name) == 0)
            return &desc->tensors[i];
    }
    return NULL;
}

/* ---- alternatives and indices ---- */

/* The nth of the alternatives "a|b" with its '#' replaced by `copy`; 0 when there are fewer. */
static int alternative_name(const atl_weight_spec *spec, int nth, int copy, atl_weight_name *out) {
    const char *from = spec->name;
    for (; nth > 0; nth--) {
        from = strchr(from, '|');
        if (!from)
            return 0;
        from++;
    }
    char digits[16];
    snprintf(digits, sizeof digits, "%d", copy);
    size_t n = 0;
    for (; *from && *from != '|'; from++) {
        const char letter[2] = {*from, '\0'}, *add = *from == '#' ? digits : letter;
        size_t length = strlen(add);
        if (n + length >= sizeof out->text)
            return 0;
        memcpy(out->text + n, add, length);
        n += length;
    }
    out->text[n] = '\0';
    return 1;
}

int atl_weight_is_indexed(const atl_weight_spec *spec) {
    return strchr(spec->name, '#') != NULL;
}

const atl_tensor *atl_find_weight(const atl_layer_desc *desc, const atl_weight_spec *spec, int copy,
                                  atl_weight_name *name) {
    for (int nth = 0; alternative_name(spec, nth, copy, name); nth++) {
        const atl_tensor *tensor = find_from(desc, name->text, 0);
        if (tensor)
            return tensor;
    }
    alternative_name(spec, 0, copy, name);
    return NULL;
}

const atl_tensor *atl_find_second(const atl_layer_desc *desc, const atl_weight_spec *spec, int copy,
                                  const atl_tensor *first) {
    atl_weight_name name;
    for (int nth = 0; alternative_name(spec, nth, copy, &name); nth++)
        for (const atl_tensor *tensor = find_from(desc, name.text, 0); tensor;
             tensor = find_from(desc, name.text, (size_t)(tensor - desc->tensors) + 1))
            if (tensor != first)
                return tensor;
    return NULL;
}

int atl_weight_copies(const atl_kind *kind, const atl_layer_desc *desc) {
    int most = 0;
    for (const atl_weight_spec *w = kind->weights; w->name; w++) {
        atl_weight_name name;
        int copies = 0;
        while (atl_weight_is_indexed(w) && copies < ATL_MAX_COPIES && atl_find_weight(desc, w, copies, &name))
            copies++;
        most = copies > most ? copies : most;
    }
    return most > 0 ? most : 1;
}

/* ---- recognition ---- */

static int kind_fits(const atl_kind *kind, const atl_layer_desc *desc) {
    for (const atl_weight_spec *w = kind->weights; w->name; w++) {
        atl_weight_name name;
        const atl_tensor *tensor = atl_find_weight(desc, w, 0, &name);
        if (tensor ? !atl_rank_fits(w, 0, tensor) : !w->optional)
            return 0;
    }
    return 1;
}

static int reads(const atl_kind *kind, const atl_layer_desc *desc, const atl_tensor *tensor) {
    for (const atl_weight_spec *w = kind->weights; w->name; w++) {
        atl_weight_name name;
        if (atl_find_weight(desc, w, 0, &name) == tensor)
            return 1;
    }
    return 0;
}

/* Whether `more` reads every tensor that `less` reads, and others: a kind whose names are part of another's. */
static int surpasses(const atl_kind *more, const atl_kind *less, const atl_layer_desc *desc) {
    int others = 0;
    for (size_t i = 0; i < desc->tensor_count; i++) {
        int a = reads(more, desc, &desc->tensors[i]), b = reads(less, desc, &desc->tensors[i]);
        if (b && !a)
            return 0;
        others |= a && !b;
    }
    return others;
}

static atl_status recognize(const atl_layer_desc *desc, const char **kind, atl_error *error) {
    const atl_kind *found = NULL, *other = NULL;
    for (int i = 0; atl_kinds[i]; i++) {
        if (!kind_fits(atl_kinds[i], desc))
            continue;
        if (!found || surpasses(atl_kinds[i], found, desc))
            found = atl_kinds[i];
        else if (!surpasses(found, atl_kinds[i], desc))
            other = atl_kinds[i];
    }
    if (!found)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "prefix '%s': the names under it fit no layer", atl_prefix(desc));
    if (other && !surpasses(found, other, desc))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "prefix '%s': fits both %s and %s (name the layer)",
                        atl_prefix(desc), other->name, found->name);
    *kind = found->name;
    return ATL_OK;
}

atl_status atl_recognize(const atl_layer_desc *desc, const char **kind, atl_error *error) {
    if (!desc || !kind)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: expected a pointer, got NULL", desc ? "kind" : "desc");
    atl_layer_desc d;
    atl_layer_desc_init(&d);
    atl_status status = ATL_READ_OPTIONS(d, desc, "atl_layer_desc", error);
    if (status == ATL_OK)
        status = atl_check_lists(&d, error);
    return status == ATL_OK ? recognize(&d, kind, error) : status;
}
