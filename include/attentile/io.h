/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files: PyTorch checkpoints in the safetensors format, and NumPy's .npy arrays. Library attentile-io.
 *
 * The conventions of <attentile/attentile.h> hold. Messages begin with the file's path: "PATH: what is wrong
 * (expected ..., got ...)". Only regular files are accepted. Files are read, never mapped, so a file that shrinks
 * under its reader is an error and not a signal.
 */
#ifndef ATTENTILE_IO_H
#define ATTENTILE_IO_H

#include <attentile/attentile.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- safetensors */

/* An open checkpoint: the header in memory, tensors read on demand. Not for use by several threads at once. */
typedef struct atl_checkpoint atl_checkpoint;

/*
 * Opens a safetensors file and checks all of its header: length at most 100 MB and inside the file, UTF-8 JSON, an
 * object of {dtype, shape, data_offsets} entries that fit their dtype and shape and together cover the data without
 * holes or overlaps, no duplicate names, "__metadata__" an object of strings. Refuses what the reference reader refuses,
 * and besides: fields that the format does not know, white space before the object, more than ATL_MAX_RANK axes, sizes
 * from 2^63, names with NUL. Dtypes are those of safetensors 0.8. Tensors without elements are legal.
 * The file stays open until atl_checkpoint_close. Memory: less than 8 times the header.
 * Errors: ATL_IO_ERROR, ATL_BAD_FORMAT, ATL_OUT_OF_MEMORY.
 */
ATL_API atl_status atl_checkpoint_open(const char *path, atl_checkpoint **checkpoint, atl_error *error);
/* Frees everything that the checkpoint lent: names, data, metadata. Layers made from it stay. */
ATL_API void atl_checkpoint_close(atl_checkpoint *checkpoint);

/* Number of tensors. */
ATL_API size_t atl_checkpoint_count(const atl_checkpoint *checkpoint);

/*
 * All tensors, atl_checkpoint_count of them, in the order of the file's data; `data` is NULL until loaded. Lives as long
 * as the checkpoint. Dtypes that atl_dtype has no name for are ATL_OTHER; atl_checkpoint_dtype_name gives the file's
 * word (NULL for an index past the end).
 */
ATL_API const atl_tensor *atl_checkpoint_tensors(const atl_checkpoint *checkpoint);
ATL_API const char *atl_checkpoint_dtype_name(const atl_checkpoint *checkpoint, size_t index);

/* Bytes of one tensor in the file; -1 for an index past the end. */
ATL_API int64_t atl_checkpoint_bytes(const atl_checkpoint *checkpoint, size_t index);

/*
 * Reads the data of every tensor whose name starts with `prefix` (NULL = all); those already read stay as they are,
 * also after a failure. The memory belongs to the checkpoint.
 * Errors: ATL_IO_ERROR (also when the file has shrunk), ATL_OUT_OF_MEMORY.
 */
ATL_API atl_status atl_checkpoint_load(atl_checkpoint *checkpoint, const char *prefix, atl_error *error);

/* The value of a key of "__metadata__", or NULL. Lives as long as the checkpoint. */
ATL_API const char *atl_checkpoint_metadata(const atl_checkpoint *checkpoint, const char *key);
/* For index 0, 1, ... until it returns 0: each pair of "__metadata__", in the order of the file. Either pointer may be
 * NULL. */
ATL_API int atl_checkpoint_metadata_at(const atl_checkpoint *checkpoint, size_t index, const char **key,
                                       const char **value);

/*
 * Makes a layer from a checkpoint: like atl_layer_create with the checkpoint's tensors, of which those under the prefix
 * are loaded. `desc` NULL = the defaults. desc->tensors must be NULL. desc->kind NULL = the metadata key
 * "attentile.layer", an error without it. Metadata keys "attentile.NAME" give defaults for the parameters that
 * desc->params does not name; a NAME that the kind lacks is an error.
 */
ATL_API atl_status atl_layer_load(atl_checkpoint *checkpoint, const atl_layer_desc *desc, atl_layer **layer,
                                  atl_error *error);

/* ---------------------------------------------------------------- .npy */

/* A dense array in C order that owns its data. */
typedef struct atl_array {
    atl_dtype dtype;
    int rank;
    int64_t shape[ATL_MAX_RANK];
    void *data;
} atl_array;

/*
 * Reads a .npy file, version 1, 2 or 3, little-endian, C order, dtypes <f2 <f4 <f8 <i8 <i4 <i2 |i1 |u1 |b1, at most
 * ATL_MAX_RANK axes (0 = a scalar), sizes from 1, and no byte more or less than the shape says. Fortran order is refused
 * unless there is at most one axis, where it means nothing. Values are not looked at: a bool may hold any byte. Memory:
 * the array. *array is freed with atl_array_clear.
 * Errors: ATL_IO_ERROR, ATL_BAD_FORMAT, ATL_OUT_OF_MEMORY.
 */
ATL_API atl_status atl_npy_read(const char *path, atl_array *array, atl_error *error);

/* Frees the data and zeroes the struct. */
ATL_API void atl_array_clear(atl_array *array);

/*
 * Writes an array as .npy version 1.0, byte for byte as numpy.save of NumPy 2 does, through atl_file_create. Dtypes and
 * shapes as in atl_npy_read. Errors: ATL_INVALID_ARGUMENT (the array is none of these), ATL_IO_ERROR, ATL_OUT_OF_MEMORY.
 */
ATL_API atl_status atl_npy_write(const char *path, const atl_array *array, atl_error *error);

/* ---------------------------------------------------------------- whole files */

/*
 * A file that appears whole or not at all: written under a temporary name in the same folder, then synced to disk and
 * renamed. Until then, and after any failure, an existing file of the name is as it was. Not for use by several threads
 * at once.
 */
typedef struct atl_file atl_file;

/*
 * Begins a file. Its mode is 0666 less the umask. A symbolic link is followed: the file behind it is replaced. A target
 * that exists and is no regular file is an error. Errors: ATL_IO_ERROR, ATL_OUT_OF_MEMORY.
 */
ATL_API atl_status atl_file_create(const char *path, atl_file **file, atl_error *error);

/* Appends. Unbuffered. After a failure only atl_file_discard makes sense; a commit would fail. Errors: ATL_IO_ERROR. */
ATL_API atl_status atl_file_write(atl_file *file, const void *data, size_t size, atl_error *error);

/*
 * Gives the file its name, replacing an existing one, and frees the handle, whatever the outcome. Errors: ATL_IO_ERROR;
 * when it is the folder that cannot be synced, the new file is in place already.
 */
ATL_API atl_status atl_file_commit(atl_file *file, atl_error *error);

/* Drops what was written and frees the handle. */
ATL_API void atl_file_discard(atl_file *file);

/*
 * atl_npy_write without the commit, which is the caller's: for arrays that should appear together, each written in full
 * before the first gets its name. Errors as in atl_npy_write.
 */
ATL_API atl_status atl_npy_create(const char *path, const atl_array *array, atl_file **file, atl_error *error);

#ifdef __cplusplus
}
#endif

#endif
