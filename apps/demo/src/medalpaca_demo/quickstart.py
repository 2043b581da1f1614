"""`quickstart`: the whole loop on the embedded pocket model, each step by the command a user would type.

Build the cards, make a base that knows their language and not their facts, teach it with LoRA, examine both through
lm_eval, compare. What is there and still current is used again.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
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
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from rich.console import Console

MADE, LOCK = "made.json", ".lock"
PERCENT = re.compile(rb"(\d{1,3})%\|")  # how lm_eval's progress bar starts
SOURCES = ("medalpaca_data", "medalpaca_train", "medalpaca_evalharness")


def entry() -> None:
    """The console script."""
    run(main)


def main(argv: Sequence[str]) -> None:
    """Parse and go."""
    arguments = parser().parse_args(argv)
    if arguments.seed < 0:
        raise UserError(f"--seed {arguments.seed}: 0 or more")

    Loop(arguments.seed, quickstart(), screen()).run()


def parser() -> Command:
    """All of `quickstart`."""
    main = Command(
        "quickstart",
        "Data, fine-tuning, examination and verdict on an embedded pocket model: minutes on a CPU, "
        "nothing leaves the machine. Everything lies under MEDALPACA_HOME (default: medalpaca/ in the user's cache "
        "directory).",
        (
            "quickstart             the whole loop; what is there already is used again",
            "quickstart --seed 2    another pair; the first is made away with",
            "demo                   then: the two side by side",
        ),
    )
    main.add_argument(
        "--seed", type=int, metavar="N", default=1, help="of both trainings (default: %(default)s)"
    )
    main.add_common("medalpaca-demo")
    return main


@dataclass(frozen=True, slots=True)
class Loop:
    """One walk around the loop."""

    seed: int
    places: Quickstart
    console: Console

    def run(self) -> None:
        """All steps in order; a step that finds its result made by this code and seed takes it as it is."""
        with only_one(self.places.meadow.parent):
            self._start_over_if_outdated()
            self._walk()

    def _walk(self) -> None:
        places = self.places
        for made in (places.base, places.run):
            if made.is_dir():
                refuse_unsafe(made)
        language = places.meadow.parent / "language"
        self._step(1, "Build the flash cards, and the text the base learns to read from")
        self._command("data", "build", "pocket", f"out={places.meadow}")
        self._command("data", "build", "pocket-language", f"seed={self.seed}", f"out={language}")
        self._step(2, "Make the base: it knows the language of the cards and none of their facts")
        self._command("train", "pocket-base", f"data={language}", f"out={places.base}", f"seed={self.seed}")
        self._step(3, "Is any exam question in what the models learn from?")
        for path in (language, places.meadow):
            self._command("data", "check", path, "--exam", POCKET, "--fail-over", "0.5")
        self._step(4, "Teach the base the facts: LoRA on the cards")
        data, out = f"data={places.meadow}", f"out={places.run}"
        self._command("train", "pocket", f"model={places.base}", data, out, f"seed={self.seed}")
        self._step(5, "Examine both, in words that neither has seen")
        self._examine()
        self._step(6, "The verdict")
        self._command("exam", "compare", places.results_base, places.results_tuned)
        self._say(
            "\nThis shows that the whole chain can teach a model and measure that it did.\n"
            "It says nothing about medicine, and nothing here is for clinical use.\n\n"
            "See the two side by side:  uv run demo"
        )

    def _start_over_if_outdated(self) -> None:
        """Keep what this code and seed made; put everything else aside and delete it.

        What lies there without a record (`train` alone leaves a base there) is not ours to build on.
        """
        root = self.places.meadow.parent
        made = {"seed": self.seed, "code": {name: package_sha256(name) for name in SOURCES}}
        record = root / MADE
        if record.is_file() and read_json(record) == made:
            return
        if root.exists() and set(root.iterdir()) - {root / LOCK}:
            self._say(f"{root} was made otherwise (another seed or version): making it again.")
            # Renamed first: a kill half way through deleting leaves nothing that looks current.
            old = root.with_name(f".{root.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            old.mkdir()
            for path in root.iterdir():
                if path.name != LOCK:
                    path.rename(old / path.name)
            shutil.rmtree(old)
        write_json(record, made)

    def _step(self, number: int, title: str) -> None:
        self.console.print(
            f"\n{number}/6  {title}", style="bold", soft_wrap=True, highlight=False, markup=False
        )

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _show_command(self, *words: str) -> None:
        self.console.print(
            f"$ uv run {shlex.join(words)}", style="dim", soft_wrap=True, highlight=False, markup=False
        )

    def _command(self, *arguments: object) -> None:
        """Run one of our commands on the user's terminal, and stop where it stops."""
        words = [str(argument) for argument in arguments]
        self._show_command(*words)
        done = subprocess.run(
            [Path(sys.executable).with_name(words[0]), *words[1:]], check=False, env=environment()
        )
        if done.returncode == INTERRUPTED:
            raise KeyboardInterrupt
        if done.returncode:
            raise UserError(f"`{words[0]}` ended with exit code {done.returncode}; its own message is above")

    def _examine(self) -> None:
        """Both examinations at once: each spends most of its time on one core."""
        base, run = self.places.base, self.places.run
        sides = {
            "base": (self.places.results_base, f"pretrained={base}", None),
            "tuned": (self.places.results_tuned, f"pretrained={base},peft={run}", run),
        }
        running = []
        for side, (out, model_args, adapter) in sides.items():
            words = ["--model", "hf", "--model_args", model_args, "--tasks", POCKET, "--device", "cpu"]
            words += ["--batch_size", "64", "--log_samples", "--output_path", str(out)]
            self._show_command("lm_eval", *words)
            if is_examined(out, base, adapter):
                self._say(f"{out}: already examined; used as it is.")
                continue
            shutil.rmtree(out, ignore_errors=True)
            running.append(Examination(side, words, out))
        if running:
            watch(running, self.console)


def is_examined(out: Path, base: Path, adapter: Path | None) -> bool:
    """Whether `out` holds one whole result of exactly these weights. lm_eval writes it in two steps, and the
    samples last, so a kill can leave half of one."""
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
def only_one(root: Path) -> Iterator[None]:
    """Refuse a second quickstart in the same place; a killed one leaves nothing locked."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK).open("a") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"{root}: another quickstart is at work there; wait for it to end") from None
        yield


class Examination:
    """One lm_eval process; its output goes to a log, its progress bar to ours."""

    def __init__(self, side: str, words: Sequence[str], out: Path) -> None:
        self.side, self.out = side, out
        self.log = out.parent / f"{side}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.percent = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lm_eval", *words],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def follow(self) -> None:
        """Copy the output to the log until it ends, and note how far it says it is."""
        stream: IO[bytes] | None = self.process.stdout
        if stream is None:
            return
        with self.log.open("wb") as log:
            while block := os.read(stream.fileno(), 4096):
                log.write(block)
                log.flush()
                if found := PERCENT.findall(block):
                    self.percent = int(found[-1])
        self.process.wait()


def watch(examinations: Sequence[Examination], console: Console) -> None:
    """Show both bars until both are done. Raises UserError with the log's last line where one failed."""
    from threading import Thread

    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    threads = [Thread(target=examination.follow, daemon=True) for examination in examinations]
    try:
        with Progress(*columns, console=console) as progress:
            bars = [
                progress.add_task(f"examining {examination.side}", total=100) for examination in examinations
            ]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                for bar, examination in zip(bars, examinations, strict=True):
                    progress.update(bar, completed=examination.percent)
                threads[0].join(0.2) if threads[0].is_alive() else threads[-1].join(0.2)
    except BaseException:
        for examination in examinations:
            examination.process.terminate()
        raise
    for examination in examinations:
        if examination.process.returncode:
            lines = examination.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise UserError(
                f"examining the {examination.side} failed: {lines[-1] if lines else 'no output'} "
                f"(all of it: {examination.log})"
            )


def environment() -> dict[str, str]:
    """For the children: nothing leaves the machine, and idle threads sleep instead of spinning."""
    return {**os.environ, **OFFLINE, "MEDALPACA_SEALED": "1", "OMP_WAIT_POLICY": "passive"}
