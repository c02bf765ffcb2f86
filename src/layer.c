/* SPDX-License-Identifier: Apache-2.0 */
#include "layer.h"

#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "error.h"
#include "memory.h"
#include "nearest.h"
#include "options.h"
#include "pool.h"
#include "text.h"

#define ATL_LAYER(kind) extern const atl_kind kind;
#include "layers/layers.def"
#undef ATL_LAYER

const atl_kind *const atl_kinds[] = {
#define ATL_LAYER(kind) &kind,
#include "layers/layers.def"
#undef ATL_LAYER
    NULL,
};

void atl_layer_desc_init(atl_layer_desc *desc) {
    if (desc)
        *desc = (atl_layer_desc){.size = sizeof *desc};
}

const char *atl_kind_name(int index) {
    for (int i = 0; atl_kinds[i]; i++)
        if (i == index)
            return atl_kinds[i]->name;
    return NULL;
}

const atl_kind *atl_find_kind(const char *name, atl_error *error) {
    atl_nearest nearest = atl_nearest_to(name);
    for (int i = 0; atl_kinds[i]; i++) {
        if (strcmp(name, atl_kinds[i]->name) == 0)
            return atl_kinds[i];
        atl_nearest_show(&nearest, atl_kinds[i]->name);
    }
    if (nearest.name) {
        atl_fail(error, ATL_INVALID_ARGUMENT, "layer '%s': no such kind (did you mean '%s'?)", name, nearest.name);
        return NULL;
    }
    char known[256] = "";
    atl_text list = {known, sizeof known, 0};
    for (int i = 0; atl_kinds[i]; i++)
        atl_text_add(&list, i ? ", %s" : "%s", atl_kinds[i]->name);
    atl_fail(error, ATL_INVALID_ARGUMENT, "layer '%s': no such kind (expected one of: %s)", name, known);
    return NULL;
}

atl_status atl_layer_linears(atl_layer *layer, int count, atl_error *error) {
    layer->linears = calloc((size_t)count, sizeof *layer->linears);
    if (!layer->linears)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "layer: out of memory");
    layer->linear_count = count;
    return ATL_OK;
}

static void free_layer(atl_layer *layer) {
    for (int i = 0; i < layer->linear_count; i++) {
        atl_linear *linear = &layer->linears[i];
        free(linear->weight);
        free(linear->bias);
        free(linear->scale);
        for (atl_pack *pack = linear->packs; pack;)
            pack = atl_pack_free(pack);
    }
    free(layer->linears);
    free(layer);
}

int atl_kind_weights(const atl_kind *kind) {
    int count = 0;
    while (kind->weights[count].name)
        count++;
    return count;
}

static atl_status fill_layer(atl_layer *layer, const atl_layer_desc *desc, atl_error *error) {
    atl_status status = atl_layer_params(layer, desc, error);
    if (status != ATL_OK)
        return status;
    status = atl_check_lists(desc, error);
    if (status != ATL_OK)
        return status;
    layer->copies = atl_weight_copies(layer->kind, desc);
    int count = atl_kind_weights(layer->kind) * layer->copies;
    float **weights = calloc((size_t)count, sizeof *weights);
    if (!weights)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "layer: out of memory");
    status = atl_layer_bind(layer, desc, weights, error);
    if (status == ATL_OK)
        status = layer->kind->build(layer, weights, error);
    for (int i = 0; i < count; i++)
        free(weights[i]);
    free(weights);
    return status;
}

/* The kind that a description names or, with "auto", fits. */
static atl_status resolve_kind(const atl_layer_desc *desc, const atl_kind **kind, atl_error *error) {
    const char *name = desc->kind;
    if (!name)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "kind: expected the name of a layer or \"auto\", got NULL");
    if (strcmp(name, "auto") == 0) {
        atl_status status = atl_recognize(desc, &name, error);
        if (status != ATL_OK)
            return status;
    }
    *kind = atl_find_kind(name, error);
    return *kind ? ATL_OK : ATL_INVALID_ARGUMENT;
}

static atl_status create(const atl_layer_desc *desc, atl_layer **layer, atl_error *error) {
    if (!desc || !layer)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: expected a pointer, got NULL", desc ? "layer" : "desc");
    atl_layer_desc d;
    atl_layer_desc_init(&d);
    atl_status status = ATL_READ_OPTIONS(d, desc, "atl_layer_desc", error);
    const atl_kind *kind = NULL;
    if (status == ATL_OK)
        status = resolve_kind(&d, &kind, error);
    if (status != ATL_OK)
        return status;
    atl_layer *made = calloc(1, sizeof *made);
    if (!made)
        return atl_fail(error, ATL_OUT_OF_MEMORY, "layer: out of memory");
    made->references = 1;
    made->kind = kind;
    status = fill_layer(made, &d, error);
    if (status != ATL_OK) {
        free_layer(made);
        return status;
    }
    *layer = made;
    return ATL_OK;
}

atl_status atl_layer_create(const atl_layer_desc *desc, atl_layer **layer, atl_error *error) {
    atl_fp_state caller = atl_fp_enter();
    atl_status status = create(desc, layer, error);
    atl_fp_leave(caller);
    return status;
}

atl_layer *atl_layer_retain(atl_layer *layer) {
    if (layer)
        layer->references++;
    return layer;
}

void atl_layer_release(atl_layer *layer) {
    if (layer && --layer->references == 0)
        free_layer(layer);
}

int atl_layer_takes_key(const atl_layer *layer) {
    return layer ? layer->kind->takes_key : 0;
}

const char *atl_layer_kind(const atl_layer *layer) {
    return layer ? layer->kind->name : "";
}
