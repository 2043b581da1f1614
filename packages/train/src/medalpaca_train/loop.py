"""The loop: steps, validation, checkpoints, and the three ways it ends (done, asked to stop, not a number)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from medalpaca_data.ground.errors import UserError

from . import checkpoint
from .flops import Work
from .hardware import Hardware
from .journal import Journal, validation_at
from .model import trainable
from .objective import Objective
from .plan import Plan, Step, best_fit
from .progress import metered
from .recipe import Recipe
from .stop import StopRequest
from .tokens import Sample
from .trackers import tracking

NAMED_ROWS = 8  # ids in an error message; the journal has them all


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a sitting ended. Losses are validation losses in nats per learned token, None without validation rows."""

    step: int
    before: float | None
    after: float | None
    seconds: float
    finished: bool
    best: checkpoint.Best | None = (
        None  # where validation happened on the way and found a step before the last
    )


@dataclass(frozen=True, slots=True)
class Trainer:
    """What stays the same through all steps of a run."""

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
    rate: float  # of the device, in FLOP/s

    def fit(self, start: checkpoint.Progress, console: Console, stop: StopRequest) -> Outcome:
        """Train from step `start.step` to the end of the plan, or until `stop` is raised, leaving a checkpoint.

        Raises UserError when the loss or a gradient is no longer finite, naming the step and its rows.
        """
        total = len(self.plan.steps)
        file, began = self.run / "metrics.jsonl", time.monotonic() - start.seconds
        with (
            tracking(self.recipe.track, self.run) as trackers,
            Journal(file, start.step, trackers) as journal,
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
                if stop.wanted or done % self.recipe.save_every == 0 or done == total:
                    self._save(replace(start, step=done, seconds=time.monotonic() - began))
                if stop.wanted and done < total:
                    return Outcome(done, before, None, time.monotonic() - began, finished=False)
            after = validation_at(file, total)
            after = self._validate(journal, total) if after is None else after
        best = checkpoint.read_best(self.run)
        if best is not None and (after is None or after <= best.loss):
            best = None
        return Outcome(total, before, after, time.monotonic() - began, finished=True, best=best)

    def _keep_best(self, step: int, loss: float | None) -> None:
        best = checkpoint.read_best(self.run)
        if loss is not None and (best is None or loss < best.loss):
            checkpoint.save_best(self.run, self.model, checkpoint.Best(step, loss))

    def _rows(self, number: int) -> list[int]:
        return [i for micro in self.plan.steps[number] for i in micro]

    def loss_of(self, samples: Sequence[Sample]) -> float:
        """Mean loss over all learned tokens of `samples`, in nats; nothing is trained."""
        summed = torch.zeros((), dtype=torch.float64, device=self.hardware.device)
        self.model.eval()
        with torch.no_grad():
            lengths = [sample.length for sample in samples]
            for micro in best_fit(range(len(samples)), lengths, self.recipe.batch_tokens):
                for loss in self.objective.losses([samples[i] for i in micro]):
                    summed += loss
        return float(summed) / sum(sample.supervised for sample in samples)

    def _validate(self, journal: Journal, step: int) -> float | None:
        if not self.validation:
            return None
        loss = self.loss_of(self.validation)
        journal.write("validation", step=step, loss=loss, rows=len(self.validation))
        return loss

    def _step(self, number: int, journal: Journal) -> dict[str, Any]:
        """One optimizer step; the numbers of its journal line."""
        step = self.plan.steps[number]
        # Dropout draws from here, so a resumed run needs no generator state.
        torch.manual_seed(self.recipe.seed * 1_000_003 + number)
        self.model.train()
        rate = learning_rate(number, len(self.plan.steps), self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        supervised = sum(self.samples[i].supervised for i in self._rows(number))
        summed = torch.zeros((), device=self.hardware.device)
        for micro in step:
            for part in self.objective.losses([self.samples[i] for i in micro]):
                loss = part / supervised
                loss.backward()  # type: ignore[no-untyped-call]
                summed += loss.detach()
        weights = trainable(self.model).values()
        norm = float(torch.nn.utils.clip_grad_norm_(weights, self.recipe.max_grad_norm))
        value = float(summed)
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

    def _refuse(self, step: int, loss: float, norm: float, rows: Step, journal: Journal) -> None:
        ids = [self.samples[i].row_id for micro in rows for i in micro]
        journal.write("stopped", step=step, loss=str(loss), grad_norm=str(norm), rows=ids)
        more = f" and {len(ids) - NAMED_ROWS} more (metrics.jsonl)" if len(ids) > NAMED_ROWS else ""
        raise UserError(
            f"{self.run}: loss {loss}, gradient norm {norm} at step {step}, "
            f"rows {', '.join(ids[:NAMED_ROWS])}{more}; look at these rows or lower learning_rate"
        )

    def _save(self, progress: checkpoint.Progress) -> None:
        checkpoint.save(self.run, self.model, self.optimizer, progress, self.recipe.keep_checkpoints)


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


def learning_rate(step: int, total: int, recipe: Recipe) -> float:
    """The rate of step `step` (from 0) of `total`: a straight rise, then a cosine to zero or a level."""
    rise = round(recipe.warmup * total) if recipe.warmup_steps is None else recipe.warmup_steps
    if step < rise:
        return recipe.learning_rate * (step + 1) / rise
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
