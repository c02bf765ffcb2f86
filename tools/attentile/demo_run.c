/* SPDX-License-Identifier: Apache-2.0 */
/* One layer on the picture: planned, timed, checked. */
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"
#include "machine.h"

static int64_t values_of(int rank, const int64_t *shape) {
    int64_t values = 1;
    for (int i = 0; i < rank; i++)
        values *= shape[i];
    return values;
}

/* Stages hand out their tasks in order, so that a task tells how far its stage is. Threads that come while one prints go on. */
static void show_task(void *host, const atl_trace_event *event) {
    static atomic_flag printing = ATOMIC_FLAG_INIT;
    static double last;
    const demo_run *run = host;
    if ((double)event->nanoseconds * (double)event->tasks < 1e9 || atomic_flag_test_and_set(&printing))
        return; /* nothing to wait for */
    const double now = machine_now();
    if (now - last > 0.1) {
        progress_bar(run->done, "%s: %.0f %% of a run", run->task,
                     100 * (double)(event->task + 1) / (double)event->tasks);
        last = now;
    }
    atomic_flag_clear(&printing);
}

int demo_run_prepare(const demo *demo, demo_run *r) {
    atl_error error;
    atl_engine_info info;
    atl_engine_options options;
    atl_engine_options_init(&options);
    options.threads = demo->threads;
    if (r->task && progress_wanted()) {
        options.trace = show_task;
        options.trace_host = r;
    }
    r->info.size = sizeof r->info;
    const int code = engine_open_with(&options, &r->engine, &info);
    if (code != DONE)
        return code;
    if (atl_layer_create(r->desc, &r->layer, &error) != ATL_OK ||
        atl_plan_create(r->layer, r->engine, r->rank, r->shape, NULL, &r->plan, &error) != ATL_OK ||
        atl_plan_get_info(r->plan, &r->info, &error) != ATL_OK)
        return failed("%s", error.message);
    r->y_values = values_of(r->info.output_rank, r->info.output_shape);
    r->y = aligned_alloc(64, ((size_t)r->y_values * sizeof(float) + 63) / 64 * 64);
    return r->y ? DONE : failed("out of memory");
}

/* The shortest of two runs or more, of many where they are short, of one where it takes long. */
int demo_run_time(const demo *demo, const demo_run *r, double *shortest) {
    atl_error error;
    const double begin = machine_now();
    for (int i = 0; i < 50; i++) {
        const double spent = machine_now() - begin;
        if ((i >= 2 && spent > 0.25) || (i == 1 && spent > (double)demo->patience / 10))
            break;
        const double start = machine_now();
        if (atl_run(r->plan, 1, r->x, r->y, NULL, NULL, &error) != ATL_OK)
            return failed("%s", error.message);
        const double seconds = machine_now() - start;
        *shortest = i == 0 || seconds < *shortest ? seconds : *shortest;
    }
    return DONE;
}

int demo_run_measure(const demo *demo, demo_run *r, demo_line *line) {
    malloc_trim(0); /* what others have freed does not count as there */
    machine_reset_peak();
    const int64_t before = machine_peak_bytes();
    int code = demo_run_prepare(demo, r);
    if (code == DONE)
        code = demo_run_time(demo, r, &line->seconds);
    const int64_t over = machine_peak_bytes() - before - r->y_values * (int64_t)sizeof(float);
    line->memory = before > 0 && over > 0 ? over : -1;
    line->rank = r->rank;
    memcpy(line->shape, r->shape, sizeof line->shape);
    line->flops = r->info.flops;
    line->bound = machine_bound_seconds(demo->machine.isa, r->info.flops, r->info.exps, r->info.bytes, demo->fma_gflops,
                                        demo->stream_gbs);
    return code;
}

/* The outputs at some positions. */
static float *gather(const demo_run *r, int64_t channels, const int64_t *rows) {
    const int64_t positions = r->y_values / channels;
    float *values = malloc(sizeof(float) * (size_t)channels * DEMO_ROWS);
    for (int64_t c = 0; values && c < channels; c++)
        for (int i = 0; i < DEMO_ROWS; i++)
            values[r->tokens ? i * channels + c : c * DEMO_ROWS + i] =
                r->y[r->tokens ? rows[i] * channels + c : c * positions + rows[i]];
    return values;
}

double demo_run_error_share(const demo_run *r, const int64_t *rows, const float *map) {
    demo_result result = {
        .desc = r->desc, .rank = r->rank, .shape = r->shape, .x = r->x, .y = r->y, .y_values = r->y_values};
    if (!rows)
        return demo_error_share(&result);
    const int64_t channels = r->info.output_shape[r->tokens ? r->info.output_rank - 1 : 0];
    float *values = gather(r, channels, rows);
    result.rows = rows;
    result.count = DEMO_ROWS;
    result.y = values;
    result.y_values = DEMO_ROWS * channels;
    result.map = map;
    result.map_values = map ? DEMO_ROWS * r->info.map_shape[r->info.map_rank - 1] : 0;
    const double share = values ? demo_error_share(&result) : -1;
    free(values);
    return share;
}

void demo_run_free(demo_run *r) {
    atl_plan_release(r->plan);
    atl_layer_release(r->layer);
    atl_engine_release(r->engine);
    free(r->y);
}
