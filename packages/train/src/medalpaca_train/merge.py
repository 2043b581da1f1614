"""`train merge RUN [OUT]`: a LoRA run as one model, which transformers, vLLM and lm_eval load without peft.

A run on a quantised base is merged into that base as it was trained on, made wide again: merged into the weights before
they were quantised it would be another model, and merged into 4 bits it would be rounded once more.

Does a merged model say what its adapter said on the base? Logits of a few packed rows, and the loss of more.
"""

from __future__ import annotations

import datetime
import gc
import glob
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.files import new_directory, refuse_directory, versions, write_json, write_text
from medalpaca_data.core.prompt import PROMPT_ID
from medalpaca_data.core.row import Row
from medalpaca_data.core.weights import check_adapter_dir, tokenizer_sha256, weights_sha256

from . import run_dir
from .datasets import read_material
from .hardware import Hardware, choose, describe
from .load_run import load_base, load_tuned, put_adapter, quantized_as, receipt_of
from .loss import choose_objective, learned_logits
from .model import base_directory, from_pretrained, is_quantized, load_tokenizer
from .model_card import make_merged_card, make_modelfile
from .packing import packed, padded
from .progress import say
from .recipe import Recipe
from .run_dir import alone, is_abandoned
from .tokenize import Sample, encode

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


# Most that the loss may change, in nats per token. Measured on small models: 1e-7 in fp32, up to 1e-3 in bf16, 2e-3 for
# int8, which rounds activations too.
LIMIT = 5e-3


def merge(run: Path, out: Path | None, console: Console) -> Path:
    """Write the merged model of the finished LoRA run `run` to `out` (default: `RUN-merged`) and return its place.

    The directory appears whole or not at all; what a killed merge left beside it is removed. Raises UserError for a run
    that is not LoRA, whose base or weights have changed, or an `out` that holds something, and CheckFailed when the
    merged model says something else.
    """
    receipt = receipt_of(run)
    out = out or run.with_name(f"{run.name}-merged")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(
            f"{out}: already holds something; name another place, `train merge RUN OUT`, or remove it"
        )
    refuse_directory(out)
    _check(run, receipt)
    _remove_leftovers(out)
    hardware, tokenizer = choose(receipt["hardware"]["precision"]), load_tokenizer(run)
    probe = make_probe(receipt, tokenizer)
    say(console, f"comparing on {probe.what}; the adapter on its base first")
    before = listen(load_tuned(run, receipt, hardware), probe, hardware)
    gc.collect()  # peft's layers refer to each other; two models at once are not needed
    with new_directory(out) as new, alone(new):
        merged = merged_model(run, receipt, hardware)
        merged.save_pretrained(new)
        tokenizer.save_pretrained(new)
        del merged
        gc.collect()
        # From the disk: what is compared is what others will load.
        after = listen(from_pretrained(new, hardware.compute_dtype, hardware.device), probe, hardware)
        largest = float((after.logits - before.logits).abs().max())
        if not abs(after.loss - before.loss) <= LIMIT:
            raise CheckFailed(
                f"{run}: merged, its loss on {probe.what} is {after.loss:.4f} instead of {before.loss:.4f}; "
                "nothing was written, because that is another model"
            )
        check = {
            "rows": probe.what,
            "number": len(probe.samples),
            "tokens": len(before.logits),
            "largest_logit_difference": largest,
            "loss": {"adapter": before.loss, "merged": after.loss},
        }
        written = _receipt(run, receipt, new, hardware, check)
        write_text(new / "README.md", make_merged_card(written, out))
        write_text(new / "Modelfile", make_modelfile(tokenizer.eos_token))
        write_json(new / run_dir.FILE, written)
        readable = (new / run_dir.FILE).stat().st_mode
        for file in new.iterdir():
            file.chmod(readable)  # safetensors makes its files private
    _report(written, out, probe, console)
    return out


def merged_model(run: Path, receipt: dict[str, Any], hardware: Hardware) -> Any:
    """The base with the update added to its weights: summed in fp32 and rounded once, to the precision of the run."""
    base = load_base(receipt, hardware)
    if is_quantized(base):
        base = base.dequantize(hardware.compute_dtype)
    tuned = put_adapter(base, run)
    for module in tuned.modules():
        if hasattr(module, "get_base_layer") and hasattr(module, "merge"):
            weight = module.get_base_layer().weight
            weight.data = weight.data.float()
            module.merge(safe_merge=True)
            weight.data = weight.data.to(hardware.compute_dtype)
    return tuned.unload()


def _remove_leftovers(out: Path) -> None:
    """A lock that nobody holds tells a half-written merge from one at work, and from what is not ours."""
    for path in out.parent.glob(f".{glob.escape(out.name)}.*"):
        if not path.is_symlink() and is_abandoned(path):
            shutil.rmtree(path, ignore_errors=True)


def _check(run: Path, receipt: dict[str, Any]) -> None:
    if receipt["kind"] != "lora":
        raise UserError(f"{run}: holds a whole model already; there is nothing to merge")
    check_adapter_dir(run, base_directory(receipt["base"]["path"], receipt["base"]["revision"]))


def _receipt(
    run: Path, receipt: dict[str, Any], new: Path, hardware: Hardware, check: dict[str, Any]
) -> dict[str, Any]:
    """What is written beside the merged weights: what they were made of, how, and how near they come."""
    return {
        "format": run_dir.FORMAT,
        "kind": "merged",
        "base": receipt["base"],
        "adapter": {"path": str(run), **receipt["adapter"]},
        "merge": {
            "into": "dequantised base" if quantized_as(receipt) else "base",
            "summed_in": "float32",
            "stored_in": str(hardware.compute_dtype).removeprefix("torch."),
        },
        "check": check,
        "model": {"sha256": weights_sha256(new)},
        "tokenizer": {"sha256": tokenizer_sha256(new)},
        "data": receipt["data"],
        "prompt_id": receipt["prompt_id"],
        "recipe": receipt["recipe"],
        "seed": receipt["seed"],
        "versions": versions(*run_dir.LIBRARIES),
        "hardware": describe(hardware),
        "code_sha256": run_dir.code_sha256(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _report(written: dict[str, Any], out: Path, probe: Probe, console: Console) -> None:
    check = written["check"]
    console.print(
        f"loss on {len(probe.samples)} {probe.what}: adapter {check['loss']['adapter']:.5f}, merged "
        f"{check['loss']['merged']:.5f}; largest difference of a logit {check['largest_logit_difference']:.2g}",
        markup=False,
    )
    say(console, f"merged into the {written['merge']['into']}, {written['merge']['stored_in']}: {out}")
