"""Being asked to stop: the step under way is finished and saved first.

The loop: steps, validation, checkpoints, and the three ways it ends (done, asked to stop, not a number).
"""

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
from .distributed import PLAIN, Part, Spread, share
from .hardware import Hardware, Work
from .loss import Objective
from .model import trainable
from .packing import MicroBatch, Plan, Step, best_fit
from .process_group import ALONE, World
from .progress import metered
from .recipe import Recipe
from .run_dir import Outcome
from .tokenize import Sample
from .trackers import Journal, Unwritten, tracking, validation_at


@dataclass(slots=True)
class StopRequest:
    """Set by SIGTERM (a scheduler) or the first Ctrl-C; a second Ctrl-C interrupts at once."""

    wanted: bool = False
    interrupted: bool = False

    def agreed(self, world: World) -> bool:
        """Whether any process was asked, so that all stop after the same step. All have to ask at the same place."""
        wanted, interrupted = world.summed(self.wanted, self.interrupted)
        # Only ever raised here: a signal may have come meanwhile.
        self.interrupted = self.interrupted or bool(interrupted)
        return bool(wanted)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """A request that signals set while the block runs; the former handlers are put back after it."""
    request = StopRequest()

    def handle(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            if request.wanted:
                raise KeyboardInterrupt
            request.interrupted = True
        request.wanted = True

    if threading.current_thread() is not threading.main_thread():
        yield request  # Python delivers signals to the main thread only
        return
    former: dict[int, Any] = {n: signal.signal(n, handle) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


NAMED_ROWS = 8  # ids in an error message; the journal has them all


@dataclass(frozen=True, slots=True)
class Trainer:
    """What stays the same through all steps of a run. With several processes all of them call the same, in step."""

    recipe: Recipe
    run: Path
    model: Any
    objective: Objective
    optimizer: torch.optim.Optimizer
    hardware: Hardware
    plan: Plan
    samples: Sequence[Sample]
    validation: Sequence[Sample]
    work: Work
    rate: float  # of all devices, in FLOP/s
    spread: Spread = PLAIN
    world: World = ALONE

    def fit(self, start: checkpoint.Progress, console: Console, stop: StopRequest) -> Outcome:
        """Train from step `start.step` to the end of the plan, or until `stop` is raised, leaving a checkpoint.

        Raises UserError when the loss or a gradient is no longer finite, naming the step and its rows.
        """
        total = len(self.plan.steps)
        file, began = self.run / "metrics.jsonl", time.monotonic() - start.seconds
        with (
            tracking(self.recipe.track if self.world.first else (), self.run) as trackers,
            Journal(file, start.step, trackers) if self.world.first else Unwritten() as journal,
            metered(console, start.step, total, self.hardware, self.rate) as meter,
        ):
            before = validation_at(file, 0) if start.step else self._validate(journal, 0)
            for number in range(start.step, total):
                line = self._step(number, journal)
                done = number + 1
                flops = self.work.of(
                    (self.samples[i].length, self.samples[i].supervised) for i in self._rows(number)
                )
                meter.step(done, line["loss"], line["tokens"], flops)
                speed = {"tokens_per_s": round(meter.speed, 1), "mfu": round(meter.mfu, 4)}
                journal.write("train", step=done, **line, **speed, peak_bytes=self.hardware.peak_memory())
                if self.recipe.eval_every and done % self.recipe.eval_every == 0 and done < total:
                    self._keep_best(done, self._validate(journal, done))
                stopping = stop.agreed(self.world)
                if stopping or done % self.recipe.save_every == 0 or done == total:
                    self._save(replace(start, step=done, seconds=time.monotonic() - began))
                if stopping and done < total:
                    return Outcome(done, before, None, time.monotonic() - began, finished=False)
            after = self.world.told(validation_at(file, total))
            after = self._validate(journal, total) if after is None else after
        best = self.world.told(checkpoint.read_best(self.run))
        if best is not None and (after is None or after <= best.loss):
            best = None
        return Outcome(total, before, after, time.monotonic() - began, finished=True, best=best)

    def _keep_best(self, step: int, loss: float | None) -> None:
        best = self.world.told(checkpoint.read_best(self.run))
        if loss is not None and (best is None or loss < best.loss):
            checkpoint.save_best(self.run, self.model, checkpoint.Best(step, loss), self.world)

    def _rows(self, number: int) -> list[int]:
        return [i for micro in self.plan.steps[number] for i in micro]

    def loss_of(self, samples: Sequence[Sample]) -> float:
        """Mean loss over all learned tokens of `samples`, in nats; nothing is trained."""
        summed = torch.zeros((), dtype=torch.float64, device=self.hardware.device)
        self.model.eval()
        with torch.no_grad():
            lengths = [sample.length for sample in samples]
            for part in self._share(
                best_fit(range(len(samples)), lengths, self.recipe.batch_tokens), samples
            ):
                summed += part.counted * self._loss(part)
        return self.world.summed(float(summed))[0] / sum(sample.supervised for sample in samples)

    def _share(self, micro: Sequence[MicroBatch], samples: Sequence[Sample]) -> list[Part]:
        return share(micro, samples, self.objective.parts, self.world)

    def _loss(self, part: Part) -> torch.Tensor:
        return self.spread(lambda: self.objective.loss(part.samples))

    def _validate(self, journal: Journal | Unwritten, step: int) -> float | None:
        if not self.validation:
            return None
        loss = self.loss_of(self.validation)
        journal.write("validation", step=step, loss=loss, rows=len(self.validation))
        return loss

    def _step(self, number: int, journal: Journal | Unwritten) -> dict[str, Any]:
        """One optimizer step; the numbers of its journal line."""
        step = self.plan.steps[number]
        self.model.train()
        rate = learning_rate(number, len(self.plan.steps), self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        supervised = sum(self.samples[i].supervised for i in self._rows(number))
        summed = torch.zeros((), device=self.hardware.device)
        parts, seeded = self._share(step, self.samples), None
        for place, part in enumerate(parts, 1):
            if part.micro != seeded:
                torch.manual_seed(_dropout_seed(self.recipe.seed, number, part.micro))
                seeded = part.micro
            with self.spread.part(last=place == len(parts)):
                loss = part.counted * self._loss(part) / supervised
                # Gradients become the mean over the processes, the loss of a step is their sum.
                (loss * self.world.size).backward()  # type: ignore[no-untyped-call]
            summed += loss.detach()
        norm = clip(trainable(self.model).values(), self.recipe.max_grad_norm)
        value = self.world.summed(float(summed))[0]
        if not (math.isfinite(value) and math.isfinite(norm)):
            self._refuse(number + 1, value, norm, step, journal)
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

    def _refuse(self, step: int, loss: float, norm: float, rows: Step, journal: Journal | Unwritten) -> None:
        ids = [self.samples[i].row_id for micro in rows for i in micro]
        journal.write("stopped", step=step, loss=str(loss), grad_norm=str(norm), rows=ids)
        more = f" and {len(ids) - NAMED_ROWS} more (metrics.jsonl)" if len(ids) > NAMED_ROWS else ""
        raise UserError(
            f"{self.run}: loss {loss}, gradient norm {norm} at step {step}, "
            f"rows {', '.join(ids[:NAMED_ROWS])}{more}; look at these rows or lower learning_rate"
        )

    def _save(self, progress: checkpoint.Progress) -> None:
        keep = self.recipe.keep_checkpoints
        checkpoint.save(self.run, self.model, self.optimizer, progress, keep, self.world)


def clip(weights: Collection[torch.nn.Parameter], most: float) -> float:
    """Scale the gradients down to a norm of `most`; returns what it was, of all weights wherever their shares lie."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if hasattr(norm, "full_tensor"):
        norm = norm.full_tensor()
    torch.nn.utils.clip_grads_with_norm_(weights, most, norm)
    return float(norm)


def make_optimizer(model: Any, recipe: Recipe) -> torch.optim.Optimizer:
    """Fused AdamW; decay on matrices only."""
    weights = list(trainable(model).values())
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
    """Dropout draws from here: a resumed run needs no generator state, and nobody asks in which process it happens."""
    return int(np.random.SeedSequence([seed, step, micro + 1]).generate_state(1, np.uint64)[0])


def learning_rate(step: int, total: int, recipe: Recipe) -> float:
    """The rate of step `step` (from 0) of `total`: a straight rise, then a cosine to zero or a level."""
    rise = round(recipe.warmup * total) if recipe.warmup_steps is None else recipe.warmup_steps
    if step < rise:
        return recipe.learning_rate * (step + 1) / rise
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
