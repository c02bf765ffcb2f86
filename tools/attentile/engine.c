/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

int engine_open(int threads, atl_engine **engine, atl_engine_info *info) {
    atl_engine_options options;
    atl_engine_options_init(&options);
    options.threads = threads;
    return engine_open_with(&options, engine, info);
}

int engine_open_with(const atl_engine_options *options, atl_engine **engine, atl_engine_info *info) {
    atl_error error;
    const atl_status status = atl_engine_create(options, engine, &error);
    if (status != ATL_OK) {
        failed("%s", error.message);
        return status == ATL_INVALID_ARGUMENT ? WRONG_USAGE : FAILED; /* a wrong ATTENTILE_ variable */
    }
    info->size = sizeof *info;
    if (atl_engine_get_info(*engine, info, &error) != ATL_OK) {
        atl_engine_release(*engine);
        *engine = NULL;
        return failed("%s", error.message);
    }
    if (info->threads < info->threads_requested)
        warning("the system granted %d of %d threads", info->threads, info->threads_requested);
    return DONE;
}
