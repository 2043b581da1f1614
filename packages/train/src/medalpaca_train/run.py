"""Train one recipe: prepare rows and model, run the training loop, save the run directory."""

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
from medalpaca_data.core.cli import screen
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import write_json, write_text
from medalpaca_data.core.weights import weights_sha256

from . import checkpoint, run_dir
from .checkpoint import Progress
from .datasets import (
    POCKET_BASE,
    Datasets,
    PreparedData,
    check_clearance,
    prepare_data,
    print_data_summary,
    read_datasets,
    resolve,
)
from .distributed import distribute_model, print_strategy
from .estimate import check_disk, disk_bytes, estimate_run
from .hardware import Hardware, choose_hardware, count_flops, peak_flops, set_threads
from .loop import Trainer, make_optimizer, stop_on_signals
from .loss import choose_objective
from .model import (
    NEW_POCKET_MODEL,
    count_parameters,
    enable_activation_checkpointing,
    hub_commit,
    load_model,
    load_on_meta_device,
    quantization_kwargs,
    resolve_base,
    trainable_parameters,
)
from .model_card import format_loss, make_card
from .packing import make_plan
from .process_group import SINGLE_PROCESS, ProcessGroup
from .progress import echo
from .recipe import Recipe, read_recipe
from .run_dir import (
    LOCK_FILE,
    TrainResult,
    check_hashes,
    check_out_directory,
    remove_temporary_files,
    run_lock,
    save_best_model,
    save_model,
    write_run_start,
)
from .tokenize import print_preview
from .trackers import check_trackers, draw_loss_curve, read_metrics
from .trainable import describe_trainable


def train(
    recipe: Recipe,
    *,
    name: str | None = None,
    console: Console | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Path:
    """Train `recipe` and return its run directory: finished, or with a checkpoint after SIGTERM.

    A finished run of the same recipe, data and base is not trained again. `name` is the title of the model card, and
    the name of the directory if the recipe has no `out` (default: the last part of `out`, or `run`). All processes of
    `group` call this function; the main process writes. Raises UserError for bad input. The first Ctrl-C raises
    KeyboardInterrupt after a checkpoint is saved, a second one at once.
    """
    name = name or (Path(recipe.out).name if recipe.out else "run")
    console = console or screen()
    check_trackers(recipe.track)
    with group.local_main_first():
        resolved = resolve(recipe, name)
    run = Path(str(resolved.out))
    with ExitStack() as stack:
        if group.is_main:
            check_out_directory(run, resolved)
            checkpoint.reject_pickles(run)
            # A finished run needs no lock, so it may be in a read-only directory.
            stack.enter_context(nullcontext() if run_dir.read_manifest(run) else run_lock(run))
            # Again under the lock: the process that held it before may have started another recipe here.
            check_out_directory(run, resolved)
        group.barrier()
        return _train_locked(run, name, recipe, resolved, console, group)


def _train_locked(
    run: Path, name: str, recipe: Recipe, resolved: Recipe, console: Console, group: ProcessGroup
) -> Path:
    datasets = read_datasets(resolved)
    clearance = check_clearance(resolved, datasets)
    echo(console, f"patients' text: {clearance.statement}")
    for note in clearance.notes:
        echo(console, f"note: {note}")
    base = _resolve_base_model(recipe, resolved, console, group)
    hashes = _gather_hashes(datasets, base, group)
    if manifest := group.broadcast(run_dir.read_manifest(run)):
        check_hashes(run, (manifest["data"]["sha256"], manifest["base"]["sha256"]), hashes)
        if group.is_main:
            clean_up(run)
        echo(console, f"{run} is a finished run of this recipe; nothing to do")
        return run
    with group.local_main_first():
        data = prepare_data(resolved, base, datasets)
    print_data_summary(data, console)

    plan = make_plan(data.train.lengths, resolved)
    latest = group.broadcast(checkpoint.find_latest(run))
    start = group.broadcast(
        checkpoint.read_progress(latest) if latest else Progress(0, 0.0, plan.sha256, *hashes, group.size)
    )
    check_hashes(run, (start.data_sha256, start.base_sha256), hashes)
    if start.plan_sha256 != plan.sha256:
        raise UserError(
            f"out={run}: its checkpoint follows another plan of steps, made with another tokenizer or version; "
            "choose another out="
        )
    hardware = choose_hardware(resolved.precision, group.local_rank)
    meta_model = load_on_meta_device(resolved, base, data.tokenizer)
    total_parameters = count_parameters(meta_model.parameters())
    set_threads(total_parameters, group.local_size)
    flops, device_flops = count_flops(meta_model), peak_flops(hardware.device, hardware.compute_dtype)
    estimate = estimate_run(meta_model, resolved, plan, data.train, hardware, device_flops)
    estimate = estimate.per_process(group, hardware.device, sharded=resolved.shard == "full")
    # All processes decide alike: one node with less free memory makes all of them use checkpointing.
    checkpointing = resolved.checkpointing == "always" or (
        resolved.checkpointing == "auto" and any(group.all_gather(estimate.needs_checkpointing()))
    )
    suffix = " in each process" if group.size > 1 else ""
    echo(console, estimate.describe(checkpointing=checkpointing, suffix=suffix))
    if group.is_main:
        element = torch.finfo(hardware.compute_dtype).bits // 8
        echo(console, check_disk(run, disk_bytes(meta_model, resolved, element)))
    print_strategy(resolved, plan, hardware, group, console)

    def load(on: Hardware) -> Any:
        return load_model(resolved, base, data.tokenizer, on)

    model, strategy = distribute_model(load, resolved, hardware, group)
    if checkpointing:
        enable_activation_checkpointing(model)
        echo(
            console, "gradient checkpointing: activations are recomputed in the backward pass to save memory"
        )
    optimizer = make_optimizer(model, resolved)
    trainable = count_parameters(trainable_parameters(model).values())
    echo(console, f"training {trainable:,} of {total_parameters:,} weights ({hardware.reason})")
    echo(console, describe_trainable(meta_model))
    if resolved.warmup_steps and resolved.warmup_steps >= len(plan.steps):
        echo(
            console,
            f"warmup_steps={resolved.warmup_steps}, but the run has {len(plan.steps)} steps; "
            "the learning rate never reaches its peak",
        )
    with torch.no_grad():
        choice = strategy(lambda: choose_objective(model, data.train, hardware))
    for reason in choice.reasons:
        echo(console, reason)
    if group.is_main:
        write_run_start(run, resolved, data.rejected, data.cut)
        remove_temporary_files(run)
        checkpoint.remove_incomplete(run)
    if latest:
        checkpoint.restore(latest, model, optimizer)
        processes = f", saved by {start.processes} and continued by {group.size} processes"
        echo(
            console,
            f"resuming from step {start.step} of {len(plan.steps)}{processes if start.processes != group.size else ''}",
        )

    trainer = Trainer(
        resolved,
        run,
        model,
        choice.objective,
        optimizer,
        hardware,
        plan,
        data.train,
        data.validation,
        flops,
        device_flops * group.size,
        strategy,
        group,
    )
    with stop_on_signals() as stop:
        result = trainer.fit(replace(start, processes=group.size), console, stop)
    if not result.finished:
        echo(console, f"saved at step {result.step} of {len(plan.steps)}; the same command continues")
        if stop.interrupted:
            raise KeyboardInterrupt
        return run
    choice.objective.restore_attention()
    if group.is_main:
        if strategy.sharded:
            # Unsharded, as one process would hold it: the base with the weights of the last checkpoint.
            model = load(replace(hardware, device=torch.device("cpu")))
            checkpoint.restore_latest_weights(run, model)
        finished = FinishedRun(run, name, resolved, base, clearance, start, result, group)
        finish(finished, model, data, hardware, console)
    group.barrier()
    return run


def preview_recipe(name: str, recipe: Recipe, console: Console) -> None:
    """Print the first training rows of a recipe and a summary of its data, without a run directory.

    Built-in data is made if it is missing. Raises UserError if `model` is `pocket-base` and this base does not exist,
    or if no row can be trained on.
    """
    if recipe.model == POCKET_BASE and run_dir.read_manifest(paths.quickstart().base) is None:
        raise UserError(
            "--preview: the pocket base does not exist yet, and a preview trains nothing; run `uv run quickstart` first"
        )
    resolved = resolve(recipe, name)
    datasets = read_datasets(resolved)
    data = prepare_data(resolved, _resolve_base_model(recipe, resolved, console), datasets)
    print_preview(data.train, data.tokenizer, console)
    print_data_summary(data, console)


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run after its last step, with everything that its manifest and model card record.

    `base` is the base's directory, or None for a new pocket model. `start` is the progress at the start of this
    process.
    """

    directory: Path
    name: str
    recipe: Recipe
    base: Path | None
    clearance: Clearance
    start: Progress
    result: TrainResult
    group: ProcessGroup


def finish(run: FinishedRun, model: Any, data: PreparedData, hardware: Hardware, console: Console) -> None:
    """Save `model`, loss curve, model card and manifest into the run directory, and print a summary.

    If an earlier step was better, its weights are loaded into `model` and saved in `best/`. Checkpoints are removed
    after the manifest is written.
    """
    directory, recipe, result, dtype = run.directory, run.recipe, run.result, hardware.compute_dtype
    save_model(directory, model, data.tokenizer, dtype, run.base)
    if result.best:
        checkpoint.restore_best(directory, model)
        save_best_model(directory, model, data.tokenizer, dtype, run.base)
        echo(
            console,
            f"step {result.best.step} had the lowest validation loss, {result.best.loss:.4f}: kept in best/",
        )
    draw_loss_curve(read_metrics(directory / "metrics.jsonl"), directory / "loss.png")
    manifest = run_dir.make_manifest(
        recipe, directory, run.start, result, data.counts(), hardware, run.group.size
    )
    manifest["base"]["revision"] = hub_commit(run.base) or recipe.revision
    manifest["patient_text"] = run.clearance.as_json()
    command = lm_eval_command(recipe, directory, dtype)
    write_text(directory / "README.md", make_card(manifest, run.name, command))
    write_json(directory / run_dir.MANIFEST_FILE, manifest)
    checkpoint.remove_all(directory)
    if result.loss_after is not None:
        echo(
            console, f"validation loss {format_loss(result.loss_before)} -> {format_loss(result.loss_after)}"
        )
    print_summary(manifest, directory, command, console)


def lm_eval_command(recipe: Recipe, run: Path, dtype: torch.dtype) -> str:
    """Return the lm_eval command that evaluates a finished run, as text for a shell.

    The base is quantised as in training. The task is medalpaca_pocket for the Meadow of the quickstart, else
    medalpaca_usmle.
    """
    model = f"pretrained={recipe.model},peft={run}" if recipe.method == "lora" else f"pretrained={run}"
    quantization = quantization_kwargs(recipe.quantization, dtype)
    # lm_eval's own class cannot quantise with transformers 5; the plugin's class can.
    model_type = "medalpaca" if quantization else "hf"
    model = ",".join((model, *(f"{key}={value}" for key, value in quantization.items())))
    task = "medalpaca_pocket" if recipe.data == str(paths.quickstart().meadow) else "medalpaca_usmle"
    return (
        f"lm_eval --model {model_type} --model_args {shlex.quote(model)} --tasks {task} "
        f"--log_samples --output_path {shlex.quote(str(run / 'results'))}"
    )


def print_summary(manifest: dict[str, Any], run: Path, command: str, console: Console) -> None:
    """Print rows, tokens, steps, loss and time of a finished run, its directory, and the next command."""
    data, loss = manifest["data"], manifest["validation_loss"]
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for label, value in (
        ("rows trained on", f"{data['rows_train']:,} of {data['rows_read']:,}"),
        ("tokens per epoch", f"{data['tokens']:,}, {data['supervised_tokens']:,} of them trained on"),
        ("steps", f"{manifest['steps']:,}"),
        *(
            [("validation loss", f"{format_loss(loss['before'])} -> {format_loss(loss['after'])}")]
            if loss["before"]
            else []
        ),
        ("time", f"{manifest['seconds']:.0f} s"),
        ("run", str(run)),
    ):
        table.add_row(label, Text(value))
    console.print(table)
    echo(console, f"next: uv run {command}")


def clean_up(run: Path) -> None:
    """Remove checkpoints, temporary files and the lock file from a finished run.

    They are left if the process was killed right after the manifest was written.
    """
    checkpoint.remove_all(run)
    remove_temporary_files(run)
    with suppress(OSError):
        (run / LOCK_FILE).unlink()


def _resolve_base_model(
    recipe: Recipe, resolved: Recipe, console: Console, group: ProcessGroup = SINGLE_PROCESS
) -> Path | None:
    """Return the directory of the base, or None for a new pocket model; train the pocket base if it is missing."""
    if (
        recipe.model == POCKET_BASE
        and group.broadcast(run_dir.read_manifest(paths.quickstart().base)) is None
    ):
        echo(console, f"training the pocket base first, in {resolved.model}")
        name, base_recipe = read_recipe(POCKET_BASE, [f"out={resolved.model}"])
        train(base_recipe, name=name, console=console, group=group)
        if run_dir.read_manifest(paths.quickstart().base) is None:
            raise UserError(f"{resolved.model}: the pocket base is not finished; the same command continues")
    with group.local_main_first():
        return None if resolved.model == NEW_POCKET_MODEL else resolve_base(resolved.model, resolved.revision)


def _gather_hashes(datasets: Datasets, base: Path | None, group: ProcessGroup) -> tuple[str, str | None]:
    """Return the hashes of data and base. Raises UserError if two processes read different data or weights."""
    # Weights are hashed once per node.
    own = (datasets.sha256, weights_sha256(base) if base and not group.local_rank else None)
    hashes = group.all_gather(own)
    data, weights = hashes[0]
    for rank, (other_data, other_weights) in enumerate(hashes):
        if other_data != data or other_weights not in (None, weights):
            key = "data=" if other_data != data else "model="
            raise UserError(
                f"{key} differs between process {rank} and process 0; give a path on a file system that all nodes share"
            )
    return data, weights
