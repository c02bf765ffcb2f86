/* SPDX-License-Identifier: Apache-2.0 */
/* The header of a .npy file: a Python literal such as {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }. */
#ifndef ATL_SRC_IO_NPY_HEADER_H
#define ATL_SRC_IO_NPY_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "attentile/io.h"

/* What a problem message needs. */
typedef struct atl_npy_problem {
    char text[160];
} atl_npy_problem;

/* Reads the literal into array's dtype, rank and shape. Returns false and says what is wrong. */
bool atl_npy_header_parse(const char *text, size_t size, atl_array *array, atl_npy_problem *problem);

/* Bytes of an element, or 0 for a dtype that .npy files do not hold here. */
int atl_npy_element_bytes(atl_dtype dtype);

/* Writes the literal for an array with spare room as NumPy does. Returns its length, always below 512. */
int atl_npy_header_format(const atl_array *array, char *text, size_t capacity);

#endif
