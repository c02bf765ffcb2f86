/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the pool sleeps and locks with: Linux futexes. Plain words in memory, so that a forked child can set them back
 * to their first state, which no pthread object allows.
 */
#ifndef ATL_SRC_SYNC_H
#define ATL_SRC_SYNC_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static inline int64_t atl_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Tells the processor that this thread spins. */
static inline void atl_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline void atl_futex_wait(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

/* Touches no memory at `word`: it may be gone by now. A thread that happens to wait at that address for something else
 * wakes once too often, which every user of futexes must expect. */
static inline void atl_futex_wake(_Atomic uint32_t *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

enum { ATL_SPIN_NS = 30000 }; /* the next stage of a run usually follows sooner */

/* Returns when `counter`, which others increase, has reached `count`: soon, so this spins before it sleeps from time to time, for
 * the sake of a thread that needs this one's processor. */
static inline void atl_count_wait(const _Atomic int64_t *counter, int64_t count) {
    const struct timespec nap = {.tv_nsec = 20000};
    int64_t start = 0;
    for (int spin = 1; atomic_load_explicit(counter, memory_order_acquire) < count; spin++) {
        atl_relax();
        if (spin % 256 == 0) {
            start = start == 0 ? atl_now_ns() : start;
            if (atl_now_ns() - start > ATL_SPIN_NS)
                nanosleep(&nap, NULL);
        }
    }
}

/* ---------------------------------------------------------------- lock: for short sections; all zero = free */

typedef struct atl_lock {
    _Atomic uint32_t state; /* 0 free, 1 held, 2 held and somebody may sleep */
} atl_lock;

static inline void atl_lock_take(atl_lock *lock) {
    for (int spin = 0; spin < 64; spin++) {
        uint32_t free = 0;
        if (atomic_compare_exchange_weak_explicit(&lock->state, &free, 1, memory_order_acquire, memory_order_relaxed))
            return;
        atl_relax();
    }
    while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire) != 0)
        atl_futex_wait(&lock->state, 2);
}

static inline void atl_lock_drop(atl_lock *lock) {
    if (atomic_exchange_explicit(&lock->state, 0, memory_order_release) == 2)
        atl_futex_wake(&lock->state, 1);
}

/* ---------------------------------------------------------------- event: one waiter, set once; all zero = not set */

typedef struct atl_event {
    _Atomic uint32_t state; /* 0 not set, 1 set, 2 not set and the waiter sleeps */
} atl_event;

static inline void atl_event_reset(atl_event *event) {
    atomic_store_explicit(&event->state, 0, memory_order_relaxed);
}

/* Returns 1 when the waiter sleeps: the caller then owes it atl_futex_wake(&event->state, 1), which may come when the
 * event is no more. */
static inline int atl_event_set(atl_event *event) {
    return atomic_exchange_explicit(&event->state, 1, memory_order_release) == 2;
}

/* Returns when the event is set or `spin_ns` nanoseconds have passed. */
static inline void atl_event_spin(const atl_event *event, int64_t spin_ns) {
    int64_t end = atl_now_ns() + spin_ns;
    do {
        for (int i = 0; i < 16; i++) {
            if (atomic_load_explicit(&event->state, memory_order_relaxed) == 1)
                return;
            atl_relax();
        }
    } while (atl_now_ns() < end);
}

static inline void atl_event_wait(atl_event *event) {
    uint32_t seen = 0;
    if (atomic_compare_exchange_strong_explicit(&event->state, &seen, 2, memory_order_acquire, memory_order_acquire))
        seen = 2;
    while (seen != 1) {
        atl_futex_wait(&event->state, 2);
        seen = atomic_load_explicit(&event->state, memory_order_acquire);
    }
}

#endif
