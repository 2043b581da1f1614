"""The training loop: optimizer steps, validation and checkpoints, until the plan ends or a signal arrives."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from rich.console import Console

from medalpaca_data.core.errors import UserError

from . import checkpoint
from .distributed import SINGLE_DEVICE, Strategy, WorkItem, assign_work
from .hardware import FlopCounter, Hardware
from .loss import Objective
from .model import trainable_parameters
from .packing import MicroBatch, Plan, Step, best_fit
from .process_group import SINGLE_PROCESS, ProcessGroup
from .progress import progress_meter
from .recipe import Recipe
from .run_dir import TrainResult
from .tokenize import Sample
from .trackers import MetricsLog, NullMetricsLog, open_trackers, read_validation_loss


@dataclass(slots=True)
class StopRequest:
    """A request to stop after the current step, set by SIGTERM or Ctrl-C; `interrupted` is true after Ctrl-C."""

    requested: bool = False
    interrupted: bool = False

    def agree(self, group: ProcessGroup) -> bool:
        """Return whether any process of `group` got a request, so that all stop after the same step.

        Sets `interrupted` on every process if any of them was interrupted. All processes must call it.
        """
        requested, interrupted = group.all_reduce(self.requested, self.interrupted)
        # Never reset to False: a signal may have arrived during the collective operation.
        self.interrupted = self.interrupted or bool(interrupted)
        return bool(requested)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Yield a request that SIGTERM and Ctrl-C set while the block runs.

    Ctrl-C after an earlier signal raises KeyboardInterrupt at once. Outside the main thread, no signal is handled.
    """
    request = StopRequest()

    def handle(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            if request.requested:
                raise KeyboardInterrupt
            request.interrupted = True
        request.requested = True

    if threading.current_thread() is not threading.main_thread():
        # Python delivers signals to the main thread only.
        yield request
        return
    previous: dict[int, Any] = {n: signal.signal(n, handle) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


# Most row ids in an error message; metrics.jsonl holds all of them.
MAX_ROW_IDS = 8


@dataclass(frozen=True, slots=True)
class Trainer:
    """Everything that stays the same in all steps of a run; all processes call its methods alike.

    `run` is the run directory. `samples` are the training rows as tokens, which `plan` indexes, and `validation` the
    validation rows. `peak_flops` is the peak FLOP/s of all devices together.
    """

    recipe: Recipe
    run: Path
    model: Any
    objective: Objective
    optimizer: torch.optim.Optimizer
    hardware: Hardware
    plan: Plan
    samples: Sequence[Sample]
    validation: Sequence[Sample]
    flops: FlopCounter
    peak_flops: float
    strategy: Strategy = SINGLE_DEVICE
    group: ProcessGroup = SINGLE_PROCESS

    def fit(self, start: checkpoint.Progress, console: Console, stop: StopRequest) -> TrainResult:
        """Train from step `start.step` to the end of the plan, or until `stop` is set, and return the result.

        Checkpoints are written every `save_every` steps and after the last step. Validation runs before the first step,
        every `eval_every` steps and after the last step; the weights with the lowest loss in between are kept. Raises
        UserError, with the step and its rows, if the loss or the gradient norm is not finite.
        """
        total = len(self.plan.steps)
        file, began = self.run / "metrics.jsonl", time.monotonic() - start.seconds
        with (
            open_trackers(self.recipe.track if self.group.is_main else (), self.run) as trackers,
            MetricsLog(file, start.step, trackers) if self.group.is_main else NullMetricsLog() as log,
            progress_meter(console, start.step, total, self.hardware, self.peak_flops) as meter,
        ):
            before = read_validation_loss(file, 0) if start.step else self._validate(log, 0)
            for number in range(start.step, total):
                metrics = self._step(number, log)
                done = number + 1
                flops = self.flops.total(
                    (self.samples[i].length, self.samples[i].supervised) for i in self._rows(number)
                )
                meter.step(done, metrics["loss"], metrics["tokens"], flops)
                speed = {"tokens_per_s": round(meter.tokens_per_second, 1), "mfu": round(meter.mfu, 4)}
                log.write("train", step=done, **metrics, **speed, peak_bytes=self.hardware.peak_memory())
                if self.recipe.eval_every and done % self.recipe.eval_every == 0 and done < total:
                    self._save_if_best(done, self._validate(log, done))
                stopping = stop.agree(self.group)
                if stopping or done % self.recipe.save_every == 0 or done == total:
                    self._save(replace(start, step=done, seconds=time.monotonic() - began))
                if stopping and done < total:
                    return TrainResult(done, before, None, time.monotonic() - began, finished=False)
            after = self.group.broadcast(read_validation_loss(file, total))
            after = self._validate(log, total) if after is None else after
        best = self.group.broadcast(checkpoint.read_best(self.run))
        if best is not None and (after is None or after <= best.loss):
            best = None
        return TrainResult(total, before, after, time.monotonic() - began, finished=True, best=best)

    def mean_loss(self, samples: Sequence[Sample]) -> float:
        """Return the mean loss over all supervised tokens of `samples`, in nats; sets the model to evaluation mode.

        The processes share the work, and all get the same result. `samples` must not be empty.
        """
        total = torch.zeros((), dtype=torch.float64, device=self.hardware.device)
        self.model.eval()
        with torch.no_grad():
            lengths = [sample.length for sample in samples]
            batches = best_fit(range(len(samples)), lengths, self.recipe.batch_tokens)
            for item in self._assign_work(batches, samples):
                total += item.counted * self._loss(item)
        return self.group.all_reduce(float(total))[0] / sum(sample.supervised for sample in samples)

    def _rows(self, number: int) -> list[int]:
        return [i for micro in self.plan.steps[number] for i in micro]

    def _assign_work(self, micro: Sequence[MicroBatch], samples: Sequence[Sample]) -> list[WorkItem]:
        return assign_work(micro, samples, self.objective.split, self.group)

    def _loss(self, item: WorkItem) -> torch.Tensor:
        return self.strategy(lambda: self.objective.loss(item.samples))

    def _validate(self, log: MetricsLog | NullMetricsLog, step: int) -> float | None:
        if not self.validation:
            return None
        loss = self.mean_loss(self.validation)
        log.write("validation", step=step, loss=loss, rows=len(self.validation))
        return loss

    def _step(self, number: int, log: MetricsLog | NullMetricsLog) -> dict[str, Any]:
        """Do one optimizer step (counted from 0) and return its metrics."""
        step = self.plan.steps[number]
        self.model.train()
        rate = learning_rate(number, len(self.plan.steps), self.recipe)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        supervised = sum(self.samples[i].supervised for i in self._rows(number))
        total = torch.zeros((), device=self.hardware.device)
        items, seeded = self._assign_work(step, self.samples), None
        for index, item in enumerate(items, 1):
            if item.micro != seeded:
                torch.manual_seed(_dropout_seed(self.recipe.seed, number, item.micro))
                seeded = item.micro
            with self.strategy.gradient_sync(last=index == len(items)):
                loss = item.counted * self._loss(item) / supervised
                # Gradients are averaged over the processes, but the loss of a step is their sum.
                (loss * self.group.size).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        norm = clip_gradients(trainable_parameters(self.model).values(), self.recipe.max_grad_norm)
        value = self.group.all_reduce(float(total))[0]
        if not (math.isfinite(value) and math.isfinite(norm)):
            self._raise_not_finite(number + 1, value, norm, step, log)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {
            "epoch": round((number + 1) / self.plan.steps_per_epoch, 4),
            "loss": value,
            "lr": rate,
            "grad_norm": norm,
            "tokens": sum(self.samples[i].length for i in self._rows(number)),
            "supervised_tokens": supervised,
        }

    def _raise_not_finite(
        self, step: int, loss: float, norm: float, rows: Step, log: MetricsLog | NullMetricsLog
    ) -> None:
        ids = [self.samples[i].row_id for micro in rows for i in micro]
        log.write("stopped", step=step, loss=str(loss), grad_norm=str(norm), rows=ids)
        more = f" and {len(ids) - MAX_ROW_IDS} more (metrics.jsonl)" if len(ids) > MAX_ROW_IDS else ""
        raise UserError(
            f"{self.run}: loss {loss}, gradient norm {norm} at step {step}, "
            f"rows {', '.join(ids[:MAX_ROW_IDS])}{more}; check these rows or lower learning_rate"
        )

    def _save(self, progress: checkpoint.Progress) -> None:
        keep = self.recipe.keep_checkpoints
        checkpoint.save(self.run, self.model, self.optimizer, progress, keep, self.group)

    def _save_if_best(self, step: int, loss: float | None) -> None:
        best = self.group.broadcast(checkpoint.read_best(self.run))
        if loss is not None and (best is None or loss < best.loss):
            checkpoint.save_best(self.run, self.model, checkpoint.Best(step, loss), self.group)


def clip_gradients(weights: Collection[torch.nn.Parameter], max_norm: float) -> float:
    """Scale the gradients down to a norm of at most `max_norm`; return the norm before scaling, over all shards."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if hasattr(norm, "full_tensor"):
        norm = norm.full_tensor()
    torch.nn.utils.clip_grads_with_norm_(weights, max_norm, norm)
    return float(norm)


def make_optimizer(model: Any, recipe: Recipe) -> torch.optim.Optimizer:
    """Return fused AdamW over the trainable weights; those with fewer than two dimensions have no weight decay."""
    weights = list(trainable_parameters(model).values())
    groups = [
        {"params": [weight for weight in weights if weight.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [weight for weight in weights if weight.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        betas=(0.9, recipe.beta2),
        fused=True,
    )


def _dropout_seed(seed: int, step: int, micro: int) -> int:
    """Return the dropout seed of micro-batch `micro` in step `step`, the same on every process and after a resume."""
    return int(np.random.SeedSequence([seed, step, micro + 1]).generate_state(1, np.uint64)[0])


def learning_rate(step: int, total: int, recipe: Recipe) -> float:
    """Return the learning rate of step `step` (from 0) of `total`: linear warm-up, then cosine to zero or constant."""
    warmup = round(recipe.warmup * total) if recipe.warmup_steps is None else recipe.warmup_steps
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
