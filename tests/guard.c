/* SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int guard_open(guard *g, int64_t floats, guard_kind kind) {
    int64_t page = sysconf(_SC_PAGESIZE);
    g->bytes = (floats * (int64_t)sizeof(float) + page - 1) / page * page;
    size_t all = (size_t)(g->bytes + 2 * page);
    g->mapping = mmap(0, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->mapping == MAP_FAILED)
        return -1;
    char *pages[] = {g->mapping, g->mapping + page + g->bytes};
    for (int i = 0; i < 2; i++) {
        if (kind == GUARD_READABLE)
            memset(pages[i], 0xff, (size_t)page); /* NaN */
        if (mprotect(pages[i], (size_t)page, kind == GUARD_READABLE ? PROT_READ : PROT_NONE)) {
            guard_close(g);
            return -1;
        }
    }
    return 0;
}

void guard_close(guard *g) {
    munmap(g->mapping, (size_t)(g->bytes + 2 * sysconf(_SC_PAGESIZE)));
}

float *guard_place(const guard *g, guard_side side, int64_t floats) {
    char *begin = g->mapping + sysconf(_SC_PAGESIZE);
    return (float *)(side == GUARD_BEFORE ? begin : begin + g->bytes - floats * (int64_t)sizeof(float));
}
