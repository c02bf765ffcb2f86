/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "nearest.h"

static int find_option(const command_spec *command, const char *name, size_t length) {
    for (int i = 0; i < command->option_count; i++)
        if (strlen(command->options[i].name) == length && strncmp(command->options[i].name, name, length) == 0)
            return i;
    return -1;
}

static int unknown_option(const command_spec *command, const char *word, size_t length) {
    char name[64] = "";
    if (length < sizeof name)
        memcpy(name, word, length);
    atl_nearest nearest = atl_nearest_to(name);
    for (int i = 0; i < command->option_count; i++)
        atl_nearest_show(&nearest, command->options[i].name);
    atl_nearest_show(&nearest, help_option.name);
    if (nearest.name)
        return wrong_usage("%s: unknown option --%.*s (did you mean --%s?)", command->name, (int)length, word,
                           nearest.name);
    return wrong_usage("%s: unknown option --%.*s (see attentile %s --help)", command->name, (int)length, word,
                       command->name);
}

/* Takes the option in words[*at], and its value from the same word or the next. */
static int take_option(arguments *arguments, int count, char **words, int *at) {
    const command_spec *command = arguments->command;
    const char *name = words[*at] + 2, *equals = strchr(name, '=');
    const size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const int option = find_option(command, name, length);
    if (option < 0)
        return unknown_option(command, name, length);
    const option_spec *spec = &command->options[option];
    if (!spec->repeatable && argument_value(arguments, option))
        return wrong_usage("%s: --%s is given twice", command->name, spec->name);
    const char *value = "";
    if (!spec->value && equals)
        return wrong_usage("%s: --%s takes no value (got \"%s\")", command->name, spec->name, equals + 1);
    if (spec->value && equals)
        value = equals + 1;
    else if (spec->value && (*at + 1 >= count || strncmp(words[*at + 1], "--", 2) == 0))
        return wrong_usage("%s: --%s needs a value (--%s %s)", command->name, spec->name, spec->name, spec->value);
    else if (spec->value)
        value = words[++*at];
    if (spec->value && value_check(command, spec, value) != DONE)
        return WRONG_USAGE;
    arguments->given[arguments->given_count++] = (given_option){option, value};
    return DONE;
}

int arguments_parse(const command_spec *command, int count, char **words, arguments *arguments) {
    *arguments = (struct arguments){.command = command};
    arguments->operands = calloc((size_t)count + 1, sizeof *arguments->operands);
    arguments->given = calloc((size_t)count + 1, sizeof *arguments->given);
    if (!arguments->operands || !arguments->given)
        return failed("out of memory");
    int options_end = 0;
    for (int i = 0; i < count; i++) {
        if (!options_end && strcmp(words[i], "--") == 0) {
            options_end = 1;
        } else if (!options_end && strncmp(words[i], "--", 2) == 0) {
            const int code = take_option(arguments, count, words, &i);
            if (code != DONE)
                return code;
        } else if (!options_end && words[i][0] == '-') {
            return wrong_usage("%s: unknown option %s (see attentile %s --help)", command->name, words[i],
                               command->name);
        } else if (arguments->operand_count == command->operands_max) {
            return wrong_usage("%s: one argument too many: %s (see attentile %s --help)", command->name, words[i],
                               command->name);
        } else {
            arguments->operands[arguments->operand_count++] = words[i];
        }
    }
    return DONE;
}

void arguments_free(arguments *arguments) {
    free(arguments->operands);
    free(arguments->given);
    *arguments = (struct arguments){0};
}

const char *argument_nth(const arguments *arguments, int option, int nth) {
    for (int i = 0; i < arguments->given_count; i++)
        if (arguments->given[i].option == option && nth-- == 0)
            return arguments->given[i].value;
    return NULL;
}

const char *argument_value(const arguments *arguments, int option) {
    return argument_nth(arguments, option, 0);
}

int argument_int(const arguments *arguments, int option, int64_t min, int64_t max, int64_t *value) {
    const char *text = argument_value(arguments, option);
    if (!text)
        return DONE;
    char *end;
    errno = 0;
    const long long number = strtoll(text, &end, 10);
    if (errno || end == text || *end || strspn(text, "0123456789-") != strlen(text) || number < min || number > max)
        return wrong_usage("--%s: expected a whole number from %" PRId64 " to %" PRId64 ", got \"%s\"",
                           arguments->command->options[option].name, min, max, text);
    *value = number;
    return DONE;
}

/* Splits "NAME=VALUE" into two strings of one allocation. */
static int split_pair(const char *option, const char *text, atl_param *param) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || equals[1] == '\0')
        return wrong_usage("--%s: expected NAME=VALUE, got \"%s\"", option, text);
    char *copy = strdup(text);
    if (!copy)
        return failed("out of memory");
    copy[equals - text] = '\0';
    *param = (atl_param){copy, copy + (equals - text) + 1};
    return DONE;
}

int argument_params(const arguments *arguments, int option, atl_param **params, size_t *count) {
    const char *name = arguments->command->options[option].name;
    *count = 0;
    *params = calloc((size_t)arguments->given_count + 1, sizeof **params);
    if (!*params)
        return failed("out of memory");
    for (int i = 0;; i++) {
        const char *text = argument_nth(arguments, option, i);
        if (!text)
            return DONE;
        const int code = split_pair(name, text, &(*params)[*count]);
        if (code != DONE)
            return code;
        ++*count;
        for (size_t k = 0; k + 1 < *count; k++)
            if (strcmp((*params)[k].name, (*params)[*count - 1].name) == 0)
                return wrong_usage("--%s: \"%s\" is given twice", name, (*params)[k].name);
    }
}

void params_free(atl_param *params, size_t count) {
    for (size_t i = 0; params && i < count; i++)
        free((char *)params[i].name); /* allocated by split_pair; the value lies in the same block */
    free(params);
}
