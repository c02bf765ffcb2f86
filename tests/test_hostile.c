/* SPDX-License-Identifier: Apache-2.0 */
/* The hostile files of tests/hostile that are refused for their format, by the library: with the fault that table.tsv pins,
 * and nothing left behind. What the command does with all of them: check_hostile.py. */
#include <criterion/criterion.h>

#include "checkpoints.h"

TestSuite(hostile, .init = make_folder, .fini = remove_folder, .timeout = 60);

/* Reads a file that must be refused; nothing may come of it. */
typedef atl_status read_fn(const char *path, atl_error *error);

static atl_status read_checkpoint(const char *path, atl_error *error) {
    atl_checkpoint *checkpoint = NULL;
    atl_status status = atl_checkpoint_open(path, &checkpoint, error);
    cr_expect_null(checkpoint, "%s: a handle", path);
    atl_checkpoint_close(checkpoint);
    return status;
}

static atl_status read_array(const char *path, atl_error *error) {
    static const atl_array untouched = {.dtype = ATL_OTHER, .rank = -7, .shape = {42}};
    atl_array array = untouched;
    atl_status status = atl_npy_read(path, &array, error);
    cr_expect(memcmp(&array, &untouched, sizeof array) == 0, "%s: the array has changed", path);
    return status;
}

/* As the command does before it prints: "?" for each control character, U+0080 to U+009F among them. */
static void hide_controls(char *text) {
    char *to = text;
    for (const unsigned char *c = (unsigned char *)text; *c; c++) {
        const int c1 = c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;
        c += c1;
        *to++ = c1 || *c < ' ' || *c == 127 ? '?' : (char)*c;
    }
    *to = '\0';
}

/* The message begins with the path, and goes on as the table has it. */
static void expect_fault(const char *path, const char *fault, read_fn *read) {
    atl_error error = {0};
    int before = free_descriptor();
    atl_status status = read(path, &error);
    cr_expect_eq(status, ATL_BAD_FORMAT, "%s: status %d (%s)", path, status, error.message);
    cr_expect_eq(error.status, status, "%s: error.status %d", path, error.status);
    cr_expect_eq(free_descriptor(), before, "%s: a descriptor has leaked", path);
    const size_t length = strlen(path);
    cr_assert(strncmp(error.message, path, length) == 0, "%s: no path in \"%s\"", path, error.message);
    hide_controls(error.message);
    cr_expect_str_eq(error.message + length, fault, "%s: \"%s\", expected \"%s\"", path, error.message, fault);
}

/* Takes the next field of a line that ends with a newline. */
static char *next_field(char **at) {
    return strsep(at, "\t\n");
}

static int refuse_all(const char *ending, read_fn *read) {
    char line[1024], path[600];
    int count = 0;
    FILE *table = fopen(HOSTILE_DIR "/table.tsv", "r");
    cr_assert_not_null(table, "cannot read %s", HOSTILE_DIR "/table.tsv");
    while (fgets(line, sizeof line, table)) {
        char *at = line, *name = next_field(&at);
        if (strncmp(name, "refused/", 8) != 0 || strcmp(strrchr(name, '.'), ending) != 0)
            continue;
        next_field(&at), next_field(&at);
        const char *fault = next_field(&at);
        cr_assert(fault && *fault == '@', "%s: the table pins no fault", name);
        snprintf(path, sizeof path, "%s/%s", HOSTILE_DIR, name);
        expect_fault(path, fault + 1, read);
        count++;
    }
    fclose(table);
    return count;
}

Test(hostile, checkpoints) {
    cr_expect_gt(refuse_all(".safetensors", read_checkpoint), 190);
}

Test(hostile, arrays) {
    cr_expect_gt(refuse_all(".npy", read_array), 145);
}

/* The reason has to survive a long path. */
Test(hostile, long_paths_leave_room_for_the_reason) {
    static char path[2000];
    memset(path, 'p', sizeof path);
    memcpy(path + sizeof path - 12, "/missing.sft", 12);
    path[sizeof path - 1] = '\0';
    atl_error error;
    cr_expect_eq(try_open(path, &error), ATL_IO_ERROR);
    cr_expect(strstr(error.message, "missing.sf: cannot open"), "\"%s\"", error.message);
}
