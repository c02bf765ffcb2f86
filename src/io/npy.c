/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../error.h"
#include "attentile/io.h"
#include "input.h"
#include "npy_header.h"

#define LONGEST_HEADER 10000 /* NumPy's own limit */
#define ALIGNMENT      64    /* of the data in the files we write, as NumPy does */

enum { SHORTEST_START = 10 }; /* magic, version and the header's length of version 1; 2 and 3 take two bytes more */

static const unsigned char magic[] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

/* Bytes of the array's data; -1 when they cannot be represented. */
static int64_t data_bytes(const atl_array *array) {
    int64_t bytes = atl_npy_element_bytes(array->dtype);
    for (int i = 0; i < array->rank; i++)
        if (__builtin_mul_overflow(bytes, array->shape[i], &bytes))
            return -1;
    return bytes;
}

/* Finds where the header's text begins and ends. */
static atl_status find_header(const atl_input *input, int64_t *begin, int64_t *end, atl_error *error) {
    unsigned char b[12] = {0};
    int64_t size = input->size < (int64_t)sizeof b ? input->size : (int64_t)sizeof b;
    atl_status status = atl_input_read(input, 0, b, size, error);
    if (status)
        return status;
    if (size < SHORTEST_START || memcmp(b, magic, sizeof magic) != 0)
        return atl_fail_at(input->path, error, ATL_BAD_FORMAT, "not a .npy file");
    if (b[6] < 1 || b[6] > 3 || b[7] != 0)
        return atl_fail_at(input->path, error, ATL_BAD_FORMAT,
                           "wrong .npy version (expected 1.0, 2.0 or 3.0, got %d.%d)", b[6], b[7]);
    *begin = b[6] == 1 ? SHORTEST_START : (int64_t)sizeof b;
    if (size < *begin)
        return atl_fail_at(input->path, error, ATL_BAD_FORMAT,
                           "the file ends before its header (expected at least %" PRId64 " bytes, got %" PRId64 ")",
                           *begin, size);
    uint32_t length = b[8] | (uint32_t)b[9] << 8;
    if (b[6] > 1)
        length |= (uint32_t)b[10] << 16 | (uint32_t)b[11] << 24;
    int64_t longest = input->size - *begin;
    if (longest > LONGEST_HEADER)
        longest = LONGEST_HEADER;
    if (length > longest)
        return atl_fail_at(input->path, error, ATL_BAD_FORMAT,
                           "wrong header length (expected at most %" PRId64 ", got %" PRIu32 ")", longest, length);
    *end = *begin + length;
    return ATL_OK;
}

static atl_status read_header(const atl_input *input, atl_array *array, int64_t *data_offset, atl_error *error) {
    int64_t begin = 0;
    atl_status status = find_header(input, &begin, data_offset, error);
    if (status)
        return status;
    int64_t size = *data_offset - begin;
    char *text = atl_allocate(size);
    if (!text)
        return atl_fail_memory(input->path, error, (uint64_t)size);
    status = atl_input_read(input, begin, text, size, error);
    atl_npy_problem problem;
    if (!status && !atl_npy_header_parse(text, (size_t)size, array, &problem))
        status = atl_fail_at(input->path, error, ATL_BAD_FORMAT, "%s", problem.text);
    free(text);
    return status;
}

static atl_status read_array(const atl_input *input, atl_array *array, atl_error *error) {
    int64_t offset = 0;
    atl_status status = read_header(input, array, &offset, error);
    if (status)
        return status;
    int64_t bytes = data_bytes(array), found = input->size - offset;
    if (bytes < 0)
        return atl_fail_at(input->path, error, ATL_BAD_FORMAT, "the shape has more bytes than 64 bits can count");
    if (bytes != found)
        return atl_fail_at(input->path, error, ATL_BAD_FORMAT,
                           "wrong size of the data (expected %" PRId64 " bytes for the shape, got %" PRId64 ")", bytes,
                           found);
    array->data = atl_allocate(bytes);
    if (!array->data)
        return atl_fail_memory(input->path, error, (uint64_t)bytes);
    status = atl_input_read(input, offset, array->data, bytes, error);
    if (status)
        free(array->data);
    return status;
}

atl_status atl_npy_read(const char *path, atl_array *array, atl_error *error) {
    if (!path || !array)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s is NULL", path ? "array" : "path");
    atl_input input;
    atl_status status = atl_input_open(&input, path, error);
    if (status)
        return status;
    atl_array read = {0};
    status = read_array(&input, &read, error);
    atl_input_close(&input);
    if (!status)
        *array = read;
    return status;
}

void atl_array_clear(atl_array *array) {
    if (!array)
        return;
    free(array->data);
    *array = (atl_array){0};
}

/* ---------------------------------------------------------------- writing */

static atl_status check_array(const char *path, const atl_array *array, atl_error *error) {
    if (!array->data)
        return atl_fail_at(path, error, ATL_INVALID_ARGUMENT, "the array has no data");
    if (!atl_npy_element_bytes(array->dtype))
        return atl_fail_at(path, error, ATL_INVALID_ARGUMENT, "cannot write dtype %s as .npy",
                           atl_dtype_name(array->dtype));
    if (array->rank < 0 || array->rank > ATL_MAX_RANK)
        return atl_fail_at(path, error, ATL_INVALID_ARGUMENT, "wrong rank (expected 0 to %d, got %d)", ATL_MAX_RANK,
                           array->rank);
    for (int i = 0; i < array->rank; i++)
        if (array->shape[i] <= 0)
            return atl_fail_at(path, error, ATL_INVALID_ARGUMENT,
                               "wrong size of axis %d (expected at least 1, got %" PRId64 ")", i, array->shape[i]);
    if (data_bytes(array) < 0)
        return atl_fail_at(path, error, ATL_INVALID_ARGUMENT, "the shape has more bytes than 64 bits can count");
    return ATL_OK;
}

/* Magic, version, length and the literal, padded with spaces and a newline. Returns the length. */
static size_t format_preamble(const atl_array *array, char *text, size_t capacity) {
    const size_t fixed = 10;
    size_t length = fixed + (size_t)atl_npy_header_format(array, text + fixed, capacity - fixed);
    /* NumPy pads by 1 to 64 spaces, never by none. */
    size_t padding = ALIGNMENT - (length + 1) % ALIGNMENT;
    memset(text + length, ' ', padding);
    length += padding;
    text[length++] = '\n';
    memcpy(text, magic, sizeof magic);
    text[6] = 1;
    text[7] = 0;
    text[8] = (char)((length - fixed) & 0xff);
    text[9] = (char)((length - fixed) >> 8);
    return length;
}

atl_status atl_npy_create(const char *path, const atl_array *array, atl_file **file, atl_error *error) {
    if (!path || !array || !file)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s is NULL", !path ? "path" : !array ? "array" : "file");
    atl_status status = check_array(path, array, error);
    if (status)
        return status;
    atl_file *created;
    status = atl_file_create(path, &created, error);
    if (status)
        return status;
    char preamble[640];
    status = atl_file_write(created, preamble, format_preamble(array, preamble, sizeof preamble), error);
    if (!status)
        status = atl_file_write(created, array->data, (size_t)data_bytes(array), error);
    if (status)
        atl_file_discard(created);
    else
        *file = created;
    return status;
}

atl_status atl_npy_write(const char *path, const atl_array *array, atl_error *error) {
    atl_file *file;
    atl_status status = atl_npy_create(path, array, &file, error);
    return status ? status : atl_file_commit(file, error);
}
