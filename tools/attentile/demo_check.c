/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "demo.h"
#include "oracle.h"

double demo_error_share(const demo *demo, const atl_layer_desc *desc, const int64_t *rows, int64_t count,
                        const float *const *got, int got_count, const float *map) {
    const int64_t values = (rows ? count : demo->sample.positions) * DEMO_CHANNELS;
    const int64_t map_values = map ? count * demo->sample.positions : 0;
    const int64_t shape[] = {DEMO_CHANNELS, demo->sample.size, demo->sample.size};
    double share = -1;
    oracle *o = oracle_create(desc);
    double *y = malloc((size_t)(2 * values + 2 * map_values) * sizeof *y);
    double *y_bound = y + values, *map_want = y + 2 * values, *map_bound = map_want + map_values;
    if (o && y &&
        oracle_run(o, 3, shape, demo->sample.x, ORACLE_ANY, rows, count, y, y_bound, map ? map_want : NULL,
                   map ? map_bound : NULL) == 0) {
        share = map ? oracle_error_share(map, map_want, map_bound, map_values, NULL) : 0;
        for (int i = 0; i < got_count; i++)
            share = fmax(share, oracle_error_share(got[i], y, y_bound, values, NULL));
    }
    oracle_free(o);
    free(y);
    return share;
}
