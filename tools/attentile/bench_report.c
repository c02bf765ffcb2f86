/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what was measured, a line at a time. */
#include <stdio.h>

#include "bench.h"

void bench_print_head(const bench_job *job) {
    printf("attentile %s, %s, %s\n\n", atl_version(), job->machine.cpu, job->machine.isa);
    printf("%-26s %7s %10s %9s %8s %7s  %-6s %9s %9s\n", "row", "threads", "ms", "GFLOP/s", "GB/s", "share", "bound",
           "peak MiB", "plan ms");
}

void bench_print_line(const bench_line *line) {
    printf("%-26s %7d ", line->row->name, line->threads);
    if (line->problem && line->problem[0]) {
        print_text(line->problem);
        putchar('\n');
    } else {
        char peak[32] = "?";
        if (line->peak_mib >= 0)
            snprintf(peak, sizeof peak, "%.1f", line->peak_mib);
        printf("%10.4g %9.4g %8.4g %5.1f %%  %-6s %9s %9.3g\n", line->seconds * 1e3, line->gflops, line->gbs,
               100 * line->bound_share, line->memory_bound ? "memory" : "FMA", peak, line->plan_seconds * 1e3);
    }
    fflush(stdout); /* as it is done, also into a file or a pipe */
}

void bench_print_foot(void) {
    printf("\nms: the shortest repetition; share: of the bound, which is multiply-adds (FMA) or memory, measured with "
           "buffers\n"
           "of the row's size; peak: memory over inputs and outputs; plan: making the layer's first plan\n");
}
