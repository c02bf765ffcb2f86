/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Non-local means (Buades, Coll, Morel, "A non-local algorithm for image denoising", CVPR 2005) as a non-local block. A
 * pixel becomes the mean of all pixels, weighted by how alike the patches around them are:
 *
 *     y_i = sum over j of w_ij x_j,  w_ij proportional to exp(-|p_i - p_j|^2 / h^2),  p = the 5 x 5 x 3 values around a pixel
 *
 * Since -|p_i - p_j|^2 = 2 p_i.p_j - |p_j|^2 - |p_i|^2 and a softmax over j does not see |p_i|^2, these are the weights of a
 * non-local block whose input holds, for each pixel,
 *
 *      0-74  the patch, times sqrt(2) / h; colour by colour, row by row
 *     75     one: what theta picks where phi picks
 *     76     -|p|^2 / h^2
 *     77-79  zeros, where W puts the result, so that the residual adds nothing
 *
 * and whose g picks the patch's centre and undoes the scale.
 */
#ifndef ATTENTILE_TOOLS_DENOISE_H
#define ATTENTILE_TOOLS_DENOISE_H

#include <attentile/attentile.h>

enum {
    DENOISE_RADIUS = 2,
    DENOISE_SIDE = 2 * DENOISE_RADIUS + 1,
    DENOISE_PATCH = 3 * DENOISE_SIDE * DENOISE_SIDE,
    DENOISE_ONE = DENOISE_PATCH,
    DENOISE_NORM,
    DENOISE_RESULT, /* the first of three channels */
    DENOISE_CHANNELS = DENOISE_RESULT + 3,
    DENOISE_HEAD_DIM = DENOISE_PATCH + 1
};

typedef struct denoise_weights {
    float theta[DENOISE_HEAD_DIM * DENOISE_CHANNELS], phi[DENOISE_HEAD_DIM * DENOISE_CHANNELS];
    float g[3 * DENOISE_CHANNELS], w[DENOISE_CHANNELS * 3];
    atl_tensor tensors[4];
    atl_layer_desc desc; /* points into the above: do not copy */
} denoise_weights;

void denoise_weights_fill(denoise_weights *weights, double h);

/* The h for noise of standard deviation sigma: h^2 = 75 (0.9 sigma)^2. Two patches that differ by their noise alone are
 * 75 * 2 sigma^2 apart. */
double denoise_strength(double sigma);

/* x [DENOISE_CHANNELS, height, width] from a picture [3, height, width], whose border pixels go on outside. */
void denoise_features(const float *picture, int width, int height, double h, float *x);

/* Adds white Gaussian noise, the same for the same seed. */
void denoise_add_noise(float *values, int64_t count, double sigma, uint64_t seed);

/* Peak signal-to-noise ratio in dB, of values in 0..1. */
double denoise_psnr(const float *values, const float *truth, int64_t count);

#endif
