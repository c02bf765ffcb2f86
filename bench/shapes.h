/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shape lists, shared by tests and benchmarks. A line is
 *
 *     KIND NAME BATCH SHAPE [KEY=VALUE]...        # the rest of a line is a comment
 *     se   resnet-stage2  32  256x56x56  hidden=16  set.activation=silu
 *
 * SHAPE is a sample's, without the batch axis. A key "set.P" is the layer's parameter P; any other key is a width that
 * the weights would tell:
 *
 *     se, cbam-channel          hidden
 *     cbam-spatial              k
 *     cbam-res                  out, k, hidden, sa (the kernel of the spatial attention)
 *     sk                        m, groups, d; bn=0 without batch norm
 *     self-attention-spatial    d
 *     self-attention-channel    out
 *     non-local                 inner, g (its own width), sub=1 (sub-sampled), bn=1
 *     multi-head                none; its SHAPE is QUERIESxD
 *
 * and `bias=0` makes weights without biases (cbam-spatial has none unless `bias=1`). Further keys say what a run takes:
 *
 *     multi-head                keys=LENGTH gives key and value apart from x, mask=1 a mask of bytes, mask=2 an additive one,
 *                               mask=3 both, each [queries, keys]; only for benchmarks: padding=COUNT masks the last COUNT
 *                               keys by a mask of bytes [keys]
 *     kinds with a map          map=1, only for benchmarks: the run writes the map too
 */
#ifndef ATL_BENCH_SHAPES_H
#define ATL_BENCH_SHAPES_H

#include <stdint.h>

#include "attentile/attentile.h"

#define SHAPE_KEYS 8

typedef struct shape_row {
    char kind[32];
    char name[48];
    int64_t batch;
    int rank;
    int64_t shape[ATL_MAX_RANK];
    int key_count;
    char keys[SHAPE_KEYS][24];
    char values[SHAPE_KEYS][24];
} shape_row;

/* Why a list cannot be read. */
typedef struct shape_fault {
    int line; /* 0 = before any */
    char text[256];
} shape_fault;

/* Reads one line: 1 = a row, 0 = nothing on it, -1 = malformed (fault->text then says why; `fault` may be NULL). */
int shape_parse(const char *line, shape_row *row, shape_fault *fault);

/* Reads a file's rows, at most `capacity`. Returns their number; -1 when the file cannot be read, a line is malformed
 * or there are more. */
int shapes_read(const char *path, shape_row *rows, int capacity, shape_fault *fault);

/* The value of a key, or `fallback`. */
int64_t shape_number(const shape_row *row, const char *key, int64_t fallback);

/* Product of the axes behind the first. */
int64_t shape_positions(const shape_row *row);

/* The "set." keys as parameters that point into `row`; returns their number. */
size_t shape_params(const shape_row *row, atl_param params[SHAPE_KEYS]);

#endif
