/* SPDX-License-Identifier: Apache-2.0 */
/* machine-probe ISA THREADS BYTES: what this machine can do at the moment, as JSON on one line; the bandwidth for work that
 * reads and writes so many bytes. */
#include <stdio.h>
#include <stdlib.h>

#include "machine.h"

int main(int argc, char **argv) {
    const int threads = argc == 4 ? atoi(argv[2]) : 0;
    double bytes = argc == 4 ? atof(argv[3]) : 0;
    if (threads < 1 || !(bytes > 0)) {
        fprintf(stderr, "usage: machine-probe ISA THREADS BYTES\n");
        return 2;
    }
    const double fma = machine_fma_gflops(argv[1], threads), stream = machine_stream_gbs(threads, &bytes);
    if (fma <= 0 || stream <= 0) {
        fprintf(stderr, "machine-probe: this machine's peak or bandwidth cannot be measured (%s, %d threads)\n",
                argv[1], threads);
        return 1;
    }
    /* Seconds of 1e9 exponentials at 1 GFLOP/s: the multiplications and additions that one counts as. */
    const double flops_per_exp = machine_bound_seconds(argv[1], 0, 1e9, 0, 1, 1);
    printf("{\"fma_gflops\": %.6g, \"stream_gbs\": %.6g, \"stream_bytes\": %.0f, \"flops_per_exp\": %.6g}\n", fma,
           stream, bytes, flops_per_exp);
    return 0;
}
