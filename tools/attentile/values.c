/* SPDX-License-Identifier: Apache-2.0 */
/* What the name of a value in the help says: "KIND" is a word of a list, "X.npy" a file of that ending. */
#include <ctype.h>
#include <string.h>

#include "command.h"
#include "kernels.h"
#include "nearest.h"

static const char *kind_word(int nth) {
    return nth == 0 ? "auto" : atl_kind_name(nth - 1);
}

static const char *isa_word(int nth) {
    return nth < ATL_ISA_COUNT ? atl_isa_name((atl_isa)nth) : NULL;
}

static const struct word_list {
    const char *value;
    const char *(*word)(int nth);
} word_lists[] = {{"KIND", kind_word}, {"ISA", isa_word}, {"SUITE", bench_suite_name}};

const char *value_word(const char *value, int nth) {
    for (size_t i = 0; i < sizeof word_lists / sizeof *word_lists; i++)
        if (strcmp(word_lists[i].value, value) == 0)
            return word_lists[i].word(nth);
    return NULL;
}

const char *value_ending(const char *value) {
    const char *dot = strrchr(value, '.');
    return dot && isalpha((unsigned char)dot[1]) ? dot + 1 : NULL;
}

value_type value_type_of(const char *value) {
    if (value_word(value, 0))
        return VALUE_WORD;
    if (strcmp(value, "DIR") == 0)
        return VALUE_FOLDER;
    return strcmp(value, "FILE") == 0 || value_ending(value) ? VALUE_FILE : VALUE_TEXT;
}

int value_check(const command_spec *command, const option_spec *option, const char *word) {
    atl_nearest nearest = atl_nearest_to(word);
    char list[512] = "", hint[128] = "";
    const char *known;
    if (value_type_of(option->value) != VALUE_WORD)
        return DONE;
    for (int i = 0; (known = value_word(option->value, i)); i++) {
        if (strcmp(known, word) == 0)
            return DONE;
        atl_nearest_show(&nearest, known);
        const char *before = i == 0 ? "" : value_word(option->value, i + 1) ? ", " : " or ";
        const size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", before, known);
    }
    if (nearest.name)
        snprintf(hint, sizeof hint, " (did you mean %s?)", nearest.name);
    return wrong_usage("%s: --%s: expected %s, got \"%s\"%s", command->name, option->name, list, word, hint);
}
