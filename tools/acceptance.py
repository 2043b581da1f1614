"""Run the tests marked `real("NAME")` and write `docs/acceptance/NAME.md`.

    uv run python tools/acceptance.py NAME

`tools/acceptance.sh NAME` runs this script, after it has installed packages that the tests of NAME need in addition.
The report contains date, commit, versions and machine. For each test it contains the outcome, the seconds, and the
values recorded with `record_property`. It contains no host name; paths outside the repository must not be recorded. It
is written atomically, also when tests fail, but not when the run is interrupted. Exit codes: 0 all passed, 1 not all
passed, 2 no such NAME, 130 interrupted.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REPORTS = "docs/acceptance"
PACKAGES = ("torch", "transformers", "peft", "lm-eval", "gradio")
PASSED, NOT_PASSED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@dataclass(slots=True)
class Test:
    """Outcome of one test, from its phases setup, call and teardown; `recorded` are its (name, value) properties."""

    outcome: str = "passed"
    seconds: float = 0.0
    recorded: list[tuple[str, object]] = field(default_factory=list)


class Recorder:
    """Pytest plugin that collects the outcome of every test by its node id."""

    def __init__(self) -> None:
        self.tests: dict[str, Test] = {}
        self.interrupted = False

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.tests[report.nodeid] = Test("not collected")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self.tests.setdefault(report.nodeid, Test())
        test.seconds += report.duration
        if report.when == "teardown":
            test.recorded = report.user_properties
        if test.outcome != "passed":
            return
        if report.failed:
            test.outcome = "failed" if report.when == "call" else f"error in {report.when}"
        elif hasattr(report, "wasxfail"):
            test.outcome = "passed unexpectedly" if report.passed else "failed as expected"
        elif report.skipped:
            test.outcome = "skipped"

    def pytest_keyboard_interrupt(self) -> None:
        self.interrupted = True


def git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def commit() -> str:
    """Return the hash of the current commit, and "clean tree" or "with changes" outside `docs/acceptance`."""
    changed = git("status", "--porcelain", "--", ".", f":(exclude){REPORTS}")
    return f"{git('rev-parse', 'HEAD')}, {'with changes' if changed else 'clean tree'}"


def machine() -> str:
    """Return number of cores, memory and GPU models as text, without a host name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = [f"{cores} cores"]
    if hasattr(os, "sysconf"):
        told.append(f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory")
    # A run that never imported torch used no GPU.
    torch = sys.modules.get("torch")
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())] if torch else []
    told += [f"{count} x {name}" for name, count in Counter(gpus).items()] or ["no GPU used"]
    return ", ".join(told)


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def page(name: str, head: str, began: datetime, tests: dict[str, Test]) -> Iterator[str]:
    """Yield the lines of the report in Markdown. `head` is the text of `commit`, `began` the start time in UTC."""
    good = sum(test.outcome == "passed" for test in tests.values())
    yield f"# Acceptance: {name}\n"
    yield f"Written by `tools/acceptance.sh {name}`.\n"
    yield f"**{'Passed' if all_passed(tests) else 'Not passed'}**: {good} of {len(tests)} tests passed.\n"
    facts = {
        "date": f"{began:%Y-%m-%d %H:%M} UTC",
        "commit": head,
        "Python": platform.python_version(),
        **{package: installed(package) for package in PACKAGES},
        "machine": machine(),
    }
    yield "| | |\n|---|---|"
    yield from (f"| {key} | {cell(value)} |" for key, value in facts.items())
    yield "\n| test | outcome | seconds |\n|---|---|---|"
    yield from (f"| `{cell(test)}` | {of.outcome} | {of.seconds:.1f} |" for test, of in tests.items())
    recorded = {key: value for of in tests.values() for key, value in of.recorded}
    if recorded:
        yield "\n| recorded | value |\n|---|---|"
        yield from (f"| {cell(key)} | {cell(value)} |" for key, value in recorded.items())


def all_passed(tests: dict[str, Test]) -> bool:
    return bool(tests) and all(test.outcome == "passed" for test in tests.values())


def main(words: list[str]) -> int:
    if len(words) != 1 or not re.fullmatch(r"[\w.-]+", words[0]):
        print('usage: tools/acceptance.py NAME, the argument of a marker real("NAME")', file=sys.stderr)
        return BAD_INPUT
    [name] = words
    head, began, recorder = commit(), datetime.now(UTC), Recorder()
    os.chdir(ROOT)
    code = pytest.main(["--real", name, "-v", "--rootdir", str(ROOT)], plugins=[recorder])
    if recorder.interrupted:
        return INTERRUPTED
    if code == pytest.ExitCode.USAGE_ERROR:
        return BAD_INPUT
    report = ROOT / REPORTS / f"{name}.md"
    report.parent.mkdir(parents=True, exist_ok=True)
    half = report.with_name(f".{report.name}.half")
    half.write_text("\n".join(page(name, head, began, recorder.tests)) + "\n", encoding="utf-8")
    half.replace(report)
    print(f"\n{report.relative_to(ROOT)}: {'passed' if all_passed(recorder.tests) else 'not passed'}")
    return PASSED if code == pytest.ExitCode.OK and all_passed(recorder.tests) else NOT_PASSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
