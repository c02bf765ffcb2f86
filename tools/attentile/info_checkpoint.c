/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
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

static int findings_add(findings *found, const char *prefix, size_t length, const char *kind) {
    if ((found->count & (found->count - 1)) == 0) { /* full at every power of two */
        finding *items = realloc(found->items, (found->count ? found->count * 2 : 1) * sizeof *items);
        if (!items)
            return failed("out of memory");
        found->items = items;
    }
    char *copy = strndup(prefix, length);
    if (!copy)
        return failed("out of memory");
    found->items[found->count++] = (finding){copy, kind};
    return DONE;
}

/* The tensors in the order of their names, so that those of a prefix are neighbours. */
typedef struct name_order {
    atl_tensor *tensors;
    size_t *shared;  /* leading characters in common with the name before */
    size_t *lengths; /* of the names */
    size_t count;
} name_order;

/* A weight's name within its layer is shorter than this; what has no name as short after a prefix is no layer. Without
 * the limit a name of millions of dots would keep us for hours. */
enum { LONGEST_KEY = 64 };

/* Tries the prefix of `length` characters with the `count` tensors that have it, under their names without it. */
static int try_prefix(atl_tensor *tensors, size_t count, size_t length, findings *found) {
    atl_layer_desc desc;
    const char *kind;
    atl_layer_desc_init(&desc);
    desc.tensors = tensors;
    desc.tensor_count = count;
    for (size_t i = 0; i < count; i++)
        tensors[i].name += length;
    const atl_status status = atl_recognize(&desc, &kind, NULL);
    for (size_t i = 0; i < count; i++)
        tensors[i].name -= length;
    return status == ATL_OK ? findings_add(found, tensors[0].name, length, kind) : DONE;
}

/* Tries a prefix of the tensor `first` that the tensor before it lacks. */
static int try_prefix_from(const name_order *order, size_t first, size_t length, findings *found) {
    size_t end = first, shortest = order->lengths[first];
    while (++end < order->count && order->shared[end] >= length)
        shortest = order->lengths[end] < shortest ? order->lengths[end] : shortest;
    if (shortest > length + LONGEST_KEY)
        return DONE;
    return try_prefix(order->tensors + first, end - first, length, found);
}

static int try_all_prefixes(const name_order *order, findings *found) {
    int code = order->count > 0 ? try_prefix_from(order, 0, 0, found) : DONE;
    for (size_t i = 0; i < order->count && code == DONE; i++) {
        const char *name = order->tensors[i].name;
        for (const char *dot = strchr(name, '.'); dot && code == DONE; dot = strchr(dot + 1, '.')) {
            const size_t length = (size_t)(dot - name) + 1;
            if (length > order->shared[i])
                code = try_prefix_from(order, i, length, found);
        }
    }
    return code;
}

static size_t shared_length(const char *a, const char *b) {
    size_t i = 0;
    while (a[i] && a[i] == b[i])
        i++;
    return i;
}

static int recognize_all(const atl_tensor *tensors, size_t count, findings *found) {
    name_order order = {malloc((count + 1) * sizeof *order.tensors), malloc((count + 1) * sizeof *order.shared),
                        malloc((count + 1) * sizeof *order.lengths), count};
    int code = DONE;
    if (!order.tensors || !order.shared || !order.lengths) {
        code = failed("out of memory");
    } else if (count > 0) {
        memcpy(order.tensors, tensors, count * sizeof *tensors);
        qsort(order.tensors, count, sizeof *tensors, by_name);
        for (size_t i = 0; i < count; i++) {
            order.shared[i] = i ? shared_length(order.tensors[i - 1].name, order.tensors[i].name) : 0;
            order.lengths[i] = strlen(order.tensors[i].name);
        }
        code = try_all_prefixes(&order, found);
    }
    free(order.tensors);
    free(order.shared);
    free(order.lengths);
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
    errno = 0;
    json_t *name = json_string(path);
    json_put(root, "file", name || errno == ENOMEM ? name : json_null());
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
