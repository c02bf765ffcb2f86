# SPDX-License-Identifier: Apache-2.0
"""PyTorch tensors to and from the plain arrays of lib.formats, and checkpoints of modules."""
import torch

from lib import formats

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64"}
NPY = {torch.float32: "<f4", torch.float64: "<f8", torch.uint8: "|u1", torch.bool: "|b1"}


def raw(tensor):
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())


def write_npy(path, tensor):
    formats.write_npy(path, NPY[tensor.dtype], tensor.shape, raw(tensor))


def read_npy(path):
    """Of float32, as float64."""
    dtype, shape, values = formats.read_npy(path)
    if dtype != "<f4":
        raise ValueError(f"{path}: expected float32, got {dtype}")
    return torch.tensor(values.tolist(), dtype=torch.float64).reshape(shape)


def write_safetensors(path, state, metadata=None):
    formats.write_safetensors(path, {name: (DTYPES[t.dtype], t.shape, raw(t)) for name, t in state.items()}, metadata)


def rounded_state(module, dtype):
    """The state_dict in `dtype`, counters apart; the module then computes in float64 with these values as float32 rounds
    them. Those of float64 are off the float32 ones by less than that."""
    state = {}
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(tensor.to(dtype))
                state[name] = tensor.double() * (1 + 2.0**-27) if dtype == torch.float64 else tensor.to(dtype)
            else:
                state[name] = tensor
    module.double().eval()
    return state


def as_linear(state):
    """1x1 convolutions spelled as linear layers, apart from conv1, whose kernel only happens to be 1."""
    return {name: t.flatten(1) if t.dim() > 2 and t[0, 0].numel() == 1 and name != "conv1.weight" else t
            for name, t in state.items()}


def as_conv(state):
    """Linear layers spelled as 1x1 convolutions."""
    return {name: t[..., None, None] if t.dim() == 2 else t for name, t in state.items()}
