/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <stdio.h>
#include <string.h>

void atl_json_init(atl_json *json, char *text, size_t size) {
    *json = (atl_json){.start = text, .at = text, .end = text + size};
}

static bool want(atl_json *json, const char *expected) {
    json->expected = expected;
    return false;
}

static void skip_space(atl_json *json) {
    while (json->at < json->end && (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r'))
        json->at++;
}

/* Takes `c` if it comes next, after white space. */
static bool take(atl_json *json, char c) {
    skip_space(json);
    if (json->at >= json->end || *json->at != c)
        return false;
    json->at++;
    return true;
}

/* ---------------------------------------------------------------- strings */

/* Bytes of the valid UTF-8 character at `at`, or 0. */
static int character_length(const char *at, const char *end) {
    const unsigned char *b = (const unsigned char *)at;
    int length = b[0] < 0x80 ? 1 : b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : b[0] < 0xf5 ? 4 : 0;
    if (length > end - at)
        return 0;
    for (int i = 1; i < length; i++)
        if ((b[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xf0 && b[1] < 0x90);
    bool surrogate = b[0] == 0xed && b[1] >= 0xa0;
    bool too_large = b[0] == 0xf4 && b[1] >= 0x90;
    return overlong || surrogate || too_large ? 0 : length;
}

static char *put_character(char *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

/* "\uXXXX" at `at`. */
static bool read_unit(const char *at, const char *end, uint32_t *unit) {
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return false;
    *unit = 0;
    for (int i = 2; i < 6; i++) {
        char c = at[i], letter = c | 0x20;
        if (c >= '0' && c <= '9')
            *unit = *unit << 4 | (uint32_t)(c - '0');
        else if (letter >= 'a' && letter <= 'f')
            *unit = *unit << 4 | (uint32_t)(letter - 'a' + 10);
        else
            return false;
    }
    return true;
}

static bool take_unicode_escape(atl_json *json, char **out) {
    uint32_t code, low;
    if (!read_unit(json->at, json->end, &code))
        return want(json, "four hexadecimal digits after \\u");
    if (code == 0)
        return want(json, "a string without NUL");
    int length = 6;
    if (code >= 0xd800 && code < 0xe000) {
        if (code >= 0xdc00 || !read_unit(json->at + 6, json->end, &low) || low < 0xdc00 || low >= 0xe000)
            return want(json, "a pair of surrogates");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        length = 12;
    }
    json->at += length;
    *out = put_character(*out, code);
    return true;
}

static bool take_escape(atl_json *json, char **out) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char name = json->end - json->at >= 2 ? json->at[1] : '\0';
    if (name == 'u')
        return take_unicode_escape(json, out);
    const char *found = name ? strchr(names, name) : NULL;
    if (!found)
        return want(json, "an escape sequence of JSON");
    *(*out)++ = values[found - names];
    json->at += 2;
    return true;
}

bool atl_json_string(atl_json *json, const char **text) {
    if (!take(json, '"'))
        return want(json, "a string");
    char *out = json->at;
    *text = out;
    while (json->at < json->end && *json->at != '"') {
        if (*json->at == '\\') {
            if (!take_escape(json, &out))
                return false;
            continue;
        }
        int length = (unsigned char)*json->at < 0x20 ? 0 : character_length(json->at, json->end);
        if (length == 0)
            return want(json, "a character of a UTF-8 string");
        memmove(out, json->at, (size_t)length);
        out += length;
        json->at += length;
    }
    if (json->at == json->end)
        return want(json, "the end of a string");
    json->at++;
    *out = '\0';
    return true;
}

/* ---------------------------------------------------------------- sizes, arrays, objects */

static bool take_size(atl_json *json, int64_t *value) {
    static const char expected[] = "an integer from 0 to 2^63 - 1";
    skip_space(json);
    char *first = json->at;
    *value = 0;
    for (; json->at < json->end && *json->at >= '0' && *json->at <= '9'; json->at++)
        if (__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, *json->at - '0', value))
            return want(json, expected);
    if (json->at == first || (*first == '0' && json->at - first > 1))
        return want(json, expected);
    return true;
}

bool atl_json_sizes(atl_json *json, int64_t *values, int capacity, int *count) {
    *count = 0;
    if (!take(json, '['))
        return want(json, "an array");
    if (take(json, ']'))
        return true;
    do {
        if (*count == capacity)
            return want(json, "fewer elements");
        if (!take_size(json, &values[(*count)++]))
            return false;
    } while (take(json, ','));
    return take(json, ']') || want(json, "',' or ']'");
}

bool atl_json_object(atl_json *json, atl_json_member_fn *member, void *context) {
    if (!take(json, '{'))
        return want(json, "an object");
    if (take(json, '}'))
        return true;
    do {
        const char *key;
        if (!atl_json_string(json, &key))
            return false;
        if (!take(json, ':'))
            return want(json, "':'");
        if (!member(json, key, context))
            return false;
    } while (take(json, ','));
    return take(json, '}') || want(json, "',' or '}'");
}

bool atl_json_end(atl_json *json) {
    skip_space(json);
    return json->at == json->end || want(json, "nothing after the object");
}

atl_json_found atl_json_here(const atl_json *json) {
    atl_json_found found;
    unsigned char c = json->at < json->end ? (unsigned char)*json->at : 0;
    if (json->at >= json->end)
        snprintf(found.text, sizeof found.text, "the end");
    else if (c > ' ' && c < 0x7f)
        snprintf(found.text, sizeof found.text, "'%c'", c);
    else
        snprintf(found.text, sizeof found.text, "byte 0x%02x", c);
    return found;
}
