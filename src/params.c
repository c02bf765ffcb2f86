/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of a layer: text to values, by the kind's table. */
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "layer.h"
#include "text.h"

static int parse_bool(const char *text, double *value) {
    if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
        *value = 1;
    else if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
        *value = 0;
    else
        return 0;
    return 1;
}

/* A finite number that a float can hold, whatever the locale's decimal point. */
static int parse_number(const char *text, double *value) {
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c)
        return 0;
    char *end;
    *value = strtod_l(text, &end, c);
    freelocale(c);
    return end != text && *end == '\0' && !strchr(" \t\n\v\f\r", *text) && isfinite((float)*value);
}

static int parse_count(const char *text, double *value) {
    return parse_number(text, value) && *value >= 1 && *value <= 0x1p53 && *value == floor(*value);
}

static int parse_choice(const atl_param_spec *spec, const char *text, double *value) {
    for (int i = 0; spec->choices[i]; i++)
        if (strcmp(text, spec->choices[i]) == 0) {
            *value = i;
            return 1;
        }
    return 0;
}

static atl_status set_param(const atl_param_spec *spec, const char *text, double *value, atl_error *error) {
    char expected[128] = "";
    int ok = 0;
    switch (spec->type) {
    case ATL_PARAM_BOOL:
        ok = parse_bool(text, value);
        strcpy(expected, "true, false, 1 or 0");
        break;
    case ATL_PARAM_NUMBER:
        ok = parse_number(text, value);
        strcpy(expected, "a finite number");
        break;
    case ATL_PARAM_COUNT:
        ok = parse_count(text, value);
        strcpy(expected, "a whole number from 1 on");
        break;
    case ATL_PARAM_CHOICE: {
        ok = parse_choice(spec, text, value);
        atl_text out = {expected, sizeof expected, 0};
        for (int i = 0; spec->choices[i]; i++)
            atl_text_add(&out, "%s%s", i == 0 ? "" : spec->choices[i + 1] ? ", " : " or ", spec->choices[i]);
        break;
    }
    }
    if (!ok)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "parameter %s: wrong value (expected %s, got '%s')", spec->name,
                        expected, text);
    return ATL_OK;
}

static atl_status unknown_param(const atl_kind *kind, const char *name, atl_error *error) {
    char known[256] = "";
    atl_text out = {known, sizeof known, 0};
    for (const atl_param_spec *p = kind->params; p->name; p++)
        atl_text_add(&out, "%s%s", p == kind->params ? "" : ", ", p->name);
    return atl_fail(error, ATL_INVALID_ARGUMENT, "parameter %s: %s has none of that name (expected one of: %s)", name,
                    kind->name, known);
}

atl_status atl_layer_params(atl_layer *layer, const atl_layer_desc *desc, atl_error *error) {
    const atl_param_spec *specs = layer->kind->params;
    for (int i = 0; specs[i].name; i++)
        layer->params[i] = specs[i].value;
    if (desc->param_count && !desc->params)
        return atl_fail(error, ATL_INVALID_ARGUMENT, "params: expected a pointer, got NULL");
    for (size_t p = 0; p < desc->param_count; p++) {
        const char *name = desc->params[p].name, *value = desc->params[p].value;
        if (!name || !value)
            return atl_fail(error, ATL_INVALID_ARGUMENT, "params[%zu]: expected a name and a value, got NULL", p);
        int i = 0;
        while (specs[i].name && strcmp(specs[i].name, name) != 0)
            i++;
        atl_status status = specs[i].name ? set_param(&specs[i], value, &layer->params[i], error)
                                          : unknown_param(layer->kind, name, error);
        if (status != ATL_OK)
            return status;
    }
    return ATL_OK;
}
