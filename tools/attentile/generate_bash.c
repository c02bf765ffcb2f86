/* SPDX-License-Identifier: Apache-2.0 */
/* Completion for bash: one function, which looks at the word before and at the subcommand. */
#include "generate.h"

static const char head[] =
    "# Completion of attentile for bash, generated from the command's tables of options.\n"
    "\n"
    "# _attentile_files CURRENT [ENDING]: files of that ending, and folders on the way to them.\n"
    "_attentile_files()\n"
    "{\n"
    "    compopt -o filenames 2>/dev/null # fails when the function is called by hand\n"
    "    if (($# > 1)); then\n"
    "        mapfile -t COMPREPLY < <(compgen -f -X \"!*.$2\" -- \"$1\"; compgen -d -- \"$1\")\n"
    "    else\n"
    "        mapfile -t COMPREPLY < <(compgen -f -- \"$1\")\n"
    "    fi\n"
    "}\n"
    "\n"
    "_attentile_folders()\n"
    "{\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    mapfile -t COMPREPLY < <(compgen -d -- \"$1\")\n"
    "}\n"
    "\n"
    "_attentile_words()\n"
    "{\n"
    "    mapfile -t COMPREPLY < <(compgen -W \"$2\" -- \"$1\")\n"
    "}\n"
    "\n"
    "_attentile()\n"
    "{\n"
    "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
    "    COMPREPLY=()\n"
    "    # bash makes three words of --name=value\n"
    "    if [[ $current == = ]]; then\n"
    "        current=\n"
    "    elif [[ $before == = ]]; then\n"
    "        before=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    fi\n";

static void print_value(const char *value) {
    const char *word, *ending = value_ending(value);
    switch (value_type_of(value)) {
    case VALUE_TEXT: printf(":"); return;
    case VALUE_FOLDER: printf("_attentile_folders \"$current\""); return;
    case VALUE_FILE: printf("_attentile_files \"$current\"%s%s", ending ? " " : "", ending ? ending : ""); return;
    case VALUE_WORD:
        printf("_attentile_words \"$current\" \"");
        for (int i = 0; (word = value_word(value, i)); i++)
            printf("%s%s", i ? " " : "", word);
        printf("\"");
    }
}

/* A case for each option that takes a value. */
static void print_values(void) {
    printf("    case \"${COMP_WORDS[1]} $before\" in\n");
    for (int c = 0; commands[c]; c++)
        for (int i = 0; i < commands[c]->option_count; i++) {
            const option_spec *option = &commands[c]->options[i];
            if (!option->value)
                continue;
            printf("    \"%s --%s\")\n        ", commands[c]->name, option->name);
            print_value(option->value);
            printf("\n        return\n        ;;\n");
        }
    printf("    esac\n");
}

static void print_names(const command_spec *command) {
    char operand[64];
    printf("    %s)\n        if [[ $current == -* ]]; then\n            _attentile_words \"$current\" \"",
           command->name);
    for (int i = 0; i < command->option_count; i++)
        printf("--%s ", command->options[i].name);
    printf("--%s\"\n", help_option.name);
    if (operand_name(command, operand, sizeof operand)) {
        printf("        else\n            ");
        print_value(operand);
        printf("\n");
    }
    printf("        fi\n        ;;\n");
}

void generate_bash(void) {
    fputs(head, stdout);
    printf("    if ((COMP_CWORD == 1)); then\n        _attentile_words \"$current\" \"");
    for (int i = 0; commands[i]; i++)
        printf("%s ", commands[i]->name);
    printf("--%s --%s\"\n        return\n    fi\n", help_option.name, version_option.name);
    print_values();
    printf("    case ${COMP_WORDS[1]} in\n");
    for (int i = 0; commands[i]; i++)
        print_names(commands[i]);
    printf("    esac\n}\n\ncomplete -F _attentile attentile\n");
}
