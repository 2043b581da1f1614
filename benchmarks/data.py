# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "medalpaca-data",
#     "datasketch>=2",
#     "datatrove[io,processing]>=0.10",
#     "numpy>=2",
#     "openai>=3",
#     "rensa>=0.5",
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

    uv run --script benchmarks/data.py [--quick] [--repeats N] [--json FILE]
    uv run --script benchmarks/data.py --only texts [--rows N] [--arms NAME ...]

The peers are installed for this script only. Every arm runs in a process of its own; what is counted begins after the
rows and the library are loaded. The arms take turns; ratios of CPU seconds of neighbouring runs are the finding, not
the seconds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import arms
import clients
import comparison

if TYPE_CHECKING:
    import corpus

THRESHOLD = 0.8
BANDS = (1.0, 0.9, 0.8, 0.7, 0.6)  # lower ends; copies below the threshold should not be merged
SLOW = "datatrove"  # takes a millisecond and more for a row
PEERS = ("datasketch", "datatrove", "rensa")  # packages whose arms bear their names
SLOW_ROWS, QUICK_ROWS, QUICK_SLOW_ROWS = 20_000, 20_000, 5_000
IMPORTS = {
    "ours": ("medalpaca_data.stages.near_duplicates", "medalpaca_data.exams.contamination"),
    "datasketch": ("datasketch",),
    "datasketch, verified": ("datasketch",),
    "rensa, verified": ("rensa",),
    "datatrove": ("datatrove.pipeline.dedup", "datatrove.pipeline.decont", "spacy"),
    "python set": (),
}

Measured = dict[str, Any]


def main() -> None:
    """Read the command line and run the benchmarks, or, in a process that one started, one arm of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    comparison.add_options(parser)
    parser.add_argument("--rows", type=int, default=200_000, help="of text; the slow peer has 20,000")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=[*BENCHMARKS], help="near copies and questions, or asking models")
    known = list(dict.fromkeys([*arms.DEDUP, *arms.DECONTAMINATE, *clients.ARMS]))
    parser.add_argument(
        "--arms", nargs="+", choices=known, metavar="NAME", help=f"ours and these, of {'; '.join(known[1:])}"
    )
    parser.add_argument("--arm", nargs=3, metavar=("JOB", "NAME", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        run_arm(*arguments.arm)
        return
    found, figures = [], {}
    for name in [arguments.only] if arguments.only else BENCHMARKS:
        some, figures[name] = BENCHMARKS[name](arguments)
        found += some
    packages = ["numpy", *PEERS, "openai"]
    comparison.write(arguments.json, "data", found, figures, packages)


def texts(arguments: argparse.Namespace) -> tuple[list[comparison.Comparison], Any]:
    """Near copies and exam questions in rows of text."""
    import corpus

    rows = QUICK_ROWS if arguments.quick else arguments.rows
    small = min(rows, QUICK_SLOW_ROWS if arguments.quick else SLOW_ROWS)
    chosen = {"ours", *(arguments.arms or [*arms.DEDUP, *arms.DECONTAMINATE])}
    found: list[comparison.Comparison] = []
    figures: dict[str, dict[str, dict[str, Any]]] = {job: {} for job in JOBS}
    tables: dict[str, list[list[str]]] = {job: [] for job in JOBS}
    for size in sorted({rows, small}, reverse=True):
        with tempfile.TemporaryDirectory() as folder:
            made = corpus.make(size, arguments.seed)
            similarities = [arms.jaccard(made.texts[copy], made.texts[of]) for copy, of in made.copies]
            (Path(folder) / "texts").write_text("\n".join(made.texts), encoding="utf-8")
            (Path(folder) / "questions").write_text("\n".join(made.stems), encoding="utf-8")
            made.texts.clear()
            for job, known in JOBS.items():
                names = [name for name in known if name in chosen and (size == small or name != SLOW)]
                runs = take_turns(job, names, folder, arguments.repeats)
                for name in names:
                    last = runs[name][-1]["result"]
                    result = quality(last, made, similarities) if job == "dedup" else flagged(last, made)
                    tables[job].append([f"{size:,}", name, *cost(runs[name]), *result])
                figures[job][str(size)] = {
                    name: {key: [run[key] for run in runs[name]] for key in ("cpu", "loaded", "peak")}
                    for name in names
                }
                # The smaller size is there for the slow peer; the others are compared on the larger.
                peers = [SLOW] if size == small != rows else names[1:]
                found += [beside(job, name, size, runs) for name in peers if name in names]
    names = ["exact", *(f">= {low}" for low in BANDS[1:])]
    costs = ["CPU s", "spread", "us/row", "loaded MB", "peak MB"]
    show(
        f"Near copies: share of planted pairs merged, by true Jaccard (threshold {THRESHOLD})",
        ["rows", "arm", *costs, *names, "false merges"],
        tables["dedup"],
    )
    show(
        f"{len(made.stems):,} exam questions: rows that hold 20 to 30 words of one",
        ["rows", "arm", *costs, "found", "others"],
        tables["decontaminate"],
    )
    return found, figures


JOBS: dict[str, dict[str, Any]] = {"dedup": arms.DEDUP, "decontaminate": arms.DECONTAMINATE}
BENCHMARKS: dict[str, Callable[[argparse.Namespace], tuple[list[comparison.Comparison], Any]]] = {
    "texts": texts,
    "client": clients.compare,
}


def take_turns(job: str, names: Sequence[str], folder: str, repeats: int) -> dict[str, list[Measured]]:
    """Every arm so many times, the others between."""
    runs: dict[str, list[Measured]] = {name: [] for name in names}
    for repeat in range(repeats):
        for name in comparison.turns(names, repeat):
            runs[name].append(measure(job, name, folder))
            last = runs[name][-1]
            print(f"{job}, {last['rows']:,} rows, {name}: {last['cpu']:.2f} CPU s", file=sys.stderr)  # noqa: T201
    return runs


def beside(job: str, name: str, size: int, runs: dict[str, list[Measured]]) -> comparison.Comparison:
    """Ours beside one peer."""
    from importlib.metadata import version

    what = {"dedup": "near copies", "decontaminate": "5,000 exam questions"}[job]
    package, _, how = name.partition(", ")
    peer = ", ".join(filter(None, [f"{package} {version(package)}" if package in PEERS else package, how]))
    cpu = {arm: [run["cpu"] for run in runs[arm]] for arm in ("ours", name)}
    return comparison.of_costs(f"{what}, {size:,} rows: CPU seconds", peer, cpu["ours"], cpu[name])


def measure(job: str, name: str, folder: str) -> Measured:
    """Run one arm in a process of its own."""
    command = [sys.executable, __file__, "--arm", job, name, folder]
    # One thread each, so that CPU seconds are those of the work.
    one = {
        "OMP_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
        "RAYON_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
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


def cost(runs: Sequence[Measured]) -> list[str]:
    """The columns on cost; the middle one of the runs, and what they lie between."""
    seconds = sorted(run["cpu"] for run in runs)
    middle = statistics.median(seconds)
    return [
        f"{middle:.2f}",
        f"{seconds[0]:.2f} - {seconds[-1]:.2f}",
        f"{1e6 * middle / runs[0]['rows']:.1f}",
        f"{max(run['loaded'] for run in runs):.0f}",
        f"{max(run['peak'] for run in runs):.0f}",
    ]


def quality(labels: Sequence[int], made: corpus.Corpus, similarities: list[float]) -> list[str]:
    """The columns on quality: planted pairs in one cluster by band, and clusters joined that have nothing in common."""
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


def flagged(rows: Sequence[int], made: corpus.Corpus) -> list[str]:
    """The columns on quality: rows with words of a question that were found, and others that were."""
    planted = {row for _, row in made.spans}
    return [f"{len(planted.intersection(rows)):,}/{len(planted):,}", str(len(set(rows) - planted))]


def show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == "arm" else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=150).print(table)


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
