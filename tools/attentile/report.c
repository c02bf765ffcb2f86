/* SPDX-License-Identifier: Apache-2.0 */
/* What the command says besides its results. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

static int progress_shown;

/* Bytes of the control character that a text begins with, 0 = none. Terminals also obey those from U+0080 to U+009F. */
static int control_length(const char *text) {
    const unsigned char first = (unsigned char)text[0], second = first ? (unsigned char)text[1] : 0;
    return (first && first < ' ') || first == 127 ? 1 : first == 0xc2 && second >= 0x80 && second < 0xa0 ? 2 : 0;
}

/* One write, so that lines of several processes do not mix. */
static void print_line(const char *kind, const char *format, va_list values) {
    char line[2048];
    const int start = snprintf(line, sizeof line, "attentile: %s", kind);
    vsnprintf(line + start, sizeof line - (size_t)start - 1, format, values);
    size_t length = 0;
    for (const char *c = line; *c; c++) {
        const int control = control_length(c);
        c += control == 2;
        line[length++] = control ? '?' : *c;
    }
    line[length++] = '\n';
    progress_clear();
    fwrite(line, 1, length, stderr);
}

int failed(const char *format, ...) {
    va_list values;
    va_start(values, format);
    print_line("", format, values);
    va_end(values);
    return FAILED;
}

int wrong_usage(const char *format, ...) {
    va_list values;
    va_start(values, format);
    print_line("", format, values);
    va_end(values);
    return WRONG_USAGE;
}

void warning(const char *format, ...) {
    va_list values;
    va_start(values, format);
    print_line("warning: ", format, values);
    va_end(values);
}

void print_text(const char *text) {
    for (const char *c = text; *c; c++) {
        const int control = control_length(c);
        c += control == 2;
        putchar(control ? '?' : *c);
    }
}

int progress_wanted(void) {
    return isatty(STDERR_FILENO);
}

/* One write, so that nobody sees a line half drawn. */
static void print_progress(const char *bar, const char *format, va_list values) {
    char line[256];
    const int start = snprintf(line, sizeof line, "\r\033[K%s", bar);
    vsnprintf(line + start, sizeof line - (size_t)start, format, values);
    fputs(line, stderr);
    fflush(stderr);
    progress_shown = 1;
}

void progress(const char *format, ...) {
    if (!progress_wanted())
        return;
    va_list values;
    va_start(values, format);
    print_progress("", format, values);
    va_end(values);
}

void progress_bar(double share, const char *format, ...) {
    enum { WIDTH = 24 };
    if (!progress_wanted())
        return;
    char bar[WIDTH + 16], cells[WIDTH + 1] = "";
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    for (int i = 0; i < WIDTH; i++)
        cells[i] = i < (int)(share * WIDTH) ? '#' : '.';
    snprintf(bar, sizeof bar, "[%s] %3.0f %% ", cells, 100 * share);
    va_list values;
    va_start(values, format);
    print_progress(bar, format, values);
    va_end(values);
}

void progress_clear(void) {
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = 0;
}

const char *shape_text(int rank, const int64_t *shape, char *text, size_t capacity) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < rank && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%" PRId64, i ? "x" : "", shape[i]);
    return text;
}
