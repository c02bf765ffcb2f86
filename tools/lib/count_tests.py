# SPDX-License-Identifier: Apache-2.0
"""Adds up the results of a test run: count_tests.py BUILD/SETUP...

Criterion executables write what --xml=FILE says and count test by test; any other executable counts as one test.
An executable that ran nothing, crashed, timed out or failed without saying which test did, counts as one failure.
What an executable said that it skipped ("skip ..." at the start of a line) is repeated. The last line printed is "N passed,
N failed".
"""
import glob
import json
import os
import sys
import xml.etree.ElementTree as ElementTree


def criterion_counts(path):
    """(passed, failed) of one executable's XML, or None when it is not there or cut off."""
    try:
        suites = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return None
    passed = failed = 0
    for case in suites.iter("testcase"):
        status = case.get("status")
        passed += status == "PASSED"
        failed += status not in ("PASSED", "SKIPPED")
    return passed, failed


def executable_counts(result):
    """(passed, failed) of one line of meson's log."""
    if result["result"] == "SKIP":
        return 0, 0
    succeeded = result["result"] in ("OK", "EXPECTEDFAIL")
    results = [word[len("--xml="):] for word in result["command"] if word.startswith("--xml=")]
    if not results:
        return (1, 0) if succeeded else (0, 1)
    counts = criterion_counts(results[0])
    if counts is None or counts == (0, 0):
        print(f"{result['name']}: {'ran no test' if counts else 'left no result'}")
        return 0, 1
    passed, failed = counts
    if not succeeded and failed == 0:
        print(f"{result['name']}: {result['result']} although none of its tests failed")
        failed = 1
    return passed, failed


def announce_skips(result):
    for line in result.get("stdout", "").splitlines():
        if line.startswith("skip "):
            print(f"{result['name']}: {line}")


def main(runs):
    passed = failed = executables = 0
    for run in runs:
        build, setup = os.path.split(run)
        logs = glob.glob(os.path.join(build, "meson-logs", f"testlog*{setup}.json"))
        for log in logs:
            with open(log, encoding="utf-8") as lines:
                for line in lines:
                    result = json.loads(line)
                    announce_skips(result)
                    p, f = executable_counts(result)
                    passed, failed, executables = passed + p, failed + f, executables + 1
        if not logs:
            print(f"the {setup} tests in {build} left no log")
            failed += 1
    if executables == 0 or passed == 0:
        failed = max(failed, 1)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
