/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what was measured. */
#include <inttypes.h>
#include <stdio.h>

#include "demo.h"

#define MIB (1024.0 * 1024.0)

const char *const demo_columns[DEMO_COLUMNS] = {"layer", "input",  "ms",    "GFLOP/s", "bound ms",
                                                "share", "memory", "N x N", "error"};

static void print_cells(const char *const cells[DEMO_COLUMNS]) {
    static const int widths[DEMO_COLUMNS] = {-22, -11, 8, 8, 8, 7, 10, 9, 7};
    for (int i = 0; i < DEMO_COLUMNS; i++)
        printf("%s%*s", i ? " " : "", widths[i], cells[i]);
    printf("\n");
}

void demo_print_head(void) {
    printf("\n");
    print_cells(demo_columns);
}

/* Four digits, or all of a large number. */
static void number_text(double number, demo_cell cell) {
    snprintf(cell, sizeof(demo_cell), number >= 1000 ? "%.0f" : "%.4g", number);
}

const char *demo_bytes_text(double bytes, char *text, size_t capacity) {
    if (bytes < 1024 * MIB)
        snprintf(text, capacity, "%.1f MiB", bytes / MIB);
    else
        snprintf(text, capacity, "%.3g GiB", bytes / (1024 * MIB));
    return text;
}

const char *demo_count_text(int64_t count, char *text, size_t capacity) {
    char digits[24];
    const int length = snprintf(digits, sizeof digits, "%" PRId64, count);
    size_t used = 0;
    for (int i = 0; i < length && used + 2 < capacity; i++) {
        if (i && (length - i) % 3 == 0)
            text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = '\0';
    return text;
}

void demo_line_cells(const demo_line *line, demo_cell cells[DEMO_COLUMNS]) {
    for (int i = 0; i < DEMO_COLUMNS; i++)
        snprintf(cells[i], sizeof cells[i], "?");
    snprintf(cells[0], sizeof cells[0], "%s", line->kind);
    shape_text(line->rank, line->shape, cells[1], sizeof cells[1]);
    number_text(line->seconds * 1e3, cells[2]);
    number_text(line->flops / line->seconds * 1e-9, cells[3]);
    if (line->bound > 0) {
        number_text(line->bound * 1e3, cells[4]);
        snprintf(cells[5], sizeof cells[5], "%.1f %%", 100 * line->bound / line->seconds);
    }
    if (line->memory >= 0)
        demo_bytes_text((double)line->memory, cells[6], sizeof cells[6]);
    snprintf(cells[7], sizeof cells[7], "-");
    if (line->pairs > 0)
        demo_bytes_text(line->pairs * sizeof(float), cells[7], sizeof cells[7]);
    snprintf(cells[8], sizeof cells[8], "%.2g", line->share);
}

void demo_print_line(const demo_line *line) {
    demo_cell cells[DEMO_COLUMNS];
    const char *texts[DEMO_COLUMNS];
    demo_line_cells(line, cells);
    for (int i = 0; i < DEMO_COLUMNS; i++)
        texts[i] = cells[i];
    print_cells(texts);
}

void demo_print_foot(void) {
    printf(
        "\nms: the shortest run; bound: what the multiply-add peak or memory allows, and its share of the time (over\n"
        "100 %%: the data stay in the cache, or others were at work while the machine was measured); memory: peak\n"
        "over input and output; N x N: what the matrix of all pairs would take; error: share of what float32 allows,\n"
        "against float64 (with N x N at %d positions)\n",
        DEMO_ROWS);
}
