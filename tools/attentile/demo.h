/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile demo`: every layer of the build over a photograph, timed, checked and, where it attends, made visible. */
#ifndef ATTENTILE_TOOLS_DEMO_H
#define ATTENTILE_TOOLS_DEMO_H

#include <attentile/attentile.h>

#include "command.h"
#include "image.h"

enum {
    DEMO_CHANNELS = 64,
    DEMO_HEAD_DIM = 8,
    DEMO_MIN_SIZE = 16,
    DEMO_LOCAL_COLOUR = 13, /* the first of three channels with the colour around a pixel */
    DEMO_MARKS = 5,         /* pixels whose attention is drawn */
    DEMO_ROWS = 24          /* pixels whose outputs the oracle checks, the marks first */
};

/* The layers should not take longer together, in seconds. */
#define DEMO_PATIENCE 60.0

/* A square picture and what the layers read: x [DEMO_CHANNELS, size, size]. */
typedef struct demo_sample {
    image picture;
    int size;
    int64_t positions;
    float *x;
} demo_sample;

/* The weights of the attention that is drawn: similar pixels look at one another. */
typedef struct demo_weights {
    float query[DEMO_HEAD_DIM * DEMO_CHANNELS], key[DEMO_HEAD_DIM * DEMO_CHANNELS];
    float value[DEMO_CHANNELS * DEMO_CHANNELS], gamma;
    atl_tensor tensors[4];
    atl_layer_desc desc; /* points into the above */
} demo_weights;

/* How a kind is shown. */
typedef struct demo_example {
    const char *kind;
    const char *weights; /* widths and parameters as in bench/shapes.h, random weights; NULL = demo_weights */
    int divide;          /* the picture is size / divide pixels wide and high */
    int tokens;          /* x is [positions, channels] */
    int sampled;         /* an output depends on all positions: only DEMO_ROWS of them are checked */
} demo_example;

/* A line of the table. */
typedef struct demo_line {
    const char *kind;
    int rank;
    int64_t shape[ATL_MAX_RANK];  /* of x, without the batch */
    double seconds, flops, bound; /* bound 0 = unknown */
    int64_t memory;               /* bytes over input and output; negative = unknown */
    double pairs;                 /* positions that meet one another: queries times keys, 0 = none do */
    double share;                 /* of the error bound */
} demo_line;

/* Everything the steps of the demo share. */
typedef struct demo {
    int threads, size, size_given;
    double estimate;        /* seconds of one run of the attention that is drawn */
    const char *image_path; /* NULL = the sample photograph, else a drawn picture */
    char output_path[4096];
    image source;
    char source_name[4200];
    demo_weights *weights;
    char isa[16];
    atl_engine_info machine; /* its isa points to the above, cpu nowhere */
    double fma_gflops, stream_gbs;
    demo_sample sample;
    int64_t rows[DEMO_ROWS];
    float *map; /* [DEMO_ROWS, positions] of the attention that is drawn */
    int wrong;  /* an error beyond its bound was found */
} demo;

/* demo_features.c */
int demo_sample_make(const image *source, int size, demo_sample *sample);
void demo_sample_free(demo_sample *sample);
void demo_weights_fill(demo_weights *weights);

/* demo_layers.c: runs, times and checks every kind of the build, and prints the table; leaves demo->map. */
int demo_layers(demo *demo);
/* Seconds of one run of the attention that is drawn, over size x size pixels. */
int demo_time_attention(demo *demo, int size, double *seconds);

/* demo_examples.c: how a kind is shown, or NULL. */
const demo_example *demo_find_example(const char *kind);

/* demo_table.c */
void demo_print_head(void);
void demo_print_line(const demo_line *line);
void demo_print_foot(void);

/* demo_check.c: what a run took and gave. `rows` NULL = everything, else `count` positions, of which `y` holds the outputs
 * alone ([channels, count], or [count, channels] for tokens) and `map` (may be NULL) the rows. */
typedef struct demo_result {
    const atl_layer_desc *desc;
    int rank;
    const int64_t *shape;
    const float *x;
    const int64_t *rows;
    int64_t count;
    const float *y, *map;
    int64_t y_values, map_values;
} demo_result;
/* The largest share of its error bound that an output uses; negative when memory ran out. */
double demo_error_share(const demo_result *result);

/* demo_heatmap.c */
void demo_choose_rows(const demo_sample *sample, int64_t *rows);
int demo_write_heatmap(const demo *demo);

#endif
