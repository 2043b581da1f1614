"""Loaded base and tuned model behind one interface, whatever the pair consists of. A side is "base" or "tuned".

`MixedBatch`: one copy of the weights, rows of both sides in one batch (LoRA).
`SwitchedAdapter`: one copy of the weights; the adapter is switched off for the base, so each side needs its own
pass (for example DoRA).
`TwoModels`: a base and a fully fine-tuned or merged model: two copies of the weights, one pass for each side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from .job import Side

# peft's name for "no adapter", and the name under which `PeftModel.from_pretrained` loads one.
ADAPTER_NAMES: Mapping[Side, str] = {"base": "__base__", "tuned": "default"}

# A model, and the keyword arguments that a call of it needs in addition to the inputs.
ModelCall = tuple[Any, dict[str, Any]]


class HookGuard:
    """Context manager that removes the forward pre-hooks that a call has left on a model.

    For a batch with `adapter_names`, peft 0.21 registers a hook on every LoRA layer. It removes the hooks after the
    call, but not if the call raises. The next batch of the same size would then silently use the adapters of the
    failed batch, and the tuned side would answer as the base.
    """

    def __init__(self, model: Any) -> None:
        self._clean = [(module, frozenset(module._forward_pre_hooks)) for module in model.modules()]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.restore()

    def restore(self) -> int:
        """Remove every hook that was added since the guard was made. Return their number."""
        removed = 0
        for module, clean in self._clean:
            for key in [key for key in module._forward_pre_hooks if key not in clean]:
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
                removed += 1
        return removed


class ModelPair(Protocol):
    """Interface through which the engine uses a base and a tuned model."""

    @property
    def shares_batch(self) -> bool:
        """Whether one batch may hold rows of both sides."""

    def model(self, side: Side) -> Any:
        """Return the model of a side, from which the engine reads device and configuration."""

    def activate(self, sides: Sequence[Side]) -> Any:
        """Return a context manager that yields a `ModelCall` for a batch; `sides` names the side of each row."""


class MixedBatch:
    """One `PeftModel` that selects the adapter for each row by `adapter_names`."""

    shares_batch = True

    def __init__(self, model: Any) -> None:
        self._model = model.eval()
        self._guard = HookGuard(model)

    def model(self, side: Side) -> Any:
        """Return the model of a side; see `ModelPair`."""
        return self._model

    @contextmanager
    def activate(self, sides: Sequence[Side]) -> Iterator[ModelCall]:
        """Yield the model and its arguments for a batch; see `ModelPair`."""
        with self._guard():
            yield self._model, {"adapter_names": [ADAPTER_NAMES[side] for side in sides]}


class SwitchedAdapter:
    """One `PeftModel` whose adapter is switched off for the base. All rows of a batch belong to one side."""

    shares_batch = False

    def __init__(self, model: Any) -> None:
        self._model = model.eval()

    def model(self, side: Side) -> Any:
        """Return the model of a side; see `ModelPair`."""
        return self._model

    @contextmanager
    def activate(self, sides: Sequence[Side]) -> Iterator[ModelCall]:
        """Yield the model and its arguments for a batch; see `ModelPair`."""
        (side,) = set(sides)
        with self._model.disable_adapter() if side == "base" else nullcontext():
            yield self._model, {}


@dataclass(frozen=True, slots=True)
class TwoModels:
    """Two separate models with the same tokenizer. All rows of a batch belong to one side."""

    models: Mapping[Side, Any]
    shares_batch: bool = False

    def model(self, side: Side) -> Any:
        """Return the model of a side; see `ModelPair`."""
        return self.models[side]

    @contextmanager
    def activate(self, sides: Sequence[Side]) -> Iterator[ModelCall]:
        """Yield the model and its arguments for a batch; see `ModelPair`."""
        (side,) = set(sides)
        yield self.models[side], {}
