/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <attentile/layers.h>

#include "bench.h"
#include "machine.h"

static int fail(bench_case *c, const char *what) {
    snprintf(c->problem, sizeof c->problem, "%s", what);
    return -1;
}

/* Pages of their own, so that what is freed is gone. */
static void *map_pages(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void unmap_pages(void *p, size_t size) {
    if (p)
        munmap(p, size);
}

static float *random_values(size_t size, uint64_t seed) {
    float *values = map_pages(size);
    if (values)
        fill(values, (int64_t)(size / sizeof *values), FILL_RANDOM, 1.0f, seed);
    return values;
}

static double bytes_of(int64_t batch, int rank, const int64_t *shape) {
    double bytes = (double)batch * sizeof(float);
    for (int i = 0; i < rank; i++)
        bytes *= (double)shape[i];
    return bytes;
}

/* ---- inputs ---- */

static int make_padding(bench_case *c, int64_t masked) {
    const int64_t keys = shape_number(c->row, "keys", c->row->shape[0]);
    if (masked < 1 || masked >= keys)
        return fail(c, "padding: expected fewer than all keys");
    c->padding = map_pages((size_t)keys);
    if (!c->padding)
        return fail(c, "no memory for a mask");
    memset(c->padding, 1, (size_t)(keys - masked));
    c->options.mask = c->padding;
    c->options.mask_rank = 1;
    c->options.mask_shape[0] = keys;
    return 0;
}

/* What multi-head takes besides x. */
static int make_more_inputs(bench_case *c) {
    const shape_row *row = c->row;
    const int64_t keys = shape_number(row, "keys", 0), padding = shape_number(row, "padding", 0);
    if (keys) {
        c->key_size = (size_t)bytes_of(row->batch, 2, (int64_t[]){keys, row->shape[1]});
        c->key = random_values(c->key_size, 3);
        c->value = random_values(c->key_size, 4);
        if (!c->key || !c->value)
            return fail(c, "no memory for key and value");
        c->options.key = c->key;
        c->options.value = c->value;
    }
    if (padding && shape_number(row, "mask", 0))
        return fail(c, "padding and mask exclude each other");
    if (padding)
        return make_padding(c, padding);
    if (layer_inputs_make(row, &c->masks))
        return fail(c, "no memory for masks");
    layer_inputs_run(&c->masks, &c->options);
    c->options.mask = c->masks.mask;
    c->options.additive = c->masks.additive;
    return 0;
}

int bench_case_inputs(bench_case *c, const shape_row *row) {
    c->row = row;
    atl_run_options_init(&c->options);
    if (weights_make(&c->weights, row, 1))
        return fail(c, "no memory for weights");
    const double bytes = bytes_of(row->batch, row->rank, row->shape);
    if (bytes >= (double)PTRDIFF_MAX)
        return fail(c, "more bytes than an address space has");
    c->x_size = (size_t)bytes;
    c->x = random_values(c->x_size, 2);
    if (!c->x)
        return fail(c, "no memory for the input");
    return row->rank == 2 && strcmp(row->kind, ATL_KIND_MULTI_HEAD) == 0 ? make_more_inputs(c) : 0;
}

/* ---- plan and outputs ---- */

static int create_engine(bench_case *c, const atl_engine_options *options) {
    atl_error error;
    atl_engine_info info = {.size = sizeof info};
    if (atl_engine_create(options, &c->engine, &error) != ATL_OK ||
        atl_engine_get_info(c->engine, &info, &error) != ATL_OK)
        return fail(c, error.message);
    return info.threads == options->threads ? 0 : fail(c, "the system granted fewer threads");
}

int bench_case_plan(bench_case *c, const atl_engine_options *options) {
    atl_error error;
    atl_plan_options plan;
    atl_plan_options_init(&plan);
    plan.reserve_batch = 0; /* the first run makes the workspace, after its size has been looked at */
    plan.key_length = shape_number(c->row, "keys", 0);
    c->info.size = sizeof c->info;
    if (create_engine(c, options))
        return -1;
    if (atl_layer_create(&c->weights.desc, &c->layer, &error) != ATL_OK)
        return fail(c, error.message);
    const double start = machine_now();
    if (atl_plan_create(c->layer, c->engine, c->row->rank, c->row->shape, &plan, &c->plan, &error) != ATL_OK ||
        atl_plan_get_info(c->plan, &c->info, &error) != ATL_OK)
        return fail(c, error.message);
    c->plan_seconds = machine_now() - start;
    if (shape_number(c->row, "map", 0) && !c->info.map_rank)
        return fail(c, "map: this kind has none");
    c->y_size = (size_t)bytes_of(c->row->batch, c->info.output_rank, c->info.output_shape);
    if (shape_number(c->row, "map", 0))
        c->map_size = (size_t)bytes_of(c->row->batch, c->info.map_rank, c->info.map_shape);
    return 0;
}

int bench_case_check_memory(bench_case *c) {
    const double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    const int64_t workspace = atl_plan_workspace_size(c->plan, c->row->batch);
    const double need = (double)c->x_size + (double)c->y_size + (double)c->map_size + 2 * (double)c->key_size +
                        (workspace < 0 ? memory : (double)workspace);
    if (need <= memory / 2)
        return 0;
    snprintf(c->problem, sizeof c->problem, "skipped: needs %.1f GiB, more than half of this machine's %.1f GiB",
             need / 0x1p30, memory / 0x1p30);
    return -1;
}

int bench_case_outputs(bench_case *c) {
    c->y = map_pages(c->y_size);
    if (c->map_size)
        c->map = map_pages(c->map_size);
    if (!c->y || (c->map_size && !c->map))
        return fail(c, "no memory for the output");
    memset(c->y, 1, c->y_size); /* so that its pages are there */
    if (c->map)
        memset(c->map, 1, c->map_size);
    return 0;
}

int bench_case_run(bench_case *c) {
    atl_error error;
    if (atl_run(c->plan, c->row->batch, c->x, c->y, c->map, &c->options, &error) != ATL_OK)
        return fail(c, error.message);
    return 0;
}

void bench_case_free(bench_case *c) {
    atl_plan_release(c->plan);
    atl_layer_release(c->layer);
    atl_engine_release(c->engine);
    unmap_pages(c->x, c->x_size);
    unmap_pages(c->y, c->y_size);
    unmap_pages(c->map, c->map_size);
    unmap_pages(c->key, c->key_size);
    unmap_pages(c->value, c->key_size);
    unmap_pages(c->padding, (size_t)c->options.mask_shape[0]);
    layer_inputs_free(&c->masks);
    weights_free(&c->weights);
    memset(c, 0, sizeof *c);
}
