"""The end of a run: the model is saved, then its receipt is written; only then do the checkpoints go."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from medalpaca_data.clearance import Clearance
from medalpaca_data.ground.files import write_json, write_text

from .hardware.device import Hardware
from .model.load import commit_of
from .prepare import Prepared
from .processes.world import World
from .recipe import Recipe
from .record import checkpoint, manifest
from .record.alone import LOCK
from .record.card import make_card, show
from .record.checkpoint import Progress
from .record.curve import draw_curve
from .record.journal import read_journal
from .record.outcome import Outcome
from .record.run_directory import remove_leftovers, save_best, save_model
from .report import next_command, show_outcome
from .screen import say


@dataclass(frozen=True, slots=True)
class Finished:
    """A run whose last step is done: what was asked for, from what, why its rows may be learned, and how it went."""

    directory: Path
    name: str
    recipe: Recipe
    base: Path | None
    cleared: Clearance
    start: Progress
    outcome: Outcome
    world: World


def finish(run: Finished, model: Any, prepared: Prepared, hardware: Hardware, console: Console) -> None:
    """Save `model` and everything that is said about it into the run directory."""
    directory, recipe, outcome, dtype = run.directory, run.recipe, run.outcome, hardware.compute_dtype
    save_model(directory, model, prepared.tokenizer, dtype)
    if outcome.best:
        checkpoint.restore_best(directory, model)
        save_best(directory, model, prepared.tokenizer, dtype)
        say(
            console,
            f"step {outcome.best.step} had the lowest validation loss, {outcome.best.loss:.4f}: kept in best/",
        )
    draw_curve(read_journal(directory / "metrics.jsonl"), directory / "loss.png")
    receipt = manifest.make_manifest(
        recipe, directory, run.start, outcome, prepared.counts(), hardware, run.world.size
    )
    receipt["base"]["revision"] = commit_of(run.base) or recipe.revision
    receipt["patient_text"] = run.cleared.as_json()
    command = next_command(recipe, directory, dtype)
    write_text(directory / "README.md", make_card(receipt, run.name, command))
    write_json(directory / manifest.FILE, receipt)
    checkpoint.remove_all(directory)
    if outcome.after is not None:
        say(console, f"validation loss {show(outcome.before)} -> {show(outcome.after)}")
    show_outcome(receipt, directory, command, console)


def tidy(run: Path) -> None:
    """Take from a finished run what stays when a kill comes right after its receipt."""
    checkpoint.remove_all(run)
    remove_leftovers(run)
    with suppress(OSError):
        (run / LOCK).unlink()
