# SPDX-License-Identifier: Apache-2.0
"""The C interface as ctypes sees it: the structs of <attentile/attentile.h>, field by field."""
from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char, c_char_p, c_double, c_float, c_int, c_int64, c_size_t, c_void_p
from typing import Any

# ATL_ABI_VERSION and ATL_MAX_RANK of the header that this file repeats, and the oldest library that has all of it.
ABI = 1
MAX_RANK = 8
OLDEST = (0, 1, 0)

# atl_dtype by NumPy's names. ml_dtypes calls its type bfloat16; from DLPack it comes as two bytes without a meaning.
DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2, "void16": 2, "float64": 3, "int64": 4, "int32": 5, "int16": 6,
          "int8": 7, "uint8": 8, "bool": 9}
OTHER = 10


class Error(ctypes.Structure):
    _fields_ = [("status", c_int), ("message", c_char * 512)]


class Tensor(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("data", c_void_p), ("dtype", c_int), ("rank", c_int),
                ("shape", c_int64 * MAX_RANK)]


class Param(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("value", c_char_p)]


class EngineOptions(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("threads", c_int), ("bind", c_int), ("max_isa", c_char_p),
                ("parallel_for", c_void_p), ("parallel_for_host", c_void_p), ("trace", c_void_p),
                ("trace_host", c_void_p)]


class EngineInfo(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("threads", c_int), ("threads_requested", c_int), ("isa", c_char_p),
                ("isa_found", c_char_p), ("cpu", c_char_p), ("packages", c_int), ("numa_nodes", c_int),
                ("cores", c_int), ("processors", c_int), ("processors_available", c_int), ("quota", c_double),
                ("l1d_bytes", c_int64), ("l2_bytes", c_int64), ("l3_bytes", c_int64)]


class LayerDesc(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("kind", c_char_p), ("tensors", POINTER(Tensor)), ("tensor_count", c_size_t),
                ("prefix", c_char_p), ("params", POINTER(Param)), ("param_count", c_size_t),
                ("renames", POINTER(Param)), ("rename_count", c_size_t)]


class PlanOptions(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("reserve_batch", c_int64), ("key_length", c_int64)]


class PlanInfo(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("rank", c_int), ("output_rank", c_int), ("map_rank", c_int),
                ("shape", c_int64 * MAX_RANK), ("output_shape", c_int64 * MAX_RANK), ("map_shape", c_int64 * MAX_RANK),
                ("flops", c_double), ("exps", c_double), ("bytes", c_double), ("workspace_per_sample", c_int64),
                ("workspace_samples", c_int64), ("workspace_fixed", c_int64), ("heads", c_int64),
                ("key_length", c_int64), ("in_place", c_int)]


class RunOptions(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("x_stride", c_int64), ("y_stride", c_int64), ("map_stride", c_int64),
                ("map_rows", c_void_p), ("map_row_count", c_int64), ("workspace", c_void_p),
                ("workspace_size", c_int64), ("key", c_void_p), ("value", c_void_p), ("key_stride", c_int64),
                ("value_stride", c_int64), ("mask", c_void_p), ("mask_rank", c_int), ("mask_shape", c_int64 * 4),
                ("additive", c_void_p), ("additive_rank", c_int), ("additive_shape", c_int64 * 4)]


class AttentionStrides(ctypes.Structure):
    _fields_ = [("batch", c_int64), ("head", c_int64), ("position", c_int64), ("feature", c_int64)]


class AttentionArgs(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("batch", c_int64), ("heads", c_int64), ("queries", c_int64), ("keys", c_int64),
                ("key_dim", c_int64), ("value_dim", c_int64), ("query", c_void_p), ("key", c_void_p),
                ("value", c_void_p), ("output", c_void_p), ("query_strides", AttentionStrides),
                ("key_strides", AttentionStrides), ("value_strides", AttentionStrides),
                ("output_strides", AttentionStrides), ("scale", c_float), ("causal", c_int), ("mask_zero", c_int),
                ("mask", c_void_p), ("mask_rank", c_int), ("mask_shape", c_int64 * 4), ("additive", c_void_p),
                ("additive_rank", c_int), ("additive_shape", c_int64 * 4), ("map", c_void_p), ("map_rows", c_void_p),
                ("map_row_count", c_int64)]


# The structs by their C names, for whoever compares them with the header.
STRUCTS = {"atl_error": Error, "atl_tensor": Tensor, "atl_param": Param, "atl_engine_options": EngineOptions,
           "atl_engine_info": EngineInfo, "atl_layer_desc": LayerDesc, "atl_plan_options": PlanOptions,
           "atl_plan_info": PlanInfo, "atl_run_options": RunOptions, "atl_attention_strides": AttentionStrides,
           "atl_attention_args": AttentionArgs}

_handle, _status, _error = c_void_p, c_int, POINTER(Error)

# What is called of libattentile, and of libattentile-io: result and arguments.
CORE: dict[str, tuple[Any, list[Any]]] = {
    "atl_status_name": (c_char_p, [_status]),
    "atl_engine_create": (_status, [POINTER(EngineOptions), POINTER(_handle), _error]),
    "atl_engine_release": (None, [_handle]),
    "atl_engine_get_info": (_status, [_handle, POINTER(EngineInfo), _error]),
    "atl_engine_kernel": (c_int, [_handle, c_int, POINTER(c_char_p), POINTER(c_char_p)]),
    "atl_layer_create": (_status, [POINTER(LayerDesc), POINTER(_handle), _error]),
    "atl_layer_release": (None, [_handle]),
    "atl_layer_kind": (c_char_p, [_handle]),
    "atl_layer_takes_key": (c_int, [_handle]),
    "atl_kind_name": (c_char_p, [c_int]),
    "atl_plan_create": (_status, [_handle, _handle, c_int, POINTER(c_int64), POINTER(PlanOptions), POINTER(_handle),
                                  _error]),
    "atl_plan_release": (None, [_handle]),
    "atl_plan_get_info": (_status, [_handle, POINTER(PlanInfo), _error]),
    "atl_plan_workspace_size": (c_int64, [_handle, c_int64]),
    "atl_plan_describe": (c_size_t, [_handle, c_char_p, c_size_t]),
    "atl_attention": (_status, [_handle, POINTER(AttentionArgs), _error]),
}
IO: dict[str, tuple[Any, list[Any]]] = {
    "atl_checkpoint_open": (_status, [c_char_p, POINTER(_handle), _error]),
    "atl_checkpoint_close": (None, [_handle]),
    "atl_checkpoint_count": (c_size_t, [_handle]),
    "atl_checkpoint_tensors": (POINTER(Tensor), [_handle]),
    "atl_checkpoint_metadata": (c_char_p, [_handle, c_char_p]),
    "atl_layer_load": (_status, [_handle, POINTER(LayerDesc), POINTER(_handle), _error]),
}

# Options by the function that knows their defaults.
DEFAULTS = {EngineOptions: "atl_engine_options_init", LayerDesc: "atl_layer_desc_init",
            PlanOptions: "atl_plan_options_init", RunOptions: "atl_run_options_init",
            AttentionArgs: "atl_attention_args_init"}
