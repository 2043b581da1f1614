"""Load a finished run: the full model, or the adapter on its base, quantised as during training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.weights import check_adapter_dir, check_model_dir

from . import model, run_dir
from .hardware import Hardware, choose_hardware
from .model import from_pretrained, load_tokenizer, resolve_base

QUANTIZATION_FLAGS = {"load_in_4bit": "nf4", "load_in_8bit": "int8"}


def load_run(run: str | Path) -> tuple[Any, Any]:
    """Return (model, tokenizer) of a finished run or its `best/`, in evaluation mode, on a GPU if there is one.

    Raises UserError if `run` is not finished, its base is missing, or base or weights do not match the manifest.
    """
    run = Path(run)
    manifest = read_finished_manifest(run)
    # Another precision would quantise the base to other values than the adapter was trained on.
    hardware = choose_hardware(
        manifest["hardware"]["precision"] if trained_quantization(manifest) else "auto"
    )
    return load_run_model(run, manifest, hardware).eval(), load_tokenizer(run)


def read_finished_manifest(run: Path) -> dict[str, Any]:
    """Return the manifest of a finished run; for `RUN/best` that of RUN, with the hash of the best weights.

    Raises UserError if there is no manifest.
    """
    manifest = run_dir.read_manifest(run)
    if manifest is None and run.name == "best" and (parent := run_dir.read_manifest(run.parent)):
        kind = "adapter" if parent["kind"] == "lora" else "model"
        manifest = parent | {kind: {"sha256": (parent["best"] or {}).get("sha256")}}
    if manifest is None:
        raise UserError(
            f"{run}: not a finished run (no manifest.json); give the run directory that `train` printed"
        )
    return manifest


def trained_quantization(manifest: dict[str, Any]) -> str | None:
    """Return how the base was held during training, from the manifest: `nf4`, `int8`, or None if not quantised."""
    flags = manifest["base"].get("quantization") or {}
    return next((name for flag, name in QUANTIZATION_FLAGS.items() if flags.get(flag)), None)


def load_base(manifest: dict[str, Any], hardware: Hardware) -> Any:
    """Return the base of a LoRA run in the precision and on the device of `hardware`, quantised as in training."""
    kwargs = model.quantization_kwargs(trained_quantization(manifest), hardware.compute_dtype)
    base = resolve_base(manifest["base"]["path"], manifest["base"]["revision"])
    return from_pretrained(base, hardware.compute_dtype, hardware.device, kwargs)


def attach_adapter(model: Any, run: Path) -> Any:
    """Return `model` with the LoRA adapter of `run`."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(run))


def load_run_model(run: Path, manifest: dict[str, Any], hardware: Hardware) -> Any:
    """Return the model of a run on `hardware`: the full model, or the adapter on its base.

    Raises UserError if the base is missing, or if base or weights do not match the manifest.
    """
    if manifest["kind"] != "lora":
        return from_pretrained(check_model_dir(run), hardware.compute_dtype, hardware.device)
    check_adapter_dir(run, resolve_base(manifest["base"]["path"], manifest["base"]["revision"]))
    return attach_adapter(load_base(manifest, hardware), run)
