/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "command.h"
#include "image.h"

/* The pixels of one axis that make up an output pixel: weight `head` for the first, `tail` for the last of several, 1
 * for those between; `total` is their sum. */
typedef struct span {
    int first, count;
    float head, tail, total;
} span;

/* Output pixel `i` of `size` covers [i, i + 1) * from / size of the input. */
static span area_span(int i, int size, int from) {
    const double begin = (double)i * from / size, end = (double)(i + 1) * from / size;
    span s = {.first = (int)begin};
    int last = (int)ceil(end) - 1;
    last = last >= from ? from - 1 : last;
    s.count = last - s.first + 1;
    s.head = (float)(s.count == 1 ? end - begin : s.first + 1 - begin);
    s.tail = (float)(end - last);
    s.total = (float)(end - begin);
    return s;
}

static float weight_of(const span *s, int k) {
    return k == 0 ? s->head : k == s->count - 1 ? s->tail : 1.0f;
}

static span linear_span(int i, int size, int from) {
    double at = (i + 0.5) * from / size - 0.5;
    at = at < 0 ? 0 : at > from - 1 ? from - 1 : at;
    span s = {.first = (int)at, .count = 2, .total = 1};
    if (s.first + 1 >= from) {
        s.first = from - 1;
        s.count = 1;
    }
    s.tail = (float)(at - s.first);
    s.head = s.count == 1 ? 1.0f : 1.0f - s.tail;
    return s;
}

static void resample(const image *from, int left, int top, span row, span column, uint8_t *to) {
    float sum[3] = {0};
    for (int y = 0; y < row.count; y++) {
        const uint8_t *line = from->rgb + 3 * ((size_t)(top + row.first + y) * from->width + left + column.first);
        for (int x = 0; x < column.count; x++) {
            const float weight = weight_of(&row, y) * weight_of(&column, x);
            for (int c = 0; c < 3; c++)
                sum[c] += weight * line[3 * x + c];
        }
    }
    for (int c = 0; c < 3; c++)
        to[c] = (uint8_t)fminf(255.0f, sum[c] / (row.total * column.total) + 0.5f);
}

int image_square(const image *from, int size, image *to) {
    const int side = from->width < from->height ? from->width : from->height;
    const int left = (from->width - side) / 2, top = (from->height - side) / 2;
    span (*make)(int, int, int) = size < side ? area_span : linear_span;
    if (image_allocate(to, size, size, "the picture") != DONE)
        return FAILED;
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++)
            resample(from, left, top, make(y, size, side), make(x, size, side),
                     to->rgb + 3 * ((size_t)y * (size_t)size + (size_t)x));
    return DONE;
}
