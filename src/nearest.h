/* SPDX-License-Identifier: Apache-2.0 */
/* "Did you mean ...?": of the names it is shown, the one that a misspelt word resembles most. */
#ifndef ATL_SRC_NEAREST_H
#define ATL_SRC_NEAREST_H

typedef struct atl_nearest {
    const char *word;
    const char *name; /* the nearest so far; NULL = none resembles the word */
    int distance;     /* its distance */
} atl_nearest;

/* Resembles nothing yet. */
atl_nearest atl_nearest_to(const char *word);
/* Shows a name, which is kept by its pointer when it is nearer than those before. */
void atl_nearest_show(atl_nearest *nearest, const char *name);

#endif
