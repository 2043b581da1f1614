"""The Meadow directories of the built-in recipes, built when somebody needs them."""

from __future__ import annotations

from pathlib import Path

from .build import build
from .recipe import load_recipe


def ensure_meadow(name: str, out: Path, seed: int) -> Path:
    """Build the built-in recipe `name` into `out`, unless it is there as this code and seed would make it.

    An older build of the same recipe is replaced: it can always be made again.
    """
    recipe, root = load_recipe(name, [f"seed={seed}"])
    return build(recipe, root, out, replace=True).path
