/* SPDX-License-Identifier: Apache-2.0 */
/* The page: demo.html, with what was measured and drawn in place of its {{names}}. */
#include <stdlib.h>
#include <string.h>

#include <attentile/io.h>

#include "demo.h"
#include "denoise.h"
#include "embedded.h"

/* Text as HTML; control characters become '?'. */
static void put_text(FILE *out, const char *text) {
    for (const char *c = text; *c; c++)
        if (strchr("<>&\"'", *c))
            fprintf(out, "&#%d;", *c);
        else
            fputc((unsigned char)*c < ' ' || *c == 127 ? '?' : *c, out);
}

static void put_base64(FILE *out, const uint8_t *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const uint32_t bits =
            (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
        fputc(digits[bits >> 18], out);
        fputc(digits[bits >> 12 & 63], out);
        fputc(left > 1 ? digits[bits >> 6 & 63] : '=', out);
        fputc(left > 2 ? digits[bits & 63] : '=', out);
    }
}

static void put_mark(FILE *out, const demo *demo, int mark) {
    const int size = demo->sample.size;
    fprintf(out, "<i class=\"mark m%d\" style=\"left:%.2f%%;top:%.2f%%\"></i>", mark + 1,
            100 * ((double)(demo->rows[mark] % size) + 0.5) / size,
            100 * ((double)(demo->rows[mark] / size) + 0.5) / size);
}

/* A picture with its caption, and rings around the marks from `first` to before `last`. */
static int put_figure(FILE *out, const demo *demo, const demo_picture *picture, int first, int last) {
    uint8_t *png;
    size_t size;
    const int code = image_encode_png(&picture->image, demo->page_path, &png, &size);
    if (code != DONE)
        return code;
    fprintf(out, "<figure><div class=\"frame\"><img width=\"%d\" height=\"%d\" alt=\"", picture->image.width,
            picture->image.height);
    put_text(out, picture->text);
    fprintf(out, "\" src=\"data:image/png;base64,");
    put_base64(out, png, size);
    fprintf(out, "\">");
    free(png);
    for (int mark = first; mark < last; mark++)
        put_mark(out, demo, mark);
    fprintf(out, "</div><figcaption><b>");
    put_text(out, picture->title);
    fprintf(out, "</b> ");
    put_text(out, picture->text);
    fprintf(out, "</figcaption></figure>\n");
    return DONE;
}

/* ---- what the names stand for ---- */

static int put_pictures(FILE *out, const demo *demo) {
    int code = DONE;
    for (int i = 0; i < 3 && code == DONE; i++)
        code = put_figure(out, demo, &demo->pictures[i], 0, 0);
    return code;
}

static int put_attention(FILE *out, const demo *demo) {
    demo_picture marked = {.image = demo->pictures[0].image};
    snprintf(marked.title, sizeof marked.title, "The marked pixels");
    snprintf(marked.text, sizeof marked.text, "Rings mark %d pixels of the photograph.", DEMO_MARKS);
    int code = put_figure(out, demo, &marked, 0, DEMO_MARKS);
    for (int k = 0; k < DEMO_MARKS && code == DONE; k++)
        code = put_figure(out, demo, &demo->pictures[3 + k], k, k + 1);
    return code;
}

static void put_key(FILE *out, const char *value, const char *meaning) {
    fprintf(out, "<li><b>%s</b> %s</li>\n", value, meaning);
}

static int put_keys(FILE *out, const demo *demo) {
    const demo_line *line = &demo->denoising;
    char text[80], bytes[32];
    snprintf(text, sizeof text, "%+.2f dB", demo->psnr_after - demo->psnr_before);
    put_key(out, text, "closer to the photograph");
    snprintf(text, sizeof text, "%.3g s", line->seconds);
    put_key(out, text, "for all pairs of pixels");
    put_key(out, line->memory >= 0 ? demo_bytes_text((double)line->memory, bytes, sizeof bytes) : "?",
            "over input and output");
    put_key(out, demo_bytes_text(line->pairs * sizeof(float), bytes, sizeof bytes),
            "would be the matrix, which never exists");
    snprintf(text, sizeof text, "%.0f", line->flops / line->seconds * 1e-9);
    put_key(out, text, "GFLOP/s computed");
    if (line->bound > 0) {
        snprintf(text, sizeof text, "%.0f %%", 100 * line->bound / line->seconds);
        put_key(out, text, "of what this machine allows");
    }
    return DONE;
}

static int put_head(FILE *out, const demo *demo) {
    (void)demo;
    for (int i = 0; i < DEMO_COLUMNS; i++)
        fprintf(out, "<th scope=\"col\">%s</th>", demo_columns[i]);
    return DONE;
}

static void put_line(FILE *out, const demo_line *line) {
    demo_cell cells[DEMO_COLUMNS];
    demo_line_cells(line, cells);
    fprintf(out, "<tr><th scope=\"row\">%s</th>", cells[0]);
    for (int i = 1; i < DEMO_COLUMNS; i++)
        fprintf(out, "<td>%s</td>", cells[i]);
    fprintf(out, "</tr>\n");
}

static int put_lines(FILE *out, const demo *demo) {
    for (int i = 0; i < demo->line_count; i++)
        put_line(out, &demo->lines[i]);
    demo_line line = demo->denoising;
    line.kind = "non-local, denoising";
    put_line(out, &line);
    return DONE;
}

static void put_fact(FILE *out, const char *name, const char *value) {
    fprintf(out, "<dt>%s</dt><dd>", name);
    put_text(out, value);
    fprintf(out, "</dd>\n");
}

static int put_machine(FILE *out, const demo *demo) {
    const atl_engine_info *m = &demo->machine;
    char text[160];
    put_fact(out, "Processor", m->cpu);
    snprintf(text, sizeof text, "%s, %d threads on %d available processors", m->isa, m->threads,
             m->processors_available);
    put_fact(out, "Used", text);
    if (demo->fma_gflops > 0 && demo->stream_gbs > 0) {
        snprintf(text, sizeof text, "%.4g GFLOP/s of multiply-adds, %.4g GB/s of memory, measured in this run",
                 demo->fma_gflops, demo->stream_gbs);
        put_fact(out, "Allows", text);
    }
    put_fact(out, "Attentile", atl_version());
    put_fact(out, "Picture", demo->source_name);
    return DONE;
}

static int put_positions(FILE *out, const demo *demo) {
    char text[32];
    fprintf(out, "%s", demo_count_text(demo->sample.positions, text, sizeof text));
    return DONE;
}

static int put_checked(FILE *out, const demo *demo) {
    (void)demo;
    fprintf(out, "%d", DEMO_ROWS);
    return DONE;
}

static const struct {
    const char *name;
    int (*put)(FILE *out, const demo *demo);
} fields[] = {{"positions", put_positions}, {"keys", put_keys},      {"pictures", put_pictures},
              {"attention", put_attention}, {"head", put_head},      {"lines", put_lines},
              {"checked", put_checked},     {"machine", put_machine}};

static int put_field(FILE *out, const demo *demo, const char *name, size_t length) {
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strlen(fields[i].name) == length && memcmp(fields[i].name, name, length) == 0)
            return fields[i].put(out, demo);
    return failed("demo: the page asks for \"%.*s\", which is not known", (int)length, name);
}

static int put_page(FILE *out, const demo *demo) {
    const char *at = (const char *)embedded_page;
    int code = DONE;
    for (const char *name; code == DONE && (name = strstr(at, "{{"));) {
        const char *end = strstr(name, "}}");
        fwrite(at, 1, (size_t)(name - at), out);
        code = put_field(out, demo, name + 2, (size_t)(end - name) - 2);
        at = end + 2;
    }
    fputs(at, out);
    return code;
}

static int write_file(const char *path, const char *text, size_t size) {
    atl_error error;
    atl_file *file = NULL;
    atl_status status = atl_file_create(path, &file, &error);
    if (status == ATL_OK)
        status = atl_file_write(file, text, size, &error);
    if (status == ATL_OK)
        status = atl_file_commit(file, &error);
    else
        atl_file_discard(file);
    return status == ATL_OK ? DONE : failed("%s", error.message);
}

int demo_write_page(const demo *demo) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return failed("out of memory");
    int code = put_page(out, demo);
    const int broken = ferror(out);
    if ((fclose(out) != 0 || broken) && code == DONE)
        code = failed("%s: not enough memory for the page", demo->page_path);
    if (code == DONE)
        code = write_file(demo->page_path, text, size);
    free(text);
    return code;
}
