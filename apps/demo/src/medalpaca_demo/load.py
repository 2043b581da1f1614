"""From two directories to a running engine; what does not belong together is refused before loading."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.weights import check_adapter_dir, check_model_dir, weights_sha256

if TYPE_CHECKING:
    from .arms import Arms
    from .engine import Engine, Loaded


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
        name = self.adapter.resolve().name
        return f"{name}@{self.adapter_sha256[:8]}" if self.adapter_sha256 else f"{name} (not loaded)"


def check_pair(base: Path, adapter: Path) -> Pair:
    """Check both directories and name them; `adapter` may be an adapter of that base, or a whole model.

    Raises UserError, one line, on anything that does not fit.
    """
    check_model_dir(base)
    base_sha256 = weights_sha256(base)
    if is_whole_model(adapter):
        check_model_dir(adapter)
    else:
        check_adapter_dir(adapter, base, base_sha256)
    return Pair(base, adapter, base_sha256, weights_sha256(adapter))


def unchecked_pair(base: Path, adapter: Path) -> Pair:
    """The names of a pair that cannot be loaded, for a page that shows what was examined."""
    return Pair(base, adapter, "", "")


def no_engine(error: Exception) -> Engine:
    """An engine that says why there is none."""
    from .engine import Engine

    def refuse() -> Loaded:
        raise error

    return Engine(refuse)


def is_whole_model(directory: Path) -> bool:
    """A full fine-tune or a merged model, as against an adapter."""
    return (directory / "config.json").is_file() and not (directory / "adapter_config.json").is_file()


def load_engine(pair: Pair) -> Engine:
    """The engine with its models loaded. Raises UserError, one line, when the libraries refuse what the checks
    let pass."""
    engine = start_engine(pair)
    try:
        return engine.ready()
    except Exception:
        engine.close()
        raise


def start_engine(pair: Pair) -> Engine:
    """The engine, which loads its models while others do something else."""
    from .engine import Engine

    return Engine(partial(load_arms, pair))


def load_arms(pair: Pair) -> Loaded:
    """Load the base once and put the adapter on it, or load both models."""
    import torch
    from peft import PeftModel
    from transformers import AutoTokenizer

    from .arms import Two
    from .engine import Loaded

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with_tokenizer = [d for d in (pair.base, pair.adapter) if (d / "tokenizer_config.json").is_file()]
    if not with_tokenizer:
        raise UserError(f"{pair.base}: no tokenizer (tokenizer_config.json) here or in {pair.adapter}")
    tokenizers = []
    for directory in with_tokenizer:
        with _loading(directory):
            tokenizers.append(
                AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
            )
    base = _model(pair.base, device)
    if is_whole_model(pair.adapter):
        if len({frozenset(tokenizer.get_vocab().items()) for tokenizer in tokenizers}) > 1:
            raise UserError(
                f"{pair.adapter}: another vocabulary than {pair.base}; the same prompt would be other tokens"
            )
        return Loaded(Two({"base": base, "tuned": _model(pair.adapter, device)}), tokenizers[0])
    with _loading(pair.adapter):
        model = PeftModel.from_pretrained(base, pair.adapter, local_files_only=True)
    return Loaded(_adapted(model if _is_placed(base) else model.to(device)), tokenizers[0])


def _model(directory: Path, device: str) -> Any:
    from transformers import AutoModelForCausalLM

    with _loading(directory):
        model: Any = AutoModelForCausalLM.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    return (model if _is_placed(model) else model.to(device)).eval()


def _is_placed(model: Any) -> bool:
    """Quantised weights lie where they were made and must not be moved."""
    return bool(getattr(model, "is_quantized", False))


def _adapted(model: Any) -> Arms:
    """An adapter that cannot share a batch with its base (DoRA, what is not LoRA) takes turns with it."""
    import torch

    from .arms import ADAPTER_NAMES, Mixed, Switched

    mixed = Mixed(model)
    try:
        with torch.inference_mode(), mixed.speak(("base", "tuned")) as (both, extra):
            both(
                input_ids=torch.zeros((len(ADAPTER_NAMES), 1), dtype=torch.long, device=both.device), **extra
            )
    except (ValueError, TypeError, NotImplementedError):
        return Switched(model)
    return mixed


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
