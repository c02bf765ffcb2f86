/* SPDX-License-Identifier: Apache-2.0 */
/* Overlap checks of a run: outputs against inputs and against one another. */
#include "error.h"
#include "memory.h"
#include "plan.h"

/* The bytes of one array of one sample. With the batch inside, the channels of all samples interleave: only the whole
 * tensor, in sample 0, is looked at. */
typedef struct range {
    uintptr_t begin, end;
} range;

typedef enum part {
    PART_Y,
    PART_MAP,
    PART_X,
    PART_KEY,
    PART_VALUE,
    PART_MASK,
    PART_ADDITIVE,
    PART_COUNT,
    OUTPUTS = PART_X
} part;
static const char *const part_names[PART_COUNT] = {"y", "map", "x", "key", "value", "mask", "additive"};

static range range_of(const float *p, int64_t floats) {
    return (range){(uintptr_t)p, (uintptr_t)p + (uintptr_t)floats * sizeof(float)};
}

/* The arrays of one sample. */
typedef struct ranges {
    range of[PART_COUNT];
} ranges;

static ranges sample_ranges(const atl_run_state *run, int64_t b) {
    const atl_plan *plan = run->plan;
    atl_sample sample = atl_run_sample(run, b);
    int64_t others = !run->samples && plan->batch_inside ? run->batch - 1 : 0;
    int64_t x = (plan->channels - 1) * run->x_row + plan->positions + others * run->x_stride;
    int64_t y = (plan->out_channels - 1) * run->y_row + plan->out_positions + others * run->y_stride;
    int64_t map = sample.map ? run->map_rows.count * atl_map_keys(plan) * atl_map_heads(plan) : 0;
    int64_t key = plan->heads ? plan->key_length * plan->positions : 0;
    int same_length = plan->key_length == plan->channels; /* x stands in: it is looked at as x */
    ranges r = {
        {[PART_X] = range_of(sample.x, x), [PART_Y] = range_of(sample.y, y), [PART_MAP] = range_of(sample.map, map)}};
    r.of[PART_KEY] = range_of(sample.key, same_length && sample.key == sample.x ? 0 : key);
    r.of[PART_VALUE] = range_of(sample.value, same_length && sample.value == sample.x ? 0 : key);
    r.of[PART_MASK] =
        (range){(uintptr_t)sample.mask, (uintptr_t)sample.mask + (sample.mask ? (size_t)run->mask.size : 0)};
    r.of[PART_ADDITIVE] = range_of(sample.additive, sample.additive ? run->additive.size : 0);
    return r;
}

static int overlap(range a, range b) {
    return a.begin < a.end && b.begin < b.end && a.begin < b.end && b.begin < a.end;
}

static int same(range a, range b) {
    return a.begin == b.begin && a.end == b.end;
}

/* y is x exactly. */
static int is_in_place(const atl_run_state *run, const ranges *r) {
    return !run->plan->separate && run->x_row == run->y_row && same(r->of[PART_X], r->of[PART_Y]);
}

static atl_status check_pointers(const atl_run_state *run, int64_t b, int wants_map, atl_error *error) {
    atl_sample sample = atl_run_sample(run, b);
    const char *wrong = !sample.x ? "x" : !sample.y ? "y" : NULL;
    if (wrong)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s of sample %lld: expected a pointer, got NULL", wrong,
                        (long long)b);
    if ((sample.map != NULL) != wants_map)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "map of sample %lld: expected one for every sample or for none",
                        (long long)b);
    if (((uintptr_t)sample.x | (uintptr_t)sample.y | (uintptr_t)sample.map) % sizeof(float))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "x, y or map of sample %lld: not aligned to a float",
                        (long long)b);
    return atl_check_inputs(run, b, error);
}

static atl_status overlap_error(const atl_run_state *run, part a, int64_t i, part b, int64_t j, atl_error *error) {
    return atl_fail(error, ATL_INVALID_ARGUMENT, "%s of sample %lld overlaps %s of sample %lld (%s)", part_names[a],
                    (long long)i, part_names[b], (long long)j,
                    run->plan->separate ? "this layer cannot work in place" : "y may be x exactly");
}

/* Outputs of sample i against everything of sample j. */
static atl_status check_pair(const atl_run_state *run, int64_t i, int64_t j, atl_error *error) {
    ranges ri = sample_ranges(run, i), rj = sample_ranges(run, j);
    for (part a = 0; a < OUTPUTS; a++)
        for (part b = 0; b < PART_COUNT; b++) {
            if (i == j && a == b)
                continue;
            int in_place = i == j && a == PART_Y && b == PART_X && is_in_place(run, &ri);
            if (!in_place && overlap(ri.of[a], rj.of[b]))
                return overlap_error(run, a, i, b, j, error);
        }
    return ATL_OK;
}

/* From a sample to look at to the next: the first and the last tell all about dense tensors. */
static int64_t step(const atl_run_state *run) {
    return run->samples ? 1 : atl_max(1, run->batch - 1);
}

static range hull(range a, range b) {
    if (a.begin == a.end || b.begin == b.end)
        return a.begin == a.end ? b : a;
    return (range){a.begin < b.begin ? a.begin : b.begin, a.end > b.end ? a.end : b.end};
}

/* Whether the outputs of every sample lie above those of the sample before, and apart from all inputs (or y is x, sample by
 * sample): then no two samples can overlap. */
static int is_ordered(const atl_run_state *run) {
    ranges whole = sample_ranges(run, 0);
    int in_place = is_in_place(run, &whole);
    for (int64_t b = step(run); b < run->batch; b += step(run)) {
        ranges r = sample_ranges(run, b);
        if (in_place && !is_in_place(run, &r))
            return 0;
        for (part p = 0; p < OUTPUTS; p++)
            if (r.of[p].begin < whole.of[p].end)
                return 0;
        for (part p = 0; p < PART_COUNT; p++)
            whole.of[p] = hull(whole.of[p], r.of[p]);
    }
    for (part a = 0; a < OUTPUTS; a++)
        for (part b = a + 1; b < PART_COUNT; b++)
            if (overlap(whole.of[a], whole.of[b]) && !(in_place && a == PART_Y && b == PART_X))
                return 0;
    return 1;
}

atl_status atl_check_run(const atl_run_state *run, atl_error *error) {
    int wants_map = atl_run_sample(run, 0).map != NULL;
    for (int64_t b = 0; b < run->batch; b += step(run)) {
        atl_status status = check_pointers(run, b, wants_map, error);
        if (status != ATL_OK)
            return status;
    }
    if (!run->samples && run->plan->batch_inside) /* sample 0 stands for the whole tensor */
        return check_pair(run, 0, 0, error);
    if (is_ordered(run))
        return ATL_OK;
    for (int64_t i = 0; i < run->batch; i++)
        for (int64_t j = 0; j < run->batch; j++) {
            atl_status status = check_pair(run, i, j, error);
            if (status != ATL_OK)
                return status;
        }
    return ATL_OK;
}
