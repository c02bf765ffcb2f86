#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the command prints with --json, against docs/json/*.schema.json; and docs/json.md, whose tables are made of those.

check_json.py SOURCE COMMAND
check_json.py SOURCE --write       # writes the tables into docs/json.md

Exit status 77 when jsonschema is not installed; where continuous integration runs, that is a failure.
"""
import importlib.util
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))
import formats  # noqa: E402
from rules import broken, rule  # noqa: E402

source, writing = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2] == "--write"
command = pathlib.Path(sys.argv[2]).resolve()
# The command lines whose output a schema is for, in the order of the page.
LINES = {
    "run": ["run se.safetensors --layer auto --prefix a. --input x.npy --output y.npy",
            "run se.safetensors --layer se --prefix a. --input x.npy --output y.npy --repeat 3 --threads 1",
            "run attention.safetensors --layer auto --input one.npy --output y.npy --map a.npy"],
    "info": ["info", "info --threads 1"],
    "info-checkpoint": ["info se.safetensors", "info attention.safetensors", "info empty.safetensors"],
    "check": ["check --small", "check --small --kernels --isa scalar"],
    "bench": ["bench --shapes rows.txt --repetitions 2 --threads 1"],
    "bench-plan": ["bench --shapes rows.txt --plan-for 3", "bench --shapes rows.txt --plan-for 1"],
}
schemas = {name: json.loads((source / f"docs/json/{name}.schema.json").read_text()) for name in LINES}
page = source / "docs/json.md"


def strict(schema):
    """The schema with which this version's own output has to do: no field that is not described."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    return {"additionalProperties": False, **closed} if "properties" in schema else closed


# ---- the page ----


def words_of(schema):
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join("list" if name == "array" else name for name in types)


def table_rows(schema, path=""):
    """(field, type, description) of everything in a schema; a list's items are under "name[]"."""
    for name, field in schema.get("properties", {}).items():
        optional = "" if name in schema["required"] else " (not always there)"
        yield f"{path}{name}", words_of(field) + optional, field["description"]
        yield from table_rows(field, f"{path}{name}.")
        yield from table_rows(field.get("items", {}), f"{path}{name}[].")


def tables():
    text = ""
    for name, schema in schemas.items():
        text += f"\n## `{schema['title']}`\n\n{schema['description']} Schema: [`{name}.schema.json`](json/{name}.schema.json).\n\n"
        text += "| field | type | meaning |\n|---|---|---|\n"
        text += "".join(f"| `{field}` | {kind} | {description} |\n" for field, kind, description in table_rows(schema))
    return text


MARK = "<!-- What follows is made of the schemas, by tests/check_json.py SOURCE --write. -->\n"
before = page.read_text().split(MARK)[0]
if writing:
    page.write_text(before + MARK + tables())
    sys.exit()
rule("docs/json.md has the tables of the schemas", len(schemas),
     [] if page.read_text() == before + MARK + tables() else ["run tests/check_json.py . --write"])

# ---- the output ----

if not importlib.util.find_spec("jsonschema"):
    print(f"skip the command's JSON: {sys.executable} has no jsonschema")
    sys.exit(1 if os.environ.get("CI") or broken else 77)
import jsonschema  # noqa: E402


def faults_of(name, document):
    validator = jsonschema.Draft7Validator(strict(schemas[name]))
    return [f"{name}: {'.'.join(map(str, e.absolute_path))}: {e.message}" for e in validator.iter_errors(document)]


def floats(shape):
    return "F32", shape, struct.pack(f"<{math.prod(shape)}f", *range(1, math.prod(shape) + 1))


def put_files(folder):
    formats.write_safetensors(folder / "se.safetensors", {"a.fc.0.weight": floats([1, 2]), "a.fc.2.weight": floats([2, 1])}, {"format": "pt"})
    formats.write_safetensors(folder / "attention.safetensors", {f"{name}.weight": floats([1, 1]) for name in ("query_conv", "key_conv", "value_conv")}
                              | {"gamma": floats([1])})
    formats.write_safetensors(folder / "empty.safetensors", {})
    for name, shape in {"x.npy": [2, 2, 3, 3], "one.npy": [1, 1, 3, 3]}.items():
        formats.write_npy(folder / name, "<f4", shape, floats(shape)[2])
    (folder / "rows.txt").write_text("se a-row 1 4x5x3 hidden=2\nself-attention-spatial a-map 1 4x5x3 d=1 map=1\n")


def output_of(line, folder):
    """The JSON that a line prints; None where the build cannot measure."""
    done = subprocess.run([command, *line.split(), "--json"], capture_output=True, text=True, cwd=folder)
    if "this build cannot measure" in done.stderr:
        return None
    if done.returncode:
        sys.exit(f"{line}: exit status {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def spoilt(document):
    """The document with each of its fields missing in turn, of a name of its own, and of another type."""
    for key in document:
        rest = {k: v for k, v in document.items() if k != key}
        yield rest
        yield rest | {f"{key}_": document[key]}
        yield document | {key: [[]]}


with tempfile.TemporaryDirectory() as temporary:
    put_files(pathlib.Path(temporary))
    for schema in schemas.values():
        jsonschema.Draft7Validator.check_schema(schema)
    present = {path.name.split(".")[0] for path in (source / "docs/json").iterdir()}
    rule("there are lines for every schema", len(present), present ^ set(LINES))
    for name, lines in LINES.items():
        documents = [output_of(line, temporary) for line in lines]
        if None in documents:
            print(f"skip {name}: this build has no Google Benchmark")
            continue
        rule(f"{schemas[name]['title']} prints what its schema says", len(documents), [f for d in documents for f in faults_of(name, d)])
        optional = set(schemas[name]["properties"]) - set(schemas[name]["required"])
        wrong = [w for d in documents for w in spoilt({k: v for k, v in d.items() if k not in optional})]
        rule(f"the schema {name} refuses what is missing, unknown or of another type", len(wrong),
             [f"{name} accepts {str(w)[:200]}" for w in wrong if not faults_of(name, w)])

sys.exit(len(broken) > 0)
