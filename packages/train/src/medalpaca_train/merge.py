"""Merge a LoRA adapter into its base model (`train merge RUN`), and check the result.

The merged model loads without peft in transformers, vLLM and lm_eval. An adapter trained on a quantised base is merged
into that base dequantised. Merged into the weights before quantisation it would be another model, and merged into 4-bit
weights it would be rounded once more. The merged model is read back from disk and compared with the adapter on its
base: the logits of a few packed rows, and the loss of more rows.
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
from .datasets import read_datasets
from .finished_run import (
    attach_adapter,
    load_base,
    load_run_model,
    read_finished_manifest,
    trained_quantization,
)
from .hardware import Hardware, choose_hardware, describe_hardware
from .loss import choose_objective, supervised_logits
from .model import from_pretrained, is_quantized, load_tokenizer, resolve_base
from .model_card import make_merged_card, make_modelfile
from .packing import make_packed_batch, make_padded_batch
from .progress import echo
from .recipe import Recipe
from .run_dir import is_abandoned, run_lock
from .tokenize import Sample, encode

# Most rows whose logits, and whose loss, are compared: a large model takes minutes for them on a CPU.
LOGIT_ROWS, LOSS_ROWS = 4, 64
# Most tokens of a row whose logits are compared, because two sets of logits are in memory at once. If all rows are
# longer, the shortest is used.
MAX_LOGIT_ROW_TOKENS = 512
# Largest difference of the loss, in nats per supervised token. Measured on small models: 1e-7 in fp32, up to 1e-3 in
# bf16, and 2e-3 for int8, which rounds activations too.
MAX_LOSS_DIFFERENCE = 5e-3

# General knowledge, for the comparison if the run's own rows cannot be used.
FALLBACK_ROWS = [
    Row(instruction="Answer the question.", input=question, output=answer)
    for question, answer in (
        ("Which vitamin is lacking in scurvy?", "Vitamin C, which is needed to make collagen."),
        ("What does insulin do to blood glucose?", "It lowers it, by moving glucose into muscle and fat."),
        ("Which organ makes bile?", "The liver; the gallbladder only stores it."),
        ("What is hypertension?", "Blood pressure that stays above the normal range."),
    )
]


@dataclass(frozen=True, slots=True)
class ProbeRows:
    """The rows on which the merged model is compared with base and adapter, and a description of them."""

    description: str
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """Logits and loss of one model on the probe rows.

    `logits` are fp32 on the CPU, (tokens, vocabulary), at the supervised tokens of at most `LOGIT_ROWS` rows. `loss` is
    the mean over the supervised tokens of all rows, in nats.
    """

    logits: torch.Tensor
    loss: float


def merge_run(run: Path, out: Path | None, console: Console) -> Path:
    """Write the merged model of the finished LoRA run `run` to `out` (default: `RUN-merged`) and return its path.

    The directory appears complete or not at all; leftovers of a killed merge are removed. Raises UserError if the run
    is not finished or not LoRA, its base or weights have changed, or `out` is not empty. Raises CheckFailed if the
    losses of merged model and adapter are more than `MAX_LOSS_DIFFERENCE` apart.
    """
    manifest = read_finished_manifest(run)
    out = out or run.with_name(f"{run.name}-merged")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(
            f"{out}: is not empty; choose another directory with `train merge RUN out=DIR`, or remove it"
        )
    refuse_directory(out)
    _check_run(run, manifest)
    _remove_leftovers(out)
    hardware, tokenizer = choose_hardware(manifest["hardware"]["precision"]), load_tokenizer(run)
    probe = choose_probe_rows(manifest, tokenizer)
    echo(console, f"comparing on {len(probe.samples)} {probe.description}; computing base and adapter first")
    before = compute_output(load_run_model(run, manifest, hardware), probe, hardware)
    # peft's layers refer to each other, and two models need not be in memory at once.
    gc.collect()
    with new_directory(out) as new, run_lock(new):
        merged = merge_adapter(run, manifest, hardware)
        run_dir.align_stop_tokens(merged, tokenizer)
        merged.save_pretrained(new)
        run_dir.save_tokenizer(new, tokenizer, run)
        del merged
        gc.collect()
        # Read from disk, so that the comparison is on the files that others will load.
        after = compute_output(from_pretrained(new, hardware.compute_dtype, hardware.device), probe, hardware)
        largest = float((after.logits - before.logits).abs().max())
        if not abs(after.loss - before.loss) <= MAX_LOSS_DIFFERENCE:
            raise CheckFailed(
                f"{run}: on {probe.description} the merged model has loss {after.loss:.4f}, base and adapter have "
                f"{before.loss:.4f}; more than {MAX_LOSS_DIFFERENCE} nats apart, so nothing was written"
            )
        check = {
            "rows": probe.description,
            "number": len(probe.samples),
            "tokens": len(before.logits),
            "largest_logit_difference": largest,
            "loss": {"adapter": before.loss, "merged": after.loss},
        }
        merged_manifest = _make_manifest(run, manifest, new, hardware, check)
        write_text(new / "README.md", make_merged_card(merged_manifest, out))
        write_text(new / "Modelfile", make_modelfile(tokenizer.eos_token))
        write_json(new / run_dir.MANIFEST_FILE, merged_manifest)
        mode = (new / run_dir.MANIFEST_FILE).stat().st_mode
        for file in new.iterdir():
            # safetensors makes its files private.
            file.chmod(mode)
    _print_comparison(merged_manifest, out, probe, console)
    return out


def merge_adapter(run: Path, manifest: dict[str, Any], hardware: Hardware) -> Any:
    """Return the base with the adapter added to its weights, summed in fp32 and rounded once to `hardware`'s dtype."""
    base = load_base(manifest, hardware)
    if is_quantized(base):
        base = base.dequantize(hardware.compute_dtype)
    model = attach_adapter(base, run)
    for module in model.modules():
        if hasattr(module, "get_base_layer") and hasattr(module, "merge"):
            # Experts are parameters of one module, each with an adapter of its own.
            weight = getattr(module.get_base_layer(), getattr(module, "parameter_name", "weight"))
            weight.data = weight.data.float()
            module.merge(safe_merge=True)
            weight.data = weight.data.to(hardware.compute_dtype)
    return model.unload()


def choose_probe_rows(manifest: dict[str, Any], tokenizer: Any) -> ProbeRows:
    """Return rows on which the merged model is compared with base and adapter.

    They are at most `LOSS_ROWS` validation rows of the run, or training rows if it has no validation rows. If these
    rows cannot be read or encoded, or rows or prompt have changed, they are `FALLBACK_ROWS`. Raises UserError if those
    cannot be encoded either.
    """
    recipe = Recipe(**manifest["recipe"])
    try:
        datasets = read_datasets(recipe)
    except UserError:
        return _fallback_rows(tokenizer, "the run's own rows cannot be read")
    if datasets.sha256 != manifest["data"]["sha256"] or manifest["prompt_id"] != PROMPT_ID:
        return _fallback_rows(tokenizer, "the run's own rows have changed")
    description, rows = "held-out rows", datasets.validation
    if not rows:
        description, rows = "rows that were trained on", datasets.train
    some = rows[:: max(1, len(rows) // LOSS_ROWS)][:LOSS_ROWS]
    samples = encode(
        some, tokenizer, max_tokens=recipe.max_tokens, loss=recipe.loss, overlong=recipe.overlong
    ).samples
    if not samples:
        return _fallback_rows(tokenizer, "none of the run's own rows can be used")
    return ProbeRows(description, samples)


def compute_output(model: Any, probe: ProbeRows, hardware: Hardware) -> ModelOutput:
    """Return logits and loss of `model` on `probe`, computed as in validation during training."""
    model.eval()
    objective = choose_objective(model, probe.samples, hardware).objective
    by_length = sorted(probe.samples, key=lambda sample: sample.length)
    some = [sample for sample in probe.samples if sample.length <= MAX_LOGIT_ROW_TOKENS][:LOGIT_ROWS]
    make_batch = make_packed_batch if objective.packing else make_padded_batch
    batch = make_batch(some or by_length[:1], hardware.device)
    with torch.no_grad(), hardware.autocast():
        logits = supervised_logits(model, batch).float().cpu()
    total = 0.0
    with torch.no_grad():
        for sample in probe.samples:
            total += sum(float(loss) for loss in objective.losses([sample]))
    objective.restore_attention()
    return ModelOutput(logits, total / sum(sample.supervised for sample in probe.samples))


def _fallback_rows(tokenizer: Any, reason: str) -> ProbeRows:
    samples = encode(FALLBACK_ROWS, tokenizer, max_tokens=MAX_LOGIT_ROW_TOKENS, loss="answer").samples
    if not samples:
        raise UserError(
            f"{reason}, and the tokenizer joins prompt and answer of the built-in rows in one token; so merged model "
            "and adapter cannot be compared, and nothing is written; restore the rows of the run"
        )
    return ProbeRows(f"rows of general knowledge ({reason})", samples)


def _remove_leftovers(out: Path) -> None:
    """Remove directories of killed merges; the lock distinguishes them from running ones and from other files."""
    for path in out.parent.glob(f".{glob.escape(out.name)}.*"):
        if not path.is_symlink() and is_abandoned(path):
            shutil.rmtree(path, ignore_errors=True)


def _check_run(run: Path, manifest: dict[str, Any]) -> None:
    if manifest["kind"] != "lora":
        raise UserError(f"{run}: holds a full model (method=full); only a LoRA run can be merged")
    check_adapter_dir(run, resolve_base(manifest["base"]["path"], manifest["base"]["revision"]))


def _make_manifest(
    run: Path, manifest: dict[str, Any], new: Path, hardware: Hardware, check: dict[str, Any]
) -> dict[str, Any]:
    """Return the manifest of a merged model: base, adapter, precision and comparison."""
    return {
        "format": run_dir.FORMAT,
        "kind": "merged",
        "base": manifest["base"],
        "adapter": {"path": str(run), **manifest["adapter"]},
        "merge": {
            "into": "dequantised base" if trained_quantization(manifest) else "base",
            "summed_in": "float32",
            "stored_in": str(hardware.compute_dtype).removeprefix("torch."),
        },
        "check": check,
        "model": {"sha256": weights_sha256(new)},
        "tokenizer": {"sha256": tokenizer_sha256(new)},
        "data": manifest["data"],
        "prompt_id": manifest["prompt_id"],
        "recipe": manifest["recipe"],
        "seed": manifest["seed"],
        "versions": versions(*run_dir.LIBRARIES),
        "hardware": describe_hardware(hardware),
        "code_sha256": run_dir.code_sha256(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _print_comparison(manifest: dict[str, Any], out: Path, probe: ProbeRows, console: Console) -> None:
    check = manifest["check"]
    console.print(
        f"loss on {len(probe.samples)} {probe.description}: adapter {check['loss']['adapter']:.5f}, merged "
        f"{check['loss']['merged']:.5f}; largest difference of a logit {check['largest_logit_difference']:.2g}",
        markup=False,
    )
    echo(console, f"merged into the {manifest['merge']['into']}, {manifest['merge']['stored_in']}: {out}")
