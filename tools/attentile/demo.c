/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"
#include "machine.h"

enum { DEMO_IMAGE, DEMO_SIZE, DEMO_THREADS, DEMO_OUTPUT_DIR, DEMO_OPTION_COUNT };

/* The photograph that Matplotlib brings as sample data. */
static const char *const photographs[] = {
    "/usr/share/matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    "/usr/share/matplotlib/sample_data/grace_hopper.jpg",
    "/usr/share/matplotlib/mpl-data/sample_data/grace_hopper.png",
};

static int read_options(const arguments *arguments, demo *demo) {
    int64_t threads = 0, size = 256;
    int code = argument_int(arguments, DEMO_THREADS, 1, 1024, &threads);
    if (code == DONE)
        code = argument_int(arguments, DEMO_SIZE, DEMO_MIN_SIZE, 2048, &size);
    if (code != DONE)
        return code;
    const char *folder = argument_value(arguments, DEMO_OUTPUT_DIR);
    folder = folder ? folder : ".";
    if (snprintf(demo->output_path, sizeof demo->output_path, "%s/attention.png", folder) >=
        (int)sizeof demo->output_path)
        return wrong_usage("--output-dir: the path is too long");
    if (access(folder, W_OK | X_OK) != 0)
        return failed("%s: cannot be written: %s", demo->output_path, strerror(errno));
    demo->image_path = argument_value(arguments, DEMO_IMAGE);
    demo->threads = (int)threads;
    demo->size = (int)size;
    demo->size_given = argument_value(arguments, DEMO_SIZE) != NULL;
    return DONE;
}

/* The named file; else the first sample photograph; else a picture drawn here. */
static int get_picture(demo *demo) {
    const char *path = demo->image_path;
    for (size_t i = 0; !path && i < sizeof photographs / sizeof photographs[0]; i++)
        if (access(photographs[i], R_OK) == 0)
            path = photographs[i];
    if (!path) {
        snprintf(demo->source_name, sizeof demo->source_name,
                 "drawn here, since no photograph was given or found "
                 "(--image FILE.png|.jpg)");
        return image_draw(512, &demo->source);
    }
    snprintf(demo->source_name, sizeof demo->source_name, "%s", path);
    return image_read(path, &demo->source);
}

/* Larger and larger samples until the time is no longer that of starting. The work grows with the fourth power. */
static int estimate_time(demo *demo) {
    for (int tried = 32; tried <= 256; tried *= 2) {
        double time = 0;
        if (demo_time_attention(demo, tried, &time) != DONE)
            return FAILED;
        const double ratio = (double)demo->size / tried;
        demo->estimate = time * ratio * ratio * ratio * ratio;
        if (time > 0.02)
            break;
    }
    return DONE;
}

/* On a slow machine the default size becomes one that fits the user's patience; a size that was asked for stays. */
static int fit_size(demo *demo) {
    progress("estimating the time");
    if (estimate_time(demo) != DONE)
        return FAILED;
    progress_clear();
    /* One run is timed and one writes the map; the others that attend, and the oracle, take about as long together. */
    const double seconds = 4 * demo->estimate;
    if (seconds <= DEMO_PATIENCE)
        return DONE;
    if (demo->size_given) {
        printf("note: this will take about %.0f s\n", seconds);
        return DONE;
    }
    const int fitting = (int)(demo->size * pow(DEMO_PATIENCE / seconds, 0.25)) / 16 * 16;
    const int size = fitting < 32 ? 32 : fitting;
    printf("note: %dx%d pixels would take about %.0f s here; the demo goes on with %dx%d (--size %d insists)\n",
           demo->size, demo->size, seconds, size, size, demo->size);
    demo->estimate *= pow((double)size / demo->size, 4);
    demo->size = size;
    return DONE;
}

static int look_at_machine(demo *demo) {
    atl_engine *engine;
    const int code = engine_open(demo->threads, &engine, &demo->machine);
    if (code != DONE)
        return code;
    snprintf(demo->isa, sizeof demo->isa, "%s", demo->machine.isa);
    demo->machine.isa = demo->isa;
    atl_engine_release(engine);
    return DONE;
}

static void measure_machine(demo *demo) {
    progress("measuring this machine");
    demo->fma_gflops = machine_fma_gflops(demo->machine.isa, demo->machine.threads);
    double bytes = INFINITY; /* some layers stay in the caches: they may exceed it */
    demo->stream_gbs = machine_stream_gbs(demo->machine.threads, &bytes);
    progress_clear();
    if (demo->fma_gflops > 0 && demo->stream_gbs > 0)
        printf("machine: multiply-add peak %.4g GFLOP/s (%s, %d threads), memory %.4g GB/s, measured now\n",
               demo->fma_gflops, demo->machine.isa, demo->machine.threads, demo->stream_gbs);
    else
        warning("the machine's speed could not be measured");
}

static int prepare(const arguments *arguments, demo *demo) {
    int code = read_options(arguments, demo);
    if (code == DONE)
        code = get_picture(demo);
    if (code == DONE)
        code = look_at_machine(demo);
    if (code != DONE)
        return code;
    demo->weights = malloc(sizeof *demo->weights);
    if (!demo->weights)
        return failed("out of memory");
    demo_weights_fill(demo->weights);
    printf("picture: ");
    print_text(demo->source_name);
    printf(", %dx%d\n", demo->source.width, demo->source.height);
    code = fit_size(demo);
    if (code == DONE)
        code = demo_sample_make(&demo->source, demo->size, &demo->sample);
    if (code != DONE)
        return code;
    printf("input: its centre as %dx%d pixels, %d channels made of colour, position and surroundings\n", demo->size,
           demo->size, DEMO_CHANNELS);
    demo_choose_rows(&demo->sample, demo->rows);
    measure_machine(demo);
    return DONE;
}

static void demo_free(demo *demo) {
    demo_sample_free(&demo->sample);
    free(demo->weights);
    free(demo->source.rgb);
    free(demo->map);
    free(demo);
}

static int demo_main(const arguments *arguments) {
    demo *demo = calloc(1, sizeof *demo);
    if (!demo)
        return failed("out of memory");
    int code = prepare(arguments, demo);
    if (code == DONE)
        code = demo_layers(demo);
    if (code == DONE)
        code = demo_write_heatmap(demo);
    if (code == DONE) {
        printf("\nattention heat map of %d pixels: ", DEMO_MARKS);
        print_text(demo->output_path);
        printf("\n");
    }
    if (code == DONE && demo->wrong)
        code = failed("demo: an error is larger than float32 allows: please report it with the lines above");
    demo_free(demo);
    return code;
}

static const option_spec options[DEMO_OPTION_COUNT] = {
    [DEMO_IMAGE] =
        {"image", "FILE", 0,
         "A PNG or JPEG picture. Default: Matplotlib's sample photograph where it is installed, else a drawn "
         "picture."},
    [DEMO_SIZE] = {"size", "S", 0,
                   "The picture's centre is resampled to S x S pixels, 16 to 2048. Default 256, less where that would "
                   "take longer than a minute."},
    [DEMO_THREADS] = {"threads", "T", 0, "Threads, 1 to 1024. Default as in attentile run."},
    [DEMO_OUTPUT_DIR] = {"output-dir", "DIR", 0, "Where attention.png goes. Default: the current folder."},
};

const command_spec demo_command = {
    .name = "demo",
    .summary = "Run every layer over a photograph: time, memory, error, a heat map.",
    .options = options,
    .option_count = DEMO_OPTION_COUNT,
    .details =
        "Every kind of layer reads 64 channels made of the photograph. A table tells the time, what the machine's\n"
        "multiply-adds and memory would allow, the memory used beside that of the matrix of all pairs, and the\n"
        "error against a float64 computation. Spatial self-attention lets every pixel attend to the pixels that\n"
        "look like it: the attention of a few is drawn in attention.png. The other weights are random.\n",
    .examples = "  attentile demo\n"
                "  attentile demo --image photo.jpg --size 128 --output-dir pictures\n",
    .run = demo_main,
};
