/* SPDX-License-Identifier: Apache-2.0 */
#include "shapes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\r\n"

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

static int copy(char *to, size_t size, const char *from) {
    size_t length = strlen(from);
    if (length == 0 || length >= size)
        return -1;
    memcpy(to, from, length + 1);
    return 0;
}

static int parse_shape(char *text, shape_row *row) {
    for (row->rank = 0; *text; row->rank++) {
        if (row->rank == ATL_MAX_RANK)
            return -1;
        row->shape[row->rank] = positive(&text, 'x');
        if (row->shape[row->rank] < 1)
            return -1;
    }
    return row->rank > 0 ? 0 : -1;
}

static int parse_key(char *text, shape_row *row) {
    char *equals = strchr(text, '=');
    if (!equals || row->key_count == SHAPE_KEYS)
        return -1;
    *equals = 0;
    int i = row->key_count++;
    return copy(row->keys[i], sizeof row->keys[i], text) || copy(row->values[i], sizeof row->values[i], equals + 1) ? -1
                                                                                                                    : 0;
}

static int parse_word(char *word, int index, shape_row *row) {
    switch (index) {
    case 0: return copy(row->kind, sizeof row->kind, word);
    case 1: return copy(row->name, sizeof row->name, word);
    case 2: row->batch = positive(&word, 0); return row->batch < 1 ? -1 : 0;
    case 3: return parse_shape(word, row);
    default: return parse_key(word, row);
    }
}

int shape_parse(const char *line, shape_row *row) {
    char text[512], *state;
    size_t length = strcspn(line, "#");
    if (length >= sizeof text)
        return -1;
    memcpy(text, line, length);
    text[length] = 0;
    memset(row, 0, sizeof *row);
    int words = 0;
    for (char *word = strtok_r(text, BLANKS, &state); word; word = strtok_r(NULL, BLANKS, &state))
        if (parse_word(word, words++, row))
            return -1;
    return words == 0 ? 0 : words >= 4 ? 1 : -1;
}

int shapes_read(const char *path, shape_row *rows, int capacity, int *line) {
    char text[1024];
    int count = 0;
    *line = 0;
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    while (count >= 0 && fgets(text, sizeof text, file)) {
        shape_row row;
        ++*line;
        int status = shape_parse(text, &row);
        if (status < 0 || (status > 0 && count == capacity))
            count = -1;
        else if (status > 0)
            rows[count++] = row;
    }
    if (ferror(file))
        count = -1;
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
