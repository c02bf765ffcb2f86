/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are part of the command, so that it needs none beside it (tools/embed.py). */
#ifndef ATTENTILE_TOOLS_EMBEDDED_H
#define ATTENTILE_TOOLS_EMBEDDED_H

#include <stddef.h>

/* photograph.jpg: a cup of coffee, by Rachel Michetti, CC0; the middle of the picture that scikit-image has as sample data. */
extern const unsigned char embedded_photograph[];
extern const size_t embedded_photograph_size;

/* demo.html: the page of the demo, with {{names}} where demo_page.c writes. */
extern const unsigned char embedded_page[];
extern const size_t embedded_page_size;

#endif
