/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>
#include <libexif/exif-data.h>

#include "command.h"
#include "image.h"

/* libjpeg ends the process on an error unless its handler jumps out. */
typedef struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    jmp_buf escape;
    char message[JMSG_LENGTH_MAX];
    int cut;         /* the file ends early: the rest of the picture is grey */
    int orientation; /* Exif's, 0 where there is none */
} decoder;

static void on_error(j_common_ptr jpeg) {
    decoder *d = jpeg->client_data;
    jpeg->err->format_message(jpeg, d->message);
    longjmp(d->escape, 1);
}

/* Called for warnings too: damage that the decoder could work around. The last one is kept. */
static void on_message(j_common_ptr jpeg) {
    decoder *d = jpeg->client_data;
    jpeg->err->format_message(jpeg, d->message);
    d->cut |= jpeg->err->msg_code == JWRN_JPEG_EOF;
}

/* Adobe's files hold inverted CMYK. */
static void cmyk_to_rgb(const uint8_t *from, uint8_t *to, int count, int inverted) {
    for (int i = 0; i < count; i++) {
        const int k = inverted ? from[4 * i + 3] : 255 - from[4 * i + 3];
        for (int c = 0; c < 3; c++) {
            const int ink = inverted ? from[4 * i + c] : 255 - from[4 * i + c];
            to[3 * i + c] = (uint8_t)(ink * k / 255);
        }
    }
}

static void read_rows(decoder *d, image *picture) {
    const int cmyk = d->jpeg.out_color_space == JCS_CMYK;
    const size_t stride = (size_t)picture->width * 3;
    JSAMPARRAY row = NULL;
    if (cmyk) /* belongs to the decoder */
        row = d->jpeg.mem->alloc_sarray((j_common_ptr)&d->jpeg, JPOOL_IMAGE, (JDIMENSION)picture->width * 4, 1);
    while (d->jpeg.output_scanline < d->jpeg.output_height) {
        uint8_t *to = picture->rgb + stride * d->jpeg.output_scanline;
        JSAMPROW target = cmyk ? row[0] : to;
        jpeg_read_scanlines(&d->jpeg, &target, 1);
        if (cmyk)
            cmyk_to_rgb(row[0], to, picture->width, d->jpeg.saw_Adobe_marker);
    }
}

/* Cameras turn pictures by a word beside them. */
static int read_orientation(jpeg_saved_marker_ptr marker) {
    int orientation = 0;
    for (; marker && !orientation; marker = marker->next) {
        ExifData *exif = exif_data_new_from_data(marker->data, marker->data_length);
        ExifEntry *entry = exif ? exif_content_get_entry(exif->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION) : NULL;
        if (entry && entry->format == EXIF_FORMAT_SHORT && entry->components == 1)
            orientation = exif_get_short(entry->data, exif_data_get_byte_order(exif));
        if (exif)
            exif_data_unref(exif);
    }
    return orientation;
}

/* All that may jump; nothing here is needed after a jump but what `d` and `picture` point to. */
static int decode(decoder *d, FILE *file, const char *path, image *picture) {
    if (setjmp(d->escape))
        return failed("%s: broken JPEG: %s", path, d->message);
    jpeg_create_decompress(&d->jpeg);
    jpeg_stdio_src(&d->jpeg, file);
    jpeg_save_markers(&d->jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&d->jpeg, TRUE);
    d->orientation = read_orientation(d->jpeg.marker_list);
    const J_COLOR_SPACE space = d->jpeg.jpeg_color_space;
    d->jpeg.out_color_space = space == JCS_CMYK || space == JCS_YCCK ? JCS_CMYK : JCS_RGB;
    if (image_allocate(picture, d->jpeg.image_width, d->jpeg.image_height, path) != DONE)
        return FAILED;
    jpeg_start_decompress(&d->jpeg);
    read_rows(d, picture);
    jpeg_finish_decompress(&d->jpeg);
    if (d->cut)
        return failed("%s: broken JPEG: the file ends early", path);
    if (d->errors.num_warnings > 0)
        warning("%s: %s", path, d->message);
    return DONE;
}

int image_read_jpeg(FILE *file, const char *path, image *picture) {
    decoder *d = calloc(1, sizeof *d);
    if (!d)
        return failed("%s: out of memory", path);
    d->jpeg.err = jpeg_std_error(&d->errors);
    d->jpeg.client_data = d;
    d->errors.error_exit = on_error;
    d->errors.output_message = on_message;
    int code = decode(d, file, path, picture);
    jpeg_destroy_decompress(&d->jpeg);
    if (code == DONE)
        code = image_orient(picture, d->orientation, path);
    free(d);
    return code;
}
