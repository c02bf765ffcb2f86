/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kernel of kernels.def that this machine runs, alone on one thread: VARIANT/SHAPE. A new line of kernels.def
 * needs no change here; a new slot needs a body and shapes (the build and the start say so).
 *
 * peak_share is the part of one core's multiply-add peak with the variant's instruction set. That is measured before
 * every benchmark and the best so far counts, as disturbance only ever lowers it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "fill.h"
#include "kernel_shapes.h"
#include "kernels.h"
#include "machine.h"
#include "shim.h"

enum { ARRAYS = 8, LANES = 96 /* queries of a tile: a multiple of every variant's lanes */ };

enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct kernel_bench {
    const atl_kernel_entry *entry;
    const kernel_shape *shape;
    double *peak; /* GFLOP/s of one core, shared by the variants of an instruction set */
    int measured;
    float *arrays[ARRAYS];
    int array_count;
} kernel_bench;

/* An array of random values that lives as long as the body runs. */
static float *array(kernel_bench *b, int64_t count) {
    size_t size = ((size_t)count * sizeof(float) + 63) / 64 * 64;
    float *values = b->array_count < ARRAYS ? aligned_alloc(64, size) : NULL;
    if (!values) {
        fprintf(stderr, "bench-kernels: no memory for %lld floats\n", (long long)count);
        exit(1);
    }
    fill(values, count, FILL_RANDOM, 1.0f, (uint64_t)b->array_count);
    return b->arrays[b->array_count++] = values;
}

static int64_t ceil_to(int64_t n, int64_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

/* ---- rates of one iteration ---- */

static void report_bytes(bench_state *state, double bytes) {
    bench_counter(state, "GB/s", bytes * 1e-9 / bench_seconds(state));
}

static void report_flops(bench_state *state, double flops) {
    bench_counter(state, "GFLOP/s", flops * 1e-9 / bench_seconds(state));
}

static void report_peak_share(bench_state *state, const kernel_bench *b, double flops) {
    report_flops(state, flops);
    if (*b->peak > 0)
        bench_counter(state, "peak_share", flops * 1e-9 / bench_seconds(state) / *b->peak);
}

/* ---- bodies, one per slot of kernels.def ---- */

#define ATL_SLOT(name) static void bench_##name(bench_state *state, atl_##name##_fn *kernel, kernel_bench *b);
#include "kernels.def"
#undef ATL_SLOT

static void bench_sum(bench_state *state, atl_sum_fn *kernel, kernel_bench *b) {
    int64_t rows = b->shape->rows, n = b->shape->n;
    float *x = array(b, rows * n), *out = array(b, rows);
    while (bench_next(state))
        kernel(x, n, rows, n, out);
    report_bytes(state, 4.0 * (double)(rows * n));
}

static void bench_sum_max(bench_state *state, atl_sum_max_fn *kernel, kernel_bench *b) {
    int64_t rows = b->shape->rows, n = b->shape->n;
    float *x = array(b, rows * n), *sums = array(b, rows), *maxima = array(b, rows);
    while (bench_next(state))
        kernel(x, n, rows, n, sums, maxima);
    report_bytes(state, 4.0 * (double)(rows * n));
}

static void bench_scale(bench_state *state, atl_scale_fn *kernel, kernel_bench *b) {
    int64_t rows = b->shape->rows, n = b->shape->n;
    float *x = array(b, rows * n), *y = array(b, rows * n), *factor = array(b, rows);
    while (bench_next(state))
        kernel(x, y, n, rows, n, n, factor, b->shape->option, NULL, NULL, NULL);
    report_bytes(state, 8.0 * (double)(rows * n));
}

static void bench_fc(bench_state *state, atl_fc_fn *kernel, kernel_bench *b) {
    int64_t m = b->shape->rows, k = b->shape->n;
    float *x = array(b, k), *w = array(b, ceil_to(m, 16) * k), *bias = array(b, m), *out = array(b, m);
    while (bench_next(state))
        kernel(x, 1, 0, k, w, bias, m, out, 0);
    report_flops(state, 2.0 * (double)(m * k));
}

static void bench_unary(bench_state *state, atl_unary_fn *kernel, kernel_bench *b) {
    int64_t n = b->shape->n;
    float *x = array(b, n), *y = array(b, n);
    while (bench_next(state))
        kernel(x, y, n, (atl_unary)b->shape->option, 1.0f / 6.0f);
    bench_counter(state, "Gelements/s", (double)n * 1e-9 / bench_seconds(state));
}

/* As a projection calls it: the lane panels of one block of positions against all rows. */
static void bench_gemm(bench_state *state, atl_gemm_fn *kernel, kernel_bench *b) {
    int64_t m = b->shape->rows, k = b->shape->n, nr = b->entry->nr, lanes = ceil_to(ATL_BLOCK, nr);
    float *a = array(b, ceil_to(m, b->entry->mr) * k), *x = array(b, k * lanes), *bias = array(b, m);
    float *c = array(b, m * lanes);
    while (bench_next(state))
        for (int64_t p = 0; p < lanes; p += nr)
            kernel(&(atl_gemm){.m = m,
                               .n = nr,
                               .k = k,
                               .a = a,
                               .a_tile = k * b->entry->mr,
                               .a_step = b->entry->mr,
                               .b = x + p * k,
                               .b_row = nr,
                               .row_bias = bias,
                               .y = c + p,
                               .y_row = lanes,
                               .sums = c + p,
                               .sums_row = lanes});
    report_peak_share(state, b, 2.0 * (double)(m * k * lanes));
}

/* An additive mask and one of bytes for a lane panel and a block of keys of a row of n, or with `option` the former alone. */
static void bench_bias(bench_state *state, atl_bias_fn *kernel, kernel_bench *b) {
    int64_t n = b->shape->n, queries = b->shape->rows;
    float *additive = array(b, queries * n);
    const uint8_t *bytes = (const uint8_t *)array(b, queries * n / 4);
    atl_bias_args args = {
        .bytes = b->shape->option ? NULL : bytes, .byte_query = n, .byte_key = 1, .additive = additive};
    args.additive_query = n;
    args.additive_key = 1;
    args.diagonal = n;
    args.queries = args.row = queries;
    args.keys = ATL_BLOCK;
    args.to = array(b, ATL_BLOCK * queries);
    args.by_key = 1;
    while (bench_next(state))
        kernel(&args);
    bench_counter(state, "Gelements/s", (double)(ATL_BLOCK * queries) * 1e-9 / bench_seconds(state));
}

/* As a tile of queries calls it: every block of keys against all lane panels, from a cleared state. */
static void bench_attend(bench_state *state, atl_attend_fn *kernel, kernel_bench *b) {
    const kernel_shape *s = b->shape;
    int64_t nr = b->entry->nr, lanes = ceil_to(LANES, nr);
    int64_t blocks = s->n / ATL_BLOCK;
    float *q = array(b, s->d * lanes), *k = array(b, blocks * s->d * ATL_PANEL_ROW);
    float *v = array(b, blocks * s->c * ATL_PANEL_ROW);
    float *max = array(b, lanes), *sum = array(b, lanes), *out = array(b, s->c * lanes);
    float *scores = array(b, ATL_BLOCK * nr);
    while (bench_next(state)) {
        for (int64_t i = 0; i < lanes; i++)
            max[i] = -1e30f, sum[i] = 0.0f;
        for (int64_t i = 0; i < s->c * lanes; i++)
            out[i] = 0.0f;
        for (int64_t j = 0; j < blocks; j++)
            for (int64_t p = 0; p < lanes; p += nr)
                kernel(&(atl_attend_args){.q = q + p * s->d,
                                          .k = k + j * s->d * ATL_PANEL_ROW,
                                          .v = v + j * s->c * ATL_PANEL_ROW,
                                          .d = s->d,
                                          .c = s->c,
                                          .keys = ATL_BLOCK,
                                          .lanes = nr,
                                          .state = {max + p, sum + p, out + p * s->c},
                                          .scores = scores,
                                          .weights = scores});
    }
    report_peak_share(state, b, 2.0 * (double)(lanes * s->n * (s->d + s->c)));
}

static void bench_merge(bench_state *state, atl_merge_fn *kernel, kernel_bench *b) {
    int64_t c = b->shape->c, nr = LANES;
    atl_attend_state into = {array(b, nr), array(b, nr), array(b, c * nr)};
    atl_attend_state from = {array(b, nr), array(b, nr), array(b, c * nr)};
    while (bench_next(state))
        kernel(nr, c, into, from);
    report_bytes(state, 12.0 * (double)(c * nr));
}

/* Rows of x and y are as far apart as in an image of n positions. */
static void bench_finish(bench_state *state, atl_finish_fn *kernel, kernel_bench *b) {
    int64_t c = b->shape->c, n = b->shape->n, nr = LANES;
    atl_attend_state finished = {array(b, nr), array(b, nr), array(b, c * nr)};
    float *x = array(b, c * n), *y = array(b, c * n);
    const atl_affine affine = {0};
    while (bench_next(state))
        kernel(nr, c, nr, 0.5f, &affine, finished, x, n, y, n, 0);
    report_bytes(state, 12.0 * (double)(c * nr));
}

static void bench_map(bench_state *state, atl_map_fn *kernel, kernel_bench *b) {
    int64_t rows = b->shape->rows, keys = b->shape->n, d = b->shape->d;
    float *q = array(b, ceil_to(rows, b->entry->mr) * d), *k = array(b, d * ATL_PANEL_ROW);
    float *max = array(b, rows), *sum = array(b, rows), *map = array(b, rows * keys);
    for (int64_t i = 0; i < rows; i++)
        max[i] = 16.0f, sum[i] = 1.0f; /* no score of these values comes near it */
    while (bench_next(state))
        kernel(q, k, d, rows, keys, max, sum, NULL, map, keys, 0);
    report_flops(state, 2.0 * (double)(rows * keys * d));
    bench_counter(state, "Gelements/s", (double)(rows * keys) * 1e-9 / bench_seconds(state));
}

/* As many queries as a lane panel has. */
static void bench_map_scores(bench_state *state, atl_map_scores_fn *kernel, kernel_bench *b) {
    int64_t rows = b->shape->rows, keys = b->shape->n;
    float *scores = array(b, keys * rows), *max = array(b, rows), *sum = array(b, rows), *map = array(b, rows * keys);
    for (int64_t i = 0; i < rows; i++)
        max[i] = 16.0f, sum[i] = 1.0f;
    while (bench_next(state))
        kernel(scores, rows, rows, keys, max, sum, map, keys, 0);
    bench_counter(state, "Gelements/s", (double)(rows * keys) * 1e-9 / bench_seconds(state));
}

static void bench_channel_pool(bench_state *state, atl_channel_pool_fn *kernel, kernel_bench *b) {
    int64_t c = b->shape->c, n = b->shape->n;
    float *x = array(b, c * n), *mean = array(b, n), *max = array(b, n);
    while (bench_next(state))
        kernel(x, n, c, n, NULL, mean, max);
    report_bytes(state, 4.0 * (double)(c * n));
}

/* All rows of an image. */
static void bench_conv_gate(bench_state *state, atl_conv_gate_fn *kernel, kernel_bench *b) {
    int64_t rows = b->shape->rows, n = b->shape->n, k = b->shape->d, row = n + k - 1, plane = (rows + k - 1) * row;
    float *planes = array(b, 2 * plane), *w = array(b, 2 * k * k), *factor = array(b, rows * n);
    while (bench_next(state))
        for (int64_t r = 0; r < rows; r++)
            kernel(planes + r * row, row, plane, k, w, NULL, n, factor + r * n);
    report_peak_share(state, b, 4.0 * (double)(k * k * rows * n));
}

static void bench_scale_pixels(bench_state *state, atl_scale_pixels_fn *kernel, kernel_bench *b) {
    int64_t c = b->shape->c, n = b->shape->n;
    float *x = array(b, c * n), *y = array(b, c * n), *factor = array(b, n);
    while (bench_next(state))
        kernel(&(atl_scale_pixels_args){.x = x,
                                        .y = y,
                                        .n = n,
                                        .channels = c,
                                        .x_stride = n,
                                        .y_stride = n,
                                        .factor = factor,
                                        .stream = b->shape->option});
    report_bytes(state, 8.0 * (double)(c * n));
}

static void bench_planes(bench_state *state, atl_planes_fn *kernel, kernel_bench *b) {
    const kernel_shape *s = b->shape;
    atl_planes_args args = {.channels = s->c, .x_row = s->rows * s->n, .height = s->rows, .width = s->n};
    args.stride = args.phases = s->option;
    args.reach = s->d / 2;
    args.lines = s->rows / s->option + (s->d - 1) / s->option;
    args.line = s->n / s->option;
    args.plane = args.lines * args.line + ATL_SUM_LANES;
    args.x = array(b, s->c * args.x_row);
    args.to = array(b, s->c * args.phases * args.phases * args.plane);
    while (bench_next(state))
        kernel(&args);
    report_bytes(state, 8.0 * (double)(s->c * args.x_row));
}

/* Which lanes of an n x n image have a pixel in each of k columns. */
static uint16_t *bench_inside(kernel_bench *b, int64_t n, int64_t k, int64_t row) {
    uint16_t *inside = (uint16_t *)array(b, k * row);
    memset(inside, 0, (size_t)(k * row) * sizeof *inside);
    for (int64_t i = 0; i < k * n * n; i++) {
        int64_t e = i / (n * n), lane = i % (n * n), column = lane % n + e - k / 2;
        inside[e * row + lane / 16] |= (uint16_t)((column >= 0 && column < n) << lane % 16);
    }
    return inside;
}

/* An n x n image with lines of padding. */
static void bench_conv(bench_state *state, atl_conv_fn *kernel, kernel_bench *b) {
    const kernel_shape *s = b->shape;
    int64_t plane = (s->n + s->d) * s->n, terms = s->c * s->d * s->d;
    float *x = array(b, s->c * plane + ATL_SUM_LANES), *w = array(b, s->rows * terms), *scales = array(b, 2 * s->rows);
    atl_conv_term *term = (atl_conv_term *)array(b, 2 * terms);
    for (int64_t l = 0; l < terms; l++) {
        term[l].offset = (int32_t)(l / (s->d * s->d) * plane + l / s->d % s->d * s->n + l % s->d);
        term[l].column = (int32_t)(l % s->d);
    }
    atl_conv_args args = {.rows = s->rows, .terms = terms, .weight = w, .term = term, .scale = scales, .relu = 1};
    args.columns = s->d;
    args.inside_row = ceil_to(s->n * s->n, 16) / 16;
    args.inside = bench_inside(b, s->n, s->d, args.inside_row);
    args.masks = array(b, s->d * ATL_CONV_LANES);
    args.shift = scales + s->rows;
    args.x = x;
    args.n = args.y_row = s->n * s->n;
    args.y = array(b, s->rows * args.y_row);
    while (bench_next(state))
        kernel(&args);
    report_peak_share(state, b, 2.0 * (double)(s->rows * terms * args.y_row));
}

static void bench_blend(bench_state *state, atl_blend_fn *kernel, kernel_bench *b) {
    int64_t rows = b->shape->rows, n = b->shape->n, branches = b->shape->d;
    float *x = array(b, branches * rows * n), *y = array(b, rows * n), *factor = array(b, branches * rows);
    while (bench_next(state))
        kernel(x, y, n, rows, branches, rows * n, n, n, factor, rows, b->shape->option);
    report_bytes(state, 4.0 * (double)((branches + 1) * rows * n));
}

static void bench_gate_add_relu(bench_state *state, atl_gate_add_relu_fn *kernel, kernel_bench *b) {
    int64_t c = b->shape->c, n = b->shape->n;
    float *x = array(b, c * n), *y = array(b, c * n), *scale = array(b, c), *factor = array(b, n);
    while (bench_next(state))
        kernel(x, n, c, n, scale, factor, y, n);
    report_bytes(state, 12.0 * (double)(c * n));
}

/* Windows of 3 x 3 in n x n images with lines of padding. */
static void bench_max_pool(bench_state *state, atl_max_pool_fn *kernel, kernel_bench *b) {
    const kernel_shape *s = b->shape;
    atl_max_pool_args args = {
        .channels = s->c, .n = s->n * s->n, .terms = 9, .inside_row = ceil_to(s->n * s->n, 16) / 16};
    args.x_row = (s->n + 2) * s->n;
    args.y_row = args.n;
    atl_conv_term *term = (atl_conv_term *)array(b, 2 * args.terms);
    for (int32_t l = 0; l < args.terms; l++)
        term[l] = (atl_conv_term){l / 3 * (int32_t)s->n + (l + 1) % 3, l % 3 ? 4 - 2 * (l % 3) : -1};
    args.term = term;
    args.inside = bench_inside(b, s->n, 3, args.inside_row);
    args.x = array(b, s->c * args.x_row + ATL_SUM_LANES);
    args.y = array(b, s->c * args.y_row);
    while (bench_next(state))
        kernel(&args);
    report_bytes(state, 4.0 * (double)(s->c * (args.x_row + args.n)));
}

/* Into rows a cache line longer than a power of two, as blocks of positions have them. */
static void bench_transpose(bench_state *state, atl_transpose_fn *kernel, kernel_bench *b) {
    int64_t rows = b->shape->rows, n = b->shape->n, stride = rows + 16;
    float *x = array(b, rows * n), *mean = array(b, rows), *out = array(b, n * stride);
    while (bench_next(state))
        kernel(x, rows, n, n, mean, out, stride);
    report_bytes(state, 8.0 * (double)(rows * n));
}

/* The values settle at 1/rows: a softmax of a softmax takes no less time. */
static void bench_softmax(bench_state *state, atl_softmax_fn *kernel, kernel_bench *b) {
    int64_t rows = b->shape->rows, n = b->shape->n;
    float *s = array(b, rows * n);
    while (bench_next(state))
        kernel(s, rows, n, n, 1.0f, NULL, NULL);
    bench_counter(state, "Gelements/s", (double)(rows * n) * 1e-9 / bench_seconds(state));
}

static void bench_window_max(bench_state *state, atl_window_max_fn *kernel, kernel_bench *b) {
    int64_t rows = b->shape->rows, n = b->shape->n, windows = b->shape->option;
    float *x = array(b, rows * n * windows), *y = array(b, rows * n);
    while (bench_next(state))
        kernel(x, n, rows, n * windows, windows, n, y, n);
    report_bytes(state, 4.0 * (double)(rows * n * (windows + 1)));
}

/* ---- the list ---- */

static void measure_peak(kernel_bench *b) {
    double peak = b->measured ? 0 : machine_fma_gflops(atl_isa_name(b->entry->isa), 1);
    if (peak > *b->peak)
        *b->peak = peak;
    b->measured = 1;
}

static void bench_kernel(bench_state *state, void *context) {
    kernel_bench *b = context;
    measure_peak(b);
    switch (b->entry->slot) {
#define ATL_SLOT(name)                                                                                                 \
    case ATL_SLOT_##name:                                                                                              \
        bench_##name(state, (atl_##name##_fn *)b->entry->fn, b);                                                       \
        break;
#include "kernels.def"
#undef ATL_SLOT
    default: break;
    }
    while (b->array_count > 0)
        free(b->arrays[--b->array_count]);
}

/* Registers a variant with every shape of its slot; returns their number. */
static int add_entry(const atl_kernel_entry *entry, kernel_bench *benches) {
    static double peaks[ATL_ISA_COUNT];
    char name[128];
    int count = 0;
    for (int i = 0; i < SHAPES; i++) {
        if (shapes[i].slot != entry->slot)
            continue;
        benches[count] = (kernel_bench){.entry = entry, .shape = &shapes[i], .peak = &peaks[entry->isa]};
        snprintf(name, sizeof name, "%s/%s", entry->variant, shapes[i].name);
        bench_add(name, bench_kernel, &benches[count++]);
    }
    if (count == 0)
        fprintf(stderr, "bench-kernels: slot %s has no shapes\n", atl_slot_name(entry->slot));
    return count;
}

int main(int argc, char **argv) {
    int status = 0, count = 0;
    if (bench_init(argc, argv))
        return 2;
    kernel_bench *benches = calloc((size_t)atl_kernel_entry_count * SHAPES, sizeof *benches);
    if (!benches)
        return 1;
    for (int i = 0; i < atl_kernel_entry_count; i++) {
        if (!atl_isa_includes(atl_cpu_best(), atl_kernel_entries[i].isa))
            continue;
        int added = add_entry(&atl_kernel_entries[i], benches + count);
        count += added;
        status |= added == 0;
    }
    status |= bench_run(NULL, NULL) == 0;
    free(benches);
    return status;
}
