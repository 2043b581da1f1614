"""A finished run, loaded: the whole model, or the adapter on the base it was trained on, quantised as it was then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.weights import check_adapter_dir, check_model_dir

from . import model, run_dir
from .hardware import Hardware, choose
from .model import base_directory, from_pretrained, load_tokenizer

WORDS = {"load_in_4bit": "nf4", "load_in_8bit": "int8"}


def receipt_of(run: Path) -> dict[str, Any]:
    """The receipt of a finished run; of `RUN/best`, that of the run. Raises UserError when there is none."""
    receipt = run_dir.read_manifest(run)
    if receipt is None and run.name == "best" and (whole := run_dir.read_manifest(run.parent)):
        kind = "adapter" if whole["kind"] == "lora" else "model"
        receipt = whole | {kind: {"sha256": (whole["best"] or {}).get("sha256")}}
    if receipt is None:
        raise UserError(
            f"{run}: not a finished run (no manifest.json); name the directory that `train` printed"
        )
    return receipt


def quantized_as(receipt: dict[str, Any]) -> str | None:
    """`nf4`, `int8` or None: how the base was held while the run was trained."""
    words = receipt["base"].get("quantization") or {}
    return next((name for word, name in WORDS.items() if words.get(word)), None)


def load_base(receipt: dict[str, Any], hardware: Hardware) -> Any:
    """The base of a LoRA run as `hardware` computes it, quantised as the receipt says."""
    words = model.settings(quantized_as(receipt), hardware.compute_dtype)
    base = base_directory(receipt["base"]["path"], receipt["base"]["revision"])
    return from_pretrained(base, hardware.compute_dtype, hardware.device, words)


def put_adapter(model: Any, run: Path) -> Any:
    """`model` with the adapter of `run` on it."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(run))


def load_tuned(run: Path, receipt: dict[str, Any], hardware: Hardware) -> Any:
    """The model that `run` is. Raises UserError when its base is gone or another one."""
    if receipt["kind"] != "lora":
        return from_pretrained(check_model_dir(run), hardware.compute_dtype, hardware.device)
    check_adapter_dir(run, base_directory(receipt["base"]["path"], receipt["base"]["revision"]))
    return put_adapter(load_base(receipt, hardware), run)


def load_run(run: Path) -> tuple[Any, Any]:
    """(model, tokenizer) of a finished run, ready to answer. Raises UserError, as `receipt_of` and `load_tuned` do."""
    receipt = receipt_of(run)
    # Other arithmetic would quantise the base to other values than those it was trained with.
    hardware = choose(receipt["hardware"]["precision"] if quantized_as(receipt) else "auto")
    return load_tuned(run, receipt, hardware).eval(), load_tokenizer(run)
