/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "command.h"
#include "image.h"

/* Whether columns, and rows, are kept from right to left, and from below; from 5 on columns and rows change places. */
static const uint8_t columns_back[] = {0, 0, 1, 1, 0, 0, 0, 1, 1}, rows_back[] = {0, 0, 0, 1, 1, 0, 1, 1, 0};

int image_orient(image *picture, int orientation, const char *path) {
    if (orientation < 2 || orientation > 8)
        return DONE;
    const image from = *picture;
    const int turned = orientation >= 5;
    if (image_allocate(picture, turned ? from.height : from.width, turned ? from.width : from.height, path) != DONE) {
        free(from.rgb);
        picture->rgb = NULL;
        return FAILED;
    }
    uint8_t *to = picture->rgb;
    for (int y = 0; y < picture->height; y++) {
        for (int x = 0; x < picture->width; x++, to += 3) {
            int column = turned ? y : x, row = turned ? x : y;
            column = columns_back[orientation] ? from.width - 1 - column : column;
            row = rows_back[orientation] ? from.height - 1 - row : row;
            const uint8_t *pixel = from.rgb + ((size_t)row * (size_t)from.width + (size_t)column) * 3;
            to[0] = pixel[0], to[1] = pixel[1], to[2] = pixel[2];
        }
    }
    free(from.rgb);
    return DONE;
}
