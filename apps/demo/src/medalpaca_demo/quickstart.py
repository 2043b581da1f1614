"""`quickstart`: the whole loop on the embedded pocket model, each step by the command a user would type.

Build the cards, make a base that knows their language and not their facts, teach it with LoRA, examine both through
lm_eval, compare. What is there and still current is used again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from medalpaca_data.exam import POCKET
from medalpaca_data.ground.code import package_sha256
from medalpaca_data.ground.errors import Parser, UserError, run
from medalpaca_data.ground.files import read_json, write_json
from medalpaca_data.ground.places import Quickstart, cache, quickstart
from medalpaca_data.ground.sealed import OFFLINE

if TYPE_CHECKING:
    from rich.console import Console

MADE = "made.json"
PERCENT = re.compile(rb"(\d{1,3})%\|")  # how lm_eval's progress bar starts
SOURCES = ("medalpaca_data", "medalpaca_train", "medalpaca_evalharness")


def entry() -> None:
    """The console script."""
    run(main)


def main(argv: Sequence[str]) -> None:
    """Parse and go."""
    from importlib.metadata import version

    parser = Parser(
        prog="quickstart",
        description="Data, fine-tuning, examination and verdict on an embedded pocket model: minutes on a CPU, "
        "nothing leaves the machine.",
        epilog="Everything lies under MEDALPACA_HOME (default: medalpaca/ in the user's cache directory).",
    )
    parser.add_argument("--seed", type=int, default=1, help="of both trainings (default: %(default)s)")
    parser.add_argument("--version", action="version", version=f"medalpaca-demo {version('medalpaca-demo')}")
    arguments = parser.parse_args(argv)
    if arguments.seed < 0:
        raise UserError(f"--seed {arguments.seed}: 0 or more")

    from rich.console import Console

    Loop(arguments.seed, quickstart(), Console()).run()


@dataclass(frozen=True, slots=True)
class Loop:
    """One walk around the loop."""

    seed: int
    places: Quickstart
    console: Console

    def run(self) -> None:
        """All steps in order; a step that finds its result made by this code and seed takes it as it is."""
        self._start_over_if_outdated()
        places = self.places
        language = cache() / f"pocket-language-{self.seed}"
        self._step(1, "Build the flash cards, and the text the base learns to read from")
        self._command("data", "build", "pocket", f"out={places.meadow}")
        self._command("data", "build", "pocket-language", f"seed={self.seed}", f"out={language}")
        self._step(2, "Make the base: it knows the language of the cards and none of their facts")
        self._command("train", "pocket-base", f"data={language}", f"out={places.base}", f"seed={self.seed}")
        self._step(3, "Is any exam question in what the models learn from?")
        for path in (language, places.meadow):
            self._command("data", "check", path, "--exam", POCKET, "--fail-over", "0.5")
        self._step(4, "Teach the base the facts: LoRA on the cards")
        self._command(
            "train",
            "pocket",
            f"model={places.base}",
            f"data={places.meadow}",
            f"out={places.run}",
            f"seed={self.seed}",
        )
        self._step(5, "Examine both, in words that neither has seen")
        self._examine()
        self._step(6, "The verdict")
        self._command("exam", "compare", places.results_base, places.results_tuned)
        self.console.print(
            "\nThis shows that the whole chain can teach a model and measure that it did.\n"
            "It says nothing about medicine, and nothing here is for clinical use.\n\n"
            "See the two side by side:  [bold]uv run demo[/]"
        )

    def _start_over_if_outdated(self) -> None:
        root = self.places.meadow.parent
        made = {"seed": self.seed, "code": {name: package_sha256(name) for name in SOURCES}}
        record = root / MADE
        if record.is_file() and read_json(record) != made:
            self.console.print(
                f"{root} was made with another seed or version: making it again.", soft_wrap=True
            )
            shutil.rmtree(root)
        write_json(record, made)

    def _step(self, number: int, title: str) -> None:
        self.console.print(f"\n[bold]{number}/6  {title}[/]", soft_wrap=True)

    def _command(self, name: str, *arguments: object) -> None:
        """Run one of our commands on the user's terminal, and stop where it stops."""
        words = [name, *map(str, arguments)]
        self.console.print("$ uv run " + " ".join(words), style="dim", soft_wrap=True, highlight=False)
        done = subprocess.run(
            [Path(sys.executable).with_name(name), *words[1:]], check=False, env=environment()
        )
        if done.returncode:
            raise UserError(f"`{name}` ended with exit code {done.returncode}; its own message is above")

    def _examine(self) -> None:
        """Both examinations at once: each spends most of its time on one core."""
        places = self.places
        sides = {
            "base": (places.results_base, f"pretrained={places.base}"),
            "tuned": (places.results_tuned, f"pretrained={places.base},peft={places.run}"),
        }
        running = {}
        for side, (out, model_args) in sides.items():
            words = ["--model", "hf", "--model_args", model_args, "--tasks", POCKET]
            words += ["--device", "cpu", "--batch_size", "64", "--log_samples", "--output_path", str(out)]
            self.console.print(
                f"$ uv run lm_eval {' '.join(words)}", style="dim", soft_wrap=True, highlight=False
            )
            if any(out.rglob("results_*.json")):
                self.console.print(f"{out}: already examined; used as it is.", soft_wrap=True)
                continue
            running[side] = Examination(side, words, out)
        if running:
            watch(list(running.values()), self.console)


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
