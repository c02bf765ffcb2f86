/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: a word per line. Whatever the words, they are parsed, or refused with one line on stderr and exit
 * status 2; nothing is run. The command's own main.c is part of this file, for its list of subcommands.
 */
#define main attentile_main
int attentile_main(int argc, char **argv);
#include "tools/attentile/main.c" // NOLINT
#undef main

#include "fuzz.h"
#include "tools/attentile/run.h"

enum { MOST_WORDS = 64 };

/* What was said on stderr since. */
static char *said;
static size_t said_size;

static void listen(void) {
    static FILE *own;
    if (!own) {
        own = stderr;
        stdout = fopen("/dev/null", "w");
        CLAIM(stdout != NULL);
    } else {
        fclose(stderr);
        free(said);
    }
    stderr = open_memstream(&said, &said_size);
}

/* Wrong words are one line; right ones are silent. */
static void check_said(int code) {
    fflush(stderr);
    const char *newline = memchr(said, '\n', said_size);
    CLAIM(code == DONE || code == WRONG_USAGE);
    CLAIM(code == DONE ? said_size == 0 : strncmp(said, "attentile: ", 11) == 0);
    CLAIM(code == DONE || newline == said + said_size - 1);
}

/* Every option read as whatever it may be. */
static int read_option(const arguments *arguments, int option) {
    const option_spec *spec = &arguments->command->options[option];
    const char *value = argument_value(arguments, option);
    int64_t number = 7;
    CLAIM(argument_nth(arguments, option, 0) == value);
    CLAIM(!value || spec->value || !*value);
    if (!value)
        return DONE;
    if (spec->repeatable) {
        atl_param *params = NULL;
        size_t count = 0;
        const int code = argument_params(arguments, option, &params, &count);
        for (size_t i = 0; i < count && code == DONE; i++)
            CLAIM(*params[i].name && *params[i].value && !strchr(params[i].name, '='));
        params_free(params, count);
        return code;
    }
    const int code = argument_int(arguments, option, -5, 1000000, &number);
    CLAIM(code == DONE ? number >= -5 && number <= 1000000 : number == 7);
    return code;
}

static int read_run(const arguments *arguments) {
    run_job job = {.arguments = arguments};
    const int code = run_read_options(&job);
    CLAIM(code != DONE || (job.weights_path && job.input_path && job.output_path));
    for (int64_t i = 0; i < job.row_count; i++)
        CLAIM(code != DONE || job.rows[i] >= 0);
    free(job.rows);
    params_free(job.set, job.set_count);
    params_free(job.renames, job.rename_count);
    return code;
}

static void parse(const command_spec *command, int count, char **words) {
    arguments arguments;
    listen();
    const int code = arguments_parse(command, count, words, &arguments);
    check_said(code);
    for (int i = 0; i < command->option_count && code == DONE; i++) {
        listen();
        check_said(read_option(&arguments, i));
    }
    CLAIM(code != DONE || arguments.operand_count + arguments.given_count <= count);
    if (code == DONE && command == &run_command) {
        listen();
        check_said(read_run(&arguments));
    }
    arguments_free(&arguments);
}

static int wants_help(int count, char **words) {
    for (int i = 0; i < count && strcmp(words[i], "--") != 0; i++)
        if (is_help(words[i]))
            return 1;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1), *words[MOST_WORDS + 2] = {(char *)"attentile"};
    int count = 1;
    CLAIM(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *word = text; word && count <= MOST_WORDS;) {
        words[count++] = word;
        word = strchr(word, '\n');
        if (word)
            *word++ = '\0';
    }
    const command_spec *command = find_command(words[1]);
    if (command && !wants_help(count - 2, words + 2)) {
        parse(command, count - 2, words + 2);
    } else {
        listen();
        check_said(dispatch(count, words));
    }
    free(text);
    return 0;
}
