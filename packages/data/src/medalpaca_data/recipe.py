"""A build recipe: which sources, how much of them is held out, how much may be bad."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from .config import Config, load_config
from .ground.errors import UserError, nearest
from .sources import Source


class Recipe(Config):
    """`data build` reads exactly these keys. Paths in it are relative to the recipe's own directory."""

    name: str
    sources: list[Annotated[Source, Field(discriminator="kind")]] = Field(min_length=1)
    validation: float = Field(default=0.05, ge=0, lt=1)  # share of the groups held out for validation
    max_reject_share: float = Field(default=0.05, ge=0, le=1)  # of a source's records; more ends the build
    seed: int = 0  # of every draw: the groups held out, and what sources shuffle

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, sources: list[Source]) -> list[Source]:
        names = [source.name for source in sources]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two sources are called {repeated!r}; give each a name of its own")
        return sources


def builtin_recipes() -> list[str]:
    """Names that `data build` knows without a file."""
    entries = files(__package__).joinpath("recipes").iterdir()
    return sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> tuple[Recipe, Path]:
    """The recipe, and the directory that its paths are relative to (the working directory for a built-in one)."""
    if name_or_path in builtin_recipes():
        file = Path(str(files(__package__).joinpath("recipes", f"{name_or_path}.yaml")))
        return load_config(Recipe, file, overrides, where=f"recipe {name_or_path}"), Path()
    path = Path(name_or_path)
    if not path.suffix and not path.exists():
        known = builtin_recipes()
        hint = (
            f"did you mean {guess!r}?"
            if (guess := nearest(name_or_path, known))
            else f"known: {', '.join(known)}"
        )
        raise UserError(f"{name_or_path}: neither a file nor a built-in recipe; {hint}")
    return load_config(Recipe, path, overrides), path.parent
