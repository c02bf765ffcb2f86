/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <sys/mman.h>

/* Arrays from LARGE bytes on are asked for in huge pages: in small ones, which lie anywhere, a panel that should fit in the
 * second-level cache meets itself there, and a matrix product loses a tenth of its speed. */
enum { HUGE_PAGE = 2 << 20, LARGE = 1 << 20 };

void *atl_aligned(int64_t bytes) {
    void *p = NULL;
    if (bytes < 0 || bytes > INT64_MAX - HUGE_PAGE)
        return NULL;
    int64_t align = bytes >= LARGE ? HUGE_PAGE : ATL_ALIGN, size = atl_round_up(bytes ? bytes : 1, align);
    if (posix_memalign(&p, (size_t)align, (size_t)size))
        return NULL;
#ifdef MADV_HUGEPAGE
    if (align == HUGE_PAGE)
        madvise(p, (size_t)size, MADV_HUGEPAGE); /* a wish: without it, everything works as well, only slower */
#endif
    return p;
}
