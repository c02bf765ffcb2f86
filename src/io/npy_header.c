/* SPDX-License-Identifier: Apache-2.0 */
#include "npy_header.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct npy_type {
    char descr[4];
    uint8_t dtype, bytes;
} npy_type;

static const npy_type types[] = {
    {"<f4", ATL_F32, 4}, {"<f2", ATL_F16, 2}, {"<f8", ATL_F64, 8}, {"<i8", ATL_I64, 8},  {"<i4", ATL_I32, 4},
    {"<i2", ATL_I16, 2}, {"|i1", ATL_I8, 1},  {"|u1", ATL_U8, 1},  {"|b1", ATL_BOOL, 1},
};

#define SUPPORTED "expected <f4, <f2, <f8, <i8, <i4, <i2, |i1, |u1 or |b1"

/* ---------------------------------------------------------------- reading */

typedef struct literal {
    const char *at, *end;
    atl_npy_problem *problem;
} literal;

#define DESCR_BYTES 32

static bool refuse(literal *l, const char *problem) {
    snprintf(l->problem->text, sizeof l->problem->text, "%s", problem);
    return false;
}

static void skip_space(literal *l) {
    while (l->at < l->end && (*l->at == ' ' || *l->at == '\t' || *l->at == '\n' || *l->at == '\r'))
        l->at++;
}

static bool take(literal *l, const char *word) {
    skip_space(l);
    size_t length = strlen(word);
    if ((size_t)(l->end - l->at) < length || memcmp(l->at, word, length) != 0)
        return false;
    l->at += length;
    return true;
}

/* A string in either kind of quotes. Nothing that fits here needs an escape. */
static bool take_string(literal *l, char text[DESCR_BYTES]) {
    skip_space(l);
    if (l->at == l->end || (*l->at != '\'' && *l->at != '"'))
        return refuse(l, "a quoted string is missing in the header");
    char quote = *l->at++;
    int length = 0;
    while (l->at < l->end && *l->at != quote) {
        unsigned char c = (unsigned char)*l->at++;
        if (c < ' ' || c >= 0x7f || c == '\\' || length == DESCR_BYTES - 1)
            return refuse(l, "the header has a string that is no name or dtype of a plain array");
        text[length++] = (char)c;
    }
    if (l->at == l->end)
        return refuse(l, "the header has a string without an end");
    l->at++;
    text[length] = '\0';
    return true;
}

static bool refuse_descr(literal *l, const char *descr) {
    const char *why = descr[0] && descr[1] == 'O'          ? "Python objects are not read"
                      : descr[0] == '>' || descr[0] == '=' ? "not little-endian"
                                                           : "dtype not supported";
    snprintf(l->problem->text, sizeof l->problem->text, "%s (" SUPPORTED ", got %s)", why, descr);
    return false;
}

static bool take_descr(literal *l, atl_array *array) {
    char descr[DESCR_BYTES];
    skip_space(l);
    if (l->at < l->end && *l->at == '[')
        return refuse(l, "structured dtypes are not read (" SUPPORTED ")");
    if (!take_string(l, descr))
        return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        bool any_order = types[i].bytes == 1 && descr[0] && strchr("<>|", descr[0]);
        if (strcmp(descr + any_order, types[i].descr + any_order) == 0) {
            array->dtype = (atl_dtype)types[i].dtype;
            return true;
        }
    }
    return refuse_descr(l, descr);
}

static bool take_bool(literal *l, bool *value) {
    *value = take(l, "True");
    return *value || take(l, "False") || refuse(l, "fortran_order is neither True nor False");
}

/* A size above 0. Decimal, without the leading zeros that Python refuses. */
static bool take_size(literal *l, int64_t *size) {
    skip_space(l);
    const char *first = l->at;
    *size = 0;
    for (; l->at < l->end && *l->at >= '0' && *l->at <= '9'; l->at++)
        if (__builtin_mul_overflow(*size, 10, size) || __builtin_add_overflow(*size, *l->at - '0', size))
            return refuse(l, "a size in shape is beyond 64 bits");
    if (l->at == first || (*first == '0' && l->at - first > 1))
        return refuse(l, "shape is no tuple of sizes");
    return *size > 0 || refuse(l, "a size in shape is 0");
}

static bool take_shape(literal *l, atl_array *array) {
    array->rank = 0;
    if (!take(l, "("))
        return refuse(l, "shape is no tuple of sizes");
    if (take(l, ")"))
        return true;
    do {
        if (array->rank == ATL_MAX_RANK)
            return refuse(l, "more than 8 axes");
        if (!take_size(l, &array->shape[array->rank++]))
            return false;
        if (take(l, ")"))
            /* Without a comma, parentheses around one number make no tuple. */
            return array->rank > 1 || refuse(l, "shape is no tuple of sizes");
        if (!take(l, ","))
            return refuse(l, "shape is no tuple of sizes");
    } while (!take(l, ")"));
    return true;
}

static bool take_member(literal *l, atl_array *array, bool *fortran, unsigned *seen) {
    char name[DESCR_BYTES];
    if (!take_string(l, name))
        return false;
    static const char *const names[] = {"descr", "fortran_order", "shape"};
    unsigned field = 0;
    while (field < 3 && strcmp(name, names[field]) != 0)
        field++;
    if (field == 3)
        return refuse(l, "the header has an unknown key (expected descr, fortran_order and shape)");
    if (*seen & 1u << field)
        return refuse(l, "the header has a key twice");
    *seen |= 1u << field;
    if (!take(l, ":"))
        return refuse(l, "':' is missing in the header");
    switch (field) {
    case 0: return take_descr(l, array);
    case 1: return take_bool(l, fortran);
    default: return take_shape(l, array);
    }
}

bool atl_npy_header_parse(const char *text, size_t size, atl_array *array, atl_npy_problem *problem) {
    literal l = {.at = text, .end = text + size, .problem = problem};
    bool fortran = false;
    unsigned seen = 0;
    if (!take(&l, "{"))
        return refuse(&l, "the header is no dictionary");
    while (!take(&l, "}")) {
        if (!take_member(&l, array, &fortran, &seen))
            return false;
        if (take(&l, "}"))
            break;
        if (!take(&l, ","))
            return refuse(&l, "',' or '}' is missing in the header");
    }
    skip_space(&l);
    if (l.at != l.end)
        return refuse(&l, "something follows the dictionary in the header");
    if (seen != 7)
        return refuse(&l, "the header lacks descr, fortran_order or shape");
    if (fortran && array->rank > 1)
        return refuse(&l, "Fortran order (expected C order: save numpy.ascontiguousarray of the array)");
    return true;
}

/* ---------------------------------------------------------------- writing */

static const npy_type *find_type(atl_dtype dtype) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if ((atl_dtype)types[i].dtype == dtype)
            return &types[i];
    return NULL;
}

int atl_npy_element_bytes(atl_dtype dtype) {
    const npy_type *type = find_type(dtype);
    return type ? type->bytes : 0;
}

int atl_npy_header_format(const atl_array *array, char *text, size_t capacity) {
    int length =
        snprintf(text, capacity, "{'descr': '%s', 'fortran_order': False, 'shape': (", find_type(array->dtype)->descr);
    for (int i = 0; i < array->rank; i++)
        length += snprintf(text + length, capacity - (size_t)length, i ? ", %" PRId64 : "%" PRId64, array->shape[i]);
    length += snprintf(text + length, capacity - (size_t)length, array->rank == 1 ? ",), }" : "), }");
    /* NumPy leaves room for the first size to grow to 21 digits. */
    int spare = array->rank > 0 ? 21 - snprintf(NULL, 0, "%" PRId64, array->shape[0]) : 0;
    return length + snprintf(text + length, capacity - (size_t)length, "%*s", spare, "");
}
