/* SPDX-License-Identifier: Apache-2.0 */
/* What bench-kernels runs every variant of a slot with. */
#ifndef ATL_BENCH_KERNEL_SHAPES_H
#define ATL_BENCH_KERNEL_SHAPES_H

#include "kernels.h"

/* Sizes, each slot's own. */
typedef struct kernel_shape {
    atl_slot slot;
    const char *name;
    int64_t rows, n; /* rows of an array, elements of a row */
    int64_t d, c; /* channels of query and key (conv_gate, conv: k; blend: branches), and of the value (of an image) */
    int option;   /* scale, scale_pixels, blend: stream; unary: the function; bias: no bytes; window_max: windows */
} kernel_shape;

static const kernel_shape shapes[] = {
    {ATL_SLOT_sum, "512x49", .rows = 512, .n = 49},
    {ATL_SLOT_sum, "64x3136", .rows = 64, .n = 3136},
    {ATL_SLOT_sum_max, "512x49", .rows = 512, .n = 49},
    {ATL_SLOT_sum_max, "64x784", .rows = 64, .n = 784},
    {ATL_SLOT_sum_max, "64x3136", .rows = 64, .n = 3136},
    {ATL_SLOT_scale, "512x49", .rows = 512, .n = 49},
    {ATL_SLOT_scale, "64x3136", .rows = 64, .n = 3136},
    {ATL_SLOT_scale, "1024x3136-stream", .rows = 1024, .n = 3136, .option = 1},
    {ATL_SLOT_fc, "256to16", .rows = 16, .n = 256},
    {ATL_SLOT_fc, "16to256", .rows = 256, .n = 16},
    {ATL_SLOT_unary, "relu-1024", .n = 1024, .option = ATL_UNARY_RELU},
    {ATL_SLOT_unary, "silu-1024", .n = 1024, .option = ATL_UNARY_SILU},
    {ATL_SLOT_unary, "sigmoid-1024", .n = 1024, .option = ATL_UNARY_SIGMOID},
    {ATL_SLOT_unary, "hard-sigmoid-1024", .n = 1024, .option = ATL_UNARY_HARD_SIGMOID},
    {ATL_SLOT_unary, "exp-1024", .n = 1024, .option = ATL_UNARY_EXP},
    {ATL_SLOT_gemm, "80x64", .rows = 80, .n = 64},
    {ATL_SLOT_gemm, "256x256", .rows = 256, .n = 256},
    {ATL_SLOT_gemm, "320x256", .rows = 320, .n = 256},
    {ATL_SLOT_bias, "32x256-additive", .rows = 32, .n = 1024, .option = 1},
    {ATL_SLOT_bias, "32x256-both", .rows = 32, .n = 1024},
    {ATL_SLOT_attend, "d8-c64", .n = 4096, .d = 8, .c = 64},
    {ATL_SLOT_attend, "d32-c256", .n = 4096, .d = 32, .c = 256},
    {ATL_SLOT_attend, "d64-c64", .n = 4096, .d = 64, .c = 64},
    {ATL_SLOT_merge, "c64", .c = 64},
    {ATL_SLOT_merge, "c256", .c = 256},
    {ATL_SLOT_finish, "c64", .n = 4096, .c = 64},
    {ATL_SLOT_finish, "c256", .n = 4096, .c = 256},
    {ATL_SLOT_map, "48x128-d8", .rows = 48, .n = 128, .d = 8},
    {ATL_SLOT_map, "48x128-d64", .rows = 48, .n = 128, .d = 64},
    {ATL_SLOT_map_scores, "32x512", .rows = 32, .n = 512},
    {ATL_SLOT_channel_pool, "512x49", .n = 49, .c = 512},
    {ATL_SLOT_channel_pool, "64x784", .n = 784, .c = 64},
    {ATL_SLOT_channel_pool, "512x784", .n = 784, .c = 512},
    {ATL_SLOT_conv_gate, "k7-28", .rows = 28, .n = 28, .d = 7},
    {ATL_SLOT_conv_gate, "k3-56", .rows = 56, .n = 56, .d = 3},
    {ATL_SLOT_conv_gate, "k7-56", .rows = 56, .n = 56, .d = 7},
    {ATL_SLOT_scale_pixels, "512x49", .n = 49, .c = 512},
    {ATL_SLOT_scale_pixels, "64x784", .n = 784, .c = 64},
    {ATL_SLOT_scale_pixels, "4096x784-stream", .n = 784, .c = 4096, .option = 1},
    {ATL_SLOT_planes, "8x28x28-reach2", .rows = 28, .n = 28, .d = 5, .c = 8, .option = 1},
    {ATL_SLOT_planes, "4x56x56-reach2-stride2", .rows = 56, .n = 56, .d = 5, .c = 4, .option = 2},
    {ATL_SLOT_conv, "64to64-k3-28", .rows = 64, .n = 28, .d = 3, .c = 64},
    {ATL_SLOT_conv, "8to8-k3-28", .rows = 8, .n = 28, .d = 3, .c = 8},
    {ATL_SLOT_conv, "8to8-k5-28", .rows = 8, .n = 28, .d = 5, .c = 8},
    {ATL_SLOT_conv, "4to4-k3-28", .rows = 4, .n = 28, .d = 3, .c = 4},
    {ATL_SLOT_conv, "1to1-k3-28", .rows = 1, .n = 28, .d = 3, .c = 1},
    {ATL_SLOT_conv, "256to256-k3-7", .rows = 256, .n = 7, .d = 3, .c = 256},
    {ATL_SLOT_blend, "2x64x784", .rows = 64, .n = 784, .d = 2},
    {ATL_SLOT_blend, "2x1024x784-stream", .rows = 1024, .n = 784, .d = 2, .option = 1},
    {ATL_SLOT_gate_add_relu, "128x784", .n = 784, .c = 128},
    {ATL_SLOT_gate_add_relu, "512x49", .n = 49, .c = 512},
    {ATL_SLOT_max_pool, "128x28x28", .n = 28, .c = 128},
    {ATL_SLOT_window_max, "12x64-of-4", .rows = 12, .n = 64, .option = 4},
    {ATL_SLOT_transpose, "64x256", .rows = 64, .n = 256},
    {ATL_SLOT_transpose, "512x256", .rows = 512, .n = 256},
    {ATL_SLOT_softmax, "512x32", .rows = 512, .n = 32},
};

#endif
