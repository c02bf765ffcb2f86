/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile check`: what its parts hand one another. */
#ifndef ATTENTILE_TOOLS_CHECK_H
#define ATTENTILE_TOOLS_CHECK_H

#include <jansson.h>

#include "command.h"
#include "kernels.h"

typedef struct check_job {
    atl_isa found, limit; /* the best of this machine and build, and the best to check */
    int kernels, layers;  /* which parts */
    int small, readable_guards;
    json_t *json; /* the report so far; NULL = text is printed */
    long passed, failed;
} check_job;

/* check_kernels.c, check_layers.c: DONE, or the exit code after an error was printed. Failures of what is checked are
 * counted in the job. */
int check_kernels(check_job *job);
int check_layers(check_job *job);

/* One thing was checked. */
void check_count(check_job *job, long passed, long failed);

#endif
