"""One training run from recipe to run directory: prepare, fit, finish."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from medalpaca_data.ground import places
from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.weights import weights_sha256

from .estimate import estimate
from .finish import Finished, finish, tidy
from .hardware.device import Hardware, choose, use_threads
from .hardware.flops import peak, work_of
from .loop import Trainer, make_optimizer
from .loss.exactness import choose_objective
from .material import POCKET_BASE, Material, clear_rows, read_material, settle
from .model.load import (
    FRESH,
    base_directory,
    checkpoint_activations,
    count,
    load_model,
    skeleton,
    trainable,
)
from .prepare import prepare, say_prepared
from .processes.spread import say_spread, spread_out
from .processes.world import ALONE, World
from .recipe import Recipe, find_recipe
from .record import checkpoint, manifest
from .record.alone import alone
from .record.checkpoint import Progress
from .record.run_directory import begin, check_out, check_same, remove_leftovers
from .record.trackers import check_trackers
from .rows.plan import make_plan
from .rows.preview import show_preview
from .screen import say
from .stop import stop_on_signals


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
            held.enter_context(nullcontext() if manifest.read_manifest(run) else alone(run))
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
    if done := world.told(manifest.read_manifest(run)):
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
    if recipe.model == POCKET_BASE and world.told(manifest.read_manifest(places.quickstart().base)) is None:
        say(console, f"making the pocket base first, in {settled.model}")
        train(*find_recipe(POCKET_BASE, [f"out={settled.model}"]), console, world)
        if manifest.read_manifest(places.quickstart().base) is None:
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
