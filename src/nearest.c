/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled into the core and into the command. */
#include "nearest.h"

#include <string.h>

enum { LONGEST = 80, FAR = 4 }; /* longer words, and differences of that many letters, resemble nothing */

static int least(int a, int b) {
    return a < b ? a : b;
}

/* Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other. */
static int distance_of(const char *a, int a_length, const char *b, int b_length) {
    unsigned char rows[3][LONGEST + 1];
    unsigned char *before = rows[0], *above = rows[1], *row = rows[2];
    for (int j = 0; j <= b_length; j++)
        row[j] = (unsigned char)j;
    for (int i = 1; i <= a_length; i++) {
        unsigned char *free_row = before;
        before = above, above = row, row = free_row;
        row[0] = (unsigned char)i;
        for (int j = 1; j <= b_length; j++) {
            int d = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d = least(d, before[j - 2] + 1);
            row[j] = (unsigned char)d;
        }
    }
    return row[b_length];
}

atl_nearest atl_nearest_to(const char *word) {
    return (atl_nearest){word, NULL, FAR};
}

void atl_nearest_show(atl_nearest *nearest, const char *name) {
    const int a = (int)strnlen(nearest->word, LONGEST + 1), b = (int)strnlen(name, LONGEST + 1);
    if (a > LONGEST || b > LONGEST || a - b >= FAR || b - a >= FAR)
        return;
    const int d = distance_of(nearest->word, a, name, b);
    /* A word of three letters of which two are wrong resembles nothing. */
    if (d < nearest->distance && d * 2 <= b) {
        nearest->distance = d;
        nearest->name = name;
    }
}
