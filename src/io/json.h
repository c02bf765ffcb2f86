/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON that checkpoints hold: objects, strings and sizes. Strict (RFC 8259, valid UTF-8), in place and without
 * allocating. Why not jansson, which the command uses for its own output: measured on version 2.14, its tree takes 18 to
 * 20 times a dense legal header and 77 times a hostile one before that can be refused; a failed allocation can make it
 * lose characters of a name or abort the process, and so can a real number under some locales.
 *
 * Functions return false when something else came: `expected` then says what was wanted and `at` is where.
 */
#ifndef ATL_SRC_IO_JSON_H
#define ATL_SRC_IO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct atl_json {
    char *start, *at, *end;
    const char *expected;
} atl_json;

void atl_json_init(atl_json *json, char *text, size_t size);

/* Reads a string and decodes it over its own text, which is never shorter. *text is terminated; no NUL is inside. */
bool atl_json_string(atl_json *json, const char **text);

/* Reads an array of at most `capacity` integers in [0, 2^63). */
bool atl_json_sizes(atl_json *json, int64_t *values, int capacity, int *count);

/* Reads an object: `member` has to read the value of each key. It may also return false for a reason of its own. */
typedef bool atl_json_member_fn(atl_json *json, const char *key, void *context);
bool atl_json_object(atl_json *json, atl_json_member_fn *member, void *context);

/* Nothing but white space is left. */
bool atl_json_end(atl_json *json);

/* What stands where reading stopped, for a message. */
typedef struct atl_json_found {
    char text[24];
} atl_json_found;

atl_json_found atl_json_here(const atl_json *json);

#endif
