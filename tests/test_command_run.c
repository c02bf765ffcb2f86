/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile run`. */
#include <jansson.h>

#include "shell.h"

TestSuite(command_run, .init = make_command_folder, .fini = remove_folder, .timeout = 60);

/* Two samples of two channels of three positions. */
static const int64_t x_shape[] = {2, 2, 3};
static const float x_values[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const float gated[] = {1, 2, 3, 0, 0, 0, 7, 8, 9, 0, 0, 0};

static void put_input(void) {
    put_array("x.npy", 3, x_shape, x_values);
}

/* ---------------------------------------------------------------- what it computes */

Test(command_run, se) {
    put_se("w.st", "", "");
    put_input();
    const outcome *o = shell("\"$A\" run w.st --layer se --input x.npy --output y.npy");
    expect_done(o);
    cr_expect_str_empty(o->out);
    expect_values("y.npy", 3, x_shape, gated);
    cr_expect_eq(folder_entries(), 3, "%d files", folder_entries());
}

Test(command_run, both_spellings_of_options_and_any_order) {
    put_se("w.st", "", "");
    put_input();
    expect_done(shell("\"$A\" run --output=y.npy --threads=2 --layer=auto --input=x.npy w.st"));
    expect_values("y.npy", 3, x_shape, gated);
    expect_done(shell("\"$A\" run w.st --layer se --prefix '' --input x.npy --output z.npy && cmp y.npy z.npy"));
    expect_done(shell("cp w.st ./-w && \"$A\" run --output z.npy --input x.npy --layer auto -- -w && cmp y.npy z.npy"));
}

Test(command_run, prefix_and_rename) {
    put_se("w.st", "net.1.", "");
    put_input();
    expect_done(shell("\"$A\" run w.st --layer auto --prefix net.1. --input x.npy --output y.npy"));
    expect_values("y.npy", 3, x_shape, gated);
    put_se("v.st", "excite_", "");
    expect_error(shell("\"$A\" run v.st --layer se --input x.npy --output z.npy"), 1, "v.st: fc.0.weight", "no rename");
    expect_done(shell("\"$A\" run v.st --layer se --rename excite_fc.0.weight=fc.0.weight "
                      "--rename=excite_fc.2.weight=fc.2.weight --rename excite_fc.2.bias=fc.2.bias "
                      "--input x.npy --output z.npy && cmp y.npy z.npy"));
}

Test(command_run, metadata_names_the_kind_and_defaults) {
    put_input();
    put_se("w.st", "", "\"attentile.layer\":\"se\"");
    expect_done(shell("\"$A\" run w.st --input x.npy --output y.npy"));
    expect_values("y.npy", 3, x_shape, gated);
    /* 0.01 * 200 + 1/2 and 0.01 * -200 + 1/2 are clamped to 1 and 0; with alpha 0 both gates are 1/2. */
    put_se("w.st", "", "\"attentile.layer\":\"se\",\"attentile.gate\":\"hard-sigmoid\",\"attentile.alpha\":\"0.01\"");
    expect_done(shell("\"$A\" run w.st --input x.npy --output y.npy"));
    expect_values("y.npy", 3, x_shape, gated);
    expect_done(shell("\"$A\" run w.st --set alpha=0 --input x.npy --output y.npy"));
    static const float half[] = {0.5f, 1, 1.5f, 2, 2.5f, 3, 3.5f, 4, 4.5f, 5, 5.5f, 6};
    expect_values("y.npy", 3, x_shape, half);
}

/* [C, B, ...]: the first axis of x is the channels. */
Test(command_run, channels_before_batch) {
    static const float expected[] = {1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0};
    put_input();
    put_se("w.st", "", "");
    expect_done(shell("\"$A\" run w.st --layer se --set batch_first=false --input x.npy --output y.npy"));
    expect_values("y.npy", 3, x_shape, expected);
    put_se("w.st", "", "\"attentile.layer\":\"se\",\"attentile.batch_first\":\"0\"");
    expect_done(shell("\"$A\" run w.st --input x.npy --output z.npy && cmp y.npy z.npy"));
    expect_done(shell("\"$A\" run w.st --set batch_first=true --input x.npy --output y.npy"));
    expect_values("y.npy", 3, x_shape, gated);
    /* Three samples, so that a wrong axis cannot pass for the right one. */
    static const int64_t three[] = {2, 3, 2};
    put_array("x.npy", 3, three, x_values);
    expect_done(shell("\"$A\" run w.st --input x.npy --output y.npy"));
    expect_values("y.npy", 3, three, expected);
}

Test(command_run, attention_with_map) {
    static const int64_t shape[] = {2, 1, 2, 2}, map_shape[] = {2, 4, 4}, rows_shape[] = {2, 3, 4};
    static const float x[] = {1, 2, 3, 6, -1, -2, -3, -6}, y[] = {4, 5, 6, 9, -4, -5, -6, -9};
    float map[32];
    for (int i = 0; i < 32; i++)
        map[i] = 0.25f;
    put_attention("w.st");
    put_array("x.npy", 4, shape, x);
    expect_done(shell("\"$A\" run w.st --layer auto --input x.npy --output y.npy --map a.npy"));
    expect_values("y.npy", 4, shape, y);
    expect_values("a.npy", 3, map_shape, map);
    expect_done(shell("\"$A\" run w.st --layer auto --input x.npy --output y.npy --map a.npy --map-rows 3,0,3"));
    expect_values("y.npy", 4, shape, y);
    expect_values("a.npy", 3, rows_shape, map);
}

/* ---------------------------------------------------------------- what it reports */

Test(command_run, json) {
    static const int64_t shape[] = {3, 1, 4, 4};
    static const char *const numbers[] = {"min_ms", "median_ms", "gflops", "bound_ms", "peak_mib"};
    float x[48];
    for (int i = 0; i < 48; i++)
        x[i] = (float)i;
    put_attention("w.st");
    put_array("x.npy", 4, shape, x);
    const outcome *o = shell("\"$A\" run w.st --layer auto --input x.npy --output y.npy --map a.npy --map-rows 0 "
                             "--repeat 5 --threads 2 --json");
    expect_done(o);
    json_t *root = json_loads(o->out, 0, NULL);
    cr_assert_not_null(root, "\"%s\"", o->out);
    cr_expect_str_eq(json_string_value(json_object_get(root, "layer")), "self-attention-spatial");
    cr_expect_eq(json_integer_value(json_object_get(root, "threads")), 2);
    cr_expect_eq(json_integer_value(json_object_get(root, "runs")), 5);
    cr_expect_not_null(json_string_value(json_object_get(root, "isa")));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        cr_expect(json_number_value(json_object_get(root, numbers[i])) > 0, "%s in \"%s\"", numbers[i], o->out);
    cr_expect(json_number_value(json_object_get(root, "min_ms")) <=
              json_number_value(json_object_get(root, "median_ms")));
    json_t *shapes = json_object_get(root, "shapes"), *map = json_object_get(shapes, "map");
    cr_expect_eq(json_array_size(json_object_get(shapes, "x")), 4);
    cr_expect_eq(json_array_size(json_object_get(shapes, "y")), 4);
    cr_assert_eq(json_array_size(map), 3);
    cr_expect_eq(json_integer_value(json_array_get(map, 1)), 1);
    cr_expect_eq(json_integer_value(json_array_get(map, 2)), 16);
    json_decref(root);
    o = shell("\"$A\" run w.st --layer auto --input x.npy --output y.npy --repeat 4");
    expect_done(o);
    cr_expect(strstr(o->out, "4 runs, min ") && strstr(o->out, "median "), "\"%s\"", o->out);
}

Test(command_run, same_bytes_for_any_threads_and_isa) {
    static const int64_t shape[] = {3, 1, 17, 31};
    static float x[3 * 17 * 31];
    for (size_t i = 0; i < sizeof x / sizeof x[0]; i++)
        x[i] = (float)((i * 2654435761u) % 1000) / 250 - 2;
    put_attention("w.st");
    put_array("x.npy", 4, shape, x);
    expect_done(
        shell("ATTENTILE_MAX_ISA=scalar \"$A\" run w.st --layer auto --input x.npy --output y1.npy --threads 1"));
    for (int threads = 2; threads <= 4; threads++)
        expect_done(shell("\"$A\" run w.st --layer auto --input x.npy --output y2.npy --threads %d --repeat 2 "
                          ">/dev/null && cmp y1.npy y2.npy",
                          threads));
}

/* ---------------------------------------------------------------- refusals */

Test(command_run, wrong_usage) {
    static const struct {
        const char *rest, *reason;
    } cases[] = {
        {"--input x.npy --output y.npy", "w.st: --layer is missing"},
        {"--layer see --input x.npy --output y.npy", "did you mean se?"},
        {"--layer se --input x.npy --output y.npy --rename fc.0.wieght=fc.0.weight", "did you mean \"fc.0.weight\"?"},
        {"--layer zzzzzz --input x.npy --output y.npy", "--layer: expected auto, se, cbam-channel"},
        {"--layer se --output y.npy", "--input is missing"},
        {"--layer se --input x.npy", "--output is missing"},
        {"--layer se --input x.npy --output y.npy --key x.npy", "--key: a layer of kind se takes none"},
        {"--layer se --input x.npy --output y.npy --value x.npy", "--value: a layer of kind se takes none"},
        {"--layer se --input x.npy --output y.npy --mask x.npy", "--mask: a layer of kind se takes none"},
        {"--layer se --input x.npy --output y.npy --map a.npy", "--map: a layer of kind se has none"},
        {"--layer se --input x.npy --output y.npy --map-rows 0", "--map-rows needs --map"},
        {"--layer se --input x.npy --output y.npy --map a.npy --map-rows 1,,2", "got \"1,,2\""},
        {"--layer se --input x.npy --output y.npy --map a.npy --map-rows 1,", "got \"1,\""},
        {"--layer se --input x.npy --output y.npy --map a.npy --map-rows=-1", "got \"-1\""},
        {"--layer se --input x.npy --output y.npy --set stride=2", "stride"},
        {"--layer se --input x.npy --output y.npy --set gate=tanh", "tanh"},
        {"--layer se --input x.npy --output y.npy --set gate", "expected NAME=VALUE"},
        {"--layer se --input x.npy --output y.npy --set =silu", "expected NAME=VALUE"},
        {"--layer se --input x.npy --output y.npy --set alpha=1 --set alpha=2", "\"alpha\" is given twice"},
        {"--layer se --input x.npy --output y.npy --map a.npy --map-rows=", "got \"\""},
        {"--layer se --input x.npy --output y.npy --rename fc", "expected NAME=VALUE"},
        {"--layer se --input x.npy --output y.npy --rename fc.0.bais=fc.0.bias", "no such tensor"},
        {"--layer se --input x.npy --output y.npy --prefix fc. --rename fc.0.weight=a", "after the prefix \"fc.\""},
        {"--layer se --input x.npy --output y.npy --repeat 0", "from 1 to"},
        {"--layer se --input x.npy --output y.npy --threads 1025", "from 1 to 1024"},
        {"--layer se --input x.npy --output x.npy", "x.npy: --output names the same file as --input"},
        {"--layer se --input x.npy --output ./../${PWD##*/}/x.npy", "names the same file"},
        {"--layer se --input x.npy --output hard.npy", "names the same file"},
        {"--layer se --input x.npy --output soft.npy", "names the same file"},
        {"--layer se --input soft.npy --output x.npy", "names the same file"},
        {"--layer se --input x.npy --output w.st", "w.st: --output names the checkpoint"},
        {"--layer se --input x.npy --output y.npy --map x.npy", "x.npy: --map names the same file as --input"},
        {"--layer se --input x.npy --output y.npy --map ./y.npy", "--map names the same file as --output"},
    };
    put_se("w.st", "", "");
    put_input();
    cr_assert_eq(shell("ln x.npy hard.npy && ln -s x.npy soft.npy")->code, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_error(shell("\"$A\" run w.st %s", cases[i].rest), 2, cases[i].reason, cases[i].rest);
        cr_expect_eq(folder_entries(), 4, "%s left %d files", cases[i].rest, folder_entries());
    }
    expect_error(shell("\"$A\" run --layer se --input x.npy --output y.npy"), 2, "checkpoint is missing", "no operand");
    expect_values("x.npy", 3, x_shape, x_values);
}

Test(command_run, wrong_files) {
    static const struct {
        const char *line, *reason;
    } cases[] = {
        {"absent.st --layer se --input x.npy --output y.npy", "absent.st: "},
        {"x.npy --layer se --input f64.npy --output y.npy", "x.npy: "},
        {"w.st --layer se --input absent.npy --output y.npy", "absent.npy: "},
        {"w.st --layer se --input w.st --output y.npy", "w.st: "},
        {"w.st --layer se --input pipe --output y.npy", "pipe: "},
        {"w.st --layer se --input f64.npy --output y.npy",
         "f64.npy: wrong dtype (expected F32, got F64; in NumPy: x.astype"},
        {"w.st --layer se --input flat.npy --output y.npy", "flat.npy: wrong shape"},
        {"w.st --layer se --input three.npy --output y.npy", "three.npy: "},
        {"w.st --layer self-attention-spatial --input x.npy --output y.npy", "w.st: "},
        {"w.st --layer auto --prefix a. --input x.npy --output y.npy", "w.st: "},
        {"w.st --layer se --input x.npy --output absent/y.npy", "absent/y.npy: "},
        {"w.st --layer se --input x.npy --output flat.npy/y.npy", "flat.npy/y.npy: "},
        {"w.st --layer se --input x.npy --output astray", "astray: "},
        {"w.st --layer se --input x.npy --output .", ".: "},
        {"w.st --layer se --input x.npy --output=", ": "},
        {"w.st --layer se --input x.npy --output pipe", "pipe: "},
        {"w.st --layer se --input x.npy --output /dev/full", "/dev/full: "},
    };
    static const int64_t flat[] = {12}, three[] = {1, 3, 4};
    put_se("w.st", "", "");
    put_input();
    put_array("flat.npy", 1, flat, x_values);
    put_array("three.npy", 3, three, x_values);
    atl_array doubles = {.dtype = ATL_F64, .rank = 3, .shape = {1, 2, 3}, .data = (double[6]){0}};
    cr_assert_eq(atl_npy_write(in_folder("f64.npy"), &doubles, NULL), ATL_OK);
    cr_assert_eq(mkfifo(in_folder("pipe"), 0600), 0);
    cr_assert_eq(symlink("absent/y.npy", in_folder("astray")), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_error(shell("\"$A\" run %s", cases[i].line), 1, cases[i].reason, cases[i].line);
        cr_expect_eq(folder_entries(), 7, "%s left %d files", cases[i].line, folder_entries());
    }
}

Test(command_run, map_rows_beyond_the_positions) {
    static const int64_t shape[] = {1, 1, 2, 2};
    put_attention("w.st");
    put_array("x.npy", 4, shape, x_values);
    expect_error(shell("\"$A\" run w.st --layer auto --input x.npy --output y.npy --map a.npy --map-rows 0,4"), 2,
                 "--map-rows: no such query position (expected 0 to 3, got 4)", "row 4");
    cr_expect_eq(folder_entries(), 2, "%d files", folder_entries());
}

/* y fits within the limit on file sizes, the map does not: neither appears, and what was there stays. */
Test(command_run, outputs_appear_together_or_not_at_all) {
    static const int64_t shape[] = {1, 1, 8, 8};
    float x[64] = {0};
    put_attention("w.st");
    put_array("x.npy", 4, shape, x);
    put_file("y.npy", "old", 3);
    expect_error(shell("trap '' XFSZ; ulimit -f 4; exec \"$A\" run w.st --layer auto --input x.npy --output y.npy "
                       "--map a.npy"),
                 1, "a.npy: ", "a map too large");
    size_t size;
    char *left = get_file(in_folder("y.npy"), &size);
    cr_expect_str_eq(left, "old");
    free(left);
    cr_expect_eq(folder_entries(), 3, "%d files", folder_entries());
    expect_done(shell("\"$A\" run w.st --layer auto --input x.npy --output y.npy --map a.npy"));
    expect_values("y.npy", 4, shape, x);
}

Test(command_run, report_that_does_not_arrive_is_a_failure) {
    put_se("w.st", "", "");
    put_input();
    expect_error(shell("\"$A\" run w.st --layer se --input x.npy --output y.npy --repeat 2 >/dev/full"), 1,
                 "standard output", "full");
    /* A closed stream must not become the file that is opened next. */
    expect_error(shell("\"$A\" run w.st --layer se --input x.npy --output y.npy --repeat 2 >&-"), 1, "standard output",
                 "closed");
    expect_values("y.npy", 3, x_shape, gated);
    expect_done(shell("\"$A\" run w.st --layer se --input x.npy --output y.npy >&- <&-"));
}
