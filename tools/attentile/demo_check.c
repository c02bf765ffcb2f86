/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "demo.h"
#include "oracle.h"

double demo_error_share(const demo_result *r) {
    double share = -1;
    oracle *o = oracle_create(r->desc);
    double *y = malloc((size_t)(2 * r->y_values + 2 * r->map_values) * sizeof *y);
    double *y_bound = y + r->y_values, *map = y + 2 * r->y_values, *map_bound = map + r->map_values;
    if (o && y &&
        oracle_run(o, r->rank, r->shape, r->x, ORACLE_ANY, r->rows, r->count, y, y_bound, r->map ? map : NULL,
                   r->map ? map_bound : NULL) == 0) {
        share = oracle_error_share(r->y, y, y_bound, r->y_values, NULL);
        if (r->map)
            share = fmax(share, oracle_error_share(r->map, map, map_bound, r->map_values, NULL));
    }
    oracle_free(o);
    free(y);
    return share;
}
