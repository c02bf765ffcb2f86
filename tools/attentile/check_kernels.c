/* SPDX-License-Identifier: Apache-2.0 */
/* Every line of kernels.def that this machine runs. One thread, no fork, no exec: what is emulated stays emulated. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "json.h"
#include "kernel_check.h"

/* The variant under way, for the handler below. */
static const char *volatile running;

static void say(const char *text) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        _exit(FAILED);
}

/* A kernel that reaches past its arrays meets a guard page: say which one it was. */
static void on_fault(int number) {
    say("attentile: check: ");
    say(running ? running : "?");
    say(number == SIGILL ? ": an instruction that this machine lacks\n" : ": memory outside its arrays was touched\n");
    _exit(FAILED);
}

static void watch(const char *variant) {
    struct sigaction action = {.sa_handler = variant ? on_fault : SIG_DFL};
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL};
    running = variant;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
}

static json_t *report_json(const atl_kernel_entry *entry, const kernel_report *report) {
    char digest[32];
    json_t *root = json_object();
    snprintf(digest, sizeof digest, "%016" PRIx64, report->digest);
    json_put(root, "kernel", json_string(entry->variant));
    json_put(root, "slot", json_string(atl_slot_name(entry->slot)));
    json_put(root, "isa", json_string(atl_isa_name(entry->isa)));
    json_put(root, "cases", json_integer(report->cases));
    json_put(root, "failures", json_integer(report->failures));
    json_put(root, "digest", json_string(digest));
    json_put(root, "first_failure", report->failures ? json_string(report->first) : json_null());
    return root;
}

static void report_text(const atl_kernel_entry *entry, const kernel_report *report, int ok) {
    printf("  %-38s %7ld cases  %016" PRIx64 "%s\n", entry->variant, report->cases, report->digest,
           ok ? "" : "  FAILED");
    if (!ok)
        printf("    %ld failures: %s\n", report->failures, report->cases ? report->first : "no case ran");
}

int check_kernels(check_job *job) {
    const int flags =
        (job->small ? 0 : KERNEL_CHECK_THOROUGH) | (job->readable_guards ? KERNEL_CHECK_READABLE_GUARDS : 0);
    json_t *list = job->json ? json_array() : NULL;
    int checked = 0;
    if (!list)
        printf(
            "kernels: each against the scalar one of its slot, bit by bit; number of cases, digest of the results\n");
    for (int i = 0; i < atl_kernel_entry_count; i++) {
        const atl_kernel_entry *entry = &atl_kernel_entries[i];
        kernel_report report;
        if (!atl_isa_includes(job->limit, entry->isa))
            continue;
        progress("%s", entry->variant);
        watch(entry->variant);
        kernel_check(entry, 1, flags, &report);
        watch(NULL);
        progress_clear();
        const int ok = report.cases > 0 && report.failures == 0;
        check_count(job, ok, !ok);
        checked++;
        if (list)
            json_add(list, report_json(entry, &report));
        else
            report_text(entry, &report, ok);
        fflush(stdout);
    }
    if (list)
        json_put(job->json, "kernels", list);
    return checked ? DONE : failed("check: no kernel was checked");
}
