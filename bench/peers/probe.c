/* SPDX-License-Identifier: Apache-2.0 */
/* machine-probe ISA THREADS: what this machine can do at the moment, as JSON on one line. */
#include <stdio.h>
#include <stdlib.h>

#include "machine.h"

int main(int argc, char **argv) {
    const int threads = argc == 3 ? atoi(argv[2]) : 0;
    if (threads < 1) {
        fprintf(stderr, "usage: machine-probe ISA THREADS\n");
        return 2;
    }
    const double fma = machine_fma_gflops(argv[1], threads), stream = machine_copy_gbs(threads);
    if (fma <= 0 || stream <= 0) {
        fprintf(stderr, "machine-probe: this machine's peak or bandwidth cannot be measured (%s, %d threads)\n", argv[1],
                threads);
        return 1;
    }
    /* Seconds of 1e9 exponentials at 1 GFLOP/s: the multiplications and additions that one counts as. */
    const double flops_per_exp = machine_bound_seconds(argv[1], 0, 1e9, 0, 1, 1);
    printf("{\"fma_gflops\": %.6g, \"stream_gbs\": %.6g, \"flops_per_exp\": %.6g}\n", fma, stream, flops_per_exp);
    return 0;
}
