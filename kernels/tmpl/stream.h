/* SPDX-License-Identifier: Apache-2.0 */
/* Stores past the caches: whole cache lines of a row, its ragged ends through the caches. */
#ifndef ATL_STREAM_H
#define ATL_STREAM_H

#include "../simd/simd.h"

enum {
    LINE = 64 / (int)sizeof(float),
    /* Lines that are read from memory, and as many written, by turns. Also how far ahead x is fetched, which was read before:
     * the hint that this is its last use keeps it from being written back to the last-level cache. */
    TURN = 4
};

/* Elements before the first whole line of y, and those up to the end of the last one. */
V_INLINE int64_t ragged_head(const float *y, int64_t n) {
    int64_t head = (int64_t)(-((uintptr_t)y / sizeof(float)) % LINE);
    return head < n ? head : n;
}

V_INLINE int64_t before_tail(int64_t head, int64_t n) {
    return head + (n - head) / LINE * LINE;
}

/* x is read for the last time. */
V_INLINE void fetch_last(const float *x) {
    __builtin_prefetch(x + TURN * LINE, 0, 0);
}

#endif
