"""One training run from recipe to run directory: prepare, fit, finish.

The end of a run: the model is saved, then its receipt is written; only then do the checkpoints go.

What is said at the end: a table, and the command that comes next.
"""

from __future__ import annotations

import shlex
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medalpaca_data.clearance import Clearance
from medalpaca_data.core import paths
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import write_json, write_text
from medalpaca_data.core.weights import weights_sha256

from . import checkpoint, run_dir
from .checkpoint import Progress
from .datasets import (
    POCKET_BASE,
    Material,
    Prepared,
    clear_rows,
    prepare,
    read_material,
    say_prepared,
    settle,
)
from .distributed import say_spread, spread_out
from .estimate import estimate
from .hardware import Hardware, choose, peak, use_threads, work_of
from .loop import Trainer, make_optimizer, stop_on_signals
from .loss import choose_objective
from .model import (
    FRESH,
    base_directory,
    checkpoint_activations,
    commit_of,
    count,
    load_model,
    settings,
    skeleton,
    trainable,
)
from .model_card import make_card, show
from .packing import make_plan
from .process_group import ALONE, World
from .progress import say
from .recipe import Recipe, find_recipe
from .run_dir import (
    LOCK,
    Outcome,
    alone,
    begin,
    check_out,
    check_same,
    remove_leftovers,
    save_best,
    save_model,
)
from .tokenize import show_preview
from .trackers import check_trackers, draw_curve, read_journal


def next_command(recipe: Recipe, run: Path, dtype: torch.dtype) -> str:
    """The command that examines a finished run, on a base quantised as it was, computing in `dtype`."""
    model = f"pretrained={recipe.model},peft={run}" if recipe.method == "lora" else f"pretrained={run}"
    words = settings(recipe.quantization, dtype)
    # lm_eval's own class cannot quantise with transformers 5; the plugin's can.
    kind = "medalpaca" if words else "hf"
    model = ",".join((model, *(f"{key}={value}" for key, value in words.items())))
    task = "medalpaca_pocket" if recipe.data == str(paths.quickstart().meadow) else "medalpaca_usmle"
    return (
        f"lm_eval --model {kind} --model_args {shlex.quote(model)} --tasks {task} "
        f"--log_samples --output_path {shlex.quote(str(run / 'results'))}"
    )


def show_outcome(manifest: dict[str, Any], run: Path, command: str, console: Console) -> None:
    """Print the run's numbers, where it lies, and what to do with it."""
    data, loss = manifest["data"], manifest["validation_loss"]
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for label, value in (
        ("rows trained on", f"{data['rows_train']:,} of {data['rows_read']:,}"),
        ("tokens per epoch", f"{data['tokens']:,}, {data['supervised_tokens']:,} learned"),
        ("steps", f"{manifest['steps']:,}"),
        *(
            [("validation loss", f"{show(loss['before'])} -> {show(loss['after'])}")]
            if loss["before"]
            else []
        ),
        ("time", f"{manifest['seconds']:.0f} s"),
        ("run", str(run)),
    ):
        table.add_row(label, Text(value))
    console.print(table)
    say(console, f"next: uv run {command}")


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
    receipt = run_dir.make_manifest(
        recipe, directory, run.start, outcome, prepared.counts(), hardware, run.world.size
    )
    receipt["base"]["revision"] = commit_of(run.base) or recipe.revision
    receipt["patient_text"] = run.cleared.as_json()
    command = next_command(recipe, directory, dtype)
    write_text(directory / "README.md", make_card(receipt, run.name, command))
    write_json(directory / run_dir.FILE, receipt)
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


def train(name: str, recipe: Recipe, console: Console, world: World = ALONE) -> Path:
    """Train `recipe` and return its run directory: finished, or with a checkpoint if SIGTERM asked to stop.

    A finished run of the same recipe on the same data and base is left as it is. `name` titles the card and names
    the directory where the recipe has no `out`. All processes of `world` call it alike; the first holds and writes
    the directory. Raises UserError for bad input, and KeyboardInterrupt, after saving, for Ctrl-C.
    """
    check_trackers(recipe.track)
    with world.first_of_node_first():
        settled = settle(recipe, name)
    run = Path(str(settled.out))
    with ExitStack() as held:
        if world.first:
            check_out(run, settled)
            checkpoint.refuse_pickles(run)
            # A finished run is only read, so it may lie where nothing can be written.
            held.enter_context(nullcontext() if run_dir.read_manifest(run) else alone(run))
            check_out(run, settled)  # again: who held it before us may have begun another recipe
        world.wait()
        return _train(run, name, recipe, settled, console, world)


def _train(run: Path, name: str, recipe: Recipe, settled: Recipe, console: Console, world: World) -> Path:
    """`train`, once nobody else can write into `run`."""
    material = read_material(settled)
    cleared = clear_rows(settled, material)
    say(console, f"patients' text: {cleared.said}")
    for note in cleared.notes:
        say(console, f"note: {note}")
    base = _base(recipe, settled, console, world)
    hashes = _names(material, base, world)
    if done := world.told(run_dir.read_manifest(run)):
        check_same(run, (done["data"]["sha256"], done["base"]["sha256"]), hashes)
        if world.first:
            tidy(run)
        say(console, f"{run} is a finished run of this recipe; nothing to do")
        return run
    with world.first_of_node_first():
        prepared = prepare(settled, base, material)
    say_prepared(prepared, console)

    plan = make_plan(prepared.train.lengths, settled)
    found = world.told(checkpoint.newest(run))
    start = world.told(
        checkpoint.read_progress(found) if found else Progress(0, 0.0, plan.sha256, *hashes, world.size)
    )
    check_same(run, (start.data_sha256, start.base_sha256), hashes)
    if start.plan_sha256 != plan.sha256:
        raise UserError(
            f"out={run}: its checkpoint follows another plan (other tokenizer or version); choose another out="
        )
    hardware = choose(settled.precision, world.local_rank)
    shape = skeleton(settled, base, prepared.tokenizer)
    use_threads(count(shape.parameters()), world.local_size)
    work, rate = work_of(shape), peak(hardware.device, hardware.compute_dtype)
    guess = estimate(shape, settled, plan, prepared.train, hardware, rate)
    guess = guess.shared(world, hardware.device, sharded=settled.shard == "full")
    # Agreed on: a node where other programs hold memory decides for all.
    checkpointing = settled.checkpointing == "always" or (
        settled.checkpointing == "auto" and any(world.gather(guess.needs_checkpointing()))
    )
    say(console, guess.line(checkpointing=checkpointing, each=" in each process" if world.size > 1 else ""))
    say_spread(settled, plan, hardware, world, console)

    def load(on: Hardware) -> Any:
        return load_model(settled, base, prepared.tokenizer, on)

    model, spread = spread_out(load, settled, hardware, world)
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
    with torch.no_grad():
        verdict = spread(lambda: choose_objective(model, prepared.train, hardware))
    for reason in verdict.reasons:
        say(console, reason)
    if world.first:
        begin(run, settled, prepared.rejected, prepared.cut)
        remove_leftovers(run)
        checkpoint.remove_leftovers(run)
    if found:
        checkpoint.restore(found, model, optimizer)
        others = f", saved by {start.processes} and continued by {world.size} processes"
        say(
            console,
            f"resuming from step {start.step} of {len(plan.steps)}{others if start.processes != world.size else ''}",
        )

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
        rate * world.size,
        spread,
        world,
    )
    with stop_on_signals() as stop:
        outcome = trainer.fit(replace(start, processes=world.size), console, stop)
    if outcome.finished:
        verdict.objective.release()
        if world.first:
            if spread.sharded:
                # Whole again, as one process would have it: the base with the weights of the last checkpoint.
                model = load(replace(hardware, device=torch.device("cpu")))
                checkpoint.restore_last(run, model)
            finish(
                Finished(run, name, settled, base, cleared, start, outcome, world),
                model,
                prepared,
                hardware,
                console,
            )
        world.wait()
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


def _base(recipe: Recipe, settled: Recipe, console: Console, world: World = ALONE) -> Path | None:
    """The directory of the base; None for a fresh model. The pocket base is made first if it is not there."""
    if recipe.model == POCKET_BASE and world.told(run_dir.read_manifest(paths.quickstart().base)) is None:
        say(console, f"making the pocket base first, in {settled.model}")
        train(*find_recipe(POCKET_BASE, [f"out={settled.model}"]), console, world)
        if run_dir.read_manifest(paths.quickstart().base) is None:
            raise UserError(f"{settled.model}: the pocket base is not finished; the same command continues")
    with world.first_of_node_first():
        return None if settled.model == FRESH else base_directory(settled.model, settled.revision)


def _names(material: Material, base: Path | None, world: World) -> tuple[str, str | None]:
    """The hashes of data and base. Raises UserError when the processes do not all see the same."""
    # Weights are read once on each node.
    own = (material.sha256, weights_sha256(base) if base and not world.local_rank else None)
    everybody = world.gather(own)
    data, weights = everybody[0]
    for rank, (others_data, others_weights) in enumerate(everybody):
        if others_data != data or others_weights not in (None, weights):
            what = "data=" if others_data != data else "model="
            raise UserError(
                f"{what} is not the same for process {rank} as for the first; give a place that all nodes share"
            )
    return data, weights
