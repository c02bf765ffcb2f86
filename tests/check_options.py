#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is made of the command's tables of options: help, manual pages, completion for bash, zsh and fish.

check_options.py COMMAND: prints a line per rule and fails when one is broken. The shells and the page checkers that are not
installed are skipped, which is said.
"""
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))
from rules import broken, rule  # noqa: E402

command = pathlib.Path(sys.argv[1]).resolve()


def attentile(*words):
    return subprocess.run([command, *words], capture_output=True, text=True, check=True).stdout


def differences(expected, got, what):
    return [f"{what}: expected {sorted(expected)}, got {sorted(got)}"] if set(expected) != set(got) else []


options = {}
for line in attentile("generate", "options").splitlines():
    name, option, value, _ = line.split()
    options.setdefault(name, {})[option] = None if value == "-" else value
names = list(options)
everything = [(name, option, value) for name in names for option, value in options[name].items()]
rule("the command has subcommands and they have options", len(everything), [] if len(names) > 4 else [names])

# ---- help ----

helps = {name: attentile(name, "--help") for name in names}
rule("--help shows every option with its value", len(everything), [
    f"{name}: {option}" for name, option, value in everything
    if not re.search(rf"^  {option}{' ' + re.escape(value) if value else ''}(\s|$)", helps[name], re.M)])
rule("--help has nothing that the table lacks", len(names), [
    f"{name}: {option}" for name in names for option in re.findall(r"^  (--[\w-]+)", helps[name], re.M)
    if option not in options[name] and option != "--help"])
rule("--help has examples, which use options that exist", len(names), [
    f"{name}: {word}" for name in names
    for word in re.findall(r"--[\w-]+", helps[name].split("\nExamples:\n")[1]) or ["--help"]
    if word not in options[name] and word != "--help"])

# ---- manual pages ----

pages = {"attentile": attentile("generate", "man")} | {f"attentile-{n}": attentile("generate", "man", n) for n in names}


def shown(name):
    """The page as plain text: with options as they are typed."""
    return re.sub(r"\\f[A-Z]|\\&", "", pages[name]).replace(r"\-", "-").replace(r"\(aq", "'")


rule("each option stands in its manual page", len(everything), [
    f"{name}: {option}" for name, option, value in everything
    if not re.search(rf"^\.TP\n{option}{' ' + re.escape(value) if value else ''}$", shown(f"attentile-{name}"), re.M)])
rule("the command's page names every subcommand", len(names), [n for n in names if f"attentile-{n}(1)" not in shown("attentile")])
rule("pages have what the help says", len(names), [
    f"{name}: {line}" for name in names for line in helps[name].split("\nExamples:\n")[1].splitlines()
    if line not in re.sub(r"\\\((ga|ha|ti|dq)", lambda m: {"ga": "`", "ha": "^", "ti": "~", "dq": '"'}[m[1]],
                          shown(f"attentile-{name}")).replace(r"\e", "\\")])


def complaints(tool, page):
    with tempfile.NamedTemporaryFile("w", suffix=".1") as file:
        file.write(pages[page])
        file.flush()
        # A page that is built again must be the same: it has no date, but the version.
        done = subprocess.run([*tool, file.name], capture_output=True, text=True, env=os.environ | {"LC_ALL": "C.UTF-8"})
        said = (done.stdout if tool[0] == "mandoc" else "") + done.stderr
    return [line for line in said.splitlines() if "missing date" not in line]


for tool in (["mandoc", "-T", "lint", "-W", "warning"], ["man", "--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l"]):
    if shutil.which(tool[0]):
        rule(f"{tool[0]} finds nothing wrong with the pages", len(pages), [c for page in pages for c in complaints(tool, page)])
    else:
        print(f"skip pages with {tool[0]}: not installed")

# ---- completion ----

kinds = {"auto"} | set(re.findall(r"^  ([a-z][\w-]+)$", re.search(r"kinds of layer\n((?:  .*\n)+)", attentile("info"))[1], re.M))
FILES = ["a.npy", "b c.npy", "w.safetensors", "note.txt"]

WORDS = {"KIND": kinds, "ISA": {"scalar", "avx2", "avx512", "neon"}, "SUITE": {"layers", "masks", "growth"}}


def offered(value):
    """What must be offered for a value of that name: words, files, folders, or nothing."""
    if value in WORDS:
        return WORDS[value]
    ending = re.search(r"\.[a-z]+$", value)
    files = [f for f in FILES if value == "FILE" or ending and f.endswith(ending[0])]
    return {*files, "folder"} if files or value == "DIR" else set()


# (words typed, what must be offered)
cases = [(["attentile", ""], {*names}), (["attentile", "in"], {"info"}),
         *((["attentile", name, option, ""], offered(value)) for name, option, value in everything if value),
         *((["attentile", name, "--"], {*options[name], "--help"}) for name in names),
         (["attentile", "run", "--layer", "s"], {k for k in kinds if k[0] == "s"}),
         (["attentile", "check", "--isa", "av"], {"avx2", "avx512"})]
file_cases = [(["attentile", "run", "--output", "b"], {"b c.npy"}), (["attentile", "info", ""], {"w.safetensors", "folder"})]

BASH = """source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _attentile
for reply in "${COMPREPLY[@]}"; do echo "$reply"; done"""
LOADER = """unset XDG_DATA_HOME; source /usr/share/bash-completion/bash_completion; complete -p attentile 2>/dev/null && exit 3
_completion_loader attentile; complete -p attentile"""


def bash(script, *words, **more):
    done = subprocess.run(["bash", "--norc", "-c", script, "bash", *words], capture_output=True, text=True, **more)
    return {line for line in done.stdout.splitlines() if line} if done.returncode == 0 and not done.stderr else {done.stderr}


def check_bash(scripts, folder):
    file = scripts / "attentile.bash"
    faults = []
    more = [(["attentile", ""], {*names, "--help", "--version"}), (["attentile", "check", "--isa", "=", "neo"], {"neon"}),
            (["attentile", "check", "--isa", "="], {"scalar", "avx2", "avx512", "neon"})]
    for words, expected in cases[1:] + file_cases + more:
        faults += differences(expected, bash(BASH, str(file), *words, cwd=folder), " ".join(words))
    rule("bash completes subcommands, options and values", len(cases), faults)
    if not os.path.exists("/usr/share/bash-completion/bash_completion"):
        print("skip the loader of bash-completion: not installed")
        return
    place = scripts / "share/bash-completion/completions"
    place.mkdir(parents=True)
    shutil.copy(file, place)
    loaded = bash(LOADER, env=os.environ | {"XDG_DATA_DIRS": str(scripts / "share")})
    rule("bash-completion finds it by itself", 1, differences({"complete -F _attentile attentile"}, loaded, "loader"))


def fish(scripts, folder, line):
    done = subprocess.run(["fish", "--no-config", "-c", f"source {scripts}/attentile.fish; complete -C '{line}'"], cwd=folder,
                          capture_output=True, text=True, env=os.environ | {"HOME": str(folder)})
    if done.returncode or done.stderr:
        return {done.stderr}
    return {item.split("\t")[0].rstrip("/") for item in done.stdout.splitlines()}


def check_fish(scripts, folder):
    if not shutil.which("fish"):
        print("skip completion in fish: not installed")
        return
    faults = []
    for words, expected in cases + file_cases:
        got = fish(scripts, folder, " ".join(words))
        # of files, fish offers those of any ending
        got -= {*FILES, "folder"} - expected if {*FILES, "folder"} & expected else set()
        faults += differences(expected, got, " ".join(words))
    faults += differences({"--isa=avx2", "--isa=avx512"}, fish(scripts, folder, "attentile check --isa=av"), "--isa=av")
    rule("fish completes subcommands, options and values", len(cases), faults)


def zsh(scripts, folder, line, wanted):
    """Types the line and a tab into a zsh; what it then shows, up to `wanted` or a few seconds' silence."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe("zsh", ["zsh", "-f", "-i"], os.environ | {"TERM": "dumb", "HOME": str(folder), "COLUMNS": "200"})
    said = ""

    def read_until(text, seconds):
        nonlocal said
        end = time.monotonic() + seconds
        while text not in said and select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            try:
                said += os.read(terminal, 65536).decode(errors="replace")
            except OSError:
                return

    os.write(terminal, f"fpath=({scripts} $fpath); autoload -Uz compinit; compinit -D -u; echo re''ady\n".encode())
    read_until("ready", 20)
    said = ""
    os.write(terminal, f"{line}\t".encode())
    read_until(wanted, 20)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(terminal)
    return said


def check_zsh(scripts, folder):
    if not shutil.which("zsh"):
        print("skip completion in zsh: not installed")
        return
    text = (scripts / "_attentile").read_text()
    parsed = subprocess.run(["zsh", "-n", scripts / "_attentile"], capture_output=True, text=True)
    rule("zsh accepts its completion", 1, [parsed.stderr] if parsed.returncode or parsed.stderr else [])
    blocks = {name: text.split(f"        {name})\n")[1].split("\n            ;;")[0] for name in names}
    rule("zsh knows every option", len(everything), [
        f"{name}: {option}" for name, option, value in everything
        if not re.search(rf"^ +'\*?{option}{'=' if value else ''}\[", blocks[name], re.M)])
    typed = {"attentile inf": "info", "attentile run --lay": "--layer", "attentile check --isa=avx5": "avx512",
             "attentile run --layer non": "non-local", "attentile run --input a": "a.npy", "attentile bench --fil": "--filter",
             "attentile info w": "w.safetensors"}
    rule("zsh completes what is typed", len(typed), [
        f"{line}: {said!r}" for line, wanted in typed.items() if wanted not in (said := zsh(scripts, folder, line, wanted))])


with tempfile.TemporaryDirectory() as temporary:
    scripts, folder = (pathlib.Path(temporary).resolve() / name for name in ("scripts", "work"))
    scripts.mkdir()
    (folder / "folder").mkdir(parents=True)
    for file in FILES:
        (folder / file).touch()
    for shell, file in (("bash", "attentile.bash"), ("zsh", "_attentile"), ("fish", "attentile.fish")):
        (scripts / file).write_text(attentile("generate", shell))
    for check in (check_bash, check_zsh, check_fish):
        check(scripts, folder)

sys.exit(len(broken) > 0)
