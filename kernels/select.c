/* SPDX-License-Identifier: Apache-2.0 */
/* Which variant a machine uses: references first, overwritten upward in the order of kernels.def. */
#include "kernels.h"

#define ATL_KERNEL(slot, symbol, isa, mr, nr) {ATL_SLOT_##slot, ATL_ISA_##isa, mr, nr, #symbol, (void (*)(void))symbol},
const atl_kernel_entry atl_kernel_entries[] = {
#include "kernels.def"
};
#undef ATL_KERNEL

const int atl_kernel_entry_count = sizeof atl_kernel_entries / sizeof *atl_kernel_entries;

const char *atl_isa_name(atl_isa isa) {
    static const char *const names[ATL_ISA_COUNT] = {"scalar", "avx2", "avx512", "neon"};
    return (unsigned)isa < ATL_ISA_COUNT ? names[isa] : "?";
}

const char *atl_slot_name(atl_slot slot) {
#define ATL_SLOT(name) #name,
    static const char *const names[ATL_SLOT_COUNT] = {
#include "kernels.def"
    };
#undef ATL_SLOT
    return (unsigned)slot < ATL_SLOT_COUNT ? names[slot] : "?";
}

int atl_isa_includes(atl_isa best, atl_isa isa) {
    return isa == ATL_ISA_SCALAR || isa == best || (best == ATL_ISA_AVX512 && isa == ATL_ISA_AVX2);
}

void atl_kernels_set(atl_kernels *table, const atl_kernel_entry *entry) {
    switch (entry->slot) {
#define ATL_SLOT(name)                                                                                                 \
    case ATL_SLOT_##name:                                                                                              \
        table->name.fn = (atl_##name##_fn *)entry->fn;                                                                 \
        table->name.mr = entry->mr;                                                                                    \
        table->name.nr = entry->nr;                                                                                    \
        table->name.variant = entry->variant;                                                                          \
        break;
#include "kernels.def"
#undef ATL_SLOT
    default: break;
    }
}

void atl_kernels_select(atl_kernels *table, atl_isa best) {
    for (int i = 0; i < atl_kernel_entry_count; i++)
        if (atl_isa_includes(best, atl_kernel_entries[i].isa))
            atl_kernels_set(table, &atl_kernel_entries[i]);
}

const char *atl_kernels_variant(const atl_kernels *table, atl_slot slot) {
    switch (slot) {
#define ATL_SLOT(name)                                                                                                 \
    case ATL_SLOT_##name:                                                                                              \
        return table->name.variant;
#include "kernels.def"
#undef ATL_SLOT
    default: return "?";
    }
}
