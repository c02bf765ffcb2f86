/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attentile: visual attention layers on multicore CPUs.
 *
 * The objects, and the order in which a program meets them:
 *
 *     atl_engine   threads, instruction set, workspaces     one per process is usual
 *     atl_layer    a kind, its parameters and its weights   immutable
 *     atl_plan     layer x per-sample shape x engine        immutable
 *     atl_run      a plan over a batch of samples           any number at once
 *
 * Conventions that hold for every function below, unless its comment says otherwise:
 *
 *   - Values are float32. Activations are [C, positions], row-major, the last axis fastest (PyTorch's
 *     contiguous NCHW, without the batch axis). Shapes and strides count elements, never bytes.
 *   - A function that can fail returns an atl_status. With ATL_OK every output argument is set. With anything
 *     else no output argument has changed, nothing is allocated or retained, and `error` (which may be NULL)
 *     holds the status and one line that says what was expected and what came.
 *   - Handles are reference counted where a `_retain` exists. `_release(NULL)` does nothing.
 *   - Engines, layers and plans may be used by any number of threads at once.
 *   - The library never aborts, exits, prints, or changes the locale, the floating-point environment, signal
 *     masks or OpenMP's settings. Calls made under another rounding mode, flush-to-zero or unmasked
 *     floating-point exceptions give the same bits as any other call; the caller's state is restored.
 *   - The same input bits give the same output bits for any thread count, batch size, position in the batch,
 *     alignment and instruction set, up to the sign and payload of NaNs. Bits may change between releases.
 */
#ifndef ATTENTILE_ATTENTILE_H
#define ATTENTILE_ATTENTILE_H

#include <stddef.h>
#include <stdint.h>

#define ATL_VERSION_MAJOR 0
#define ATL_VERSION_MINOR 1
#define ATL_VERSION_PATCH 0
/* The number in the SONAME. It changes when a program built against an older header could break. */
#define ATL_ABI_VERSION 1

#if defined(__GNUC__)
#define ATL_API __attribute__((visibility("default")))
#else
#define ATL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- status and errors */

/* What went wrong. The values are fixed. */
typedef enum atl_status {
    ATL_OK = 0,
    ATL_INVALID_ARGUMENT = 1, /* an argument, a shape, a parameter or an environment variable is wrong */
    ATL_OUT_OF_MEMORY = 2,    /* an allocation failed, or a size cannot be represented */
    ATL_UNSUPPORTED = 3,      /* this machine or this build lacks what was asked for */
    ATL_SYSTEM_ERROR = 4,     /* the operating system refused (threads, topology) */
    ATL_IO_ERROR = 5,         /* a file could not be read or written */
    ATL_BAD_FORMAT = 6        /* a file's contents are not what the format demands */
} atl_status;

/* Receives the reason of a failure. Belongs to the caller; needs no initialisation and no clean-up. */
typedef struct atl_error {
    atl_status status;
    char message[512]; /* one line of UTF-8 without a newline, always terminated */
} atl_error;

/* The name of a status, such as "out of memory". Never NULL; the string is static. */
ATL_API const char *atl_status_name(atl_status status);

/* "MAJOR.MINOR.PATCH" of the library that runs, which may be newer than the header. Static. */
ATL_API const char *atl_version(void);

/* ---------------------------------------------------------------- tensors */

#define ATL_MAX_RANK 8

typedef enum atl_dtype {
    ATL_F32 = 0,
    ATL_F16 = 1,
    ATL_BF16 = 2,
    ATL_F64 = 3,
    ATL_I64 = 4,
    ATL_I32 = 5,
    ATL_I16 = 6,
    ATL_I8 = 7,
    ATL_U8 = 8,
    ATL_BOOL = 9,
    ATL_OTHER = 10 /* any other one-, two-, four- or eight-byte type of a checkpoint: listed, never computed with */
} atl_dtype;

/* The name, as in "F32", or "?" for a value that is none. Static. */
ATL_API const char *atl_dtype_name(atl_dtype dtype);

/* A named, dense, row-major array that somebody else owns. */
typedef struct atl_tensor {
    const char *name; /* a state_dict key such as "fc.0.weight"; UTF-8 */
    const void *data; /* any alignment; may be NULL where only name and shape matter */
    atl_dtype dtype;
    int rank; /* 0 (a scalar) to ATL_MAX_RANK */
    int64_t shape[ATL_MAX_RANK];
} atl_tensor;

/* A parameter as text, as the command's --set takes it. */
typedef struct atl_param {
    const char *name;
    const char *value;
} atl_param;

/* ---------------------------------------------------------------- engine */

/*
 * An engine owns one team of threads and the workspaces that runs borrow. Any number of threads may run plans
 * on one engine at once: at most `threads` of team and callers together compute at a time, so that 64 request
 * threads on one engine do not oversubscribe the machine. Idle teams sleep.
 *
 * fork: a child may use an engine, layers and plans made before the fork; its first run starts a new team.
 */
typedef struct atl_engine atl_engine;

/* Runs task(context, i) for every i in [0, count), in any order, on any threads, returning when all are done. */
typedef void (*atl_parallel_for_fn)(void *host, int64_t count, void (*task)(void *context, int64_t i), void *context);

/* A task that has run. A run is a sequence of stages, a stage so many tasks, which threads claim in order. */
typedef struct atl_trace_event {
    const char *stage;   /* what its tasks do; static */
    int64_t tasks, task; /* of the stage, and which of them this was */
    int shared;          /* 0: the stage stayed on one thread, being too small to share or a single task */
    int64_t nanoseconds; /* that it took */
} atl_trace_event;

/* Is told of a task by the thread that ran it, and so by several at once. It must not call the library. */
typedef void (*atl_trace_fn)(void *host, const atl_trace_event *event);

typedef struct atl_engine_options {
    size_t size;         /* sizeof(atl_engine_options), set by the init function */
    int threads;         /* 1 to 1024; 0 = ATTENTILE_NUM_THREADS, else the first number of OMP_NUM_THREADS, else
                            min(processors available, cgroup quota rounded up) */
    int bind;            /* 1 binds each team thread to a core of its own; 0 (default) leaves them to the system:
                            two bound processes land on the same cores */
    const char *max_isa; /* "scalar", "avx2", "avx512", "neon": highest instruction set to use; NULL =
                            ATTENTILE_MAX_ISA, else the best this machine has */
    atl_parallel_for_fn parallel_for; /* a host's own thread pool, used instead of a team; it must not run more
                                         than `threads` tasks of one call at once. NULL = own team */
    void *parallel_for_host;          /* passed to parallel_for */
    /* Sees how runs are split, at the cost of two clock readings a task; NULL = nobody does. With a parallel_for that runs
     * its tasks in turn it sees how they would be split for any number of threads. */
    atl_trace_fn trace;
    void *trace_host; /* passed to trace */
} atl_engine_options;

/* Fills in the defaults. */
ATL_API void atl_engine_options_init(atl_engine_options *options);

/*
 * Makes an engine with one reference. `options` may be NULL for the defaults. Where the system grants fewer
 * threads than asked for, the engine starts with those (atl_engine_info says so).
 * Errors: ATL_INVALID_ARGUMENT (also for a wrong value in an ATTENTILE_ variable), ATL_UNSUPPORTED (an
 * instruction set that this machine lacks), ATL_OUT_OF_MEMORY, ATL_SYSTEM_ERROR.
 */
ATL_API atl_status atl_engine_create(const atl_engine_options *options, atl_engine **engine, atl_error *error);
ATL_API atl_engine *atl_engine_retain(atl_engine *engine);
/* The last release stops the team and frees the workspaces; no run may be under way on it. */
ATL_API void atl_engine_release(atl_engine *engine);

typedef struct atl_engine_info {
    size_t size;                                 /* sizeof(atl_engine_info), set by the caller */
    int threads;                                 /* the team's size, the calling thread's help included */
    int threads_requested;                       /* what options, environment or default asked for */
    const char *isa;                             /* used, such as "avx512" */
    const char *isa_found;                       /* the best this machine and this build have */
    const char *cpu;                             /* the processor's name, or "unknown" */
    int packages, numa_nodes, cores, processors; /* of the machine; 0 = unknown */
    int processors_available;                    /* to this process: its affinity mask */
    double quota;                                /* processors that the cgroup grants; 0 = no limit */
    int64_t l1d_bytes, l2_bytes, l3_bytes;       /* per instance; 0 = none or unknown */
} atl_engine_info;

/* Fills `info` up to info->size. The strings live as long as the engine. */
ATL_API atl_status atl_engine_get_info(const atl_engine *engine, atl_engine_info *info, atl_error *error);

/*
 * The kernels that the engine chose: for index 0, 1, ... until it returns 0, the slot ("attend") and the
 * implementation in it ("atl_f32_attend_12x32_avx512"). Either pointer may be NULL. Static strings.
 */
ATL_API int atl_engine_kernel(const atl_engine *engine, int index, const char **slot, const char **implementation);

/* ---------------------------------------------------------------- layer */

/* A kind, its parameters and its weights. Immutable. Packed forms of the weights are made once and shared by plans. */
typedef struct atl_layer atl_layer;

/*
 * What a layer is made of. Widths are inferred from the weights' shapes and checked against one another.
 * The kinds with their weights, parameters, formulas and papers are described in <attentile/layers.h>.
 */
typedef struct atl_layer_desc {
    size_t size;               /* sizeof(atl_layer_desc), set by the init function */
    const char *kind;          /* "se", ...; "auto" recognises the kind from the names under the prefix */
    const atl_tensor *tensors; /* F32, F16, BF16 or F64 where the layer reads them; others are ignored */
    size_t tensor_count;
    const char *prefix;      /* literal, its trailing dot included: "layer1.0.se."; NULL or "" = none */
    const atl_param *params; /* a name that the kind lacks is an error */
    size_t param_count;
    const atl_param *renames; /* name = a name as it stands in `tensors` after the prefix, value = the layer's
                                  own name for it */
    size_t rename_count;
} atl_layer_desc;

ATL_API void atl_layer_desc_init(atl_layer_desc *desc);

/*
 * Makes a layer with one reference. Weights are copied; nothing of `desc` is kept.
 * Errors: ATL_INVALID_ARGUMENT names the missing or contradicting tensor, or the parameter; ATL_OUT_OF_MEMORY.
 */
ATL_API atl_status atl_layer_create(const atl_layer_desc *desc, atl_layer **layer, atl_error *error);
ATL_API atl_layer *atl_layer_retain(atl_layer *layer);
ATL_API void atl_layer_release(atl_layer *layer);

/* The layer's kind, such as "se". Static. */
ATL_API const char *atl_layer_kind(const atl_layer *layer);

/* Whether the layer takes a key, a value and masks besides x. */
ATL_API int atl_layer_takes_key(const atl_layer *layer);

/* The kinds of this build: for index 0, 1, ... its name, then NULL. Static. */
ATL_API const char *atl_kind_name(int index);

/*
 * Which kind the tensors under a prefix are, told from their names and ranks alone (data may be NULL).
 * ATL_INVALID_ARGUMENT when no kind or more than one fits. *kind is static.
 */
ATL_API atl_status atl_recognize(const atl_layer_desc *desc, const char **kind, atl_error *error);

/* ---------------------------------------------------------------- plan */

/* A layer prepared for one per-sample shape on one engine. Immutable; the batch size comes at run. */
typedef struct atl_plan atl_plan;

typedef struct atl_plan_options {
    size_t size;           /* sizeof(atl_plan_options), set by the init function */
    int64_t reserve_batch; /* the engine keeps a workspace for this many samples ready, so that runs up to it, one at
                              a time on the engine, allocate nothing; default 1, 0 = reserve nothing */
    int64_t key_length;    /* of kinds that take a key: positions of key and value; 0 = those of x */
} atl_plan_options;

ATL_API void atl_plan_options_init(atl_plan_options *options);

/*
 * Plans `layer` for samples of `shape` [C, ...] without the batch axis. Retains layer and engine. Everything that
 * costs time or memory once is done here; the largest sizes are checked in 64 bits before any allocation.
 * Errors: ATL_INVALID_ARGUMENT (the shape does not fit the layer), ATL_OUT_OF_MEMORY.
 */
ATL_API atl_status atl_plan_create(atl_layer *layer, atl_engine *engine, int rank, const int64_t *shape,
                                   const atl_plan_options *options, atl_plan **plan, atl_error *error);
ATL_API atl_plan *atl_plan_retain(atl_plan *plan);
ATL_API void atl_plan_release(atl_plan *plan);

typedef struct atl_plan_info {
    size_t size; /* sizeof(atl_plan_info), set by the caller */
    int rank, output_rank, map_rank;
    int64_t shape[ATL_MAX_RANK];        /* of a sample of x */
    int64_t output_shape[ATL_MAX_RANK]; /* of a sample of y */
    int64_t map_shape[ATL_MAX_RANK];    /* of a sample's whole map; map_rank 0 = the layer has none */
    double flops, exps, bytes;          /* the layer's own lower bound for one sample: multiplications and additions,
                                           exponentials, bytes of inputs and outputs */
    int64_t workspace_per_sample;       /* bytes */
    int64_t workspace_samples;          /* at most this many samples are under way at once: the workspace of a larger
                                           batch is no larger */
    int64_t workspace_fixed;            /* bytes for the team, whatever the batch: its threads times the scratch of
                                           one, which the kind's text in layers.h describes */
    int64_t heads, key_length;          /* of kinds that take a key, else 0 */
    int in_place;                       /* y may be x */
} atl_plan_info;

ATL_API atl_status atl_plan_get_info(const atl_plan *plan, atl_plan_info *info, atl_error *error);

/*
 * Bytes of workspace that a run of `batch` samples needs: workspace_per_sample for each, workspace_samples at most, and
 * workspace_fixed; -1 when that cannot be represented.
 */
ATL_API int64_t atl_plan_workspace_size(const atl_plan *plan, int64_t batch);

/*
 * Writes, in words and numbers, what the plan chose (stages, kernels, block sizes, splits) and the lower bound.
 * Several lines. Like snprintf: writes at most `capacity` bytes with the terminator, returns the full length.
 */
ATL_API size_t atl_plan_describe(const atl_plan *plan, char *text, size_t capacity);

/* ---------------------------------------------------------------- run */

typedef struct atl_run_options {
    size_t size;             /* sizeof(atl_run_options), set by the init function */
    int64_t x_stride;        /* elements from a sample to the next in atl_run; 0 = dense */
    int64_t y_stride;        /* likewise */
    int64_t map_stride;      /* likewise */
    const int64_t *map_rows; /* the query positions whose map rows are wanted, in this order, repeats allowed;
                                  NULL = all. The map of a sample is then [map_row_count, keys] */
    int64_t map_row_count;
    void *workspace; /* atl_plan_workspace_size bytes, aligned to 64, for this run alone and apart
                                  from all samples; NULL = the engine's */
    int64_t workspace_size;
    /* What follows is for kinds that take it (multi-head); with atl_run_samples each sample has its own pointers and
     * those here must be NULL. */
    const float *key, *value;         /* [batch, key_length, D]; NULL = x */
    int64_t key_stride, value_stride; /* elements from a sample to the next in atl_run; 0 = dense */
    const uint8_t *mask;              /* bytes, 0 = masked. Any shape that broadcasts, right-aligned, to
                                         [batch, heads, queries, keys], dense; NULL = none */
    int mask_rank;                    /* 0 to 4. With atl_run_samples 0 to 3: the mask of one sample */
    int64_t mask_shape[4];            /* each axis 1 or the full size */
    const float *additive;            /* likewise: added to the scaled logits; -inf masks as a 0 in `mask` does */
    int additive_rank;
    int64_t additive_shape[4];
} atl_run_options;

ATL_API void atl_run_options_init(atl_run_options *options);

/*
 * Runs the plan over `batch` samples, x [batch, shape...] to y [batch, output_shape...], and the attention map to
 * `map` [batch, map_shape...] unless that is NULL. `options` may be NULL. Blocks until done; the calling thread
 * helps. Pointers need the alignment of a float, no more.
 *
 * y may be x exactly where the layer's text in <attentile/layers.h> says so; any other overlap of an output with an input
 * or another output is an error.
 *
 * A layer with batch_first=false takes x and y as [C, batch, ...]: the strides are then from one sample to the next
 * inside a channel, and 0 means dense as well.
 *
 * Allocates nothing when a workspace is given or the engine has one of the size ready (reserve_batch).
 * Errors: ATL_INVALID_ARGUMENT, ATL_OUT_OF_MEMORY; y and map are then untouched.
 */
ATL_API atl_status atl_run(const atl_plan *plan, int64_t batch, const float *x, float *y, float *map,
                           const atl_run_options *options, atl_error *error);

/* A sample with pointers of its own. */
typedef struct atl_sample {
    const float *x; /* [shape...] */
    float *y;       /* [output_shape...] */
    float *map;     /* [map_shape...] or NULL; either every sample of a run has one or none */
    /* of kinds that take them, else NULL */
    const float *key, *value; /* [key_length, D]; NULL = x */
    const uint8_t *mask;      /* 0 = masked, of atl_run_options.mask_shape; NULL = none */
    const float *additive;    /* added to the scaled logits, of atl_run_options.additive_shape; NULL = none */
} atl_sample;

/*
 * Like atl_run for samples that lie anywhere. `sample_size` is sizeof(atl_sample) of the caller's header.
 * With batch_first=false each sample's channels are dense ([C, ...]). The strides of `options` must be 0.
 */
ATL_API atl_status atl_run_samples(const atl_plan *plan, int64_t batch, const atl_sample *samples, size_t sample_size,
                                   const atl_run_options *options, atl_error *error);

/* ---------------------------------------------------------------- attention */

/* Elements from one to the next along an axis, 0 or more; those of the output apart from one another. */
typedef struct atl_attention_strides {
    int64_t batch, head, position, feature;
} atl_attention_strides;

/* Dense layouts of [batch, heads, positions, dim] that are in use. */
typedef enum atl_attention_layout {
    ATL_TOKEN_MAJOR = 0,  /* [batch, positions, heads, dim]: what a linear layer leaves */
    ATL_HEAD_MAJOR = 1,   /* [batch, heads, positions, dim]: PyTorch's scaled_dot_product_attention */
    ATL_CHANNEL_MAJOR = 2 /* [batch, heads, dim, positions]: what a 1x1 convolution leaves */
} atl_attention_layout;

/* The strides of a dense tensor in one of the layouts. Sizes that are not positive give zeros. */
ATL_API atl_attention_strides atl_attention_dense(atl_attention_layout layout, int64_t heads, int64_t positions,
                                                  int64_t dim);

typedef struct atl_attention_args {
    size_t size; /* sizeof(atl_attention_args), set by the init function */
    int64_t batch, heads, queries, keys;
    int64_t key_dim, value_dim; /* of a head: those of query and key, of value and output */
    const float *query, *key, *value;
    float *output;
    atl_attention_strides query_strides, key_strides, value_strides, output_strides;
    float scale;   /* of the logits; NaN, the default: 1/sqrt(key_dim) */
    int causal;    /* key j is visible to query i when j <= i, joined with the masks */
    int mask_zero; /* a row that sees no key is 0; else, the default, the mean of all values */
    /* Masks broadcast, right-aligned and dense, to [batch, heads, queries, keys]; NULL = none. */
    const uint8_t *mask; /* 0 = masked */
    int mask_rank;       /* 0 to 4 */
    int64_t mask_shape[4];
    /* Added to the scaled logits; -inf masks as a 0 in `mask` does; below -6.9e29 all count alike. */
    const float *additive;
    int additive_rank;
    int64_t additive_shape[4];
    float *map;              /* [batch, heads, queries, keys], dense; NULL = not wanted */
    const int64_t *map_rows; /* as in atl_run_options */
    int64_t map_row_count;
} atl_attention_args;

/* One head, a batch of one, no masks. The caller sets sizes, pointers and strides. */
ATL_API void atl_attention_args_init(atl_attention_args *args);

/*
 * Attention, the core that four of the layers share, on the engine's team:
 *
 *     output = softmax over keys of (scale * query . key + masks) * value, for each head of each sample
 *
 * Vaswani et al., "Attention Is All You Need", NeurIPS 2017. The matrix of queries x keys is tiled and never held (Dao et
 * al., "FlashAttention", NeurIPS 2022): the engine's workspace is O((queries + keys) * heads * (key_dim + value_dim)) a
 * sample, of as many samples as keep the team busy, and for each thread what "multi-head" (layers.h) takes for attention.
 * Masked keys have weight exactly 0 whatever they hold, and their values are not read into the result. Weights below 2^-126
 * of a row's largest are 0. A feature or a position stride of 1 is fast; others work.
 *
 * The output may overlap no input and no map. Inputs may overlap one another (packed query, key and value).
 * Errors: ATL_INVALID_ARGUMENT, ATL_OUT_OF_MEMORY; output and map are then untouched. Any number of threads may call it.
 */
ATL_API atl_status atl_attention(atl_engine *engine, const atl_attention_args *args, atl_error *error);

#ifdef __cplusplus
}
#endif

#endif
