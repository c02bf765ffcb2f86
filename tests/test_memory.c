/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Out of memory: every allocation of a call fails, one at a time and from there on. The call reports it or does
 * without, nothing leaks, and the same call works afterwards.
 *
 * This file defines malloc and its kin for the whole program. Only what the testing thread asks for while armed counts;
 * hwloc and the dynamic loader (a new thread's storage) may fail nobody: hwloc does not check all of its allocations.
 */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

static __thread int armed, exempt; /* of the thread that tests */
static long counted, first_failure, failures;
static int failing_once;
static uintptr_t loader_begin, loader_end;

/* ---------------------------------------------------------------- what is alive */

#define SLOTS 4096 /* far more than a call allocates */
static _Atomic(void *) alive[SLOTS];

static void track(void *memory) {
    for (size_t i = (uintptr_t)memory / 64; memory; i++) {
        void *expected = NULL;
        if (atomic_compare_exchange_strong(&alive[i % SLOTS], &expected, memory))
            return;
    }
}

static void forget(void *memory) {
    for (size_t i = (uintptr_t)memory / 64, n = 0; memory && n < SLOTS; i++, n++) {
        void *expected = memory;
        if (atomic_compare_exchange_strong(&alive[i % SLOTS], &expected, NULL))
            return;
    }
}

static int alive_count(void) {
    int count = 0;
    for (int i = 0; i < SLOTS; i++)
        count += alive[i] != NULL;
    return count;
}

/* ---------------------------------------------------------------- the allocator */

static int is_counted(const void *caller) {
    return armed && !exempt && !((uintptr_t)caller >= loader_begin && (uintptr_t)caller < loader_end);
}

static int refused(const void *caller) {
    if (!is_counted(caller))
        return 0;
    counted++;
    int refuse = failing_once ? counted == first_failure : counted >= first_failure;
    failures += refuse;
    if (refuse)
        errno = ENOMEM;
    return refuse;
}

static void *made(const void *caller, void *memory) {
    if (is_counted(caller))
        track(memory);
    return memory;
}

#define CALLER                 __builtin_return_address(0)
#define ALLOCATE(how, failure) (refused(CALLER) ? failure : made(CALLER, how))

void *malloc(size_t size) {
    return ALLOCATE(__libc_malloc(size), NULL);
}

void *calloc(size_t count, size_t size) {
    return ALLOCATE(__libc_calloc(count, size), NULL);
}

void *realloc(void *memory, size_t size) {
    if (refused(CALLER))
        return NULL;
    forget(memory);
    return made(CALLER, __libc_realloc(memory, size));
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size) {
    return ALLOCATE(__libc_memalign(alignment, size), NULL);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return ALLOCATE(__libc_memalign(alignment, size), NULL);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    void *allocated = ALLOCATE(__libc_memalign(alignment, size), NULL);
    if (!allocated)
        return ENOMEM;
    *memory = allocated;
    return 0;
}

void free(void *memory) {
    forget(memory);
    __libc_free(memory);
}

/* A function of hwloc, with its allocations exempt. */
#define EXEMPT(name)                                                                                                   \
    int name(void *topology);                                                                                          \
    int name(void *topology) {                                                                                         \
        int (*real)(void *) = (int (*)(void *))(uintptr_t)dlsym(RTLD_NEXT, #name);                                     \
        exempt++;                                                                                                      \
        int result = real(topology);                                                                                   \
        exempt--;                                                                                                      \
        return result;                                                                                                 \
    }

EXEMPT(hwloc_topology_init)
EXEMPT(hwloc_topology_load)

static int find_loader(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    (void)context;
    if (!strstr(info->dlpi_name, "/ld-linux") && !strstr(info->dlpi_name, "/ld."))
        return 0;
    loader_begin = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && end > loader_end)
            loader_end = end;
    }
    return 1;
}

/* ---------------------------------------------------------------- the calls */

typedef struct objects {
    layer_case c; /* its tensors; the layer below is made for each trial */
    int threads;
    atl_engine *engine;
    atl_layer *layer;
    atl_plan *plan;
    float *x, *y, *map;
} objects;

typedef atl_status step_fn(objects *o, atl_error *error);

static atl_status make_engine(objects *o, atl_error *error) {
    atl_engine_options options;
    atl_engine_options_init(&options);
    options.threads = o->threads;
    return atl_engine_create(&options, &o->engine, error);
}

static atl_status make_layer(objects *o, atl_error *error) {
    return atl_layer_create(&o->c.weights.desc, &o->layer, error);
}

static atl_status make_plan(objects *o, atl_error *error) {
    return atl_plan_create(o->layer, o->engine, o->c.row.rank, o->c.row.shape, NULL, &o->plan, error);
}

static atl_status make_plan_without_workspace(objects *o, atl_error *error) {
    atl_plan_options options;
    atl_plan_options_init(&options);
    options.reserve_batch = 0;
    return atl_plan_create(o->layer, o->engine, o->c.row.rank, o->c.row.shape, &options, &o->plan, error);
}

static atl_status run(objects *o, atl_error *error) {
    return atl_run(o->plan, 1, o->x, o->y, o->map, NULL, error);
}

static void release(objects *o) {
    atl_plan_release(o->plan);
    atl_layer_release(o->layer);
    atl_engine_release(o->engine);
    o->plan = NULL;
    o->layer = NULL;
    o->engine = NULL;
}

/* The step under test, after steps that must work. Returns whether an allocation was refused. */
static bool trial(objects *o, step_fn *const *before, step_fn *step, long k, bool once, const char *what) {
    atl_error error = {0};
    for (; *before; before++)
        cr_assert_eq((*before)(o, &error), ATL_OK, "%s", error.message);
    for (int64_t i = 0; i < o->c.out_size; i++)
        o->y[i] = 77;
    counted = failures = 0;
    first_failure = k;
    failing_once = once;
    armed = 1;
    atl_status status = step(o, &error);
    armed = 0;
    const char *mode = once ? "once at" : "from";
    cr_expect(status == ATL_OK || (status == ATL_OUT_OF_MEMORY && failures > 0), "%s, %s %ld: %s (%s)", what, mode, k,
              atl_status_name(status), error.message);
    if (status != ATL_OK) {
        cr_expect(error.status == status && error.message[0], "%s, %s %ld: error not filled", what, mode, k);
        for (int64_t i = 0; i < o->c.out_size; i++)
            cr_assert(o->y[i] == 77, "%s, %s %ld: y[%lld] was written", what, mode, k, (long long)i);
        cr_expect_eq(step(o, &error), ATL_OK, "%s, after %s %ld: %s", what, mode, k, error.message);
    }
    bool any = failures > 0;
    release(o);
    cr_expect_eq(alive_count(), 0, "%s, %s %ld: %d allocations leaked", what, mode, k, alive_count());
    return any;
}

static void every_allocation(objects *o, step_fn *const *before, step_fn *step, const char *what) {
    for (int once = 0; once < 2; once++) {
        long k = 1;
        while (k < 1000 && trial(o, before, step, k, once, what))
            k++;
        cr_expect(k > 1 && k < 1000, "%s: %ld allocations were refused", what, k - 1);
    }
}

#define AFTER(...) ((step_fn *const[]){__VA_ARGS__, NULL})

static void with_objects(const char *line, int threads, bool map, void (*body)(objects *o)) {
    objects o = {.threads = threads};
    setenv("HWLOC_SYNTHETIC", "core:2 pu:1", 1); /* a machine that is quick to read: hundreds of engines are made */
    dl_iterate_phdr(find_loader, NULL);
    cr_assert_gt(loader_end, loader_begin, "the dynamic loader was not found");
    case_parse(&o.c, line, 1);
    o.x = case_alloc(o.c.size);
    o.y = case_alloc(o.c.out_size);
    o.map = map && o.c.map_size ? case_alloc(o.c.map_size) : NULL;
    fill(o.x, o.c.size, FILL_RANDOM, 1, 1);
    body(&o);
    free(o.map);
    free(o.y);
    free(o.x);
    case_free(&o.c);
}

static void fail_layer(objects *o) {
    every_allocation(o, AFTER(NULL), make_layer, "layer");
}

static void fail_plan(objects *o) {
    every_allocation(o, AFTER(make_engine, make_layer), make_plan, "plan");
    every_allocation(o, AFTER(make_engine, make_layer), make_plan_without_workspace, "plan without a workspace");
}

static void fail_run(objects *o) {
    every_allocation(o, AFTER(make_engine, make_layer, make_plan_without_workspace), run, "run");
}

/* Self-attention of two heads over x, as tokens of 2 x 3 features. */
static atl_status attend(objects *o, atl_error *error) {
    atl_attention_args args;
    atl_attention_args_init(&args);
    args.heads = 2;
    args.queries = args.keys = o->c.row.shape[0];
    args.key_dim = args.value_dim = o->c.row.shape[1] / 2;
    args.query = args.key = args.value = o->x;
    args.output = o->y;
    args.query_strides = atl_attention_dense(ATL_TOKEN_MAJOR, 2, args.keys, args.key_dim);
    args.key_strides = args.value_strides = args.output_strides = args.query_strides;
    return atl_attention(o->engine, &args, error);
}

static void fail_attention(objects *o) {
    every_allocation(o, AFTER(make_engine), attend, "attention");
}

static void fail_engine(objects *o) {
    every_allocation(o, AFTER(NULL), make_engine, "engine");
}

static const char se_line[] = "se se 1 5x3x7 hidden=3 set.alpha=0.2";
static const char cbam_channel_line[] = "cbam-channel cbamc 1 5x3x7 hidden=3";
static const char cbam_spatial_line[] = "cbam-spatial cbams 1 5x3x7 k=3 bias=1";
static const char cbam_res_line[] = "cbam-res cbamr 1 5x3x7 out=4 hidden=2 sa=3";
static const char sk_line[] = "sk sk 1 4x3x7 m=2 groups=2 d=3";
static const char nl_line[] = "non-local nl 1 5x3x7 sub=1 bn=1 bias=0";
static const char sas_line[] = "self-attention-spatial sas 1 5x3x7 d=2";
static const char mha_line[] = "multi-head mha 1 5x6 set.num_heads=2";
static const char sac_line[] = "self-attention-channel sac 1 5x3x7 out=3";

Test(memory, engine) {
    with_objects(se_line, 1, false, fail_engine);
    with_objects(se_line, 2, false, fail_engine);
}

Test(memory, layer) {
    with_objects(se_line, 1, false, fail_layer);
    with_objects(cbam_channel_line, 1, false, fail_layer);
    with_objects(cbam_spatial_line, 1, false, fail_layer);
    with_objects(cbam_res_line, 1, false, fail_layer);
    with_objects(sk_line, 1, false, fail_layer);
    with_objects(nl_line, 1, false, fail_layer);
    with_objects(sas_line, 1, false, fail_layer);
    with_objects(sac_line, 1, false, fail_layer);
    with_objects(mha_line, 1, false, fail_layer);
}

Test(memory, plan) {
    with_objects(se_line, 1, false, fail_plan);
    with_objects(cbam_channel_line, 1, false, fail_plan);
    with_objects(cbam_spatial_line, 1, false, fail_plan);
    with_objects(cbam_res_line, 1, false, fail_plan);
    with_objects(sk_line, 1, false, fail_plan);
    with_objects(nl_line, 2, false, fail_plan);
    with_objects(sas_line, 2, false, fail_plan);
    with_objects(sac_line, 2, false, fail_plan);
    with_objects(mha_line, 2, false, fail_plan);
}

Test(memory, run) {
    with_objects(se_line, 1, false, fail_run);
    with_objects(cbam_res_line, 2, false, fail_run);
    with_objects(sk_line, 2, false, fail_run);
    with_objects(sas_line, 1, false, fail_run);
    with_objects(nl_line, 2, true, fail_run);
    with_objects(sas_line, 2, true, fail_run);
    with_objects(sac_line, 2, true, fail_run);
    with_objects(mha_line, 2, true, fail_run);
}

Test(memory, attention) {
    with_objects(mha_line, 1, false, fail_attention);
    with_objects(mha_line, 2, false, fail_attention);
}

/* Asks the engine for a workspace that no machine has. */
static void reserve_too_much(objects *o) {
    atl_plan *plan = NULL;
    atl_plan_options options;
    atl_plan_options_init(&options);
    options.reserve_batch = INT64_C(1) << 42;
    atl_plan_info info = {.size = sizeof info};
    atl_plan_get_info(o->plan, &info, NULL);
    if (info.workspace_samples < options.reserve_batch) /* no batch needs that much */
        return;
    cr_expect_eq(atl_plan_create(o->layer, o->engine, o->c.row.rank, o->c.row.shape, &options, &plan, NULL),
                 ATL_OUT_OF_MEMORY);
}

/* A reserved workspace is one: runs up to it allocate nothing, with and without a map, whatever else has failed. */
static void run_without_memory(objects *o) {
    atl_error error = {0};
    cr_assert_eq(make_engine(o, &error), ATL_OK, "%s", error.message);
    cr_assert_eq(make_layer(o, &error), ATL_OK, "%s", error.message);
    cr_assert_eq(make_plan(o, &error), ATL_OK, "%s", error.message);
    reserve_too_much(o);
    counted = failures = 0;
    first_failure = 1;
    armed = 1;
    atl_status first = run(o, &error), second = run(o, &error);
    armed = 0;
    cr_expect(first == ATL_OK && second == ATL_OK, "%s", error.message);
    cr_expect_eq(counted, 0, "%s: two runs asked for memory %ld times", o->c.row.name, counted);
    release(o);
}

Test(memory, a_reserved_run_allocates_nothing) {
    with_objects(se_line, 1, false, run_without_memory);
    with_objects(se_line, 2, false, run_without_memory);
    with_objects(cbam_channel_line, 2, false, run_without_memory);
    with_objects(cbam_spatial_line, 2, false, run_without_memory);
    with_objects(cbam_res_line, 2, false, run_without_memory);
    with_objects(sk_line, 2, false, run_without_memory);
    with_objects(sas_line, 1, false, run_without_memory);
    with_objects(sas_line, 3, true, run_without_memory);
    with_objects(sac_line, 3, true, run_without_memory);
    with_objects(mha_line, 3, true, run_without_memory);
}
