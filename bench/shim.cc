/* SPDX-License-Identifier: Apache-2.0 */
#include "shim.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include <benchmark/benchmark.h>

using wall_clock = std::chrono::steady_clock;

struct bench_state {
    benchmark::State *state;
    bool running;
    wall_clock::time_point start, stop;
};

static double smallest(const std::vector<double> &values) {
    return *std::min_element(values.begin(), values.end());
}

static double largest(const std::vector<double> &values) {
    return *std::max_element(values.begin(), values.end());
}

int bench_init(int argc, char **argv) {
    /* before the caller's, so that those win; static, as the library keeps pointers into them */
    static char repetitions[] = "--benchmark_repetitions=7", min_time[] = "--benchmark_min_time=0.05",
                display[] = "--benchmark_display_aggregates_only=true";
    static std::vector<char *> arguments{argv[0], repetitions, min_time, display};
    arguments.insert(arguments.end(), argv + 1, argv + argc);
    int count = static_cast<int>(arguments.size());
    arguments.push_back(nullptr);
    benchmark::Initialize(&count, arguments.data());
    return benchmark::ReportUnrecognizedArguments(count, arguments.data()) ? -1 : 0;
}

void bench_context(const char *key, const char *value) {
    benchmark::AddCustomContext(key, value);
}

void bench_add(const char *name, bench_fn *fn, void *context) {
    auto body = [fn, context](benchmark::State &state) {
        bench_state wrapped{&state, false, {}, {}};
        fn(&wrapped, context);
    };
    benchmark::RegisterBenchmark(name, body)
        ->UseRealTime()
        ->MeasureProcessCPUTime()
        ->Unit(benchmark::kMicrosecond)
        ->ComputeStatistics("min", smallest)
        ->ComputeStatistics("max", largest);
}

/* Instead of a display: hands over the shortest repetition. */
class shortest_reporter : public benchmark::BenchmarkReporter {
  public:
    shortest_reporter(bench_done_fn *done, void *context) : done(done), context(context) {
    }
    bool ReportContext(const Context &) override {
        return true;
    }
    void ReportRuns(const std::vector<Run> &runs) override {
        double shortest = 0;
        if (runs.front().run_type == Run::RT_Aggregate)
            return;
        for (const Run &run : runs) {
            double seconds = run.iterations ? run.real_accumulated_time / static_cast<double>(run.iterations) : 0;
            if (seconds > 0 && (shortest == 0 || seconds < shortest))
                shortest = seconds;
        }
        done(context, shortest);
    }

  private:
    bench_done_fn *done;
    void *context;
};

int bench_run(bench_done_fn *done, void *context) {
    shortest_reporter reporter(done, context);
    return static_cast<int>(done ? benchmark::RunSpecifiedBenchmarks(&reporter) : benchmark::RunSpecifiedBenchmarks());
}

int bench_next(bench_state *state) {
    bool more = state->state->KeepRunning();
    if (more && !state->running) {
        state->running = true;
        state->start = wall_clock::now();
    } else if (!more) {
        state->stop = wall_clock::now();
    }
    return more;
}

double bench_seconds(const bench_state *state) {
    std::chrono::duration<double> elapsed = state->stop - state->start;
    return elapsed.count() / static_cast<double>(state->state->iterations());
}

void bench_counter(bench_state *state, const char *name, double value) {
    state->state->counters[name] = value;
}

void bench_label(bench_state *state, const char *text) {
    state->state->SetLabel(text);
}

void bench_skip(bench_state *state, const char *reason) {
    state->state->SkipWithError(reason);
}
