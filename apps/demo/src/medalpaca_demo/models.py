"""Check a base and an adapter, load them, and start the engine. Mismatches are refused before anything is loaded."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import read_json
from medalpaca_data.core.weights import BEST, RECEIPT, check_adapter_dir, check_model_dir, weights_sha256
from medalpaca_data.ledger import changed_since
from medalpaca_evalharness.endpoint import Endpoint, Source, check_hosts, endpoints

if TYPE_CHECKING:
    from .audit import Recorder
    from .engine import Engine, LoadedModels
    from .job import Side
    from .remote import RemoteModel
    from .sides import ModelPair


@dataclass(frozen=True, slots=True)
class Pair:
    """A base and its fine-tuned model, which is an adapter, a full model or an endpoint.

    The hashes are the SHA-256 of the weights, empty for endpoints and for models that were not checked.

    `outside_hosts` are the hosts outside this machine that receive the questions.
    """

    base: Source
    adapter: Source
    base_sha256: str
    adapter_sha256: str
    outside_hosts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the fine-tuned model for display: directory and first digits of the hash, or endpoint."""
        if isinstance(self.adapter, Endpoint):
            return self.adapter.name
        name = self.adapter.resolve().name
        return f"{name}@{self.adapter_sha256[:8]}" if self.adapter_sha256 else f"{name} (not loaded)"


def check_pair(base: Source, adapter: Source, trusted: Collection[str] = ()) -> Pair:
    """Return both models as a pair, after a check of their files and with the hashes of local weights.

    `adapter` is an adapter of this base, a full model, or an endpoint. `trusted` names the hosts outside this machine
    that may receive questions. Raises UserError if a file is missing or unsafe, the adapter belongs to another base,
    or a host is not trusted.
    """
    outside = tuple(check_hosts(endpoints(base, adapter), trusted))
    base_sha256 = adapter_sha256 = ""
    if isinstance(base, Path):
        check_model_dir(base)
        base_sha256 = weights_sha256(base)
    if isinstance(adapter, Path):
        if is_full_model(adapter):
            check_model_dir(adapter)
        elif isinstance(base, Path):
            check_adapter_dir(adapter, base, base_sha256)
        else:
            raise UserError(
                f"{adapter}: an adapter needs the directory of its base, but --base is the endpoint {base}; "
                "pass a directory as --base, or the endpoint that serves this adapter as --adapter"
            )
        adapter_sha256 = weights_sha256(adapter)
    return Pair(base, adapter, base_sha256, adapter_sha256, outside)


def changed_rules(adapter: Source) -> tuple[str, ...]:
    """Return one line per de-identification rule that has changed since the ledger of the training rows was written.

    The format of the ledger is in the manifest of the training run. An endpoint, or a model without such a manifest,
    gives an empty tuple.
    """
    if not isinstance(adapter, Path):
        return ()
    # The manifest of the weights in `best/` is in the run directory above.
    run = adapter.parent if adapter.name == BEST and not (adapter / RECEIPT).is_file() else adapter
    receipt = read_json(run / RECEIPT) if (run / RECEIPT).is_file() else None
    patient_text = receipt.get("patient_text") if isinstance(receipt, dict) else None
    changed = changed_since(patient_text) if isinstance(patient_text, dict) else ()
    return tuple(f"{run}: {line}" for line in changed)


def unchecked_pair(base: Source, adapter: Source) -> Pair:
    """Return a pair that cannot be loaded, for a page that shows existing results only."""
    return Pair(base, adapter, "", "")


def failed_engine(error: Exception) -> Engine:
    """Return an engine without models, whose jobs all fail with `error`."""
    from .engine import Engine

    def fail() -> LoadedModels:
        raise error

    return Engine(fail)


def is_full_model(directory: Path) -> bool:
    """Return whether the directory holds a fully fine-tuned or merged model and not an adapter."""
    return (directory / "config.json").is_file() and not (directory / "adapter_config.json").is_file()


def start_engine(pair: Pair, key: str | None = None, recorder: Recorder | None = None) -> Engine:
    """Return an engine at once; it loads the models in its own thread. `key` is the endpoints' API key.

    `recorder` writes the audit log, None without one.
    """
    from .engine import Engine

    return Engine(partial(load_models, pair, key), recorder=recorder)


def load_models(pair: Pair, key: str | None = None) -> LoadedModels:
    """Load local models and check that endpoints answer; return both.

    Raises UserError if a model cannot be loaded or an endpoint fails the check.
    """
    from .remote import RemoteModel

    remotes: dict[Side, RemoteModel] = {}
    directories: dict[Side, Path] = {}
    sources: tuple[tuple[Side, Source], ...] = (("base", pair.base), ("tuned", pair.adapter))
    for side, source in sources:
        if isinstance(source, Path):
            directories[side] = source
        else:
            remotes[side] = RemoteModel(source, key)
            remotes[side].check()
    return replace(_load_local(directories), remotes=remotes)


def _load_local(directories: Mapping[Side, Path]) -> LoadedModels:
    from .engine import LoadedModels

    if not directories:
        return LoadedModels(None, None)
    import torch
    from peft import PeftModel

    from .sides import TwoModels

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizers = _load_tokenizers(list(directories.values()))
    if "tuned" not in directories or is_full_model(directories["tuned"]):
        if len({frozenset(tokenizer.get_vocab().items()) for tokenizer in tokenizers}) > 1:
            raise UserError(
                f"{directories['tuned']}: its tokenizer has another vocabulary than that of {directories['base']}; "
                "compare a model with its own base"
            )
        models = {side: _load_model(directory, device) for side, directory in directories.items()}
        return LoadedModels(TwoModels(models), tokenizers[0])
    base, adapter = _load_model(directories["base"], device), directories["tuned"]
    with _loading(adapter):
        model = PeftModel.from_pretrained(base, adapter, local_files_only=True)
    return LoadedModels(_choose_batching(model if _is_quantized(base) else model.to(device)), tokenizers[0])


def _load_tokenizers(directories: list[Path]) -> list[Any]:
    """Return the tokenizer of every directory that has one. Raises UserError if none has."""
    from transformers import AutoTokenizer

    with_tokenizer = [path for path in directories if (path / "tokenizer_config.json").is_file()]
    if not with_tokenizer:
        other = f" or in {directories[1]}" if directories[1:] else ""
        raise UserError(f"{directories[0]}: no tokenizer_config.json here{other}; save the tokenizer there")
    tokenizers = []
    for directory in with_tokenizer:
        with _loading(directory):
            tokenizers.append(
                AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
            )
    return tokenizers


def _load_model(directory: Path, device: str) -> Any:
    from transformers import AutoModelForCausalLM

    with _loading(directory):
        model: Any = AutoModelForCausalLM.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    return (model if _is_quantized(model) else model.to(device)).eval()


def _is_quantized(model: Any) -> bool:
    """Return whether the weights are quantised; transformers then has chosen the device, and they must stay there."""
    return bool(getattr(model, "is_quantized", False))


def _choose_batching(model: Any) -> ModelPair:
    """Return a pair that mixes both sides in a batch, or one that switches the adapter if a trial batch fails.

    It fails for DoRA and for adapters other than LoRA.
    """
    import torch

    from .sides import ADAPTER_NAMES, MixedBatch, SwitchedAdapter

    mixed = MixedBatch(model)
    try:
        with torch.inference_mode(), mixed.activate(("base", "tuned")) as (both, extra):
            both(
                # Two tokens: some models flatten rows and tokens, and then peft cannot assign adapters to rows.
                input_ids=torch.zeros((len(ADAPTER_NAMES), 2), dtype=torch.long, device=both.device),
                **extra,
            )
    except (ValueError, TypeError, NotImplementedError):
        return SwitchedAdapter(model)
    return mixed


@contextmanager
def _loading(directory: Path) -> Iterator[None]:
    """Hide progress bars and a known warning; turn the libraries' errors into UserError."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            # peft uses a deprecated name of transformers.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            yield
    except (ValueError, RuntimeError, OSError) as error:
        raise UserError(f"{directory}: cannot be loaded ({textwrap.shorten(str(error), 240)})") from None
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
