/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the layers of the demo read: 64 numbers for every pixel, all taken from the picture.
 *
 *      0- 2  red, green, blue in 0..1
 *      3- 4  row and column in 0..1
 *      5     one: gives a projection without bias a constant
 *      6-20  local mean of red, green, blue in squares of radius 1, 2, 4, 8, 16
 *     21-35  local standard deviation, likewise
 *     36-41  gradient of red, green, blue along columns, then along rows
 *     42-47  products of two colours
 *     48-55  luminance less that of each of the eight neighbours
 *     56-63  luminance, saturation, red-green, yellow-blue, distance from the centre, waves along row, column and diagonal
 */
#include <math.h>
#include <stdlib.h>

#include "demo.h"

enum { RED, ROW = 3, COLUMN, ONE, MEAN, DEVIATION = 21, GRADIENT = 36, PRODUCT = 42, NEIGHBOUR = 48, REST = 56 };
enum { RADII = 5 };
static const int radii[RADII] = {1, 2, 4, 8, 16};
static const float luminance_of[3] = {0.299f, 0.587f, 0.114f};

static int clamp_to(int value, int size) {
    return value < 0 ? 0 : value >= size ? size - 1 : value;
}

/* The mean over the part of a square of `radius` that lies in the picture, one axis after the other. */
static void box_mean(const float *from, int size, int radius, float *between, float *to) {
    for (int pass = 0; pass < 2; pass++) {
        const float *source = pass ? between : from;
        float *target = pass ? to : between;
        const int step = pass ? size : 1, line = pass ? 1 : size;
        for (int a = 0; a < size; a++)
            for (int b = 0; b < size; b++) {
                const int first = clamp_to(b - radius, size), last = clamp_to(b + radius, size);
                float sum = 0;
                for (int k = first; k <= last; k++)
                    sum += source[(int64_t)a * line + (int64_t)k * step];
                target[(int64_t)a * line + (int64_t)b * step] = sum / (float)(last - first + 1);
            }
    }
}

/* Local means and standard deviations; `scratch` holds two planes. */
static void fill_local(demo_sample *s, float *scratch) {
    const int64_t n = s->positions;
    for (int r = 0; r < RADII; r++)
        for (int c = 0; c < 3; c++) {
            const float *colour = s->x + (RED + c) * n;
            float *mean = s->x + (MEAN + 3 * r + c) * n, *deviation = s->x + (DEVIATION + 3 * r + c) * n;
            box_mean(colour, s->size, radii[r], scratch, mean);
            for (int64_t i = 0; i < n; i++)
                scratch[n + i] = colour[i] * colour[i];
            box_mean(scratch + n, s->size, radii[r], scratch, deviation);
            for (int64_t i = 0; i < n; i++)
                deviation[i] = sqrtf(fmaxf(0.0f, deviation[i] - mean[i] * mean[i]));
        }
}

static float luminance_at(const demo_sample *s, int row, int column) {
    const uint8_t *p = s->picture.rgb + 3 * ((int64_t)clamp_to(row, s->size) * s->size + clamp_to(column, s->size));
    return (luminance_of[0] * p[0] + luminance_of[1] * p[1] + luminance_of[2] * p[2]) / 255.0f;
}

/* Channels that look at the neighbours. */
static void fill_neighbours(demo_sample *s, int row, int column) {
    const int64_t n = s->positions, at = (int64_t)row * s->size + column;
    const int64_t left = at - column + clamp_to(column - 1, s->size),
                  right = at - column + clamp_to(column + 1, s->size);
    const int64_t up = (int64_t)clamp_to(row - 1, s->size) * s->size + column;
    const int64_t down = (int64_t)clamp_to(row + 1, s->size) * s->size + column;
    for (int c = 0; c < 3; c++) {
        const float *colour = s->x + (RED + c) * n;
        s->x[(GRADIENT + c) * n + at] = 0.5f * (colour[right] - colour[left]);
        s->x[(GRADIENT + 3 + c) * n + at] = 0.5f * (colour[down] - colour[up]);
    }
    const float own = luminance_at(s, row, column);
    for (int k = 0, channel = NEIGHBOUR; k < 9; k++)
        if (k != 4)
            s->x[channel++ * n + at] = own - luminance_at(s, row + k / 3 - 1, column + k % 3 - 1);
}

/* Channels that look at the pixel alone. */
static void fill_pixel(demo_sample *s, int row, int column) {
    const int64_t n = s->positions, at = (int64_t)row * s->size + column;
    const float v = (float)row / (float)s->size, u = (float)column / (float)s->size;
    float *x = s->x + at, rgb[3];
    for (int c = 0; c < 3; c++)
        x[(RED + c) * n] = rgb[c] = s->picture.rgb[3 * at + c] / 255.0f;
    x[ROW * n] = v;
    x[COLUMN * n] = u;
    x[ONE * n] = 1.0f;
    for (int c = 0; c < 3; c++) {
        x[(PRODUCT + c) * n] = rgb[c] * rgb[c];
        x[(PRODUCT + 3 + c) * n] = rgb[c] * rgb[(c + 1) % 3];
    }
    const float most = fmaxf(rgb[0], fmaxf(rgb[1], rgb[2])), least = fminf(rgb[0], fminf(rgb[1], rgb[2]));
    const float rest[] = {
        luminance_at(s, row, column), most - least,    rgb[0] - rgb[1], 0.5f * (rgb[0] + rgb[1]) - rgb[2],
        hypotf(u - 0.5f, v - 0.5f),   sinf(25.0f * v), sinf(25.0f * u), sinf(25.0f * (u + v))};
    for (int k = 0; k < DEMO_CHANNELS - REST; k++)
        x[(REST + k) * n] = rest[k];
}

int demo_sample_make(const image *source, int size, demo_sample *sample) {
    *sample = (demo_sample){.size = size, .positions = (int64_t)size * size};
    if (image_square(source, size, &sample->picture) != DONE)
        return FAILED;
    sample->x = aligned_alloc(64, (size_t)sample->positions * DEMO_CHANNELS * sizeof(float));
    float *scratch = malloc((size_t)sample->positions * 2 * sizeof(float));
    if (!sample->x || !scratch) {
        free(scratch);
        demo_sample_free(sample);
        return failed("not enough memory for %d channels of %dx%d pixels", DEMO_CHANNELS, size, size);
    }
    for (int row = 0; row < size; row++)
        for (int column = 0; column < size; column++)
            fill_pixel(sample, row, column);
    for (int row = 0; row < size; row++)
        for (int column = 0; column < size; column++)
            fill_neighbours(sample, row, column);
    fill_local(sample, scratch);
    free(scratch);
    return DONE;
}

void demo_sample_free(demo_sample *sample) {
    free(sample->picture.rgb);
    free(sample->x);
    *sample = (demo_sample){0};
}
