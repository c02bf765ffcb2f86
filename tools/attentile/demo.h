/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `attentile demo`: every layer of the build over a photograph, timed and checked; then the photograph denoised by a
 * non-local block over all its pixels; and a page that shows both.
 */
#ifndef ATTENTILE_TOOLS_DEMO_H
#define ATTENTILE_TOOLS_DEMO_H

#include <stdio.h>

#include <attentile/attentile.h>

#include "command.h"
#include "image.h"

enum {
    DEMO_CHANNELS = 64,
    DEMO_MIN_SIZE = 16,
    DEMO_LOCAL_COLOUR = 12, /* the first of three channels with the colour around a pixel */
    DEMO_MARKS = 5,         /* pixels whose attention is drawn */
    DEMO_ROWS = 24,         /* pixels whose outputs the oracle checks, the marks first */
    DEMO_KINDS = 16,        /* at most */
    DEMO_PICTURES = 3 + DEMO_MARKS
};

#define DEMO_SIGMA (25.0 / 255) /* of the noise */

/* A square picture and what the layers read: x [DEMO_CHANNELS, size, size]. */
typedef struct demo_sample {
    image picture;
    int size;
    int64_t positions;
    float *x;
} demo_sample;

/* How a kind is shown. */
typedef struct demo_example {
    const char *kind;
    const char *weights; /* widths and parameters as in bench/shapes.h; the weights are random */
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

/* A picture of the page, and what it shows in words, for those who do not see it. */
typedef struct demo_picture {
    image image;
    char title[64], text[240];
} demo_picture;

/* Everything the steps of the demo share. */
typedef struct demo {
    int threads, size;
    int64_t patience;       /* seconds that the demo may take */
    const char *image_path; /* NULL = the photograph that the command brings */
    const char *page_path;
    image source;
    char source_name[4200];
    char isa[16], cpu[128];
    atl_engine_info machine; /* its isa and cpu point to the above */
    double fma_gflops, stream_gbs;
    demo_sample sample;
    int64_t rows[DEMO_ROWS];
    demo_line lines[DEMO_KINDS]; /* of the table */
    int line_count;
    demo_line denoising;
    double psnr_before, psnr_after;
    float *map; /* [DEMO_ROWS, positions] of the denoising */
    demo_picture pictures[DEMO_PICTURES];
    int wrong; /* an error beyond its bound was found */
} demo;

/* ---- demo_features.c */

int demo_sample_make(const image *source, int size, demo_sample *sample);
void demo_sample_free(demo_sample *sample);

/* ---- demo_run.c */

/* A layer on the picture. The caller sets what comes first, the rest is made. */
typedef struct demo_run {
    const atl_layer_desc *desc;
    int rank;
    int64_t shape[ATL_MAX_RANK];
    const float *x;
    int tokens;         /* x and y are [positions, channels] */
    const char *task;   /* what a progress bar calls it; NULL = no bar */
    double done;        /* share of the demo that came before */
    atl_engine *engine; /* its own, whose workspaces go with it: each line tells its own memory */
    atl_layer *layer;
    atl_plan *plan;
    atl_plan_info info;
    float *y;
    int64_t y_values;
} demo_run;

int demo_run_prepare(const demo *demo, demo_run *run);
/* The shortest of some runs. */
int demo_run_time(const demo *demo, const demo_run *run, double *seconds);
/* Prepares, times, and fills in the line but for its kind, pairs and share. */
int demo_run_measure(const demo *demo, demo_run *run, demo_line *line);
/* The largest share of its error bound that a value of y uses, or one of DEMO_ROWS positions (`rows` NULL = all) and of
 * the rows of the map (NULL = none) for them; negative when memory ran out. */
double demo_run_error_share(const demo_run *run, const int64_t *rows, const float *map);
void demo_run_free(demo_run *run);

/* ---- demo_layers.c: runs, times and checks every kind of the build, and prints the table */

int demo_layers(demo *demo);

/* ---- demo_denoise.c */

/* Denoises the sample: demo->denoising, map, the signal-to-noise ratios and the first three pictures. */
int demo_denoise(demo *demo);
/* Seconds of one run of the denoising of size x size pixels, and of its oracle. */
int demo_time_denoising(const demo *demo, int size, double *run, double *oracle);

/* ---- demo_examples.c: how a kind is shown, or NULL */

const demo_example *demo_find_example(const char *kind);

/* ---- demo_table.c */

enum { DEMO_COLUMNS = 9 };
typedef char demo_cell[64];
extern const char *const demo_columns[DEMO_COLUMNS];
void demo_line_cells(const demo_line *line, demo_cell cells[DEMO_COLUMNS]);
void demo_print_head(void);
void demo_print_line(const demo_line *line);
void demo_print_foot(void);
/* "12.5 MiB", or "16 GiB"; returns `text`. */
const char *demo_bytes_text(double bytes, char *text, size_t capacity);
/* "65,536"; returns `text`. */
const char *demo_count_text(int64_t count, char *text, size_t capacity);

/* ---- demo_check.c: what a run took and gave. `rows` NULL = everything, else `count` positions, of which `y` holds the outputs
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

/* ---- demo_heatmap.c */

void demo_choose_rows(const demo_sample *sample, int64_t *rows);
/* The pictures behind the first three: where the marked pixels look. */
int demo_draw_attention(demo *demo);

/* ---- demo_page.c: writes the page, whole or not at all */

int demo_write_page(const demo *demo);

#endif
