/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaks under AddressSanitizer: looked for at the end of every test, in the test's own process, where one fails the
 * test. The check at a process's exit is off in the test executables: Criterion's runner has leaks of its own, and in a
 * test's process it comes when the result is known already. Programs that tests start check at exit as ever. The linker
 * puts this criterion_internal_test_main in front of Criterion's (--wrap).
 */
#include <criterion/criterion.h>
#include <sanitizer/lsan_interface.h>

typedef void test_body(void *param); /* tests without a parameter ignore it, as they do in Criterion */

void __real_criterion_internal_test_main(void (*body)(void));
void __wrap_criterion_internal_test_main(void (*body)(void));
int __lsan_is_turned_off(void);
const char *__asan_default_options(void);

/* Tests ask for more memory than there is, and want NULL. */
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}

static test_body *current;
static int checking;

int __lsan_is_turned_off(void) {
    return !checking;
}

static void run_and_check(void *param) {
    current(param);
    checking = 1;
    cr_expect_eq(__lsan_do_recoverable_leak_check(), 0, "memory leaked (see LeakSanitizer's report on stderr)");
    checking = 0;
}

void __wrap_criterion_internal_test_main(void (*body)(void)) {
    current = (test_body *)body;
    __real_criterion_internal_test_main((void (*)(void))run_and_check);
}
