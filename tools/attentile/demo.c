/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"
#include "embedded.h"
#include "machine.h"

enum { DEMO_IMAGE, DEMO_SIZE, DEMO_HTML, DEMO_THREADS, DEMO_PATIENCE, DEMO_OPTION_COUNT };

/* What the demo does, in runs of the denoising (two or three that are timed and one with the map, and the same of the table's
 * layers that let all pixels meet) and in its oracles (those of all layers). */
enum { RUNS = 6, ORACLES = 24 };

static int read_options(const arguments *arguments, demo *demo) {
    int64_t threads = 0, size = 256;
    demo->patience = 60;
    int code = argument_int(arguments, DEMO_THREADS, 1, 1024, &threads);
    if (code == DONE)
        code = argument_int(arguments, DEMO_SIZE, DEMO_MIN_SIZE, 2048, &size);
    if (code == DONE)
        code = argument_int(arguments, DEMO_PATIENCE, 1, 1000000, &demo->patience);
    if (code != DONE)
        return code;
    demo->image_path = argument_value(arguments, DEMO_IMAGE);
    demo->page_path = argument_value(arguments, DEMO_HTML);
    if (!demo->page_path)
        demo->page_path = "demo.html";
    demo->threads = (int)threads;
    demo->size = (int)size;
    if (demo->image_path && same_file(demo->image_path, demo->page_path))
        return wrong_usage("%s: --html names the same file as --image", demo->page_path);
    return DONE;
}

/* The named file, or the photograph that the command brings. */
static int get_picture(demo *demo) {
    snprintf(demo->source_name, sizeof demo->source_name, "%s",
             demo->image_path ? demo->image_path : "a cup of coffee (Rachel Michetti, CC0)");
    if (demo->image_path)
        return image_read(demo->image_path, &demo->source);
    FILE *file = fmemopen((void *)(uintptr_t)embedded_photograph, embedded_photograph_size, "rb");
    if (!file)
        return failed("the photograph: %s", strerror(errno));
    const int code = image_read_jpeg(file, "the photograph", &demo->source);
    fclose(file);
    return code;
}

/* Seconds that the demo takes: what grows with the pairs of pixels, and with the pixels. */
typedef struct estimate {
    double pairs, pixels;
} estimate;

/* Larger and larger samples until the time is no longer that of starting. */
static int estimate_time(const demo *demo, estimate *e) {
    for (int tried = 32; tried <= 256; tried *= 2) {
        double run = 0, oracle = 0;
        if (demo_time_denoising(demo, tried, &run, &oracle) != DONE)
            return FAILED;
        const double ratio = pow((double)demo->size / tried, 2);
        *e = (estimate){RUNS * run * ratio * ratio, ORACLES * oracle * ratio};
        if (run > 0.02)
            break;
    }
    return DONE;
}

/* The share of the pixels that takes `seconds`: the root of pairs r^2 + pixels r = seconds. */
static double fitting_share(estimate e, double seconds) {
    return 2 * seconds / (e.pixels + sqrt(e.pixels * e.pixels + 4 * e.pairs * seconds));
}

/* On a slow machine the picture becomes as small as the user's patience asks for. */
static int fit_size(demo *demo) {
    estimate e = {0};
    progress("estimating the time");
    const int code = estimate_time(demo, &e);
    progress_clear();
    const double seconds = e.pairs + e.pixels;
    if (code != DONE || seconds <= (double)demo->patience)
        return code;
    const int fitting = (int)(demo->size * sqrt(fitting_share(e, (double)demo->patience))) / 16 * 16;
    const int size = fitting < DEMO_MIN_SIZE ? DEMO_MIN_SIZE : fitting;
    if (size >= demo->size)
        return DONE;
    printf("note: %dx%d pixels would take about %.0f s here; the demo goes on with %dx%d (--patience %.0f insists)\n",
           demo->size, demo->size, seconds, size, size, ceil(seconds * 1.5));
    demo->size = size;
    return DONE;
}

static int look_at_machine(demo *demo) {
    atl_engine *engine;
    const int code = engine_open(demo->threads, &engine, &demo->machine);
    if (code != DONE)
        return code;
    snprintf(demo->isa, sizeof demo->isa, "%s", demo->machine.isa);
    snprintf(demo->cpu, sizeof demo->cpu, "%s", demo->machine.cpu);
    demo->machine.isa = demo->isa;
    demo->machine.cpu = demo->cpu;
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
        code = check_target(demo->page_path);
    if (code == DONE)
        code = get_picture(demo);
    if (code == DONE)
        code = look_at_machine(demo);
    if (code != DONE)
        return code;
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
    free(demo->source.rgb);
    free(demo->map);
    for (int i = 0; i < DEMO_PICTURES; i++)
        free(demo->pictures[i].image.rgb);
    free(demo);
}

/* What the page shows, in words. */
static void print_pictures(const demo *demo) {
    printf("\npage: ");
    print_text(demo->page_path);
    printf("\n");
    for (int i = 0; i < DEMO_PICTURES; i++)
        printf("  %s: %s\n", demo->pictures[i].title, demo->pictures[i].text);
}

static int demo_main(const arguments *arguments) {
    demo *demo = calloc(1, sizeof *demo);
    if (!demo)
        return failed("out of memory");
    int code = prepare(arguments, demo);
    if (code == DONE)
        code = demo_layers(demo);
    if (code == DONE)
        code = demo_denoise(demo);
    if (code == DONE)
        code = demo_draw_attention(demo);
    if (code == DONE)
        code = demo_write_page(demo);
    if (code == DONE)
        print_pictures(demo);
    if (code == DONE && demo->wrong)
        code = failed("demo: an error is larger than float32 allows: please report it with the lines above");
    demo_free(demo);
    return code;
}

static const option_spec options[DEMO_OPTION_COUNT] = {
    [DEMO_IMAGE] = {"image", "FILE", 0, "A PNG or JPEG picture. Default: a photograph that the command brings."},
    [DEMO_SIZE] = {"size", "S", 0,
                   "The picture's centre is resampled to S x S pixels, 16 to 2048. Default 256. Where that would take "
                   "longer than --patience says, it becomes less, with a notice."},
    [DEMO_HTML] = {"html", "FILE", 0, "The page to write. Default demo.html."},
    [DEMO_THREADS] = {"threads", "T", 0, "Threads, 1 to 1024. Default as in attentile run."},
    [DEMO_PATIENCE] = {"patience", "SECONDS", 0, "How long the demo may take. Default 60."},
};

const command_spec demo_command = {
    .name = "demo",
    .summary = "Run every layer over a photograph, then denoise it by attention; writes a page.",
    .options = options,
    .option_count = DEMO_OPTION_COUNT,
    .details =
        "Every kind of layer, with random weights, reads 64 channels made of the photograph. A table tells the time,\n"
        "what the machine's multiply-adds and memory would allow, the memory used beside that of the matrix of all\n"
        "pairs, and the error against a float64 computation. Then noise is added to the photograph, and a non-local\n"
        "block removes it: every pixel becomes the mean of all pixels, weighted by how alike the patches around them\n"
        "are (non-local means). The page, one HTML file that needs nothing else, shows the pictures, where a few "
        "pixels\n"
        "look, the table and the machine.\n",
    .examples = "  attentile demo\n"
                "  attentile demo --image photo.jpg --size 128 --html photo.html\n",
    .run = demo_main,
};
