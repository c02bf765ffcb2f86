/* SPDX-License-Identifier: Apache-2.0 */
#include "generate.h"

#include <string.h>

const char *first_sentence(const char *text, int *length) {
    const char *end = text;
    while (*end && !(end[0] == '.' && (end[1] == ' ' || end[1] == '\0')))
        end++;
    *length = (int)(end - text);
    return text;
}

const char *operand_name(const command_spec *command, char *name, size_t capacity) {
    if (!command->operands)
        return NULL;
    const char *start = command->operands + strspn(command->operands, "[");
    snprintf(name, capacity, "%.*s", (int)strcspn(start, "]"), start);
    return name;
}

void print_escaped(const char *text, int length, const char *special) {
    for (int i = 0; i < length; i++) {
        if (strchr(special, text[i]))
            putchar('\\');
        putchar(text[i]);
    }
}

/* The tables themselves, for tests: a line for each option, its value ("-" = none), and whether it may be repeated. */
static void generate_options(void) {
    for (int c = 0; commands[c]; c++)
        for (int i = 0; i < commands[c]->option_count; i++) {
            const option_spec *option = &commands[c]->options[i];
            printf("%s --%s %s %s\n", commands[c]->name, option->name, option->value ? option->value : "-",
                   option->repeatable ? "repeatable" : "once");
        }
}

static int generate_page(const char *name) {
    const command_spec *command = name ? find_command(name) : NULL;
    if (name && !command)
        return wrong_usage("generate: unknown command \"%s\" (see attentile --help)", name);
    generate_man(command);
    return DONE;
}

static int generate_main(const arguments *arguments) {
    static const struct {
        const char *name;
        void (*print)(void);
    } formats[] = {
        {"bash", generate_bash}, {"zsh", generate_zsh}, {"fish", generate_fish}, {"options", generate_options}};
    const char *format = arguments->operand_count > 0 ? arguments->operands[0] : "nothing";
    if (strcmp(format, "man") == 0)
        return generate_page(arguments->operand_count > 1 ? arguments->operands[1] : NULL);
    if (arguments->operand_count > 1)
        return wrong_usage("generate: one argument too many: %s", arguments->operands[1]);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(format, formats[i].name) == 0) {
            formats[i].print();
            return DONE;
        }
    return wrong_usage("generate: expected man, bash, zsh, fish or options, got %s", format);
}

const command_spec generate_command = {
    .name = "generate",
    .summary = "Print a manual page or completion for a shell, made from the tables of options.",
    .operands = "man|bash|zsh|fish|options [COMMAND]",
    .operands_max = 2,
    .details = "The build uses it, and installs what it prints.\n",
    .examples = "  attentile generate man run | man -l -\n"
                "  source <(attentile generate bash)\n",
    .run = generate_main,
};
