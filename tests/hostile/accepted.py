# SPDX-License-Identifier: Apache-2.0
"""Odd files that are right all the same: (file, bytes, words of the command) each. "@" is the file."""
import struct

import arrays
import checkpoints
from checkpoints import checkpoint, shape, t
from layers import KINDS, SE, X, TOKENS, floats, run, weights

INFO = "info @"
ROWS = "'<f4'", "False", "(1, 2, 3, 3)"


def entry(name, dtype, sizes, begin, end):
    return f'"{name}":{{"dtype":"{dtype}","shape":{sizes},"data_offsets":[{begin},{end}]}}'


CHECKPOINTS = [
    ("nothing", "{}", 0),
    ("nothing-and-spaces", "{} \t\r\n   ", 0),
    ("spaces-inside", '{ "a" :\n{ "dtype" : "U8" ,\t"shape" : [ 1 ] , "data_offsets" : [ 0 , 1 ] } }', 1),
    ("metadata-alone", '{"__metadata__":{"format":"pt"}}', 0),
    ("metadata-empty", '{"__metadata__":{},' + t("a", "[0,1]") + "}", 1),
    ("metadata-last", "{" + t("a", "[0,1]") + ',"__metadata__":{"":""}}', 1),
    ("metadata-of-controls", '{"__metadata__":{"a\\u001b":"\\n\\t\\u007f"}}', 0),
    ("name-empty", "{" + t("", "[0,1]") + "}", 1),
    ("name-of-3000-bytes", "{" + t("n" * 3000, "[0,1]") + "}", 1),
    ("name-escaped", "{" + t("\\u0061\\/\\\\\\\"\\b\\f\\n\\r\\t", "[0,1]") + "}", 1),
    ("name-of-surrogates", "{" + t("\\ud83d\\ude00", "[0,1]") + "}", 1),
    ("name-of-emoji", "{" + t("\xf0\x9f\x98\x80", "[0,1]") + "}", 1),
    ("name-of-last-character", "{" + t("\xf4\x8f\xbf\xbf\xee\x80\x80\xef\xbf\xbf", "[0,1]") + "}", 1),
    ("name-of-c1-controls", '{"__metadata__":{"\\u009bk":"\\u009d"},' + t("\\u0080\\u009f31m\\u00a0\xc2\x9b", "[0,1]") + "}", 1),
    ("name-nearly-metadata", "{" + t("__metadata_", "[0,1]") + "," + t("__METADATA__", "[1,2]") + "}", 2),
    ("names-that-differ-in-case", "{" + t("a", "[0,1]") + "," + t("A", "[1,2]") + "}", 2),
    ("names-composed-and-not", "{" + t("\xc3\xa9", "[0,1]") + "," + t("e\xcc\x81", "[1,2]") + "}", 2),
    ("order-reversed", "{" + t("b", "[1,2]") + "," + t("a", "[0,1]") + "}", 2),
    ("offsets-unaligned", "{" + t("a", "[0,1]") + "," + entry("b", "F64", "[1]", 1, 9) + "}", 9),
    ("fields-in-another-order", '{"a":{"data_offsets":[0,1],"shape":[1],"dtype":"U8"}}', 1),
    ("scalar", shape("[]", "[0,1]"), 1),
    ("eight-axes", shape("[1,1,1,1,1,1,1,2]", "[0,2]"), 2),
    ("no-elements", shape("[0]", "[0,0]"), 0),
    ("no-elements-among-many", shape("[5,0,9223372036854775807]", "[0,0]"), 0),
    ("no-elements-three-times", "{" + ",".join(entry(n, "F32", "[0]", 1, 1) for n in "xyz") + "," + t("a", "[0,1]") + "}", 1),
    ("every-dtype", "{" + ",".join(entry(f"t{i}", word, "[8]", 64 * i, 64 * i + 64) for i, word in enumerate(
        ("F64", "I64", "U64", "C64"))) + "," + ",".join(entry(f"u{i}", word, "[8]", 256 + 32 * i, 288 + 32 * i)
        for i, word in enumerate(("F32", "I32", "U32"))) + "," + ",".join(entry(f"v{i}", word, "[8]", 352 + 16 * i, 368 + 16 * i)
        for i, word in enumerate(("F16", "BF16", "I16", "U16"))) + "," + ",".join(entry(f"w{i}", word, "[8]", 416 + 8 * i,
        424 + 8 * i) for i, word in enumerate(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"))) + "}", 456),
    ("dtypes-below-a-byte", "{" + entry("a", "F4", "[2]", 0, 1) + "," + entry("b", "F6_E2M3", "[4]", 1, 4) + "," +
     entry("c", "F6_E3M2", "[2,2]", 4, 7) + "," + entry("d", "F8_E8M0", "[1]", 7, 8) + "}", 8),
]

PADDED = arrays.plain(*ROWS).rstrip()


def floating(values):
    return arrays.array(arrays.plain(*ROWS), struct.pack("<18f", *(values * 18)[:18]))


ARRAYS = [
    ("version-2.npy", arrays.array(PADDED, 72, 2), X),
    ("version-3.npy", arrays.array(PADDED, 72, 3), X),
    ("header-of-10000-bytes.npy", arrays.array(PADDED.ljust(10000), 72), X),
    ("header-without-padding.npy", arrays.array(PADDED.replace(" ", ""), 72), X),
    ("header-of-much-space.npy", arrays.array(" " + PADDED.replace(" ", "\n \t\r"), 72), X),
    ("keys-in-another-order.npy", arrays.array("{'shape': (1, 2, 3, 3), 'fortran_order': False, 'descr': '<f4'}", 72), X),
    ("double-quotes.npy", arrays.array(PADDED.replace("'", '"'), 72), X),
    ("comma-after-last-size.npy", arrays.array(PADDED.replace("3)", "3 , )"), 72), X),
    ("values-not-finite.npy", floating([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45, 3.4e38]), X),
    ("values-negative-nan.npy", arrays.array(PADDED, b"\xff\xff\xff\xff" * 18), X),
    ("one-position.npy", floats([1, 2, 1]), X),
    ("five-axes.npy", floats([1, 2, 1, 1, 3]), X),
    ("tokens-in-fortran-order-of-one-axis.npy", arrays.array(arrays.plain("'|u1'", "True", "(3,)"), 3), TOKENS + "--mask @"),
    ("mask-scalar.npy", arrays.array(arrays.plain("'|u1'", "False", "()"), 1), TOKENS + "--mask @"),
    ("mask-of-bools-above-1.npy", arrays.array(arrays.plain("'|b1'", "False", "(3,)"), b"\x02\xff\x80"), TOKENS + "--mask @"),
    ("mask-of-big-endian-bytes.npy", arrays.array(arrays.plain("'>u1'", "False", "(3,)"), 3), TOKENS + "--mask @"),
    ("mask-of-little-endian-bytes.npy", arrays.array(arrays.plain("'<u1'", "False", "(3,)"), 3), TOKENS + "--mask @"),
    ("mask-of-nothing.npy", arrays.array(arrays.plain("'|u1'", "False", "(3, 3)"), bytes(9)), TOKENS + "--mask @"),
]


def accepted():
    """(file, bytes, words)"""
    made = [(name, checkpoint(header, data), INFO) for name, header, data in CHECKPOINTS]
    made += [(f"{kind}-smallest", weights(shapes), run(kind)) for kind, shapes in KINDS.items()]
    made += [(f"se-of-{dtype.lower()}", weights(SE, dtype=dtype), run("se")) for dtype in ("F64", "F16", "BF16")]
    strangers = weights(SE | {"num_batches_tracked": [], "fc.1.weight": [7]})
    nan = float("nan")
    made += [
        ("se-and-strangers", strangers, run("se")),
        ("se-of-nan", weights(SE, values=[nan, float("inf"), -float("inf"), nan]), run("se")),
        ("se-under-an-odd-prefix", weights({"..\n%s " .replace("\n", "\\n") + n: s for n, s in SE.items()}), "info @"),
        ("se-in-metadata", weights(SE, {"attentile.layer": "se", "attentile.alpha": "1e-3", "format": "pt"}),
         "run @ --input x.npy"),
        ("se-with-idle-metadata", weights(SE, {"Attentile.layer": "x", "attentileXlayer": "y"}), run("se")),
        ("se-of-vectors-with-axes-of-1", weights({"fc.0.weight": [1, 2, 1, 1, 1, 1, 1, 1], "fc.2.weight": [2, 1, 1]}), run("se")),
        ("cbam-res-eps-0", weights(KINDS["cbam-res"], {"attentile.eps": "0"}), run("cbam-res")),
    ]
    return [(name + ".safetensors", data, words) for name, data, words in made] + ARRAYS
