# SPDX-License-Identifier: Apache-2.0
"""Arrays that are refused for their format: (name, header's literal, bytes of data) each, and some written byte by byte."""

MAGIC = b"\x93NUMPY"


def plain(descr, order, shape):
    return "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }\n"


def descr(word):
    return plain(word, "False", "(2,)")


def shape(sizes):
    return plain("'|u1'", "False", sizes)


def array(literal, data, version=1):
    """`data` is bytes, or how many of them, which then count up. Literals are latin-1, so that \\xNN is a byte."""
    text = literal.encode("latin-1")
    data = bytes(i % 256 for i in range(data)) if isinstance(data, int) else data
    return MAGIC + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text + data


TYPES = [
    ("pickled-objects", descr("'|O'"), 2),
    ("pickled-objects-in-words", descr("'|O8'"), 16),
    ("big-endian-floats", descr("'>f4'"), 8),
    ("big-endian-integers", descr("'>i2'"), 4),
    ("native-order", descr("'=f4'"), 8),
    ("no-order", descr("'f4'"), 8),
    ("wide-type-without-order", descr("'|f4'"), 8),
    ("complex-numbers", descr("'<c8'"), 16),
    ("long-doubles", descr("'<f16'"), 32),
    ("unsigned-words", descr("'<u4'"), 8),
    ("unicode-text", descr("'<U5'"), 40),
    ("bytes", descr("'|S3'"), 6),
    ("voids", descr("'|V4'"), 8),
    ("dates", descr("'<M8[ns]'"), 16),
    ("empty-dtype", descr("''"), 2),
    ("order-alone", descr("'<'"), 2),
    ("dtype-by-name", descr("'float32'"), 8),
    ("dtype-and-more", descr("'<f4 '"), 8),
    ("structured-dtype", descr("[('x', '<f4'), ('y', '<f4')]"), 16),
    ("sub-array-dtype", descr("('<f4', (2,))"), 16),
    ("dtype-that-is-number", descr("4"), 2),
    ("dtype-that-is-none", descr("None"), 2),
    ("long-dtype", descr("'<f4444444444444444444444444444444444444'"), 2),
    ("escape-in-dtype", descr("'\\x3cf4'"), 8),
    ("prefixed-text", descr("u'<f4'"), 8),
    ("different-quotes", descr("'<f4\""), 8),
    ("structured-of-objects", descr("[('x', '|O')]"), 32),
    ("structured-empty", descr("[]"), 2),
    ("big-endian-doubles", descr("'>f8'"), 16),
    ("bfloat16", descr("'bfloat16'"), 4),
    ("void-2-as-bfloat16", descr("'|V2'"), 4),
    ("time-deltas", descr("'<m8[s]'"), 16),
    ("three-byte-integers", descr("'<i3'"), 6),
    ("huge-type", descr("'<f4000000000'"), 8),
    ("negative-type", descr("'<f-4'"), 8),
    ("object-and-more", descr("'|Object'"), 16),
]

SHAPES = [
    ("shape-number", shape("2"), 2),
    ("number-in-parentheses", shape("(2)"), 2),
    ("shape-list", shape("[2]"), 2),
    ("shape-none", shape("None"), 2),
    ("shape-only-comma", shape("(,)"), 2),
    ("two-commas", shape("(2,,)"), 2),
    ("no-comma-between", shape("(2 1)"), 2),
    ("inner-tuple", shape("((2,),)"), 2),
    ("open-tuple", "{'descr': '|u1', 'fortran_order': False, 'shape': (2,", 2),
    ("negative-size", shape("(-2,)"), 2),
    ("two-negative-sizes", shape("(-1, -2)"), 2),
    ("plus", shape("(+2,)"), 2),
    ("fraction", shape("(2.0,)"), 2),
    ("exponent", shape("(2e0,)"), 2),
    ("hexadecimal", shape("(0x2,)"), 2),
    ("underscore", shape("(1_0,)"), 10),
    ("leading-zero", shape("(02,)"), 2),
    ("long-integer-of-python-2", shape("(2L,)"), 2),
    ("sum", shape("(1+1,)"), 2),
    ("shape-text", shape("('2',)"), 2),
    ("true-for-1", shape("(True, 2)"), 2),
    ("size-0", shape("(0,)"), 0),
    ("size-0-among-others", shape("(2, 0, 3)"), 0),
    ("2-to-63", shape("(9223372036854775808,)"), 2),
    ("2-to-64-plus-2", shape("(18446744073709551618,)"), 2),
    ("product-of-2-to-64", shape("(4294967296, 4294967296)"), 0),
    ("product-of-2-to-64-plus-2", shape("(2, 9223372036854775807)"), 2),
    ("product-that-wraps-to-2", shape("(6, 3074457345618258603)"), 2),
    ("bytes-of-2-to-64", plain("'<f4'", "False", "(4611686018427387904,)"), 0),
    ("bytes-of-2-to-62", plain("'<f4'", "False", "(1152921504606846976,)"), 4),
    ("nine-axes", shape("(1, 1, 1, 1, 1, 1, 1, 1, 2)"), 2),
    ("one-byte-short", shape("(2,)"), 1),
    ("no-data", shape("(2,)"), 0),
    ("one-byte-over", shape("(2,)"), 3),
    ("elements-counted-as-bytes", plain("'<f8'", "False", "(2,)"), 2),
    ("scalar-without-data", shape("()"), 0),
    ("fortran-order", plain("'|u1'", "True", "(2, 1)"), 2),
    ("minus-zero", shape("(-0,)"), 0),
    ("size-none", shape("(None,)"), 2),
    ("size-of-400-digits", shape("(" + "1" * 400 + ",)"), 2),
    ("2-to-64-minus-1", shape("(18446744073709551615,)"), 2),
    ("2-to-63-minus-1", shape("(9223372036854775807,)"), 2),
    ("bytes-of-2-to-63", plain("'<f8'", "False", "(1152921504606846976,)"), 0),
    ("product-that-zero-would-hide", shape("(4294967296, 4294967296, 0)"), 0),
    ("product-that-wraps-in-32-bits", shape("(65536, 65536)"), 0),
    ("negative-that-wraps", shape("(2, -1, -1)"), 2),
    ("terabyte", plain("'<f4'", "False", "(274877906944,)"), 16),
    ("fortran-order-of-3-axes", plain("'<f4'", "True", "(1, 2, 2)"), 16),
    ("33-axes", shape("(" + "1, " * 33 + ")"), 1),
    ("deep-tuple", shape("(" * 3000 + ")" * 3000), 2),
    ("deep-sum", shape("(" + "-" * 3000 + "1,)"), 1),
]

LITERALS = [
    ("nothing", "", 2),
    ("white-space", "   \n", 2),
    ("header-list", "['descr', '|u1']", 2),
    ("empty-dictionary", "{}", 2),
    ("header-only-comma", "{,}", 2),
    ("open-dictionary", "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)", 2),
    ("open-dictionary-after-comma", "{'descr': '|u1', 'fortran_order': False, 'shape': (2,),", 2),
    ("something-after-it", shape("(2,)") + "x", 2),
    ("comment-after-it", shape("(2,)") + "# x", 2),
    ("two-dictionaries", shape("(2,)") + shape("(2,)"), 2),
    ("no-descr", "{'fortran_order': False, 'shape': (2,)}", 2),
    ("no-fortran-order", "{'descr': '|u1', 'shape': (2,)}", 2),
    ("no-shape", "{'descr': '|u1', 'fortran_order': False}", 2),
    ("unknown-key", "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), 'x': 1}", 2),
    ("key-twice", "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2,)}", 2),
    ("key-without-quotes", "{descr: '|u1', 'fortran_order': False, 'shape': (2,)}", 2),
    ("key-without-end", "{'descr", 2),
    ("no-colon", "{'descr' '|u1', 'fortran_order': False, 'shape': (2,)}", 2),
    ("no-comma", "{'descr': '|u1' 'fortran_order': False, 'shape': (2,)}", 2),
    ("json-false", "{'descr': '|u1', 'fortran_order': false, 'shape': (2,)}", 2),
    ("0-for-false", "{'descr': '|u1', 'fortran_order': 0, 'shape': (2,)}", 2),
    ("false-and-more", "{'descr': '|u1', 'fortran_order': Falsey, 'shape': (2,)}", 2),
    ("utf-8-in-key", "{'d\xc3\xa9scr': '|u1'}", 2),
    ("call", "__import__('os').system('true')", 2),
    ("set", "{'descr', 'shape'}", 2),
    ("values-swapped", "{'descr': False, 'fortran_order': '|u1', 'shape': (2,)}", 2),
    ("key-of-bytes", "{b'descr': '|u1', 'fortran_order': False, 'shape': (2,)}", 2),
    ("keys-of-python-2", "{u'descr': '|u1', u'fortran_order': False, u'shape': (2,)}", 2),
    ("key-of-another-case", "{'Descr': '|u1', 'fortran_order': False, 'shape': (2,)}", 2),
    ("nul-after-it", shape("(2,)") + "\0", 2),
    ("nul-in-it", "{'descr': '|u1',\0 'fortran_order': False, 'shape': (2,)}", 2),
    ("triple-quotes", "{'''descr''': '|u1', 'fortran_order': False, 'shape': (2,)}", 2),
    ("strings-side-by-side", "{'des' 'cr': '|u1', 'fortran_order': False, 'shape': (2,)}", 2),
    ("deep-dictionaries", "{'descr': " * 400, 2),
    ("deep-lists", "[" * 5000, 2),
    ("lambda", "{'descr': (lambda: '|u1')(), 'fortran_order': False, 'shape': (2,)}", 2),
    ("json", '{"descr": "|u1", "fortran_order": false, "shape": [2]}', 2),
    ("vertical-tab", "{'descr': '|u1',\v'fortran_order': False, 'shape': (2,)}", 2),
]

BEGINNINGS = [
    ("empty-file", b""),
    ("one-byte", b"\x93"),
    ("magic-alone", MAGIC),
    ("no-length", MAGIC + b"\1\0\0"),
    ("zip", b"PK\3\4\0\0\0\0\0\0\0\0"),
    ("magic-in-lower-case", b"\x93numpy\1\0\0\0"),
    ("magic-without-its-first-bit", b"\x13NUMPY\1\0\0\0"),
    ("version-0", MAGIC + b"\0\0\0\0\0\0"),
    ("version-4", MAGIC + b"\4\0\0\0\0\0"),
    ("version-1-1", MAGIC + b"\1\1\0\0\0\0"),
    ("version-255-255", MAGIC + b"\xff\xff\0\0\0\0"),
    ("header-of-0-bytes", MAGIC + b"\1\0\0\0"),
    ("header-one-byte-over-file", MAGIC + b"\1\0\3\0{}"),
    ("header-of-65535-bytes", MAGIC + b"\1\0\xff\xff{}"),
    ("version-2-cut-in-its-length", MAGIC + b"\2\0\0\0"),
    ("header-of-2-to-32-minus-1-bytes", MAGIC + b"\2\0\xff\xff\xff\xff{}"),
    ("header-of-2-to-31-bytes", MAGIC + b"\3\0\0\0\0\x80{}"),
    ("header-over-numpys-limit", array(shape("(2,)").ljust(10001), 2, 2)),
    ("pickle", b"\x80\4\x95\x12\0\0\0\0\0\0\0]\x94(K\1K\2e."),
    ("text-file", b"1.0 2.0 3.0\n4.0 5.0 6.0\n"),
    ("safetensors", b"\2\0\0\0\0\0\0\0{}"),
]


def refused():
    """name -> bytes. Versions take turns: the literal is read alike in all."""
    made = [(name, array(literal, data, 1 + i % 3)) for i, (name, literal, data) in enumerate(TYPES + SHAPES + LITERALS)]
    good = array(plain("'<f4'", "False", "(1, 2, 3, 3)"), 72)
    cut = [(f"cut-at-{at}", good[:at]) for at in (5, 8, 11, 40, len(good) - 71, len(good) - 1)]
    return made + BEGINNINGS + cut
