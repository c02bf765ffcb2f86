# SPDX-License-Identifier: Apache-2.0
"""Attentile: visual attention layers on multicore CPUs.

    engine = attentile.Engine(threads=2)
    layer = attentile.Layer.load("w.safetensors")
    plan = engine.plan(layer, x.shape)
    y = plan.run(x)                     # x of any batch
    call = plan.bind(x, out=y)          # the same arrays again and again
    call()

Layers, their weights and parameters are described in <attentile/layers.h>, the objects in <attentile/attentile.h>.
"""
from ._arrays import ArrayLike, SupportsDLPack
from ._attention import attention
from ._engine import Engine, EngineInfo, default_engine
from ._errors import (BadFormat, Error, FileFailure, InvalidArgument, OutOfMemory, Status, SystemFailure, Unsupported)
from ._layer import Layer, ParamValue, kinds
from ._library import path as library_path
from ._library import version as __version__
from ._options import MapLike, RowsLike
from ._plan import Bound, Plan, PlanInfo

__all__ = ["ArrayLike", "BadFormat", "Bound", "Engine", "EngineInfo", "Error", "FileFailure", "InvalidArgument", "Layer",
           "MapLike", "OutOfMemory", "ParamValue", "Plan", "PlanInfo", "RowsLike", "Status", "SupportsDLPack", "SystemFailure",
           "Unsupported", "__version__", "attention", "default_engine", "kinds", "library_path"]
