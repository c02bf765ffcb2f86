/* SPDX-License-Identifier: Apache-2.0 */
/* Mutating checkpoints: most leave the length of the header right, where the format has it, behind the last brace. */
#ifndef ATL_TESTS_FUZZ_CHECKPOINT_H
#define ATL_TESTS_FUZZ_CHECKPOINT_H

#include "fuzz.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed) {
    size = LLVMFuzzerMutate(data, size, capacity);
    const uint8_t *brace = size > 8 && seed % 8 ? memrchr(data + 8, '}', size - 8) : NULL;
    if (brace) {
        const uint64_t length = (uint64_t)(brace + 1 - (data + 8));
        memcpy(data, &length, sizeof length);
    }
    return size;
}

#endif
