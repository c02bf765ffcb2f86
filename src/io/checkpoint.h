/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATL_SRC_IO_CHECKPOINT_H
#define ATL_SRC_IO_CHECKPOINT_H

#include "header.h"
#include "input.h"

struct atl_checkpoint {
    atl_input input;
    char *path;
    char *text; /* the header's JSON, holding all names */
    atl_header header;
    int64_t data_offset; /* of the data in the file */
};

#endif
