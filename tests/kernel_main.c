/* SPDX-License-Identifier: Apache-2.0 */
/* kernel-check: the kernel checker as a program of its own, for emulated machines. Prints the ISA it sees; with an
 * argument it fails unless that is the one. Exit status 0 when every variant that runs here gives the bits of the
 * scalar one. */
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "kernel_check.h"

int main(int argc, char **argv) {
    atl_isa best = atl_cpu_best();
    int checked = 0, wrong = 0;
    printf("isa: %s\n", atl_isa_name(best));
    if (argc > 1 && strcmp(argv[1], atl_isa_name(best)) != 0) {
        printf("expected %s\n", argv[1]);
        return 1;
    }
    for (int i = 0; i < atl_kernel_entry_count; i++) {
        const atl_kernel_entry *entry = &atl_kernel_entries[i];
        if (!atl_isa_includes(best, entry->isa))
            continue;
        kernel_report report;
        kernel_check(entry, 1, 0, &report);
        printf("%-34s %6ld cases, digest %016llx, %ld failures%s%s\n", entry->variant, report.cases,
               (unsigned long long)report.digest, report.failures, report.failures ? ": " : "", report.first);
        checked += report.cases > 0;
        wrong += report.failures > 0 || report.cases == 0;
    }
    printf("%d passed, %d failed\n", checked - wrong, wrong);
    return checked == 0 || wrong > 0;
}
