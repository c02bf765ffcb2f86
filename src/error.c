/* SPDX-License-Identifier: Apache-2.0 */
#include "attentile/attentile.h"

const char *atl_status_name(atl_status status) {
    switch (status) {
    case ATL_OK: return "ok";
    case ATL_INVALID_ARGUMENT: return "invalid argument";
    case ATL_OUT_OF_MEMORY: return "out of memory";
    case ATL_UNSUPPORTED: return "unsupported";
    case ATL_SYSTEM_ERROR: return "system error";
    case ATL_IO_ERROR: return "input/output error";
    case ATL_BAD_FORMAT: return "bad format";
    }
    return "unknown status";
}

const char *atl_dtype_name(atl_dtype dtype) {
    static const char *const names[] = {"F32", "F16", "BF16", "F64", "I64", "I32", "I16", "I8", "U8", "BOOL", "OTHER"};
    return (unsigned)dtype < sizeof names / sizeof *names ? names[dtype] : "?";
}

#define STRING_(x) #x
#define STRING(x)  STRING_(x)

const char *atl_version(void) {
    return STRING(ATL_VERSION_MAJOR) "." STRING(ATL_VERSION_MINOR) "." STRING(ATL_VERSION_PATCH);
}
