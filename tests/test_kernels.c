/* SPDX-License-Identifier: Apache-2.0 */
/* Every line of kernels.def that this machine runs, against the scalar variant of its slot; and the list itself. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cpu.h"
#include "kernel_check.h"

/* Criterion wants parameters in memory that it can copy: indices into the manifest. */
ParameterizedTestParameters(kernels, against_scalar) {
    static int lines[256];
    int count = 0;
    for (int i = 0; i < atl_kernel_entry_count; i++)
        if (atl_isa_includes(atl_cpu_best(), atl_kernel_entries[i].isa))
            lines[count++] = i;
    return cr_make_param_array(int, lines, (size_t)count, NULL);
}

ParameterizedTest(int *line, kernels, against_scalar) {
    const atl_kernel_entry *entry = &atl_kernel_entries[*line];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = (uint64_t)now.tv_nsec;
    kernel_report report;
    kernel_check(entry, seed, 1, &report);
    cr_expect(report.cases > 0, "%s: no case ran", entry->variant);
    cr_expect(report.failures == 0, "%s (seed %llu): %ld of %ld cases differ from scalar; first: %s", entry->variant,
              (unsigned long long)seed, report.failures, report.cases, report.first);
}

/* A checker that cannot fail would be worthless: it must see one wrong bit in one element. */
static void off_by_one_bit(const float *x, int64_t n, int64_t rows, int64_t stride, float *out) {
    for (int i = 0; i < atl_kernel_entry_count; i++)
        if (atl_kernel_entries[i].slot == ATL_SLOT_sum && atl_kernel_entries[i].isa == ATL_ISA_SCALAR)
            ((atl_sum_fn *)atl_kernel_entries[i].fn)(x, n, rows, stride, out);
    uint32_t bits;
    memcpy(&bits, &out[rows - 1], sizeof bits);
    bits ^= n == 77;
    memcpy(&out[rows - 1], &bits, sizeof bits);
}

Test(kernels, checker_sees_one_wrong_bit) {
    atl_kernel_entry broken = {ATL_SLOT_sum, ATL_ISA_SCALAR, 0, 0, "broken", (void (*)(void))off_by_one_bit};
    kernel_report report;
    kernel_check(&broken, 1, 1, &report);
    cr_expect(report.failures > 0, "%ld cases, none failed", report.cases);
    cr_expect(strncmp(report.first, "n 77 ", 5) == 0, "the first failure is '%s'", report.first);
}

Test(kernels, every_slot_has_a_variant_on_every_isa) {
    for (int isa = 0; isa < ATL_ISA_COUNT; isa++) {
        if (!atl_isa_includes(atl_cpu_best(), (atl_isa)isa))
            continue;
        atl_kernels table;
        memset(&table, 0, sizeof table);
        atl_kernels_select(&table, (atl_isa)isa);
        for (int slot = 0; slot < ATL_SLOT_COUNT; slot++) {
            const char *variant = atl_kernels_variant(&table, (atl_slot)slot);
            cr_assert_not_null(variant, "%s has none on %s", atl_slot_name((atl_slot)slot), atl_isa_name((atl_isa)isa));
            cr_expect_not_null(strstr(variant, atl_isa_name((atl_isa)isa)), "%s on %s is %s",
                               atl_slot_name((atl_slot)slot), atl_isa_name((atl_isa)isa), variant);
        }
    }
}

/* atl_f32_<slot>[_<mr>x<nr>][_<what>]_<isa> */
Test(kernels, names_follow_the_grammar) {
    for (int i = 0; i < atl_kernel_entry_count; i++) {
        const atl_kernel_entry *entry = &atl_kernel_entries[i];
        char start[64], end[32];
        int n = snprintf(start, sizeof start, "atl_f32_%s", atl_slot_name(entry->slot));
        if (entry->mr)
            snprintf(start + n, sizeof start - (size_t)n, "_%dx%d", entry->mr, entry->nr);
        snprintf(end, sizeof end, "_%s", atl_isa_name(entry->isa));
        cr_expect(strncmp(entry->variant, start, strlen(start)) == 0, "%s does not start with %s", entry->variant,
                  start);
        cr_expect_str_eq(entry->variant + strlen(entry->variant) - strlen(end), end, "%s", entry->variant);
    }
}

/* Lane panels must not straddle panel blocks, and merge and finish must take the lanes of attend. Convolutions read no
 * panels. */
Test(kernels, tiles_divide_blocks) {
    for (int i = 0; i < atl_kernel_entry_count; i++)
        if (atl_kernel_entries[i].nr && atl_kernel_entries[i].slot != ATL_SLOT_conv)
            cr_expect(ATL_BLOCK % atl_kernel_entries[i].nr == 0, "%s", atl_kernel_entries[i].variant);
}
