/* SPDX-License-Identifier: Apache-2.0 */
#include <png.h>
#include <stdlib.h>

#include "command.h"
#include "image.h"

/* libpng says "Read Error" of a file that is cut. */
static int broken(const char *path, FILE *file, const png_image *png) {
    return failed("%s: broken PNG: %s", path, feof(file) ? "the file ends early" : png->message);
}

int image_read_png(FILE *file, const char *path, image *picture) {
    png_image png = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_stdio(&png, file))
        return broken(path, file, &png);
    png.format = PNG_FORMAT_RGB;
    png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB; /* where the file does not say otherwise: nobody means linear */
    int code = image_allocate(picture, png.width, png.height, path);
    const png_color white = {255, 255, 255};
    if (code == DONE && !png_image_finish_read(&png, &white, picture->rgb, 0, NULL))
        code = broken(path, file, &png);
    png_image_free(&png);
    return code;
}

int image_encode_png(const image *picture, const char *path, uint8_t **bytes, size_t *size) {
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)picture->width,
                     .height = (png_uint_32)picture->height,
                     .format = PNG_FORMAT_RGB};
    png_alloc_size_t needed = PNG_IMAGE_PNG_SIZE_MAX(png);
    *bytes = malloc(needed);
    if (!*bytes)
        return failed("%s: out of memory", path);
    if (!png_image_write_to_memory(&png, *bytes, &needed, 0, picture->rgb, 0, NULL)) {
        free(*bytes);
        return failed("%s: the picture cannot be encoded: %s", path, png.message);
    }
    *size = needed;
    return DONE;
}
