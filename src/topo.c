/* SPDX-License-Identifier: Apache-2.0 */
#include "topo.h"

#include <errno.h>
#include <hwloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

/* hwloc does not check all of its allocations, so first see whether memory is as good as out. */
enum { HWLOC_MEMORY = 8 << 20 };

static int enough_memory(void) {
    void *volatile memory = malloc(HWLOC_MEMORY); /* volatile: an unused pair of malloc and free would be removed */
    free(memory);
    return memory != NULL;
}

/* Only what is asked for below is discovered: devices would take hwloc most of its time. */
static int load(hwloc_topology_t *topology, unsigned long flags) {
    static const hwloc_obj_type_t wanted[] = {HWLOC_OBJ_PACKAGE, HWLOC_OBJ_CORE, HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE,
                                              HWLOC_OBJ_L3CACHE};
    if (!enough_memory()) {
        errno = ENOMEM;
        return -1;
    }
    if (hwloc_topology_init(topology) != 0)
        return -1;
    int failed = hwloc_topology_set_flags(*topology, flags) != 0;
    failed |= hwloc_topology_set_all_types_filter(*topology, HWLOC_TYPE_FILTER_KEEP_NONE) != 0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        failed |= hwloc_topology_set_type_filter(*topology, wanted[i], HWLOC_TYPE_FILTER_KEEP_ALL) != 0;
    if (failed || hwloc_topology_load(*topology) != 0) {
        int reason = errno;
        hwloc_topology_destroy(*topology);
        errno = reason;
        return -1;
    }
    return 0;
}

/* ---------------------------------------------------------------- what there is */

static int count(hwloc_topology_t topology, hwloc_obj_type_t type) {
    int objects = hwloc_get_nbobjs_by_type(topology, type);
    return objects > 0 ? objects : 0; /* -1: at several depths */
}

/* The smallest cache of the type: a plan must fit every core. */
static int64_t cache_bytes(hwloc_topology_t topology, hwloc_obj_type_t type) {
    uint64_t least = 0;
    for (hwloc_obj_t cache = NULL; (cache = hwloc_get_next_obj_by_type(topology, type, cache)) != NULL;) {
        uint64_t size = cache->attr->cache.size;
        if (size != 0 && size <= INT64_MAX && (least == 0 || size < least))
            least = size;
    }
    return (int64_t)least;
}

/* The name as one line of printable ASCII without spaces around it. */
static void copy_name(char *name, size_t capacity, const char *source) {
    size_t length = 0;
    while (*source == ' ' || *source == '\t')
        source++;
    for (; *source != '\0' && *source != '\n' && length + 1 < capacity; source++)
        name[length++] = *source >= ' ' && *source <= '~' ? *source : '?';
    while (length > 0 && name[length - 1] == ' ')
        length--;
    name[length] = '\0';
}

static void read_name_from_cpuinfo(char *name, size_t capacity) {
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL)
        return;
    char line[256];
    while (*name == '\0' && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (colon != NULL && strncmp(line, "model name", 10) == 0)
            copy_name(name, capacity, colon + 1);
    }
    fclose(file);
}

static void read_name(char *name, size_t capacity, hwloc_topology_t topology) {
    name[0] = '\0';
    hwloc_obj_t holders[] = {hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0), hwloc_get_root_obj(topology)};
    for (int i = 0; i < 2 && *name == '\0'; i++) {
        const char *model = holders[i] != NULL ? hwloc_obj_get_info_by_name(holders[i], "CPUModel") : NULL;
        if (model != NULL)
            copy_name(name, capacity, model);
    }
    if (*name == '\0')
        read_name_from_cpuinfo(name, capacity);
    if (*name == '\0')
        copy_name(name, capacity, "unknown");
}

atl_status atl_topo_read(atl_topo *topo, atl_error *error) {
    hwloc_topology_t topology;
    atl_topo found = {.cpu = "unknown"};
    if (load(&topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED) != 0) {
        if (errno == ENOMEM)
            return atl_fail(error, ATL_OUT_OF_MEMORY, "no memory for the machine's topology");
        *topo = found;
        return ATL_OK;
    }
    read_name(found.cpu, sizeof found.cpu, topology);
    found.packages = count(topology, HWLOC_OBJ_PACKAGE);
    found.numa_nodes = count(topology, HWLOC_OBJ_NUMANODE);
    found.cores = count(topology, HWLOC_OBJ_CORE);
    found.processors = count(topology, HWLOC_OBJ_PU);
    found.l1d_bytes = cache_bytes(topology, HWLOC_OBJ_L1CACHE);
    found.l2_bytes = cache_bytes(topology, HWLOC_OBJ_L2CACHE);
    found.l3_bytes = cache_bytes(topology, HWLOC_OBJ_L3CACHE);
    hwloc_topology_destroy(topology);
    *topo = found;
    return ATL_OK;
}

/* ---------------------------------------------------------------- binding */

/* Loaded once and kept: a team of n threads asks n times. Read-only afterwards. */
static hwloc_topology_t machine;

static void load_machine(void) {
    if (load(&machine, 0) != 0)
        machine = NULL;
}

/* The index-th of the cores that have a processor in `mask`, wrapping round, cut to the mask. */
static int choose_core(hwloc_bitmap_t chosen, hwloc_const_bitmap_t mask, int index) {
    /* On a machine whose cores are unknown each processor counts as one. */
    hwloc_obj_type_t type = count(machine, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    int usable = 0;
    for (hwloc_obj_t core = NULL; (core = hwloc_get_next_obj_by_type(machine, type, core)) != NULL;)
        usable += hwloc_bitmap_intersects(core->cpuset, mask);
    if (usable == 0 || index < 0)
        return -1;
    index %= usable;
    for (hwloc_obj_t core = NULL; (core = hwloc_get_next_obj_by_type(machine, type, core)) != NULL;) {
        if (hwloc_bitmap_intersects(core->cpuset, mask) && index-- == 0)
            return hwloc_bitmap_and(chosen, core->cpuset, mask);
    }
    return -1;
}

int atl_topo_bind_thread(int index) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_machine);
    if (machine == NULL || !enough_memory())
        return -1;
    hwloc_bitmap_t mask = hwloc_bitmap_alloc(), chosen = hwloc_bitmap_alloc();
    int failed = mask == NULL || chosen == NULL || hwloc_get_cpubind(machine, mask, HWLOC_CPUBIND_THREAD) != 0 ||
                 choose_core(chosen, mask, index) != 0 || hwloc_set_cpubind(machine, chosen, HWLOC_CPUBIND_THREAD) != 0;
    hwloc_bitmap_free(mask);
    hwloc_bitmap_free(chosen);
    return failed ? -1 : 0;
}
