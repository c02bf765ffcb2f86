/* SPDX-License-Identifier: Apache-2.0 */
/* Where chosen pixels look: their rows of the attention matrix as pictures. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"

/* A pixel's local mean colour and position, for telling pixels apart. */
static void signature(const demo_sample *s, int64_t at, float *values) {
    for (int c = 0; c < 3; c++)
        values[c] = s->x[(DEMO_LOCAL_COLOUR + c) * s->positions + at];
    values[3] = 0.6f * (float)(at / s->size) / (float)s->size;
    values[4] = 0.6f * (float)(at % s->size) / (float)s->size;
}

static float distance(const demo_sample *s, int64_t a, int64_t b) {
    float va[5], vb[5], sum = 0;
    signature(s, a, va);
    signature(s, b, vb);
    for (int k = 0; k < 5; k++)
        sum += (va[k] - vb[k]) * (va[k] - vb[k]);
    return sum;
}

/* The grid point whose least distance to the rows chosen so far is largest. */
static int64_t farthest(const demo_sample *s, const int64_t *rows, int count) {
    const int step = s->size / DEMO_MIN_SIZE;
    int64_t best = 0;
    float best_distance = -1;
    for (int y = step; y < s->size - step; y += step)
        for (int x = step; x < s->size - step; x += step) {
            const int64_t at = (int64_t)y * s->size + x;
            float least = INFINITY;
            for (int k = 0; k < count; k++)
                least = fminf(least, distance(s, at, rows[k]));
            if (least > best_distance) {
                best_distance = least;
                best = at;
            }
        }
    return best;
}

/* The marks: the middle of the picture, then pixels that differ most. The rest: a fixed pseudo-random choice. */
void demo_choose_rows(const demo_sample *s, int64_t *rows) {
    rows[0] = (int64_t)(s->size / 2) * s->size + s->size / 2;
    for (int k = 1; k < DEMO_MARKS; k++)
        rows[k] = farthest(s, rows, k);
    uint64_t state = 65536;
    for (int k = DEMO_MARKS; k < DEMO_ROWS; k++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        rows[k] = (int64_t)((state >> 33) % (uint64_t)s->positions);
    }
}

/* Black, purple, orange, yellow, white for 0..1. */
static void heat_colour(float value, float *rgb) {
    static const float stops[][3] = {{0, 0, 8},      {90, 20, 110},   {215, 55, 70},
                                     {250, 150, 20}, {255, 235, 120}, {255, 255, 255}};
    const int last = (int)(sizeof stops / sizeof stops[0]) - 1;
    const float at = fminf(fmaxf(value, 0.0f), 1.0f) * (float)last;
    const int k = at >= (float)last ? last - 1 : (int)at;
    for (int c = 0; c < 3; c++)
        rgb[c] = stops[k][c] + (at - (float)k) * (stops[k + 1][c] - stops[k][c]);
}

static int by_value(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The weight that is drawn brightest: all but the largest half percent are below it. `sorted` ascends. */
static float white_point(const float *sorted, int64_t count) {
    const float white = sorted[count - 1 - count / 200];
    return white > 0 ? white : 1.0f;
}

/* The picture, dimmed and grey, under the heat. The root lifts what is weak: weights span orders of magnitude. */
static void draw_heat(const image *picture, const float *row, float white, image *to) {
    const int64_t positions = (int64_t)picture->width * picture->height;
    for (int64_t i = 0; i < positions; i++) {
        const uint8_t *rgb = picture->rgb + 3 * i;
        const float grey = 0.5f * (0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2]);
        const float heat = sqrtf(fminf(1.0f, row[i] / white));
        const float opacity = fminf(1.0f, 0.25f + 1.5f * heat);
        float hot[3];
        heat_colour(heat, hot);
        for (int c = 0; c < 3; c++)
            to->rgb[3 * i + c] = (uint8_t)(grey + opacity * (hot[c] - grey));
    }
}

/* How many pixels, the heaviest first, hold half of a row's weight. `sorted` ascends. */
static int64_t half_weight(const float *sorted, int64_t count) {
    double sum = 0;
    int64_t pixels = 0;
    while (pixels < count && sum < 0.5)
        sum += sorted[count - ++pixels];
    return pixels;
}

static void describe(const demo *demo, int mark, int64_t half, demo_picture *to) {
    const int size = demo->sample.size, row = (int)(demo->rows[mark] / size), column = (int)(demo->rows[mark] % size);
    char all[32], some[32];
    snprintf(to->title, sizeof to->title, "Where pixel %d looks", mark + 1);
    snprintf(to->text, sizeof to->text,
             "Attention of the pixel in row %d, column %d to all %s: half of its weight lies on %s of them%s.", row,
             column, demo_count_text(demo->sample.positions, all, sizeof all), demo_count_text(half, some, sizeof some),
             half == 1 ? ", itself" : "");
}

int demo_draw_attention(demo *demo) {
    const int64_t positions = demo->sample.positions;
    float *sorted = malloc((size_t)positions * sizeof *sorted);
    int code = sorted ? DONE : failed("out of memory");
    for (int k = 0; k < DEMO_MARKS && code == DONE; k++) {
        const float *row = demo->map + k * positions;
        demo_picture *picture = &demo->pictures[3 + k];
        code = image_allocate(&picture->image, demo->sample.size, demo->sample.size, "the page");
        if (code != DONE)
            break;
        memcpy(sorted, row, (size_t)positions * sizeof *sorted);
        qsort(sorted, (size_t)positions, sizeof *sorted, by_value);
        draw_heat(&demo->sample.picture, row, white_point(sorted, positions), &picture->image);
        describe(demo, k, half_weight(sorted, positions), picture);
    }
    free(sorted);
    return code;
}
