"""Does a merged model say what its adapter said on the base? Logits of a few packed rows, and the loss of more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from medalpaca_data.ground.errors import UserError
from medalpaca_data.prompt import PROMPT_ID
from medalpaca_data.row import Row

from ..hardware.device import Hardware
from ..loss.exactness import choose_objective
from ..loss.objective import learned_logits
from ..material import read_material
from ..recipe import Recipe
from ..rows.batches import packed, padded
from ..rows.tokens import Sample, encode

PROMPTS, ROWS = 4, 64  # rows whose logits, and whose loss, are compared: minutes for a large model on a CPU
LONGEST = 512  # tokens of a row whose logits are compared: they are held all at once, twice

# Where the run's own rows are gone: general knowledge, so that there is something to compare.
STAND_IN = [
    Row(instruction="Answer the question.", input=question, output=answer)
    for question, answer in (
        ("Which vitamin is lacking in scurvy?", "Vitamin C, which is needed to make collagen."),
        ("What does insulin do to blood glucose?", "It lowers it, by moving glucose into muscle and fat."),
        ("Which organ makes bile?", "The liver; the gallbladder only stores it."),
        ("What is hypertension?", "Blood pressure that stays above the normal range."),
    )
]


@dataclass(frozen=True, slots=True)
class Probe:
    """The rows on which two models are compared, and what they are, for the reader."""

    what: str
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Said:
    """What a model makes of a probe: logits at learned tokens (tokens, vocabulary), mean loss in nats per token."""

    logits: torch.Tensor
    loss: float


def make_probe(receipt: dict[str, Any], tokenizer: Any) -> Probe:
    """The run's held-out rows if they are still there and the same, else rows that come with the code."""
    recipe = Recipe(**receipt["recipe"])
    try:
        material = read_material(recipe)
    except UserError:
        return _stand_in(tokenizer, "the run's own are not there any more")
    if material.sha256 != receipt["data"]["sha256"] or receipt["prompt_id"] != PROMPT_ID:
        return _stand_in(tokenizer, "the run's own have changed")
    what, rows = "held-out rows", material.validation
    if not rows:
        what, rows = "rows that were trained on", material.train
    some = rows[:: max(1, len(rows) // ROWS)][:ROWS]
    samples = encode(
        some, tokenizer, max_tokens=recipe.max_tokens, loss=recipe.loss, overlong=recipe.overlong
    ).samples
    return Probe(what, samples) if samples else _stand_in(tokenizer, "none of the run's own fits")


def listen(model: Any, probe: Probe, hardware: Hardware) -> Said:
    """What `model` says, computed as validation during training is."""
    model.eval()
    objective = choose_objective(model, probe.samples, hardware).objective
    short = sorted(probe.samples, key=lambda sample: sample.length)
    some = [sample for sample in probe.samples if sample.length <= LONGEST][:PROMPTS] or short[:1]
    batch = (packed if objective.packing else padded)(some, hardware.device)
    with torch.no_grad(), hardware.autocast():
        logits = learned_logits(model, batch).float().cpu()
    summed = 0.0
    with torch.no_grad():
        for sample in probe.samples:
            summed += sum(float(loss) for loss in objective.losses([sample]))
    objective.release()
    return Said(logits, summed / sum(sample.supervised for sample in probe.samples))


def _stand_in(tokenizer: Any, reason: str) -> Probe:
    samples = encode(STAND_IN, tokenizer, max_tokens=LONGEST, loss="answer").samples
    if not samples:
        raise UserError(f"{reason}, and the tokenizer cannot tell prompt from answer; nothing to compare on")
    return Probe(f"{len(samples)} rows of general knowledge ({reason})", samples)
