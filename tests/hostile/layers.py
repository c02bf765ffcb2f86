# SPDX-License-Identifier: Apache-2.0
"""Well-formed files that a layer must refuse: (name, bytes, words of the command) each. "@" is the file."""
import struct

import arrays
import checkpoints

WIDTHS = {"F64": 8, "F32": 4, "I32": 4, "I64": 8, "F16": 2, "BF16": 2, "F8_E4M3": 1, "U8": 1, "BOOL": 1, "C64": 8}


def weights(shapes, metadata=None, dtype="F32", values=None):
    """A checkpoint of these shapes by name, all of one dtype, filled with 0.5 or `values` (float32)."""
    entries, data = [], b""
    if metadata:
        entries.append('"__metadata__":{' + ",".join(f'"{k}":"{v}"' for k, v in metadata.items()) + "}")
    for name, sizes in shapes.items():
        count = 1
        for size in sizes:
            count *= size
        one = struct.pack("<f", 0.5) if dtype == "F32" else bytes(WIDTHS[dtype])
        part = struct.pack(f"<{count}f", *values[:count]) if values else one * count
        sizes = ",".join(map(str, sizes))
        entries.append(f'"{name}":{{"dtype":"{dtype}","shape":[{sizes}],"data_offsets":[{len(data)},{len(data) + len(part)}]}}')
        data += part
    return checkpoints.checkpoint("{" + ",".join(entries) + "}", data)


def floats(shape, descr="'<f4'", width=4):
    count = 1
    for size in shape:
        count *= size
    sizes = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
    data = struct.pack("<f", 0.5) * count if width == 4 else bytes(width * count)
    return arrays.array(arrays.plain(descr, "False", f"({sizes})"), data)


SE = {"fc.0.weight": [1, 2], "fc.2.weight": [2, 1]}
CBAM_CHANNEL = {"sharedMLP.0.weight": [1, 2, 1, 1], "sharedMLP.2.weight": [2, 1, 1, 1]}
CBAM_SPATIAL = {"conv.weight": [1, 2, 3, 3]}
NORM = {f"bn1.{name}": [2] for name in ("weight", "bias", "running_mean", "running_var")}
CBAM_RES = {"conv1.weight": [2, 2, 3, 3], **NORM, "ca.sharedMLP.0.weight": [1, 2, 1, 1], "ca.sharedMLP.2.weight": [2, 1, 1, 1],
            "sa.conv.weight": [1, 2, 3, 3], "conv_res.weight": [2, 2, 1, 1]}
SK = {"fc.weight": [1, 2], "fc.bias": [1]}
for _i, _k in enumerate((3, 5)):
    SK |= {f"convs.{_i}.0.weight": [2, 2, _k, _k], f"fcs.{_i}.weight": [2, 1], f"fcs.{_i}.bias": [2]}
    SK |= {f"convs.{_i}.1.{name}": [2] for name in ("weight", "bias", "running_mean", "running_var")}
SPATIAL = {"query_conv.weight": [1, 2, 1, 1], "key_conv.weight": [1, 2, 1, 1], "value_conv.weight": [2, 2, 1, 1], "gamma": [1]}
CHANNEL = {"query_conv.weight": [2, 2, 1, 1], "key_conv.weight": [2, 2, 1, 1], "value_conv.weight": [2, 2, 1, 1],
           "x_conv.weight": [2, 2, 1, 1], "gamma": [1]}
NON_LOCAL = {"theta.weight": [1, 2, 1, 1], "phi.weight": [1, 2, 1, 1], "g.weight": [1, 2, 1, 1], "W.weight": [2, 1, 1, 1]}
MULTI_HEAD = {"Wq.weight": [2, 2], "Wk.weight": [2, 2], "Wv.weight": [2, 2], "fc.weight": [2, 2]}

KINDS = {"se": SE, "cbam-channel": CBAM_CHANNEL, "cbam-spatial": CBAM_SPATIAL, "cbam-res": CBAM_RES, "sk": SK,
         "self-attention-spatial": SPATIAL, "self-attention-channel": CHANNEL, "non-local": NON_LOCAL,
         "multi-head": MULTI_HEAD}

# What goes with the file under test; made by make.py as well.
GOOD = {"x.npy": floats([1, 2, 3, 3]), "tokens.npy": floats([1, 3, 2]), "se.safetensors": weights(SE),
        "heads.safetensors": weights(MULTI_HEAD), "spatial.safetensors": weights(CBAM_SPATIAL)}


def run(kind):
    return f"run @ --layer {kind} --input {'tokens' if kind == 'multi-head' else 'x'}.npy"


def changed(shapes, changes):
    """The shapes with some of them changed, and without those that become None."""
    return {name: sizes for name, sizes in (shapes | changes).items() if sizes is not None}


# Kind, what is wrong, and how the weights' shapes change.
WRONG_WEIGHTS = [
    ("se", "without-second-weight", {"fc.2.weight": None}),
    ("se", "without-first-weight", {"fc.0.weight": None}),
    ("se", "with-vector", {"fc.0.weight": [2]}),
    ("se", "with-scalar", {"fc.0.weight": []}),
    ("se", "with-kernel", {"fc.0.weight": [1, 2, 3]}),
    ("se", "with-eight-axes", {"fc.0.weight": [1, 2, 1, 1, 1, 1, 1, 2]}),
    ("se", "with-other-channels", {"fc.2.weight": [3, 1]}),
    ("se", "with-other-hidden", {"fc.2.weight": [2, 5]}),
    ("se", "with-short-bias", {"fc.0.bias": [1], "fc.2.bias": [1]}),
    ("se", "with-bias-matrix", {"fc.2.bias": [2, 2]}),
    ("se", "without-elements", {"fc.0.weight": [0, 2], "fc.2.weight": [2, 0]}),
    ("se", "without-channels", {"fc.0.weight": [1, 0], "fc.2.weight": [0, 1]}),
    ("cbam-channel", "without-weights", {"sharedMLP.0.weight": None, "sharedMLP.2.weight": None, "x": [1]}),
    ("cbam-channel", "with-kernels", {"sharedMLP.0.weight": [1, 2, 3, 3]}),
    ("cbam-channel", "with-a-layer-transposed", {"sharedMLP.0.weight": [2, 1, 1, 1]}),
    ("cbam-spatial", "with-even-kernel", {"conv.weight": [1, 2, 4, 4]}),
    ("cbam-spatial", "with-kernel-of-9", {"conv.weight": [1, 2, 9, 9]}),
    ("cbam-spatial", "with-oblong-kernel", {"conv.weight": [1, 2, 3, 5]}),
    ("cbam-spatial", "with-three-planes", {"conv.weight": [1, 3, 3, 3]}),
    ("cbam-spatial", "with-two-outputs", {"conv.weight": [2, 2, 3, 3]}),
    ("cbam-spatial", "with-flat-kernel", {"conv.weight": [1, 2, 3]}),
    ("cbam-spatial", "with-two-biases", {"conv.bias": [2]}),
    ("cbam-res", "without-mean", {"bn1.running_mean": None}),
    ("cbam-res", "with-even-kernel", {"conv1.weight": [2, 2, 2, 2]}),
    ("cbam-res", "with-wide-shortcut", {"conv_res.weight": [3, 2, 1, 1]}),
    ("cbam-res", "with-large-shortcut", {"conv_res.weight": [2, 2, 3, 3]}),
    ("cbam-res", "with-short-norm", {"bn1.running_var": [1]}),
    ("cbam-res", "without-gate", {"sa.conv.weight": None}),
    ("sk", "without-branch-0", {name: None for name in SK if name.startswith("convs.0")}),
    ("sk", "without-gate-1", {"fcs.1.weight": None, "fcs.1.bias": None}),
    ("sk", "with-wrong-kernel", {"convs.1.0.weight": [2, 2, 3, 3]}),
    ("sk", "with-groups-that-do-not-divide", {"convs.0.0.weight": [2, 3, 3, 3], "convs.1.0.weight": [2, 3, 5, 5]}),
    ("sk", "with-short-norm", {"convs.1.1.running_var": [1]}),
    ("self-attention-spatial", "without-gamma", {"gamma": None}),
    ("self-attention-spatial", "with-two-gammas", {"gamma": [2]}),
    ("self-attention-spatial", "with-other-key", {"key_conv.weight": [2, 2, 1, 1]}),
    ("self-attention-spatial", "with-oblong-value", {"value_conv.weight": [3, 2, 1, 1]}),
    ("self-attention-channel", "with-other-shortcut", {"x_conv.weight": [3, 2, 1, 1]}),
    ("self-attention-channel", "without-shortcut", {"x_conv.weight": None}),
    ("self-attention-channel", "with-other-input", {"query_conv.weight": [2, 3, 1, 1]}),
    ("non-local", "with-other-phi", {"phi.weight": [2, 2, 1, 1]}),
    ("non-local", "with-another-rank", {"g.weight": [1, 2, 1]}),
    ("non-local", "without-result", {"W.weight": None}),
    ("non-local", "sub-sampled-by-half", {"phi.weight": None, "phi.0.weight": [1, 2, 1, 1]}),
    ("non-local", "with-norm-of-nothing", {"W.1.weight": [2]}),
    ("non-local", "of-four-dimensions", {name: [*sizes, 1, 1] for name, sizes in NON_LOCAL.items()}),
    ("non-local", "with-kernel", {"theta.weight": [1, 2, 3, 3]}),
    ("multi-head", "with-oblong-query", {"Wq.weight": [2, 3]}),
    ("multi-head", "with-other-value", {"Wv.weight": [4, 4]}),
    ("multi-head", "without-result", {"fc.weight": None}),
    ("multi-head", "with-short-bias", {"Wk.bias": [1]}),
]

# Kind, what is wrong, metadata.
WRONG_METADATA = [
    ("se", "parameter-unknown", {"attentile.nonsense": "1"}),
    ("se", "parameter-without-name", {"attentile.": "1"}),
    ("se", "activation-unknown", {"attentile.activation": "gelu"}),
    ("se", "activation-empty", {"attentile.activation": ""}),
    ("se", "alpha-nan", {"attentile.alpha": "nan"}),
    ("se", "alpha-too-large", {"attentile.alpha": "1e999"}),
    ("se", "alpha-in-words", {"attentile.alpha": "a sixth"}),
    ("se", "batch-first-maybe", {"attentile.batch_first": "maybe"}),
    ("se", "value-of-control-characters", {"attentile.gate": "\\u001b[2J\\n"}),
    ("se", "value-of-3000-bytes", {"attentile.gate": "g" * 3000}),
    ("cbam-res", "stride-0", {"attentile.stride": "0"}),
    ("cbam-res", "stride-negative", {"attentile.stride": "-1"}),
    ("cbam-res", "stride-2-to-63", {"attentile.stride": "9223372036854775808"}),
    ("cbam-res", "stride-with-space", {"attentile.stride": " 2"}),
    ("cbam-res", "eps-negative", {"attentile.eps": "-1"}),
    ("multi-head", "heads-0", {"attentile.num_heads": "0"}),
    ("multi-head", "heads-that-do-not-divide", {"attentile.num_heads": "3"}),
    ("multi-head", "heads-2-to-64", {"attentile.num_heads": "18446744073709551616"}),
    ("multi-head", "scale-infinite", {"attentile.scale": "inf"}),
    ("multi-head", "mask-fill-unknown", {"attentile.mask_fill": "0"}),
]

X = "run se.safetensors --layer auto --input @"
TOKENS = "run heads.safetensors --layer multi-head --input tokens.npy "

# Arrays that are read, but not for this: name, bytes, words.
WRONG_ARRAYS = [
    ("input-scalar", floats([]), X),
    ("input-of-one-axis", floats([2]), X),
    ("input-of-other-channels", floats([1, 3, 3, 3]), X),
    ("input-without-positions", floats([1, 2]), X),
    ("input-of-eight-axes", floats([1, 3, 1, 1, 1, 1, 1, 1]), X),
    ("input-without-height", floats([1, 2, 3]), "run spatial.safetensors --layer cbam-spatial --input @"),
    ("input-of-doubles", floats([1, 2, 3, 3], "'<f8'", 8), X),
    ("input-of-halves", floats([1, 2, 3, 3], "'<f2'", 2), X),
    ("input-of-integers", floats([1, 2, 3, 3], "'<i4'", 4), X),
    ("input-of-bytes", floats([1, 2, 3, 3], "'|u1'", 1), X),
    ("input-of-bools", floats([1, 2, 3, 3], "'|b1'", 1), X),
    ("tokens-of-other-width", floats([1, 3, 4]), "run heads.safetensors --layer multi-head --input @"),
    ("tokens-of-four-axes", floats([1, 3, 2, 1]), "run heads.safetensors --layer multi-head --input @"),
    ("key-of-other-width", floats([1, 3, 4]), TOKENS + "--key @ --value tokens.npy"),
    ("key-of-other-batch", floats([2, 3, 2]), TOKENS + "--key @ --value tokens.npy"),
    ("value-of-other-length", floats([1, 5, 2]), TOKENS + "--value @"),
    ("value-of-doubles", floats([1, 3, 2], "'<f8'", 8), TOKENS + "--value @"),
    ("mask-of-floats", floats([3]), TOKENS + "--mask @"),
    ("mask-of-long-integers", floats([3], "'<i8'", 8), TOKENS + "--mask @"),
    ("mask-of-other-length", floats([4], "'|u1'", 1), TOKENS + "--mask @"),
    ("mask-of-five-axes", floats([1, 1, 1, 3, 3], "'|b1'", 1), TOKENS + "--mask @"),
    ("mask-of-other-heads", floats([1, 2, 3, 3], "'|b1'", 1), TOKENS + "--mask @"),
]


def unsuitable():
    """(file, bytes, words)"""
    made = [(f"{kind}-{what}", weights(changed(KINDS[kind], changes)), run(kind)) for kind, what, changes in WRONG_WEIGHTS]
    made += [(f"{kind}-{what}", weights(KINDS[kind], metadata), run(kind)) for kind, what, metadata in WRONG_METADATA]
    made += [(f"se-of-{dtype.lower().replace('_', '-')}", weights(SE, dtype=dtype), run("se"))
             for dtype in ("I32", "I64", "U8", "BOOL", "C64", "F8_E4M3")]
    unnamed = "run @ --input x.npy"
    made += [
        ("auto-of-nothing", weights({}), run("auto")),
        ("auto-of-strangers", weights({"encoder.weight": [2, 2], "decoder.weight": [2, 2]}), run("auto")),
        ("auto-under-a-prefix", weights({"net." + name: sizes for name, sizes in SE.items()}), run("auto")),
        ("auto-under-another-prefix", weights(SE), run("auto") + " --prefix net."),
        ("layer-not-named", weights(SE), unnamed),
        ("layer-in-metadata-unknown", weights(SE, {"attentile.layer": "transformer"}), unnamed),
        ("layer-in-metadata-another", weights(SE, {"attentile.layer": "non-local"}), unnamed),
    ]
    return ([(name + ".safetensors", data, words) for name, data, words in made] +
            [(name + ".npy", data, words) for name, data, words in WRONG_ARRAYS])
