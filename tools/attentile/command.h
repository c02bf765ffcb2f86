/* SPDX-License-Identifier: Apache-2.0 */
/* What the subcommands share: one table of options each, which drives parsing, help, manual pages and completion, and the
 * way errors are said. */
#ifndef ATTENTILE_TOOLS_COMMAND_H
#define ATTENTILE_TOOLS_COMMAND_H

#include <stdint.h>
#include <stdio.h>

#include <attentile/attentile.h>

/* Exit codes. */
enum { DONE = 0, FAILED = 1, WRONG_USAGE = 2 };

typedef struct option_spec {
    const char *name;  /* without the dashes */
    const char *value; /* what the help calls its value, which tells what it is (values.c); NULL = it takes none */
    int repeatable;
    const char *help; /* sentences; the first says it in short */
} option_spec;

struct arguments;

typedef struct command_spec {
    const char *name;
    const char *summary;  /* one line */
    const char *operands; /* as in the usage line, or NULL */
    int operands_max;
    const option_spec *options; /* indexed by the command's own enum */
    int option_count;
    const char *details;  /* whole lines, or NULL */
    const char *examples; /* whole lines */
    int (*run)(const struct arguments *arguments);
} command_spec;

/* An option as it stood on the command line. */
typedef struct given_option {
    int option;
    const char *value;
} given_option;

typedef struct arguments {
    const command_spec *command;
    const char **operands;
    int operand_count;
    given_option *given;
    int given_count;
} arguments;

/* ---- arguments.c */

/* Parses what follows the subcommand's name. DONE, or the exit code after an error was printed. */
int arguments_parse(const command_spec *command, int count, char **words, arguments *arguments);
void arguments_free(arguments *arguments);

/* The option's value; "" for one without; NULL when it was not given. */
const char *argument_value(const arguments *arguments, int option);
/* The nth value of a repeatable option, or NULL. */
const char *argument_nth(const arguments *arguments, int option, int nth);
/* The option's value as an integer within [min, max]; *value stays as it is when the option was not given. */
int argument_int(const arguments *arguments, int option, int64_t min, int64_t max, int64_t *value);
/* The values "NAME=VALUE" of a repeatable option, split; a name may come once. *params is freed with params_free. */
int argument_params(const arguments *arguments, int option, atl_param **params, size_t *count);
void params_free(atl_param *params, size_t count);

/* ---- values.c: what the name of an option's value, or of an operand, says about it */

typedef enum value_type {
    VALUE_TEXT,
    VALUE_FILE,   /* "FILE", or any file with an ending: "X.npy" */
    VALUE_FOLDER, /* "DIR" */
    VALUE_WORD    /* one of a list: "KIND", "ISA", "SUITE" */
} value_type;

value_type value_type_of(const char *value);
/* The nth word of a list, or NULL; NULL as well when the value is none of a list. */
const char *value_word(const char *value, int nth);
/* The ending without the dot, NULL = any file will do. */
const char *value_ending(const char *value);
/* Whether a word is of the value's list, where it has one. DONE, or the exit code after an error that suggests one. */
int value_check(const command_spec *command, const option_spec *option, const char *word);

/* ---- help.c */

/* A line of "attentile --help" and an item of the manual pages. */
typedef struct named_text {
    const char *name, *text;
} named_text;

extern const named_text environment_texts[], exit_texts[]; /* end with a NULL name */
extern const option_spec help_option, version_option;
extern const char help_examples[]; /* of the whole command */
#define COMMAND_SUMMARY "Visual attention layers on multicore CPUs."

void help_print(const command_spec *command);
void help_print_all(FILE *to);

/* ---- report.c */

/* Print one line "attentile: ..." on stderr (control characters become '?') and return the exit code. */
int failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
int wrong_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
void warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints text that came from a file on stdout; control characters become '?'. */
void print_text(const char *text);
/* A line that the next one overwrites, on stderr when that is a terminal; the second one with a bar, `share` of it full. */
void progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void progress_bar(double share, const char *format, ...) __attribute__((format(printf, 2, 3)));
void progress_clear(void);
/* Whether anybody sees it. */
int progress_wanted(void);
/* "64x256x256"; returns `text`. */
const char *shape_text(int rank, const int64_t *shape, char *text, size_t capacity);

/* ---- engine.c */

/* Makes an engine (threads 0 = the default); warns when the system granted fewer threads. DONE or the exit code. */
int engine_open(int threads, atl_engine **engine, atl_engine_info *info);
int engine_open_with(const atl_engine_options *options, atl_engine **engine, atl_engine_info *info);

/* ---- run_paths.c */

/* Whether two paths are one file, or would be one once written. */
int same_file(const char *a, const char *b);
/* Whether a file can be written there, found out before the work is done, by beginning one; what changes meanwhile is still an
 * error later. DONE or FAILED. */
int check_target(const char *path);

/* ---- the subcommands */

#define COMMAND(name) extern const command_spec name##_command;
#include "commands.def"
#undef COMMAND
extern const command_spec *const commands[]; /* those of the list; ends with NULL */
extern const command_spec generate_command;  /* the build's, not of the list */
/* That of the list, or NULL. */
const command_spec *find_command(const char *name);

/* bench_rows.c: the names of the suites; NULL behind the last. */
const char *bench_suite_name(int nth);

#endif
