"""From two directories to a running engine; what does not belong together is refused before loading."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.files import read_json
from medalpaca_data.ground.weights import check_adapter_dir, check_model_dir, weights_sha256

if TYPE_CHECKING:
    from .engine import Engine


@dataclass(frozen=True, slots=True)
class Pair:
    """A base and an adapter that belong together, and the hashes that name them."""

    base: Path
    adapter: Path
    base_sha256: str
    adapter_sha256: str

    @property
    def name(self) -> str:
        """The run as a reader would quote it."""
        return f"{self.adapter.resolve().name}@{self.adapter_sha256[:8]}"


def check_pair(base: Path, adapter: Path) -> Pair:
    """Check both directories and name them. Raises UserError, one line, on anything that does not fit."""
    check_model_dir(base)
    check_adapter_dir(adapter, base)
    # The check has compared the manifest's hash of the base with the files; once is enough for gigabytes.
    manifest = adapter / "manifest.json"
    stated = read_json(manifest).get("base", {}).get("sha256") if manifest.is_file() else None
    return Pair(base, adapter, stated or weights_sha256(base), weights_sha256(adapter))


def load_engine(pair: Pair) -> Engine:
    """Load the base once, put the adapter on it, and start the engine's thread."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from .engine import Engine
    from .score import ADAPTER_NAMES

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with_tokenizer = next(
        (d for d in (pair.base, pair.adapter) if (d / "tokenizer_config.json").is_file()), None
    )
    if with_tokenizer is None:
        raise UserError(f"{pair.base}: no tokenizer (tokenizer_config.json) here or in {pair.adapter}")
    tokenizer = AutoTokenizer.from_pretrained(with_tokenizer, local_files_only=True, trust_remote_code=False)
    base = AutoModelForCausalLM.from_pretrained(
        pair.base, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    model = PeftModel.from_pretrained(base, pair.adapter, local_files_only=True).to(device).eval()
    try:
        # Some adapters (DoRA, adapters that are not LoRA) cannot share a batch with their base: find out now.
        with torch.inference_mode():
            model(
                input_ids=torch.zeros((2, 1), dtype=torch.long, device=device),
                adapter_names=[*ADAPTER_NAMES.values()],
            )
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{pair.adapter}: an adapter of this kind cannot share a batch with its base; LoRA can ({error})"
        ) from None
    return Engine(model, tokenizer)
