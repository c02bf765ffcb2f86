/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "denoise.h"

#define CENTRE (DENOISE_RADIUS * DENOISE_SIDE + DENOISE_RADIUS) /* of a colour's part of a patch */

static atl_tensor matrix(const char *name, const float *data, int rows, int columns) {
    return (atl_tensor){.name = name, .data = data, .dtype = ATL_F32, .rank = 2, .shape = {rows, columns}};
}

static void describe(denoise_weights *w) {
    w->tensors[0] = matrix("theta.weight", w->theta, DENOISE_HEAD_DIM, DENOISE_CHANNELS);
    w->tensors[1] = matrix("phi.weight", w->phi, DENOISE_HEAD_DIM, DENOISE_CHANNELS);
    w->tensors[2] = matrix("g.weight", w->g, 3, DENOISE_CHANNELS);
    w->tensors[3] = matrix("W.weight", w->w, DENOISE_CHANNELS, 3);
    atl_layer_desc_init(&w->desc);
    w->desc.kind = "non-local";
    w->desc.tensors = w->tensors;
    w->desc.tensor_count = 4;
}

void denoise_weights_fill(denoise_weights *w, double h) {
    memset(w, 0, sizeof *w);
    for (int k = 0; k < DENOISE_PATCH; k++)
        w->theta[k * DENOISE_CHANNELS + k] = w->phi[k * DENOISE_CHANNELS + k] = 1.0f;
    w->theta[DENOISE_PATCH * DENOISE_CHANNELS + DENOISE_ONE] = 1.0f;
    w->phi[DENOISE_PATCH * DENOISE_CHANNELS + DENOISE_NORM] = 1.0f;
    for (int c = 0; c < 3; c++) {
        w->g[c * DENOISE_CHANNELS + c * DENOISE_SIDE * DENOISE_SIDE + CENTRE] = (float)(h / sqrt(2));
        w->w[(DENOISE_RESULT + c) * 3 + c] = 1.0f;
    }
    describe(w);
}

double denoise_strength(double sigma) {
    return sqrt(DENOISE_PATCH) * 0.9 * sigma;
}

static int clamp_to(int value, int size) {
    return value < 0 ? 0 : value >= size ? size - 1 : value;
}

/* One channel: a plane of the picture, moved by an offset and scaled. */
static void fill_shifted(const float *plane, int width, int height, int down, int right, float scale, float *to) {
    for (int y = 0; y < height; y++) {
        const float *line = plane + (int64_t)clamp_to(y + down, height) * width;
        for (int x = 0; x < width; x++)
            *to++ = scale * line[clamp_to(x + right, width)];
    }
}

void denoise_features(const float *picture, int width, int height, double h, float *x) {
    const int64_t positions = (int64_t)width * height;
    float *norm = x + DENOISE_NORM * positions;
    for (int k = 0; k < DENOISE_PATCH; k++) {
        const int colour = k / (DENOISE_SIDE * DENOISE_SIDE), at = k % (DENOISE_SIDE * DENOISE_SIDE);
        fill_shifted(picture + colour * positions, width, height, at / DENOISE_SIDE - DENOISE_RADIUS,
                     at % DENOISE_SIDE - DENOISE_RADIUS, (float)(sqrt(2) / h), x + k * positions);
    }
    for (int64_t i = 0; i < positions; i++) {
        double squares = 0;
        for (int k = 0; k < DENOISE_PATCH; k++)
            squares += (double)x[k * positions + i] * x[k * positions + i];
        x[DENOISE_ONE * positions + i] = 1.0f;
        norm[i] = (float)(-0.5 * squares);
    }
    memset(x + DENOISE_RESULT * positions, 0, (size_t)positions * 3 * sizeof *x);
}

/* Uniform in (0, 1): splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). */
static double uniform(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return ((double)(z >> 11) + 0.5) * 0x1p-53;
}

void denoise_add_noise(float *values, int64_t count, double sigma, uint64_t seed) {
    for (int64_t i = 0; i < count; i++) { /* Box and Muller */
        const double length = sqrt(-2 * log(uniform(&seed))), angle = 2 * M_PI * uniform(&seed);
        values[i] += (float)(sigma * length * cos(angle));
    }
}

double denoise_psnr(const float *values, const float *truth, int64_t count) {
    double squares = 0;
    for (int64_t i = 0; i < count; i++)
        squares += ((double)values[i] - truth[i]) * ((double)values[i] - truth[i]);
    return -10 * log10(squares / (double)count);
}
