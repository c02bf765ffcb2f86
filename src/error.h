/* SPDX-License-Identifier: Apache-2.0 */
/* How the library reports a failure: fill the caller's atl_error, return the status. */
#ifndef ATL_SRC_ERROR_H
#define ATL_SRC_ERROR_H

#include "attentile/attentile.h"

/* Sets *error (unless NULL) to the status and the formatted line (cut to fit on a UTF-8 boundary; control
 * characters become '?'), and returns the status: `return atl_fail(error, ATL_INVALID_ARGUMENT, "...", ...);` */
atl_status atl_fail(atl_error *error, atl_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
