/* SPDX-License-Identifier: Apache-2.0 */
/* The photograph with noise, denoised by a non-local block in which every pixel attends to every other. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"
#include "denoise.h"
#include "machine.h"

enum { NOISE_SEED = 1 };

typedef struct denoising {
    int size;
    int64_t values; /* of a picture: 3 size^2 */
    float *truth, *noisy, *x;
    denoise_weights weights;
    demo_run run;
} denoising;

static void denoising_free(denoising *d) {
    if (!d)
        return;
    demo_run_free(&d->run);
    free(d->truth);
    free(d->noisy);
    free(d->x);
    free(d);
}

/* The picture's colours as planes of values in 0..1. */
static void fill_truth(denoising *d, const image *picture) {
    for (int64_t i = 0; i < d->values; i++)
        d->truth[i % 3 * (d->values / 3) + i / 3] = picture->rgb[i] / 255.0f;
}

/* NULL after a message. */
static denoising *denoising_make(const image *picture) {
    denoising *d = calloc(1, sizeof *d);
    const int size = picture->width;
    const size_t plane = (size_t)size * (size_t)size * sizeof(float);
    if (d) {
        d->size = size;
        d->values = INT64_C(3) * size * size;
        d->truth = malloc(3 * plane);
        d->noisy = malloc(3 * plane);
        d->x = malloc(DENOISE_CHANNELS * plane);
    }
    if (!d || !d->truth || !d->noisy || !d->x) {
        denoising_free(d);
        failed("not enough memory for the patches of %dx%d pixels", size, size);
        return NULL;
    }
    fill_truth(d, picture);
    memcpy(d->noisy, d->truth, 3 * plane);
    denoise_add_noise(d->noisy, d->values, DEMO_SIGMA, NOISE_SEED);
    denoise_features(d->noisy, size, size, denoise_strength(DEMO_SIGMA), d->x);
    denoise_weights_fill(&d->weights, denoise_strength(DEMO_SIGMA));
    d->run = (demo_run){
        .desc = &d->weights.desc, .rank = 3, .shape = {DENOISE_CHANNELS, size, size}, .x = d->x, .task = "denoising"};
    return d;
}

/* A picture of the page from planes; values outside 0..1 are clipped. */
static int keep_picture(demo_picture *to, const float *planes, int size) {
    const int64_t positions = (int64_t)size * size;
    if (image_allocate(&to->image, size, size, "the page") != DONE)
        return FAILED;
    for (int64_t i = 0; i < 3 * positions; i++)
        to->image.rgb[i] = (uint8_t)lrintf(255.0f * fminf(1.0f, fmaxf(0.0f, planes[i % 3 * positions + i / 3])));
    return DONE;
}

static int keep_pictures(demo *demo, const denoising *d) {
    demo_picture *p = demo->pictures;
    const float *result = d->run.y + DENOISE_RESULT * (d->values / 3);
    demo->psnr_before = denoise_psnr(d->noisy, d->truth, d->values);
    demo->psnr_after = denoise_psnr(result, d->truth, d->values);
    snprintf(p[0].title, sizeof p[0].title, "The photograph");
    snprintf(p[0].text, sizeof p[0].text, "The middle of the photograph, %d by %d pixels.", d->size, d->size);
    snprintf(p[1].title, sizeof p[1].title, "With noise, %.2f dB", demo->psnr_before);
    snprintf(p[1].text, sizeof p[1].text,
             "The photograph under coloured grain: Gaussian noise with a standard deviation of 25 of 255.");
    snprintf(p[2].title, sizeof p[2].title, "Denoised, %.2f dB", demo->psnr_after);
    snprintf(
        p[2].text, sizeof p[2].text,
        "The noisy picture denoised, PSNR %+.2f dB: each pixel is the mean of those whose surroundings look alike.",
        demo->psnr_after - demo->psnr_before);
    int code = keep_picture(&p[0], d->truth, d->size);
    if (code == DONE)
        code = keep_picture(&p[1], d->noisy, d->size);
    if (code == DONE)
        code = keep_picture(&p[2], result, d->size);
    return code;
}

/* Runs again, with the map of the chosen rows. */
static int run_with_map(demo *demo, const demo_run *run) {
    atl_error error;
    atl_run_options options;
    atl_run_options_init(&options);
    options.map_rows = demo->rows;
    options.map_row_count = DEMO_ROWS;
    demo->map = malloc(sizeof(float) * DEMO_ROWS * (size_t)demo->sample.positions);
    if (!demo->map)
        return failed("out of memory");
    if (atl_run(run->plan, 1, run->x, run->y, demo->map, &options, &error) != ATL_OK)
        return failed("%s", error.message);
    return DONE;
}

/* Outputs without the map, then with it, and the map, against float64. */
static int check(demo *demo, const demo_run *run, demo_line *line) {
    const double plain = demo_run_error_share(run, demo->rows, NULL);
    if (run_with_map(demo, run) != DONE)
        return FAILED;
    progress_bar(run->done, "denoising: the float64 oracle");
    const double mapped = demo_run_error_share(run, demo->rows, demo->map);
    if (plain < 0 || mapped < 0)
        return failed("denoising: no memory for the oracle");
    line->share = fmax(plain, mapped);
    demo->wrong |= !(line->share <= 1);
    return DONE;
}

static void print_result(const demo *demo) {
    const demo_line *line = &demo->denoising;
    char memory[32], matrix[32], count[32];
    demo_count_text(demo->sample.positions, count, sizeof count);
    printf("\ndenoising by attention: %s pixels attend to one another by the %dx%d patches around them\n", count,
           DENOISE_SIDE, DENOISE_SIDE);
    printf("  PSNR    %.2f dB with noise (standard deviation 25 of 255), %.2f dB denoised: %+.2f dB\n",
           demo->psnr_before, demo->psnr_after, demo->psnr_after - demo->psnr_before);
    printf("  time    %.4g s, %.4g GFLOP/s", line->seconds, line->flops / line->seconds * 1e-9);
    if (line->bound > 0)
        printf(", %.1f %% of what this machine allows", 100 * line->bound / line->seconds);
    printf("\n  memory  %s over input and output; the %s x %s matrix would take %s\n",
           line->memory >= 0 ? demo_bytes_text((double)line->memory, memory, sizeof memory) : "?", count, count,
           demo_bytes_text(line->pairs * sizeof(float), matrix, sizeof matrix));
    printf("  error   %.2g of what float32 allows, against float64 at %d pixels and their rows of the matrix\n",
           line->share, DEMO_ROWS);
}

int demo_denoise(demo *demo) {
    denoising *d = denoising_make(&demo->sample.picture);
    if (!d)
        return FAILED;
    demo_line *line = &demo->denoising;
    line->kind = "non-local";
    line->pairs = (double)demo->sample.positions * (double)demo->sample.positions;
    d->run.done = (double)demo->line_count / (demo->line_count + 1);
    progress_bar(d->run.done, "denoising");
    int code = demo_run_measure(demo, &d->run, line);
    if (code == DONE)
        code = keep_pictures(demo, d);
    if (code == DONE)
        code = check(demo, &d->run, line);
    progress_clear();
    if (code == DONE)
        print_result(demo);
    denoising_free(d);
    return code;
}

int demo_time_denoising(const demo *demo, int size, double *run, double *oracle) {
    static const int64_t rows[DEMO_ROWS];
    image picture = {0};
    if (image_square(&demo->source, size, &picture) != DONE)
        return FAILED;
    denoising *d = denoising_make(&picture);
    free(picture.rgb);
    if (!d)
        return FAILED;
    d->run.task = NULL;
    int code = demo_run_prepare(demo, &d->run);
    if (code == DONE)
        code = demo_run_time(demo, &d->run, run);
    const double start = machine_now();
    if (code == DONE && demo_run_error_share(&d->run, rows, NULL) < 0)
        code = failed("denoising: no memory for the oracle");
    *oracle = machine_now() - start;
    denoising_free(d);
    return code;
}
