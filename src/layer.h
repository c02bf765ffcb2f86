/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers: a kind says in tables which weights and parameters it has; binding, width inference, checks and recognition
 * are the same for all of them.
 */
#ifndef ATL_SRC_LAYER_H
#define ATL_SRC_LAYER_H

#include "attentile/attentile.h"

struct atl_run_state;
struct atl_text;

/*
 * A weight by its state_dict name. `shape` names its axes by letters: the same letter is the same width everywhere in
 * the layer, as in {"fc.0.weight", "hC"}, {"fc.2.weight", "Ch"}. A digit is an axis of that size. Further axes of size 1
 * are accepted (1x1 convolutions). "" is a scalar, [] or [1].
 *
 * "a|b" are alternative names, one of which may be there. A '#' in the name stands for an index from 0 on: as many copies
 * as there are; a '%' in the shape is then an axis of size 3 + 2 * index.
 */
typedef struct atl_weight_spec {
    const char *name;
    const char *shape;
    int optional;
} atl_weight_spec;

typedef enum atl_param_type { ATL_PARAM_BOOL, ATL_PARAM_NUMBER, ATL_PARAM_COUNT, ATL_PARAM_CHOICE } atl_param_type;

typedef struct atl_param_spec {
    const char *name;
    atl_param_type type;
    double value;               /* by default; of a choice, its index */
    const char *const *choices; /* ends with NULL */
} atl_param_spec;

/* A matrix product of the layer, with its weights packed per kernel format. */
typedef struct atl_pack {
    struct atl_pack *next;
    int64_t bytes; /* of all this */
    int mr;
    int64_t groups; /* 0 = panels of mr rows; else the tiles of a convolution, by group */
    _Alignas(64) float data[];
} atl_pack;

/* Returns the next one; pack may be NULL. */
atl_pack *atl_pack_free(atl_pack *pack);

typedef struct atl_linear {
    int64_t m, k;
    float *weight;   /* [m][k] */
    float *bias;     /* [m], or NULL */
    float *scale;    /* [m], or NULL: y = scale * (weight x) + bias, a folded batch norm */
    atl_pack *packs; /* guarded by the fork lock */
} atl_linear;

/* A batch norm by its running statistics: each [m]; beta may be NULL, and all of them where there is none. */
typedef struct atl_norm {
    const float *gamma, *beta, *mean, *variance;
    double eps;
} atl_norm;

enum { ATL_MAX_PARAMS = 8, ATL_MAX_WEIGHTS = 40, ATL_MAX_COPIES = 64 };

typedef struct atl_kind {
    const char *name;
    const atl_weight_spec *weights; /* ends with a NULL name */
    const atl_param_spec *params;   /* ends with a NULL name */
    /* Turns the bound weights into what runs need (layer->linears). They may be taken: set to NULL. weights[i] belongs to
     * weights[i] of the kind, NULL where it is absent; copies of indexed ones follow: weights[i + copy * count]. */
    atl_status (*build)(atl_layer *layer, float **weights, atl_error *error);
    /* Checks plan->shape against the layer and decides everything: plan->op and the bound in plan->info. */
    atl_status (*plan)(atl_plan *plan, atl_error *error);
    void (*run)(const struct atl_run_state *run);
    /* Adds a line per stage. */
    void (*describe)(const atl_plan *plan, struct atl_text *text);
    int takes_key; /* and value and masks: plan sets heads and key_length */
} atl_kind;

struct atl_layer {
    _Atomic int references;
    const atl_kind *kind;
    int64_t widths[128];           /* by letter, 0 = not bound */
    int copies;                    /* of the weights with an index */
    int8_t ranks[ATL_MAX_WEIGHTS]; /* of the tensors, in the order of kind->weights; copy 0 */
    double params[ATL_MAX_PARAMS]; /* in the order of kind->params */
    atl_linear *linears;
    int linear_count;
};

/* Every kind of this build, from layers.def; ends with NULL. */
extern const atl_kind *const atl_kinds[];

/* The linear's weights as [ceil(m/mr)][k][mr], zero filled. Made once per mr and kept. NULL when memory runs out. */
const float *atl_linear_pack(atl_linear *linear, int mr);

/* The linear's weights as the conv kernel takes them, rows of a group together: m/groups of them. Kept likewise. */
const float *atl_linear_pack_tiles(atl_linear *linear, int mr, int64_t groups);

/* Gives the linear a scale and a bias, from its bias and the batch norm behind it: gamma / sqrt(variance + eps) and
 * beta + (bias - mean) * scale, in double and rounded once. */
atl_status atl_linear_fold(atl_linear *linear, const atl_norm *norm, atl_error *error);

/* Makes room for `count` linears, all zero. */
atl_status atl_layer_linears(atl_layer *layer, int count, atl_error *error);

/* The kind of that name, or NULL and an error that suggests the nearest one, or all. */
const atl_kind *atl_find_kind(const char *name, atl_error *error);

/* Reads the parameters of a layer. */
atl_status atl_layer_params(atl_layer *layer, const atl_layer_desc *desc, atl_error *error);

/* How many entries kind->weights has. */
int atl_kind_weights(const atl_kind *kind);

/* Finds, checks and converts the weights, as `build` gets them. The caller frees them. */
atl_status atl_layer_bind(atl_layer *layer, const atl_layer_desc *desc, float **weights, atl_error *error);

/* ---- names ---- */

typedef struct atl_weight_name {
    char text[96]; /* without the prefix */
} atl_weight_name;

const char *atl_prefix(const atl_layer_desc *desc);
/* That the lists of a description can be read. */
atl_status atl_check_lists(const atl_layer_desc *desc, atl_error *error);
int atl_weight_is_indexed(const atl_weight_spec *spec);
/* The tensor of a weight after prefix, renames, alternatives and index, with the name that it was found by; NULL when there
 * is none, with the first name that was looked for. */
const atl_tensor *atl_find_weight(const atl_layer_desc *desc, const atl_weight_spec *spec, int copy,
                                  atl_weight_name *name);
/* Another tensor that answers to the same weight, or NULL. */
const atl_tensor *atl_find_second(const atl_layer_desc *desc, const atl_weight_spec *spec, int copy,
                                  const atl_tensor *first);
/* How often the indexed weights of a kind are there: the most that any of them has from 0 on, at least 1. */
int atl_weight_copies(const atl_kind *kind, const atl_layer_desc *desc);
/* Whether a tensor has the rank of a spec, and the sizes that the spec fixes. */
int atl_rank_fits(const atl_weight_spec *spec, int copy, const atl_tensor *tensor);

#endif
