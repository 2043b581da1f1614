"""From two directories or addresses to a running engine; what does not belong together is refused before loading."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalpaca_data.clearance import changed_since
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import read_json
from medalpaca_data.core.weights import BEST, RECEIPT, check_adapter_dir, check_model_dir, weights_sha256

from .endpoint import Address, Source, addresses, check_hosts

if TYPE_CHECKING:
    from .audit import Recorder
    from .engine import Engine, Loaded
    from .job import Arm
    from .remote import Remote
    from .sides import Arms


@dataclass(frozen=True, slots=True)
class Pair:
    """A base and an adapter that belong together, and the hashes that name them; an endpoint's weights have none."""

    base: Source
    adapter: Source
    base_sha256: str
    adapter_sha256: str
    outside: tuple[str, ...] = ()  # machines that questions go to

    @property
    def name(self) -> str:
        """The run as a reader would quote it."""
        if isinstance(self.adapter, Address):
            return self.adapter.name
        name = self.adapter.resolve().name
        return f"{name}@{self.adapter_sha256[:8]}" if self.adapter_sha256 else f"{name} (not loaded)"


def check_pair(base: Source, adapter: Source, trusted: Collection[str] = ()) -> Pair:
    """Check both and name them; `adapter` may be an adapter of that base, a whole model, or an endpoint.

    `trusted` are hosts outside this machine that may be asked. Raises UserError, one line, on anything that does
    not fit.
    """
    outside = tuple(check_hosts(addresses(base, adapter), trusted))
    base_sha256 = adapter_sha256 = ""
    if isinstance(base, Path):
        check_model_dir(base)
        base_sha256 = weights_sha256(base)
    if isinstance(adapter, Path):
        if is_whole_model(adapter):
            check_model_dir(adapter)
        elif isinstance(base, Path):
            check_adapter_dir(adapter, base, base_sha256)
        else:
            raise UserError(
                f"{adapter}: an adapter needs its base's directory, and {base} is an address; "
                "name the directory, or the address that serves this adapter"
            )
        adapter_sha256 = weights_sha256(adapter)
    return Pair(base, adapter, base_sha256, adapter_sha256, outside)


def changed_rules(adapter: Source) -> tuple[str, ...]:
    """Return the rules that have changed since the ledger of a run's training rows was written, a line each.

    The run's manifest names the ledger's format. An endpoint, and a model that no run made, has none.
    """
    if not isinstance(adapter, Path):
        return ()
    # The weights of `best/` have their receipt in the run above.
    run = adapter.parent if adapter.name == BEST and not (adapter / RECEIPT).is_file() else adapter
    receipt = read_json(run / RECEIPT) if (run / RECEIPT).is_file() else None
    patient_text = receipt.get("patient_text") if isinstance(receipt, dict) else None
    changed = changed_since(patient_text) if isinstance(patient_text, dict) else ()
    return tuple(f"{run}: {line}" for line in changed)


def unchecked_pair(base: Source, adapter: Source) -> Pair:
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


def load_engine(pair: Pair, key: str | None = None) -> Engine:
    """The engine with its models loaded. Raises UserError, one line, when the libraries refuse what the checks
    let pass."""
    engine = start_engine(pair, key)
    try:
        return engine.ready()
    except Exception:
        engine.close()
        raise


def start_engine(pair: Pair, key: str | None = None, recorder: Recorder | None = None) -> Engine:
    """The engine, which loads its models while others do something else."""
    from .engine import Engine

    return Engine(partial(load_arms, pair, key), recorder=recorder)


def load_arms(pair: Pair, key: str | None = None) -> Loaded:
    """Load what is here, and ask whether what is elsewhere answers. `key` is what endpoints want to see."""
    from .remote import Remote

    remotes: dict[Arm, Remote] = {}
    directories: dict[Arm, Path] = {}
    sources: tuple[tuple[Arm, Source], ...] = (("base", pair.base), ("tuned", pair.adapter))
    for arm, source in sources:
        if isinstance(source, Path):
            directories[arm] = source
        else:
            remotes[arm] = Remote(source, key)
            remotes[arm].check()
    return replace(_load_here(directories), remotes=remotes)


def _load_here(directories: Mapping[Arm, Path]) -> Loaded:
    """Load the base once and put the adapter on it, or load whole models."""
    from .engine import Loaded

    if not directories:
        return Loaded(None, None)
    import torch
    from peft import PeftModel
    from transformers import AutoTokenizer

    from .sides import Two

    device = "cuda" if torch.cuda.is_available() else "cpu"
    there = list(directories.values())
    with_tokenizer = [directory for directory in there if (directory / "tokenizer_config.json").is_file()]
    if not with_tokenizer:
        elsewhere = f" or in {there[1]}" if there[1:] else ""
        raise UserError(f"{there[0]}: no tokenizer (tokenizer_config.json) here{elsewhere}")
    tokenizers = []
    for directory in with_tokenizer:
        with _loading(directory):
            tokenizers.append(
                AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
            )
    if "tuned" not in directories or is_whole_model(directories["tuned"]):
        if len({frozenset(tokenizer.get_vocab().items()) for tokenizer in tokenizers}) > 1:
            raise UserError(
                f"{there[1]}: another vocabulary than {there[0]}; the same prompt would be other tokens"
            )
        models = {arm: _model(directory, device) for arm, directory in directories.items()}
        return Loaded(Two(models), tokenizers[0])
    base, adapter = _model(directories["base"], device), directories["tuned"]
    with _loading(adapter):
        model = PeftModel.from_pretrained(base, adapter, local_files_only=True)
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

    from .sides import ADAPTER_NAMES, Mixed, Switched

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
