/* SPDX-License-Identifier: Apache-2.0 */
/* The command: help, wrong words, its output streams, `attentile info`. `run`, `check`, `bench` and `demo` have files of their own. */
#include <jansson.h>

#include "shell.h"

TestSuite(command, .init = make_command_folder, .fini = remove_folder, .timeout = 60);

/* ---------------------------------------------------------------- help and wrong words */

/* That help has every option is what check_options.py looks at. */
Test(command, help) {
    static const char *const subcommands[] = {"run", "info", "check", "bench", "demo"};
    const size_t count = sizeof subcommands / sizeof *subcommands;
    const outcome *o = shell("\"$A\" --help");
    expect_done(o);
    for (size_t i = 0; i < count; i++)
        cr_expect(strstr(o->out, subcommands[i]), "--help says nothing of %s", subcommands[i]);
    for (size_t i = 0; i < count; i++) {
        o = shell("\"$A\" %s --help", subcommands[i]);
        expect_done(o);
        cr_expect(strncmp(o->out, "usage: attentile ", 17) == 0 && strstr(o->out, "\nExamples:\n"), "\"%s\"", o->out);
    }
    static char first[sizeof(outcome)];
    strcpy(first, shell("\"$A\" run --help")->out);
    cr_expect_str_eq(shell("\"$A\" help run")->out, first);
    cr_expect_str_eq(shell("\"$A\" run --input x -h")->out, first);
}

Test(command, version) {
    char expected[64];
    snprintf(expected, sizeof expected, "attentile %s\n", atl_version());
    cr_expect_str_eq(shell("\"$A\" --version")->out, expected);
}

Test(command, nothing_to_do_is_wrong_usage) {
    const outcome *o = shell("\"$A\"");
    cr_expect_eq(o->code, 2, "code %d", o->code);
    cr_expect_str_empty(o->out);
    cr_expect(strstr(o->err, "usage:"), "stderr \"%s\"", o->err);
}

Test(command, wrong_words) {
    static const struct {
        const char *line, *reason;
    } cases[] = {
        {"rnu", "did you mean run?"},
        {"zzz", "unknown command \"zzz\""},
        {"--versoin", "unknown command"},
        {"help nothing", "unknown command \"nothing\""},
        {"run --outptu y.npy", "did you mean --output?"},
        {"info --hlep", "did you mean --help?"},
        {"info --zzzzzz", "unknown option --zzzzzz"},
        {"info -j", "unknown option -j"},
        {"info --json=1", "--json takes no value"},
        {"info --json --json", "--json is given twice"},
        {"info --threads", "--threads needs a value"},
        {"info --threads --json", "--threads needs a value"},
        {"info --threads=", "from 1 to 1024, got \"\""},
        {"demo --size=", "from 16 to 2048, got \"\""},
        {"info --threads 0", "from 1 to 1024, got \"0\""},
        {"info --threads 1025", "got \"1025\""},
        {"info --threads 99999999999999999999", "from 1 to 1024"},
        {"info --threads 2x", "got \"2x\""},
        {"info --threads ' 2'", "got \" 2\""},
        {"info a b", "too many"},
        {"demo --size 15", "from 16 to 2048"},
        {"demo -- x", "too many"},
        {"bench --suite maks", "expected layers, masks or growth, got \"maks\" (did you mean masks?)"},
        {"check --isa=avx215", "(did you mean avx2?)"},
        {"generate", "expected man, bash, zsh, fish or options, got nothing"},
        {"generate man rnu", "generate: unknown command \"rnu\""},
        {"generate bash run", "too many: run"},
        {"info --thr\033eads 2", "--thr?eads"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const outcome *o = shell("\"$A\" %s", cases[i].line);
        expect_error(o, 2, cases[i].reason, cases[i].line);
        cr_expect_str_empty(o->out);
    }
}

/* ---------------------------------------------------------------- output that does not arrive */

Test(command, full_or_closed_output_is_a_failure) {
    static const char *const lines[] = {"--help", "--version", "run --help", "info", "info --json", "info c.st"};
    put_se("c.st", "", "");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        expect_error(shell("\"$A\" %s >/dev/full", lines[i]), 1, "standard output", lines[i]);
        expect_error(shell("\"$A\" %s >&-", lines[i]), 1, "standard output", lines[i]);
    }
    cr_expect_eq(shell("\"$A\" zzz 2>&-")->code, 2);
    cr_expect_eq(shell("\"$A\" --version <&-")->code, 0);
}

/* The reader is gone before the command starts. */
Test(command, broken_pipe_is_a_failure_and_no_signal) {
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    close(ends[0]);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        execl(getenv("ATTENTILE_COMMAND"), "attentile", "info", (char *)NULL);
        _exit(126);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x", (unsigned)status);
}

/* ---------------------------------------------------------------- info */

static json_t *parse(const outcome *o) {
    json_error_t error;
    expect_done(o);
    json_t *root = json_loads(o->out, JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(root, "line %d: %s in \"%s\"", error.line, error.text, o->out);
    return root;
}

Test(command, info_of_the_machine) {
    atl_engine *engine;
    atl_engine_options options;
    atl_engine_options_init(&options);
    options.threads = 2;
    atl_engine_info info = {.size = sizeof info};
    cr_assert_eq(atl_engine_create(&options, &engine, NULL), ATL_OK);
    cr_assert_eq(atl_engine_get_info(engine, &info, NULL), ATL_OK);
    json_t *root = parse(shell("\"$A\" info --json --threads 2")), *kernels = json_object_get(root, "kernels");
    cr_expect_str_eq(json_string_value(json_object_get(root, "version")), atl_version());
    cr_expect_str_eq(json_string_value(json_object_get(root, "isa")), info.isa);
    cr_expect_str_eq(json_string_value(json_object_get(root, "isa_found")), info.isa_found);
    cr_expect_eq(json_integer_value(json_object_get(root, "threads")), info.threads);
    cr_expect_eq(json_integer_value(json_object_get(json_object_get(root, "machine"), "processors_available")),
                 info.processors_available);
    const char *slot, *implementation;
    int count = 0;
    for (; atl_engine_kernel(engine, count, &slot, &implementation); count++)
        cr_expect_str_eq(json_string_value(json_object_get(kernels, slot)), implementation);
    cr_expect(count > 0 && json_object_size(kernels) == (size_t)count, "%d kernels, %zu listed", count,
              json_object_size(kernels));
    json_decref(root);
    const outcome *o = shell("\"$A\" info --threads 2");
    expect_done(o);
    cr_expect(strstr(o->out, info.isa) && strstr(o->out, implementation), "\"%s\"", o->out);
    atl_engine_release(engine);
}

Test(command, isa_cap_and_wrong_environment) {
    json_t *root = parse(shell("ATTENTILE_MAX_ISA=scalar \"$A\" info --json"));
    cr_expect_str_eq(json_string_value(json_object_get(root, "isa")), "scalar");
    json_decref(root);
    expect_error(shell("ATTENTILE_MAX_ISA=mmx \"$A\" info"), 2, "ATTENTILE_MAX_ISA", "isa");
    expect_error(shell("ATTENTILE_NUM_THREADS=0 \"$A\" info"), 2, "ATTENTILE_NUM_THREADS", "threads");
}

Test(command, fewer_threads_than_asked_for_is_a_warning) {
    const outcome *o = shell("OMP_THREAD_LIMIT=2 \"$A\" info --threads 4");
    cr_expect_eq(o->code, 0, "code %d", o->code);
    cr_expect_str_eq(o->err, "attentile: warning: the system granted 2 of 4 threads\n");
    cr_expect(strstr(o->out, "2 threads (requested: 4)"), "\"%s\"", o->out);
}

Test(command, info_of_a_checkpoint) {
    static const float values[7] = {0};
    put_weights("c.st",
                "{\"__metadata__\":{\"format\":\"pt\"},"
                "\"b.se.fc.0.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
                "\"b.se.fc.2.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[8,16]},"
                "\"b.steps\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[16,24]},"
                "\"fc.0.weight\":{\"dtype\":\"BF16\",\"shape\":[1,1],\"data_offsets\":[24,26]},"
                "\"fc.2.weight\":{\"dtype\":\"BF16\",\"shape\":[1,1],\"data_offsets\":[26,28]}}",
                values, 7);
    json_t *root = parse(shell("\"$A\" info --json c.st"));
    json_t *layers = json_object_get(root, "layers"), *tensors = json_object_get(root, "tensors");
    cr_assert_eq(json_array_size(layers), 2, "%zu layers", json_array_size(layers));
    for (size_t i = 0; i < 2; i++) {
        cr_expect_str_eq(json_string_value(json_object_get(json_array_get(layers, i), "kind")), "se");
        cr_expect_str_eq(json_string_value(json_object_get(json_array_get(layers, i), "prefix")), i ? "b.se." : "");
    }
    cr_assert_eq(json_array_size(tensors), 5);
    json_t *steps = json_array_get(tensors, 2);
    cr_expect_str_eq(json_string_value(json_object_get(steps, "name")), "b.steps");
    cr_expect_str_eq(json_string_value(json_object_get(steps, "dtype")), "I64");
    cr_expect_eq(json_array_size(json_object_get(steps, "shape")), 0);
    cr_expect_eq(json_integer_value(json_object_get(steps, "bytes")), 8);
    cr_expect_str_eq(json_string_value(json_object_get(json_object_get(root, "metadata"), "format")), "pt");
    json_decref(root);
    const outcome *o = shell("\"$A\" info c.st");
    expect_done(o);
    static const char *const parts[] = {"format = pt", "tensors: 5, 28 bytes", "b.se.fc.0.weight", "[1x2] 8 bytes",
                                        "--prefix \"b.se.\""};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        cr_expect(strstr(o->out, parts[i]), "no \"%s\" in \"%s\"", parts[i], o->out);
}

Test(command, names_cannot_reach_the_terminal) {
    put_weights("c.st", "{\"a\\u001b[2J\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", (float[]){0}, 1);
    const outcome *o = shell("\"$A\" info c.st");
    expect_done(o);
    cr_expect(strstr(o->out, "a?[2J") && !strchr(o->out, '\033'), "\"%s\"", o->out);
}

/* A name of a million dots costs no more than it should, nor does it hide the layer whose prefix it shares. */
Test(command, info_of_a_name_of_many_prefixes, .timeout = 20) {
    enum { DOTS = 1000000 };
    static char file[2 * DOTS + 512] = {0};
    char *at = file + 8;
    at += sprintf(at, "{\"a.");
    memset(at, '.', DOTS);
    at += DOTS;
    at += sprintf(at, "w\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
                      "\"a.fc.0.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]},"
                      "\"a.fc.2.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[4,8]}}");
    const uint64_t length = (uint64_t)(at - file) - 8;
    memcpy(file, &length, sizeof length);
    put_file("c.st", file, (size_t)length + 16);
    const outcome *o = shell("\"$A\" info c.st | tail -n 2");
    expect_done(o);
    cr_expect(strstr(o->out, "recognised: 1\n") && strstr(o->out, "--prefix \"a.\""), "\"%s\"", o->out);
}

Test(command, info_refusals) {
    put_file("text", "hello world", 11);
    expect_error(shell("\"$A\" info text"), 1, "text: ", "no checkpoint");
    expect_error(shell("\"$A\" info absent.st"), 1, "absent.st: ", "no file");
    expect_error(shell("\"$A\" info ."), 1, ".: ", "a folder");
    expect_error(shell("\"$A\" info text --threads 2"), 2, "--threads", "threads for a file");
}
