/* SPDX-License-Identifier: Apache-2.0 */
/* The checkers of `attentile check` themselves: they must see a wrong bit, a result out of bounds, an access outside an
 * array, and that nothing ran. Runs and the list of shapes go through this file (--wrap). */
#include <criterion/criterion.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "kernel_check.h"
#include "layer_check.h"
#include "shape_list.h"

/* ---------------------------------------------------------------- layers */

static int corrupted_batch;          /* runs of this many samples get one wrong bit, in the last */
static float corrupted_by;           /* added to an element of every run of one sample */
static const char *only_shape = "*"; /* "*" = the whole list, "" = an empty one */

atl_status __real_atl_run_samples(const atl_plan *plan, int64_t batch, const atl_sample *samples, size_t sample_size,
                                  const atl_run_options *options, atl_error *error);
atl_status __wrap_atl_run_samples(const atl_plan *plan, int64_t batch, const atl_sample *samples, size_t sample_size,
                                  const atl_run_options *options, atl_error *error);
atl_status __wrap_atl_run_samples(const atl_plan *plan, int64_t batch, const atl_sample *samples, size_t sample_size,
                                  const atl_run_options *options, atl_error *error) {
    atl_status status = __real_atl_run_samples(plan, batch, samples, sample_size, options, error);
    if (status == ATL_OK && batch == corrupted_batch) {
        uint32_t bits;
        memcpy(&bits, samples[batch - 1].y, sizeof bits);
        bits ^= 1;
        memcpy(samples[batch - 1].y, &bits, sizeof bits);
    }
    if (status == ATL_OK && batch == 1)
        samples[0].y[0] += corrupted_by;
    return status;
}

int __real_shape_list_row(int index, shape_row *row);
int __wrap_shape_list_row(int index, shape_row *row);
int __wrap_shape_list_row(int index, shape_row *row) {
    if (strcmp(only_shape, "*") == 0)
        return __real_shape_list_row(index, row);
    return index == 0 ? shape_parse(only_shape, row, NULL) : 0;
}

static layer_report check_scalar(const char *kind) {
    static const char *const isas[] = {"scalar", NULL};
    layer_engines engines;
    layer_report report;
    atl_error error;
    cr_assert_eq(layer_engines_open(isas, &engines, &error), ATL_OK, "%s", error.message);
    cr_assert_eq(engines.count, LAYER_THREADS);
    layer_check(&engines, kind, 0, &report);
    layer_engines_close(&engines);
    return report;
}

Test(check, a_right_layer_passes) {
    only_shape = "se one 1 3x5 hidden=2";
    layer_report report = check_scalar("se");
    cr_expect_eq(report.shapes, 1);
    cr_expect_eq(report.failed_shapes, 0, "%s", report.first);
    /* ten patterns, one sample against the oracle; in three of them two samples of two threads and three of three against it */
    cr_expect_eq(report.comparisons, 10 + 3 * (2 + 3), "%ld comparisons", report.comparisons);
    cr_expect(report.share > 0 && report.share <= 1, "share %g", report.share);
    cr_expect(report.where[0] && !report.first[0], "\"%s\", \"%s\"", report.where, report.first);
}

Test(check, one_wrong_bit_in_one_sample_fails) {
    only_shape = "se one 1 3x5 hidden=2";
    corrupted_batch = 3;
    layer_report report = check_scalar("se");
    cr_expect_eq(report.failed_shapes, 1);
    cr_expect(strstr(report.first, "one, random: y[0] is ") && strstr(report.first, "3 threads in sample 2"), "\"%s\"",
              report.first);
}

Test(check, a_result_out_of_bounds_fails) {
    only_shape = "se one 1 3x5 hidden=2";
    corrupted_by = 0.01f;
    layer_report report = check_scalar("se");
    cr_expect_eq(report.failed_shapes, 1);
    cr_expect_gt(report.share, 1);
    cr_expect(strstr(report.first, "expected"), "\"%s\"", report.first);
}

Test(check, a_nan_that_is_not_expected_fails) {
    only_shape = "self-attention-spatial one 1 3x5 d=2";
    corrupted_by = NAN;
    layer_report report = check_scalar("self-attention-spatial");
    cr_expect_eq(report.failed_shapes, 1);
    cr_expect_eq(isinf(report.share), 1, "share %g", report.share);
}

Test(check, what_cannot_run_fails) {
    static const struct {
        const char *line, *kind, *reason;
    } cases[] = {
        {"", "se", "no shape of this kind"},
        {"se one 1 3x5 hidden=2", "cbam-channel", "no shape of this kind"},
        {"se one 1 3xx5", "se", "malformed"},
        {"wavelet one 1 3x5", "wavelet", "no weights"},
        {"cbam-spatial one 1 3x5 k=3", "cbam-spatial", "expected"}, /* two axes of three */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        only_shape = cases[i].line;
        layer_report report = check_scalar(cases[i].kind);
        cr_expect_gt(report.failed_shapes, 0, "%s", cases[i].line);
        cr_expect(strstr(report.first, cases[i].reason), "\"%s\": \"%s\"", cases[i].line, report.first);
    }
}

/* Every kind of the build has shapes in the list, small ones among them. */
Test(check, every_kind_is_in_the_list) {
    static const char *const isas[] = {"scalar", NULL};
    layer_engines engines;
    atl_error error;
    cr_assert_eq(layer_engines_open(isas, &engines, &error), ATL_OK, "%s", error.message);
    for (int i = 0; atl_kind_name(i); i++) {
        layer_report report;
        layer_check(&engines, atl_kind_name(i), 1, &report);
        cr_expect_geq(report.shapes, 3, "%s: %ld small shapes", atl_kind_name(i), report.shapes);
        cr_expect_eq(report.failed_shapes, 0, "%s: %s", atl_kind_name(i), report.first);
    }
    layer_engines_close(&engines);
}

/* ---------------------------------------------------------------- kernels */

static sigjmp_buf out_of_fault;

static void leave(int number) {
    siglongjmp(out_of_fault, number);
}

static void sum_past_the_end(const float *x, int64_t n, int64_t rows, int64_t stride, float *out) {
    atl_f32_sum_scalar(x, n, rows, stride, out);
    *(volatile float *)&out[rows - 1] += 0 * (float)(*(volatile const int32_t *)&x[(rows - 1) * stride + n]);
}

static void sum_before_the_start(const float *x, int64_t n, int64_t rows, int64_t stride, float *out) {
    atl_f32_sum_scalar(x, n, rows, stride, out);
    *(volatile float *)&out[0] += 0 * (float)(*(volatile const int32_t *)&x[-1]);
}

static void sum_that_writes_past(const float *x, int64_t n, int64_t rows, int64_t stride, float *out) {
    atl_f32_sum_scalar(x, n, rows, stride, out);
    *(volatile float *)&out[rows] = 0;
}

/* Whether the check of a kernel ended in a fault. */
static int faults(atl_sum_fn *fn, int flags, kernel_report *report) {
    const atl_kernel_entry entry = {ATL_SLOT_sum, ATL_ISA_SCALAR, 0, 0, "broken", (void (*)(void))fn};
    struct sigaction action = {.sa_handler = leave}, before;
    sigaction(SIGSEGV, &action, &before);
    const int faulted = sigsetjmp(out_of_fault, 1);
    if (!faulted)
        kernel_check(&entry, 1, flags, report);
    sigaction(SIGSEGV, &before, NULL);
    return faulted != 0;
}

Test(check, accesses_outside_an_array_are_faults) {
    kernel_report report;
    cr_expect_not(faults(atl_f32_sum_scalar, 0, &report));
    cr_expect(faults(sum_past_the_end, 0, &report));
    cr_expect(faults(sum_before_the_start, 0, &report));
    cr_expect(faults(sum_that_writes_past, 0, &report));
}

/* For emulators: reads that change nothing pass, writes do not. */
Test(check, readable_guards_catch_writes) {
    kernel_report report;
    cr_assert_not(faults(sum_past_the_end, KERNEL_CHECK_READABLE_GUARDS, &report));
    cr_expect(report.cases > 0 && report.failures == 0, "%ld of %ld: %s", report.failures, report.cases, report.first);
    cr_expect(faults(sum_that_writes_past, KERNEL_CHECK_READABLE_GUARDS, &report));
}
