/* SPDX-License-Identifier: Apache-2.0 */
/* The lists of shapes that tests and benchmarks share. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shapes.h"
#include "weights.h"

Test(shapes, a_line_is_a_row) {
    shape_row row;
    atl_param params[SHAPE_KEYS];
    cr_assert_eq(shape_parse("se name\t32 256x56x57  hidden=16 set.alpha=0.2 # set.gate=x\n", &row, NULL), 1);
    cr_expect(strcmp(row.kind, "se") == 0 && strcmp(row.name, "name") == 0);
    cr_expect(row.batch == 32 && row.rank == 3 && row.shape[0] == 256 && row.shape[2] == 57);
    cr_expect_eq(shape_positions(&row), 56 * 57);
    cr_expect_eq(shape_number(&row, "hidden", 1), 16);
    cr_expect_eq(shape_number(&row, "d", 7), 7, "the fallback");
    cr_assert_eq(shape_params(&row, params), 1, "only the key that starts with set.");
    cr_expect(strcmp(params[0].name, "alpha") == 0 && strcmp(params[0].value, "0.2") == 0);
}

Test(shapes, a_line_is_nothing) {
    shape_row row;
    cr_expect_eq(shape_parse("", &row, NULL), 0);
    cr_expect_eq(shape_parse(" \t\n", &row, NULL), 0);
    cr_expect_eq(shape_parse("# se name 1 1x1\n", &row, NULL), 0);
}

/* Each with what the fault has to say. */
Test(shapes, a_line_is_malformed) {
    static const char *const lines[][2] = {
        {"se", "expected KIND NAME BATCH SHAPE, got 1"},
        {"se name 1", "got 3"},
        {"se name 0 1x1", "batch: expected a whole number from 1, got \"0\""},
        {"se name -1 1x1", "batch"},
        {"se name 1.5 1x1", "batch"},
        {"se name 1 1x0", "shape: expected whole numbers from 1 with x between them, got \"1x0\""},
        {"se name 1 x1", "shape"},
        {"se name 1 1x1x", "shape"},
        {"se name 1x 1x1", "batch"},
        {"se name 1 1x-1", "shape"},
        {"se name 1 1,1", "shape"},
        {"se name 1 1x1x1x1x1x1x1x1x1", "at most 8 axes"},
        {"se name 1 99999999999999999999999", "shape"},
        {"se name 1 1x1 hidden", "expected KEY=VALUE, got \"hidden\""},
        {"se name 1 1x1 =3", "key: expected 1 to"},
        {"se name 1 1x1 hidden=", "hidden: expected 1 to"},
        {"se name 1 1x1 a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1 i=1", "at most 8 keys"},
        {"a-kind-with-a-name-that-is-too-long name 1 1x1", "kind: expected 1 to"},
    };
    shape_row row;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        shape_fault fault = {0};
        cr_expect_eq(shape_parse(lines[i][0], &row, &fault), -1, "\"%s\" is accepted", lines[i][0]);
        cr_expect(strstr(fault.text, lines[i][1]), "\"%s\": \"%s\"", lines[i][0], fault.text);
        cr_expect_eq(shape_parse(lines[i][0], &row, NULL), -1);
    }
}

Test(shapes, a_line_is_too_long) {
    char line[2048];
    shape_row row;
    shape_fault fault = {0};
    snprintf(line, sizeof line, "se name 1 1x1%2000s", "");
    cr_expect_eq(shape_parse(line, &row, &fault), -1);
    cr_expect(strstr(fault.text, "longer than"), "\"%s\"", fault.text);
}

enum { ROWS_MAX = 1024 };

/* Appends the list's rows; names are unique over all lists that are run together. */
static int expect_list(const char *path, shape_row *rows, int count) {
    shape_fault fault = {0};
    int added = shapes_read(path, rows + count, ROWS_MAX - count, &fault);
    cr_assert_gt(added, 0, "%s, line %d: %s", path, fault.line, fault.text);
    for (int i = count; i < count + added; i++) {
        cr_expect_null(weights_unknown_key(&rows[i]), "%s: %s: key %s", path, rows[i].name,
                       weights_unknown_key(&rows[i]));
        for (int j = 0; j < i; j++)
            cr_expect_str_neq(rows[i].name, rows[j].name, "%s: a name twice", path);
    }
    return count + added;
}

Test(shapes, every_list_can_be_read) {
    shape_row *rows = calloc(ROWS_MAX, sizeof *rows);
    shape_fault fault = {0};
    char path[4096];
    int count = 0;
    for (int i = 0; atl_kind_name(i); i++) {
        snprintf(path, sizeof path, SHAPES_DIR "/%s.txt", atl_kind_name(i));
        const int first = count;
        count = expect_list(path, rows, count);
        for (int j = first; j < count; j++)
            cr_expect_str_eq(rows[j].kind, atl_kind_name(i), "%s: %s", path, rows[j].name);
    }
    count = expect_list(SHAPES_DIR "/masks.txt", rows, count);
    count = expect_list(SHAPES_DIR "/growth.txt", rows, count);
    expect_list(SHAPES_DIR "/test.txt", rows, 0);
    cr_expect_eq(shapes_read(SHAPES_DIR "/test.txt", rows, 1, &fault), -1);
    cr_expect(strstr(fault.text, "more than 1 rows"), "\"%s\"", fault.text);
    cr_expect_eq(shapes_read(SHAPES_DIR "/missing.txt", rows, ROWS_MAX, &fault), -1);
    cr_expect_eq(fault.line, 0);
    cr_expect(strstr(fault.text, "No such file"), "\"%s\"", fault.text);
    free(rows);
}

Test(shapes, a_key_that_the_kind_lacks) {
    shape_row row;
    cr_assert_eq(shape_parse("se name 1 1x1 hidden=1 set.alpha=1 d=2", &row, NULL), 1);
    cr_expect_str_eq(weights_unknown_key(&row), "d");
    cr_assert_eq(shape_parse("multi-head name 1 1x1 keys=3 mask=1 map=1 bias=0", &row, NULL), 1);
    cr_expect_null(weights_unknown_key(&row));
    cr_assert_eq(shape_parse("no-kind name 1 1x1", &row, NULL), 1);
    cr_expect_str_eq(weights_unknown_key(&row), "no-kind");
}
