/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what was measured. */
#include <stdio.h>

#include "demo.h"

#define MIB (1024.0 * 1024.0)

void demo_print_head(void) {
    printf("\n%-22s %-11s %8s %8s %8s %7s %10s %9s %7s\n", "layer", "input", "ms", "GFLOP/s", "bound ms", "share",
           "memory", "N x N", "error");
}

/* Four digits, or all of a large number. */
static const char *number_text(double number, char *text, size_t capacity) {
    if (number >= 1000)
        snprintf(text, capacity, "%.0f", number);
    else
        snprintf(text, capacity, "%.4g", number);
    return text;
}

static const char *share_text(const demo_line *line, char *text, size_t capacity) {
    if (line->bound <= 0)
        return "?";
    snprintf(text, capacity, "%.1f %%", 100 * line->bound / line->seconds);
    return text;
}

static const char *bytes_text(double bytes, char *text, size_t capacity) {
    if (bytes < 0)
        return "?";
    if (bytes < 1024 * MIB)
        snprintf(text, capacity, "%.1f MiB", bytes / MIB);
    else
        snprintf(text, capacity, "%.3g GiB", bytes / (1024 * MIB));
    return text;
}

void demo_print_line(const demo_line *line) {
    char shape[64], ms[32], gflops[32], bound[32], share[32], memory[32], pairs[32];
    printf("%-22s %-11s %8s %8s %8s %7s %10s %9s %7.2g\n", line->kind,
           shape_text(line->rank, line->shape, shape, sizeof shape), number_text(line->seconds * 1e3, ms, sizeof ms),
           number_text(line->flops / line->seconds * 1e-9, gflops, sizeof gflops),
           line->bound > 0 ? number_text(line->bound * 1e3, bound, sizeof bound) : "?",
           share_text(line, share, sizeof share), bytes_text((double)line->memory, memory, sizeof memory),
           line->pairs > 0 ? bytes_text(line->pairs * sizeof(float), pairs, sizeof pairs) : "-", line->share);
}

void demo_print_foot(void) {
    printf(
        "\nms: the shortest run; bound: what the multiply-add peak or memory allows, and its share of the time (over\n"
        "100 %%: the data stay in the cache, or others were at work while the machine was measured); memory: peak\n"
        "over input and output; N x N: what the matrix of all pairs would take; error: share of what float32 allows,\n"
        "against float64 (with N x N at %d positions)\n",
        DEMO_ROWS);
}
