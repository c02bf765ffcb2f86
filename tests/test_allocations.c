/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run for which a workspace is reserved or given allocates nothing, on no thread: neither the caller nor the team.
 *
 * This file defines malloc and its kin, and mmap, for the whole program. What any thread asks for counts while `watching`.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cases.h"

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static atomic_int watching;
static atomic_long requests;

static void seen(void) {
    requests += watching;
}

void *malloc(size_t size) {
    seen();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    seen();
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    seen();
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size) {
    seen();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    seen();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    seen();
    void *allocated = __libc_memalign(alignment, size);
    if (!allocated)
        return ENOMEM;
    *memory = allocated;
    return 0;
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    seen();
    return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

/* ---------------------------------------------------------------- runs */

enum { BATCH = 5, THREADS = 3, KEYS = 70 };

/* Of every kind a sample that is worth sharing, and one that is not. */
static const char *const lines[] = {
    "se se 1 64x24x24 hidden=3",
    "se small 1 5x3x7 hidden=3",
    "cbam-channel cbamc 1 64x24x24 hidden=3",
    "cbam-channel small 1 5x3x7 hidden=3",
    "cbam-spatial cbams 1 64x24x24 k=3 bias=1",
    "cbam-spatial small 1 5x3x7 k=3",
    "cbam-res cbamr 1 16x24x24 out=17 hidden=2 sa=3",
    "cbam-res small 1 5x3x7 out=4 hidden=2 sa=3",
    "sk sk 1 16x24x24 m=2 groups=2 d=3",
    "sk small 1 4x3x7 m=2 groups=2 d=3",
    "self-attention-spatial sas 1 16x20x20 d=2",
    "self-attention-spatial chunks 1 4x50x50 d=2",
    "self-attention-spatial small 1 5x3x7 d=2",
    "self-attention-channel sac 1 33x24x24 out=31",
    "self-attention-channel projected 1 64x3x7 out=16",
    "self-attention-channel small 1 5x3x7 out=3",
    "non-local nl 1 32x20x20 sub=1 bn=1",
    "non-local whole 1 32x20x20 bn=1 bias=0",
    "non-local small 1 5x3x7 sub=1",
    "multi-head mha 1 90x32 set.num_heads=2",
    "multi-head causal 1 90x32 set.num_heads=2 set.causal=true",
    "multi-head small 1 5x6 set.num_heads=2",
};

/* What a run takes, allocated before. */
typedef struct buffers {
    float *x, *y, *map, *text, *additive;
    uint8_t *mask;
    void *workspace;
    atl_sample samples[BATCH];
} buffers;

/* Of the best instruction set: the scalar one is slow, and allocates no more. */
static atl_engine *make_engine(int threads) {
    atl_engine *engine = NULL;
    atl_error error;
    atl_engine_options options;
    atl_engine_options_init(&options);
    options.threads = threads;
    cr_assert_eq(atl_engine_create(&options, &engine, &error), ATL_OK, "%s", error.message);
    return engine;
}

static atl_plan *reserve(const layer_case *c, atl_engine *engine, int64_t batch, int64_t keys) {
    atl_plan *plan = NULL;
    atl_error error;
    atl_plan_options options;
    atl_plan_options_init(&options);
    options.reserve_batch = batch;
    options.key_length = keys;
    cr_assert_eq(atl_plan_create(c->layer, engine, c->row.rank, c->row.shape, &options, &plan, &error), ATL_OK,
                 "%s: %s", c->row.name, error.message);
    return plan;
}

static void expect_none(const layer_case *c, atl_status status, const char *what) {
    watching = 0;
    cr_expect_eq(status, ATL_OK, "%s %s: %s", c->row.kind, c->row.name, what);
    cr_expect_eq(requests, 0, "%s %s: %s asked for memory %ld times", c->row.kind, c->row.name, what, (long)requests);
}

static void watch(void) {
    requests = 0;
    watching = 1;
}

/* The first run of a plan is the one that would make something late. */
static void watch_runs(const layer_case *c, atl_engine *engine, buffers *b) {
    static const int64_t rows[] = {0, 0};
    atl_run_options options;
    atl_error error;
    atl_run_options_init(&options);
    atl_plan *plan = reserve(c, engine, BATCH, 0);
    watch();
    expect_none(c, atl_run(plan, BATCH, b->x, b->y, NULL, NULL, &error), "a batch");
    watch();
    expect_none(c, atl_run(plan, 1, b->x, b->y, NULL, NULL, &error), "one sample");
    watch();
    expect_none(c, atl_run_samples(plan, BATCH, b->samples, sizeof *b->samples, NULL, &error), "samples");
    if (c->map_size) {
        watch();
        expect_none(c, atl_run(plan, BATCH, b->x, b->y, b->map, NULL, &error), "a map");
        options.map_rows = rows;
        options.map_row_count = 2;
        watch();
        expect_none(c, atl_run(plan, BATCH, b->x, b->y, b->map, &options, &error), "rows of a map");
    }
    atl_plan_release(plan);
}

/* A plan that reserves nothing, and a workspace that the caller brings. */
static void watch_workspace(const layer_case *c, atl_engine *engine, buffers *b) {
    atl_run_options options;
    atl_error error;
    atl_run_options_init(&options);
    atl_plan *plan = reserve(c, engine, 0, 0);
    options.workspace_size = atl_plan_workspace_size(plan, BATCH);
    options.workspace = b->workspace = aligned_alloc(64, (size_t)(options.workspace_size + 64) / 64 * 64);
    watch();
    expect_none(c, atl_run(plan, BATCH, b->x, b->y, NULL, &options, &error), "a given workspace");
    atl_plan_release(plan);
    free(b->workspace);
}

static void watch_masks(const layer_case *c, atl_engine *engine, buffers *b) {
    const int64_t queries = c->row.shape[0];
    atl_run_options options;
    atl_error error;
    atl_run_options_init(&options);
    options.key = options.value = b->text;
    options.mask = b->mask;
    options.additive = b->additive;
    options.mask_rank = options.additive_rank = 2;
    options.mask_shape[0] = options.additive_shape[0] = queries;
    options.mask_shape[1] = options.additive_shape[1] = KEYS;
    atl_plan *plan = reserve(c, engine, BATCH, KEYS);
    watch();
    expect_none(c, atl_run(plan, BATCH, b->x, b->y, NULL, &options, &error), "key, value and masks");
    atl_plan_release(plan);
}

static void watch_case(const char *line, atl_engine *engine) {
    layer_case c;
    case_parse(&c, line, 7);
    const int64_t width = c.row.shape[1], pairs = c.row.shape[0] * KEYS;
    buffers b = {.x = case_alloc(BATCH * c.size), .y = case_alloc(BATCH * c.out_size)};
    fill(b.x, BATCH * c.size, FILL_RANDOM, 1, 8);
    b.map = c.map_size ? case_alloc(BATCH * c.map_size) : NULL;
    for (int i = 0; i < BATCH; i++)
        b.samples[i] = (atl_sample){.x = b.x + i * c.size, .y = b.y + i * c.out_size};
    watch_runs(&c, engine, &b);
    watch_workspace(&c, engine, &b);
    if (atl_layer_takes_key(c.layer)) {
        b.text = case_alloc(BATCH * KEYS * width);
        b.additive = case_alloc(pairs);
        b.mask = calloc((size_t)pairs, 1);
        fill(b.text, BATCH * KEYS * width, FILL_RANDOM, 1, 9);
        fill(b.additive, pairs, FILL_RANDOM, 1, 10);
        for (int64_t i = 0; i < pairs; i++)
            b.mask[i] = i % 3 != 0;
        watch_masks(&c, engine, &b);
    }
    free(b.mask), free(b.additive), free(b.text), free(b.map), free(b.y), free(b.x);
    case_free(&c);
}

Test(allocations, a_run_makes_none) {
    setenv("HWLOC_SYNTHETIC", "core:2 pu:1", 1); /* a machine that is quick to read */
    for (int threads = 1; threads <= THREADS; threads += THREADS - 1) {
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
            atl_engine *engine = make_engine(threads); /* whose workspaces no other run has made */
            watch_case(lines[i], engine);
            atl_engine_release(engine);
        }
    }
}

Test(allocations, every_kind_is_watched) {
    for (int i = 0; atl_kind_name(i); i++) {
        int found = 0;
        const size_t length = strlen(atl_kind_name(i));
        for (size_t k = 0; k < sizeof lines / sizeof *lines; k++)
            found += strncmp(lines[k], atl_kind_name(i), length) == 0 && lines[k][length] == ' ';
        cr_expect_gt(found, 1, "%s", atl_kind_name(i));
    }
}

/* The engine's workspace is made by the first call of a size; later ones find it. */
Test(allocations, attention_makes_none_once_it_ran) {
    enum { HEADS = 2, POSITIONS = 200, DIM = 16, FLOATS = HEADS * POSITIONS * DIM };
    atl_error error;
    atl_engine *engine = make_engine(THREADS);
    float *x = case_alloc(FLOATS), *y = case_alloc(FLOATS);
    fill(x, FLOATS, FILL_RANDOM, 1, 11);
    atl_attention_args args;
    atl_attention_args_init(&args);
    args.heads = HEADS;
    args.queries = args.keys = POSITIONS;
    args.key_dim = args.value_dim = DIM;
    args.query = args.key = args.value = x;
    args.output = y;
    args.query_strides = atl_attention_dense(ATL_HEAD_MAJOR, HEADS, POSITIONS, DIM);
    args.key_strides = args.value_strides = args.output_strides = args.query_strides;
    cr_assert_eq(atl_attention(engine, &args, &error), ATL_OK, "%s", error.message);
    watch();
    const atl_status status = atl_attention(engine, &args, &error);
    watching = 0;
    cr_expect_eq(status, ATL_OK, "%s", error.message);
    cr_expect_eq(requests, 0, "a second call asked for memory %ld times", (long)requests);
    free(x), free(y);
    atl_engine_release(engine);
}

/* The counters count: a watch that sees nothing would prove nothing. */
Test(allocations, a_watch_sees) {
    void *volatile memory;
    watch();
    memory = malloc(1);
    watching = 0;
    cr_expect_eq(requests, 1);
    free(memory);
}
