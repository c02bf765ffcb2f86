/* SPDX-License-Identifier: Apache-2.0 */
/* Completion for fish: a `complete` for each word that there is. */
#include "generate.h"

#include <string.h>

static void print_quoted(const char *text, int length) {
    printf("'");
    print_escaped(text, length, "'\\");
    printf("'");
}

static void print_description(const char *help) {
    int length;
    const char *text = first_sentence(help, &length);
    printf(" -d ");
    print_quoted(text, length);
    printf("\n");
}

/* What to offer for a value: -x takes nothing but what follows, -F lets any file in. */
static void print_value(const char *value) {
    const char *word;
    switch (value_type_of(value)) {
    case VALUE_TEXT: printf(" -x"); return;
    case VALUE_FOLDER: printf(" -x -a '(__fish_complete_directories)'"); return;
    case VALUE_FILE: printf(" -r -F"); return; /* whatever the ending: fish's own filter spoils --name=value */
    case VALUE_WORD:
        printf(" -x -a '");
        for (int i = 0; (word = value_word(value, i)); i++)
            printf("%s%s", i ? " " : "", word);
        printf("'");
    }
}

static void print_command(const command_spec *command) {
    char operand[64];
    for (int i = 0; i < command->option_count; i++) {
        const option_spec *option = &command->options[i];
        printf("complete -c attentile -n '__fish_seen_subcommand_from %s' -l %s", command->name, option->name);
        if (option->value)
            print_value(option->value);
        print_description(option->help);
    }
    if (operand_name(command, operand, sizeof operand) && value_ending(operand))
        printf("complete -c attentile -n '__fish_seen_subcommand_from %s' -a '(__fish_complete_suffix .%s)'\n",
               command->name, value_ending(operand));
}

void generate_fish(void) {
    printf("# Completion of attentile for fish, generated from the command's tables of options.\n\n"
           "complete -c attentile -f\n"
           "complete -c attentile -l %s",
           help_option.name);
    print_description(help_option.help);
    printf("complete -c attentile -n __fish_use_subcommand -l %s", version_option.name);
    print_description(version_option.help);
    for (int i = 0; commands[i]; i++) {
        printf("complete -c attentile -n __fish_use_subcommand -a %s", commands[i]->name);
        print_description(commands[i]->summary);
        print_command(commands[i]);
    }
}
