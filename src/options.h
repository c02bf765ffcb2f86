/* SPDX-License-Identifier: Apache-2.0 */
/* Structs that start with their size: read by a newer library than the caller's header, and the other way round. */
#ifndef ATL_SRC_OPTIONS_H
#define ATL_SRC_OPTIONS_H

#include <stddef.h>

#include "attentile/attentile.h"

/* Copies the caller's options over `defaults` (`size` bytes, holding the defaults), up to the smaller of the two sizes.
 * Bytes that the caller has and this library does not know must be 0. `from` may be NULL: nothing happens. */
atl_status atl_read_options(void *defaults, size_t size, const void *from, const char *name, atl_error *error);

#define ATL_READ_OPTIONS(into, from, name, error) atl_read_options(&(into), sizeof(into), from, name, error)

/* Fills the caller's info struct, as much of it as info->size says, and leaves its size alone. */
atl_status atl_fill_info(void *info, const void *full, size_t size, const char *name, atl_error *error);

#endif
