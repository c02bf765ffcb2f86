/* SPDX-License-Identifier: Apache-2.0 */
#include "checkpoint.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../error.h"
#include "attentile/io.h"

#define LENGTH_BYTES    8 /* of the header's length, before it */
#define SHORTEST_HEADER 2 /* {} */
#define LONGEST_HEADER  100000000

/* Whether the first bytes, as a little-endian number, begin a zip archive or a pickle: what torch.save writes. */
static bool is_pickle(uint64_t start) {
    return (uint32_t)start == 0x04034b50 ||
           ((start & 0xff) == 0x80 && (start >> 8 & 0xff) >= 2 && (start >> 8 & 0xff) <= 5);
}

static atl_status read_header(atl_checkpoint *c, atl_error *error) {
    uint64_t length;
    if (c->input.size < LENGTH_BYTES + SHORTEST_HEADER)
        return atl_fail_at(c->path, error, ATL_BAD_FORMAT,
                           "not a safetensors file (expected at least %d bytes, got %" PRId64 ")",
                           LENGTH_BYTES + SHORTEST_HEADER, c->input.size);
    atl_status status = atl_input_read(&c->input, 0, &length, LENGTH_BYTES, error);
    if (status)
        return status;
    if (is_pickle(length) && length > (uint64_t)c->input.size)
        return atl_fail_at(c->path, error, ATL_BAD_FORMAT,
                           "not a safetensors file but one of torch.save (convert it in Python: "
                           "safetensors.torch.save_file(torch.load(OLD), NEW))");
    int64_t room = c->input.size - LENGTH_BYTES;
    int64_t longest = room < LONGEST_HEADER ? room : LONGEST_HEADER;
    if (length < SHORTEST_HEADER || length > (uint64_t)longest)
        return atl_fail_at(c->path, error, ATL_BAD_FORMAT,
                           "not a safetensors file: wrong header length (expected %d to %" PRId64 ", got %" PRIu64 ")",
                           SHORTEST_HEADER, longest, length);
    c->text = atl_allocate((int64_t)length);
    if (!c->text)
        return atl_fail_memory(c->path, error, length);
    status = atl_input_read(&c->input, LENGTH_BYTES, c->text, (int64_t)length, error);
    if (status)
        return status;
    c->data_offset = LENGTH_BYTES + (int64_t)length;
    return atl_header_parse(&c->header, c->text, length, c->input.size - c->data_offset, c->path, error);
}

atl_status atl_checkpoint_open(const char *path, atl_checkpoint **checkpoint, atl_error *error) {
    if (!path || !checkpoint)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s is NULL", path ? "checkpoint" : "path");
    size_t path_size = strlen(path) + 1;
    atl_checkpoint *c = calloc(1, sizeof *c);
    if (!c)
        return atl_fail_memory(path, error, sizeof *c);
    c->input.fd = -1;
    atl_status status = ATL_OK;
    c->path = malloc(path_size);
    if (c->path)
        memcpy(c->path, path, path_size);
    else
        status = atl_fail_memory(path, error, path_size);
    if (!status)
        status = atl_input_open(&c->input, c->path, error);
    if (!status)
        status = read_header(c, error);
    if (status) {
        atl_checkpoint_close(c);
        return status;
    }
    *checkpoint = c;
    return ATL_OK;
}

void atl_checkpoint_close(atl_checkpoint *checkpoint) {
    if (!checkpoint)
        return;
    for (size_t i = 0; i < checkpoint->header.count; i++)
        free((void *)checkpoint->header.tensors[i].data);
    atl_header_clear(&checkpoint->header);
    atl_input_close(&checkpoint->input);
    free(checkpoint->text);
    free(checkpoint->path);
    free(checkpoint);
}

size_t atl_checkpoint_count(const atl_checkpoint *checkpoint) {
    return checkpoint->header.count;
}

const atl_tensor *atl_checkpoint_tensors(const atl_checkpoint *checkpoint) {
    return checkpoint->header.tensors;
}

const char *atl_checkpoint_dtype_name(const atl_checkpoint *checkpoint, size_t index) {
    return index < checkpoint->header.count ? checkpoint->header.extents[index].dtype_name : NULL;
}

int64_t atl_checkpoint_bytes(const atl_checkpoint *checkpoint, size_t index) {
    if (index >= checkpoint->header.count)
        return -1;
    const atl_extent *extent = &checkpoint->header.extents[index];
    return extent->end - extent->begin;
}

static atl_status load_tensor(atl_checkpoint *c, size_t index, atl_error *error) {
    const atl_extent *extent = &c->header.extents[index];
    int64_t bytes = extent->end - extent->begin;
    void *data = atl_allocate(bytes);
    if (!data)
        return atl_fail_memory(c->path, error, (uint64_t)bytes);
    atl_status status = atl_input_read(&c->input, c->data_offset + extent->begin, data, bytes, error);
    if (status)
        free(data);
    else
        c->header.tensors[index].data = data;
    return status;
}

atl_status atl_checkpoint_load(atl_checkpoint *checkpoint, const char *prefix, atl_error *error) {
    if (!checkpoint)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "checkpoint is NULL");
    size_t length = prefix ? strlen(prefix) : 0;
    for (size_t i = 0; i < checkpoint->header.count; i++) {
        const atl_tensor *tensor = &checkpoint->header.tensors[i];
        if (tensor->data || (length && strncmp(tensor->name, prefix, length) != 0))
            continue;
        atl_status status = load_tensor(checkpoint, i, error);
        if (status)
            return status;
    }
    return ATL_OK;
}

int atl_checkpoint_metadata_at(const atl_checkpoint *checkpoint, size_t index, const char **key, const char **value) {
    if (index >= checkpoint->header.metadata_count)
        return 0;
    if (key)
        *key = checkpoint->header.metadata[index].key;
    if (value)
        *value = checkpoint->header.metadata[index].value;
    return 1;
}

const char *atl_checkpoint_metadata(const atl_checkpoint *checkpoint, const char *key) {
    for (size_t i = 0; i < checkpoint->header.metadata_count; i++)
        if (strcmp(checkpoint->header.metadata[i].key, key) == 0)
            return checkpoint->header.metadata[i].value;
    return NULL;
}
