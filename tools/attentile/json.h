/* SPDX-License-Identifier: Apache-2.0 */
/* The command's JSON output. Memory running out on the way is remembered and reported by json_print. */
#ifndef ATTENTILE_TOOLS_JSON_H
#define ATTENTILE_TOOLS_JSON_H

#include <jansson.h>
#include <stdint.h>

/* Adds a new value; NULL is memory that ran out. */
void json_put(json_t *object, const char *key, json_t *value);
void json_add(json_t *array, json_t *value);

json_t *json_shape(int rank, const int64_t *shape);
/* A number, or null when it is not positive: not known. */
json_t *json_known(double value);
json_t *json_count(int64_t value);

/* Prints `root` with a newline on stdout and releases it. DONE or FAILED. */
int json_print(json_t *root);

#endif
