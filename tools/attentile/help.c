/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "command.h"

const option_spec help_option = {"help", NULL, 0, "Prints this help."};
const option_spec version_option = {"version", NULL, 0, "Prints the library's version."};

const named_text environment_texts[] = {
    {"ATTENTILE_NUM_THREADS", "Threads to use by default, 1 to 1024."},
    {"ATTENTILE_MAX_ISA", "The highest instruction set to use: scalar, avx2, avx512 or neon."},
    {NULL, NULL},
};

const named_text exit_texts[] = {
    {"0", "Done."},
    {"1", "Something failed; a line on stderr says what."},
    {"2", "Wrong usage."},
    {NULL, NULL},
};

const char help_examples[] = "  attentile run se.safetensors --layer se --input x.npy --output y.npy\n"
                             "  attentile info se.safetensors\n"
                             "  attentile demo\n";

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
    int width = left_width(&help_option);
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
    print_option(&help_option, width);
    printf("\nExamples:\n%s", command->examples);
}

void help_print_all(FILE *to) {
    fprintf(to, "usage: attentile COMMAND [OPTION]...\n\n" COMMAND_SUMMARY "\n\nCommands:\n");
    for (int i = 0; commands[i]; i++)
        fprintf(to, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(to, "\n"
                "  attentile COMMAND --help   options and examples of a command\n"
                "  attentile --version        the library's version\n"
                "\nEnvironment:\n");
    for (const named_text *e = environment_texts; e->name; e++)
        fprintf(to, "  %-22s %s\n", e->name, e->text);
    fprintf(to, "\nExit status:\n");
    for (const named_text *e = exit_texts; e->name; e++)
        fprintf(to, "  %-2s %s\n", e->name, e->text);
    fprintf(to, "\nExamples:\n%s", help_examples);
}
