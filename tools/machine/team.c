/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>

#include "machine.h"
#include "team.h"

typedef struct team {
    team_function *function;
    void *context;
    int threads, repeats;
    double *arrived; /* when each thread was ready to begin */
    double best;
    pthread_barrier_t barrier;
    pthread_mutex_t go; /* held until it is known that all threads exist */
    int cancelled;
} team;

typedef struct member {
    team *team;
    int thread;
} member;

/* The work begins when the last thread arrives. Any one thread may wake up late and see the others' work done. */
static void take_time(team *t) {
    const double end = machine_now();
    double start = 0;
    for (int i = 0; i < t->threads; i++)
        start = t->arrived[i] > start ? t->arrived[i] : start;
    if (t->best == 0 || end - start < t->best)
        t->best = end - start;
}

static void *member_main(void *argument) {
    const member *self = argument;
    team *t = self->team;
    pthread_mutex_lock(&t->go);
    const int cancelled = t->cancelled;
    pthread_mutex_unlock(&t->go);
    for (int i = 0; i < t->repeats && !cancelled; i++) {
        t->arrived[self->thread] = machine_now();
        pthread_barrier_wait(&t->barrier);
        t->function(t->context, self->thread, t->threads);
        if (pthread_barrier_wait(&t->barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            take_time(t);
        pthread_barrier_wait(&t->barrier);
    }
    return NULL;
}

static int start_members(team *t, pthread_t *ids, member *members) {
    int started = 0;
    pthread_mutex_lock(&t->go);
    for (; started < t->threads; started++) {
        members[started] = (member){t, started};
        if (pthread_create(&ids[started], NULL, member_main, &members[started]) != 0)
            break;
    }
    t->cancelled = started < t->threads;
    pthread_mutex_unlock(&t->go);
    return started;
}

double team_best_seconds(team_function *function, void *context, int threads, int repeats) {
    team t = {.function = function, .context = context, .threads = threads, .repeats = repeats};
    if (threads < 1 || pthread_barrier_init(&t.barrier, NULL, (unsigned)threads) != 0)
        return 0;
    pthread_mutex_init(&t.go, NULL);
    pthread_t *ids = calloc((size_t)threads, sizeof *ids);
    member *members = calloc((size_t)threads, sizeof *members);
    t.arrived = calloc((size_t)threads, sizeof *t.arrived);
    const int started = ids && members && t.arrived ? start_members(&t, ids, members) : 0;
    for (int i = 0; i < started; i++)
        pthread_join(ids[i], NULL);
    free(ids);
    free(members);
    free(t.arrived);
    pthread_mutex_destroy(&t.go);
    pthread_barrier_destroy(&t.barrier);
    return started == threads ? t.best : 0;
}
