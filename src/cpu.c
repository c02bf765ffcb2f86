/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

atl_isa atl_cpu_best(void) {
#if defined(__x86_64__)
    /* these ask the operating system's part (XCR0) as well */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return ATL_ISA_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return ATL_ISA_AVX2;
    return ATL_ISA_SCALAR;
#elif defined(__aarch64__)
    return ATL_ISA_NEON;
#else
    return ATL_ISA_SCALAR;
#endif
}

/* The ISA of that name; `from` is where the name comes from. */
static atl_status parse_isa(const char *name, const char *from, atl_isa *isa, atl_error *error) {
    atl_isa best = atl_cpu_best();
    int i = 0;
    while (i < ATL_ISA_COUNT && strcmp(name, atl_isa_name((atl_isa)i)) != 0)
        i++;
    if (i == ATL_ISA_COUNT)
        return atl_fail(error, ATL_INVALID_ARGUMENT,
                        "%s: no such instruction set (expected scalar, avx2, avx512 or neon, got '%s')", from, name);
    if (!atl_isa_includes(best, (atl_isa)i))
        return atl_fail(error, ATL_UNSUPPORTED, "%s: this machine lacks %s (expected at most %s, got %s)", from, name,
                        atl_isa_name(best), name);
    *isa = (atl_isa)i;
    return ATL_OK;
}

atl_status atl_cpu_choose(const char *name, atl_isa *isa, atl_error *error) {
    const char *variable = getenv("ATTENTILE_MAX_ISA");
    atl_status status = ATL_OK;
    *isa = atl_cpu_best();
    if (variable) /* a wrong one is an error even where it does not count */
        status = parse_isa(variable, "ATTENTILE_MAX_ISA", isa, error);
    return name && status == ATL_OK ? parse_isa(name, "max_isa", isa, error) : status;
}

#if defined(__x86_64__)
enum { MXCSR_DEFAULT = 0x1f80 };
atl_fp_state atl_fp_enter(void) {
    atl_fp_state state = {.control = _mm_getcsr()};
    _mm_setcsr(MXCSR_DEFAULT);
    return state;
}
void atl_fp_leave(atl_fp_state state) {
    _mm_setcsr((unsigned)state.control);
}
#elif defined(__aarch64__)
atl_fp_state atl_fp_enter(void) {
    atl_fp_state state;
    uint64_t normal = 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state.control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(state.flags));
    __asm__ volatile("msr fpcr, %0" : : "r"(normal));
    return state;
}
void atl_fp_leave(atl_fp_state state) {
    __asm__ volatile("msr fpcr, %0" : : "r"(state.control));
    __asm__ volatile("msr fpsr, %0" : : "r"(state.flags));
}
#else
atl_fp_state atl_fp_enter(void) {
    return (atl_fp_state){0};
}
void atl_fp_leave(atl_fp_state state) {
    (void)state;
}
#endif
