/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution, batch normalisation and relu of the convolutional kinds.
 *
 * Errors: a convolution is a sum of in k k products, those with the padding included, the bias one term more. Batch
 * normalisation is fma(sum, scale, shift) with scale = weight / sqrt(var + eps) and shift = bias - mean scale rounded to
 * float32; the convolution's own bias may be part of the shift. relu does not enlarge an error.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- convolution */

int oracle_conv_load(const atl_layer_desc *desc, const char *name, oracle_conv *conv) {
    char key[128];
    *conv = (oracle_conv){0};
    if (strlen(name) + sizeof ".weight" > sizeof key)
        return -1;
    const atl_tensor *weight = oracle_find(desc, strcat(strcpy(key, name), ".weight"));
    if (!weight || weight->rank != 4 || weight->shape[2] != weight->shape[3] || weight->shape[2] % 2 == 0)
        return -1;
    conv->out = weight->shape[0];
    conv->in = weight->shape[1];
    conv->k = weight->shape[2];
    conv->weight = oracle_vector(desc, name, ".weight", conv->out * conv->in * conv->k * conv->k);
    conv->bias = oracle_vector(desc, name, ".bias", conv->out);
    if (conv->weight && !conv->bias == !oracle_has(desc, name, ".bias"))
        return 0;
    oracle_conv_clear(conv);
    return -1;
}

void oracle_conv_clear(oracle_conv *conv) {
    free(conv->weight);
    free(conv->bias);
    *conv = (oracle_conv){0};
}

int64_t oracle_strided(int64_t size, int64_t stride) {
    return (size - 1) / stride + 1;
}

/* The image with its padding: zeros are multiplied like any value. NULL = no memory. */
static double *pad(const double *x, const int64_t shape[3], int64_t by) {
    int64_t height = shape[1] + 2 * by, width = shape[2] + 2 * by, count = shape[0] * height * width;
    double *padded = oracle_alloc(count);
    for (int64_t i = 0; padded && i < count; i++) {
        int64_t row = i / width % height - by, column = i % width - by, channel = i / width / height;
        int inside = row >= 0 && row < shape[1] && column >= 0 && column < shape[2];
        padded[i] = inside ? x[(channel * shape[1] + row) * shape[2] + column] : 0;
    }
    return padded;
}

/* y += w x and |.|: sum += unit |w x|, over an output image whose first input pixel is *x. */
static void add_tap(double w, const double *x, int64_t x_width, int64_t stride, const int64_t out[2], double unit,
                    double *y, double *dy) {
    for (int64_t row = 0; row < out[0]; row++)
        for (int64_t column = 0; column < out[1]; column++) {
            double product = w * x[row * stride * x_width + column * stride];
            y[row * out[1] + column] += product;
            dy[row * out[1] + column] += unit * fabs(product);
        }
}

int oracle_conv_apply(const oracle_conv *conv, const int64_t shape[3], int64_t stride, const double *x,
                      oracle_fill fill, double *y, double *dy) {
    const int64_t k = conv->k, groups = shape[0] / conv->in;
    const int64_t out[2] = {oracle_strided(shape[1], stride), oracle_strided(shape[2], stride)}, n = out[0] * out[1];
    const int64_t width = shape[2] + k - 1, plane = (shape[1] + k - 1) * width, terms = conv->in * k * k;
    const double unit = ORACLE_U * oracle_sum_count(fill, terms);
    double *padded = pad(x, shape, k / 2);
    if (!padded)
        return -1;
    for (int64_t o = 0; o < conv->out; o++) {
        double bias = conv->bias ? conv->bias[o] : 0, *row = y + o * n, *error = dy + o * n;
        const double *group = padded + o / (conv->out / groups) * conv->in * plane;
        for (int64_t j = 0; j < n; j++) {
            row[j] = bias;
            error[j] = unit * fabs(bias) + ((double)terms + 8) * ORACLE_TINY;
        }
        for (int64_t t = 0; t < terms; t++)
            add_tap(conv->weight[o * terms + t], group + t / (k * k) * plane + t / k % k * width + t % k, width, stride,
                    out, unit, row, error);
        for (int64_t j = 0; j < n; j++)
            error[j] = isfinite(row[j]) ? error[j] : 0; /* the same infinity in float32 */
    }
    free(padded);
    return 0;
}

/* ---------------------------------------------------------------- batch normalisation and relu */

int oracle_norm_load(const atl_layer_desc *desc, const char *name, int64_t channels, oracle_norm *norm) {
    static const char *const parts[] = {".weight", ".bias", ".running_mean", ".running_var"};
    double *loaded[4], eps = oracle_number(desc, "eps", 1e-5);
    int present = 0, failed = 0;
    *norm = (oracle_norm){.channels = channels};
    for (int i = 0; i < 4; i++) {
        loaded[i] = oracle_vector(desc, name, parts[i], channels);
        present |= oracle_has(desc, name, parts[i]);
        failed |= !loaded[i] && (i != 1 || oracle_has(desc, name, parts[i]));
    }
    for (int64_t c = 0; present && !failed && c < channels; c++) {
        double scale = loaded[0][c] / sqrt(loaded[3][c] + eps), beta = loaded[1] ? loaded[1][c] : 0;
        loaded[0][c] = scale;
        loaded[2][c] = beta - loaded[2][c] * scale;
    }
    if (present && !failed) {
        norm->scale = loaded[0];
        norm->shift = loaded[2];
        loaded[0] = loaded[2] = NULL;
    }
    for (int i = 0; i < 4; i++)
        free(loaded[i]);
    return present && failed ? -1 : 0;
}

void oracle_norm_clear(oracle_norm *norm) {
    free(norm->scale);
    free(norm->shift);
    *norm = (oracle_norm){0};
}

void oracle_norm_apply(const oracle_norm *norm, int64_t n, const double *bias, double *y, double *dy) {
    for (int64_t c = 0; norm->scale && c < norm->channels; c++) {
        double scale = norm->scale[c], shift = norm->shift[c];
        double parts = 2 * fabs(bias ? scale * bias[c] : 0) + fabs(shift);
        for (int64_t i = c * n; i < (c + 1) * n; i++) {
            double scaled = scale * y[i];
            y[i] = scaled + shift;
            dy[i] = isfinite(y[i])
                        ? fabs(scale) * dy[i] + ORACLE_U * (fabs(scaled) + parts + fabs(y[i])) + 4 * ORACLE_TINY
                        : 0;
        }
    }
}

void oracle_relu(int64_t count, double *y, double *dy) {
    for (int64_t i = 0; i < count; i++) {
        dy[i] = isinf(y[i]) ? 0 : dy[i]; /* the value there is the limit, without an error */
        y[i] = y[i] < 0 ? 0 : y[i];      /* keeps NaN */
    }
}
