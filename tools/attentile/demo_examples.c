/* SPDX-License-Identifier: Apache-2.0 */
/* The one table of what the demo shows of each kind. */
#include <string.h>

#include "demo.h"

static const demo_example examples[] = {
    {"se", "hidden=4", 1, 0, 0},
    {"cbam-channel", "hidden=4", 1, 0, 0},
    {"cbam-spatial", "k=7", 1, 0, 0},
    {"cbam-res", "out=64 k=3 sa=7 hidden=4", 1, 0, 0},
    {"sk", "m=2 groups=32 d=32", 1, 0, 0},
    {"self-attention-spatial", "d=8", 1, 0, 1},
    {"self-attention-channel", "out=64", 1, 0, 0},
    {"non-local", "inner=32 sub=1", 1, 0, 1},
    {"multi-head", "set.num_heads=8", 2, 1, 1}, /* each pixel is a token */
};

const demo_example *demo_find_example(const char *kind) {
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++)
        if (strcmp(examples[i].kind, kind) == 0)
            return &examples[i];
    return NULL;
}
