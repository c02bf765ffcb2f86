/* SPDX-License-Identifier: Apache-2.0 */
#include "header.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "json.h"

/* A tensor while the header is read. */
typedef struct record {
    atl_tensor tensor;
    atl_extent extent;
} record;

typedef struct parser {
    const char *path;
    atl_error *error;
    atl_status status; /* a failure that has been reported already */
    record *records;
    size_t record_count, record_capacity;
    atl_pair *pairs;
    size_t pair_count, pair_capacity;
    bool has_metadata;
} parser;

/* ---------------------------------------------------------------- entries */

typedef struct dtype_word {
    char word[12];
    uint8_t dtype, bits;
} dtype_word;

static const dtype_word dtype_words[] = {
    {"F32", ATL_F32, 32},      {"F16", ATL_F16, 16},          {"BF16", ATL_BF16, 16},        {"F64", ATL_F64, 64},
    {"I64", ATL_I64, 64},      {"I32", ATL_I32, 32},          {"I16", ATL_I16, 16},          {"I8", ATL_I8, 8},
    {"U8", ATL_U8, 8},         {"BOOL", ATL_BOOL, 8},         {"U16", ATL_OTHER, 16},        {"U32", ATL_OTHER, 32},
    {"U64", ATL_OTHER, 64},    {"C64", ATL_OTHER, 64},        {"F8_E4M3", ATL_OTHER, 8},     {"F8_E5M2", ATL_OTHER, 8},
    {"F8_E8M0", ATL_OTHER, 8}, {"F8_E4M3FNUZ", ATL_OTHER, 8}, {"F8_E5M2FNUZ", ATL_OTHER, 8}, {"F6_E2M3", ATL_OTHER, 6},
    {"F6_E3M2", ATL_OTHER, 6}, {"F4", ATL_OTHER, 4},
};

static const dtype_word *find_dtype(const char *word) {
    for (size_t i = 0; i < sizeof dtype_words / sizeof *dtype_words; i++)
        if (strcmp(word, dtype_words[i].word) == 0)
            return &dtype_words[i];
    return NULL;
}

/* Bytes of a shape in a dtype; false when they overflow 64 bits or end inside a byte. */
static bool dense_bytes(const atl_tensor *tensor, int bits, int64_t *bytes) {
    int64_t elements = 1;
    for (int i = 0; i < tensor->rank; i++)
        if (__builtin_mul_overflow(elements, tensor->shape[i], &elements))
            return false;
    if (__builtin_mul_overflow(elements, bits, &elements) || elements % 8 != 0)
        return false;
    *bytes = elements / 8;
    return true;
}

enum { HAS_DTYPE = 1, HAS_SHAPE = 2, HAS_OFFSETS = 4, HAS_ALL = 7 };

/* The entry that is being read. */
typedef struct entry {
    parser *parser;
    record *record;
    const dtype_word *dtype;
    unsigned has;
} entry;

static bool refuse(parser *p, const record *r, const char *problem) {
    p->status = atl_fail_at(p->path, p->error, ATL_BAD_FORMAT, "tensor \"%s\": %s", atl_excerpt_of(r->tensor.name).text,
                            problem);
    return false;
}

static bool refuse_word(parser *p, const record *r, const char *what, const char *word) {
    p->status = atl_fail_at(p->path, p->error, ATL_BAD_FORMAT, "tensor \"%s\": %s \"%s\"",
                            atl_excerpt_of(r->tensor.name).text, what, atl_excerpt_of(word).text);
    return false;
}

static bool read_dtype(atl_json *json, entry *e) {
    const char *word;
    if (!atl_json_string(json, &word))
        return false;
    e->dtype = find_dtype(word);
    if (!e->dtype)
        return refuse_word(e->parser, e->record, "unknown dtype", word);
    e->record->tensor.dtype = (atl_dtype)e->dtype->dtype;
    e->record->extent.dtype_name = e->dtype->word;
    return true;
}

static bool read_offsets(atl_json *json, entry *e) {
    int64_t offsets[2];
    int count;
    if (!atl_json_sizes(json, offsets, 2, &count))
        return false;
    if (count != 2)
        return refuse(e->parser, e->record, "data_offsets are not [begin, end]");
    e->record->extent.begin = offsets[0];
    e->record->extent.end = offsets[1];
    return true;
}

static bool read_field(atl_json *json, const char *key, void *context) {
    entry *e = context;
    unsigned field = strcmp(key, "dtype") == 0          ? HAS_DTYPE
                     : strcmp(key, "shape") == 0        ? HAS_SHAPE
                     : strcmp(key, "data_offsets") == 0 ? HAS_OFFSETS
                                                        : 0;
    if (!field)
        return refuse_word(e->parser, e->record, "unknown field", key);
    if (e->has & field)
        return refuse_word(e->parser, e->record, "duplicate field", key);
    e->has |= field;
    switch (field) {
    case HAS_DTYPE: return read_dtype(json, e);
    case HAS_SHAPE: return atl_json_sizes(json, e->record->tensor.shape, ATL_MAX_RANK, &e->record->tensor.rank);
    default: return read_offsets(json, e);
    }
}

static bool check_entry(const entry *e) {
    parser *p = e->parser;
    const record *r = e->record;
    if (e->has != HAS_ALL)
        return refuse(p, r, "dtype, shape or data_offsets is missing");
    int64_t bytes;
    if (!dense_bytes(&r->tensor, e->dtype->bits, &bytes))
        return refuse(p, r, "the shape has no size in whole bytes below 2^60");
    if (r->extent.end < r->extent.begin)
        return refuse(p, r, "data_offsets end before they begin");
    if (r->extent.end - r->extent.begin != bytes) {
        p->status = atl_fail_at(p->path, p->error, ATL_BAD_FORMAT,
                                "tensor \"%s\": wrong size of data_offsets (expected %" PRId64 " bytes for %s and the "
                                "shape, got %" PRId64 ")",
                                atl_excerpt_of(r->tensor.name).text, bytes, r->extent.dtype_name,
                                r->extent.end - r->extent.begin);
        return false;
    }
    return true;
}

/* ---------------------------------------------------------------- members */

/* The array with room for one more element, or NULL. The header's length bounds all sizes. */
static void *grow(parser *p, void *array, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity)
        return array;
    size_t wanted = *capacity ? 2 * *capacity : 64;
    void *bigger = realloc(array, wanted * size);
    if (bigger)
        *capacity = wanted;
    else
        p->status = atl_fail_memory(p->path, p->error, wanted * size);
    return bigger;
}

static bool read_pair(atl_json *json, const char *key, void *context) {
    parser *p = context;
    atl_pair *pairs = grow(p, p->pairs, p->pair_count, &p->pair_capacity, sizeof *p->pairs);
    if (!pairs)
        return false;
    p->pairs = pairs;
    atl_pair *pair = &p->pairs[p->pair_count];
    pair->key = key;
    if (!atl_json_string(json, &pair->value))
        return false;
    p->pair_count++;
    return true;
}

static bool read_entry(atl_json *json, const char *key, parser *p) {
    record *records = grow(p, p->records, p->record_count, &p->record_capacity, sizeof *p->records);
    if (!records)
        return false;
    p->records = records;
    record *r = &p->records[p->record_count];
    *r = (record){.tensor = {.name = key}};
    entry e = {.parser = p, .record = r};
    if (!atl_json_object(json, read_field, &e) || !check_entry(&e))
        return false;
    p->record_count++;
    return true;
}

static bool read_member(atl_json *json, const char *key, void *context) {
    parser *p = context;
    if (strcmp(key, "__metadata__") != 0)
        return read_entry(json, key, p);
    if (p->has_metadata) {
        p->status = atl_fail_at(p->path, p->error, ATL_BAD_FORMAT, "duplicate name \"__metadata__\"");
        return false;
    }
    p->has_metadata = true;
    return atl_json_object(json, read_pair, p);
}

static atl_status read_text(parser *p, char *text, size_t size) {
    atl_json json;
    atl_json_init(&json, text, size);
    /* The format has the object begin at once; white space may only follow it. */
    if (size > 0 && text[0] != '{')
        json.expected = "an object";
    else if (atl_json_object(&json, read_member, p) && atl_json_end(&json))
        return ATL_OK;
    if (p->status)
        return p->status;
    return atl_fail_at(p->path, p->error, ATL_BAD_FORMAT, "wrong header at byte %td (expected %s, got %s)",
                       json.at - json.start, json.expected, atl_json_here(&json).text);
}

/* ---------------------------------------------------------------- checks of the whole */

_Static_assert(offsetof(atl_pair, key) == 0 && offsetof(record, tensor.name) == 0, "names come first");

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* `items` are `count` structs of `size` bytes that begin with the pointer to their name. */
static atl_status refuse_duplicates(const parser *p, const void *items, size_t count, size_t size) {
    if (count < 2)
        return ATL_OK;
    const char **sorted = malloc(count * sizeof *sorted);
    if (!sorted)
        return atl_fail_memory(p->path, p->error, count * sizeof *sorted);
    for (size_t i = 0; i < count; i++)
        sorted[i] = *(const char *const *)((const char *)items + i * size);
    qsort(sorted, count, sizeof *sorted, compare_names);
    atl_status status = ATL_OK;
    for (size_t i = 1; i < count && !status; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            status =
                atl_fail_at(p->path, p->error, ATL_BAD_FORMAT, "duplicate name \"%s\"", atl_excerpt_of(sorted[i]).text);
    free(sorted);
    return status;
}

static int compare_records(const void *a, const void *b) {
    const record *x = a, *y = b;
    if (x->extent.begin != y->extent.begin)
        return x->extent.begin < y->extent.begin ? -1 : 1;
    if (x->extent.end != y->extent.end)
        return x->extent.end < y->extent.end ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name);
}

/* Each tensor begins where the one before ends, and the last ends with the data. */
static atl_status check_cover(const parser *p, int64_t data_size) {
    int64_t end = 0;
    for (size_t i = 0; i < p->record_count; i++) {
        const record *r = &p->records[i];
        if (r->extent.begin != end)
            return atl_fail_at(p->path, p->error, ATL_BAD_FORMAT,
                               "tensor \"%s\": %s before its data (expected it to begin at %" PRId64 ", got %" PRId64
                               ")",
                               atl_excerpt_of(r->tensor.name).text, r->extent.begin < end ? "an overlap" : "a hole",
                               end, r->extent.begin);
        end = r->extent.end;
    }
    if (end != data_size)
        return atl_fail_at(p->path, p->error, ATL_BAD_FORMAT,
                           "the tensors do not cover the data (expected %" PRId64
                           " bytes after the header, got %" PRId64 ")",
                           end, data_size);
    return ATL_OK;
}

/* Moves what was read into the header. */
static atl_status fill_header(parser *p, atl_header *header) {
    size_t count = p->record_count;
    *header = (atl_header){.count = count, .metadata = p->pairs, .metadata_count = p->pair_count};
    p->pairs = NULL;
    if (count == 0)
        return ATL_OK;
    header->tensors = malloc(count * sizeof *header->tensors);
    header->extents = malloc(count * sizeof *header->extents);
    if (!header->tensors || !header->extents) {
        atl_header_clear(header);
        return atl_fail_memory(p->path, p->error, count * sizeof(record));
    }
    for (size_t i = 0; i < count; i++) {
        header->tensors[i] = p->records[i].tensor;
        header->extents[i] = p->records[i].extent;
    }
    return ATL_OK;
}

atl_status atl_header_parse(atl_header *header, char *text, size_t size, int64_t data_size, const char *path,
                            atl_error *error) {
    parser p = {.path = path, .error = error};
    atl_status status = read_text(&p, text, size);
    if (!status)
        status = refuse_duplicates(&p, p.pairs, p.pair_count, sizeof *p.pairs);
    if (!status)
        status = refuse_duplicates(&p, p.records, p.record_count, sizeof *p.records);
    if (!status) {
        if (p.record_count > 1)
            qsort(p.records, p.record_count, sizeof *p.records, compare_records);
        status = check_cover(&p, data_size);
    }
    if (!status)
        status = fill_header(&p, header);
    free(p.records);
    free(p.pairs);
    return status;
}

void atl_header_clear(atl_header *header) {
    free(header->tensors);
    free(header->extents);
    free(header->metadata);
    *header = (atl_header){0};
}
