/* SPDX-License-Identifier: Apache-2.0 */
#include "shapes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\r\n"

enum { LINE_MAX_BYTES = 1023 };

__attribute__((format(printf, 2, 3))) static int fail(shape_fault *fault, const char *format, ...) {
    va_list values;
    va_start(values, format);
    if (fault)
        vsnprintf(fault->text, sizeof fault->text, format, values);
    va_end(values);
    return -1;
}

/* A positive whole number at the end of the text or before `end` and more, which is skipped. */
static int64_t positive(char **text, char end) {
    char *stop;
    if (**text < '0' || **text > '9')
        return -1;
    errno = 0;
    int64_t number = strtoll(*text, &stop, 10);
    if (errno || number < 1 || (*stop && (*stop != end || !stop[1])))
        return -1;
    *text = *stop ? stop + 1 : stop;
    return number;
}

static int copy(char *to, size_t size, const char *from, const char *what, shape_fault *fault) {
    size_t length = strlen(from);
    if (length == 0 || length >= size)
        return fail(fault, "%s: expected 1 to %zu bytes, got \"%.60s\"", what, size - 1, from);
    memcpy(to, from, length + 1);
    return 0;
}

static int parse_batch(char *word, shape_row *row, shape_fault *fault) {
    const char *whole = word;
    row->batch = positive(&word, 0);
    return row->batch < 1 ? fail(fault, "batch: expected a whole number from 1, got \"%.60s\"", whole) : 0;
}

static int parse_shape(char *word, shape_row *row, shape_fault *fault) {
    const char *whole = word;
    for (row->rank = 0; *word; row->rank++) {
        if (row->rank == ATL_MAX_RANK)
            return fail(fault, "shape: expected at most %d axes, got \"%.60s\"", ATL_MAX_RANK, whole);
        row->shape[row->rank] = positive(&word, 'x');
        if (row->shape[row->rank] < 1)
            return fail(fault, "shape: expected whole numbers from 1 with x between them, got \"%.60s\"", whole);
    }
    return 0;
}

static int parse_key(char *word, shape_row *row, shape_fault *fault) {
    char *equals = strchr(word, '=');
    if (!equals)
        return fail(fault, "expected KEY=VALUE, got \"%.60s\"", word);
    if (row->key_count == SHAPE_KEYS)
        return fail(fault, "expected at most %d keys, \"%.60s\" is one more", SHAPE_KEYS, word);
    int i = row->key_count++;
    *equals = 0;
    return copy(row->keys[i], sizeof row->keys[i], word, "key", fault) ||
                   copy(row->values[i], sizeof row->values[i], equals + 1, row->keys[i], fault)
               ? -1
               : 0;
}

static int parse_word(char *word, int index, shape_row *row, shape_fault *fault) {
    switch (index) {
    case 0: return copy(row->kind, sizeof row->kind, word, "kind", fault);
    case 1: return copy(row->name, sizeof row->name, word, "name", fault);
    case 2: return parse_batch(word, row, fault);
    case 3: return parse_shape(word, row, fault);
    default: return parse_key(word, row, fault);
    }
}

int shape_parse(const char *line, shape_row *row, shape_fault *fault) {
    char text[LINE_MAX_BYTES + 1], *state;
    size_t length = strcspn(line, "#");
    if (length >= sizeof text)
        return fail(fault, "longer than %d bytes", LINE_MAX_BYTES);
    memcpy(text, line, length);
    text[length] = 0;
    memset(row, 0, sizeof *row);
    int words = 0;
    for (char *word = strtok_r(text, BLANKS, &state); word; word = strtok_r(NULL, BLANKS, &state))
        if (parse_word(word, words++, row, fault))
            return -1;
    if (words > 0 && words < 4)
        return fail(fault, "expected KIND NAME BATCH SHAPE, got %d of these words", words);
    return words > 0;
}

int shapes_read(const char *path, shape_row *rows, int capacity, shape_fault *fault) {
    char text[LINE_MAX_BYTES + 2]; /* with the newline */
    int count = 0;
    fault->line = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return fail(fault, "%s", strerror(errno));
    while (count >= 0 && fgets(text, sizeof text, file)) {
        shape_row row;
        ++fault->line;
        int status = strchr(text, '\n') || feof(file) ? shape_parse(text, &row, fault)
                                                      : fail(fault, "longer than %d bytes", LINE_MAX_BYTES);
        if (status > 0 && count == capacity)
            status = fail(fault, "more than %d rows", capacity);
        if (status < 0)
            count = -1;
        else if (status > 0)
            rows[count++] = row;
    }
    if (count >= 0 && ferror(file))
        count = fail(fault, "%s", strerror(errno));
    fclose(file);
    return count;
}

int64_t shape_number(const shape_row *row, const char *key, int64_t fallback) {
    for (int i = 0; i < row->key_count; i++)
        if (strcmp(row->keys[i], key) == 0)
            return strtoll(row->values[i], NULL, 10);
    return fallback;
}

int64_t shape_positions(const shape_row *row) {
    int64_t positions = 1;
    for (int i = 1; i < row->rank; i++)
        positions *= row->shape[i];
    return positions;
}

size_t shape_params(const shape_row *row, atl_param params[SHAPE_KEYS]) {
    size_t count = 0;
    for (int i = 0; i < row->key_count; i++)
        if (strncmp(row->keys[i], "set.", 4) == 0)
            params[count++] = (atl_param){row->keys[i] + 4, row->values[i]};
    return count;
}
