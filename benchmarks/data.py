# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "medalpaca-data",
#     "datasketch>=2",
#     "datatrove[io,processing]>=0.10",
#     "numpy>=2",
#     "openai>=3",
#     "rich>=14",
#     "spacy>=3.8",
# ]
#
# [tool.uv]
# exclude-newer = "2026-11-20T00:00:00Z"
#
# [tool.uv.sources]
# medalpaca-data = { path = "../packages/data", editable = true }
# ///
"""Cost and quality of finding near copies and exam questions, and cost of asking models, beside others that do it.

    uv run --script benchmarks/data.py [--rows N] [--quick] [--arms NAME ...]
    uv run --script benchmarks/data.py client [--quick]

The peers are installed for this script only. Every arm runs in a process of its own; what is counted begins after the
rows and the library are loaded. Ratios of CPU seconds within one run are the finding, not the seconds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arms
import clients
import corpus
from rich.console import Console
from rich.table import Table

THRESHOLD = 0.8
BANDS = (1.0, 0.9, 0.8, 0.7, 0.6)  # lower ends; copies below the threshold should not be merged
SLOW = "datatrove"  # takes a millisecond and more for a row
SLOW_ROWS, QUICK_ROWS, QUICK_SLOW_ROWS = 20_000, 20_000, 5_000
IMPORTS = {
    "ours": ("medalpaca_data.dedup", "medalpaca_data.exams.contamination"),
    "datasketch": ("datasketch",),
    "datasketch, verified": ("datasketch",),
    "datatrove": ("datatrove.pipeline.dedup", "datatrove.pipeline.decont", "spacy"),
    "python set": (),
}

Measured = dict[str, Any]


def main() -> None:
    """Read the command line and run a benchmark, or, in a process that one started, one arm of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("benchmark", nargs="?", choices=list(BENCHMARKS), default="texts")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a small corpus, in a few minutes")
    parser.add_argument("--arms", nargs="+", metavar="NAME", help="only these, as the tables name them")
    parser.add_argument("--arm", nargs=3, metavar=("JOB", "NAME", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        run_arm(*arguments.arm)
    else:
        BENCHMARKS[arguments.benchmark](arguments)


def texts(arguments: argparse.Namespace) -> None:
    """Near copies and exam questions in rows of text."""
    rows = QUICK_ROWS if arguments.quick else arguments.rows
    small = min(rows, QUICK_SLOW_ROWS if arguments.quick else SLOW_ROWS)
    console = Console(width=140)
    chosen = set(arguments.arms or [*arms.DEDUP, *arms.DECONTAMINATE])
    dedup, decontamination = [], []
    for size in sorted({rows, small}, reverse=True):
        with tempfile.TemporaryDirectory() as folder:
            made = corpus.make(size, arguments.seed)
            similarities = [arms.jaccard(made.texts[copy], made.texts[of]) for copy, of in made.copies]
            (Path(folder) / "texts").write_text("\n".join(made.texts), encoding="utf-8")
            (Path(folder) / "questions").write_text("\n".join(made.stems), encoding="utf-8")
            made.texts.clear()
            for name in arms.DEDUP:
                if name in chosen and (size == small or name != SLOW):
                    measured = measure("dedup", name, folder)
                    dedup.append([f"{size:,}", name, *cost(measured), *quality(measured, made, similarities)])
            for name in arms.DECONTAMINATE:
                if name in chosen and (size == small or name != SLOW):
                    measured = measure("decontaminate", name, folder)
                    flagged, planted = set(measured["result"]), {row for _, row in made.spans}
                    found = f"{len(flagged & planted):,}/{len(planted):,}"
                    decontamination.append(
                        [f"{size:,}", name, *cost(measured), found, str(len(flagged - planted))]
                    )
    names = ["exact", *(f">= {low}" for low in BANDS[1:])]
    costs = ["CPU s", "us/row", "loaded MB", "peak MB"]
    show(
        console,
        f"Near copies: share of planted pairs merged, by true Jaccard (threshold {THRESHOLD})",
        ["rows", "arm", *costs, *names, "false merges"],
        dedup,
    )
    show(
        console,
        f"{len(made.stems):,} exam questions: rows that hold 20 to 30 words of one",
        ["rows", "arm", *costs, "found", "others"],
        decontamination,
    )


BENCHMARKS: dict[str, Callable[[argparse.Namespace], None]] = {"texts": texts, "client": clients.compare}


def measure(job: str, name: str, folder: str) -> Measured:
    """Run one arm in a process of its own."""
    command = [sys.executable, __file__, "--arm", job, name, folder]
    # One thread each, so that CPU seconds are those of the work.
    one = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, check=False, env={**os.environ, **one}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}, {job}: failed\n{done.stderr}")
    measured: Measured = json.loads((Path(folder) / "result.json").read_text())
    return measured


def run_arm(job: str, name: str, folder: str) -> None:
    """Load, work, and write down what it took."""
    rows = _lines(Path(folder) / "texts")
    questions = _lines(Path(folder) / "questions") if job == "decontaminate" else []
    for module in IMPORTS[name]:
        importlib.import_module(module)
    loaded, start = _memory("VmRSS"), time.process_time()
    result = (
        arms.DEDUP[name](rows, THRESHOLD) if job == "dedup" else arms.DECONTAMINATE[name](rows, questions)
    )
    cpu, peak = time.process_time() - start, _memory("VmHWM")
    measured = {"rows": len(rows), "cpu": cpu, "loaded": loaded, "peak": peak, "result": list(result)}
    (Path(folder) / "result.json").write_text(json.dumps(measured))


def cost(measured: Measured) -> list[str]:
    """The columns on cost."""
    per_row = 1e6 * measured["cpu"] / measured["rows"]
    return [
        f"{measured['cpu']:.2f}",
        f"{per_row:.1f}",
        f"{measured['loaded']:.0f}",
        f"{measured['peak']:.0f}",
    ]


def quality(measured: Measured, made: corpus.Corpus, similarities: list[float]) -> list[str]:
    """The columns on quality: planted pairs in one cluster by band, and clusters joined that have nothing in common."""
    labels = measured["result"]
    merged: Counter[float] = Counter()
    planted: Counter[float] = Counter()
    family = list(range(len(labels)))
    for (copy, original), similarity in zip(made.copies, similarities, strict=True):
        family[copy] = original
        band = next((low for low in BANDS if similarity >= low), None)
        if band is not None:
            planted[band] += 1
            merged[band] += labels[copy] == labels[original]
    pairs = set(zip(labels, family, strict=True))
    false = len(pairs) - len({label for label, _ in pairs})
    shares = [_share(merged[band], planted[band]) for band in BANDS]
    return [*shares, str(false)]


def show(console: Console, title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == "arm" else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.4f}" if whole else "-"


def _lines(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file]


def _memory(field: str) -> float:
    """MB of this process, from the kernel: what a parent held at the fork is not in it, as it is in getrusage."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


if __name__ == "__main__":
    main()
