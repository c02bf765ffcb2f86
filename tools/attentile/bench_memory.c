/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peak memory of a row, in a process of its own: what others have left in the heap, or not yet given back, would count
 * otherwise. The processes are forked by a helper, which was itself forked before this process had threads.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "machine.h"

typedef struct request {
    int row, threads;
    size_t y_size, map_size;
} request;

static pid_t helper = -1;
static int to_helper = -1, from_helper = -1;

/* Whole messages are smaller than what a pipe takes at once. */
static int read_message(int fd, void *message, size_t size) {
    ssize_t got;
    do
        got = read(fd, message, size);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)size ? 0 : -1;
}

static int write_message(int fd, const void *message, size_t size) {
    return write(fd, message, size) == (ssize_t)size ? 0 : -1;
}

/* The peak over inputs and outputs, which are there before it is looked at; -1 = unknown. */
static int64_t measure(const shape_row *row, const request *asked) {
    static bench_case c;
    atl_engine_options options;
    atl_engine_options_init(&options);
    options.threads = asked->threads;
    if (bench_case_inputs(&c, row))
        return -1;
    c.y_size = asked->y_size;
    c.map_size = asked->map_size;
    if (bench_case_outputs(&c))
        return -1;
    machine_reset_peak();
    const int64_t before = machine_peak_bytes();
    if (before <= 0 || bench_case_plan(&c, &options) || bench_case_run(&c))
        return -1;
    return machine_peak_bytes() - before;
}

static int64_t measure_in_child(const bench_job *job, const request *asked) {
    int channel[2], status;
    int64_t peak = -1;
    if (pipe(channel))
        return -1;
    const pid_t child = fork();
    if (child == 0) {
        peak = measure(&job->rows[asked->row], asked);
        _exit(write_message(channel[1], &peak, sizeof peak) != 0);
    }
    close(channel[1]);
    if (child < 0 || read_message(channel[0], &peak, sizeof peak))
        peak = -1;
    close(channel[0]);
    if (child > 0)
        waitpid(child, &status, 0);
    return peak;
}

static void serve(const bench_job *job, int requests, int answers) {
    request asked;
    while (read_message(requests, &asked, sizeof asked) == 0) {
        const int64_t peak = measure_in_child(job, &asked);
        if (write_message(answers, &peak, sizeof peak))
            return;
    }
}

int bench_memory_start(const bench_job *job) {
    int requests[2] = {-1, -1}, answers[2] = {-1, -1};
    fflush(NULL);
    if (pipe(requests) || pipe(answers) || (helper = fork()) < 0)
        return failed("bench: no process to measure memory in: %s", strerror(errno));
    if (helper == 0) {
        close(requests[1]);
        close(answers[0]);
        serve(job, requests[0], answers[1]);
        _exit(0);
    }
    close(requests[0]);
    close(answers[1]);
    to_helper = requests[1];
    from_helper = answers[0];
    return DONE;
}

int64_t bench_memory_peak(const bench_case *c, int row, int threads) {
    const request asked = {.row = row, .threads = threads, .y_size = c->y_size, .map_size = c->map_size};
    int64_t peak;
    if (write_message(to_helper, &asked, sizeof asked) || read_message(from_helper, &peak, sizeof peak))
        return -1;
    return peak;
}

void bench_memory_stop(void) {
    close(to_helper);
    close(from_helper);
    waitpid(helper, NULL, 0);
}
