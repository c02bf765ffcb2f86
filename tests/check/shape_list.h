/* SPDX-License-Identifier: Apache-2.0 */
/* The list of shapes that the layer tests run (bench/shapes/test.txt), built in: an installed command has no files. */
#ifndef ATL_TESTS_SHAPE_LIST_H
#define ATL_TESTS_SHAPE_LIST_H

#include "shapes.h"

/* Row `index` = 0, 1, ...: 1 = a row, 0 = there are no more, -1 = malformed. */
int shape_list_row(int index, shape_row *row);

#endif
