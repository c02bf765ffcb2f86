# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are refused for their format: (name, header, bytes of data) each, and some written byte by byte."""


def t(name, offsets):
    """A member of a header around which everything is right."""
    return '"' + name + '":{"dtype":"U8","shape":[1],"data_offsets":' + offsets + "}"


def shape(sizes, offsets):
    return '{"a":{"dtype":"U8","shape":' + sizes + ',"data_offsets":' + offsets + "}}"


def dtype(word):
    return '{"a":{"dtype":' + word + ',"shape":[1],"data_offsets":[0,1]}}'


def meta(value):
    return '{"__metadata__":' + value + "}"


def checkpoint(header, data):
    """`data` is bytes, or how many of them, which then count up. Headers are latin-1, so that \\xNN is a byte."""
    header = header.encode("latin-1") if isinstance(header, str) else header
    data = bytes(i % 256 for i in range(data)) if isinstance(data, int) else data
    return len(header).to_bytes(8, "little") + header + data


JSON = [
    ("space-first", " {" + t("a", "[0,1]") + "}", 1),
    ("byte-order-mark", "\xef\xbb\xbf{}", 0),
    ("array", "[]", 0),
    ("string", '"a"', 0),
    ("not-json", "PK\x03\x04", 0),
    ("only-opening-brace", "{ ", 0),
    ("no-closing-brace", "{" + t("a", "[0,1]") + " ", 1),
    ("extra-closing-brace", "{" + t("a", "[0,1]") + "}}", 1),
    ("two-objects", "{}{}", 0),
    ("comma-after-last", "{" + t("a", "[0,1]") + ",}", 1),
    ("comma-first", "{," + t("a", "[0,1]") + "}", 1),
    ("two-commas", "{" + t("a", "[0,1]") + ",," + t("b", "[1,2]") + "}", 2),
    ("no-comma", "{" + t("a", "[0,1]") + t("b", "[1,2]") + "}", 2),
    ("no-colon", '{"a" {}}', 0),
    ("comment", "{/**/}", 0),
    ("single-quotes", "{'a':{}}", 0),
    ("name-without-quotes", "{a:{}}", 0),
    ("number-as-name", "{1:{}}", 0),
    ("name-without-end", '{"a', 0),
    ("escape-at-end", '{"a\\', 0),
    ("unknown-escape", '{"\\x41":{}}', 0),
    ("escaped-quote-as-end", '{"a\\":{}}', 0),
    ("short-u-escape", '{"\\u12":{}}', 0),
    ("u-escape-with-sign", '{"\\u+123":{}}', 0),
    ("u-escape-at-end", '{"\\u', 0),
    ("escaped-nul", "{" + t("a\\u0000b", "[0,1]") + "}", 1),
    ("lone-high-surrogate", "{" + t("\\ud800", "[0,1]") + "}", 1),
    ("lone-low-surrogate", "{" + t("\\udc00", "[0,1]") + "}", 1),
    ("two-high-surrogates", "{" + t("\\ud800\\ud800", "[0,1]") + "}", 1),
    ("high-surrogate-and-letter", "{" + t("\\ud800\\u0041", "[0,1]") + "}", 1),
    ("raw-newline-in-name", "{" + t("a\nb", "[0,1]") + "}", 1),
    ("raw-tab-in-name", "{" + t("a\tb", "[0,1]") + "}", 1),
    ("latin-1", "{" + t("\xe9", "[0,1]") + "}", 1),
    ("lone-continuation-byte", "{" + t("\x80", "[0,1]") + "}", 1),
    ("overlong-slash", "{" + t("\xc0\xaf", "[0,1]") + "}", 1),
    ("overlong-three-byte-form", "{" + t("\xe0\x80\xaf", "[0,1]") + "}", 1),
    ("overlong-four-byte-form", "{" + t("\xf0\x80\x80\xaf", "[0,1]") + "}", 1),
    ("surrogate-in-utf-8", "{" + t("\xed\xa0\x80", "[0,1]") + "}", 1),
    ("past-u-10ffff", "{" + t("\xf4\x90\x80\x80", "[0,1]") + "}", 1),
    ("five-byte-form", "{" + t("\xf8\x88\x80\x80\x80", "[0,1]") + "}", 1),
    ("character-cut-by-end", '{"a\xe2\x82', 0),
    ("byte-ff-outside-string", "{\xff}", 0),
    ("vertical-tab-as-white-space", "{\v}", 0),
    ("nul-after-object", "{}\0", 0),
    ("nul-in-object", "{\0}", 0),
    ("nul-in-name", '{"\0":{}}', 0),
    ("utf-16", "{\0}\0", 0),
    ("form-feed-first", "\f{}", 0),
    ("spaces-alone", " " * 64, 0),
    ("number-alone", "12345678", 0),
    ("null-alone", "null", 0),
    ("escaped-slash-without-end", '{"\\/', 0),
    ("delete-character-outside-string", "{\x7f}", 0),
    ("deep-arrays", "[" * 4000, 0),
    ("deep-objects", '{"a":' * 2000, 0),
    ("deep-shape", shape("[" * 2000 + "1" + "]" * 2000, "[0,1]"), 1),
    ("deep-metadata", meta('{"a":' * 1000 + "{}" + "}" * 1000), 0),
]

ENTRIES = [
    ("entry-that-is-null", '{"a":null}', 0),
    ("entry-that-is-array", '{"a":["U8",[1],[0,1]]}', 1),
    ("entry-that-is-number", '{"a":1}', 0),
    ("empty-entry", '{"a":{}}', 0),
    ("no-dtype", '{"a":{"shape":[1],"data_offsets":[0,1]}}', 1),
    ("no-shape", '{"a":{"dtype":"U8","data_offsets":[0,1]}}', 1),
    ("no-data-offsets", '{"a":{"dtype":"U8","shape":[1]}}', 1),
    ("unknown-field", '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}', 1),
    ("field-in-wrong-case", '{"a":{"Dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
    ("dtype-twice", '{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
    ("shape-twice-once-escaped", '{"a":{"dtype":"U8","shape":[1],"sh\\u0061pe":[1],"data_offsets":[0,1]}}', 1),
    ("data-offsets-twice", '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"data_offsets":[0,1]}}', 1),
    ("unknown-dtype", dtype('"F12"'), 1),
    ("empty-dtype", dtype('""'), 1),
    ("dtype-in-lower-case", dtype('"u8"'), 1),
    ("dtype-of-numpy", dtype('"uint8"'), 1),
    ("dtype-with-space", dtype('"U8 "'), 1),
    ("dtype-that-is-null", dtype("null"), 1),
    ("dtype-that-is-number", dtype("8"), 1),
    ("dtype-that-is-object", dtype('{"U8":null}'), 1),
    ("shape-that-is-number", shape("1", "[0,1]"), 1),
    ("shape-that-is-null", shape("null", "[0,1]"), 1),
    ("shape-that-is-string", shape('"[1]"', "[0,1]"), 1),
    ("shape-of-strings", shape('["1"]', "[0,1]"), 1),
    ("shape-of-arrays", shape("[[1]]", "[0,1]"), 1),
    ("shape-of-booleans", shape("[true]", "[0,1]"), 1),
    ("negative-size", shape("[-1]", "[0,1]"), 1),
    ("two-negative-sizes", shape("[-1,-1]", "[0,1]"), 1),
    ("minus-zero", shape("[1]", "[-0,1]"), 1),
    ("size-with-fraction", shape("[1.0]", "[0,1]"), 1),
    ("size-with-exponent", shape("[1e0]", "[0,1]"), 1),
    ("size-in-hexadecimal", shape("[0x1]", "[0,1]"), 1),
    ("leading-zero", shape("[01]", "[0,1]"), 1),
    ("leading-plus", shape("[+1]", "[0,1]"), 1),
    ("size-of-2-to-63", shape("[9223372036854775808]", "[0,1]"), 1),
    ("size-of-2-to-64-plus-1", shape("[18446744073709551617]", "[0,1]"), 1),
    ("size-of-400-digits", shape("[" + "1" * 400 + "]", "[0,1]"), 1),
    ("nine-axes", shape("[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1),
    ("comma-after-last-size", shape("[1,]", "[0,1]"), 1),
    ("no-comma-between-sizes", shape("[1 1]", "[0,1]"), 1),
    ("array-without-end", '{"a":{"dtype":"U8","shape":[1', 1),
    ("product-of-2-to-64", shape("[4294967296,4294967296]", "[0,0]"), 0),
    ("product-of-2-to-64-plus-2-to-33-plus-1", shape("[4294967297,4294967297]", "[0,1]"), 1),
    ("product-that-zero-would-hide", shape("[4294967296,4294967296,0]", "[0,0]"), 0),
    ("2-to-61-elements-of-64-bits", '{"a":{"dtype":"I64","shape":[2305843009213693952],"data_offsets":[0,0]}}', 0),
    ("half-byte", '{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}', 2),
    ("six-bits", '{"a":{"dtype":"F6_E2M3","shape":[1],"data_offsets":[0,1]}}', 1),
    ("one-offset", shape("[1]", "[0]"), 1),
    ("no-offsets", shape("[1]", "[]"), 1),
    ("three-offsets", shape("[1]", "[0,1,1]"), 1),
    ("offsets-that-are-object", shape("[1]", "{}"), 1),
    ("offset-that-is-null", shape("[1]", "[null,1]"), 1),
    ("end-before-begin", shape("[1]", "[1,0]"), 1),
    ("end-at-2-to-64-minus-1", shape("[1]", "[0,18446744073709551615]"), 1),
    ("offsets-longer-than-shape", shape("[1]", "[0,2]"), 2),
    ("offsets-shorter-than-shape", shape("[2]", "[0,1]"), 1),
    ("elements-counted-as-bytes", '{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}}', 4),
    ("scalar-without-data", shape("[]", "[0,0]"), 0),
    ("entry-that-is-string", '{"a":"U8"}', 0),
    ("entry-that-is-true", '{"a":true}', 0),
    ("extra-field-null", '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"":null}}', 1),
    ("nested-entry", '{"a":' + shape("[1]", "[0,1]") + "}", 1),
    ("size-nan", shape("[NaN]", "[0,1]"), 1),
    ("size-infinity", shape("[Infinity]", "[0,1]"), 1),
    ("size-of-2-to-64-minus-1", shape("[18446744073709551615]", "[0,1]"), 1),
    ("size-with-underscore", shape("[1_0]", "[0,10]"), 10),
    ("20001-axes", shape("[" + "1," * 20000 + "1]", "[0,1]"), 1),
    ("negative-offsets", shape("[1]", "[-1,0]"), 1),
    ("offsets-of-strings", shape("[1]", '["0","1"]'), 1),
    ("offset-with-fraction", shape("[1]", "[0.0,1]"), 1),
    ("begin-at-2-to-64-minus-1", shape("[1]", "[18446744073709551615,0]"), 1),
    ("offsets-that-are-null", shape("[1]", "null"), 1),
    ("bits-of-2-to-63", '{"a":{"dtype":"F64","shape":[144115188075855872],"data_offsets":[0,0]}}', 0),
    ("dtype-of-300-bytes", dtype('"' + "F" * 300 + '"'), 1),
    ("dtype-escaped-newline", dtype('"U8\\n"'), 1),
]

LAYOUTS = [
    ("hole-at-start", shape("[1]", "[1,2]"), 2),
    ("hole-between", "{" + t("a", "[0,1]") + "," + t("b", "[2,3]") + "}", 3),
    ("overlap", '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},' + t("b", "[1,2]") + "}", 2),
    ("same-place-twice", "{" + t("a", "[0,1]") + "," + t("b", "[0,1]") + "}", 1),
    ("one-inside-another", '{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},' + t("b", "[1,2]") + "}", 3),
    ("data-missing-at-end", shape("[2]", "[0,2]"), 1),
    ("all-data-missing", shape("[2]", "[0,2]"), 0),
    ("data-left-over", shape("[2]", "[0,2]"), 3),
    ("data-without-tensors", "{}", 1),
    ("no-elements-past-end", shape("[0]", "[1,1]"), 1),
    ("no-elements-inside-another-tensor", '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"z":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}', 2),
    ("far-offsets", shape("[1]", "[9223372036854775806,9223372036854775807]"), 1),
    ("name-twice", "{" + t("a", "[0,1]") + "," + t("a", "[1,2]") + "}", 2),
    ("name-twice-once-escaped", "{" + t("a", "[0,1]") + "," + t("\\u0061", "[1,2]") + "}", 2),
    ("name-twice-far-apart", "{" + t("a", "[0,1]") + "," + t("b", "[1,2]") + "," + t("a", "[2,3]") + "}", 3),
    ("metadata-twice", '{"__metadata__":{},"__metadata__":{}}', 0),
    ("metadata-twice-once-escaped", '{"__metadata__":{},"\\u005f_metadata__":{}}', 0),
    ("metadata-key-twice", meta('{"a":"1","b":"","a":"1"}'), 0),
    ("metadata-that-is-null", meta("null"), 0),
    ("metadata-that-is-string", meta('"pt"'), 0),
    ("metadata-that-is-array", meta("[]"), 0),
    ("metadata-value-that-is-number", meta('{"a":1}'), 0),
    ("metadata-value-that-is-null", meta('{"a":null}'), 0),
    ("metadata-value-that-is-object", meta('{"a":{}}'), 0),
    ("metadata-that-is-tensor", "{" + t("__metadata__", "[0,1]") + "}", 1),
    ("overlap-by-one-of-three", "{" + t("a", "[0,1]") + ',"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},' + t("c", "[2,3]") + "}", 3),
    ("hole-at-end", "{" + t("a", "[0,1]") + "," + t("b", "[1,2]") + "}", 4),
    ("name-of-3000-bytes", '{"' + "n" * 3000 + '":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}', 1),
    ("name-of-controls", '{"a\\n\\u001b[31m\\u0007":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}', 1),
    ("name-of-c1-controls", '{"\\u009b31m\\u0085\xc2\x9d":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}', 1),
    ("name-of-format-words", '{"%s%n%d":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}', 1),
    ("name-of-emoji-cut", '{"' + "\xf0\x9f\x98\x80" * 40 + '":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}', 1),
    ("empty-name-twice", "{" + t("", "[0,1]") + "," + t("", "[1,2]") + "}", 2),
    ("terabyte-claimed", shape("[1099511627776]", "[0,1099511627776]"), 4),
    ("exabyte-claimed", shape("[1152921504606846975]", "[0,1152921504606846975]"), 4),
    ("pair-key-empty-twice", meta('{"":"","":""}'), 0),
    ("metadata-deeper", meta('{"a":["x"]}'), 0),
]

# Without a header's length, or with a wrong one.
BEGINNINGS = [
    ("empty-file", b""),
    ("one-byte", b"\x02"),
    ("seven-bytes", b"\2\0\0\0\0\0\0"),
    ("length-alone", b"\2\0\0\0\0\0\0\0"),
    ("length-0", b"\0\0\0\0\0\0\0\0{}"),
    ("length-1", b"\1\0\0\0\0\0\0\0{}"),
    ("length-over-file", b"\3\0\0\0\0\0\0\0{}"),
    ("length-over-limit", b"\x01\xe1\xf5\x05\0\0\0\0{}"),
    ("length-2-to-31", b"\0\0\0\x80\0\0\0\0{}"),
    ("length-2-to-32-plus-2", b"\2\0\0\0\1\0\0\0{}"),
    ("length-2-to-63", b"\0\0\0\0\0\0\0\x80{}"),
    ("length-2-to-63-minus-1", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}"),
    ("length-2-to-64-minus-8", b"\xf8\xff\xff\xff\xff\xff\xff\xff{}"),
    ("length-2-to-64-minus-1", b"\xff\xff\xff\xff\xff\xff\xff\xff{}"),
    ("length-big-endian", b"\0\0\0\0\0\0\0\2{}"),
    ("length-as-text", b"00000002{}"),
    ("length-missing", b"{}" + b" " * 30),
    ("pickle", b"\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20"),
    ("zip-of-pytorch", b"PK\3\4\0\0\x08\x08\0\0" + b"archive/data.pkl" + bytes(40)),
    ("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(32)),
    ("numpy-array", b"\x93NUMPY\1\0\x76\0{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"),
    ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\3\xab\xae\5\0C\xbf\xa6\xa3\2\0\0\0"),
    ("html", b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>\n"),
    ("git-lfs-pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"),
]


def cut(whole):
    """A good file cut at every place that means something."""
    return [(f"cut-at-{at}", whole[:at]) for at in (4, 9, 40, len(whole) - 5, len(whole) - 1)]


def refused():
    """name -> bytes"""
    good = checkpoint("{" + t("a", "[0,1]") + ',"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}', 9)
    made = [(name, checkpoint(header, data)) for name, header, data in JSON + ENTRIES + LAYOUTS]
    return made + BEGINNINGS + cut(good)
