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

typedef enum part { PART_X, PART_Y, PART_MAP, PART_COUNT } part;
static const char *const part_names[PART_COUNT] = {"x", "y", "map"};

static range range_of(const float *p, int64_t floats) {
    return (range){(uintptr_t)p, (uintptr_t)p + (uintptr_t)floats * sizeof(float)};
}

static range sample_range(const atl_run_state *run, int64_t b, part which) {
    const atl_plan *plan = run->plan;
    atl_sample sample = atl_run_sample(run, b);
    if (which == PART_MAP)
        return range_of(sample.map, sample.map ? run->map_rows.count * plan->info.map_shape[1] : 0);
    int64_t row = which == PART_X ? run->x_row : run->y_row;
    int64_t stride = which == PART_X ? run->x_stride : run->y_stride;
    int64_t floats = (plan->channels - 1) * row + plan->positions;
    if (!run->samples && plan->batch_inside)
        floats += (run->batch - 1) * stride;
    return range_of(which == PART_X ? sample.x : sample.y, floats);
}

static int overlap(range a, range b) {
    return a.begin < b.end && b.begin < a.end;
}

static int same(range a, range b) {
    return a.begin == b.begin && a.end == b.end;
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
    return ATL_OK;
}

static atl_status overlap_error(part a, int64_t i, part b, int64_t j, atl_error *error) {
    return atl_fail(error, ATL_INVALID_ARGUMENT, "%s of sample %lld overlaps %s of sample %lld (y may be x exactly)",
                    part_names[a], (long long)i, part_names[b], (long long)j);
}

/* Outputs of sample i against everything of sample j. */
static atl_status check_pair(const atl_run_state *run, int64_t i, int64_t j, atl_error *error) {
    for (part a = PART_Y; a <= PART_MAP; a++)
        for (part b = PART_X; b <= PART_MAP; b++) {
            if (i == j && a == b)
                continue;
            range ra = sample_range(run, i, a), rb = sample_range(run, j, b);
            int in_place = i == j && a == PART_Y && b == PART_X && same(ra, rb) && run->x_row == run->y_row;
            if (!in_place && overlap(ra, rb))
                return overlap_error(a, i, b, j, error);
        }
    return ATL_OK;
}

/* Whether the arrays of every sample lie above all those of the sample before, or in dense tensors that do not meet:
 * then no two samples can overlap. */
static int is_ordered(const atl_run_state *run) {
    uintptr_t top[PART_COUNT] = {0};
    range whole[PART_COUNT];
    for (part p = PART_X; p < PART_COUNT; p++) {
        whole[p] = (range){UINTPTR_MAX, 0};
        for (int64_t b = 0; b < run->batch; b++) {
            range r = sample_range(run, b, p);
            if (r.begin < top[p])
                return 0;
            top[p] = r.end;
            whole[p].begin = r.begin < whole[p].begin ? r.begin : whole[p].begin;
            whole[p].end = r.end > whole[p].end ? r.end : whole[p].end;
        }
    }
    return !overlap(whole[PART_Y], whole[PART_X]) && !overlap(whole[PART_Y], whole[PART_MAP]) &&
           !overlap(whole[PART_MAP], whole[PART_X]);
}

/* y is x, sample by sample, in ascending order: nothing else can overlap but a map. */
static int is_ordered_in_place(const atl_run_state *run) {
    uintptr_t top = 0;
    if (run->x_row != run->y_row || atl_run_sample(run, 0).map)
        return 0;
    for (int64_t b = 0; b < run->batch; b++) {
        range x = sample_range(run, b, PART_X), y = sample_range(run, b, PART_Y);
        if (!same(x, y) || x.begin < top)
            return 0;
        top = x.end;
    }
    return 1;
}

atl_status atl_check_run(const atl_run_state *run, atl_error *error) {
    int wants_map = atl_run_sample(run, 0).map != NULL;
    for (int64_t b = 0; b < run->batch; b++) {
        atl_status status = check_pointers(run, b, wants_map, error);
        if (status != ATL_OK)
            return status;
    }
    if (!run->samples && run->plan->batch_inside) /* sample 0 stands for the whole tensor */
        return check_pair(run, 0, 0, error);
    if (is_ordered(run) || is_ordered_in_place(run))
        return ATL_OK;
    for (int64_t i = 0; i < run->batch; i++)
        for (int64_t j = 0; j < run->batch; j++) {
            atl_status status = check_pair(run, i, j, error);
            if (status != ATL_OK)
                return status;
        }
    return ATL_OK;
}
