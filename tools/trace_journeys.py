"""Count the source files of which at least one function runs in each of five journeys, and measure module sizes.

    uv run python tools/trace_journeys.py                   the table, with ratios to tools/journeys_4ab9039.tsv
    uv run python tools/trace_journeys.py --files           the files of each journey below it
    uv run python tools/trace_journeys.py --out COUNTS.tsv  the counts as a file

Each journey runs the console commands as subprocesses, offline, on the CPU, with a model of a million parameters. All
five take about 160 seconds of CPU time, on two cores:

1. raw row -> train.parquet: `data build` of a recipe with one `alpaca` source, a JSONL file of two rows. One process.
2. Parquet row -> loss: `train lora` on that Meadow directory, three steps, `validation=0`, `precision=fp32`.
3. exam item -> comparison: `lm_eval` of the base model, `lm_eval` of the tuned model, both on four items of the bundled
   exam `medalpaca_vignettes`, then `exam compare` on the two results.
4. exam item -> report: journey 3, then `exam report` on the same two results.
5. question -> bars: `demo` on the same models and exam; an HTTP client opens the page and presses its button "Compare"
   by Gradio's own protocol. The start of the command does not count. A function is left out if it also runs when the
   command is refused because its exam file is missing. (With the start, the count at 4ab9039 is 55.)

In journeys 1 to 4, the code of the command line counts, too. An untraced `train full model=pocket` writes the base
model.

A function is every code object except those of modules and classes. A lambda, a comprehension or a generator expression
is one, too, also at module level. From Python 3.12 on, comprehensions are part of the code around them, so only counts
of the same Python version are comparable. A function that is called while modules are imported counts. Functions are
observed by `sys.setprofile` in every thread and every Python process that a command starts. Code in `.pth` files of the
interpreter runs before and is not observed.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BASELINE = Path(__file__).with_name("journeys_4ab9039.tsv")
EXAM, BUTTON, PATIENCE = "medalpaca_vignettes", "Compare", 600
ROWS = (
    {"instruction": "Answer this question.", "input": "What is lacking in scurvy?", "output": "Vitamin C."},
    {"instruction": "Answer this question.", "input": "What makes insulin?", "output": "The pancreas does."},
)
RECIPE = "name: journey\nsources:\n  - {kind: alpaca, path: rows.jsonl, licence: our own}\n"
SITE = """\
import sys
sys.path.insert(0, {tools!r})
from {module} import trace
del sys.path[0]
trace({out!r}, {roots!r})
"""
# Journey -> the traces whose functions count, and the traces whose functions do not.
JOURNEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "raw row -> train.parquet": (("build",), ()),
    "Parquet row -> loss": (("train",), ()),
    "exam item -> comparison": (("base", "tuned", "compare"), ()),
    "exam item -> report": (("base", "tuned", "compare", "report"), ()),
    "question -> bars": (("page",), ("refused",)),
}

# (file, qualified name).
Function = tuple[str, str]


def trace(out: str, roots: tuple[str, ...]) -> None:
    """Append each function of files under `roots` that this process calls from now on to the file `out`, once."""
    seen: set[object] = set()
    elsewhere: set[str] = set()
    file = os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(frame: Any, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or code.co_filename in elsewhere:
            return
        # Jinja2 compiles a page's template to code under the template's file name; only Python files are counted.
        if not code.co_filename.startswith(roots) or not code.co_filename.endswith(".py"):
            elsewhere.add(code.co_filename)
        # Only functions have optimised locals; modules and class bodies have not.
        elif code.co_flags & 1 and (key := (code.co_filename, code.co_qualname)) not in seen:
            seen.add(key)
            os.write(file, "{}\t{}\n".format(*key).encode())

    threading.setprofile(note)
    sys.setprofile(note)


def source_roots(root: Path) -> list[Path]:
    """Return the directory `src` of each member of the workspace `root`."""
    return sorted([*root.glob("packages/*/src"), *root.glob("apps/*/src")])


def files_of(functions: Iterable[Function]) -> list[str]:
    """Return the files that contain the functions, sorted and without duplicates."""
    return sorted({file for file, _ in functions})


@dataclass(frozen=True, slots=True)
class Commands:
    """Console commands, run in one `folder`, each with its own trace. Files of the workspace `root` are traced."""

    folder: Path
    root: Path = ROOT

    def start(self, name: str, *words: object) -> subprocess.Popen[bytes]:
        """Start the command `words` and return its process; `name` names its trace and log.

        An empty `name` leaves it untraced. A first word that is not an absolute path is a console command of this
        environment. No `MEDALPACA_*` variable of the caller is passed on.
        """
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MEDALPACA_")}
        environment |= {"MEDALPACA_HOME": str(self.folder / "home"), "HF_HUB_OFFLINE": "1"}
        environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        if name:
            site, here = self.folder / "site" / name, Path(__file__)
            site.mkdir(parents=True)
            roots = tuple(f"{path}{os.sep}" for path in source_roots(self.root))
            text = SITE.format(
                tools=str(here.parent), module=here.stem, out=str(self._trace(name)), roots=roots
            )
            (site / "sitecustomize.py").write_text(text, encoding="utf-8")
            environment["PYTHONPATH"] = str(site)
        command = [str(Path(sys.executable).parent / str(words[0])), *map(str, words[1:])]
        with self.log(name).open("wb") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def run(self, name: str, *words: object, code: int = 0) -> None:
        """Run a command to its end, as `start` does. Raise RuntimeError for another exit code than `code`."""
        if (found := self.start(name, *words).wait(PATIENCE)) != code:
            end = self.log(name).read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(
                f"{words[0]}: exit code {found}, expected {code}; the end of its output:\n{end}"
            )

    def log(self, name: str) -> Path:
        """Return the path of the file with standard output and error of a command."""
        return self.folder / f"{name or 'untraced'}.log"

    def functions(self, name: str) -> set[Function]:
        """Return the functions that ran in a traced command, with files relative to `root`; empty without a trace."""
        path = self._trace(name)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        pairs = (line.split("\t") for line in lines)
        return {(str(Path(file).relative_to(self.root)), function) for file, function in pairs}

    def _trace(self, name: str) -> Path:
        return self.folder / f"{name}.trace"


def run_journeys(commands: Commands) -> None:
    """Run every command of the journeys; independent commands run at the same time."""
    keys = ("validation=0", "precision=fp32")
    build(commands)
    # Enough epochs that the model generates visible text for any question.
    learned = ("epochs=40", "learning_rate=0.003")
    commands.run("", "train", "full", "model=pocket", "data=meadow", "out=base", *learned, *keys)
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(examine, commands, "base", "pretrained=base")
        commands.run("train", "train", "lora", "model=base", "data=meadow", "out=run", "max_steps=3", *keys)
        examine(commands, "tuned", "pretrained=base,peft=run")
        other.result()
        other = pool.submit(ask_page, commands)
        commands.run("compare", "exam", "compare", "results/base", "results/tuned")
        commands.run("report", "exam", "report", "results/base", "results/tuned", "--out", "report.html")
        refused = ("demo", "--base", "base", "--adapter", "run", "--exam", "missing.jsonl")
        commands.run("refused", *refused, code=2)
        other.result()


def build(commands: Commands) -> None:
    """Write the rows and the recipe, and run journey 1, `data build`."""
    rows = "".join(json.dumps(row) + "\n" for row in ROWS)
    (commands.folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    (commands.folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    commands.run("build", "data", "build", "recipe.yaml", "out=meadow")


def examine(commands: Commands, side: str, model: str) -> None:
    """Evaluate one model on four items of the exam, with logged samples in `results/SIDE`."""
    words = ("--model", "hf", "--model_args", model, "--tasks", EXAM, "--device", "cpu", "--batch_size", 4)
    commands.run(side, "lm_eval", *words, "--limit", 4, "--log_samples", "--output_path", f"results/{side}")


def ask_page(commands: Commands) -> None:
    """Run journey 5: start `demo`, press the button for the first question, wait for the result, stop `demo`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ("--base", "base", "--adapter", "run", "--exam", EXAM, "--port", port)
    demo = commands.start("page", "demo", *words)
    try:
        press(f"http://127.0.0.1:{port}", BUTTON, lambda: demo.poll() is None)
    except Exception as error:
        end = commands.log("page").read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"demo: {error}; the end of its output:\n{end}") from error
    finally:
        # The trace is on disk already. SIGINT would be ignored if a shell started this script in the background.
        demo.terminate()
        demo.wait(PATIENCE)


def press(url: str, button: str, alive: Callable[[], bool]) -> None:
    """Open a Gradio page as a browser does, press a button, and wait until its event is complete.

    `alive` returns whether the server still runs. Raises RuntimeError without the button or without ratings, and
    OSError if the page cannot be opened.
    """

    def request(path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})  # noqa: S310
        return urllib.request.urlopen(asked, timeout=PATIENCE)  # noqa: S310

    end = time.monotonic() + PATIENCE
    while True:
        try:
            request("/").read()
            break
        except OSError:
            if not alive() or time.monotonic() > end:
                raise
            time.sleep(0.2)
    page = json.load(request("/config"))
    parts = {part["id"]: part for part in page["components"]}
    buttons = {part["props"].get("value"): n for n, part in parts.items() if part["type"] == "button"}
    if (number := buttons.get(button)) is None:
        raise RuntimeError(f"no button {button!r} on the page; it has: {', '.join(map(str, buttons))}")
    event = next(event for event in page["dependencies"] if [number, "click"] in event["targets"])
    values = [parts[part]["props"].get("value") for part in event["inputs"]]
    session = {"session_hash": "journey", "trigger_id": number, "event_data": None}
    request("/gradio_api/queue/join", {"data": values, "fn_index": event["id"], **session}).read()
    for line in request("/gradio_api/queue/data?session_hash=journey"):
        message = json.loads(line[5:]) if line.startswith(b"data:") else {"msg": ""}
        if message["msg"] == "process_completed":
            # Two models rate at least two options each; a rating is a share in percent.
            if not message["success"] or json.dumps(message["output"]).count("%") < 4:
                raise RuntimeError(f"button {button!r} gave no ratings: {json.dumps(message)[:500]}")
            return
    raise RuntimeError(f"button {button!r}: the answer ended early")


def count_files(commands: Commands) -> dict[str, list[str]]:
    """Return the files of each journey. Raise RuntimeError for a journey in which no function was observed."""
    found = {}
    for journey, (added, removed) in JOURNEYS.items():
        functions = set[Function]().union(*map(commands.functions, added))
        found[journey] = files_of(functions.difference(*map(commands.functions, removed)))
        if not found[journey]:
            raise RuntimeError(f"{journey}: no function observed; install the members from {commands.root}")
    return found


def sizes(root: Path) -> dict[str, list[int]]:
    """Return the number of lines of each module, sorted, by the directory of the member."""
    return {
        str(source.parent.relative_to(root)): sorted(
            len(file.read_text(encoding="utf-8").splitlines()) for file in source.rglob("*.py")
        )
        for source in source_roots(root)
    }


def as_table(counts: Mapping[str, int], before: Mapping[str, int]) -> str:
    """Return a table with one line per journey: number of files, earlier count and ratio, if there is one."""
    lines = [f"{'journey':<28}{'files':>7}{'at 4ab9039':>12}{'ratio':>8}"]
    for journey, count in counts.items():
        ratio = f"{before[journey]:>12}{count / before[journey]:>8.2f}" if before.get(journey) else ""
        lines.append(f"{journey:<28}{count:>7}{ratio}")
    return "\n".join(lines)


def as_size_table(members: Mapping[str, Sequence[int]]) -> str:
    """Return a table with one line per member and one for all: number of modules, median and maximum of lines."""
    everything = {**members, "all": [lines for modules in members.values() for lines in modules]}
    rows = [f"{'member':<28}{'modules':>7}{'median':>12}{'maximum':>8}"]
    for member, modules in everything.items():
        rows.append(f"{member:<28}{len(modules):>7}{statistics.median(modules):>12g}{max(modules):>8}")
    return "\n".join(rows)


def read_counts(path: Path) -> dict[str, int]:
    """Return the number of files by journey from a file that `--out` wrote; {} if it does not exist."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
    return {journey: int(count) for journey, count in (line.split("\t") for line in lines)}


def main(arguments: Sequence[str]) -> None:
    """Run the journeys in a temporary directory and print the counts; `--out` also writes them to a file."""
    parser = argparse.ArgumentParser(description="Count the source files that run in five journeys.")
    parser.add_argument("--files", action="store_true", help="also list the files of each journey")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="also write the counts to FILE, tab-separated"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="journeys-") as folder:
        commands = Commands(Path(folder).resolve())
        run_journeys(commands)
        found = count_files(commands)
    counts = {journey: len(files) for journey, files in found.items()}
    sys.stdout.write(f"{as_table(counts, read_counts(BASELINE))}\n\n{as_size_table(sizes(ROOT))}\n")
    if options.files:
        for journey, files in found.items():
            sys.stdout.write(f"\n{journey}\n" + "".join(f"  {file}\n" for file in files))
    if options.out:
        lines = ["journey\tcount", *(f"{journey}\t{count}" for journey, count in counts.items())]
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
