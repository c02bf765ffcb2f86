/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every layer of shapes/KIND.txt through the public interface: NAME/ISA/tTHREADS, with one thread and with all, with
 * the best instruction set and, beside AVX-512, with AVX2. The output is preallocated, the input warm. The counters:
 *
 *   GFLOP/s, GB/s   the layer's least work (atl_plan_info) by the time
 *   peak_share      max(FLOPs / multiply-add peak, bytes / copy bandwidth) / time
 *   bound_share     the same with the exponentials' instructions, as `attentile run --json` has it in bound_ms
 *   peak_MiB        the process's peak resident memory while it ran, input and output included
 *
 * What stays in the caches may exceed the copy bandwidth, and so a share of 1.
 */
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "attentile/attentile.h"
#include "fill.h"
#include "machine.h"
#include "shapes.h"
#include "shim.h"
#include "weights.h"

enum { ROWS_MAX = 512, ISAS = 2, TEAMS = 2 };

/* An instruction set and a number of threads, and what the machine reaches with them. It is measured before every row
 * and the best so far counts, as disturbance only ever lowers it. */
typedef struct variant {
    char isa[16];
    int threads;
    double fma_gflops, copy_gbs;
} variant;

/* The plan that is loaded: one at a time. */
typedef struct loaded {
    const void *owner; /* the benchmark that it is for; NULL = none */
    atl_engine *engine;
    atl_plan *plan;
    atl_plan_info info;
    float *x, *y;
    size_t x_size, y_size; /* bytes */
    char problem[768];
    int failed; /* some benchmark could not run for another reason than its size */
} loaded;

typedef struct layer_bench {
    const shape_row *row;
    variant *variant;
    loaded *loaded; /* shared by all */
} layer_bench;

/* ---- loading ---- */

static void unload(loaded *l) {
    if (l->x)
        munmap(l->x, l->x_size);
    if (l->y)
        munmap(l->y, l->y_size);
    atl_plan_release(l->plan);
    atl_engine_release(l->engine);
    malloc_trim(0); /* so that the next one's memory is its own */
    *l = (loaded){.failed = l->failed};
}

static int fail(loaded *l, const char *what) {
    snprintf(l->problem, sizeof l->problem, "%s", what);
    l->failed = 1;
    return -1;
}

static float *map_pages(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static int create_engine(loaded *l, const layer_bench *b) {
    atl_engine_options options;
    atl_engine_info info = {.size = sizeof info};
    atl_error error;
    atl_engine_options_init(&options);
    options.threads = b->variant->threads;
    options.max_isa = b->variant->isa;
    if (atl_engine_create(&options, &l->engine, &error) != ATL_OK ||
        atl_engine_get_info(l->engine, &info, &error) != ATL_OK)
        return fail(l, error.message);
    return info.threads == b->variant->threads ? 0 : fail(l, "the system granted fewer threads");
}

static int create_plan(loaded *l, const layer_bench *b) {
    atl_plan_options options;
    atl_error error;
    weights w;
    if (weights_make(&w, b->row, 1))
        return fail(l, "no weights for this kind, or no memory");
    atl_layer *layer = NULL;
    atl_plan_options_init(&options);
    options.reserve_batch = 0; /* the first run makes the workspace, after its size has been looked at */
    l->info.size = sizeof l->info;
    atl_status status = atl_layer_create(&w.desc, &layer, &error);
    weights_free(&w);
    if (status == ATL_OK)
        status = atl_plan_create(layer, l->engine, b->row->rank, b->row->shape, &options, &l->plan, &error);
    if (status == ATL_OK)
        status = atl_plan_get_info(l->plan, &l->info, &error);
    atl_layer_release(layer);
    return status == ATL_OK ? 0 : fail(l, error.message);
}

static double batch_bytes(int64_t batch, int rank, const int64_t *shape) {
    double bytes = (double)batch * sizeof(float);
    for (int i = 0; i < rank; i++)
        bytes *= (double)shape[i];
    return bytes;
}

/* Refuses what needs more than half of the memory. */
static int check_memory(loaded *l, const layer_bench *b) {
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double x = batch_bytes(b->row->batch, l->info.rank, l->info.shape);
    double y = batch_bytes(b->row->batch, l->info.output_rank, l->info.output_shape);
    int64_t workspace = atl_plan_workspace_size(l->plan, b->row->batch);
    double need = x + y + (workspace < 0 ? INFINITY : (double)workspace);
    if (need <= memory / 2) {
        l->x_size = (size_t)x;
        l->y_size = (size_t)y;
        return 0;
    }
    snprintf(l->problem, sizeof l->problem, "skipped: needs %.1f GiB, more than half of this machine's %.1f GiB",
             need / 0x1p30, memory / 0x1p30);
    return -1;
}

/* Fills x, and runs once: touches y, makes the workspace, wakes the team. */
static int warm_up(loaded *l, const layer_bench *b) {
    atl_error error;
    l->x = map_pages(l->x_size);
    l->y = map_pages(l->y_size);
    if (!l->x || !l->y)
        return fail(l, "no memory for input and output");
    fill(l->x, (int64_t)(l->x_size / sizeof(float)), FILL_RANDOM, 1.0f, 2);
    return atl_run(l->plan, b->row->batch, l->x, l->y, NULL, NULL, &error) == ATL_OK ? 0 : fail(l, error.message);
}

static int measure_machine(loaded *l, variant *v) {
    double bytes = INFINITY, fma = machine_fma_gflops(v->isa, v->threads);
    double copy = machine_stream_gbs(v->threads, &bytes);
    v->fma_gflops = fma > v->fma_gflops ? fma : v->fma_gflops;
    v->copy_gbs = copy > v->copy_gbs ? copy : v->copy_gbs;
    return fma > 0 && copy > 0 ? 0 : fail(l, "this machine's peak or bandwidth cannot be measured");
}

/* 0, or -1 with the reason in `problem`, which stays until another benchmark is loaded. */
static int load(loaded *l, const layer_bench *b) {
    unload(l);
    l->owner = b;
    return measure_machine(l, b->variant) || create_engine(l, b) || create_plan(l, b) || check_memory(l, b) ||
                   warm_up(l, b)
               ? -1
               : 0;
}

/* ---- the benchmark ---- */

static void report(bench_state *state, const layer_bench *b, double peak_bytes) {
    const loaded *l = b->loaded;
    const variant *v = b->variant;
    double seconds = bench_seconds(state), batch = (double)b->row->batch;
    double flops = l->info.flops * batch, exps = l->info.exps * batch, bytes = l->info.bytes * batch;
    double peak = machine_bound_seconds(v->isa, flops, 0, bytes, v->fma_gflops, v->copy_gbs);
    double bound = machine_bound_seconds(v->isa, flops, exps, bytes, v->fma_gflops, v->copy_gbs);
    bench_counter(state, "GFLOP/s", flops * 1e-9 / seconds);
    bench_counter(state, "GB/s", bytes * 1e-9 / seconds);
    bench_counter(state, "peak_share", peak / seconds);
    bench_counter(state, "bound_share", bound / seconds);
    bench_counter(state, "peak_MiB", peak_bytes / 0x1p20);
    char label[128];
    snprintf(label, sizeof label, "of %.1f GFLOP/s, %.1f GB/s", v->fma_gflops, v->copy_gbs);
    bench_label(state, label);
}

static void bench_layer(bench_state *state, void *context) {
    const layer_bench *b = context;
    loaded *l = b->loaded;
    if ((l->owner != b && load(l, b)) || l->problem[0]) {
        bench_skip(state, l->problem);
        return;
    }
    atl_error error;
    machine_reset_peak();
    while (bench_next(state)) {
        if (atl_run(l->plan, b->row->batch, l->x, l->y, NULL, NULL, &error) != ATL_OK) {
            fail(l, error.message);
            bench_skip(state, l->problem);
            return;
        }
    }
    report(state, b, (double)machine_peak_bytes());
}

/* ---- the list ---- */

/* Reads the rows of all kinds; returns their number, -1 when a list is missing or wrong. */
static int read_rows(shape_row rows[ROWS_MAX]) {
    int count = 0;
    const char *kind;
    for (int i = 0; (kind = atl_kind_name(i)); i++) {
        char path[4096];
        int line;
        snprintf(path, sizeof path, "%s/%s.txt", SHAPES_DIR, kind);
        int added = shapes_read(path, rows + count, ROWS_MAX - count, &line);
        if (added <= 0) {
            fprintf(stderr, "bench-layers: %s:%d: no rows, or a malformed one\n", path, line);
            return -1;
        }
        count += added;
    }
    return count;
}

/* The best instruction set and all threads, as defaults and environment have them, and what is below. A variant without
 * threads is none. */
static int find_variants(variant variants[ISAS][TEAMS]) {
    atl_engine *engine = NULL;
    atl_engine_info info = {.size = sizeof info};
    atl_error error;
    if (atl_engine_create(NULL, &engine, &error) != ATL_OK || atl_engine_get_info(engine, &info, &error) != ATL_OK) {
        fprintf(stderr, "bench-layers: %s\n", error.message);
        atl_engine_release(engine);
        return -1;
    }
    const char *isas[ISAS] = {info.isa, strcmp(info.isa, "avx512") == 0 ? "avx2" : NULL};
    const int threads[TEAMS] = {1, info.threads > 1 ? info.threads : 0};
    for (int i = 0; i < ISAS && isas[i]; i++)
        for (int t = 0; t < TEAMS; t++) {
            snprintf(variants[i][t].isa, sizeof variants[i][t].isa, "%s", isas[i]);
            variants[i][t].threads = threads[t];
        }
    atl_engine_release(engine);
    return 0;
}

static int add_row(const shape_row *row, variant variants[ISAS][TEAMS], loaded *l, layer_bench *benches) {
    int count = 0;
    for (int i = 0; i < ISAS; i++)
        for (int t = 0; t < TEAMS; t++) {
            variant *v = &variants[i][t];
            if (v->threads == 0)
                continue;
            char name[192];
            snprintf(name, sizeof name, "%s/%s/t%d", row->name, v->isa, v->threads);
            benches[count] = (layer_bench){row, v, l};
            bench_add(name, bench_layer, &benches[count++]);
        }
    return count;
}

int main(int argc, char **argv) {
    static shape_row rows[ROWS_MAX];
    static layer_bench benches[ROWS_MAX * ISAS * TEAMS];
    static variant variants[ISAS][TEAMS];
    static loaded shared;
    if (bench_init(argc, argv))
        return 2;
    int row_count = read_rows(rows), count = 0;
    if (row_count < 0 || find_variants(variants))
        return 1;
    for (int i = 0; i < row_count; i++)
        count += add_row(&rows[i], variants, &shared, benches + count);
    int ran = bench_run();
    unload(&shared);
    return ran == 0 || shared.failed;
}
