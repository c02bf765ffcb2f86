/* SPDX-License-Identifier: Apache-2.0 */
/* The attentile command: finds the subcommand, and sees that what it printed has arrived. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "nearest.h"

const command_spec *const commands[] = {
#define COMMAND(name) &name##_command,
#include "commands.def"
#undef COMMAND
    NULL,
};

const command_spec *find_command(const char *name) {
    for (int i = 0; commands[i]; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int unknown_command(const char *name) {
    atl_nearest nearest = atl_nearest_to(name);
    for (int i = 0; commands[i]; i++)
        atl_nearest_show(&nearest, commands[i]->name);
    if (nearest.name)
        return wrong_usage("unknown command \"%s\" (did you mean %s?)", name, nearest.name);
    return wrong_usage("unknown command \"%s\" (see attentile --help)", name);
}

static int is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int run_subcommand(const command_spec *command, int count, char **words) {
    for (int i = 0; i < count && strcmp(words[i], "--") != 0; i++)
        if (is_help(words[i])) {
            help_print(command);
            return DONE;
        }
    arguments arguments;
    int code = arguments_parse(command, count, words, &arguments);
    if (code == DONE)
        code = command->run(&arguments);
    arguments_free(&arguments);
    return code;
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        help_print_all(stderr);
        return WRONG_USAGE;
    }
    const int help = strcmp(argv[1], "help") == 0;
    if (is_help(argv[1]) || (help && argc == 2)) {
        help_print_all(stdout);
        return DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("attentile %s\n", atl_version());
        return DONE;
    }
    const char *name = argv[help ? 2 : 1];
    const command_spec *command = strcmp(name, generate_command.name) == 0 ? &generate_command : find_command(name);
    if (!command)
        return unknown_command(name);
    if (help) {
        help_print(command);
        return DONE;
    }
    return run_subcommand(command, argc - 2, argv + 2);
}

/* A closed standard stream would be replaced by the next file that is opened, and our messages would go into it. Put
 * something there on which the stream's own use fails, as on a closed one. */
static void occupy_standard_streams(void) {
    const int modes[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", modes[fd]) < 0)
            _exit(FAILED);
}

int main(int argc, char **argv) {
    occupy_standard_streams();
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is a failed write, reported below */
    const int code = dispatch(argc, argv);
    progress_clear();
    const int unwritten = ferror(stdout);
    errno = 0;
    if ((fclose(stdout) != 0 || unwritten) && code == DONE)
        return failed("standard output: %s", errno ? strerror(errno) : "not all of it could be written");
    return code;
}
