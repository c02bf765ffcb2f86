/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile demo`: two layers over a photograph, timed, checked and made visible. */
#ifndef ATTENTILE_TOOLS_DEMO_H
#define ATTENTILE_TOOLS_DEMO_H

#include <attentile/attentile.h>

#include "command.h"
#include "image.h"

enum {
    DEMO_CHANNELS = 64,
    DEMO_HEAD_DIM = 8,
    DEMO_HIDDEN = 4,
    DEMO_MIN_SIZE = 16,
    DEMO_LOCAL_COLOUR = 13, /* the first of three channels with the colour around a pixel */
    DEMO_MARKS = 5,         /* pixels whose attention is drawn */
    DEMO_ROWS = 24          /* pixels whose outputs the oracle checks, the marks first */
};

/* The attention runs should not take longer together, in seconds. */
#define DEMO_PATIENCE 60.0

/* A square picture and what the layers read: x [DEMO_CHANNELS, size, size]. */
typedef struct demo_sample {
    image picture;
    int size;
    int64_t positions;
    float *x;
} demo_sample;

/* The weights of both layers. */
typedef struct demo_weights {
    float query[DEMO_HEAD_DIM * DEMO_CHANNELS], key[DEMO_HEAD_DIM * DEMO_CHANNELS];
    float value[DEMO_CHANNELS * DEMO_CHANNELS], gamma;
    float reduce[DEMO_HIDDEN * DEMO_CHANNELS], expand[DEMO_CHANNELS * DEMO_HIDDEN];
    atl_tensor attention_tensors[4], se_tensors[2];
    atl_layer_desc attention, se; /* point into the above */
} demo_weights;

/* Everything the steps of the demo share. */
typedef struct demo {
    int threads, size, size_given;
    double estimate;        /* seconds of one attention run */
    const char *image_path; /* NULL = the sample photograph, else a drawn picture */
    char output_path[4096];
    image source;
    char source_name[4200];
    demo_weights *weights;
    atl_engine *engine;
    atl_engine_info machine;
    double fma_gflops, copy_gbs;
    demo_sample sample;
    float *y;
    int64_t rows[DEMO_ROWS];
    float *map; /* [DEMO_ROWS, positions] */
    int wrong;  /* an error beyond its bound was found */
} demo;

/* demo_features.c */
int demo_sample_make(const image *source, int size, demo_sample *sample);
void demo_sample_free(demo_sample *sample);
void demo_weights_fill(demo_weights *weights);

/* demo_layers.c: run, time, check and print one layer each; attention leaves demo->map. */
int demo_attention(demo *demo);
int demo_se(demo *demo);
/* Sets demo->estimate for demo->size from runs over small sizes. */
int demo_estimate(demo *demo);

/* demo_check.c: the largest share of its error bound that an output uses; negative when memory ran out. Each of `got`
 * is [DEMO_CHANNELS, count] for the positions `rows`, or all of them with rows NULL; `map` [count, positions] may be
 * NULL. */
double demo_error_share(const demo *demo, const atl_layer_desc *desc, const int64_t *rows, int64_t count,
                        const float *const *got, int got_count, const float *map);

/* demo_heatmap.c */
void demo_choose_rows(const demo_sample *sample, int64_t *rows);
int demo_write_heatmap(const demo *demo);

#endif
