/* SPDX-License-Identifier: Apache-2.0 */
/* The further inputs of a run: key, value and masks, for kinds that take them. */
#include "error.h"
#include "memory.h"
#include "plan.h"
#include "text.h"

static const char *first_of(const void *key, const void *value, const void *mask, const void *additive) {
    return key ? "key" : value ? "value" : mask ? "mask" : additive ? "additive" : NULL;
}

static atl_status refuse(const atl_run_state *run, const atl_run_options *o, atl_error *error) {
    const char *given = first_of(o->key, o->value, o->mask, o->additive);
    if (given)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: %s takes none (expected NULL)", given,
                        run->plan->layer->kind->name);
    return ATL_OK;
}

/* How a mask of some shape broadcasts to [batch, heads, queries, keys]; `most` axes are allowed. */
static atl_status broadcast(const atl_run_state *run, const char *name, int rank, const int64_t *shape, int most,
                            atl_mask_steps *steps, atl_error *error) {
    static const char *const axes[] = {"batch", "heads", "queries", "keys"};
    const atl_plan *plan = run->plan;
    const int64_t full[] = {run->batch, plan->heads, plan->channels, plan->key_length};
    int64_t *const to[] = {&steps->sample, &steps->head, &steps->query, &steps->key};
    if (rank < 0 || rank > most)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s_rank: out of range (expected 0 to %d, got %d)", name, most,
                        rank);
    *steps = (atl_mask_steps){.size = 1};
    int64_t step = 1;
    for (int axis = 3, i = rank - 1; i >= 0; axis--, i--) {
        if (shape[i] != 1 && shape[i] != full[axis])
            return atl_fail(error, ATL_INVALID_ARGUMENT,
                            "%s_shape: axis %d does not broadcast to the %s (expected 1 or %lld, got %lld)", name, i,
                            axes[axis], (long long)full[axis], (long long)shape[i]);
        *to[axis] = shape[i] == 1 ? 0 : step;
        if (!atl_mul(step, shape[i], &step) || step > ATL_MOST_FLOATS)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "%s_shape: more bytes than an address space has", name);
        if (axis > 0)
            steps->size = step;
    }
    return ATL_OK;
}

static atl_status set_stride(const atl_run_state *run, const char *name, int64_t given, int64_t *stride,
                             atl_error *error) {
    int64_t dense = run->plan->key_length * run->plan->positions, floats;
    *stride = given ? given : dense;
    if (*stride < dense)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: samples would overlap (expected %lld or more, got %lld)",
                        name, (long long)dense, (long long)given);
    if (!atl_mul(*stride, run->batch, &floats) || floats > ATL_MOST_FLOATS)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s: more bytes than an address space has (got %lld)", name,
                        (long long)given);
    return ATL_OK;
}

atl_status atl_bind_masks(atl_run_state *run, const atl_run_options *o, atl_error *error) {
    int most = run->samples ? 3 : 4;
    run->first.mask = o->mask;
    run->first.additive = o->additive;
    atl_status status = broadcast(run, "mask", o->mask_rank, o->mask_shape, most, &run->mask, error);
    if (status == ATL_OK)
        status = broadcast(run, "additive", o->additive_rank, o->additive_shape, most, &run->additive, error);
    return status;
}

atl_status atl_bind_inputs(atl_run_state *run, const atl_run_options *o, atl_error *error) {
    if (!run->plan->heads)
        return refuse(run, o, error);
    if (run->samples && (o->key || o->value || o->mask || o->additive))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "key, value, mask, additive: expected NULL with samples");
    run->first.key = o->key;
    run->first.value = o->value;
    run->key_stride = run->x_stride;
    run->value_stride = run->x_stride;
    atl_status status = atl_bind_masks(run, o, error);
    if (status == ATL_OK && o->key)
        status = set_stride(run, "key_stride", o->key_stride, &run->key_stride, error);
    if (status == ATL_OK && o->value)
        status = set_stride(run, "value_stride", o->value_stride, &run->value_stride, error);
    return status;
}

atl_status atl_check_inputs(const atl_run_state *run, int64_t b, atl_error *error) {
    const atl_plan *plan = run->plan;
    atl_sample given = atl_run_given(run, b);
    const char *idle = first_of(given.key, given.value, given.mask, given.additive);
    if (!plan->heads && idle)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "%s of sample %lld: %s takes none (expected NULL)", idle,
                        (long long)b, plan->layer->kind->name);
    const char *missing = !given.key ? "key" : !given.value ? "value" : NULL;
    if (plan->heads && missing && plan->key_length != plan->channels)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "%s of sample %lld: x cannot stand in for it (expected %lld positions, x has %lld)", missing,
                        (long long)b, (long long)plan->key_length, (long long)plan->channels);
    if (((uintptr_t)given.key | (uintptr_t)given.value | (uintptr_t)given.additive) % sizeof(float))
        return atl_fail(error, ATL_INVALID_ARGUMENT, "key, value or additive of sample %lld: not aligned to a float",
                        (long long)b);
    return ATL_OK;
}
