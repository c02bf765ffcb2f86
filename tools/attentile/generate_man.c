/* SPDX-License-Identifier: Apache-2.0 */
/* Manual pages, in the macros of man(7). */
#include "generate.h"

#include <ctype.h>
#include <string.h>

/* Text as it stands: what roff would take for a request, an escape, a quotation mark or a hyphen is none. */
static void print_plain(const char *text) {
    static const char from[] = "\\-'`^~\"";
    static const char *const to[] = {"\\e", "\\-", "\\(aq", "\\(ga", "\\(ha", "\\(ti", "\\(dq"};
    int line_start = 1;
    for (; *text; text++) {
        const char *special = strchr(from, *text);
        if (line_start && *text == '.')
            fputs("\\&", stdout);
        if (special)
            fputs(to[special - from], stdout);
        else
            putchar(*text);
        line_start = *text == '\n';
    }
}

/* Whole lines; an empty one ends a paragraph. */
static void print_paragraphs(const char *text) {
    while (*text) {
        const int length = (int)strcspn(text, "\n");
        char line[512];
        snprintf(line, sizeof line, "%.*s", length, text);
        if (length == 0)
            fputs(".PP", stdout);
        print_plain(line);
        putchar('\n');
        text += length + (text[length] == '\n');
    }
}

static void print_name(const char *format, const char *name) {
    fputs(format, stdout);
    print_plain(name);
    fputs("\\fR", stdout);
}

static void print_option(const option_spec *option) {
    printf(".TP\n");
    print_name("\\fB\\-\\-", option->name);
    if (option->value)
        print_name(" \\fI", option->value);
    putchar('\n');
    print_plain(option->help);
    putchar('\n');
}

static void print_header(const char *name, const char *summary) {
    printf(".\\\" Generated from the command's tables of options.\n.TH \"");
    for (const char *c = name; *c; c++)
        if (*c == '-')
            fputs("\\-", stdout);
        else
            putchar(toupper((unsigned char)*c));
    printf("\" 1 \"\" \"attentile %s\" \"Attentile\"\n.SH NAME\n", atl_version());
    print_plain(name);
    printf(" \\- ");
    print_plain(summary);
    printf("\n");
}

/* "Show library, machine and kernels." as a name section has it: no capital, no full stop. */
static void print_command_header(const command_spec *command) {
    char name[64], summary[256];
    snprintf(name, sizeof name, "attentile-%s", command->name);
    snprintf(summary, sizeof summary, "%s", command->summary);
    summary[0] = (char)tolower((unsigned char)summary[0]);
    summary[strcspn(summary, ".")] = '\0';
    print_header(name, summary);
}

static void print_texts(const char *section, const named_text *texts) {
    printf(".SH %s\n", section);
    for (; texts->name; texts++) {
        printf(".TP\n");
        print_name("\\fB", texts->name);
        putchar('\n');
        print_plain(texts->text);
        putchar('\n');
    }
}

static void print_examples(const char *examples) {
    printf(".SH EXAMPLES\n.EX\n");
    print_plain(examples);
    printf(".EE\n");
}

/* All pages but the one that this is; NULL = the command's. */
static void print_see_also(const command_spec *page) {
    const char *before = "";
    printf(".SH SEE ALSO\n");
    if (page) {
        printf(".BR attentile (1)");
        before = ",\n";
    }
    for (int i = 0; commands[i]; i++)
        if (commands[i] != page) {
            printf("%s.BR attentile\\-%s (1)", before, commands[i]->name);
            before = ",\n";
        }
    putchar('\n');
}

static void print_command_page(const command_spec *command) {
    print_command_header(command);
    printf(".SH SYNOPSIS\n\\fBattentile %s\\fR", command->name);
    if (command->operands)
        print_name(" \\fI", command->operands);
    printf(" [\\fIOPTION\\fR]...\n.SH DESCRIPTION\n");
    print_plain(command->summary);
    printf("\n");
    if (command->details) {
        printf(".PP\n");
        print_paragraphs(command->details);
    }
    printf(".SH OPTIONS\nA value follows as a word of its own or behind an equals sign: "
           "\\fB\\-\\-name\\fR \\fIvalue\\fR or \\fB\\-\\-name=\\fR\\fIvalue\\fR.\n");
    for (int i = 0; i < command->option_count; i++)
        print_option(&command->options[i]);
    print_option(&help_option);
    print_texts("ENVIRONMENT", environment_texts);
    print_texts("EXIT STATUS", exit_texts);
    print_examples(command->examples);
    print_see_also(command);
}

static void print_main_page(void) {
    print_header("attentile", "visual attention layers on multicore CPUs");
    printf(".SH SYNOPSIS\n\\fBattentile\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]...\n.SH DESCRIPTION\n");
    print_plain(COMMAND_SUMMARY "\n");
    printf(".SH COMMANDS\n");
    for (int i = 0; commands[i]; i++) {
        printf(".TP\n\\fBattentile\\-%s\\fR(1)\n", commands[i]->name);
        print_plain(commands[i]->summary);
        putchar('\n');
    }
    printf(".SH OPTIONS\n");
    print_option(&help_option);
    print_option(&version_option);
    print_texts("ENVIRONMENT", environment_texts);
    print_texts("EXIT STATUS", exit_texts);
    print_examples(help_examples);
    print_see_also(NULL);
}

void generate_man(const command_spec *command) {
    if (command)
        print_command_page(command);
    else
        print_main_page();
}
