# SPDX-License-Identifier: Apache-2.0
"""Interleaved timing of calls that share a process.

One round is one turn of every contender, in an order that rotates. Thread pools go on spinning for a while after a call
(libgomp some milliseconds, ONNX Runtime and oneTBB likewise) and would take the cores of the next contender, so a turn begins
when the process no longer uses them, and short calls are then repeated until the contender's own pool, caches and branch
predictors are warm: everyone is timed in the state that a program running nothing else would see.
"""
import contextlib
import dataclasses
import os
import pathlib
import statistics
import threading
import time

ROUNDS, ROUNDS_LONG = 7, 3
LONG = 5.0          # seconds: calls above get fewer rounds
LONE = 0.05         # calls above are one turn each, without a warm-up
WARM = 0.003        # seconds of warm-up of shorter ones, at least a call
TURN = 0.02         # seconds of a turn's timed calls, at least one
SAMPLE = 0.0002     # shorter calls are timed several at once
IDLE_WAIT = 2.0     # seconds: the longest wait for the threads of others


@dataclasses.dataclass
class Times:
    """Seconds a call: the best of all samples, and a median for every round."""
    best: float = float("inf")
    rounds: list = dataclasses.field(default_factory=list)
    error: Exception = None # what a call raised; it was not called again

    def add(self, samples):
        self.best = min([self.best] + samples)
        self.rounds.append(statistics.median(samples))

    @property
    def median(self):
        return statistics.median(self.rounds)

    def record(self):
        """As it goes into JSON; what a call raised is raised now."""
        if self.error:
            raise self.error
        return {"min_s": self.best, "median_s": self.median, "rounds_s": self.rounds}


def busy_threads():
    """Of this process, besides the caller: those that run or want to. CPU clocks would not do: the kernel brings those of
    threads that keep running up to date with every tick only."""
    busy = 0
    for task in os.listdir("/proc/self/task"):
        if int(task) != threading.get_native_id():
            with contextlib.suppress(OSError): # it has ended
                busy += pathlib.Path("/proc/self/task", task, "stat").read_text().rpartition(")")[2].split()[0] == "R"
    return busy


def settle(longest=IDLE_WAIT):
    """Waits until the process's other threads sleep. Returns the seconds it took."""
    begin, quiet = time.perf_counter(), 0
    while quiet < 2 and time.perf_counter() - begin < longest:
        quiet = 0 if busy_threads() else quiet + 1
        time.sleep(0.0005)
    return time.perf_counter() - begin


def timed(call, count):
    """Seconds a call of `count` calls in a row."""
    calls = range(count)
    begin = time.perf_counter()
    for _ in calls:
        call()
    return (time.perf_counter() - begin) / count


def turn(call, estimate, turn_seconds=TURN):
    """The samples of one contender's turn; `estimate` is about what a call takes."""
    if estimate >= LONE:
        return [timed(call, 1)]
    timed(call, max(1, round(WARM / max(estimate, 1e-7))))
    count = max(1, round(SAMPLE / max(estimate, 1e-7)))
    samples, end = [], time.perf_counter() + turn_seconds
    while not samples or time.perf_counter() < end:
        samples.append(timed(call, count))
    return samples


def estimate(call):
    """About what a warm call takes."""
    first = timed(call, 1)
    return first if first >= LONE else min(timed(call, 1) for _ in range(3))


def order(count, number):
    """Of round `number`: pairs of rounds start one contender later than the pair before, the second one runs backwards."""
    rotated = [(i + number // 2) % count for i in range(count)]
    return rotated if number % 2 == 0 else rotated[::-1]


def interleave(calls, rounds=None, before_round=None):
    """Times of each of `calls`, which map names to callables. `rounds` replaces both 7 and 3. `before_round` is called
    first in every round, with nothing else running."""
    names, times, guesses = list(calls), {name: Times() for name in calls}, {}

    def attempt(name, function):
        """function(call), once the others sleep; nothing for those that have failed."""
        if times[name].error is None:
            settle()
            try:
                return function(calls[name])
            except Exception as error: # whatever a library raises, it is a result
                times[name].error = error
        return None

    for name in names:
        guesses[name] = attempt(name, estimate)
    wanted = {name: rounds or (ROUNDS_LONG if (guesses[name] or 0) > LONG else ROUNDS) for name in names}
    for number in range(max(wanted.values(), default=0)):
        if before_round:
            settle()
            before_round()
        for index in order(len(names), number):
            name = names[index]
            samples = attempt(name, lambda call: turn(call, guesses[name])) if number < wanted[name] else None
            if samples:
                times[name].add(samples)
    return times
