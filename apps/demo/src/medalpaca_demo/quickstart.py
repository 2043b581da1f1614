"""`quickstart`: data, fine-tuning, evaluation and comparison on a small embedded model, in minutes on a CPU.

Each step runs a command that a user could type. Data, models and results of earlier runs are used again if code and
seed are the same.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from medalpaca_data.core.cli import INTERRUPTED, Command, run, screen
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import package_sha256, read_json, write_json
from medalpaca_data.core.offline import OFFLINE
from medalpaca_data.core.paths import Quickstart, quickstart
from medalpaca_data.core.weights import refuse_unsafe, weights_sha256
from medalpaca_data.exams.item import POCKET

try:
    import fcntl
except ImportError:
    # Windows has no fcntl; there, a second quickstart is not detected.
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from rich.console import Console

RECORD_FILE, LOCK_FILE, CHART_FILE = "made.json", ".lock", "result.svg"
# Start of lm_eval's progress bar.
PERCENT = re.compile(rb"(\d{1,3})%\|")
CODE_PACKAGES = ("medalpaca_data", "medalpaca_train", "medalpaca_evalharness")


def entry() -> None:
    """Run the console script."""
    run(main)


def main(argv: Sequence[str]) -> None:
    """Parse the arguments and run all steps. Raises UserError if the seed is negative or a step fails."""
    arguments = parser().parse_args(argv)
    if arguments.seed < 0:
        raise UserError(f"quickstart: --seed {arguments.seed} is negative; use 0 or more")
    QuickstartRun(arguments.seed, quickstart(), screen(), details=arguments.details).run()


def parser() -> Command:
    """Return the argument parser of `quickstart`."""
    main = Command(
        "quickstart",
        "Build data, make and fine-tune a small embedded language model, evaluate it before and after, and compare: "
        "in minutes on a CPU, without network access. It shows that all steps work; it says nothing about medicine. "
        "All files are written to MEDALPACA_HOME/quickstart (default of MEDALPACA_HOME: medalpaca/ in the user's "
        f"cache directory), with a chart of the result in {CHART_FILE}.",
        (
            "quickstart             run all steps; existing results are used again",
            "quickstart --seed 2    train with another seed; deletes the earlier models",
            "quickstart --details   the same, with the whole table of the comparison",
            "demo                   afterwards: show both models in the browser",
        ),
    )
    main.add_argument(
        "--seed",
        type=int,
        metavar="N",
        default=1,
        help="random seed of the base, its training text and the fine-tuning, 0 or more (default: %(default)s)",
    )
    main.add_argument(
        "--details",
        action="store_true",
        help="print the whole table of `exam compare` at the end: intervals, counts and p-values of every step",
    )
    main.add_common("medalpaca-demo")
    return main


@dataclass(frozen=True, slots=True)
class QuickstartRun:
    """All steps for one seed, in the directories `paths`. `details` prints the table of `exam compare` at the end."""

    seed: int
    paths: Quickstart
    console: Console
    details: bool = False

    @property
    def root(self) -> Path:
        """Directory of the quickstart."""
        return self.paths.meadow.parent

    def run(self) -> None:
        """Run all steps. Files of the same code and seed are used again; otherwise the directory is emptied first.

        Raises UserError if a step fails or another quickstart is running.
        """
        with exclusive_lock(self.root):
            self._delete_outdated()
            self._run_steps()

    def _run_steps(self) -> None:
        paths = self.paths
        for made in (paths.base, paths.run):
            if made.is_dir():
                refuse_unsafe(made)
        language = self.root / "language"
        self._step(1, "Build the flash cards, and the text for the training of the base")
        self._command("data", "build", "pocket", f"out={paths.meadow}")
        self._command("data", "build", "pocket-language", f"seed={self.seed}", f"out={language}")
        self._step(2, "Train the base: it learns the language of the cards, but not their facts")
        self._command("train", "pocket-base", f"data={language}", f"out={paths.base}", f"seed={self.seed}")
        self._step(3, "Check the training texts for contamination with exam questions")
        for path in (language, paths.meadow):
            self._command("data", "check", path, "--exam", POCKET, "--fail-over", "0.5")
        self._step(4, "Fine-tune the base on the cards with LoRA")
        data, out = f"data={paths.meadow}", f"out={paths.run}"
        self._command("train", "pocket", f"model={paths.base}", data, out, f"seed={self.seed}")
        self._step(5, "Evaluate both models on an exam whose wording is in neither training text")
        self._evaluate()
        self._step(6, "Compare both results")
        chart = self._compare()
        self._print(
            f"\nChart of this result: {chart}\n"
            "This shows that all steps work: training changes the model, and the evaluation measures the change.\n"
            "It says nothing about medicine, and nothing here is for clinical use.\n\n"
            "Show both models in the browser:  uv run demo"
        )

    def _compare(self) -> Path:
        """Print the comparison, and write its chart unless the file is up to date. Return the chart's path."""
        from medalpaca_evalharness.comparison import compare
        from medalpaca_evalharness.results import read_run

        from .result_chart import draw_chart, figures, result_sentence, result_table

        words = ("exam", "compare", str(self.paths.results_base), str(self.paths.results_tuned))
        comparison = compare(read_run(self.paths.results_base), read_run(self.paths.results_tuned))
        if self.details:
            self._command(*words)
        else:
            self._print_command(*words)
            self.console.print(result_table(comparison))
            self._print(
                f"{result_sentence(comparison)}\nAll figures: run this command, or quickstart --details."
            )
        text, file = draw_chart(figures(comparison, self.seed)), self.root / CHART_FILE
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
        return file

    def _delete_outdated(self) -> None:
        """Delete everything in the directory unless it was made by this code and seed.

        Files are deleted too if no record names their code and seed: `train` alone can leave a base there.
        """
        root = self.root
        made = {"seed": self.seed, "code": {name: package_sha256(name) for name in CODE_PACKAGES}}
        record = root / RECORD_FILE
        if record.is_file() and read_json(record) == made:
            return
        if root.exists() and set(root.iterdir()) - {root / LOCK_FILE}:
            self._print(f"{root} was made with another seed or version; it is deleted and made again.")
            # Rename first: if the deletion is interrupted, nothing is left that looks valid.
            old = root.with_name(f".{root.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            old.mkdir()
            for path in root.iterdir():
                if path.name != LOCK_FILE:
                    path.rename(old / path.name)
            shutil.rmtree(old)
        write_json(record, made)

    def _step(self, number: int, title: str) -> None:
        self.console.print(
            f"\n{number}/6  {title}", style="bold", soft_wrap=True, highlight=False, markup=False
        )

    def _print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _print_command(self, *words: str) -> None:
        self.console.print(
            f"$ uv run {shlex.join(words)}", style="dim", soft_wrap=True, highlight=False, markup=False
        )

    def _command(self, *arguments: object) -> None:
        """Run a console script of the workspace in the terminal. Raises UserError if it fails."""
        words = [str(argument) for argument in arguments]
        self._print_command(*words)
        process = subprocess.Popen(
            [Path(sys.executable).with_name(words[0]), *words[1:]], env=child_environment()
        )
        code = wait_for(process)
        if code == INTERRUPTED:
            # The command has printed "interrupted".
            raise SystemExit(INTERRUPTED)
        if code:
            raise UserError(f"`{words[0]}` ended with exit code {code}; see its message above")

    def _evaluate(self) -> None:
        """Evaluate both models at the same time, because each evaluation mostly uses one core."""
        base, run = self.paths.base, self.paths.run
        sides = {
            "base": (self.paths.results_base, f"pretrained={base}", None),
            "tuned": (self.paths.results_tuned, f"pretrained={base},peft={run}", run),
        }
        running = []
        for side, (out, model_args, adapter) in sides.items():
            words = ["--model", "hf", "--model_args", model_args, "--tasks", POCKET, "--device", "cpu"]
            words += ["--batch_size", "64", "--log_samples", "--output_path", str(out)]
            self._print_command("lm_eval", *words)
            if is_evaluated(out, base, adapter):
                self._print(f"{out}: already evaluated; used as it is.")
                continue
            shutil.rmtree(out, ignore_errors=True)
            running.append(Evaluation(side, words, out))
        if running:
            show_progress(running, self.console)


def is_evaluated(out: Path, base: Path, adapter: Path | None) -> bool:
    """Return whether `out` holds one complete result of exactly these weights.

    `adapter` is None for the base. lm_eval writes the samples last, so an interrupted evaluation leaves an incomplete
    result.
    """
    from medalpaca_evalharness.results import read_run

    if not out.is_dir():
        return False
    try:
        run = read_run(out)
    except UserError:
        return False
    hashes = (weights_sha256(base), weights_sha256(adapter) if adapter else None)
    return (run.base_sha256, run.adapter_sha256) == hashes


@contextmanager
def exclusive_lock(root: Path) -> Iterator[None]:
    """Create and lock the directory while the block runs; on Windows, nothing is locked.

    Raises UserError if another quickstart holds the lock. The lock of a killed process ends with it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK_FILE).open("a") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"{root}: another quickstart is running there; wait until it ends") from None
        yield


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """Return the exit code of a command, also if Ctrl-C is pressed: the command then saves its work and ends.

    A terminal sends Ctrl-C to the command as well. Without a terminal, the signal is passed on to it.
    """
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                process.send_signal(signal.SIGINT)


class Evaluation:
    """One lm_eval process with the arguments `words`, which evaluates one side: "base" or "tuned".

    Its output is written to a log file beside the directory of results `out`, its progress (0 to 100) to `percent`.
    """

    def __init__(self, side: str, words: Sequence[str], out: Path) -> None:
        self.side, self.out = side, out
        self.log = out.parent / f"{side}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.percent = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lm_eval", *words],
            env=child_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def follow(self) -> None:
        """Copy the output to the log file and update `percent` until the process ends."""
        stream: IO[bytes] | None = self.process.stdout
        if stream is None:
            return
        with self.log.open("wb") as log:
            while block := os.read(stream.fileno(), 4096):
                log.write(block)
                log.flush()
                if percents := PERCENT.findall(block):
                    self.percent = int(percents[-1])
        self.process.wait()


def show_progress(evaluations: Sequence[Evaluation], console: Console) -> None:
    """Show one progress bar of all evaluations until all have ended. Raises UserError if one fails.

    If the wait is interrupted, the evaluations are terminated.
    """
    from threading import Thread

    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    threads = [Thread(target=evaluation.follow, daemon=True) for evaluation in evaluations]
    try:
        with Progress(*columns, console=console) as progress:
            sides = " and ".join(evaluation.side for evaluation in evaluations)
            bar = progress.add_task(f"evaluating {sides}", total=100 * len(evaluations))
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                progress.update(bar, completed=sum(evaluation.percent for evaluation in evaluations))
                threads[0].join(0.2) if threads[0].is_alive() else threads[-1].join(0.2)
    except BaseException:
        for evaluation in evaluations:
            evaluation.process.terminate()
        raise
    for evaluation in evaluations:
        if evaluation.process.returncode:
            lines = evaluation.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise UserError(
                f"the evaluation of {evaluation.side} failed: {lines[-1] if lines else 'no output'} "
                f"(full output: {evaluation.log})"
            )


def child_environment() -> dict[str, str]:
    """Return the environment of child processes: sealed, offline, and without busy waiting of idle threads."""
    return {**os.environ, **OFFLINE, "MEDALPACA_SEALED": "1", "OMP_WAIT_POLICY": "passive"}
