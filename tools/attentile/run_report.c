/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "json.h"
#include "machine.h"
#include "run.h"

#define MIB (1024.0 * 1024.0)

static json_t *shapes_json(const run_job *job) {
    json_t *shapes = json_object();
    json_put(shapes, "x", json_shape(job->x.rank, job->x.shape));
    json_put(shapes, "y", json_shape(job->y.rank, job->y.shape));
    if (job->map.data)
        json_put(shapes, "map", json_shape(job->map.rank, job->map.shape));
    return shapes;
}

static int report_json(const run_job *job, double shortest, double median) {
    const atl_plan_info *plan = &job->plan_info;
    const char *isa = job->engine_info.isa;
    const double batch = (double)job->batch, flops = plan->flops * batch;
    const int64_t peak = machine_peak_bytes(); /* before the measurements below need memory of their own */
    progress("measuring this machine");
    const double fma = machine_fma_gflops(isa, job->engine_info.threads);
    double bytes = plan->bytes * batch;
    const double stream = machine_stream_gbs(job->engine_info.threads, &bytes);
    progress_clear();
    const double bound = machine_bound_seconds(isa, flops, plan->exps * batch, plan->bytes * batch, fma, stream);
    json_t *root = json_object();
    json_put(root, "layer", json_string(atl_layer_kind(job->layer)));
    json_put(root, "shapes", shapes_json(job));
    json_put(root, "isa", json_string(isa));
    json_put(root, "threads", json_integer(job->engine_info.threads));
    json_put(root, "runs", json_integer(job->runs));
    json_put(root, "min_ms", json_real(shortest * 1e3));
    json_put(root, "median_ms", json_real(median * 1e3));
    json_put(root, "gflops", json_real(flops / shortest * 1e-9));
    json_put(root, "bound_ms", json_known(bound * 1e3));
    json_put(root, "fma_gflops", json_known(fma));
    json_put(root, "stream_gbs", json_known(stream));
    json_put(root, "peak_mib", json_real((double)peak / MIB));
    return json_print(root);
}

int run_report(const run_job *job) {
    const double median = machine_median(job->seconds, job->runs); /* sorts */
    const double shortest = job->seconds[0] > 0 ? job->seconds[0] : 1e-9;
    if (argument_value(job->arguments, RUN_JSON))
        return report_json(job, shortest, median);
    if (job->repeat > 0)
        printf("%s: %d runs, min %.6g ms, median %.6g ms\n", atl_layer_kind(job->layer), job->runs, shortest * 1e3,
               median * 1e3);
    return DONE;
}
