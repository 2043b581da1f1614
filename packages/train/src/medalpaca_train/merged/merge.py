"""`train merge RUN [OUT]`: a LoRA run as one model, which transformers, vLLM and lm_eval load without peft.

A run on a quantised base is merged into that base as it was trained on, made wide again: merged into the weights before
they were quantised it would be another model, and merged into 4 bits it would be rounded once more.
"""

from __future__ import annotations

import datetime
import gc
import glob
import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from medalpaca_data.ground.code import versions
from medalpaca_data.ground.errors import CheckFailed, UserError
from medalpaca_data.ground.files import new_directory, refuse_directory, write_json, write_text
from medalpaca_data.ground.tokenizer_files import tokenizer_sha256
from medalpaca_data.ground.weights import check_adapter_dir, weights_sha256

from ..hardware.device import Hardware, choose, describe
from ..model.load import base_directory, from_pretrained, load_tokenizer
from ..model.quantization import is_quantized
from ..record import manifest
from ..record.alone import alone, is_abandoned
from ..screen import say
from ..tuned import load_base, load_tuned, put_adapter, quantized_as, receipt_of
from .agreement import Probe, listen, make_probe
from .card import make_merged_card, make_modelfile

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
        write_json(new / manifest.FILE, written)
        readable = (new / manifest.FILE).stat().st_mode
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
        "format": manifest.FORMAT,
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
        "versions": versions(*manifest.LIBRARIES),
        "hardware": describe(hardware),
        "code_sha256": manifest.code_sha256(),
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
