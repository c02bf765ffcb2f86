# SPDX-License-Identifier: Apache-2.0
"""Everyone who takes part, in one list. A contender makes a case ready, with inputs in place and, where its library can take
them, outputs preallocated; what is then timed is the call alone."""
import dataclasses
import os
import types
from collections.abc import Callable

import numpy as np
import torch

from peers import exported, models
from peers.results import OURS


@dataclasses.dataclass
class Case:
    """A row as it is to be computed. `mask` goes to multi-head alone."""
    row: object
    module: torch.nn.Module
    x: torch.Tensor
    threads: int
    with_map: bool = False
    mask: torch.Tensor = None
    isa: str = None

    @classmethod
    def of(cls, row, threads, **more):
        return cls(row, models.make(row), models.make_input(row), threads, **more)

    def map_bytes(self):
        """Of a whole matrix of logits; 0 for kinds without one."""
        row = self.row
        if row.kind not in models.ATTENTION:
            return 0
        heads = self.module.heads if row.kind == "multi-head" else 1
        queries = row.shape[0] if row.kind == "multi-head" else row.positions
        keys = queries
        if row.kind == "self-attention-channel":
            queries = keys = self.module.query_conv.weight.shape[0]
        elif row.kind == "non-local" and row.width("sub", 0):
            keys //= 2 if len(row.shape) == 2 else 4
        return 4 * row.batch * heads * queries * keys


@dataclasses.dataclass
class Ready:
    """Hold it as long as `call` is used: libraries write where it points."""
    call: Callable
    outputs: Callable # the arrays that the last call left: y and, if asked for, the map
    keep: tuple = ()


@dataclasses.dataclass(frozen=True)
class Contender:
    name: str
    library: str # "torch", "onnxruntime", "openvino", or ours
    prepare: Callable
    applies: Callable
    matrices: int = 0 # of logits that it holds at once, as far as one can tell in advance

    def predicted_bytes(self, case):
        return self.matrices * case.map_bytes() + 2 * case.x.nbytes


def array(tensor):
    return tensor.detach().contiguous().numpy()


# ---------------------------------------------------------------- ours


def plan_of(case, engine, batch=0):
    import attentile # found by the time something is run

    weights = {name: array(t) for name, t in case.module.state_dict().items()}
    return engine.plan(attentile.Layer(case.row.kind, weights, **case.module.settings), (batch,) + case.row.shape)


def prepare_attentile(case, engine=None):
    import attentile

    engine = engine or attentile.Engine(threads=case.threads)
    plan, x = plan_of(case, engine, case.row.batch), array(case.x)
    y = np.zeros((case.row.batch,) + tuple(plan.info.output_shape), np.float32)
    more, outputs = {}, [y]
    if case.with_map:
        more["map"] = np.zeros((case.row.batch,) + tuple(plan.info.map_shape), np.float32)
        outputs.append(more["map"])
    if case.mask is not None:
        floats = case.mask.is_floating_point()
        more["additive" if floats else "mask"] = array(case.mask if floats else case.mask.to(torch.uint8))
    return Ready(plan.bind(x, out=y, **more), lambda: outputs, keep=(engine, plan))


# ---------------------------------------------------------------- PyTorch


def layouts(tensor):
    return {4: torch.channels_last, 5: torch.channels_last_3d}[tensor.dim()]


def with_own_code(model):
    """torch.compile keeps what it made with the code of a function: models that share one would look through what was made
    for the others in every call, which takes longer than a small layer."""
    shared = models.Peer.forward
    own = types.FunctionType(shared.__code__.replace(), shared.__globals__, shared.__name__, shared.__defaults__)
    model.__class__ = type("Peer", (models.Peer,), {"forward": own})
    return model


def prepare_torch(case, core="dense", channels_last=False, compiled=False):
    module, x = case.module, case.x
    if channels_last:
        # A copy: the weights of the others stay as they are.
        module = models.copy.deepcopy(module).to(memory_format=layouts(x))
        x = x.to(memory_format=layouts(x))
    model = models.Peer(module, core, case.with_map).eval()
    if compiled:
        model = torch.compile(with_own_code(model), dynamic=False, fullgraph=True, options={"freezing": True})
    arguments = (x,) if case.mask is None else (x, case.mask)
    last = []

    def call():
        last[:] = (model(*arguments),)

    def outputs():
        y = last[0]
        return [array(t) for t in (y if case.with_map else (y,))]

    return Ready(call, outputs, keep=(model, arguments))


def torch_contender(name, core="dense", applies=lambda case: True, matrices=0, **how):
    return Contender(name, "torch", lambda case: prepare_torch(case, core, **how), applies, matrices)


# ---------------------------------------------------------------- who takes part


def always(case):
    return True


def attends(case):
    return case.row.kind in models.ATTENTION and not case.with_map


def attends_unequal(case):
    if not attends(case):
        return False
    width, value_width = models.head_dims(case.module, case.row)
    return width != value_width


def attends_equal(case):
    return attends(case) and not attends_unequal(case)


def is_image(case):
    return case.x.dim() in (4, 5)


def is_unmasked(case):
    return case.mask is None and not getattr(case.module, "causal", False)


def exportable_core(case):
    return attends(case) and is_unmasked(case)


CONTENDERS = (
    Contender(OURS, OURS, prepare_attentile, always),
    torch_contender("eager", matrices=2),
    torch_contender("eager-channels-last", applies=is_image, matrices=2, channels_last=True),
    torch_contender("sdpa", "sdpa", attends, matrices=2),
    torch_contender("sdpa-padded", "sdpa-padded", attends_unequal),
    torch_contender("compile", matrices=2, compiled=True),
    torch_contender("compile-channels-last", applies=is_image, matrices=2, compiled=True, channels_last=True),
    torch_contender("compile-sdpa", "sdpa", attends_equal, compiled=True),
    torch_contender("compile-sdpa-padded", "sdpa-padded", attends_unequal, compiled=True),
    Contender("onnxruntime", "onnxruntime", lambda case: exported.prepare_onnxruntime(case, "dense"), always, 2),
    Contender("onnxruntime-fused", "onnxruntime", lambda case: exported.prepare_onnxruntime(case, "ort-attention"),
              exportable_core),
    Contender("openvino", "openvino", lambda case: exported.prepare_openvino(case, "dense"), always, 2),
    Contender("openvino-sdpa", "openvino", lambda case: exported.prepare_openvino(case, "sdpa"), attends, 2),
)


def chosen(case, pattern=None):
    """Those that can compute the case; under a cap of the instruction set only libraries that obey one."""
    capped = os.environ.get("ATTENTILE_MAX_ISA")
    return [c for c in CONTENDERS if c.applies(case) and (not pattern or pattern.search(c.name)) and
            (not capped or c.library in (OURS, "torch"))]
