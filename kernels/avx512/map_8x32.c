/* SPDX-License-Identifier: Apache-2.0 */
/* The map in a tile of 8 rows: half of the registers stay free for the constants of the exponential, which the template's
 * own tile of 12 rows loads again for every vector. */
#define TILE_MR   8
#define TILE_NV   2
#define TILE_NAME 8x32
#include "../tmpl/map.c"
