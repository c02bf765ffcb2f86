#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the attentile command with PyTorch modules in float64, on random configurations.

compare_torch.py [--command PATH] [--configs N] [--seed S]

Each configuration is a module whose state_dict goes to the command as a safetensors file, in a random dtype. The
tolerance of every output is derived from the same numbers: what float32 arithmetic may do to a sum of K random terms,
carried through the layer (u = 2^-24). Exit status 0 all agree, 1 some differ, 77 PyTorch is not installed.
"""
import argparse
import ast
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile

try:
    import torch
    from torch import nn
except ImportError:
    print("skipped: PyTorch is not installed")
    sys.exit(77)

U = 2.0**-24
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64"}


# ---------------------------------------------------------------- files

def tensor_bytes(tensor):
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())


def write_safetensors(path, tensors, metadata):
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, tensor in tensors.items():
        raw = tensor_bytes(tensor)
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def write_npy(path, tensor):
    text = repr({"descr": "<f4", "fortran_order": False, "shape": tuple(tensor.shape)}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + tensor_bytes(tensor))


def read_npy(path):
    with open(path, "rb") as f:
        raw = f.read()
    length = struct.unpack("<H", raw[8:10])[0]
    header = ast.literal_eval(raw[10:10 + length].decode())
    if raw[:8] != b"\x93NUMPY\x01\x00" or header["descr"] != "<f4" or header["fortran_order"]:
        raise ValueError(f"{path}: unexpected header {header}")
    return torch.frombuffer(bytearray(raw[10 + length:]), dtype=torch.float32).reshape(header["shape"]).double()


# ---------------------------------------------------------------- layers: module and tolerance

def sum_error(terms, absolute):
    """What may go wrong in a sum of `terms` random products whose absolute values add up to `absolute`."""
    return U * (math.sqrt(terms) + 4) * absolute


class ChannelGate(nn.Module):
    """What se and cbam-channel share: pooled channels, two layers, a gate."""

    def __init__(self, rng, linear):
        super().__init__()
        self.channels, self.hidden = rng.choice([1, 3, 16, 24, 64, 130]), rng.choice([1, 2, 4, 9])
        self.silu, self.hard, self.swapped = rng.random() < 0.3, rng.random() < 0.3, rng.random() < 0.3
        self.alpha = rng.choice([1 / 6, 0.25])
        bias = rng.random() < 0.5
        setattr(self, self.mlp_name, nn.Sequential(
            linear(self.channels, self.hidden, bias=bias), nn.SiLU() if self.silu else nn.ReLU(),
            linear(self.hidden, self.channels, bias=bias)))

    def params(self):
        chosen = {"activation": "silu"} if self.silu else {}
        if self.hard:
            chosen.update(gate="hard-sigmoid", alpha=repr(self.alpha))
        if self.swapped:
            chosen["batch_first"] = "false"
        return chosen

    def layout(self, x):
        return x.transpose(0, 1).contiguous() if self.swapped else x

    def gate(self, z):
        return (self.alpha * z + 0.5).clamp(0, 1) if self.hard else torch.sigmoid(z)

    def linear_error(self, layer, value, error):
        weight = layer.weight.abs().flatten(1)
        absolute = value.abs() @ weight.T + (layer.bias.abs() if layer.bias is not None else 0)
        return error @ weight.T + sum_error(weight.shape[1], absolute)

    def apply_linear(self, layer, value):
        return layer(value[..., None, None]).flatten(1) if isinstance(layer, nn.Conv2d) else layer(value)

    def apply_mlp(self, pooled, error):
        """fc2(act(fc1 pooled)) and its error."""
        first, activation, second = getattr(self, self.mlp_name)
        hidden = self.apply_linear(first, pooled)
        error = self.linear_error(first, pooled, error)
        active = activation(hidden)
        error = 1.1 * error + 4 * U * (active.abs() + hidden.abs()) if self.silu else error
        return self.apply_linear(second, active), self.linear_error(second, active, error)

    def logits(self, flat):
        mean, error = flat.mean(2), sum_error(flat.shape[2], flat.abs().mean(2))
        return self.apply_mlp(mean, error)

    def forward(self, x):
        """(y, its tolerance, None, None) for x [B, C, ...]."""
        z, error = self.logits(x.flatten(2))
        error = self.alpha * error + 2 * U if self.hard else error / 4 + 2 * U
        shape = z.shape + (1,) * (x.dim() - 2)
        y = x * self.gate(z).reshape(shape)
        return y, x.abs() * error.reshape(shape) + U * y.abs() + 2.0**-149, None, None


class SE(ChannelGate):
    kind, mlp_name = "se", "fc"

    def __init__(self, rng):
        super().__init__(rng, nn.Linear)


class CBAMChannel(ChannelGate):
    kind, mlp_name = "cbam-channel", "sharedMLP"

    def __init__(self, rng):
        super().__init__(rng, lambda i, o, bias: nn.Conv2d(i, o, 1, bias=bias))

    def logits(self, flat):
        mean, error = super().logits(flat)
        largest = flat.amax(2)
        maximum, maximum_error = self.apply_mlp(largest, torch.zeros_like(largest))
        z = mean + maximum
        return z, error + maximum_error + U * z.abs()


class CBAMSpatial(nn.Module):
    kind = "cbam-spatial"

    def __init__(self, rng):
        super().__init__()
        self.channels, self.kernel = rng.choice([1, 3, 16, 64, 300]), rng.choice([3, 5, 7])
        self.swapped = rng.random() < 0.3
        self.conv = nn.Conv2d(2, 1, self.kernel, padding=self.kernel // 2, bias=rng.random() < 0.5)

    def params(self):
        return {"batch_first": "false"} if self.swapped else {}

    def layout(self, x):
        return x.transpose(0, 1).contiguous() if self.swapped else x

    def forward(self, x):
        """(y, its tolerance, None, None) for x [B, C, H, W]."""
        mean, largest = x.mean(1, keepdim=True), x.amax(1, keepdim=True)
        mean_error = sum_error(self.channels, x.abs().mean(1, keepdim=True))
        pooled, weight = torch.cat([mean, largest], 1), self.conv.weight.abs()
        absolute = nn.functional.conv2d(pooled.abs(), weight, None, padding=self.kernel // 2)
        absolute = absolute + (self.conv.bias.abs() if self.conv.bias is not None else 0)
        error = nn.functional.conv2d(mean_error, weight[:, :1], None, padding=self.kernel // 2)
        error = error + sum_error(2 * self.kernel**2, absolute)
        y = x * torch.sigmoid(self.conv(pooled))
        return y, x.abs() * (error / 4 + 2 * U) + U * y.abs() + 2.0**-149, None, None


class SelfAttention(nn.Module):
    kind = "self-attention-spatial"

    def __init__(self, rng):
        super().__init__()
        self.channels, self.dim = rng.choice([1, 5, 16, 64, 96]), rng.choice([1, 3, 8, 32])
        bias = rng.random() < 0.7
        self.query_conv = nn.Conv2d(self.channels, self.dim, 1, bias=bias)
        self.key_conv = nn.Conv2d(self.channels, self.dim, 1, bias=bias)
        self.value_conv = nn.Conv2d(self.channels, self.channels, 1, bias=bias)
        self.gamma = nn.Parameter(torch.tensor([rng.choice([0.0, 0.7, -1.3])]))
        self.scale = rng.choice([None, None, 0.35])

    def params(self):
        return {} if self.scale is None else {"scale": repr(self.scale)}

    def layout(self, x):
        return x

    def project(self, conv, x):
        value = conv(x).flatten(2)
        bias = conv.bias.abs() if conv.bias is not None else None
        absolute = nn.functional.conv2d(x.abs(), conv.weight.abs(), bias).flatten(2)
        return value, sum_error(self.channels, absolute)

    def forward(self, x):
        """(y, its tolerance, map, its tolerance) for x [B, C, H, W]."""
        (q, dq), (k, dk), (v, dv) = (self.project(c, x) for c in (self.query_conv, self.key_conv, self.value_conv))
        scale, n = self.scale or 1.0, q.shape[2]
        weights = torch.softmax(scale * (q.transpose(1, 2) @ k), 2)
        q, dq = q.transpose(1, 2), dq.transpose(1, 2)
        logits_error = scale * (q.abs() @ dk + dq @ k.abs() + sum_error(self.dim, q.abs() @ k.abs()))
        relative = 2 * logits_error.amax(2, keepdim=True) + U * (math.sqrt(n) + 8)
        weights_error = weights * relative + 2.0**-126
        attended = weights @ v.transpose(1, 2)
        error = weights_error @ v.abs().transpose(1, 2) + weights @ dv.transpose(1, 2)
        attended, error = (t.transpose(1, 2).reshape(x.shape) for t in (attended, error))
        y = self.gamma * attended + x
        tolerance = self.gamma.abs() * error + U * (2 * (self.gamma * attended).abs() + y.abs()) + 2.0**-149
        return y, tolerance, weights, weights_error


# ---------------------------------------------------------------- one configuration

def rounded_state(module, rng):
    """The state_dict in a random dtype, and the module in float64 with exactly these values."""
    dtype = rng.choice([torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.float64])
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.copy_(parameter.to(dtype))
    state = {name: tensor.to(dtype) for name, tensor in module.state_dict().items()}
    module.double()
    return state


def share(got, want, tolerance):
    """The largest part of its tolerance that a value uses; infinity when the shapes differ. A last rounding alone can use all
    of its share, so 1 % is added for what PyTorch rounds in float64."""
    return ((got - want).abs() / (1.01 * tolerance)).max().item() if got.shape == want.shape else math.inf


def compare(command, isas, rng, folder):
    """Runs one configuration. Returns (description, share of the tolerance)."""
    module = rng.choice([SE, CBAMChannel, CBAMSpatial, SelfAttention])(rng)
    state = rounded_state(module, rng)
    size = [rng.choice([1, 2, 3]), module.channels, rng.choice([1, 5, 9, 16, 23]), rng.choice([1, 7, 12, 17])]
    x = (torch.randn(size) * rng.choice([0.3, 1.0, 3.0])).float()
    prefix = rng.choice(["", "layer1.0.", "net.attention."])
    tensors = {prefix + name: tensor for name, tensor in state.items()}
    tensors["num_batches_tracked"] = torch.tensor(7)
    params, in_metadata = module.params(), rng.random() < 0.3
    metadata = {"attentile." + name: value for name, value in params.items()} if in_metadata else {}
    x_path, y_path, map_path = (os.path.join(folder, name) for name in ("x.npy", "y.npy", "a.npy"))
    weights_path = os.path.join(folder, "w.safetensors")
    write_safetensors(weights_path, tensors, metadata)
    write_npy(x_path, module.layout(x))
    threads, isa = rng.choice([1, 2, 3]), rng.choice(isas)
    line = [command, "run", weights_path, "--layer", rng.choice(["auto", module.kind]), "--input", x_path,
            "--output", y_path, "--threads", str(threads)]
    line += ["--prefix", prefix] if prefix else []
    for name, value in {} if in_metadata else params.items():
        line += ["--set", f"{name}={value}"]
    with torch.no_grad():
        want, tolerance, weights, weights_tolerance = module(x.double())
    if weights is not None:
        line += ["--map", map_path]
    if weights is not None and rng.random() < 0.5:
        rows = [rng.randrange(weights.shape[1]) for _ in range(3)]
        line += ["--map-rows", ",".join(map(str, rows))]
        weights, weights_tolerance = weights[:, rows], weights_tolerance[:, rows]
    subprocess.run(line, check=True, env={**os.environ, "ATTENTILE_MAX_ISA": isa})
    worst = share(module.layout(read_npy(y_path)), want, tolerance)
    if weights is not None:
        worst = max(worst, share(read_npy(map_path), weights, weights_tolerance))
    dtype = DTYPES[next(iter(state.values())).dtype]
    return f"{module.kind} {'x'.join(map(str, size))} {dtype} {isa} {threads} threads {params}", worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--command", default=os.environ.get("ATTENTILE_COMMAND", "build/tools/attentile"))
    parser.add_argument("--configs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    torch.manual_seed(options.seed)
    found = json.loads(subprocess.run([options.command, "info", "--json"], check=True, capture_output=True,
                                      env={**os.environ, "ATTENTILE_MAX_ISA": "scalar"}).stdout)["isa_found"]
    isas = {"avx512": ["scalar", "avx2", "avx512"], "avx2": ["scalar", "avx2"], "neon": ["scalar", "neon"]}.get(
        found, ["scalar"])
    print(f"seed {options.seed}, {options.configs} configurations, PyTorch {torch.__version__}, {', '.join(isas)}")
    differing, worst = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.configs):
            what, used = compare(options.command, isas, rng, folder)
            worst = max(worst, used)
            if not used <= 1:
                differing += 1
                print(f"configuration {number}: {what}: {used:.3g} of the tolerance")
    print(f"{options.configs - differing} agree, {differing} differ; largest share of a tolerance {worst:.3g}")
    return 1 if differing or options.configs < 1 else 0


if __name__ == "__main__":
    sys.exit(main())
