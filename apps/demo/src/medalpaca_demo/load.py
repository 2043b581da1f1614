"""From two directories to a running engine; what does not belong together is refused before loading."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medalpaca_data.ground.errors import UserError
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
    base_sha256 = weights_sha256(base)
    check_adapter_dir(adapter, base, base_sha256)
    return Pair(base, adapter, base_sha256, weights_sha256(adapter))


def load_engine(pair: Pair) -> Engine:
    """Load the base once, put the adapter on it, and start the engine's thread.

    Raises UserError, one line, when the libraries refuse what the checks let pass.
    """
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
    with _loading(with_tokenizer):
        tokenizer = AutoTokenizer.from_pretrained(
            with_tokenizer, local_files_only=True, trust_remote_code=False
        )
    with _loading(pair.base):
        base = AutoModelForCausalLM.from_pretrained(
            pair.base, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    with _loading(pair.adapter):
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


@contextmanager
def _loading(directory: Path) -> Iterator[None]:
    """Without transformers' bars and one notice of theirs; what cannot be loaded is the user's to put right."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            # peft still asks transformers by a name that is going away.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            yield
    except (ValueError, RuntimeError, OSError) as error:
        raise UserError(f"{directory}: cannot be loaded ({textwrap.shorten(str(error), 240)})") from None
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
