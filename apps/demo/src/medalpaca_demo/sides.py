"""Base and tuned behind one door: whatever the pair is made of, a pass is asked of it in the same way.

`Mixed` is the quick one: an adapter that can share a batch with its base, one copy of the weights, one pass.
`Switched` has one copy too, but an adapter (DoRA, for one) that must be switched off for the base: two passes.
`Two` is a base and a whole model that was tuned or merged from it: two copies, two passes.

A guard around peft's mixed batches.

For a batch with `adapter_names`, peft 0.21 hangs a hook on every LoRA layer and takes it off after the call,
but not when the call raises. The hooks then stay, and the next batch of the same size is answered with the
*old* batch's adapters: the tuned side speaks as the base, with no error. Whatever happens inside, the model
leaves this guard with the hooks it had when the guard was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from .job import Arm


class HookGuard:
    """Remembers a model's forward pre-hooks and puts that state back."""

    def __init__(self, model: Any) -> None:
        self._clean = [(module, frozenset(module._forward_pre_hooks)) for module in model.modules()]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Run a call that may raise."""
        try:
            yield
        finally:
            self.restore()

    def restore(self) -> int:
        """Take off every hook that was added since; how many there were."""
        removed = 0
        for module, clean in self._clean:
            for key in [key for key in module._forward_pre_hooks if key not in clean]:
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
                removed += 1
        return removed


# peft's name for "no adapter", and the name under which `PeftModel.from_pretrained` loads one.
ADAPTER_NAMES: Mapping[Arm, str] = {"base": "__base__", "tuned": "default"}

Voice = tuple[Any, dict[str, Any]]


class Arms(Protocol):
    """What the engine asks of a pair."""

    @property
    def together(self) -> bool:
        """Whether one pass may hold rows of both arms."""

    def model(self, arm: Arm) -> Any:
        """The model that answers for an arm: for its device and its configuration."""

    def speak(self, arms: Sequence[Arm]) -> Any:
        """A context that gives the model for these rows and what to pass to it beside them, and cleans up."""


class Mixed:
    """One `PeftModel`, rows told apart by `adapter_names`."""

    together = True

    def __init__(self, model: Any) -> None:
        self._model = model.eval()
        self._guard = HookGuard(model)

    def model(self, arm: Arm) -> Any:
        """The same for both."""
        return self._model

    @contextmanager
    def speak(self, arms: Sequence[Arm]) -> Iterator[Voice]:
        """Rows in any order; the hooks that peft hangs are off again afterwards, whatever happened."""
        with self._guard():
            yield self._model, {"adapter_names": [ADAPTER_NAMES[arm] for arm in arms]}


class Switched:
    """One `PeftModel` whose adapter is switched off for the base."""

    together = False

    def __init__(self, model: Any) -> None:
        self._model = model.eval()

    def model(self, arm: Arm) -> Any:
        """The same for both."""
        return self._model

    @contextmanager
    def speak(self, arms: Sequence[Arm]) -> Iterator[Voice]:
        """Rows of one arm."""
        (arm,) = set(arms)
        with self._model.disable_adapter() if arm == "base" else nullcontext():
            yield self._model, {}


@dataclass(frozen=True, slots=True)
class Two:
    """Two models of one tokenizer."""

    models: Mapping[Arm, Any]
    together: bool = False

    def model(self, arm: Arm) -> Any:
        """Each its own."""
        return self.models[arm]

    @contextmanager
    def speak(self, arms: Sequence[Arm]) -> Iterator[Voice]:
        """Rows of one arm."""
        (arm,) = set(arms)
        yield self.models[arm], {}
