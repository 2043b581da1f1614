"""Loading a base and its tokenizer: safetensors only, no code from the model's files; and the LoRA update on it."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from medalpaca_data.ground.errors import UserError, one_line
from medalpaca_data.ground.sealed import is_sealed, no_telemetry
from medalpaca_data.ground.weights import check_model_dir

from ..hardware.device import Hardware
from ..recipe import Recipe
from . import pocket as pocket_model
from . import quantization

FRESH = "pocket"  # the `model:` word for a model made from nothing

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
# Everything a model directory needs; pickles are not even downloaded.
HUB_FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


def base_directory(model: str, revision: str | None) -> Path:
    """The checked directory of a base: itself if local, else the hub snapshot in the local cache.

    Raises UserError when it is nowhere, holds pickles instead of safetensors, or asks to run code.
    """
    local = Path(model).expanduser()
    if local.exists():
        return check_model_dir(local.absolute())
    if not HUB_ID.fullmatch(model):
        raise UserError(f"model={model}: no such directory, and not a hub id (OWNER/NAME)")
    return check_model_dir(_snapshot(model, revision))


def commit_of(directory: Path | None) -> str | None:
    """The commit of the hub that a base's directory holds: the name of the cache's snapshot. None if it is no such."""
    snapshot = (
        directory is not None and directory.parent.name == "snapshots" and COMMIT.fullmatch(directory.name)
    )
    return directory.name if directory is not None and snapshot else None


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer that lies with a model."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(f"{directory}: no usable tokenizer ({one_line(error)[:200]})") from None


def load_model(recipe: Recipe, directory: Path | None, tokenizer: Any, hardware: Hardware) -> Any:
    """The model to train, on its device, with only its trainable weights asking for gradients.

    `directory` None makes a fresh pocket model. A frozen base is held in the run's precision, or quantised. What is
    trained is held in fp32 also under bf16: in bf16 an AdamW step at a small rate is lost in rounding.
    """
    lora = recipe.method == "lora"
    if directory is None:
        model = pocket_model.make_model(tokenizer, recipe.seed).to(hardware.device)
    else:
        words = quantization.settings(recipe.quantization, hardware.compute_dtype)
        dtype = hardware.compute_dtype if lora else torch.float32
        model = from_pretrained(directory, dtype, hardware.device, words)
    return with_lora(model, recipe, directory) if lora else model


def from_pretrained(
    directory: Path, dtype: torch.dtype, device: torch.device, words: dict[str, Any] | None = None
) -> Any:
    """The model in `directory` on `device`; quantised as it is read where `words` (`quantization.settings`) say so."""
    from transformers import AutoModelForCausalLM

    hush()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            **quantization.loading(words or {}, device),
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"{directory}: cannot be loaded as a causal model ({one_line(error)[:200]})"
        ) from None
    quantization.keep_differentiable(model)
    return model if quantization.is_quantized(model) else model.to(device)


def skeleton(recipe: Recipe, directory: Path | None, tokenizer: Any) -> Any:
    """The model that `load_model` would return, with shapes and without weights (on the meta device)."""
    from transformers import AutoConfig, AutoModelForCausalLM

    hush()
    try:
        with torch.device("meta"):
            if directory is None:
                model = pocket_model.make_model(tokenizer, recipe.seed)
            else:
                config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
                _refuse_quantised(config, directory)
                model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
            return with_lora(model, recipe, directory) if recipe.method == "lora" else model
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"{directory}: cannot be loaded as a causal model ({one_line(error)[:200]})"
        ) from None


def checkpoint_activations(model: Any) -> None:
    """Have each layer computed again in the backward pass instead of keeping what it made."""
    model.gradient_checkpointing_enable({"use_reentrant": False})


def with_lora(model: Any, recipe: Recipe, directory: Path | None) -> Any:
    """Freeze `model` and put the recipe's update beside its layers."""
    from peft import LoraConfig, get_peft_model

    shape = recipe.lora
    # First weights depend on the seed alone, not on what was drawn before.
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=shape.r,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=shape.target_modules,
        use_rslora=shape.use_rslora,
        use_dora=shape.use_dora,
        base_model_name_or_path=str(directory),
    )
    try:
        peft_model = get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"lora.target_modules={shape.target_modules}: {one_line(error)[:200]}") from None
    peft_model.peft_config["default"].base_model_name_or_path = str(directory)
    return peft_model


def trainable(model: Any) -> dict[str, torch.nn.Parameter]:
    """Name -> weight of everything the optimizer moves; shared weights once."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def count(weights: Iterable[torch.Tensor]) -> int:
    """Number of scalars in `weights`."""
    return sum(weight.numel() for weight in weights)


def hush() -> None:
    """Keep the libraries' own bars and notices out of ours."""
    import transformers.utils.logging

    # Says in which dtype a model is made wide again; the receipt does too.
    logging.getLogger("transformers.integrations.bitsandbytes").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # Announces an optional 4-bit kernel that it did not find, and every cast to the dtype it computes in.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # transformers renames it; peft asks by the old name, and older versions have no other.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)


def _refuse_quantised(config: Any, directory: Path) -> None:
    stored = getattr(config, "quantization_config", None) or {}
    if stored.get("quant_method") == "bitsandbytes":
        raise UserError(
            f"{directory}: is stored in 4 or 8 bits; give the base as it was before, and quantization=nf4 or =int8"
        )


def _snapshot(model: str, revision: str | None) -> Path:
    no_telemetry()  # also where no command of ours has done so
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    offline = is_sealed() or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    try:
        return Path(
            snapshot_download(model, revision=revision, local_files_only=offline, allow_patterns=HUB_FILES)
        )
    except LocalEntryNotFoundError:
        state = "and the hub is off limits (offline)" if offline else "and the hub cannot be reached"
        raise UserError(
            f"model={model}: no such directory, not in the local hub cache, {state}; give a local directory"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(f"model={model}: the hub refused it ({one_line(error)[:160]})") from None
