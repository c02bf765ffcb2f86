/* SPDX-License-Identifier: Apache-2.0 */
/* The pictures that `attentile demo` reads and writes (tools/attentile/image*.c is linked into this test). */
#include <png.h>
#include <stdio.h>

#include <jpeglib.h>

#include "shell.h"
#include "image.h"

TestSuite(image, .init = make_command_folder, .fini = remove_folder, .timeout = 120);

/* ---------------------------------------------------------------- PNG */

/* Writes pixels of a libpng format (with a palette of `entries` colours, or none) and reads them back. */
static image through_png(png_uint_32 format, int width, int height, const void *pixels, const void *palette,
                         unsigned entries) {
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)width,
                     .height = (png_uint_32)height,
                     .format = format,
                     .colormap_entries = entries};
    cr_assert(png_image_write_to_file(&png, in_folder("t.png"), 0, pixels, 0, palette), "%s", png.message);
    image picture;
    cr_assert_eq(image_read(in_folder("t.png"), &picture), 0);
    cr_assert(picture.width == width && picture.height == height, "%dx%d", picture.width, picture.height);
    return picture;
}

static void expect_pixels(image picture, const uint8_t *expected, int tolerance, const char *what) {
    for (int i = 0; i < 3 * picture.width * picture.height; i++)
        cr_expect(abs(picture.rgb[i] - expected[i]) <= tolerance, "%s: byte %d is %d, expected %d", what, i,
                  picture.rgb[i], expected[i]);
    free(picture.rgb);
}

Test(image, png_of_every_colour_type) {
    static const uint8_t rgb[] = {255, 0, 0, 10, 20, 30, 0, 255, 7, 99, 98, 97};
    static const uint8_t gray[] = {0, 77, 255}, from_gray[] = {0, 0, 0, 77, 77, 77, 255, 255, 255};
    /* Alpha 0 shows the white ground, 255 the colour. */
    static const uint8_t rgba[] = {9, 9, 9, 0, 200, 100, 50, 255}, from_rgba[] = {255, 255, 255, 200, 100, 50};
    static const uint8_t gray_alpha[] = {9, 0, 60, 255}, from_gray_alpha[] = {255, 255, 255, 60, 60, 60};
    static const uint8_t indices[] = {1, 0, 2}, colours[] = {1, 2, 3, 40, 50, 60, 255, 0, 128};
    static const uint8_t from_indices[] = {40, 50, 60, 1, 2, 3, 255, 0, 128};
    static const uint16_t linear[] = {0, 0, 0, 65535, 65535, 65535}; /* 16 bits */
    static const uint8_t from_linear[] = {0, 0, 0, 255, 255, 255};
    expect_pixels(through_png(PNG_FORMAT_RGB, 2, 2, rgb, NULL, 0), rgb, 0, "RGB");
    expect_pixels(through_png(PNG_FORMAT_GRAY, 3, 1, gray, NULL, 0), from_gray, 0, "gray");
    expect_pixels(through_png(PNG_FORMAT_RGBA, 1, 2, rgba, NULL, 0), from_rgba, 0, "RGBA");
    expect_pixels(through_png(PNG_FORMAT_GA, 2, 1, gray_alpha, NULL, 0), from_gray_alpha, 0, "gray and alpha");
    expect_pixels(through_png(PNG_FORMAT_RGB_COLORMAP, 3, 1, indices, colours, 3), from_indices, 0, "palette");
    expect_pixels(through_png(PNG_FORMAT_LINEAR_RGB, 2, 1, linear, NULL, 0), from_linear, 0, "16 bits");
}

/* Gray values of 16 bits in a file that says nothing of its colour space: they are as those of 8 bits are, not linear. */
Test(image, png_of_16_bits_without_gamma) {
    static const uint8_t values[] = {0, 0, 128, 128, 200, 0}, expected[] = {0, 0, 0, 128, 128, 128, 199, 199, 199};
    FILE *file = fopen(in_folder("t.png"), "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    cr_assert(file && png && info);
    png_init_io(png, file);
    png_set_IHDR(png, info, 3, 1, 16, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    png_write_row(png, values);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    fclose(file);
    image picture;
    cr_assert_eq(image_read(in_folder("t.png"), &picture), 0);
    expect_pixels(picture, expected, 1, "16 bits, no gamma");
}

/* A file cut anywhere is an error or, where only the end marker is gone, a picture; never a crash. */
Test(image, png_cut_anywhere) {
    image read;
    size_t size;
    uint8_t pixels[3 * 20 * 20];
    for (int i = 0; i < 3 * 20 * 20; i++)
        pixels[i] = (uint8_t)(i * 7 + i / 20 * 3);
    free(through_png(PNG_FORMAT_RGB, 20, 20, pixels, NULL, 0).rgb);
    char *bytes = get_file(in_folder("t.png"), &size);
    int refused = 0;
    for (size_t cut = 0; cut < size; cut++) {
        put_file("cut.png", bytes, cut);
        if (image_read(in_folder("cut.png"), &read) != 0)
            refused++;
        free(read.rgb);
    }
    cr_expect(refused > (int)size - 30, "%d of %zu refused", refused, size);
    free(bytes);
}

/* ---------------------------------------------------------------- JPEG */

static void put_jpeg(J_COLOR_SPACE space, int components, int width, int height, uint8_t *pixels) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    FILE *file = fopen(in_folder("t.jpg"), "wb");
    cr_assert_not_null(file);
    jpeg_stdio_dest(&jpeg, file);
    jpeg.image_width = (JDIMENSION)width;
    jpeg.image_height = (JDIMENSION)height;
    jpeg.input_components = components;
    jpeg.in_color_space = space;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 100, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < height; y++) {
        JSAMPROW row = pixels + y * width * components;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    fclose(file);
}

/* A JPEG of one colour must come back as `expected`. */
static void expect_flat_jpeg(J_COLOR_SPACE space, int components, const uint8_t *colour, const uint8_t *expected,
                             const char *what) {
    uint8_t pixels[16 * 16 * 4], wanted[16 * 16 * 3];
    for (int i = 0; i < 256; i++) {
        memcpy(pixels + i * components, colour, (size_t)components);
        memcpy(wanted + 3 * i, expected, 3);
    }
    put_jpeg(space, components, 16, 16, pixels);
    image picture;
    cr_assert_eq(image_read(in_folder("t.jpg"), &picture), 0);
    expect_pixels(picture, wanted, 3, what);
}

Test(image, jpeg_of_every_colour_space) {
    expect_flat_jpeg(JCS_RGB, 3, (uint8_t[]){200, 60, 90}, (uint8_t[]){200, 60, 90}, "RGB");
    expect_flat_jpeg(JCS_GRAYSCALE, 1, (uint8_t[]){123}, (uint8_t[]){123, 123, 123}, "gray");
    /* libjpeg marks CMYK as Adobe's, whose inks are inverted: 255 is none. */
    expect_flat_jpeg(JCS_CMYK, 4, (uint8_t[]){200, 100, 50, 255}, (uint8_t[]){200, 100, 50}, "CMYK");
    expect_flat_jpeg(JCS_CMYK, 4, (uint8_t[]){255, 255, 255, 0}, (uint8_t[]){0, 0, 0}, "CMYK black");
}

/* Puts Exif with an orientation into t.jpg, behind the two bytes that all JPEG begin with. */
static void add_orientation(uint8_t orientation, int big_endian) {
    static uint8_t bytes[1 << 16];
    uint8_t low[] = {0xff, 0xe1, 0,    34, 'E', 'x', 'i', 'f', 0, 0, 'I',         'I', 42, 0, 8, 0, 0, 0,
                     1,    0,    0x12, 1,  3,   0,   1,   0,   0, 0, orientation, 0,   0,  0, 0, 0, 0, 0};
    uint8_t high[] = {0xff, 0xe1, 0, 34,   'E', 'x', 'i', 'f', 0, 0, 'M', 'M',         0, 42, 0, 0, 0, 8,
                      0,    1,    1, 0x12, 0,   3,   0,   0,   0, 1, 0,   orientation, 0, 0,  0, 0, 0, 0};
    FILE *file = fopen(in_folder("t.jpg"), "rb");
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    file = fopen(in_folder("t.jpg"), "wb");
    cr_assert_eq(fwrite(bytes, 1, 2, file), 2);
    cr_assert_eq(fwrite(big_endian ? high : low, 1, sizeof low, file), sizeof low);
    cr_assert_eq(fwrite(bytes + 2, 1, size - 2, file), size - 2);
    fclose(file);
}

Test(image, jpeg_is_turned_as_exif_says) {
    /* Six squares of 8x8 pixels, abc above def, and what is to be seen: rows behind one another. */
    static const char *const seen[] = {"abcdef", "abcdef", "cbafed", "fedcba", "defabc",
                                       "adbecf", "daebfc", "fcebda", "cfbead", "abcdef"};
    uint8_t gray[16 * 24];
    for (int i = 0; i < 16 * 24; i++)
        gray[i] = (uint8_t)(40 + 30 * (i / 24 / 8 * 3 + i % 24 / 8));
    for (int i = 0; i < 2 * 10; i++) {
        const int orientation = i / 2, turned = orientation >= 5 && orientation <= 8, across = turned ? 2 : 3;
        put_jpeg(JCS_GRAYSCALE, 1, 24, 16, gray);
        add_orientation((uint8_t)orientation, i % 2);
        image picture;
        cr_assert_eq(image_read(in_folder("t.jpg"), &picture), 0);
        cr_assert(picture.width == 8 * across && picture.height == 48 / across, "orientation %d: %d x %d", orientation,
                  picture.width, picture.height);
        for (int p = 0; p < 16 * 24; p++) {
            const int square = p / (8 * across) / 8 * across + p % (8 * across) / 8;
            const int wanted = 40 + 30 * (seen[orientation][square] - 'a');
            cr_assert_leq(abs(picture.rgb[3 * p] - wanted), 2, "orientation %d: pixel %d is %d, not %d", orientation, p,
                          picture.rgb[3 * p], wanted);
        }
        free(picture.rgb);
    }
}

Test(image, jpeg_cut_or_damaged_anywhere) {
    uint8_t pixels[40 * 40 * 3];
    size_t size;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 2654435761u >> 24);
    put_jpeg(JCS_RGB, 3, 40, 40, pixels);
    char *bytes = get_file(in_folder("t.jpg"), &size);
    for (size_t cut = 0; cut < size; cut += 7) {
        image read;
        put_file("cut.jpg", bytes, cut);
        cr_expect_neq(image_read(in_folder("cut.jpg"), &read), 0, "%zu of %zu bytes are a picture", cut, size);
        free(read.rgb);
        const char kept = bytes[cut];
        bytes[cut] = (char)~kept;
        put_file("cut.jpg", bytes, size);
        image_read(in_folder("cut.jpg"), &read); /* whatever comes of it, the process lives */
        free(read.rgb);
        bytes[cut] = kept;
    }
    free(bytes);
}

/* ---------------------------------------------------------------- resampling */

Test(image, shrinking_takes_area_means) {
    /* 4x2 with another column on each side that the square leaves out: means of 1x1 blocks, then of the whole. */
    static uint8_t wide[] = {9, 9, 9, 0, 0, 0, 100, 50, 20, 9, 9, 9, 9, 9, 9, 200, 10, 0, 40, 0, 80, 9, 9, 9};
    static const uint8_t square[] = {0, 0, 0, 100, 50, 20, 200, 10, 0, 40, 0, 80}, mean[] = {85, 15, 25};
    const image from = {4, 2, wide};
    image to;
    cr_assert_eq(image_square(&from, 2, &to), 0);
    expect_pixels(to, square, 0, "same size");
    cr_assert_eq(image_square(&from, 1, &to), 0);
    expect_pixels(to, mean, 0, "one pixel");
    /* 3 -> 2: each takes one pixel and half of the middle one. */
    static uint8_t three[27];
    static const uint8_t two[] = {20, 20, 20, 80, 80, 80, 20, 20, 20, 80, 80, 80};
    for (int i = 0; i < 9; i++)
        memset(three + 3 * i, i % 3 == 0 ? 0 : i % 3 == 1 ? 60 : 90, 3);
    cr_assert_eq(image_square(&(image){3, 3, three}, 2, &to), 0);
    expect_pixels(to, two, 0, "three to two");
}

Test(image, growing_is_bilinear) {
    static uint8_t two[] = {0, 0, 0, 80, 80, 80, 0, 0, 0, 80, 80, 80};
    static const uint8_t row[] = {0, 20, 60, 80};
    uint8_t four[48];
    image to;
    for (int i = 0; i < 16; i++)
        memset(four + 3 * i, row[i % 4], 3);
    cr_assert_eq(image_square(&(image){2, 2, two}, 4, &to), 0);
    expect_pixels(to, four, 0, "two to four");
    cr_assert_eq(image_square(&(image){1, 1, two + 3}, 3, &to), 0);
    for (int i = 0; i < 27; i++)
        cr_expect_eq(to.rgb[i], 80, "byte %d is %d", i, to.rgb[i]);
    free(to.rgb);
}

Test(image, huge_pictures_are_refused_before_memory_is) {
    image picture = {0};
    cr_expect_eq(image_allocate(&picture, 100000, 100000, "x"), 1);
    cr_expect_eq(image_allocate(&picture, INT64_C(1) << 40, INT64_C(1) << 40, "x"), 1);
    cr_expect_eq(image_allocate(&picture, 0, 5, "x"), 1);
    cr_expect_null(picture.rgb);
}
