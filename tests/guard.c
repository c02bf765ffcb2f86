/* SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

#include <sys/mman.h>
#include <unistd.h>

int guard_open(guard *g, int64_t floats) {
    int64_t page = sysconf(_SC_PAGESIZE);
    g->bytes = (floats * (int64_t)sizeof(float) + page - 1) / page * page;
    g->mapping = mmap(0, (size_t)(g->bytes + 2 * page), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->mapping == MAP_FAILED)
        return -1;
    return mprotect(g->mapping + page, (size_t)g->bytes, PROT_READ | PROT_WRITE);
}

void guard_close(guard *g) {
    munmap(g->mapping, (size_t)(g->bytes + 2 * sysconf(_SC_PAGESIZE)));
}

float *guard_place(const guard *g, guard_side side, int64_t floats) {
    char *begin = g->mapping + sysconf(_SC_PAGESIZE);
    return (float *)(side == GUARD_BEFORE ? begin : begin + g->bytes - floats * (int64_t)sizeof(float));
}
