/* SPDX-License-Identifier: Apache-2.0 */
/* atl_layer_load: a layer from a checkpoint. Uses the public API of the core alone. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../error.h"
#include "../options.h"
#include "attentile/io.h"
#include "checkpoint.h"

static const char metadata_prefix[] = "attentile.";
static const char kind_key[] = "attentile.layer";

static atl_status copy_desc(atl_layer_desc *copy, const atl_layer_desc *desc, atl_error *error) {
    atl_layer_desc_init(copy);
    atl_status status = ATL_READ_OPTIONS(*copy, desc, "atl_layer_desc", error);
    if (status)
        return status;
    if (copy->tensors || copy->tensor_count)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "tensors: expected NULL, since the checkpoint has them");
    if (!copy->params && copy->param_count)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "params: expected a pointer, got NULL");
    return ATL_OK;
}

/* The parameter that a metadata key sets, or NULL. */
static const char *param_of_key(const char *key) {
    bool ours = strncmp(key, metadata_prefix, sizeof metadata_prefix - 1) == 0 && strcmp(key, kind_key) != 0;
    return ours ? key + sizeof metadata_prefix - 1 : NULL;
}

static bool has_param(const atl_layer_desc *desc, const char *name) {
    for (size_t i = 0; i < desc->param_count; i++)
        if (desc->params[i].name && strcmp(desc->params[i].name, name) == 0)
            return true;
    return false;
}

/* Writes the parameters of the metadata that desc does not set, then those of desc. Returns how many. */
static size_t merge_params(const atl_header *header, const atl_layer_desc *desc, atl_param *params) {
    size_t count = 0;
    for (size_t i = 0; i < header->metadata_count; i++) {
        const char *name = param_of_key(header->metadata[i].key);
        if (name && !has_param(desc, name))
            params[count++] = (atl_param){name, header->metadata[i].value};
    }
    for (size_t i = 0; i < desc->param_count; i++)
        params[count++] = desc->params[i];
    return count;
}

/* Whether a message of atl_layer_create is about a parameter: then it begins with "parameter NAME:". */
static bool blames(const char *message, const char *name) {
    static const char start[] = "parameter ";
    size_t length = strlen(name);
    const char *subject = message + sizeof start - 1;
    return strncmp(message, start, sizeof start - 1) == 0 && strncmp(subject, name, length) == 0 &&
           subject[length] == ':';
}

/* Of a message about a dtype that the core has no name for, what comes before that name, and the file's word for it. */
static const char *file_dtype(const atl_checkpoint *c, const char *message, int *before) {
    static const char reason[] = ": wrong dtype (", end[] = "got OTHER)";
    size_t length = strlen(message), tail = sizeof end - 1;
    if (length < tail || strcmp(message + length - tail, end) != 0)
        return NULL;
    *before = (int)(length - strlen("OTHER)"));
    for (size_t i = 0; i < c->header.count; i++) {
        size_t name = strlen(c->header.tensors[i].name);
        if (strncmp(message, c->header.tensors[i].name, name) == 0 &&
            strncmp(message + name, reason, sizeof reason - 1) == 0)
            return atl_checkpoint_dtype_name(c, i);
    }
    return NULL;
}

/* Says in which file, and in which metadata key if the message is about a parameter from there. */
static atl_status fail_create(const atl_checkpoint *c, const atl_layer_desc *desc, const atl_error *cause,
                              atl_error *error) {
    for (size_t i = 0; i < c->header.metadata_count; i++) {
        const char *name = param_of_key(c->header.metadata[i].key);
        if (name && !has_param(desc, name) && blames(cause->message, name))
            return atl_fail_at(c->path, error, cause->status, "%s; from the file's metadata key \"%s\"", cause->message,
                               atl_excerpt_of(c->header.metadata[i].key).text);
    }
    int before;
    const char *dtype = file_dtype(c, cause->message, &before);
    if (dtype)
        return atl_fail_at(c->path, error, cause->status, "%.*s%s)", before, cause->message, dtype);
    return atl_fail_at(c->path, error, cause->status, "%s", cause->message);
}

atl_status atl_layer_load(atl_checkpoint *checkpoint, const atl_layer_desc *desc, atl_layer **layer, atl_error *error) {
    if (!checkpoint || !layer)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s is NULL", checkpoint ? "layer" : "checkpoint");
    atl_layer_desc given;
    atl_status status = copy_desc(&given, desc, error);
    if (status)
        return status;
    atl_layer_desc full = given;
    if (!full.kind)
        full.kind = atl_checkpoint_metadata(checkpoint, kind_key);
    if (!full.kind)
        return atl_fail_at(checkpoint->path, error, ATL_INVALID_ARGUMENT,
                           "the kind of layer is unknown (expected it as an argument or as metadata key \"%s\")",
                           kind_key);
    size_t most = checkpoint->header.metadata_count + given.param_count;
    atl_param *params = calloc(most ? most : 1, sizeof *params);
    if (!params)
        return atl_fail_memory(checkpoint->path, error, (uint64_t)most * sizeof *params);

    status = atl_checkpoint_load(checkpoint, given.prefix, error);
    if (!status) {
        atl_error cause;
        full.tensors = atl_checkpoint_tensors(checkpoint);
        full.tensor_count = atl_checkpoint_count(checkpoint);
        full.params = params;
        full.param_count = merge_params(&checkpoint->header, &given, params);
        status = atl_layer_create(&full, layer, &cause);
        if (status)
            fail_create(checkpoint, &given, &cause, error);
    }
    free(params);
    return status;
}
