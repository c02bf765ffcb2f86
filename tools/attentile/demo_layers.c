/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "demo.h"
#include "machine.h"

#define MIB (1024.0 * 1024.0)

/* A layer on the demo's engine, planned for size x size pixels. */
typedef struct planned {
    atl_layer *layer;
    atl_plan *plan;
    atl_plan_info info;
} planned;

static void planned_free(planned *p) {
    atl_plan_release(p->plan);
    atl_layer_release(p->layer);
}

static int plan_layer(const demo *demo, const atl_layer_desc *desc, int size, planned *p) {
    atl_error error;
    const int64_t shape[] = {DEMO_CHANNELS, size, size};
    *p = (planned){.info.size = sizeof p->info};
    if (atl_layer_create(desc, &p->layer, &error) == ATL_OK &&
        atl_plan_create(p->layer, demo->engine, 3, shape, NULL, &p->plan, &error) == ATL_OK &&
        atl_plan_get_info(p->plan, &p->info, &error) == ATL_OK)
        return DONE;
    planned_free(p);
    return failed("%s", error.message);
}

/* Runs at least `least` times, and on up to `most` while a quarter of a second is not over; the shortest time. */
static int time_runs(const planned *p, const demo_sample *sample, float *y, int least, int most, double *shortest) {
    atl_error error;
    const double begin = machine_now();
    for (int i = 0; i < least || (i < most && machine_now() - begin < 0.25); i++) {
        const double start = machine_now();
        if (atl_run(p->plan, 1, sample->x, y, NULL, NULL, &error) != ATL_OK)
            return failed("%s", error.message);
        const double seconds = machine_now() - start;
        *shortest = i == 0 || seconds < *shortest ? seconds : *shortest;
    }
    return DONE;
}

static int time_size(demo *demo, int size, double *seconds) {
    demo_sample sample;
    planned p;
    if (demo_sample_make(&demo->source, size, &sample) != DONE)
        return FAILED;
    int code = FAILED;
    float *y = malloc((size_t)sample.positions * DEMO_CHANNELS * sizeof *y);
    if (!y) {
        failed("out of memory");
    } else if (plan_layer(demo, &demo->weights->attention, size, &p) == DONE) {
        code = time_runs(&p, &sample, y, 2, 2, seconds);
        planned_free(&p);
    }
    free(y);
    demo_sample_free(&sample);
    return code;
}

int demo_estimate(demo *demo) {
    /* Larger and larger samples until the time is no longer that of starting. The work grows with the fourth power. */
    for (int tried = 32; tried <= 256; tried *= 2) {
        double time = 0;
        if (time_size(demo, tried, &time) != DONE)
            return FAILED;
        const double ratio = (double)demo->size / tried;
        demo->estimate = time * ratio * ratio * ratio * ratio;
        if (time > 0.02)
            break;
    }
    return DONE;
}

/* The rate that bounds the layer, computing or memory, and how near to the bound the time is. */
static void print_speed(const demo *demo, const planned *p, double seconds) {
    const atl_plan_info *info = &p->info;
    const double gflops = info->flops / seconds * 1e-9, gbs = info->bytes / seconds * 1e-9;
    const double bound = machine_bound_seconds(demo->machine.isa, info->flops, info->exps, info->bytes,
                                               demo->fma_gflops, demo->copy_gbs);
    printf("  time      %.4g ms\n", seconds * 1e3);
    if (bound <= 0)
        printf("  speed     %.4g GFLOP/s, %.4g GB/s\n", gflops, gbs);
    else if (bound > info->bytes / (demo->copy_gbs * 1e9))
        printf("  speed     %.4g GFLOP/s, %.1f %% of the multiply-add peak\n", gflops, 100 * gflops / demo->fma_gflops);
    else
        printf("  speed     %.4g GFLOP/s, %.4g GB/s: %.1f %% of copying\n", gflops, gbs, 100 * gbs / demo->copy_gbs);
    if (bound > seconds)
        printf("  bound     none: the data stay in the cache, which is faster than the memory that was measured\n");
    else if (bound > 0)
        printf("  bound     %.1f %% of what this machine's speed allows (%.4g ms)\n", 100 * bound / seconds,
               bound * 1e3);
}

static void print_memory(const demo *demo, int64_t peak, int energy_matrix) {
    const double n = (double)demo->sample.positions, in_and_out = 2.0 * DEMO_CHANNELS * sizeof(float) * n;
    printf("  memory    peak %.1f MiB for the process, %.1f MiB over input and output", (double)peak / MIB,
           ((double)peak - in_and_out) / MIB);
    if (energy_matrix && n * n * sizeof(float) < 1024 * MIB)
        printf(" (the N x N matrix would take %.4g MiB)", n * n * sizeof(float) / MIB);
    else if (energy_matrix)
        printf(" (the N x N matrix would take %.4g GiB)", n * n * sizeof(float) / (1024 * MIB));
    printf("\n");
}

/* Prints the share of the error bound; more than all of it is remembered as a fault. */
static int print_error(demo *demo, double share, const char *what) {
    if (share < 0)
        return failed("out of memory");
    printf("  error     %.3g of what float32 allows, against float64 (%s)\n", share, what);
    if (!(share <= 1))
        demo->wrong = 1;
    return DONE;
}

static float *gather(const demo *demo) {
    float *values = malloc(sizeof(float) * DEMO_CHANNELS * DEMO_ROWS);
    for (int c = 0; values && c < DEMO_CHANNELS; c++)
        for (int r = 0; r < DEMO_ROWS; r++)
            values[c * DEMO_ROWS + r] = demo->y[c * demo->sample.positions + demo->rows[r]];
    return values;
}

/* Runs with the map of the chosen rows, and holds outputs and map against the oracle; `timed` are the outputs of the
 * run without a map. */
static int check_attention(demo *demo, const planned *p, const float *timed) {
    atl_error error;
    atl_run_options options;
    atl_run_options_init(&options);
    options.map_rows = demo->rows;
    options.map_row_count = DEMO_ROWS;
    demo->map = malloc(sizeof(float) * DEMO_ROWS * (size_t)demo->sample.positions);
    if (!demo->map)
        return failed("out of memory");
    progress("attention: once more, with the map of %d pixels", DEMO_ROWS);
    if (atl_run(p->plan, 1, demo->sample.x, demo->y, demo->map, &options, &error) != ATL_OK)
        return failed("%s", error.message);
    float *mapped = gather(demo);
    if (!mapped)
        return failed("out of memory");
    progress("attention: the float64 oracle at %d pixels", DEMO_ROWS);
    const float *got[] = {timed, mapped};
    const double share = demo_error_share(demo, &demo->weights->attention, demo->rows, DEMO_ROWS, got, 2, demo->map);
    progress_clear();
    free(mapped);
    return print_error(demo, share, "all channels of 24 pixels, without and with the map, and their map rows");
}

static void measure_machine(demo *demo) {
    progress("measuring this machine");
    demo->fma_gflops = machine_fma_gflops(demo->machine.isa, demo->machine.threads);
    demo->copy_gbs = machine_copy_gbs(demo->machine.threads);
    progress_clear();
    if (demo->fma_gflops > 0 && demo->copy_gbs > 0)
        printf("machine: multiply-add peak %.4g GFLOP/s (%s, %d threads), copying %.4g GB/s, measured now\n",
               demo->fma_gflops, demo->machine.isa, demo->machine.threads, demo->copy_gbs);
    else
        warning("the machine's speed could not be measured");
}

int demo_attention(demo *demo) {
    planned p;
    double seconds = 0;
    machine_reset_peak();
    if (plan_layer(demo, &demo->weights->attention, demo->sample.size, &p) != DONE)
        return FAILED;
    progress("attention over %" PRId64 " pixels, about %.0f s", demo->sample.positions, 3 * demo->estimate);
    int code = time_runs(&p, &demo->sample, demo->y, 3 * demo->estimate <= DEMO_PATIENCE ? 2 : 1, 5, &seconds);
    progress_clear();
    const int64_t peak = machine_peak_bytes();
    float *timed = code == DONE ? gather(demo) : NULL;
    if (code == DONE && !timed)
        code = failed("out of memory");
    if (code == DONE) {
        measure_machine(demo);
        printf("\nself-attention-spatial: each of %" PRId64 " pixels attends to all of them\n"
               "  shape     x and y [1, %d, %d, %d], head dimension %d\n",
               demo->sample.positions, DEMO_CHANNELS, demo->sample.size, demo->sample.size, DEMO_HEAD_DIM);
        print_speed(demo, &p, seconds);
        print_memory(demo, peak, 1);
        code = check_attention(demo, &p, timed);
    }
    free(timed);
    planned_free(&p);
    return code;
}

int demo_se(demo *demo) {
    planned p;
    double seconds = 0;
    machine_reset_peak();
    if (plan_layer(demo, &demo->weights->se, demo->sample.size, &p) != DONE)
        return FAILED;
    int code = time_runs(&p, &demo->sample, demo->y, 5, 50, &seconds);
    const int64_t peak = machine_peak_bytes();
    if (code == DONE) {
        printf("\nse: the same channels, each scaled by what all of them show\n"
               "  shape     x and y [1, %d, %d, %d], %d hidden\n",
               DEMO_CHANNELS, demo->sample.size, demo->sample.size, DEMO_HIDDEN);
        print_speed(demo, &p, seconds);
        print_memory(demo, peak, 0);
        const float *got[] = {demo->y};
        const double share = demo_error_share(demo, &demo->weights->se, NULL, 0, got, 1, NULL);
        code = print_error(demo, share, "all outputs");
    }
    planned_free(&p);
    return code;
}
