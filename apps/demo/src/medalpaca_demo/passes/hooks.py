"""A guard around peft's mixed batches.

For a batch with `adapter_names`, peft 0.21 hangs a hook on every LoRA layer and takes it off after the call,
but not when the call raises. The hooks then stay, and the next batch of the same size is answered with the
*old* batch's adapters: the tuned side speaks as the base, with no error. Whatever happens inside, the model
leaves this guard with the hooks it had when the guard was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
