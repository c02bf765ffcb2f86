/* SPDX-License-Identifier: Apache-2.0 */
/* Completion for zsh: the specifications of _arguments(1). */
#include "generate.h"

#include <string.h>

/* A text inside single quotes and, there, inside brackets or between colons. */
static void print_text_of(const char *text, int length) {
    for (int i = 0; i < length; i++)
        if (text[i] == '\'')
            printf("'\\''");
        else
            print_escaped(text + i, 1, "[]:\\");
}

/* ":message:action" of a value or an operand. */
static void print_action(const char *value) {
    const char *word, *ending = value_ending(value);
    printf(":");
    print_text_of(value, (int)strlen(value));
    printf(":");
    switch (value_type_of(value)) {
    case VALUE_TEXT: return;
    case VALUE_FOLDER: printf("_files -/"); return;
    case VALUE_FILE:
        printf("_files");
        if (ending)
            printf(" -g \"*.%s(-.)\"", ending);
        return;
    case VALUE_WORD:
        for (int i = 0; (word = value_word(value, i)); i++)
            printf("%s%s", i ? " " : "(", word);
        printf(")");
    }
}

static void print_option(const option_spec *option) {
    int length;
    const char *text = first_sentence(option->help, &length);
    printf(" \\\n            '%s--%s%s[", option->repeatable ? "*" : "", option->name, option->value ? "=" : "");
    print_text_of(text, length);
    printf("]");
    if (option->value)
        print_action(option->value);
    printf("'");
}

static void print_command(const command_spec *command) {
    char operand[64];
    printf("        %s)\n            _arguments", command->name);
    for (int i = 0; i < command->option_count; i++)
        print_option(&command->options[i]);
    print_option(&help_option);
    if (operand_name(command, operand, sizeof operand)) {
        printf(" \\\n            '1");
        print_action(operand);
        printf("'");
    }
    printf("\n            ;;\n");
}

void generate_zsh(void) {
    printf("#compdef attentile\n"
           "# Completion of attentile for zsh, generated from the command's tables of options.\n"
           "\n"
           "_attentile() {\n"
           "    local curcontext=$curcontext state line\n"
           "    local -A opt_args\n"
           "    local -a commands=(\n");
    for (int i = 0; commands[i]; i++) {
        int length;
        const char *text = first_sentence(commands[i]->summary, &length);
        printf("        '%s:", commands[i]->name);
        print_text_of(text, length);
        printf("'\n");
    }
    printf(
        "    )\n"
        "    _arguments -C '1:command:->command' '*::argument:->argument' \\\n            '(- *)--%s[Print the help]' "
        "'(- *)--%s[Print the version]'\n"
        "    case $state in\n"
        "    command) _describe command commands ;;\n"
        "    argument)\n"
        "        case $line[1] in\n",
        help_option.name, version_option.name);
    for (int i = 0; commands[i]; i++)
        print_command(commands[i]);
    printf("        esac\n        ;;\n    esac\n}\n\n_attentile \"$@\"\n");
}
