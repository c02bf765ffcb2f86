/* SPDX-License-Identifier: Apache-2.0 */
#include "fill.h"

#include <float.h>
#include <string.h>

/* SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. */
uint64_t fill_bits(uint64_t *seed) {
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

const char *fill_name(fill_kind kind) {
    static const char *const names[] = {"random", "integer", "peaks", "constant", "subnormal", "top"};
    return kind < FILL_KINDS ? names[kind] : "?";
}

/* Uniform in (-1, 1), all 24 bits of the fraction in use. */
static float uniform(uint64_t *seed) {
    return (float)((double)(fill_bits(seed) >> 40 << 1 | 1) * 0x1p-24 - 1);
}

static float subnormal(uint64_t *seed) {
    uint64_t bits = fill_bits(seed);
    uint32_t word = (uint32_t)(bits >> 41) >> (bits & 31); /* 23 bits of fraction and fewer; often 0 */
    word |= (uint32_t)(bits >> 5 & 1) << 31;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static float element(fill_kind kind, float scale, uint64_t *seed) {
    switch (kind) {
    case FILL_RANDOM: return scale * uniform(seed);
    case FILL_INTEGER: return (float)((int64_t)(fill_bits(seed) % 7) - 3);
    case FILL_PEAKS: return fill_bits(seed) % 29 ? 0.01f * scale * uniform(seed) : scale * (1 - 1e-5f * uniform(seed));
    case FILL_CONSTANT: return scale / 3;
    case FILL_SUBNORMAL: return subnormal(seed);
    default: return 0;
    }
}

void fill(float *x, int64_t count, fill_kind kind, float scale, uint64_t seed) {
    for (int64_t i = 0; i < count; i++)
        x[i] = element(kind, scale, &seed);
    if (kind == FILL_TOP && count > 0)
        x[fill_bits(&seed) % (uint64_t)count] = FLT_MAX * (1 - 0x1p-20f);
}
