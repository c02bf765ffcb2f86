/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "command.h"

#define NAME_MAX_LENGTH 40

static unsigned char least(int a, int b, int c) {
    const int ab = a < b ? a : b;
    return (unsigned char)(ab < c ? ab : c);
}

/* Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other; words longer than
 * any name are far from all. */
static int distance_of(const char *a, const char *b) {
    unsigned char d[NAME_MAX_LENGTH + 1][NAME_MAX_LENGTH + 1];
    const int la = (int)strnlen(a, NAME_MAX_LENGTH + 1), lb = (int)strnlen(b, NAME_MAX_LENGTH + 1);
    if (la > NAME_MAX_LENGTH || lb > NAME_MAX_LENGTH)
        return NEAR_ENOUGH;
    for (int i = 0; i <= la; i++)
        for (int j = 0; j <= lb; j++) {
            d[i][j] = (unsigned char)(i ? i : j);
            if (i && j)
                d[i][j] = least(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1, d[i][j]);
        }
    return d[la][lb];
}

void nearest_name(const char *word, const char *name, const char **best, int *distance) {
    const int d = distance_of(word, name);
    /* A word of three letters of which two are wrong resembles nothing. */
    if (d < *distance && d * 2 <= (int)strlen(name)) {
        *distance = d;
        *best = name;
    }
}

static int left_width(const option_spec *option) {
    return (int)strlen(option->name) + 2 + (option->value ? (int)strlen(option->value) + 1 : 0);
}

/* Prints the text, wrapped to 80 columns, whose first line starts at `column` already. */
static void print_wrapped(const char *text, int column) {
    int at = column;
    while (*text) {
        const int length = (int)strcspn(text, " ");
        if (at > column && at + 1 + length > 80) {
            printf("\n%*s", column, "");
            at = column;
        }
        if (at > column)
            at += printf(" ");
        at += printf("%.*s", length, text);
        text += length;
        text += strspn(text, " ");
    }
    printf("\n");
}

static void print_option(const option_spec *option, int width) {
    const int used = printf("  --%s%s%s", option->name, option->value ? " " : "", option->value ? option->value : "");
    printf("%*s", width + 4 - used, "");
    print_wrapped(option->help, width + 4);
}

void help_print(const command_spec *command) {
    static const option_spec help = {"help", NULL, 0, "Print this help."};
    int width = left_width(&help);
    for (int i = 0; i < command->option_count; i++)
        if (left_width(&command->options[i]) > width)
            width = left_width(&command->options[i]);
    printf("usage: attentile %s%s%s [OPTION]...\n\n%s\n", command->name, command->operands ? " " : "",
           command->operands ? command->operands : "", command->summary);
    if (command->details)
        printf("\n%s", command->details);
    printf("\nOptions (--name value or --name=value):\n");
    for (int i = 0; i < command->option_count; i++)
        print_option(&command->options[i], width);
    print_option(&help, width);
    printf("\nExamples:\n%s", command->examples);
}
