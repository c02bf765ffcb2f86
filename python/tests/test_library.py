# SPDX-License-Identifier: Apache-2.0
"""Finding the library, checking it, and the structs and functions against the headers."""
import ctypes
import os
import re
import shutil
import subprocess
import sys

import numpy
import pytest

import attentile
from attentile import _abi
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from lib import formats # noqa: E402

INCLUDE = ROOT / "include"
HEADERS = "".join((INCLUDE / "attentile" / name).read_text() for name in ("attentile.h", "io.h"))
compiler = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")


def imports(env, folder):
    """What a fresh interpreter says that imports the package from a folder."""
    code = "import attentile; print(attentile.library_path)"
    # Without what points to a library: meson sets the search path as well.
    others = {name: value for name, value in os.environ.items() if name not in ("ATTENTILE_LIBRARY", "LD_LIBRARY_PATH")}
    done = subprocess.run([sys.executable, "-B", "-c", code], env={**others, "PYTHONPATH": str(folder), **env}, cwd=folder,
                          capture_output=True, text=True)
    return done.stdout.strip() or done.stderr.strip()


def found(name):
    """The file of one of the two libraries in use."""
    core = os.path.realpath(attentile.library_path)
    places = [os.path.join(os.path.dirname(core), sub, f"{name}.so.{_abi.ABI}") for sub in ("", "io")]
    return next(place for place in places if os.path.exists(place))


@pytest.fixture
def copy(tmp_path):
    """A folder with the package and nothing around it."""
    shutil.copytree(os.path.dirname(attentile.__file__), tmp_path / "python/attentile",
                    ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "python"


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", attentile.__version__)
    assert tuple(map(int, attentile.__version__.split("."))) >= _abi.OLDEST


def test_places(copy):
    said, name = imports({}, copy), f"libattentile.so.{_abi.ABI}"
    if said == name:
        pytest.skip("the library is installed on this system")
    assert "ImportError: attentile: the library was not found. Tried:" in said
    for place in (copy / ".attentile.mesonpy.libs", copy.parent / "build/src"):
        assert f"  {place}/{name} (" in said
    assert f"\n  {name} (of the system): " in said and "set ATTENTILE_LIBRARY" in said


@pytest.mark.skipif(not os.path.isabs(attentile.library_path), reason="the system's library is in use")
def test_the_system(copy, tmp_path):
    """By the name that the loader looks for, wherever it does."""
    for name in ("libattentile", "libattentile-io"):
        (tmp_path / f"{name}.so.{_abi.ABI}").symlink_to(found(name))
    assert imports({"LD_LIBRARY_PATH": str(tmp_path)}, copy) == f"libattentile.so.{_abi.ABI}"


@pytest.mark.skipif(not os.path.isabs(attentile.library_path), reason="the system's library is in use")
def test_the_build_folder(copy):
    folder = copy.parent / "build/src/io"
    folder.mkdir(parents=True)
    (folder.parent / f"libattentile.so.{_abi.ABI}").symlink_to(found("libattentile"))
    (folder / f"libattentile-io.so.{_abi.ABI}").symlink_to(found("libattentile-io"))
    assert imports({}, copy) == str(folder.parent / f"libattentile.so.{_abi.ABI}")


def test_the_variable(copy):
    assert imports({"ATTENTILE_LIBRARY": attentile.library_path}, copy) == attentile.library_path
    said = imports({"ATTENTILE_LIBRARY": "/nowhere/libattentile.so"}, copy)
    assert "  /nowhere/libattentile.so (ATTENTILE_LIBRARY): " in said and "build/src" not in said


@compiler
@pytest.mark.parametrize("version, text", [
    ("0.0.9", "expected version 0.1.0 or newer, below 1, got 0.0.9"),
    ("1.0.0", "expected version 0.1.0 or newer, below 1, got 1.0.0"),
    ("0.1.0", "the library is older than this package"),
])
def test_other_libraries(copy, tmp_path, version, text):
    (tmp_path / "fake.c").write_text(f'const char *atl_version(void) {{ return "{version}"; }}\n')
    for name in ("libattentile.so", f"libattentile-io.so.{_abi.ABI}"):
        subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / name, tmp_path / "fake.c"], check=True)
    assert text in imports({"ATTENTILE_LIBRARY": str(tmp_path / "libattentile.so")}, copy)


@compiler
def test_structs(tmp_path):
    """Offset and size of every field, and the sizes of the structs, as the C compiler has them."""
    lines, want = [], []
    for name, struct in _abi.STRUCTS.items():
        lines.append(f'printf("%zu\\n", sizeof({name}));')
        want.append(ctypes.sizeof(struct))
        for field, *_ in struct._fields_:
            lines.append(f'printf("%zu\\n%zu\\n", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));')
            want += [getattr(struct, field).offset, getattr(struct, field).size]
    (tmp_path / "sizes.c").write_text("#include <attentile/attentile.h>\n#include <stdio.h>\nint main(void) {\n" +
                                      "\n".join(lines) + "\n}\n")
    subprocess.run(["cc", "-I", INCLUDE, "-o", tmp_path / "sizes", tmp_path / "sizes.c"], check=True)
    got = [int(line) for line in subprocess.run([tmp_path / "sizes"], capture_output=True, check=True).stdout.split()]
    assert got == want


def test_constants():
    defined = dict(re.findall(r"#define (ATL_\w+) (\d+)", HEADERS))
    assert _abi.ABI == int(defined["ATL_ABI_VERSION"]) and _abi.MAX_RANK == int(defined["ATL_MAX_RANK"])
    listed = dict(re.findall(r"\b(ATL_\w+) = (\d+)", HEADERS))
    for status in attentile.Status:
        assert int(listed[f"ATL_{status.name}"]) == status
    short = {"float": "F", "bfloat": "BF", "int": "I", "uint": "U"}
    for name, number in _abi.DTYPES.items():
        word, bits = re.fullmatch(r"([a-z]+)(\d*)", name).groups()
        if word != "void":
            assert int(listed["ATL_" + (short[word] + bits if bits else "BOOL")]) == number
    assert int(listed["ATL_OTHER"]) == _abi.OTHER


@pytest.mark.parametrize("name", [*_abi.CORE, *_abi.IO])
def test_functions(name):
    """As many parameters as the header has, pointers where it has pointers."""
    result, arguments = {**_abi.CORE, **_abi.IO}[name]
    declared = re.search(rf"ATL_API ([^;]*?)\b{name}\(([^)]*)\)", HEADERS)
    given = [] if declared[2].strip() == "void" else declared[2].split(",")
    assert len(given) == len(arguments)
    scalars = (ctypes.c_int, ctypes.c_int64, ctypes.c_size_t)
    assert ["*" in one for one in given] == [one not in scalars for one in arguments]
    assert ("*" in declared[1]) == (result not in (None, *scalars))


def test_the_readme(tmp_path, monkeypatch):
    """Its example runs as it stands, next to a checkpoint of the name that it uses."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    example = [block for block in blocks if "import attentile" in block]
    assert len(example) == 1
    rng = numpy.random.default_rng(1)
    shapes = {"query_conv.weight": (8, 64), "key_conv.weight": (8, 64), "value_conv.weight": (64, 64), "gamma": ()}
    parts = {name: (rng.standard_normal(shape) * 0.1).astype(numpy.float32) for name, shape in shapes.items()}
    formats.write_safetensors(tmp_path / "sagan.safetensors",
                              {name: ("F32", part.shape, part.tobytes()) for name, part in parts.items()})
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example[0], names)
    assert names["call"]() is names["y"] and names["rows"].shape == (2, 3, 4096)
    assert names["z"].shape == names["q"].shape and names["se"].kind == "se"
