/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "command.h"
#include "json.h"

static int out_of_memory;

void json_put(json_t *object, const char *key, json_t *value) {
    if (json_object_set_new(object, key, value) != 0)
        out_of_memory = 1;
}

void json_add(json_t *array, json_t *value) {
    if (json_array_append_new(array, value) != 0)
        out_of_memory = 1;
}

json_t *json_shape(int rank, const int64_t *shape) {
    json_t *array = json_array();
    for (int i = 0; i < rank; i++)
        json_add(array, json_integer(shape[i]));
    return array;
}

json_t *json_known(double value) {
    return value > 0 ? json_real(value) : json_null();
}

json_t *json_count(int64_t value) {
    return value > 0 ? json_integer(value) : json_null();
}

int json_print(json_t *root) {
    if (!out_of_memory && json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0)
        out_of_memory = !ferror(stdout); /* a failed write is main's to report */
    json_decref(root);
    if (out_of_memory)
        return failed("out of memory");
    putchar('\n');
    return DONE;
}
