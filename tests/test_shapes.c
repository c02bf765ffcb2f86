/* SPDX-License-Identifier: Apache-2.0 */
/* The lists of shapes that tests and benchmarks share. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "shapes.h"

Test(shapes, a_line_is_a_row) {
    shape_row row;
    atl_param params[SHAPE_KEYS];
    cr_assert_eq(shape_parse("se name\t32 256x56x57  hidden=16 set.alpha=0.2 # set.gate=x\n", &row), 1);
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
    cr_expect_eq(shape_parse("", &row), 0);
    cr_expect_eq(shape_parse(" \t\n", &row), 0);
    cr_expect_eq(shape_parse("# se name 1 1x1\n", &row), 0);
}

Test(shapes, a_line_is_malformed) {
    static const char *const lines[] = {
        "se",
        "se name 1",
        "se name 0 1x1",
        "se name -1 1x1",
        "se name 1.5 1x1",
        "se name 1 1x0",
        "se name 1 x1",
        "se name 1 1x1x",
        "se name 1x 1x1",
        "se name 1 1x-1",
        "se name 1 1,1",
        "se name 1 1x1x1x1x1x1x1x1x1",
        "se name 1 99999999999999999999999",
        "se name 1 1x1 hidden",
        "se name 1 1x1 =3",
        "se name 1 1x1 hidden=",
        "se name 1 1x1 a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1 i=1",
        "a-kind-with-a-name-that-is-too-long name 1 1x1",
    };
    shape_row row;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        cr_expect_eq(shape_parse(lines[i], &row), -1, "\"%s\" is accepted", lines[i]);
}

static void expect_list(const char *path) {
    shape_row *rows = calloc(256, sizeof *rows);
    int line, count = shapes_read(path, rows, 256, &line);
    cr_expect_gt(count, 0, "%s, line %d: malformed, or the list is empty", path, line);
    for (int i = 0; i < count; i++) {
        int known = 0;
        for (int k = 0; atl_kind_name(k); k++)
            known |= strcmp(atl_kind_name(k), rows[i].kind) == 0;
        cr_expect(known, "%s: %s has the unknown kind %s", path, rows[i].name, rows[i].kind);
        for (int j = 0; j < i; j++)
            cr_expect_str_neq(rows[i].name, rows[j].name, "%s: a name twice", path);
    }
    cr_expect_eq(shapes_read(path, rows, 1, &line), count > 1 ? -1 : count, "%s: more rows than room", path);
    free(rows);
}

Test(shapes, every_list_can_be_read) {
    shape_row row;
    int line;
    expect_list(SHAPES_DIR "/test.txt");
    expect_list(SHAPES_DIR "/se.txt");
    expect_list(SHAPES_DIR "/cbam-channel.txt");
    expect_list(SHAPES_DIR "/cbam-spatial.txt");
    expect_list(SHAPES_DIR "/sk.txt");
    expect_list(SHAPES_DIR "/non-local.txt");
    expect_list(SHAPES_DIR "/self-attention-spatial.txt");
    expect_list(SHAPES_DIR "/self-attention-channel.txt");
    cr_expect_eq(shapes_read(SHAPES_DIR "/missing.txt", &row, 1, &line), -1);
    cr_expect_eq(line, 0);
}
