# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Data, train, evaluate and demo beside their peers in one run, as one table of ratios.

    MEDALPACA_SHARED=DIR uv run --script benchmarks/all.py [--out benchmarks/RESULTS.md --readme]

Starts the four scripts with --quick, one after the other, each in the environment that it asks for, and prints a
Markdown table. Under 25 minutes on one quiet core: data 3, train 13, evaluate 6, demo 2. --readme pastes the same bytes
between the marks in README.md. Nothing is written when a script fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
BUDGET = {"data": 3, "train": 13, "evaluate": 6, "demo": 2}  # minutes on one quiet core
MARKS = "<!-- benchmarks -->\n", "<!-- /benchmarks -->\n"
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


def main() -> int:
    """Run, print, write; 1 when a script failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="of every script (default: 3)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table here")
    parser.add_argument("--readme", action="store_true", help="also paste it into README.md")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="keep the scripts' JSON files here")
    parser.add_argument("--table-only", action="store_true", help="run nothing; the files are in --figures")
    options = parser.parse_args()
    if options.table_only and not options.figures:
        parser.error("--table-only: --figures DIR says where the files are")
    with tempfile.TemporaryDirectory() as folder:
        figures = options.figures or Path(folder)
        figures.mkdir(parents=True, exist_ok=True)
        failed = [] if options.table_only else run(figures, options.repeats)
        parts = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in figures.glob("*.json")}
        table = render(parts.pop("run", {}), [parts[name] for name in BUDGET if name in parts])
    sys.stdout.write(table)
    if failed:
        say(f"error: failed: {', '.join(failed)}; nothing was written")
        return 1
    if options.out:
        options.out.write_text(table, encoding="utf-8")
    if options.readme:
        README.write_text(pasted(README.read_text(encoding="utf-8"), table), encoding="utf-8")
    return 0


def run(figures: Path, repeats: int) -> list[str]:
    """Start the scripts, and write down under what conditions; the names of those that failed."""
    uv = os.environ.get("UV", "uv")
    for name in BUDGET:  # made first, so that it is not in the time of the run
        (figures / f"{name}.json").unlink(missing_ok=True)
        subprocess.run([uv, "sync", "--quiet", "--script", str(HERE / f"{name}.py")], check=True)
    failed = []
    began, busy, own = time.monotonic(), busy_seconds(), own_seconds()
    started = datetime.now(UTC)
    for name, minutes in BUDGET.items():
        say(f"--- {name}: about {minutes} minutes on a quiet core")
        command = [uv, "run", "--script", str(HERE / f"{name}.py"), "--quick", "--repeats", str(repeats)]
        before, at = own_seconds(), time.monotonic()
        environment = os.environ | dict.fromkeys(ONE_THREAD, "1")
        done = subprocess.run(
            [*command, "--json", figures / f"{name}.json"], env=environment, stdout=sys.stderr, check=False
        )
        say(
            f"--- {name}: {own_seconds() - before:,.0f} CPU s, {time.monotonic() - at:,.0f} s of wall time"
            + (f", FAILED with exit code {done.returncode}" if done.returncode else "")
        )
        if done.returncode:
            failed.append(name)
    wall, cpu = time.monotonic() - began, own_seconds() - own
    others = None if busy is None else max(0.0, ((busy_seconds() or busy) - busy - cpu) / wall)
    about = {
        "date": f"{started:%Y-%m-%d}",
        "machine": machine(),
        "cores": os.cpu_count(),
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "cores_busy_with_other_work": others,
    }
    (figures / "run.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return failed


def render(about: dict[str, Any], parts: list[dict[str, Any]]) -> str:
    """The conditions of the run in one paragraph, and the table."""
    versions = {name: version for part in parts for name, version in part["versions"].items()}
    said = ", ".join(f"{name} {versions[name]}" for name in ("Python", "torch", "numpy") if name in versions)
    lines = []
    if about:
        other = about["cores_busy_with_other_work"]
        load = "" if other is None else f"; other work kept {other:.1f} cores busy meanwhile"
        conditions = (
            f"{about['machine']}, {about['cores']} cores, one thread; {about['date']}; {said}; "
            f"{about['wall_seconds'] / 60:.0f} minutes, {about['cpu_seconds'] / 60:.0f} of CPU{load}."
        )
        lines = [*textwrap.wrap(conditions, 120), ""]
    lines += [
        "| part | what is done, and what is counted | peer | ours is | spread |",
        "|---|---|---|---|---|",
    ]
    for part in parts:
        for one in part["comparisons"]:
            some = sorted(one["ratios"])
            spread = f"{number(some[0])} - {number(some[-1])}, n = {len(some)}"
            middle = f"**{number(statistics.median(some))} x**"
            lines.append(f"| {part['part']} | {one['what']} | {one['peer']} | {middle} | {spread} |")
    return "\n".join(lines) + "\n"


def number(ratio: float) -> str:
    """Two decimals below ten, then one, then none: no more than the spread is worth."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def pasted(text: str, table: str) -> str:
    """`text` with `table` between the marks, which have to stand there once each."""
    first, last = MARKS
    if text.count(first) != 1 or text.count(last) != 1 or text.index(first) > text.index(last):
        sys.exit(
            f"error: README.md: {first.strip()} and {last.strip()} have to stand there once, in this order"
        )
    head, _, rest = text.partition(first)
    return head + first + table + last + rest.partition(last)[2]


def own_seconds() -> float:
    """CPU seconds of the scripts that have ended, and of what they started."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def busy_seconds() -> float | None:
    """CPU seconds of everything on this machine since it started; None where the kernel does not say."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, _ = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def say(text: str) -> None:
    """To the terminal, beside what the scripts say; stdout is the table alone."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
