/* SPDX-License-Identifier: Apache-2.0 */
/* The header of a safetensors file. */
#ifndef ATL_SRC_IO_HEADER_H
#define ATL_SRC_IO_HEADER_H

#include "attentile/attentile.h"

/* Where a tensor lies in the data, and the file's word for its dtype. */
typedef struct atl_extent {
    int64_t begin, end;
    const char *dtype_name; /* static */
} atl_extent;

typedef struct atl_pair {
    const char *key, *value;
} atl_pair;

/* Names, keys and values point into the text that was parsed. */
typedef struct atl_header {
    atl_tensor *tensors; /* in the order of the data */
    atl_extent *extents; /* of the same tensors */
    size_t count;
    atl_pair *metadata; /* in the order of the text */
    size_t metadata_count;
} atl_header;

/*
 * Parses and checks a header in place: `text` is rewritten and has to outlive the header. `data_size` is what follows
 * it in the file. `path` is for messages. On failure nothing is left in *header.
 */
atl_status atl_header_parse(atl_header *header, char *text, size_t size, int64_t data_size, const char *path,
                            atl_error *error);

void atl_header_clear(atl_header *header);

#endif
