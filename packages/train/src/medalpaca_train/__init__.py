"""Fine-tune a causal language model on instruction rows: LoRA, QLoRA or all weights.

An interrupted run continues from its last checkpoint.

Python API, loaded when first used, so that importing the package loads neither torch nor transformers:

    from medalpaca_train import Recipe, load_run, train

    run = train(Recipe(model="models/base", data="rows.jsonl", out="runs/mine"))
    model, tokenizer = load_run(run)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .finished_run import load_run
    from .recipe import Recipe, read_recipe
    from .run import train

__all__ = ["Recipe", "__version__", "load_run", "read_recipe", "train"]

__version__ = "0.1.0"

_MODULES = {"Recipe": "recipe", "load_run": "finished_run", "read_recipe": "recipe", "train": "run"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
