/* SPDX-License-Identifier: Apache-2.0 */
/* Where inputs and outputs lie must not matter: alignment, strides, order, in place; and nothing beside them is
 * touched. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cases.h"

#define SAMPLES 3

static const char *const lines[] = {
    "se se-odd 1 7x5x11 hidden=3",
    "se se-wide 1 3x19x57 hidden=2",
    "cbam-channel cbamc-odd 1 7x5x11 hidden=3",
    "cbam-channel cbamc-wide 1 3x19x57 hidden=2",
    "cbam-spatial cbams-odd 1 7x5x11 k=5 bias=1",
    "cbam-spatial cbams-wide 1 3x19x57 k=7",
    "cbam-res cbamr-odd 1 7x5x11 out=9 hidden=3 sa=5",
    "cbam-res cbamr-same 1 4x9x37 out=4 k=5 hidden=2 set.stride=1",
    "sk sk-odd 1 6x5x11 m=3 groups=2 d=5 set.stride=2",
    "sk sk-same 1 4x9x37 m=2 groups=4 d=2",
    "non-local nl-odd 1 5x7x9 sub=1 bn=1 inner=3 g=2",
    "non-local nl-blocks 1 3x263",
    "non-local nl-folded 1 5x7x9 sub=1 bn=1 inner=9 g=7",
    "non-local nl-keys 1 3x2x5x7 sub=1 inner=9 g=1 bias=0",
    "self-attention-spatial sas-odd 1 5x7x9 d=3",
    "self-attention-spatial sas-blocks 1 3x263 d=1",
    "self-attention-channel sac-odd 1 5x7x9",
    "self-attention-channel sac-blocks 1 3x263 out=5",
    "self-attention-channel sac-wide 1 67x11 out=35",
};

#define LINES (sizeof lines / sizeof *lines)

/* A case on one engine, with inputs and the outputs of dense, separate buffers. */
typedef struct bench {
    layer_case c;
    atl_plan *plan;
    const char *isa;
    float *x, *y, *map; /* SAMPLES each; map NULL without one */
    float *plain;       /* y of a run without a map */
} bench;

static void on_every_isa(void (*body)(bench *b)) {
    for (int isa = 0; isa < CASE_ISAS; isa++) {
        atl_engine *engine = case_engine(case_isas[isa], 2);
        for (size_t i = 0; engine && i < LINES; i++) {
            bench b = {.isa = case_isas[isa]};
            case_parse(&b.c, lines[i], 3 + i);
            b.plan = case_plan(&b.c, engine);
            b.x = case_alloc(SAMPLES * b.c.size);
            b.y = case_alloc(SAMPLES * b.c.out_size);
            b.plain = case_alloc(SAMPLES * b.c.out_size);
            b.map = b.c.map_size ? case_alloc(SAMPLES * b.c.map_size) : NULL;
            fill(b.x, SAMPLES * b.c.size, FILL_RANDOM, 1, 77);
            case_run(b.plan, SAMPLES, b.x, b.y, b.map, NULL);
            case_run(b.plan, SAMPLES, b.x, b.plain, NULL, NULL);
            body(&b);
            free(b.map);
            free(b.plain);
            free(b.y);
            free(b.x);
            atl_plan_release(b.plan);
            case_free(&b.c);
        }
        atl_engine_release(engine);
    }
}

static void expect_same(const bench *b, const char *what, const float *got, const float *want, int64_t count) {
    int64_t at = case_difference(got, want, count);
    cr_expect(at < 0, "%s, %s: %s[%lld] = %a, want %a", b->c.row.name, b->isa, what, (long long)at,
              (double)got[at < 0 ? 0 : at], (double)want[at < 0 ? 0 : at]);
}

/* ---------------------------------------------------------------- alignment and aliasing */

static void misaligned(bench *b) {
    int64_t size = SAMPLES * b->c.size, out_size = SAMPLES * b->c.out_size, map_size = SAMPLES * b->c.map_size;
    float *x = case_alloc(size + 3), *y = case_alloc(out_size + 3), *map = case_alloc(map_size + 3);
    for (int offset = 0; offset < 16; offset++) {
        int dx = offset % 4, dy = offset / 4, dm = (offset + dy) % 4;
        memcpy(x + dx, b->x, (size_t)size * sizeof *x);
        case_run(b->plan, SAMPLES, x + dx, y + dy, b->map ? map + dm : NULL, NULL);
        expect_same(b, "misaligned y", y + dy, b->y, out_size);
        if (b->map)
            expect_same(b, "misaligned map", map + dm, b->map, map_size);
    }
    free(map);
    free(y);
    free(x);
}

Test(buffers, any_alignment) {
    on_every_isa(misaligned);
}

/* Where a layer cannot work in place, y = x is an error. */
static void refuse_in_place(bench *b) {
    int64_t size = b->c.size > b->c.out_size ? b->c.size : b->c.out_size;
    float *x = case_alloc(SAMPLES * size);
    atl_error error;
    atl_status status = atl_run(b->plan, SAMPLES, x, x, NULL, NULL, &error);
    case_expect_error(b->c.row.name, status, ATL_INVALID_ARGUMENT, &error, CASE_WORDS("y", "x", "overlaps"));
    free(x);
}

static void in_place(bench *b) {
    int64_t size = SAMPLES * b->c.size;
    if (!b->c.in_place) {
        refuse_in_place(b);
        return;
    }
    float *x = case_alloc(size), *map = case_alloc(SAMPLES * b->c.map_size);
    memcpy(x, b->x, (size_t)size * sizeof *x);
    case_run(b->plan, SAMPLES, x, x, NULL, NULL);
    expect_same(b, "y in place", x, b->plain, size);
    if (b->map) {
        memcpy(x, b->x, (size_t)size * sizeof *x);
        case_run(b->plan, SAMPLES, x, x, map, NULL);
        expect_same(b, "y in place beside a map", x, b->y, size);
        expect_same(b, "map beside y in place", map, b->map, SAMPLES * b->c.map_size);
    }
    free(map);
    free(x);
}

Test(buffers, in_place) {
    on_every_isa(in_place);
}

/* Samples in any order, some of them in place, the same x more than once. */
static void scattered(bench *b) {
    int64_t size = b->c.size, out_size = b->c.out_size;
    bool in_place = b->c.in_place;
    float *x = case_alloc(4 * size + 1), *y = case_alloc(5 * out_size + 1);
    const int64_t source[4] = {2, 0, 1, 2};
    for (int i = 0; i < 4; i++)
        memcpy(x + 1 + i * size, b->x + source[i] * size, (size_t)size * sizeof *x);
    const atl_sample samples[5] = {
        {.x = x + 1 + 3 * size, .y = y + 1 + 2 * out_size},
        {.x = x + 1 + 2 * size, .y = in_place ? x + 1 + 2 * size : y + 1 + 3 * out_size},
        {.x = x + 1, .y = y + 1},
        {.x = x + 1, .y = y + 1 + out_size}, /* the same input again */
        {.x = x + 1 + size, .y = in_place ? x + 1 + size : y + 1 + 4 * out_size},
    };
    const int64_t want[5] = {2, 1, 2, 2, 0};
    atl_error error;
    cr_assert_eq(atl_run_samples(b->plan, 5, samples, sizeof *samples, NULL, &error), ATL_OK, "%s", error.message);
    for (int i = 0; i < 5; i++)
        expect_same(b, "scattered y", samples[i].y, b->plain + want[i] * out_size, out_size);
    free(y);
    free(x);
}

Test(buffers, samples_anywhere) {
    on_every_isa(scattered);
}

/* ---------------------------------------------------------------- strides */

#define GAP      5
#define SENTINEL 12345.0f

static float *sentinels(int64_t count) {
    float *values = case_alloc(count);
    for (int64_t i = 0; i < count; i++)
        values[i] = SENTINEL;
    return values;
}

/* Samples `size` long, `stride` apart, equal those of `want`, and what lies between is as it was. */
static void expect_strided(const bench *b, const char *what, const float *got, int64_t stride, const float *want,
                           int64_t size) {
    for (int i = 0; i < SAMPLES; i++) {
        expect_same(b, what, got + i * stride, want + i * size, size);
        for (int64_t j = size; j < stride; j++)
            cr_assert(got[i * stride + j] == SENTINEL, "%s: %s, gap after sample %d", b->c.row.name, what, i);
    }
}

static void strided(bench *b) {
    int64_t size = b->c.size, stride = size + GAP, map_stride = b->c.map_size + 1;
    int64_t out_size = b->c.out_size, y_stride = out_size + GAP + 1;
    float *x = sentinels(SAMPLES * stride), *y = sentinels(SAMPLES * y_stride);
    float *map = sentinels(SAMPLES * map_stride);
    atl_run_options options;
    atl_run_options_init(&options);
    options.x_stride = stride;
    options.y_stride = y_stride;
    options.map_stride = b->map ? map_stride : 0;
    for (int i = 0; i < SAMPLES; i++)
        memcpy(x + i * stride, b->x + i * size, (size_t)size * sizeof *x);
    case_run(b->plan, SAMPLES, x, y, b->map ? map : NULL, &options);
    expect_strided(b, "strided y", y, y_stride, b->y, out_size);
    if (b->map)
        expect_strided(b, "strided map", map, map_stride, b->map, b->c.map_size);
    expect_strided(b, "x", x, stride, b->x, size);
    free(map);
    free(y);
    free(x);
}

Test(buffers, strided_batches) {
    on_every_isa(strided);
}

/* A list of map rows in any order, with a repeat, strided. */
static void map_rows(bench *b) {
    if (!b->map)
        return;
    int64_t n = b->c.map_keys, stride = 4 * n + GAP;
    const int64_t rows[4] = {b->c.map_rows - 1, 3, 3, 0};
    float *y = case_alloc(SAMPLES * b->c.out_size), *map = sentinels(SAMPLES * stride);
    atl_run_options options;
    atl_run_options_init(&options);
    options.map_rows = rows;
    options.map_row_count = 4;
    options.map_stride = stride;
    case_run(b->plan, SAMPLES, b->x, y, map, &options);
    for (int s = 0; s < SAMPLES; s++) {
        for (int i = 0; i < 4; i++)
            expect_same(b, "map row", map + s * stride + i * n, b->map + s * b->c.map_size + rows[i] * n, n);
        for (int i = 0; i < GAP; i++)
            cr_expect(map[s * stride + 4 * n + i] == SENTINEL, "gap after sample %d", s);
    }
    free(map);
    free(y);
}

Test(buffers, map_rows_in_any_order) {
    on_every_isa(map_rows);
}

/* Samples that lie one after the other, or channel by channel: [C, B, n]. */
static void swap(const float *dense, int64_t channels, int64_t n, float *x) {
    for (int64_t b = 0; b < SAMPLES; b++)
        for (int64_t i = 0; i < channels; i++)
            memcpy(x + (i * SAMPLES + b) * n, dense + (b * channels + i) * n, (size_t)n * sizeof *x);
}

/* x and y as [C, B, H, W]: the same bits, moved. `out` channels of y, with `m` positions each. */
static void channel_first(const char *kind, const char *isa, int64_t out, int64_t m, bool inplace) {
    layer_case c, normal;
    int64_t n = 35, channels = 7;
    char line[96], normal_line[96];
    snprintf(line, sizeof line, "%s channel-first 1 7x5x7 out=%d hidden=3 set.batch_first=false", kind, (int)out);
    snprintf(normal_line, sizeof normal_line, "%s batch-first 1 7x5x7 out=%d hidden=3", kind, (int)out);
    case_parse(&c, line, 5);
    case_parse(&normal, normal_line, 5);
    float *x = case_alloc(SAMPLES * channels * n), *y = inplace ? x : case_alloc(SAMPLES * out * m);
    float *dense = case_alloc(SAMPLES * channels * n), *want = case_alloc(2 * SAMPLES * out * m);
    float *swapped = want + SAMPLES * out * m;
    atl_engine *engine = case_engine(isa, 3);
    if (engine) {
        atl_plan *plan = case_plan(&c, engine), *normal_plan = case_plan(&normal, engine);
        fill(dense, SAMPLES * channels * n, FILL_RANDOM, 1, 5);
        swap(dense, channels, n, x);
        case_run(normal_plan, SAMPLES, dense, want, NULL, NULL);
        swap(want, out, m, swapped);
        case_run(plan, SAMPLES, x, y, NULL, NULL);
        cr_expect_eq(case_difference(y, swapped, SAMPLES * out * m), -1, "%s, %s: other bits", kind, isa);
        atl_plan_release(normal_plan);
        atl_plan_release(plan);
    }
    atl_engine_release(engine);
    free(want);
    free(dense);
    if (!inplace)
        free(y);
    free(x);
    case_free(&normal);
    case_free(&c);
}

Test(buffers, batch_second) {
    static const char *const kinds[] = {"se", "cbam-channel", "cbam-spatial"};
    for (int isa = 0; isa < CASE_ISAS; isa++) {
        for (int k = 0; k < 3; k++) {
            channel_first(kinds[k], case_isas[isa], 7, 35, false);
            channel_first(kinds[k], case_isas[isa], 7, 35, true);
        }
        channel_first("cbam-res", case_isas[isa], 9, 3 * 4, false);
        channel_first("sk", case_isas[isa], 7, 35, false);
    }
}

/* ---------------------------------------------------------------- guard pages */

/* Floats with an inaccessible page on both sides; `data` touches the one behind, or with `front` the one before. */
typedef struct guarded {
    char *pages;
    size_t length;
    float *data;
} guarded;

static guarded guard(int64_t count, bool front) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = (size_t)count * sizeof(float);
    guarded g = {.length = (bytes + page - 1) / page * page + 2 * page};
    g.pages = mmap(NULL, g.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(g.pages != MAP_FAILED);
    cr_assert_eq(mprotect(g.pages, page, PROT_NONE), 0);
    cr_assert_eq(mprotect(g.pages + g.length - page, page, PROT_NONE), 0);
    g.data = (float *)(front ? g.pages + page : g.pages + g.length - page - bytes);
    return g;
}

static void unguard(guarded g) {
    munmap(g.pages, g.length);
}

static void run_guarded(bench *b, bool front) {
    int64_t size = b->c.size, out_size = b->c.out_size, map_size = b->c.map_size;
    guarded x = guard(size, front), y = guard(out_size, front), map = guard(map_size, front);
    memcpy(x.data, b->x, (size_t)size * sizeof(float));
    case_run(b->plan, 1, x.data, y.data, NULL, NULL);
    expect_same(b, "guarded y", y.data, b->plain, out_size);
    if (map_size) {
        case_run(b->plan, 1, x.data, y.data, map.data, NULL);
        expect_same(b, "guarded map", map.data, b->map, map_size);
    }
    if (b->c.in_place) {
        case_run(b->plan, 1, x.data, x.data, NULL, NULL);
        expect_same(b, "guarded x = y", x.data, b->plain, size);
    }
    unguard(map);
    unguard(y);
    unguard(x);
}

static void guard_pages(bench *b) {
    run_guarded(b, true);
    run_guarded(b, false);
}

Test(buffers, nothing_outside_is_touched) {
    on_every_isa(guard_pages);
}

/* The caller's workspace: of the size asked for, between guard pages, whatever it holds before. */
static void own_workspace(bench *b) {
    int64_t bytes = atl_plan_workspace_size(b->plan, SAMPLES), count = (bytes + 63) / 64 * 16;
    cr_assert_gt(bytes, 0, "%s: workspace of %lld bytes", b->c.row.name, (long long)bytes);
    float *y = case_alloc(SAMPLES * b->c.out_size), *map = b->map ? case_alloc(SAMPLES * b->c.map_size) : NULL;
    atl_run_options options;
    atl_run_options_init(&options);
    for (int front = 0; front < 2; front++) {
        guarded w = guard(count, front);
        memset(w.data, 0xff, (size_t)count * sizeof(float)); /* NaNs */
        options.workspace = w.data;
        options.workspace_size = bytes;
        case_run(b->plan, SAMPLES, b->x, y, map, &options);
        expect_same(b, "y, own workspace", y, b->y, SAMPLES * b->c.out_size);
        unguard(w);
    }
    free(map);
    free(y);
}

Test(buffers, own_workspace) {
    on_every_isa(own_workspace);
}
