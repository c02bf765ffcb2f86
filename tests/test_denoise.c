/* SPDX-License-Identifier: Apache-2.0 */
/* The demo's denoising: the non-local block equals non-local means as it is defined, in double precision. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attentile/attentile.h"
#include "denoise.h"

TestSuite(denoise, .timeout = 60);

enum { WIDTH = 23, HEIGHT = 19, POSITIONS = WIDTH * HEIGHT };

/* Surfaces, an edge and a pattern, so that there is what looks alike and what does not; then noise. */
static void draw(float *truth, float *noisy) {
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++)
                truth[(c * HEIGHT + y) * WIDTH + x] = x + 2 * y < 30    ? 0.2f + 0.1f * (float)c
                                                      : (x + y) % 4 < 2 ? 0.5f
                                                                        : 0.9f;
    memcpy(noisy, truth, sizeof(float) * 3 * POSITIONS);
    denoise_add_noise(noisy, 3 * POSITIONS, 25.0 / 255, 7);
}

static float at(const float *picture, int c, int y, int x) {
    y = y < 0 ? 0 : y >= HEIGHT ? HEIGHT - 1 : y;
    x = x < 0 ? 0 : x >= WIDTH ? WIDTH - 1 : x;
    return picture[(c * HEIGHT + y) * WIDTH + x];
}

/* The squared distance of the patches around two pixels. */
static double distance(const float *picture, int i, int j) {
    double sum = 0;
    for (int c = 0; c < 3; c++)
        for (int dy = -2; dy <= 2; dy++)
            for (int dx = -2; dx <= 2; dx++) {
                const double d = (double)at(picture, c, i / WIDTH + dy, i % WIDTH + dx) -
                                 at(picture, c, j / WIDTH + dy, j % WIDTH + dx);
                sum += d * d;
            }
    return sum;
}

/* Non-local means of one pixel: its weights, and its colours. */
static void means(const float *picture, double h2, int i, double weights[POSITIONS], double colours[3]) {
    double total = 0;
    for (int j = 0; j < POSITIONS; j++)
        total += weights[j] = exp(-distance(picture, i, j) / h2);
    for (int j = 0; j < POSITIONS; j++)
        weights[j] /= total;
    for (int c = 0; c < 3; c++) {
        colours[c] = 0;
        for (int j = 0; j < POSITIONS; j++)
            colours[c] += weights[j] * picture[c * POSITIONS + j];
    }
}

/* Runs the block as the demo does: all of y, and all of the map. */
static void run_block(const float *picture, double h, float *y, float *map) {
    static denoise_weights weights;
    static float x[DENOISE_CHANNELS * POSITIONS];
    atl_engine *engine = NULL;
    atl_layer *layer = NULL;
    atl_plan *plan = NULL;
    atl_error error;
    denoise_weights_fill(&weights, h);
    denoise_features(picture, WIDTH, HEIGHT, h, x);
    cr_assert(
        !atl_engine_create(NULL, &engine, &error) && !atl_layer_create(&weights.desc, &layer, &error) &&
            !atl_plan_create(layer, engine, 3, (int64_t[]){DENOISE_CHANNELS, HEIGHT, WIDTH}, NULL, &plan, &error) &&
            !atl_run(plan, 1, x, y, map, NULL, &error),
        "%s", error.message);
    for (int k = 0; k < DENOISE_RESULT * POSITIONS; k++)
        cr_assert_eq(y[k], x[k], "the residual changes channel %d", k / POSITIONS);
    atl_plan_release(plan);
    atl_layer_release(layer);
    atl_engine_release(engine);
}

/* Of a logit, which the exponential turns into a relative error of a weight: u (sqrt(K) + 4) sum |ab|, u = 2^-24, with K = 76 terms
 * and a sum of at most 3 |p|^2 / h^2 = 3 * 75 / (75 * 0.81 sigma^2). */
#define TOLERANCE (0x1p-24 * (sqrt(76) + 4) * 3 / (0.81 * (25.0 / 255) * (25.0 / 255)))

Test(denoise, the_block_is_non_local_means) {
    static float truth[3 * POSITIONS], noisy[3 * POSITIONS], y[DENOISE_CHANNELS * POSITIONS],
        map[POSITIONS * POSITIONS];
    static double weights[POSITIONS];
    const double sigma = 25.0 / 255, h = denoise_strength(sigma);
    cr_assert_float_eq(h * h, 75 * 0.81 * sigma * sigma, 1e-12);
    draw(truth, noisy);
    run_block(noisy, h, y, map);
    double largest = 0, moved = 0;
    for (int i = 0; i < POSITIONS; i++) {
        double colours[3];
        means(noisy, h * h, i, weights, colours);
        for (int c = 0; c < 3; c++) {
            largest = fmax(largest, fabs(y[(DENOISE_RESULT + c) * POSITIONS + i] - colours[c]));
            moved = fmax(moved, fabs(noisy[c * POSITIONS + i] - colours[c]));
        }
        for (int j = 0; j < POSITIONS; j++)
            cr_assert(fabs(map[i * POSITIONS + j] - weights[j]) <= TOLERANCE * weights[j] + 1e-30,
                      "A[%d, %d] is %g, expected %g", i, j, map[i * POSITIONS + j], weights[j]);
    }
    cr_expect(largest < 1e-5, "off by %g", largest);
    cr_expect(moved > 0.1, "nothing was denoised: %g", moved);
    const float *result = y + DENOISE_RESULT * POSITIONS;
    cr_expect(denoise_psnr(result, truth, 3 * POSITIONS) > denoise_psnr(noisy, truth, 3 * POSITIONS) + 3);
}

Test(denoise, noise_is_gaussian_and_repeats) {
    enum { COUNT = 100000 };
    static float a[COUNT], b[COUNT];
    double sum = 0, squares = 0;
    int outside = 0;
    denoise_add_noise(a, COUNT, 0.5, 3);
    denoise_add_noise(b, COUNT, 0.5, 3);
    cr_expect_arr_eq(a, b, sizeof a);
    for (int i = 0; i < COUNT; i++) {
        sum += a[i];
        squares += (double)a[i] * a[i];
        outside += fabsf(a[i]) > 1; /* two standard deviations: 4.55 % */
    }
    cr_expect(fabs(sum / COUNT) < 0.01 && fabs(squares / COUNT - 0.25) < 0.005, "%g, %g", sum / COUNT, squares / COUNT);
    cr_expect(outside > 4300 && outside < 4800, "%d", outside);
    memset(b, 0, sizeof b);
    denoise_add_noise(b, COUNT, 0.5, 4);
    cr_expect_neq(a[0], b[0]);
}

Test(denoise, psnr) {
    const float truth[] = {0, 0.5f, 1, 0.25f}, values[] = {0.1f, 0.4f, 0.9f, 0.35f};
    cr_expect_float_eq(denoise_psnr(values, truth, 4), 20, 1e-5);
}

/* A picture smaller than a patch has its border go on outside. */
Test(denoise, one_pixel) {
    static float x[DENOISE_CHANNELS];
    const float picture[3] = {0.5f, 0.25f, 1};
    denoise_features(picture, 1, 1, sqrt(2), x);
    for (int k = 0; k < DENOISE_PATCH; k++)
        cr_expect_eq(x[k], picture[k / 25]);
    cr_expect_eq(x[DENOISE_ONE], 1);
    cr_expect_float_eq(x[DENOISE_NORM], -25 * (0.25 + 0.0625 + 1) / 2, 1e-5);
}
