/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <attentile/io.h>

#include "command.h"
#include "info.h"
#include "json.h"

/* A layer that was recognised. */
typedef struct finding {
    char *prefix;
    const char *kind;
} finding;

typedef struct findings {
    finding *items;
    size_t count;
} findings;

static int by_name(const void *a, const void *b) {
    return strcmp(((const atl_tensor *)a)->name, ((const atl_tensor *)b)->name);
}

static void findings_free(findings *found) {
    for (size_t i = 0; i < found->count; i++)
        free(found->items[i].prefix);
    free(found->items);
    *found = (findings){0};
}

static int findings_add(findings *found, const char *prefix, const char *kind) {
    if ((found->count & (found->count - 1)) == 0) { /* full at every power of two */
        finding *items = realloc(found->items, (found->count ? found->count * 2 : 1) * sizeof *items);
        if (!items)
            return failed("out of memory");
        found->items = items;
    }
    char *copy = strdup(prefix);
    if (!copy)
        return failed("out of memory");
    found->items[found->count++] = (finding){copy, kind};
    return DONE;
}

/* Tries one prefix with the tensors that have it: they are neighbours in the order of names. */
static int try_prefix(const atl_tensor *tensors, size_t count, const char *prefix, findings *found) {
    atl_layer_desc desc;
    const char *kind;
    atl_layer_desc_init(&desc);
    desc.tensors = tensors;
    desc.tensor_count = count;
    desc.prefix = prefix;
    if (atl_recognize(&desc, &kind, NULL) != ATL_OK)
        return DONE;
    return findings_add(found, prefix, kind);
}

/* Tries every prefix that ends in the first tensor's name but did not end in that of the tensor before it. `shared` is
 * the number of leading characters that these two names have in common. */
static int try_prefixes_of(const atl_tensor *tensors, size_t count, size_t shared, char *prefix, findings *found) {
    const char *name = tensors[0].name;
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        const size_t length = (size_t)(dot - name) + 1;
        if (length <= shared)
            continue;
        memcpy(prefix, name, length);
        prefix[length] = '\0';
        size_t same = 1;
        while (same < count && strncmp(tensors[same].name, prefix, length) == 0)
            same++;
        const int code = try_prefix(tensors, same, prefix, found);
        if (code != DONE)
            return code;
    }
    return DONE;
}

static size_t shared_length(const char *a, const char *b) {
    size_t i = 0;
    while (a[i] && a[i] == b[i])
        i++;
    return i;
}

static int recognize_all(const atl_tensor *tensors, size_t count, findings *found) {
    size_t longest = 0;
    atl_tensor *sorted = malloc((count + 1) * sizeof *sorted);
    for (size_t i = 0; i < count; i++)
        longest = strlen(tensors[i].name) > longest ? strlen(tensors[i].name) : longest;
    char *prefix = malloc(longest + 1);
    int code = sorted && prefix ? DONE : failed("out of memory");
    if (code == DONE && count > 0) {
        memcpy(sorted, tensors, count * sizeof *sorted);
        qsort(sorted, count, sizeof *sorted, by_name);
        code = try_prefix(sorted, count, "", found);
    }
    for (size_t i = 0; i < count && code == DONE; i++) {
        const size_t shared = i ? shared_length(sorted[i - 1].name, sorted[i].name) : 0;
        code = try_prefixes_of(sorted + i, count - i, shared, prefix, found);
    }
    free(prefix);
    free(sorted);
    return code;
}

static int print_json(const char *path, const atl_checkpoint *checkpoint, const findings *found) {
    const atl_tensor *tensors = atl_checkpoint_tensors(checkpoint);
    json_t *root = json_object(), *metadata = json_object(), *list = json_array(), *layers = json_array();
    const char *key, *value;
    for (size_t i = 0; atl_checkpoint_metadata_at(checkpoint, i, &key, &value); i++)
        json_put(metadata, key, json_string(value));
    for (size_t i = 0; i < atl_checkpoint_count(checkpoint); i++) {
        json_t *tensor = json_object();
        json_put(tensor, "name", json_string(tensors[i].name));
        json_put(tensor, "dtype", json_string(atl_checkpoint_dtype_name(checkpoint, i)));
        json_put(tensor, "shape", json_shape(tensors[i].rank, tensors[i].shape));
        json_put(tensor, "bytes", json_integer(atl_checkpoint_bytes(checkpoint, i)));
        json_add(list, tensor);
    }
    for (size_t i = 0; i < found->count; i++) {
        json_t *layer = json_object();
        json_put(layer, "prefix", json_string(found->items[i].prefix));
        json_put(layer, "kind", json_string(found->items[i].kind));
        json_add(layers, layer);
    }
    /* A file name need not be UTF-8; JSON must be. */
    json_t *name = json_string(path);
    json_put(root, "file", name ? name : json_null());
    json_put(root, "metadata", metadata);
    json_put(root, "tensors", list);
    json_put(root, "layers", layers);
    return json_print(root);
}

static void print_tensors(const atl_checkpoint *checkpoint) {
    const atl_tensor *tensors = atl_checkpoint_tensors(checkpoint);
    const size_t count = atl_checkpoint_count(checkpoint);
    int64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += atl_checkpoint_bytes(checkpoint, i);
    printf("tensors: %zu, %" PRId64 " bytes\n", count, total);
    for (size_t i = 0; i < count; i++) {
        char shape[256];
        printf("  %-4s [%s] %" PRId64 " bytes  ", atl_checkpoint_dtype_name(checkpoint, i),
               shape_text(tensors[i].rank, tensors[i].shape, shape, sizeof shape), atl_checkpoint_bytes(checkpoint, i));
        print_text(tensors[i].name);
        printf("\n");
    }
}

static int print_words(const char *path, const atl_checkpoint *checkpoint, const findings *found) {
    const char *key, *value;
    print_text(path);
    printf("\n");
    for (size_t i = 0; atl_checkpoint_metadata_at(checkpoint, i, &key, &value); i++) {
        printf(i ? "  " : "metadata\n  ");
        print_text(key);
        printf(" = ");
        print_text(value);
        printf("\n");
    }
    print_tensors(checkpoint);
    printf("layers recognised: %zu\n", found->count);
    for (size_t i = 0; i < found->count; i++) {
        printf("  %-24s --prefix \"", found->items[i].kind);
        print_text(found->items[i].prefix);
        printf("\"\n");
    }
    return DONE;
}

int info_checkpoint(const char *path, int as_json) {
    atl_error error;
    atl_checkpoint *checkpoint;
    if (atl_checkpoint_open(path, &checkpoint, &error) != ATL_OK)
        return failed("%s", error.message);
    findings found = {0};
    int code = recognize_all(atl_checkpoint_tensors(checkpoint), atl_checkpoint_count(checkpoint), &found);
    if (code == DONE)
        code = as_json ? print_json(path, checkpoint, &found) : print_words(path, checkpoint, &found);
    findings_free(&found);
    atl_checkpoint_close(checkpoint);
    return code;
}
