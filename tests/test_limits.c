/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool where the system or the environment refuses: every case runs tests/pool_program.c, most of them under
 * tests/inject.c, which says what it spares. A pool must come out smaller or as a clean error, never as a dead process.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLEAN_ERROR = 10, RUN_SECONDS = 30 }; /* CLEAN_ERROR: as in pool_program.c */

typedef struct outcome {
    int status; /* of waitpid */
    int granted;
    long failures;
    char output[256];
} outcome;

/* Runs the program with up to three arguments; `environment` are up to four strings "NAME=value" for it alone. */
static outcome run(char *const *arguments, char *const *environment) {
    int ends[2];
    outcome outcome = {.status = -1};
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char *argv[] = {POOL_PROGRAM, NULL, NULL, NULL, NULL};
        for (int i = 0; i < 3 && arguments[i] != NULL; i++)
            argv[i + 1] = arguments[i];
        for (int i = 0; environment != NULL && i < 4 && environment[i] != NULL; i++)
            putenv(environment[i]);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        alarm(RUN_SECONDS);
        execv(POOL_PROGRAM, argv);
        _exit(127);
    }
    cr_assert_gt(pid, 0, "fork: %s", strerror(errno));
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], outcome.output + length, sizeof outcome.output - 1 - length)) > 0;)
        length += (size_t)got;
    close(ends[0]);
    cr_assert_eq(waitpid(pid, &outcome.status, 0), pid);
    const char *granted = strstr(outcome.output, "granted");
    if (granted != NULL)
        sscanf(granted, "granted %d failures %ld", &outcome.granted, &outcome.failures);
    return outcome;
}

static int exit_status(const outcome *outcome) {
    return WIFEXITED(outcome->status) ? WEXITSTATUS(outcome->status) : -1;
}

#define ASSERT_ALIVE(outcome, what)                                                                                    \
    cr_assert(exit_status(&(outcome)) == 0 || exit_status(&(outcome)) == CLEAN_ERROR, "%s: wait status %#x, \"%s\"",   \
              what, (outcome).status, (outcome).output)

/* ---------------------------------------------------------------- allocations */

/* Lets the K-th allocation fail for K = 1, 2, ... until a run is not hit any more. */
static void fail_each_allocation(const char *mode, char *const *arguments, int bind, int least) {
    char inject[64], what[96];
    for (int k = 1, hit = 1; hit; k++) {
        snprintf(inject, sizeof inject, "INJECT_MALLOC=%s:%d", mode, k);
        snprintf(what, sizeof what, "%s %s bind %d", arguments[0], inject, bind);
        outcome outcome =
            run(arguments, (char *[]){"LD_PRELOAD=" INJECT_LIBRARY, inject, bind ? "POOL_PROGRAM_BIND=1" : NULL, NULL});
        ASSERT_ALIVE(outcome, what);
        hit = outcome.failures > 0;
        cr_assert(hit || k > least, "%s: nothing failed", what);
        cr_assert_lt(k, 3000, "%s: still hit", what);
    }
}

Test(limits, any_allocation_may_fail, .timeout = 600) {
    char *pool[] = {"pool", "3", NULL}, *topo[] = {"topo", NULL};
    fail_each_allocation("once", pool, 0, 10);
    fail_each_allocation("from", pool, 0, 10);
    fail_each_allocation("once", pool, 1, 10);
    fail_each_allocation("from", pool, 1, 10);
    fail_each_allocation("once", topo, 0, 2);
    fail_each_allocation("from", topo, 0, 2);
}

/* ---------------------------------------------------------------- threads */

Test(limits, thread_creation_may_fail, .timeout = 120) {
    /* The first is the leader, the next three are the trial: what has failed there is missing from the team. */
    static const int expected[] = {1, 1, 2, 3, 4, 4};
    for (int k = 1; k <= 6; k++) {
        char inject[64];
        snprintf(inject, sizeof inject, "INJECT_THREAD=from:%d", k);
        outcome outcome = run((char *[]){"pool", "4", NULL}, (char *[]){"LD_PRELOAD=" INJECT_LIBRARY, inject, NULL});
        cr_assert_eq(exit_status(&outcome), 0, "%s: wait status %#x, \"%s\"", inject, outcome.status, outcome.output);
        cr_assert_eq(outcome.granted, expected[k - 1], "%s: granted %d threads, expected %d", inject, outcome.granted,
                     expected[k - 1]);
    }
}

Test(limits, threads_may_be_limited, .timeout = 120) {
    for (int limit = 0; limit <= 6; limit++) {
        char inject[64];
        int expected = limit < 1 ? 1 : limit < 4 ? limit : 4;
        snprintf(inject, sizeof inject, "INJECT_THREAD_LIMIT=%d", limit);
        outcome outcome = run((char *[]){"pool", "4", NULL}, (char *[]){"LD_PRELOAD=" INJECT_LIBRARY, inject, NULL});
        cr_assert_eq(exit_status(&outcome), 0, "%s: wait status %#x, \"%s\"", inject, outcome.status, outcome.output);
        cr_assert_eq(outcome.granted, expected, "%s: granted %d threads, expected %d", inject, outcome.granted,
                     expected);
        cr_assert_eq(outcome.failures > 0, limit < 4, "%s: %ld failures", inject, outcome.failures);
    }
}

/* Address space for fewer stacks than wanted. */
Test(limits, memory_may_be_limited, .timeout = 120) {
    int seen[5] = {0};
    for (int mib = 0; mib <= 48; mib++) {
        char text[16];
        snprintf(text, sizeof text, "%d", mib);
        outcome outcome = run((char *[]){"pool", "4", text}, (char *[]){"OMP_STACKSIZE=8M", NULL});
        ASSERT_ALIVE(outcome, text);
        cr_assert(outcome.granted >= 0 && outcome.granted <= 4, "%d MiB: granted %d threads", mib, outcome.granted);
        seen[outcome.granted]++;
    }
    cr_assert(seen[1] > 0 && seen[2] > 0 && seen[3] > 0 && seen[4] > 0, "teams of 1 to 4 came %d %d %d %d times",
              seen[1], seen[2], seen[3], seen[4]);
}

/* ---------------------------------------------------------------- OpenMP's environment */

Test(limits, keeps_to_openmps_environment, .timeout = 120) {
    static const struct {
        const char *setting;
        int expected;
    } cases[] = {
        {"OMP_THREAD_LIMIT=1", 1},     {"OMP_THREAD_LIMIT=2", 2},     {"OMP_THREAD_LIMIT=3", 3},
        {"OMP_THREAD_LIMIT=100", 4},   {"OMP_DYNAMIC=true", 4},       {"OMP_NUM_THREADS=1", 4},
        {"OMP_PROC_BIND=true", 4},     {"OMP_PROC_BIND=close", 4},    {"OMP_PLACES={0}", 4},
        {"GOMP_CPU_AFFINITY=0", 4},    {"OMP_WAIT_POLICY=active", 4}, {"OMP_WAIT_POLICY=passive", 4},
        {"OMP_NESTED=false", 4},       {"OMP_SCHEDULE=dynamic,1", 4}, {"GOMP_SPINCOUNT=infinite", 4},
        {"OMP_STACKSIZE=64k", 4},      {"OMP_STACKSIZE= 128 K ", 4},  {"OMP_STACKSIZE=1m", 4},
        {"OMP_STACKSIZE=65536B", 4},   {"OMP_STACKSIZE=17", 4},       {"OMP_STACKSIZE=nonsense", 4},
        {"OMP_STACKSIZE=8M junk", 4},  {"OMP_STACKSIZE=-1", 4},       {"GOMP_STACKSIZE=100", 4},
        {"OMP_STACKSIZE=9999999T", 4}, {"OMP_STACKSIZE=1000000G", 1}, {"OMP_STACKSIZE=99999999999999G", 4},
        {"OMP_CANCELLATION=true", 4},  {"POOL_PROGRAM_BIND=1", 4},    {"OMP_DISPLAY_ENV=false", 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char setting[64];
        snprintf(setting, sizeof setting, "%s", cases[i].setting);
        outcome outcome = run((char *[]){"pool", "4", NULL}, (char *[]){setting, NULL});
        cr_assert_eq(exit_status(&outcome), 0, "%s: wait status %#x, \"%s\"", setting, outcome.status, outcome.output);
        cr_assert_eq(outcome.granted, cases[i].expected, "%s: granted %d threads, expected %d", setting,
                     outcome.granted, cases[i].expected);
    }
}

/* OMP_PROC_BIND narrows the first thread's affinity mask, not what the process may use. */
Test(limits, binding_leaves_processors_available, .timeout = 60) {
    char *settings[] = {"OMP_PROC_BIND=false", "OMP_PROC_BIND=true", "OMP_PROC_BIND=spread", "OMP_PROC_BIND=close"};
    outcome plain = run((char *[]){"topo", NULL}, NULL);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        outcome outcome = run((char *[]){"topo", NULL}, (char *[]){settings[i], NULL});
        cr_assert_eq(exit_status(&outcome), 0, "%s: wait status %#x, \"%s\"", settings[i], outcome.status,
                     outcome.output);
        cr_assert_eq(outcome.granted, plain.granted, "%s: %d processors, %d without", settings[i], outcome.granted,
                     plain.granted);
    }
}

Test(limits, starts_the_largest_team, .timeout = 120) {
    outcome outcome = run((char *[]){"pool", "1024", NULL}, NULL);
    cr_assert_eq(exit_status(&outcome), 0, "wait status %#x, \"%s\"", outcome.status, outcome.output);
    cr_assert(outcome.granted >= 1 && outcome.granted <= 1024, "granted %d threads", outcome.granted);
}
