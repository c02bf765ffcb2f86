/* SPDX-License-Identifier: Apache-2.0 */
/* Timing a function on several threads that start together. */
#ifndef ATTENTILE_TOOLS_TEAM_H
#define ATTENTILE_TOOLS_TEAM_H

/* One thread's part of one repetition. */
typedef void team_function(void *context, int thread, int threads);

/* Runs `function` on `threads` threads, `repeats` times with a common start each, and returns the shortest time from
 * that start until the last was done, in seconds; 0 when the threads cannot be had. */
double team_best_seconds(team_function *function, void *context, int threads, int repeats);

#endif
