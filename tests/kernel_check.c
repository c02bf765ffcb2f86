/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel_check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fill.h"
#include "kernel_arrays.h"

float *array(const check *c, int room, int64_t count) {
    return guard_place(&c->rooms[room], c->side, count);
}

int64_t pick(check *c, int64_t low, int64_t high) {
    return low + (int64_t)(fill_bits(&c->seed) % (uint64_t)(high - low + 1));
}

void fill_plain(check *c, float *x, int64_t count, float magnitude) {
    fill(x, count, FILL_RANDOM, magnitude, fill_bits(&c->seed));
}

void fill_special(check *c, float *x, int64_t count) {
    static const float specials[] = {0.0f, -0.0f, 0x1p-149f, -0x1p-130f, 0x1p-126f, 3e38f, -3e38f, 1.0f, 88.7f, -87.3f};
    fill_plain(c, x, count, 4.0f);
    for (int64_t i = 0; i < count; i++) {
        uint64_t r = fill_bits(&c->seed) % 64;
        if (r < sizeof specials / sizeof *specials)
            x[i] = specials[r];
        else if (r == 61)
            x[i] = NAN;
        else if (r == 62)
            x[i] = INFINITY;
        else if (r == 63)
            x[i] = -INFINITY;
    }
}

/* The bits of a float, those of one NaN for all. */
static uint32_t bits_of(float value) {
    uint32_t bits = 0x7fc00000u;
    if (!isnan(value))
        memcpy(&bits, &value, sizeof bits);
    return bits;
}

float larger(float a, float b) {
    if (isnan(a) || isnan(b))
        return NAN;
    float largest = fmaxf(a, b);
    return largest == 0.0f ? 0.0f : largest;
}

int same_bits(check *c, const float *got, const float *want, int64_t count) {
    int same = 1;
    for (int64_t i = 0; i < count; i++) {
        same &= bits_of(got[i]) == bits_of(want[i]);
        c->report->digest = (c->report->digest ^ bits_of(want[i])) * 0x100000001b3u; /* FNV-1a, by words */
    }
    return same;
}

void verdict(check *c, int ok, const char *format, ...) {
    c->report->cases++;
    if (ok || c->report->failures++ > 0)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(c->report->first, sizeof c->report->first, format, args);
    va_end(args);
}

static const atl_kernel_entry *scalar_of(atl_slot slot) {
    for (int i = 0; i < atl_kernel_entry_count; i++)
        if (atl_kernel_entries[i].slot == slot && atl_kernel_entries[i].isa == ATL_ISA_SCALAR)
            return &atl_kernel_entries[i];
    return NULL;
}

static void dispatch(check *c) {
    switch (c->entry->slot) {
#define ATL_SLOT(name)                                                                                                 \
    case ATL_SLOT_##name:                                                                                              \
        check_##name(c, (atl_##name##_fn *)c->entry->fn, (atl_##name##_fn *)c->scalar->fn);                            \
        break;
#include "kernels.def"
#undef ATL_SLOT
    default: verdict(c, 0, "a slot without a checker");
    }
}

void kernel_check(const atl_kernel_entry *entry, uint64_t seed, int flags, kernel_report *report) {
    *report = (kernel_report){.digest = 0xcbf29ce484222325u};
    check c = {.entry = entry, .scalar = scalar_of(entry->slot), .report = report, .seed = seed};
    c.thorough = (flags & KERNEL_CHECK_THOROUGH) != 0;
    const guard_kind kind = flags & KERNEL_CHECK_READABLE_GUARDS ? GUARD_READABLE : GUARD_UNREADABLE;
    if (!c.scalar) {
        verdict(&c, 0, "slot %s has no scalar variant", atl_slot_name(entry->slot));
        return;
    }
    int open = 0;
    while (open < ARRAYS && guard_open(&c.rooms[open], ARRAY_FLOATS, kind) == 0)
        open++;
    if (open < ARRAYS)
        verdict(&c, 0, "no memory for guarded arrays");
    for (int side = GUARD_BEFORE; open == ARRAYS && side <= GUARD_AFTER; side++) {
        c.side = (guard_side)side;
        dispatch(&c);
    }
    while (open > 0)
        guard_close(&c.rooms[--open]);
}
