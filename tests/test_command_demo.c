/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile demo` (tools/attentile/image*.c is linked into this test). */
#include <fcntl.h>
#include <math.h>
#include <pty.h>
#include <stdio.h>

#include "shell.h"
#include "image.h"

TestSuite(command_demo, .init = make_command_folder, .fini = remove_folder, .timeout = 120);

/* ---------------------------------------------------------------- the demo */

/* The page's pictures are PNG, as data, and it asks for nothing else. */
static void expect_page(const char *name, int pictures) {
    size_t size;
    char *page = get_file(in_folder(name), &size);
    int found = 0;
    for (const char *at = page; (at = strstr(at, "<img ")); at++, found++)
        cr_expect(strstr(at, "src=\"data:image/png;base64,iVBORw0KGgo"), "%.60s", at);
    cr_expect_eq(found, pictures, "%d pictures", found);
    cr_expect_eq(strncmp(page, "<!doctype html>", 15), 0);
    cr_expect_str_eq(page + size - 8, "</html>\n");
    cr_expect_null(strstr(page, "{{"));
    cr_expect_null(strstr(page, "http"));
    for (int i = 0; atl_kind_name(i); i++)
        cr_expect(strstr(page, atl_kind_name(i)), "no %s", atl_kind_name(i));
    free(page);
}

/* A picture that is not all of one colour, as a PNG file of the folder. */
static void put_picture(const char *name, int width, int height) {
    image picture;
    uint8_t *bytes;
    size_t size;
    cr_assert_eq(image_allocate(&picture, width, height, name), 0);
    for (int i = 0; i < 3 * width * height; i++)
        picture.rgb[i] = (uint8_t)(i * 7 + i / width * 3);
    cr_assert_eq(image_encode_png(&picture, name, &bytes, &size), 0);
    put_file(name, bytes, size);
    free(bytes);
    free(picture.rgb);
}

/* The line of a kind: its numbers, and what stands in the other columns. */
static void expect_line(const char *out, const char *kind) {
    char start[64], input[32], bound[32], share[32], rest[160];
    double ms, gflops, error;
    snprintf(start, sizeof start, "\n%s ", kind);
    const char *line = strstr(out, start);
    cr_assert_not_null(line, "no line of %s in \"%s\"", kind, out);
    cr_assert_eq(sscanf(line + strlen(start), "%31s %lf %lf %31s %31s", input, &ms, &gflops, bound, share), 5, "%.120s",
                 line + 1);
    const char *end = strchr(line + 1, '\n');
    cr_assert_not_null(end);
    const char *last = end;
    while (last[-1] != ' ')
        last--;
    error = strtod(last, NULL);
    cr_expect(strstr(input, "64"), "%s: input %s", kind, input);
    cr_expect(ms > 0 && gflops > 0, "%s: %g ms, %g GFLOP/s", kind, ms, gflops);
    cr_expect(strtod(bound, NULL) > 0, "%s: bound %s", kind, bound);
    cr_expect(strtod(share, NULL) > 0, "%s: share %s", kind, share);
    cr_expect(error > 0 && error <= 1, "%s: error %g", kind, error);
    snprintf(rest, sizeof rest, "%.*s", (int)(end - line), line);
    if (strstr(kind, "self-attention-spatial")) /* 576 squared, 4 bytes each */
        cr_expect(strstr(rest, " 1.3 MiB "), "%s", rest);
    cr_expect(strstr(rest, " MiB ") || strstr(rest, " ? "), "%s", rest);
}

Test(command_demo, a_line_for_every_kind_and_a_page) {
    static const char *const parts[] = {
        "picture: a cup of coffee", "24x24 pixels",    "machine: ",           "\nlayer ", "N x N",
        "576 pixels attend",        "page: demo.html", "\n  The photograph: "};
    const outcome *o = shell("\"$A\" demo --size 24 --threads 2");
    expect_done(o);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        cr_expect(strstr(o->out, parts[i]), "no \"%s\" in \"%s\"", parts[i], o->out);
    for (int i = 0; atl_kind_name(i); i++)
        expect_line(o->out, atl_kind_name(i));
    expect_page("demo.html", 9);
    cr_expect_eq(folder_entries(), 1, "%d files", folder_entries());
    cr_expect_null(strpbrk(o->out, "\r\033"), "a pipe gets whole lines");
}

/* On a terminal bars tell how far the demo is, and leave no trace. */
Test(command_demo, bars_on_a_terminal) {
    static char seen[1 << 16];
    int terminal, other;
    cr_assert_eq(openpty(&terminal, &other, NULL, NULL, NULL), 0);
    const pid_t child = fork();
    if (child == 0) {
        const int nowhere = open("/dev/null", O_WRONLY);
        if (chdir(folder) == 0 && dup2(nowhere, 1) == 1 && dup2(other, 2) == 2)
            execl(getenv("ATTENTILE_COMMAND"), "attentile", "demo", "--size=16", (char *)NULL);
        _exit(126);
    }
    close(other);
    size_t length = 0;
    for (ssize_t got;
         (got = read(terminal, seen + length, sizeof seen - 1 - length)) > 0;) /* until the other side is closed */
        length += (size_t)got;
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(status, 0);
    cr_expect(strstr(seen, "[........................]   0 % se"), "\"%s\"", seen);
    cr_expect(strstr(seen, "[#####################...]  90 % denoising"), "\"%s\"", seen);
    cr_expect_str_eq(seen + length - 4, "\r\033[K");
}

/* The photograph's noise goes, by about as much as is known of non-local means. */
Test(command_demo, denoises) {
    const outcome *o = shell("\"$A\" demo --size 96");
    double before, after, gain;
    expect_done(o);
    const char *line = strstr(o->out, "PSNR ");
    cr_assert(line && sscanf(line, "PSNR %lf dB with noise (standard deviation 25 of 255), %lf dB denoised: %lf",
                             &before, &after, &gain) == 3,
              "\"%s\"", o->out);
    cr_expect(fabs(before - 20 * log10(255 / 25.0)) < 0.2, "%g dB before", before);
    cr_expect(gain > 5 && fabs(after - before - gain) < 0.011, "%g, %g, %g dB", before, after, gain);
}

Test(command_demo, takes_a_picture_and_a_path) {
    put_picture("in.png", 70, 65);
    cr_assert_eq(mkdir(in_folder("out"), 0700), 0);
    const outcome *o = shell("\"$A\" demo --image in.png --size=16 --html out/my.html");
    expect_done(o);
    cr_expect(strstr(o->out, "picture: in.png, 70x65"), "\"%s\"", o->out);
    cr_expect(strstr(o->out, "page: out/my.html"), "\"%s\"", o->out);
    expect_page("out/my.html", 9);
    unlink(in_folder("out/my.html"));
}

/* A name is text, never markup, nor does it steer the terminal. */
Test(command_demo, names_are_shown_as_text) {
    size_t size;
    put_picture("<b>&\"'\033.png", 16, 16);
    const outcome *o = shell("\"$A\" demo --image '<b>&\"'\\''\033.png' --size 16");
    expect_done(o);
    char *page = get_file(in_folder("demo.html"), &size);
    cr_expect_null(strchr(o->out, '\033'));
    cr_expect(strstr(page, "<dd>&#60;b&#62;&#38;&#34;&#39;?.png</dd>"));
    free(page);
}

Test(command_demo, shrinks_what_would_take_too_long) {
    const outcome *o = shell("ATTENTILE_MAX_ISA=scalar \"$A\" demo --size 128 --patience 1 --threads 1");
    int from, to, taken;
    expect_done(o);
    const char *note = strstr(o->out, "note: ");
    cr_assert(note && sscanf(note, "note: %dx%*d pixels would take about %*d s here; the demo goes on with %dx%*d",
                             &from, &to) == 2,
              "\"%s\"", o->out);
    const char *input = strstr(o->out, "centre as ");
    cr_assert(input && sscanf(input, "centre as %dx", &taken) == 1);
    cr_expect(from == 128 && to < 128 && to >= 16 && to == taken, "%d, %d, %d", from, to, taken);
}

Test(command_demo, refusals) {
    put_file("text.png", "no picture at all", 17);
    put_file("cut.png", "\211PNG\r\n\032\n\0\0\0\rIHDR", 16);
    put_file("cut.jpg", "\377\330\377\340\0\020JFIF", 10);
    expect_error(shell("\"$A\" demo --size 16 --image text.png"), 1, "text.png: not a picture", "text");
    expect_error(shell("\"$A\" demo --size 16 --image cut.png"), 1, "cut.png: broken PNG: the file ends early",
                 "cut PNG");
    expect_error(shell("\"$A\" demo --size 16 --image cut.jpg"), 1, "cut.jpg: broken JPEG", "cut JPEG");
    expect_error(shell("\"$A\" demo --size 16 --image absent.png"), 1, "absent.png: ", "absent");
    expect_error(shell("\"$A\" demo --size 16 --image ."), 1, ".: ", "folder");
    expect_error(shell("\"$A\" demo --size 16 --image /dev/zero"), 1, "/dev/zero: not a regular file", "device");
    expect_error(shell("\"$A\" demo --size 15"), 2, "--size: expected a whole number from 16 to 2048", "size");
    expect_error(shell("\"$A\" demo --size 16 --html absent/x.html"), 1, "absent/x.html: ", "no folder");
    expect_error(shell("\"$A\" demo --size 16 --image cut.png --html ./cut.png"), 2, "--html names the same", "image");
    expect_error(shell("mkdir demo.html; \"$A\" demo --size 16"), 1, "demo.html: ", "in the way");
    cr_expect_eq(folder_entries(), 4, "%d files", folder_entries());
    expect_error(shell("rmdir demo.html; \"$A\" demo --size 16 >/dev/full"), 1, "standard output", "full");
}
