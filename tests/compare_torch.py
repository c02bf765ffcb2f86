#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the attentile command with PyTorch modules in float64, on random configurations of all nine layers.

compare_torch.py [--command PATH] [--configs N] [--seed S] [--kind KIND]...

Each configuration is a module (tests/lib/layers.py) whose state_dict goes to the command as a safetensors file, in a random
dtype, under a random prefix, spelled as linear layers or 1x1 convolutions. The tolerance of every output is derived from
the same numbers (tests/lib/rounding.py). Exit status 0 all agree, 1 some differ, 77 PyTorch is not installed.
"""
import argparse
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile

try:
    import torch
except ImportError:
    print("skipped: PyTorch is not installed")
    sys.exit(77)

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lib import checkpoint, layers # noqa: E402


# ---------------------------------------------------------------- random layers

def sometimes(rng, value, chance=0.3):
    return value if rng.random() < chance else None


def gate_settings(rng):
    chosen = {"bias": rng.random() < 0.5, "activation": rng.choice([None, None, "relu", "silu"]),
              "swapped": rng.random() < 0.3}
    if rng.random() < 0.4:
        chosen.update(gate="hard-sigmoid", alpha=rng.choice([None, 0.25, 0.2]))
    return chosen


def random_se(rng):
    return layers.SE(rng.choice([1, 3, 16, 24, 64, 130]), rng.choice([1, 2, 4, 9]), **gate_settings(rng))


def random_cbam_channel(rng):
    return layers.CBAMChannel(rng.choice([1, 3, 16, 24, 64, 130]), rng.choice([1, 2, 4, 9]), **gate_settings(rng))


def random_cbam_spatial(rng):
    return layers.CBAMSpatial(rng.choice([1, 3, 16, 64, 300]), rng.choice([3, 5, 7]), rng.random() < 0.5,
                              rng.random() < 0.3)


def random_cbam_res(rng):
    return layers.CBAMRes(rng.choice([1, 3, 8, 16]), rng.choice([1, 4, 16, 33]), rng.choice([1, 2, 5]),
                          rng.choice([1, 3, 3, 5, 7]), rng.choice([3, 5, 7]), rng.choice([None, 1, 2, 3]),
                          rng.random() < 0.6, sometimes(rng, 0.01), rng.random() < 0.3)


def random_sk(rng):
    groups = rng.choice([1, 2, 3, 8])
    return layers.SK(groups * rng.choice([1, 2, 4]), rng.choice([1, 2, 2, 3, 4]), groups, rng.choice([1, 4, 17]),
                     rng.choice([None, 1, 2, 3]), rng.random() < 0.6, rng.random() < 0.8, sometimes(rng, 0.01),
                     rng.random() < 0.3)


def random_spatial(rng):
    return layers.SelfAttentionSpatial(rng.choice([1, 5, 16, 64, 96]), rng.choice([1, 3, 8, 32]), rng.random() < 0.7,
                                       rng.choice([0.0, 0.7, -1.3]), sometimes(rng, 0.35))


def random_channel(rng):
    return layers.SelfAttentionChannel(rng.choice([1, 5, 16, 40]), rng.choice([1, 5, 16, 33]), rng.random() < 0.7,
                                       rng.choice([0.0, 0.7, -1.3]), sometimes(rng, 0.35))


def random_non_local(rng):
    return layers.NonLocal(rng.choice([1, 2, 2, 3]), rng.choice([1, 5, 16, 40]), rng.choice([1, 3, 8, 32]),
                           sometimes(rng, rng.choice([1, 5, 20])), rng.random() < 0.5, rng.random() < 0.6,
                           rng.random() < 0.7, sometimes(rng, 0.35), sometimes(rng, 0.01))


def random_heads(rng):
    heads = rng.choice([None, 1, 2, 5])
    return layers.MultiHead((heads or 1) * rng.choice([1, 3, 8, 32]), heads, rng.random() < 0.7, sometimes(rng, 0.35),
                            sometimes(rng, True), rng.choice([None, None, "-1e9", "-inf"]))


RANDOM = {"se": random_se, "cbam-channel": random_cbam_channel, "cbam-spatial": random_cbam_spatial,
          "cbam-res": random_cbam_res, "sk": random_sk, "self-attention-spatial": random_spatial,
          "self-attention-channel": random_channel, "non-local": random_non_local, "multi-head": random_heads}
IMAGES = ("cbam-spatial", "cbam-res", "sk")


# ---------------------------------------------------------------- random inputs

def axes_of(module, rng):
    """Rows of a multi-head input, or the position axes of an image."""
    if module.kind == "multi-head":
        return [rng.choice([1, 4, 9, 16, 40])]
    axes = [rng.choice([2, 5, 9, 16, 23]), rng.choice([2, 7, 12, 17])]
    rank = module.rank if module.kind == "non-local" else 2 if module.kind in IMAGES else rng.choice([1, 2, 2, 3])
    return axes[:1] if rank == 1 else [rng.choice([1, 2, 3])] + axes if rank == 3 else axes


def random_mask(rng, batch, heads, queries, keys):
    """Of any rank, any axis broadcast; rows without a key are welcome."""
    shape = [rng.choice([1, size]) for size in (batch, heads, queries, keys)][rng.randrange(4):]
    mask = torch.rand(shape) < rng.choice([0.1, 0.5, 0.9])
    return mask if rng.random() < 0.5 else mask.byte()


def inputs_of(module, rng):
    """x, and what else multi-head takes."""
    size = module.input_size(rng.choice([1, 2, 3]), *axes_of(module, rng))
    scale = rng.choice([0.3, 1.0, 3.0])
    inputs = {"x": (torch.randn(size) * scale).float()}
    if module.kind != "multi-head":
        return inputs
    keys = rng.choice([1, 6, 17, 33]) if rng.random() < 0.5 else size[1]
    for name in ("key", "value"):
        if keys != size[1] or rng.random() < 0.3:
            inputs[name] = (torch.randn(size[0], keys, size[2]) * scale).float()
    if rng.random() < 0.6:
        inputs["mask"] = random_mask(rng, size[0], module.heads, size[1], keys)
    return inputs


# ---------------------------------------------------------------- one configuration

def write_checkpoint(path, module, rng):
    """Writes the weights in one of the ways that mean the same. Returns the options that go with it, and its dtype."""
    dtype = rng.choice([torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.float64])
    state = checkpoint.rounded_state(module, dtype)
    # Of other convolutions the rank tells something: image or clip.
    if module.kind != "cbam-spatial":
        state = rng.choice([dict, dict, checkpoint.as_linear, checkpoint.as_conv])(state)
    prefix, options = rng.choice(["", "layer1.0.", "net.attention."]), []
    if rng.random() < 0.2:
        old = rng.choice(sorted(state))
        state["other.name"] = state.pop(old)
        options += ["--rename", f"other.name={old}"]
    tensors = {prefix + name: tensor for name, tensor in state.items()}
    tensors["num_batches_tracked"] = torch.tensor(7)
    in_metadata = rng.random() < 0.3
    metadata = {"attentile." + name: value for name, value in module.settings.items()} if in_metadata else {}
    for name, value in {} if in_metadata else module.settings.items():
        options += ["--set", f"{name}={value}"]
    if in_metadata and rng.random() < 0.5:
        metadata["attentile.layer"] = module.kind
    else:
        options += ["--layer", rng.choice(["auto", module.kind])]
    checkpoint.write_safetensors(path, tensors, metadata)
    return options + (["--prefix", prefix] if prefix else []), checkpoint.DTYPES[dtype]


def share(got, want):
    """The largest part of its tolerance that a value uses; infinity when the shapes differ. A last rounding alone can use all
    of its share, so 1 % is added for what PyTorch rounds in float64. Where nothing is allowed, nothing may differ."""
    if got.shape != want.value.shape:
        return math.inf
    error, tolerance = (got - want.value).abs(), 1.01 * want.error + 2.0**-149
    used = (error / tolerance).max().item()
    return used if used == used else math.inf


def compare(command, kinds, isas, rng, folder):
    """Runs one configuration. Returns (description, share of the tolerance or what the command complains of)."""
    module = RANDOM[rng.choice(kinds)](rng)
    path = {name: os.path.join(folder, name) for name in ("w", "x", "key", "value", "mask", "y", "map")}
    options, dtype = write_checkpoint(path["w"], module, rng)
    inputs = inputs_of(module, rng)
    for name, tensor in inputs.items():
        checkpoint.write_npy(path[name], module.layout(tensor))
        options += ["--input" if name == "x" else f"--{name}", path[name]]
    with torch.no_grad():
        y, weights = module(**{name: t.double() if t.is_floating_point() else t for name, t in inputs.items()})
    if weights is not None:
        options += ["--map", path["map"]]
    if weights is not None and rng.random() < 0.5:
        rows = [rng.randrange(weights.value.shape[-2]) for _ in range(3)]
        options += ["--map-rows", ",".join(map(str, rows))]
        weights = weights.map(lambda t: t[..., rows, :])
    threads, isa = rng.choice([1, 2, 3]), rng.choice(isas)
    line = [command, "run", path["w"], *options, "--output", path["y"], "--threads", str(threads)]
    sizes = " ".join(f"{name}={'x'.join(map(str, t.shape))}" for name, t in inputs.items())
    what = f"{module.kind} {sizes} {dtype} {isa} {threads} threads {module.settings}"
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "ATTENTILE_MAX_ISA": isa})
    if done.returncode:
        return f"{what}: {done.stderr.strip()}", math.inf
    worst = share(module.layout(checkpoint.read_npy(path["y"])), y)
    if weights is not None:
        worst = max(worst, share(checkpoint.read_npy(path["map"]), weights))
    return what, worst


def isas_of(command):
    found = json.loads(subprocess.run([command, "info", "--json"], check=True, capture_output=True,
                                      env={**os.environ, "ATTENTILE_MAX_ISA": "scalar"}).stdout)["isa_found"]
    return {"avx512": ["scalar", "avx2", "avx512"], "avx2": ["scalar", "avx2"], "neon": ["scalar", "neon"]}.get(
        found, ["scalar"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--command", default=os.environ.get("ATTENTILE_COMMAND", "build/tools/attentile"))
    parser.add_argument("--configs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--kind", action="append", choices=sorted(RANDOM), help="only this one; may be repeated")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    isas, kinds = isas_of(options.command), options.kind or list(RANDOM)
    print(f"seed {options.seed}, {options.configs} configurations, PyTorch {torch.__version__}, {', '.join(isas)}")
    differing, worst = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.configs):
            what, used = compare(options.command, kinds, isas, rng, folder)
            kind = what.split()[0]
            worst[kind] = max(worst.get(kind, 0.0), used)
            if not used <= 1:
                differing += 1
                print(f"configuration {number}: {what}: {used:.3g} of the tolerance")
    for kind, used in worst.items():
        print(f"{kind}: largest share of a tolerance {used:.3g}")
    print(f"{options.configs - differing} agree, {differing} differ")
    return 1 if differing or options.configs < 1 else 0


if __name__ == "__main__":
    sys.exit(main())
