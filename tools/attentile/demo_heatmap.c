/* SPDX-License-Identifier: Apache-2.0 */
/* The picture that shows where chosen pixels look: first the picture with their marks, then one heat map for each. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"

enum { TILES = DEMO_MARKS + 1, TILE_COLUMNS = 3, TILE_TARGET = 480, MARGIN = 12 };

static const uint8_t mark_colours[DEMO_MARKS][3] = {
    {230, 60, 60}, {70, 140, 255}, {60, 200, 90}, {250, 190, 40}, {210, 90, 230}};

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

/* The weight that is drawn brightest: all but the largest half percent are below it. 0 when memory runs out. */
static float white_point(const float *row, int64_t count) {
    float *sorted = malloc((size_t)count * sizeof *sorted);
    if (!sorted)
        return 0;
    memcpy(sorted, row, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_value);
    const float white = sorted[count - 1 - count / 200];
    free(sorted);
    return white > 0 ? white : 1.0f;
}

/* The colour of one pixel: the picture itself (heat < 0), or its dimmed grey under the heat. */
static void tile_pixel(const uint8_t *rgb, float heat, uint8_t *to) {
    const float grey = 0.5f * (0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2]);
    float hot[3];
    heat_colour(heat, hot);
    const float opacity = fminf(1.0f, 0.25f + 1.5f * heat);
    for (int c = 0; c < 3; c++)
        to[c] = heat < 0 ? rgb[c] : (uint8_t)(grey + opacity * (hot[c] - grey));
}

typedef struct canvas {
    image image;
    int scale, tile; /* pixels for one of the picture's; a tile's side */
} canvas;

static uint8_t *canvas_at(const canvas *c, int tile, int x, int y) {
    const int left = MARGIN + tile % TILE_COLUMNS * (c->tile + MARGIN);
    const int top = MARGIN + tile / TILE_COLUMNS * (c->tile + MARGIN);
    return c->image.rgb + 3 * ((int64_t)(top + y) * c->image.width + left + x);
}

static int draw_tile(canvas *c, int tile, const demo_sample *s, const float *row) {
    const float white = row ? white_point(row, s->positions) : 1.0f;
    if (white == 0)
        return failed("out of memory");
    for (int y = 0; y < c->tile; y++)
        for (int x = 0; x < c->tile; x++) {
            const int64_t at = (int64_t)(y / c->scale) * s->size + x / c->scale;
            /* The root lifts what is weak: weights span orders of magnitude. */
            tile_pixel(s->picture.rgb + 3 * at, row ? sqrtf(fminf(1.0f, row[at] / white)) : -1.0f,
                       canvas_at(c, tile, x, y));
        }
    return DONE;
}

/* A ring in the mark's colour between white ones, so that it shows on any ground. */
static void draw_mark(canvas *c, int tile, const demo_sample *s, int mark, int64_t row) {
    static const uint8_t white[3] = {255, 255, 255};
    const float middle_x = ((float)(row % s->size) + 0.5f) * (float)c->scale;
    const float middle_y = ((float)(row / s->size) + 0.5f) * (float)c->scale;
    for (int y = 0; y < c->tile; y++)
        for (int x = 0; x < c->tile; x++) {
            const float r = hypotf((float)x + 0.5f - middle_x, (float)y + 0.5f - middle_y);
            if (r > 5 && r < 12)
                memcpy(canvas_at(c, tile, x, y), r > 6.5f && r < 10.5f ? mark_colours[mark] : white, 3);
        }
}

static void draw_frame(canvas *c, int tile, int mark) {
    const int width = MARGIN / 3;
    for (int y = -width; y < c->tile + width; y++)
        for (int x = -width; x < c->tile + width; x++)
            if (x < 0 || y < 0 || x >= c->tile || y >= c->tile)
                memcpy(canvas_at(c, tile, x, y), mark_colours[mark], 3);
}

static int canvas_make(const demo *demo, canvas *c) {
    const int size = demo->sample.size, rows = (TILES + TILE_COLUMNS - 1) / TILE_COLUMNS;
    c->scale = (TILE_TARGET + size / 2) / size > 1 ? (TILE_TARGET + size / 2) / size : 1;
    c->tile = size * c->scale;
    if (image_allocate(&c->image, TILE_COLUMNS * (c->tile + MARGIN) + MARGIN, rows * (c->tile + MARGIN) + MARGIN,
                       demo->output_path) != DONE)
        return FAILED;
    memset(c->image.rgb, 32, (size_t)c->image.width * (size_t)c->image.height * 3);
    return DONE;
}

int demo_write_heatmap(const demo *demo) {
    const demo_sample *s = &demo->sample;
    canvas c = {0};
    int code = canvas_make(demo, &c);
    if (code == DONE)
        code = draw_tile(&c, 0, s, NULL);
    for (int k = 0; k < DEMO_MARKS && code == DONE; k++) {
        code = draw_tile(&c, k + 1, s, demo->map + k * s->positions);
        draw_mark(&c, 0, s, k, demo->rows[k]);
        draw_mark(&c, k + 1, s, k, demo->rows[k]);
        draw_frame(&c, k + 1, k);
    }
    if (code == DONE)
        code = image_write_png(demo->output_path, &c.image);
    free(c.image.rgb);
    return code;
}
