#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the parts of bench/peers that need neither the peers nor their machine: rows, order, ratios and targets, pages, the
tables of README.md.

check_peers.py [unittest's options]
"""
import importlib.util
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
root = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root / "bench"))

from peers import child, isolate, machine, options, page, readme, report, results, rows, timing # noqa: E402

RECORD = root / "tests/lib/peers_record.json"


def contender(name, seconds, library=None, **more):
    library = library or (results.OURS if name == results.OURS else "torch")
    return {"name": name, "library": library, "status": "ok", "min_s": seconds, "median_s": seconds, "difference": 1e-7,
            **more}


def row(name="se-32x256x56x56", own=1.0, peer=2.0, bound=0.5, **more):
    """Bound by traffic: `bound` seconds at 1 GB/s."""
    limits = {"flops": 1e9, "exps": 0, "bytes": bound * 1e9, "fma_gflops": 1e3, "stream_gbs": 1.0, "flops_per_exp": 26}
    return {"kind": "se", "name": name, "batch": 1, "shape": [1, 1], "positions": 1, "bound": limits, "reference": "float64",
            "contenders": [contender(results.OURS, own), contender("eager", peer)], **more}


class Rows(unittest.TestCase):
    def test_a_line(self):
        found = rows.parse("multi-head  mha-1  4  512x768  bias=0 set.num_heads=12 m=2 # BERT")
        self.assertEqual(found, rows.Row("multi-head", "mha-1", 4, (512, 768), {"bias": 0, "m": 2}, {"num_heads": "12"}))
        self.assertEqual(found.positions, 768)
        self.assertEqual(found.width("bias", 1), 0)
        self.assertEqual(found.width("groups", 3), 3)

    def test_nothing(self):
        for line in ("", "   ", "# KIND NAME", "\t# more"):
            self.assertIsNone(rows.parse(line))

    def test_malformed_lines(self):
        for line in ("se", "se a 1", "se a 0 3x3", "se a 1 3x", "se a 1 x3", "se a 1 3x-1", "se a 1 3 hidden", "se a 1 3 =4",
                     "se a 1 3 hidden=", "se a 1 3 hidden=1.5", "se a one 3", "se a 1 3x3x0"):
            with self.assertRaises(ValueError, msg=line):
                rows.parse(line)

    def test_errors_name_file_and_line(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "se.txt").write_text("# fine\nse a 1 3x3\nse b\n")
            with self.assertRaisesRegex(ValueError, r"se\.txt:3: expected KIND NAME"):
                rows.read("se", pathlib.Path(folder))

    def test_the_lists(self):
        found = rows.read_all()
        names = [r.name for r in found]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual({r.kind for r in found}, set(report.WHAT))
        self.assertTrue(all(r.kind == kind for kind in rows.KINDS for r in rows.read(kind)))
        self.assertEqual([r.positions for r in rows.read(rows.GROWTH) if r.kind == "self-attention-spatial"],
                         [1024, 4096, 16384, 65536, 262144])
        for name in {*results.TARGETS, *results.MAP_ROWS, *results.MATRIX_BOUND, *results.SMALL}:
            self.assertIn(name, names)
        self.assertEqual(len(results.TARGETS), 23)
        self.assertLessEqual(set(results.SMALL), set(results.TARGETS))


class Timing(unittest.TestCase):
    def test_everyone_has_a_turn_in_every_round(self):
        firsts = set()
        for number in range(8):
            order = timing.order(4, number)
            self.assertEqual(sorted(order), [0, 1, 2, 3])
            firsts.add(order[0])
        self.assertEqual(firsts, {0, 1, 2, 3})
        self.assertNotEqual(timing.order(4, 0), timing.order(4, 1))
        neighbours = {(a, b) for n in range(8) for a, b in zip(timing.order(4, n), timing.order(4, n)[1:])}
        self.assertTrue(all((b, a) in neighbours for a, b in neighbours)) # nobody always follows the same one

    def test_rounds(self):
        calls, before = [], []
        times = timing.interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3,
                                  lambda: before.append(len(calls)))
        self.assertEqual([len(times[name].rounds) for name in "ab"], [3, 3])
        self.assertEqual(len(before), 3)
        self.assertLessEqual(times["a"].best, times["a"].median)
        self.assertGreater(times["a"].best, 0)
        self.assertGreater(calls.count("b"), 100) # a call of less than a microsecond is repeated

    def test_long_calls_get_a_turn_without_warm_up(self):
        calls = []
        self.assertEqual(len(timing.turn(lambda: calls.append(1), timing.LONE)), 1)
        self.assertEqual(len(calls), 1)

    def test_medians(self):
        times = timing.Times()
        for samples in ([3.0, 1.0, 2.0], [5.0], [9.0, 7.0]):
            times.add(samples)
        self.assertEqual((times.best, times.median), (1.0, 5.0))

    def test_a_busy_thread_is_waited_for(self):
        program = ("import threading, time; from peers import timing; end = time.perf_counter() + 0.2\n"
                   "def spin():\n    while time.perf_counter() < end: sum(range(50000))\n"
                   "threading.Thread(target=spin).start(); timing.settle(); print(time.perf_counter() >= end)")
        done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(root / "bench")},
                              capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.strip(), "True")


class Verdicts(unittest.TestCase):
    options = {"threads": 2, "isa": None}

    def test_ratio_by_the_fastest_that_is_fine(self):
        measured = row()
        measured["contenders"] += [contender("onnxruntime", 1.7, "onnxruntime"),
                                   {"name": "openvino", "library": "openvino", "status": "disagrees", "message": "differs"}]
        self.assertEqual(results.fastest_peer(measured)["name"], "onnxruntime")
        self.assertAlmostEqual(results.ratio(measured), 1.7)
        self.assertAlmostEqual(results.ratio(measured, ("torch",)), 2.0)
        self.assertAlmostEqual(results.bound_share(measured), 0.5)

    def test_reached_by_the_ratio(self):
        found = results.verdict(row(own=1.0, peer=1.5), self.options) # the target is 1.5
        self.assertEqual((found["passed"], found["why"]), (True, "ratio"))

    def test_missed_where_the_bound_allows_more(self):
        found = results.verdict(row(own=1.0, peer=1.49, bound=0.5), self.options)
        self.assertEqual((found["passed"], found["why"]), (False, "ratio"))
        # Just enough room: 1.65 = 1.1 x 1.5.
        found = results.verdict(row(own=0.99, peer=1.4, bound=1.4 / 1.66), self.options)
        self.assertEqual((found["passed"], found["why"]), (False, "ratio"))

    def test_the_bound_counts_where_it_leaves_no_room(self):
        close = results.verdict(row(own=1.0, peer=1.4, bound=0.89), self.options) # allows 1.57
        self.assertEqual((close["passed"], close["why"]), (True, "bound"))
        far = results.verdict(row(own=1.0, peer=1.4, bound=0.87), self.options)
        self.assertEqual((far["passed"], far["why"]), (False, "bound"))

    def test_without_target_or_peer_there_is_none(self):
        self.assertIsNone(results.verdict(row(name="se-8x512x28x28"), self.options)["passed"])
        alone = row()
        alone["contenders"] = alone["contenders"][:1]
        self.assertIsNone(results.verdict(alone, self.options)["passed"])
        self.assertIsNone(results.mean_ratio([alone], self.options))
        failed = row()
        failed["contenders"][0] = {"name": results.OURS, "library": results.OURS, "status": "failed", "message": "x"}
        self.assertIsNone(results.ratio(failed))
        self.assertIsNone(results.bound_share(failed))

    def test_one_thread(self):
        one = {"threads": 1}
        self.assertTrue(results.verdict(row(own=1.0, peer=1.01), one)["passed"])
        self.assertFalse(results.verdict(row(own=1.0, peer=0.99), one)["passed"])

    def test_avx2_is_against_pytorch_and_the_peak(self):
        capped, name = {"threads": 2, "isa": "avx2"}, "mha-8x197x768"
        measured = row(name=name, own=1e-3, peer=1.2e-3, bound=1e-6)
        measured["contenders"].append(contender("onnxruntime", 0.5e-3, "onnxruntime"))
        measured["bound"]["flops"] = 0.81e9
        self.assertTrue(results.verdict(measured, capped)["passed"])
        measured["bound"]["flops"] = 0.79e9
        found = results.verdict(measured, capped)
        self.assertEqual((found["passed"], found["why"]), (False, "peak"))
        self.assertNotIn(name, results.demands({"threads": 2})[2])

    def test_maps(self):
        found = results.verdict(row(name=results.MAP_ROWS[0], own=1.0, peer=1.6), {"section": "maps"})
        self.assertEqual((found["target"], found["passed"]), (results.MAP_TARGET, True))
        self.assertIsNone(results.verdict(row(), {"section": "sweep"})["target"])

    def test_bound(self):
        bound = {"flops": 1e12, "exps": 1e10, "bytes": 1e9, "fma_gflops": 100, "stream_gbs": 10, "flops_per_exp": 26}
        self.assertAlmostEqual(results.bound_seconds(bound), 12.6)
        self.assertAlmostEqual(results.bound_seconds({**bound, "bytes": 1e12}), 100)

    def test_means(self):
        self.assertAlmostEqual(results.geometric_mean([1.0, 4.0]), 2.0)
        self.assertIsNone(results.geometric_mean([]))
        found = [row(own=1.0, peer=2.0), row(name="se-32x2048x7x7", own=1.0, peer=8.0), row(name="se-8x512x28x28", peer=99.0)]
        self.assertAlmostEqual(results.mean_ratio(found, self.options), 4.0) # the last one has no target

    def test_masks_and_scaling(self):
        entry = {"calls": {"attentile none": {"min_s": 2.0}, "attentile causal": {"min_s": 1.0}, "sdpa none": {"min_s": 9.0}}}
        self.assertAlmostEqual(results.mask_cost(entry, "attentile causal"), 0.5)
        self.assertAlmostEqual(results.scaling_share({"one_s": 1.9, "all_s": 1.0, "machine": 2.0}), 0.95)


class Options(unittest.TestCase):
    def test_sections(self):
        self.assertEqual(options.sections(options.parse([])), ["rows"])
        self.assertEqual(options.sections(options.parse(["--maps", "--masks"])), ["masks", "maps"])
        self.assertEqual(options.sections(options.parse(["--all"])), list(options.SECTIONS))

    def test_environment(self):
        plain = options.environment(options.parse([]), {"HOME": "/h"})
        self.assertEqual(plain["MALLOC_MMAP_MAX_"], "0")
        self.assertNotIn("ATTENTILE_MAX_ISA", plain)
        self.assertEqual(options.without_kept_memory(plain).keys() & options.KEEP_MEMORY.keys(), set())
        two = options.environment(options.parse(["--threads", "2"]), {})
        self.assertNotEqual(two["TORCHINDUCTOR_CACHE_DIR"], plain["TORCHINDUCTOR_CACHE_DIR"])
        capped = options.environment(options.parse(["--isa", "avx2", "--system-malloc"]), {})
        self.assertEqual({capped[name].lower() for name in options.AVX2}, {"avx2"})
        self.assertNotIn("MALLOC_MMAP_MAX_", capped)

    def test_a_missing_library_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaisesRegex(FileNotFoundError, r"build/src/libattentile\.so\.1: not found \(build it"):
                isolate.find_library(pathlib.Path(folder), {})
            core, io = pathlib.Path(folder, "libattentile.so.1"), pathlib.Path(folder, "libattentile-io.so.1")
            core.touch(), io.touch()
            self.assertEqual(isolate.find_library(root, {"ATTENTILE_LIBRARY": str(core)}), (core, io))

    def test_wrong_usage(self):
        for words in (["--rows", "("], ["--threads", "0"], ["--rounds", "x"], ["--isa", "sse"], ["--readme"], ["--beyond"],
                      ["--small", "--rows", "se"], ["--nothing"]):
            done = subprocess.run([str(root / "bench/peers/compare"), *words], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn("compare: error:", done.stderr)

    def test_list_and_help_need_nothing(self):
        done = subprocess.run([str(root / "bench/peers/compare"), "--list"], capture_output=True, text=True, check=True)
        self.assertRegex(done.stdout, r"\nse-32x256x56x56 +se +1\.5\n")
        self.assertEqual(len(done.stdout.splitlines()), 1 + len(rows.read_all()))
        done = subprocess.run([str(root / "bench/peers/compare"), "--help"], capture_output=True, text=True, check=True)
        for option in ("--rows", "--threads", "--isa", "--masks", "--maps", "--scaling", "--sweep", "--memory", "--json"):
            self.assertIn(option, done.stdout)

    def test_requirements_are_pinned(self):
        lines = (root / "bench/peers/requirements.txt").read_text().splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        self.assertTrue(all(re.fullmatch(r"[a-z]+==[0-9.]+", pin) for pin in pins))
        self.assertLessEqual(set(machine.PACKAGES), {pin.split("==")[0] for pin in pins})


class Children(unittest.TestCase):
    def test_fates(self):
        class Done:
            def __init__(self, code, text=""):
                self.returncode, self.stderr = code, text

        self.assertEqual(child.fate(Done(-9))["status"], "out of memory")
        self.assertEqual(child.fate(Done(1, "Traceback\nImportError: none"))["message"], "ImportError: none")
        self.assertEqual(child.fate(Done(0))["status"], "failed")
        self.assertEqual(child.fate_of(MemoryError())[0], "out of memory")
        self.assertEqual(child.fate_of(RuntimeError("can't allocate 17 bytes\nmore")),
                         ("out of memory", "can't allocate 17 bytes"))
        try:
            raise RuntimeError("\x1b[96mouter") from ValueError("\x1b[96minner\x1b[0m")
        except RuntimeError as error:
            self.assertEqual(child.fate_of(error), ("failed", "inner"))

    def test_small_rows_keep_their_weights(self):
        self.assertEqual(child.small(rows.parse("multi-head a 4 512x768 set.num_heads=12")).shape, (8, 768))
        found = child.small(rows.parse("non-local a 2 1024x4x14x14 sub=1"))
        self.assertEqual((found.batch, found.shape, found.widths), (1, (1024, 4, 8, 8), {"sub": 1}))

    def test_status(self):
        self.assertGreater(child.status_bytes("VmHWM"), 1 << 20)
        self.assertGreater(child.free_bytes(), 1 << 20)


class Texts(unittest.TestCase):
    def setUp(self):
        self.record = report.load(RECORD)

    def test_numbers(self):
        for seconds, text in ((12.0, "12.0 s"), (1.0, "1.00 s"), (0.9999, "1.00 s"), (0.0123, "12.3 ms"), (0.1999, "200 ms"),
                              (1.5e-6, "1.50 µs"), (2e-8, "0.02 µs"), (None, "–")):
            self.assertEqual(report.time_text(seconds), text)
        self.assertEqual(report.memory_text(3 << 29), "1.5 GiB")
        self.assertEqual(report.memory_text(3 << 19), "1.5 MiB")
        self.assertEqual(report.memory_text(3 << 9), "1.5 KiB")
        self.assertEqual((report.percent(0.876), report.times(1.555)), ("88 %", f"{1.555:.2f}×"))

    def test_rows(self):
        for measured in self.record["rows"]:
            text = report.row_text(measured, self.record["options"])
            for one in measured["contenders"]:
                self.assertIn(f"    {one['name']} ", text)
                if not results.fine(one):
                    self.assertIn(f"{one['status']}: {one['message']}", text)
            self.assertIn("target", text)
        summary = report.summary(self.record)
        self.assertIn(f"{results.mean_ratio(self.record['rows'], self.record['options']):.2f}×, target 1.6", summary)

    def test_other_sections(self):
        for entry in self.record["masks"]:
            self.assertIn(entry["name"], report.mask_text(entry))
            self.assertRegex(report.mask_text(entry), r"attentile causal .* 0\.\d\d× of its unmasked time")
        for entry in self.record["scaling"]:
            self.assertRegex(report.scaling_text(entry, 2), rf"^{entry['name']} .* with 2 threads: .* the machine .* %$")

    def test_a_wrong_file(self):
        with tempfile.TemporaryDirectory() as folder:
            for text in ("{", "[]", "{}"):
                path = pathlib.Path(folder, "x.json")
                path.write_text(text)
                with self.assertRaises(ValueError):
                    report.load(path)


class Page(unittest.TestCase):
    def setUp(self):
        self.record = report.load(RECORD)

    def check(self, figures):
        text = page.render(self.record, figures)
        self.assertTrue(text.startswith("<!doctype html>"))
        for tag in ("table", "tr", "td", "th", "details", "summary", "h2"):
            self.assertEqual(len(re.findall(f"<{tag}[ >]", text)), text.count(f"</{tag}>"), tag)
        self.assertNotRegex(text, r"""(?:src|href)=["']?http""") # stands alone
        for measured in self.record["rows"]:
            self.assertIn(measured["name"], text)
        for title in ("Rows", "Masks", "Scaling", "With the attention map requested", "Against N", "Machine", *figures):
            self.assertIn(f"<h2>{title}</h2>", text)
        return text

    def test_page(self):
        self.record["fingerprint"]["cpu"] = "A <b> & C"
        text = self.check({"Plot": "<svg></svg>"})
        self.assertIn("A &lt;b&gt; &amp; C", text)
        self.assertIn("<svg></svg>", text)

    def test_only_rows(self):
        record = {name: self.record[name] for name in ("fingerprint", "options", "rows")}
        self.assertNotIn("<h2>Masks</h2>", page.render(record, {}))

    @unittest.skipUnless(importlib.util.find_spec("matplotlib"), "plots need matplotlib")
    def test_plots(self):
        from peers import plots

        figures = plots.figures(self.record)
        self.assertEqual(len(figures), 4)
        for drawn in figures.values():
            self.assertRegex(drawn, r"(?s)^<svg .*</svg>\s*$")
        self.check(figures)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "ratios.svg")
            plots.save_ratios(self.record, path)
            first = path.read_text()
            self.assertIn(report.title(self.record["rows"][0]), first)
            self.assertNotIn("target", first)
            plots.save_ratios(self.record, path)
            self.assertEqual(path.read_text(), first)


class Readme(unittest.TestCase):
    def test_tables_are_what_the_results_give(self):
        """Run bench/peers/compare --from bench/results/peers.json --readme where this fails."""
        path = root / "bench/results/peers.json"
        record, text = report.load(path) if path.exists() else None, (root / "README.md").read_text()
        for name in readme.TABLES:
            self.assertEqual(readme.split(text, name)[1], readme.table(name, record))

    def test_pictures_exist(self):
        found = re.findall(r"\]\((bench/results/[^)]*)\)", readme.table("ratios", report.load(RECORD)))
        self.assertTrue(found)
        if (root / "bench/results/peers.json").exists():
            for name in found:
                self.assertTrue((root / name).is_file(), name)

    def test_ratios(self):
        record = report.load(RECORD)
        text = readme.table("ratios", record)
        self.assertEqual(text.count("\n| "), 2 + sum(r["name"] in results.TARGETS for r in record["rows"]))
        self.assertEqual(readme.table("ratios", None), "")
        for word in ("PyTorch", "ONNX Runtime", "OpenVINO", "geometric mean", record["fingerprint"]["cpu"]):
            self.assertIn(word, text)

    def test_growth(self):
        """Rows whose matrix is small are left out; one that no peer can compute stays."""
        sweep = [row(own=2.0, peer=3.0) | {"positions": n} for n in (4096, 16384, 65536)]
        del sweep[2]["contenders"][1]
        for measured in sweep:
            for one in measured["contenders"]:
                one["peak_bytes"] = 3 << 20
        text = readme.table("growth", {"sweep": sweep})
        self.assertEqual(text.splitlines()[3:], ["| 16,384 | 2.00 s | 3.0 MiB | PyTorch, 3.00 s, 3.0 MiB | 1.0 GiB |",
                                                 "| 65,536 | 2.00 s | 3.0 MiB | – | 16.0 GiB |", ""])

    def test_rewriting(self):
        record = report.load(RECORD)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "README.md")
            path.write_text("".join(f"above {name}\n{readme.begin(name)}\nold\n{readme.END}\nbelow\n" for name in readme.TABLES))
            for _ in range(2):
                readme.rewrite(path, record)
                self.assertEqual(path.read_text(), "".join(
                    f"above {name}\n{readme.begin(name)}\n{readme.table(name, record)}{readme.END}\nbelow\n"
                    for name in readme.TABLES))
            path.write_text("nothing here\n")
            with self.assertRaises(ValueError):
                readme.rewrite(path, record)


class Recorded(unittest.TestCase):
    def test_committed_results_are_whole(self):
        for path in sorted((root / "bench/results").glob("*.json")):
            record = report.load(path)
            for measured in record.get("rows", ()):
                self.assertTrue(math.isfinite(results.bound_seconds(measured["bound"])), f"{path}: {measured['name']}")
            self.assertEqual(json.loads(json.dumps(record)), record)


if __name__ == "__main__":
    found = unittest.main(exit=False).result
    for skipped, reason in found.skipped:
        print(f"skip {skipped.id()}: {reason}")
    sys.exit(not found.wasSuccessful() or found.testsRun == 0)
