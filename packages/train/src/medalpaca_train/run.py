"""One training run from recipe to run directory: prepare, fit, finish."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from medalpaca_data.deid.clearance import Clearance
from medalpaca_data.ground import places
from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.files import write_json, write_text
from medalpaca_data.ground.weights import weights_sha256

from . import checkpoint, manifest
from .alone import LOCK, alone
from .card import make_card, show
from .checkpoint import Progress
from .curve import draw_curve
from .estimate import estimate
from .exactness import choose_objective
from .flops import peak, work_of
from .hardware import Hardware, choose, use_threads
from .journal import read_journal
from .loop import Outcome, Trainer, make_optimizer
from .material import POCKET_BASE, clear_rows, read_material, settle
from .model import (
    FRESH,
    base_directory,
    checkpoint_activations,
    commit_of,
    count,
    load_model,
    skeleton,
    trainable,
)
from .plan import make_plan
from .prepare import Prepared, prepare, say_prepared
from .preview import show_preview
from .recipe import Recipe, find_recipe
from .report import next_command, show_outcome
from .run_directory import begin, check_out, check_same, remove_leftovers, save_best, save_model
from .screen import say
from .stop import stop_on_signals
from .trackers import check_trackers


def train(name: str, recipe: Recipe, console: Console) -> Path:
    """Train `recipe` and return its run directory: finished, or with a checkpoint if SIGTERM asked to stop.

    A finished run of the same recipe on the same data and base is left as it is. `name` titles the card and names
    the directory where the recipe has no `out`. Raises UserError for bad input, and KeyboardInterrupt, after
    saving, for Ctrl-C.
    """
    check_trackers(recipe.track)
    settled = settle(recipe, name)
    run = Path(str(settled.out))
    check_out(run, settled)
    checkpoint.refuse_pickles(run)
    # A finished run is only read, so it may lie where nothing can be written.
    with nullcontext() if manifest.read_manifest(run) else alone(run):
        check_out(run, settled)  # again: who held it before us may have begun another recipe
        return _train(run, name, recipe, settled, console)


def _train(run: Path, name: str, recipe: Recipe, settled: Recipe, console: Console) -> Path:
    """`train`, once nobody else can write into `run`."""
    material = read_material(settled)
    cleared = clear_rows(settled, material)
    say(console, f"patients' text: {cleared.said}")
    base = _base(recipe, settled, console)
    hashes = (material.sha256, weights_sha256(base) if base else None)
    if done := manifest.read_manifest(run):
        check_same(run, (done["data"]["sha256"], done["base"]["sha256"]), hashes)
        _tidy(run)
        say(console, f"{run} is a finished run of this recipe; nothing to do")
        return run
    prepared = prepare(settled, base, material)
    say_prepared(prepared, console)

    plan = make_plan(prepared.train.lengths, settled)
    found = checkpoint.newest(run)
    start = checkpoint.read_progress(found) if found else Progress(0, 0.0, plan.sha256, *hashes)
    check_same(run, (start.data_sha256, start.base_sha256), hashes)
    if start.plan_sha256 != plan.sha256:
        raise UserError(
            f"out={run}: its checkpoint follows another plan (other tokenizer or version); choose another out="
        )
    hardware = choose(settled.precision)
    shape = skeleton(settled, base, prepared.tokenizer)
    use_threads(count(shape.parameters()))
    work, rate = work_of(shape), peak(hardware.device, hardware.compute_dtype)
    guess = estimate(shape, settled, plan, prepared.train, hardware, rate)
    checkpointing = settled.checkpointing == "always" or (
        settled.checkpointing == "auto" and guess.needs_checkpointing()
    )
    say(console, guess.line(checkpointing=checkpointing))
    model = load_model(settled, base, prepared.tokenizer, hardware)
    if checkpointing:
        checkpoint_activations(model)
        say(console, "activations are computed again in the backward pass, to save memory (checkpointing)")
    total = count(shape.parameters())
    optimizer = make_optimizer(model, settled)
    say(console, f"training {count(trainable(model).values()):,} of {total:,} weights ({hardware.reason})")
    if settled.warmup_steps and settled.warmup_steps >= len(plan.steps):
        say(
            console,
            f"warm-up: {settled.warmup_steps} steps, the run has {len(plan.steps)}; its rate never reaches the peak",
        )
    verdict = choose_objective(model, prepared.train, hardware)
    for reason in verdict.reasons:
        say(console, reason)
    begin(run, settled, prepared.rejected, prepared.cut)
    remove_leftovers(run)
    checkpoint.remove_leftovers(run)
    if found:
        checkpoint.restore(found, model, optimizer)
        say(console, f"resuming from step {start.step} of {len(plan.steps)}")

    trainer = Trainer(
        settled,
        run,
        model,
        verdict.objective,
        optimizer,
        hardware,
        plan,
        prepared.train,
        prepared.validation,
        work,
        rate,
    )
    with stop_on_signals() as stop:
        outcome = trainer.fit(start, console, stop)
    if outcome.finished:
        verdict.objective.release()
        _finish(run, name, settled, prepared, model, hardware, start, outcome, console, base, cleared)
    else:
        say(console, f"saved at step {outcome.step} of {len(plan.steps)}; the same command continues")
        if stop.interrupted:
            raise KeyboardInterrupt
    return run


def preview(name: str, recipe: Recipe, console: Console) -> None:
    """Show what would be learned, without loading weights or writing a run."""
    settled = settle(recipe, name)
    material = read_material(settled)
    prepared = prepare(settled, _base(recipe, settled, console), material)
    show_preview(prepared.train, prepared.tokenizer, console)
    say_prepared(prepared, console)


def _base(recipe: Recipe, settled: Recipe, console: Console) -> Path | None:
    """The directory of the base; None for a fresh model. The pocket base is made first if it is not there."""
    if recipe.model == POCKET_BASE and manifest.read_manifest(places.quickstart().base) is None:
        say(console, f"making the pocket base first, in {settled.model}")
        train(*find_recipe(POCKET_BASE, [f"out={settled.model}"]), console)
        if manifest.read_manifest(places.quickstart().base) is None:
            raise UserError(f"{settled.model}: the pocket base is not finished; the same command continues")
    return None if settled.model == FRESH else base_directory(settled.model, settled.revision)


def _finish(
    run: Path,
    name: str,
    recipe: Recipe,
    prepared: Prepared,
    model: Any,
    hardware: Hardware,
    start: Progress,
    outcome: Outcome,
    console: Console,
    base: Path | None,
    cleared: Clearance,
) -> None:
    """Save the model, then the receipt; only then do the checkpoints go."""
    save_model(run, model, prepared.tokenizer, hardware.compute_dtype)
    if outcome.best:
        checkpoint.restore_best(run, model)
        save_best(run, model, prepared.tokenizer, hardware.compute_dtype)
        say(
            console,
            f"step {outcome.best.step} had the lowest validation loss, {outcome.best.loss:.4f}: kept in best/",
        )
    draw_curve(read_journal(run / "metrics.jsonl"), run / "loss.png")
    receipt = manifest.make_manifest(recipe, run, start, outcome, prepared.counts(), hardware)
    receipt["base"]["revision"] = commit_of(base) or recipe.revision
    receipt["patient_text"] = cleared.as_json()
    command = next_command(recipe, run, hardware.compute_dtype)
    write_text(run / "README.md", make_card(receipt, name, command))
    write_json(run / manifest.FILE, receipt)
    checkpoint.remove_all(run)
    if outcome.after is not None:
        say(console, f"validation loss {show(outcome.before)} -> {show(outcome.after)}")
    show_outcome(receipt, run, command, console)


def _tidy(run: Path) -> None:
    """Take from a finished run what stays when a kill comes right after its receipt."""
    checkpoint.remove_all(run)
    remove_leftovers(run)
    with suppress(OSError):
        (run / LOCK).unlink()
