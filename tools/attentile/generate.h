/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile generate`: what the build makes of the tables of options. Each prints on stdout. */
#ifndef ATTENTILE_TOOLS_GENERATE_H
#define ATTENTILE_TOOLS_GENERATE_H

#include "command.h"

/* generate_man.c: the page of a subcommand, or of the whole command when it is NULL. */
void generate_man(const command_spec *command);

/* generate_bash.c, generate_zsh.c, generate_fish.c: completion. */
void generate_bash(void);
void generate_zsh(void);
void generate_fish(void);

/* generate.c: the first sentence of a help text, which has `length` characters, without its full stop. */
const char *first_sentence(const char *text, int *length);
/* What the subcommand's operand is called, in `name`, without brackets; NULL when it takes none. */
const char *operand_name(const command_spec *command, char *name, size_t capacity);
/* Prints `length` characters of a text with a backslash before each that is one of `special`. */
void print_escaped(const char *text, int length, const char *special);

#endif
