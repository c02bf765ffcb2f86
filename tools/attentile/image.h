/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures: 8-bit RGB, rows from the top, three bytes a pixel. */
#ifndef ATTENTILE_TOOLS_IMAGE_H
#define ATTENTILE_TOOLS_IMAGE_H

#include <stdint.h>
#include <stdio.h>

typedef struct image {
    int width, height;
    uint8_t *rgb; /* freed with free() */
} image;

/* Reads a PNG or JPEG file of any colour type and depth; transparency is laid on white. DONE, or FAILED after a message. */
int image_read(const char *path, image *picture);
/* The bytes of a PNG file, freed by the caller; `path` is for messages. */
int image_encode_png(const image *picture, const char *path, uint8_t **bytes, size_t *size);

/* The decoders, each in its own file: `file` is open at its first byte, `path` is for messages. */
int image_read_png(FILE *file, const char *path, image *picture);
int image_read_jpeg(FILE *file, const char *path, image *picture);

/* Turns a picture as Exif's orientation says, 1 (as it is) to 8; others are taken for 1. DONE, or FAILED with `picture`
 * empty. */
int image_orient(image *picture, int orientation, const char *path);

/* Memory for width x height pixels; refuses what is more than 100 megapixels. DONE or FAILED. */
int image_allocate(image *picture, int64_t width, int64_t height, const char *path);

/* Cuts the largest centred square out of `from` and resamples it to size x size: area averages when it shrinks,
 * bilinear when it grows. */
int image_square(const image *from, int size, image *to);

#endif
