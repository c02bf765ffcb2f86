/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <sys/mman.h>

/* Arrays from LARGE bytes on are asked for in huge pages: in small ones, which lie anywhere, a panel that should fit in the
 * second-level cache meets itself there, and a matrix product loses up to a tenth of its speed. They are mapped, so that
 * releasing them gives every page back. */
enum { HUGE_PAGE = 2 << 20, LARGE = 1 << 20 };

static int is_large(int64_t bytes) {
    return bytes >= LARGE;
}

/* A multiple of huge pages, at the start of one: mapped with room to spare, of which the ends are given back. */
static void *map_huge(size_t size) {
    char *p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = (size_t) - (uintptr_t)p % HUGE_PAGE;
    if (before)
        munmap(p, before);
    munmap(p + before + size, HUGE_PAGE - before);
#ifdef MADV_HUGEPAGE
    madvise(p + before, size, MADV_HUGEPAGE); /* a wish: without it, everything works as well, only slower */
#endif
    return p + before;
}

void *atl_aligned(int64_t bytes) {
    void *p = NULL;
    if (bytes < 0 || bytes > INT64_MAX - 2 * HUGE_PAGE)
        return NULL;
    if (is_large(bytes))
        return map_huge((size_t)atl_round_up(bytes, HUGE_PAGE));
    return posix_memalign(&p, ATL_ALIGN, bytes ? (size_t)bytes : 1) ? NULL : p; /* no byte more, for AddressSanitizer */
}

void atl_aligned_free(void *p, int64_t bytes) {
    if (p && is_large(bytes))
        munmap(p, (size_t)atl_round_up(bytes, HUGE_PAGE));
    else
        free(p);
}
