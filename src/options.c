/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <string.h>

#include "error.h"

static atl_status check_size(size_t got, size_t known, const char *name, atl_error *error) {
    if (got > sizeof(size_t) && got % sizeof(void *) == 0 && got <= 16 * known)
        return ATL_OK;
    return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: size is wrong (expected sizeof %s = %zu, got %zu)", name, name,
                    known, got);
}

atl_status atl_read_options(void *defaults, size_t size, const void *from, const char *name, atl_error *error) {
    if (!from)
        return ATL_OK;
    size_t got;
    memcpy(&got, from, sizeof got);
    atl_status status = check_size(got, size, name, error);
    if (status != ATL_OK)
        return status;
    const char *bytes = from;
    for (size_t i = size; i < got; i++)
        if (bytes[i])
            return atl_fail(error, ATL_UNSUPPORTED, "%s: a field is set that this library (%s) does not know", name,
                            atl_version());
    memcpy(defaults, from, got < size ? got : size);
    memcpy(defaults, &size, sizeof size);
    return ATL_OK;
}

atl_status atl_fill_info(void *info, const void *full, size_t size, const char *name, atl_error *error) {
    size_t got;
    memcpy(&got, info, sizeof got);
    atl_status status = check_size(got, size, name, error);
    if (status != ATL_OK)
        return status;
    size_t known = got < size ? got : size;
    memcpy((char *)info + sizeof got, (const char *)full + sizeof got, known - sizeof got);
    return ATL_OK;
}
