/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile check`: what it prints and how it ends. That its checkers see faults is shown in test_check.c. */
#include <jansson.h>

#include "shell.h"
#include "cpu.h"

TestSuite(command_check, .init = make_command_folder, .fini = remove_folder, .timeout = 240);

static json_t *report_of(const char *options) {
    json_error_t error;
    expect_done(shell("\"$A\" check --json %s >report.json", options));
    json_t *report = json_load_file(in_folder("report.json"), JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(report, "line %d: %s", error.line, error.text);
    return report;
}

static const char *text(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));
    cr_assert_not_null(value, "no text \"%s\"", key);
    return value;
}

static json_int_t number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_integer(value), "no whole number \"%s\"", key);
    return json_integer_value(value);
}

static void expect_kernels(const json_t *report, atl_isa best) {
    const json_t *kernels = json_object_get(report, "kernels");
    size_t at = 0;
    for (int i = 0; i < atl_kernel_entry_count; i++) {
        if (!atl_isa_includes(best, atl_kernel_entries[i].isa))
            continue;
        const json_t *kernel = json_array_get(kernels, at++);
        cr_assert_str_eq(text(kernel, "kernel"), atl_kernel_entries[i].variant);
        cr_expect_gt(number(kernel, "cases"), 0);
        cr_expect_eq(number(kernel, "failures"), 0);
        cr_expect(json_is_null(json_object_get(kernel, "first_failure")));
    }
    cr_expect_eq(json_array_size(kernels), at);
}

static json_int_t expect_layers(const json_t *report) {
    const json_t *layers = json_object_get(report, "layers");
    json_int_t shapes = 0;
    size_t at = 0;
    for (; atl_kind_name((int)at); at++) {
        const json_t *layer = json_array_get(layers, at);
        cr_assert_str_eq(text(layer, "layer"), atl_kind_name((int)at));
        const double share = json_real_value(json_object_get(layer, "error_share"));
        cr_expect(share > 0 && share <= 1, "%s: share %g", text(layer, "layer"), share);
        cr_expect_gt(number(layer, "comparisons"), 0);
        cr_expect_eq(number(layer, "failed_shapes"), 0);
        shapes += number(layer, "shapes");
    }
    cr_expect_eq(json_array_size(layers), at);
    return shapes;
}

Test(command_check, covers_every_kernel_and_every_kind) {
    json_t *report = report_of("--small");
    expect_kernels(report, atl_cpu_best());
    const json_int_t shapes = expect_layers(report);
    cr_expect_str_eq(text(report, "isa"), atl_isa_name(atl_cpu_best()));
    cr_expect_str_eq(text(report, "checked_up_to"), atl_isa_name(atl_cpu_best()));
    cr_expect_eq(number(report, "failed"), 0);
    cr_expect_eq(number(report, "passed"), (json_int_t)json_array_size(json_object_get(report, "kernels")) + shapes);

    json_t *scalar = report_of("--small --layers --isa scalar");
    cr_expect_null(json_object_get(scalar, "kernels"));
    for (size_t i = 0; atl_kind_name((int)i); i++)
        cr_expect_str_eq(text(json_array_get(json_object_get(scalar, "layers"), i), "digest"),
                         text(json_array_get(json_object_get(report, "layers"), i), "digest"), "%s",
                         atl_kind_name((int)i));
    json_decref(scalar);
    json_decref(report);
}

Test(command_check, text_names_the_isa_first_and_counts_last) {
    char first[64];
    const outcome *o = shell("\"$A\" check --small --kernels --no-guards --expect %s", atl_isa_name(atl_cpu_best()));
    expect_done(o);
    snprintf(first, sizeof first, "isa: %s\n", atl_isa_name(atl_cpu_best()));
    cr_expect(strncmp(o->out, first, strlen(first)) == 0, "\"%.40s\"", o->out);
    cr_expect(strstr(o->out, "  atl_f32_sum_scalar "), "\"%s\"", o->out);
    cr_expect_not(strstr(o->out, "layers"), "\"%s\"", o->out);
    long passed, failed;
    const char *last = o->out + strlen(o->out) - 1;
    while (last > o->out && last[-1] != '\n')
        last--;
    cr_expect(sscanf(last, "%ld passed, %ld failed\n", &passed, &failed) == 2 && passed > 0 && failed == 0, "\"%s\"",
              last);
    expect_done(
        shell("ATTENTILE_MAX_ISA=scalar \"$A\" check --small --layers >out && grep -q ' of the error bound ' out && "
              "! grep '^layers' out | grep -q -e avx -e neon"));
}

Test(command_check, another_machine_than_expected_fails_at_once) {
    const char *other = atl_cpu_best() == ATL_ISA_NEON ? "avx2" : "neon";
    const outcome *o = shell("\"$A\" check --expect %s", other);
    expect_error(o, 1, "another machine (expected ", other);
    cr_expect(strncmp(o->out, "isa: ", 5) == 0 && strchr(o->out, '\n')[1] == '\0', "\"%s\"", o->out);
}

Test(command_check, refusals) {
    const char *lacking = atl_cpu_best() == ATL_ISA_NEON ? "avx2" : "neon";
    expect_error(shell("\"$A\" check --isa sse"), 2, "check: --isa: expected scalar, avx2, avx512 or neon, got \"sse\"",
                 "unknown");
    expect_error(shell("\"$A\" check --isa %s", lacking), 1, "this machine lacks", "lacking");
    expect_error(shell("ATTENTILE_MAX_ISA=sse \"$A\" check"), 2, "ATTENTILE_MAX_ISA: no such", "variable");
    expect_error(shell("\"$A\" check --expect sse >/dev/null"), 2, "--expect: expected scalar", "expected");
    expect_error(shell("\"$A\" check --small --kernels >/dev/full"), 1, "standard output", "full");
    expect_error(shell("\"$A\" check x"), 2, "too many", "operand");
}

/* What a kernel outside its arrays comes to. */
Test(command_check, a_fault_names_the_kernel) {
    const outcome *o =
        shell(": >out; \"$A\" check --kernels >out & p=$!; until grep -q _scalar out; do sleep 0.02; done; "
              "kill -SEGV $p; wait $p");
    expect_error(o, 1, "memory outside its arrays was touched", "fault");
    cr_expect(strncmp(o->err, "attentile: check: atl_f32_", 26) == 0, "\"%s\"", o->err);
}
