/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs Criterion's tests where its own runner cannot: that wants memory at addresses which ThreadSanitizer keeps for
 * itself. An executable that has this main has these functions in front of Criterion's as well. Each test runs in a
 * process of its own, which must exit with 0; results go to the file of --xml=FILE, as far as tools/test reads it.
 */
#include <criterion/criterion.h>
#include <criterion/event.h>
#include <criterion/parameterized.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECONDS = 900, SKIPPED = 77 };

typedef void test_body(void *param); /* tests without a parameter ignore it */

typedef struct criterion_test_extra_data extra_data;

/* What Test() and TestSuite() leave; a program may have no suites. */
extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak)), *__stop_cr_sts[] __attribute__((weak));

/* ---------------------------------------------------------------- in the process of a test */

static const extra_data *of_suite, *of_test;
static void *current_param;
static _Atomic int failures;

static const extra_data *find_suite(const char *name) {
    static const extra_data none;
    for (struct criterion_suite **suite = __start_cr_sts; suite < __stop_cr_sts; suite++) {
        if (*suite != NULL && strcmp((*suite)->name, name) == 0)
            return (*suite)->data;
    }
    return &none;
}

static void call(void (*function)(void)) {
    if (function != NULL)
        function();
}

void criterion_internal_test_setup(void) {
    call(of_suite->init);
    call(of_test->init);
}

void criterion_internal_test_main(void (*body)(void)) {
    ((test_body *)body)(current_param);
}

void criterion_internal_test_teardown(void) {
    call(of_test->fini);
    call(of_suite->fini);
}

void criterion_send_assert(struct criterion_assert_stats *stats) {
    if (stats->passed)
        return;
    failures++;
    fprintf(stderr, "%s:%u: %s\n", stats->file, stats->line, stats->message);
}

void criterion_continue_test(void) {
}

void criterion_abort_test(void) {
    _exit(1);
}

void criterion_skip_test(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    _exit(SKIPPED);
}

static void run(const struct criterion_test *test, void *param) {
    alarm(SECONDS);
    of_suite = find_suite(test->category);
    of_test = test->data;
    current_param = param;
    test->test();
    exit(failures != 0);
}

/* ---------------------------------------------------------------- in the runner's */

/* Returns the test's wait status. */
static int wait_for(const struct criterion_test *test, void *param) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        run(test, param);
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child)
        perror(test->name);
    return status;
}

/* Returns 1 when it failed. */
static int write_result(const struct criterion_test *test, void *param, FILE *results) {
    int status = wait_for(test, param);
    int skipped = WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED, failed = status != 0 && !skipped;
    if (failed)
        fprintf(stderr, "%s/%s failed: wait status %#x\n", test->category, test->name, (unsigned)status);
    fprintf(results, "<testcase name=\"%s/%s\" status=\"%s\"/>\n", test->category, test->name,
            failed    ? "FAILED"
            : skipped ? "SKIPPED"
                      : "PASSED");
    return failed;
}

static int write_results(const struct criterion_test *test, FILE *results) {
    if (test->data->kind_ != CR_TEST_PARAMETERIZED)
        return write_result(test, NULL, results);
    struct criterion_test_params params = test->data->param_();
    int failed = 0;
    for (size_t i = 0; i < params.length; i++)
        failed |= write_result(test, (char *)params.params + i * params.size, results);
    if (params.cleanup != NULL)
        params.cleanup(&params);
    return failed;
}

int main(int count, char **words) {
    static const char option[] = "--xml=";
    FILE *results = stdout;
    if (count == 2 && strncmp(words[1], option, strlen(option)) == 0)
        results = fopen(words[1] + strlen(option), "w");
    if (results == NULL || count > 2) {
        fprintf(stderr, "usage: %s [--xml=FILE]\n", words[0]);
        return 2;
    }
    int failed = 0;
    fprintf(results, "<testsuites>\n");
    for (struct criterion_test **test = __start_cr_tst; test < __stop_cr_tst; test++) {
        if (*test != NULL)
            failed |= write_results(*test, results);
    }
    fprintf(results, "</testsuites>\n");
    return fclose(results) != 0 || failed;
}
