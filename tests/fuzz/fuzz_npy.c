/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays: whatever the bytes, they are refused for their format, or the array is what follows the header, and the header
 * that we write for it says the same. */
#include "fuzz.h"
#include "src/io/npy_header.h"

enum { MAGIC = 6 };

/* Most mutations leave the magic, the version and the header's length right: behind the last brace. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed) {
    size = LLVMFuzzerMutate(data, size, capacity);
    const int version = 1 + (int)(seed >> 3) % 3, begin = version == 1 ? 10 : 12;
    if (size <= (size_t)begin || seed % 8 == 0)
        return size;
    memcpy(data, "\x93NUMPY", MAGIC);
    data[MAGIC] = (uint8_t)version;
    data[MAGIC + 1] = 0;
    const uint8_t *brace = memrchr(data + begin, '}', size - (size_t)begin);
    if (brace) {
        const uint32_t length = (uint32_t)(brace + 1 - (data + begin));
        memcpy(data + MAGIC + 2, &length, version == 1 ? 2 : 4);
    }
    return size;
}

static void check_array(const atl_array *array, const uint8_t *data, size_t size) {
    uint64_t bytes = (uint64_t)atl_npy_element_bytes(array->dtype);
    CLAIM(bytes > 0 && array->rank >= 0 && array->rank <= ATL_MAX_RANK && array->data);
    for (int i = 0; i < array->rank; i++) {
        CLAIM(array->shape[i] > 0 && bytes <= size);
        bytes *= (uint64_t)array->shape[i];
    }
    CLAIM(bytes < size && memcmp(array->data, data + size - bytes, bytes) == 0);
}

static void check_header(const atl_array *array) {
    char text[640];
    atl_array back = {0};
    atl_npy_problem problem;
    const int length = atl_npy_header_format(array, text, sizeof text);
    CLAIM(length > 0 && length < 512);
    CLAIM(atl_npy_header_parse(text, (size_t)length, &back, &problem));
    CLAIM(back.dtype == array->dtype && back.rank == array->rank);
    CLAIM(memcmp(back.shape, array->shape, (size_t)array->rank * sizeof *array->shape) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const atl_array untouched = {.dtype = ATL_OTHER, .rank = -7, .shape = {42}};
    const char *path = file_of(data, size);
    atl_array array = untouched;
    atl_error error = {0};
    const atl_status status = atl_npy_read(path, &array, &error);
    if (status != ATL_OK) {
        claim_refusal(status, &error, path);
        CLAIM(memcmp(&array, &untouched, sizeof array) == 0);
        return 0;
    }
    check_array(&array, data, size);
    check_header(&array);
    atl_array_clear(&array);
    return 0;
}
