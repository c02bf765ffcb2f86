/* SPDX-License-Identifier: Apache-2.0 */
/* The machine: hwloc's synthetic topologies, names, binding. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "src/pool.h"
#include "src/topo.h"

enum { KIB = 1 << 10, MIB = 1 << 20 };

typedef struct machine {
    const char *synthetic;
    int packages, numa_nodes, cores, processors;
    int64_t l1d, l2, l3;
} machine;

/* Levels that a description leaves out are unknown: 0. Sizes are in bytes: versions of hwloc differ on kB and MB. */
static const machine machines[] = {
    {"pu:1", 0, 1, 0, 1, 0, 0, 0},
    {"pu:2", 0, 1, 0, 2, 0, 0, 0},
    {"pu:3", 0, 1, 0, 3, 0, 0, 0},
    {"pu:256", 0, 1, 0, 256, 0, 0, 0},
    {"pu:1024", 0, 1, 0, 1024, 0, 0, 0},
    {"core:1 pu:1", 0, 1, 1, 1, 0, 0, 0},
    {"core:1 pu:2", 0, 1, 1, 2, 0, 0, 0},
    {"core:2 pu:1", 0, 1, 2, 2, 0, 0, 0},
    {"core:4 pu:2", 0, 1, 4, 8, 0, 0, 0},
    {"core:4 pu:4", 0, 1, 4, 16, 0, 0, 0},
    {"core:16 pu:8", 0, 1, 16, 128, 0, 0, 0},
    {"core:256 pu:1", 0, 1, 256, 256, 0, 0, 0},
    {"pack:1 core:1 pu:1", 1, 1, 1, 1, 0, 0, 0},
    {"pack:1 core:6 pu:2", 1, 1, 6, 12, 0, 0, 0},
    {"pack:2 core:1 pu:1", 2, 1, 2, 2, 0, 0, 0},
    {"pack:2 core:8 pu:2", 2, 1, 16, 32, 0, 0, 0},
    {"pack:4 core:7 pu:1", 4, 1, 28, 28, 0, 0, 0},
    {"pack:8 core:16 pu:2", 8, 1, 128, 256, 0, 0, 0},
    {"numa:1 core:4 pu:1", 0, 1, 4, 4, 0, 0, 0},
    {"numa:2 core:4 pu:1", 0, 2, 8, 8, 0, 0, 0},
    {"numa:4 pack:1 core:4 pu:2", 4, 4, 16, 32, 0, 0, 0},
    {"pack:1 numa:4 core:4 pu:2", 1, 4, 16, 32, 0, 0, 0},
    {"pack:2 numa:2 core:6 pu:1", 2, 4, 24, 24, 0, 0, 0},
    {"pack:2 numa:4 core:8 pu:2", 2, 8, 64, 128, 0, 0, 0},
    {"pack:2 [numa] core:8 pu:2", 2, 2, 16, 32, 0, 0, 0},
    {"pack:2 [numa][numa] core:4 pu:1", 2, 4, 8, 8, 0, 0, 0},
    {"pack:2 [numa(memory=1GB)] core:4 pu:1", 2, 2, 8, 8, 0, 0, 0},
    {"core:4 l1:1 pu:1", 0, 1, 4, 4, 32 * KIB, 0, 0},
    {"l2:2 core:2 pu:1", 0, 1, 4, 4, 0, 4 * MIB, 0},
    {"l3:1(size=16777216) core:8 pu:2", 0, 1, 8, 16, 0, 0, 16 * MIB},
    {"l1:4(size=49152) core:1 pu:1", 0, 1, 4, 4, 48 * KIB, 0, 0},
    {"pack:1 l3:1(size=33554432) l2:8(size=1048576) l1:1(size=32768) core:1 pu:2", 1, 1, 8, 16, 32 * KIB, MIB,
     32 * MIB},
    {"pack:2 l3:1(size=37748736) l2:20(size=1310720) l1:1(size=49152) core:1 pu:2", 2, 1, 40, 80, 48 * KIB, 1280 * KIB,
     36 * MIB},
    {"pack:1 l3:8(size=16777216) l2:8(size=524288) l1d:1(size=32768) core:1 pu:2", 1, 1, 64, 128, 32 * KIB, 512 * KIB,
     16 * MIB},
    {"pack:2 numa:2 l3:2(size=16777216) l2:4(size=524288) core:1 pu:2", 2, 4, 32, 64, 0, 512 * KIB, 16 * MIB},
    {"pack:1 l3:1(size=12582912) l2:4(size=2097152) core:2 pu:1", 1, 1, 8, 8, 0, 2 * MIB, 12 * MIB},
    {"pack:1 die:2 l3:1(size=33554432) core:6 pu:2", 1, 1, 12, 24, 0, 0, 32 * MIB},
    {"group:2 pack:2 numa:2 core:2 pu:2", 4, 8, 16, 32, 0, 0, 0},
    {"group:2 group:2 core:2 pu:2", 0, 1, 8, 16, 0, 0, 0},
    {"l2:4(size=262144) l1d:1(size=16384) l1i:1 core:1 pu:4", 0, 1, 4, 16, 16 * KIB, 256 * KIB, 0},
    {"l4:1 l3:2(size=8388608) core:2 pu:1", 0, 1, 4, 4, 0, 0, 8 * MIB},
    {"l5:1 l4:1 core:3 pu:1", 0, 1, 3, 3, 0, 0, 0},
    {"pack:1 core:5 pu:3(indexes=0,3,6,9,12,1,4,7,10,13,2,5,8,11,14)", 1, 1, 5, 15, 0, 0, 0},
    {"pack:3 core:3 pu:3", 3, 1, 9, 27, 0, 0, 0},
};

Test(topo, reads_synthetic_machines, .timeout = 60) {
    cr_assert_geq(sizeof machines / sizeof *machines, 40);
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        const machine *m = &machines[i];
        atl_topo topo;
        atl_error error = {0};
        setenv("HWLOC_SYNTHETIC", m->synthetic, 1);
        cr_assert_eq(atl_topo_read(&topo, &error), ATL_OK, "%s: %s", m->synthetic, error.message);
        cr_expect(topo.packages == m->packages && topo.numa_nodes == m->numa_nodes && topo.cores == m->cores &&
                      topo.processors == m->processors,
                  "%s: %d packages, %d NUMA nodes, %d cores, %d processors", m->synthetic, topo.packages,
                  topo.numa_nodes, topo.cores, topo.processors);
        cr_expect(topo.l1d_bytes == m->l1d && topo.l2_bytes == m->l2 && topo.l3_bytes == m->l3,
                  "%s: L1d %lld, L2 %lld, L3 %lld bytes", m->synthetic, (long long)topo.l1d_bytes,
                  (long long)topo.l2_bytes, (long long)topo.l3_bytes);
        cr_expect_neq(topo.cpu[0], '\0', "%s: the processor has no name", m->synthetic);
    }
}

Test(topo, survives_nonsense) {
    static const char *const values[] = {"", "pu:0", "pu:-1", "core:2", "nonsense", "pu:2 core:2", "pack:x pu:1"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        atl_topo topo = {.processors = -1};
        setenv("HWLOC_SYNTHETIC", values[i], 1);
        cr_assert_eq(atl_topo_read(&topo, NULL), ATL_OK, "\"%s\"", values[i]);
        cr_expect_geq(topo.processors, 0, "\"%s\": %d processors", values[i], topo.processors);
        cr_expect_neq(topo.cpu[0], '\0', "\"%s\": the processor has no name", values[i]);
    }
}

Test(topo, reads_this_machine) {
    atl_topo topo;
    cr_assert_eq(atl_topo_read(&topo, NULL), ATL_OK);
    cr_expect_geq(topo.processors, topo.cores, "%d processors, %d cores", topo.processors, topo.cores);
    cr_expect_geq(topo.processors, 1, "%d processors", topo.processors);
    cr_expect_geq(topo.numa_nodes, 1, "%d NUMA nodes", topo.numa_nodes);
    size_t length = strlen(topo.cpu);
    cr_expect(length > 0 && length < sizeof topo.cpu, "a name of %zu bytes", length);
    cr_expect_null(strchr(topo.cpu, '\n'), "the name \"%s\" has several lines", topo.cpu);
}

/* ---------------------------------------------------------------- affinity */

static int mask_size(void) {
    cpu_set_t set;
    cr_assert_eq(sched_getaffinity(0, sizeof set, &set), 0);
    return CPU_COUNT(&set);
}

static int first_processor(void) {
    cpu_set_t set;
    cr_assert_eq(sched_getaffinity(0, sizeof set, &set), 0);
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &set))
            return i;
    }
    return -1;
}

static void *count_after_narrowing(void *context) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first_processor(), &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    *(int *)context = atl_processors_available();
    return NULL;
}

Test(topo, counts_the_processors_of_the_affinity_mask) {
    int narrowed = 0, all = mask_size();
#ifdef __clang__
    int expected = all; /* its OpenMP looks at the mask once, when it starts */
#else
    int expected = 1;
#endif
    pthread_t thread;
    cr_assert_eq(atl_processors_available(), all, "%d available, %d in the mask", atl_processors_available(), all);
    cr_assert_eq(pthread_create(&thread, NULL, count_after_narrowing, &narrowed), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(narrowed, expected, "%d available in a mask of one", narrowed);
}

typedef struct bound {
    int index, result, processors, first;
} bound;

static void *bind_thread(void *context) {
    bound *bound = context;
    bound->result = atl_topo_bind_thread(bound->index);
    bound->processors = mask_size();
    bound->first = first_processor();
    return NULL;
}

static bound bind_in_thread(int index) {
    bound bound = {.index = index};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, bind_thread, &bound), 0);
    pthread_join(thread, NULL);
    return bound;
}

Test(topo, binds_threads_to_cores) {
    atl_topo topo;
    int all = mask_size();
    cr_assert_eq(atl_topo_read(&topo, NULL), ATL_OK);
    bound first = bind_in_thread(0), second = bind_in_thread(1);
    cr_assert(first.result == 0 && second.result == 0, "results %d %d", first.result, second.result);
    int widest = topo.cores > 0 ? topo.processors / topo.cores : 1;
    cr_assert_leq(first.processors, widest, "bound to %d processors", first.processors);
    if (topo.cores > 1 && all == topo.processors)
        cr_assert_neq(first.first, second.first, "two threads on processor %d", first.first);
    for (int period = 1; period <= 2048; period++) { /* wraps round after as many cores as there are */
        bound again = bind_in_thread(period);
        cr_assert_eq(again.result, 0, "index %d: result %d", period, again.result);
        if (again.first == first.first)
            break;
        cr_assert_leq(period, all, "%d different cores in a mask of %d", period, all);
    }
    cr_assert_eq(bind_in_thread(-1).result, -1, "index -1 was accepted");
    cr_assert_eq(mask_size(), all, "the caller's mask has %d processors instead of %d", mask_size(), all);
}

static void note_mask(void *context, int64_t task, int slot) {
    (void)slot;
    ((int *)context)[task] = mask_size();
}

/* Workers are bound, callers are not; a synthetic machine binds nobody and hurts nobody. */
Test(topo, binds_a_team, .timeout = 60) {
    for (int synthetic = 0; synthetic < 2; synthetic++) {
        if (synthetic)
            setenv("HWLOC_SYNTHETIC", "pack:2 core:4 pu:2", 1);
        int all = mask_size(), sizes[64];
        atl_pool *pool;
        cr_assert_eq(atl_pool_create(&(atl_pool_options){.threads = 3, .bind = 1}, &pool, NULL), ATL_OK);
        for (int round = 0; round < 20; round++) {
            memset(sizes, 0, sizeof sizes);
            atl_pool_run(pool, note_mask, sizes, 64);
            for (int i = 0; i < 64; i++)
                cr_assert(sizes[i] >= 1 && sizes[i] <= all, "task %d ran in a mask of %d", i, sizes[i]);
        }
        cr_assert_eq(mask_size(), all, "the caller's mask has %d processors instead of %d", mask_size(), all);
        atl_pool_destroy(pool);
    }
}
