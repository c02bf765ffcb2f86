/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: whatever the bytes, they are refused for their format, or all of the file is accounted for; then a layer is
 * recognised and made of what is there, or refused. */
#include "checkpoint.h"

/* The tensors lie one behind another: together they are all that follows the header. */
static void check_tensors(atl_checkpoint *checkpoint, const uint8_t *data, size_t size) {
    const atl_tensor *tensors = atl_checkpoint_tensors(checkpoint);
    const size_t count = atl_checkpoint_count(checkpoint);
    uint64_t length;
    atl_error error;
    memcpy(&length, data, sizeof length);
    size_t at = sizeof length + (size_t)length;
    CLAIM(atl_checkpoint_load(checkpoint, NULL, &error) == ATL_OK);
    for (size_t i = 0; i < count; i++) {
        const size_t bytes = (size_t)atl_checkpoint_bytes(checkpoint, i);
        CLAIM(tensors[i].rank >= 0 && tensors[i].rank <= ATL_MAX_RANK && strlen(tensors[i].name) <= length);
        CLAIM(atl_checkpoint_dtype_name(checkpoint, i) && bytes <= size - at);
        CLAIM(tensors[i].data && memcmp(tensors[i].data, data + at, bytes) == 0);
        at += bytes;
    }
    CLAIM(at == size);
    CLAIM(!atl_checkpoint_dtype_name(checkpoint, count) && atl_checkpoint_bytes(checkpoint, count) == -1);
}

static void check_metadata(const atl_checkpoint *checkpoint) {
    const char *key, *value;
    for (size_t i = 0; atl_checkpoint_metadata_at(checkpoint, i, &key, &value); i++) {
        const char *found = atl_checkpoint_metadata(checkpoint, key);
        CLAIM(found == value);
    }
}

/* A layer of a kind and prefix: made, or refused with a reason. */
static void make_layer(atl_checkpoint *checkpoint, const char *kind, const char *prefix) {
    atl_layer_desc desc;
    atl_layer *layer = NULL;
    atl_error error = {0};
    atl_layer_desc_init(&desc);
    desc.kind = kind;
    desc.prefix = prefix;
    const atl_status status = atl_layer_load(checkpoint, &desc, &layer, &error);
    CLAIM((status == ATL_OK) == (layer != NULL));
    CLAIM(status == ATL_OK || error.message[0]);
    atl_layer_release(layer);
}

static void make_layers(atl_checkpoint *checkpoint) {
    char prefix[64];
    const char *name = atl_checkpoint_count(checkpoint) ? atl_checkpoint_tensors(checkpoint)[0].name : "";
    const char *dot = strchr(name, '.');
    make_layer(checkpoint, NULL, NULL);
    make_layer(checkpoint, "auto", NULL);
    for (int i = 0; atl_kind_name(i); i++)
        make_layer(checkpoint, atl_kind_name(i), NULL);
    if (dot && (size_t)(dot - name) < sizeof prefix - 1) {
        snprintf(prefix, sizeof prefix, "%.*s.", (int)(dot - name), name);
        make_layer(checkpoint, "auto", prefix);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = file_of(data, size);
    atl_checkpoint *checkpoint = NULL;
    atl_error error = {0};
    const atl_status status = atl_checkpoint_open(path, &checkpoint, &error);
    CLAIM((status == ATL_OK) == (checkpoint != NULL));
    if (status != ATL_OK) {
        claim_refusal(status, &error, path);
        return 0;
    }
    check_metadata(checkpoint);
    make_layers(checkpoint);
    check_tensors(checkpoint, data, size);
    atl_checkpoint_close(checkpoint);
    return 0;
}
