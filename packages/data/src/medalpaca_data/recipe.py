"""A build recipe: which sources, how much of them is held out, how much may be bad."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from .core.config import Config, load_config
from .core.errors import UserError, nearest
from .deid.settings import Deidentification
from .rephrase.prompts import Rephrase
from .sources import Source
from .stages.language import LANGUAGES


class Recipe(Config):
    """`data build` reads exactly these keys. Paths in it are relative to the recipe's own directory."""

    name: str
    sources: list[Annotated[Source, Field(discriminator="kind")]] = Field(min_length=1)
    skip: tuple[str, ...] = ()  # names of sources to leave out; the account says so
    clean: bool = True  # take markup residue out, drop rows without a usable answer
    deidentify: Deidentification | None = (
        None  # of the sources marked as patient text, or where none is, of all
    )
    language: str | None = None  # two letters (ISO 639-1); rows that are surely in another one are dropped
    refuse_tests: bool = True  # drop questions of published test sets
    rephrase: Rephrase | None = (
        None  # other words for the rows of some sources, by rule or by a model of yours
    )
    near_duplicates: float | None = Field(
        default=0.8, ge=0.5, le=1
    )  # Jaccard of word 3-grams; null: keep them
    exams: tuple[str, ...] = ()  # files, directories or bundled names of exams that nothing may be learned of
    max_coverage: float = Field(default=0.5, gt=0, le=1)  # of an exam question by a row; more drops the row
    rows: int | None = Field(default=None, ge=1)  # of the whole mix, shared among the sources by `weight`
    validation: float = Field(default=0.05, ge=0, lt=1)  # share of the groups held out for validation
    max_reject_share: float = Field(default=0.05, ge=0, le=1)  # of a source's records; more ends the build
    seed: int = 0  # of every draw: the groups held out, the rows of the mix, and what sources shuffle

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, sources: list[Source]) -> list[Source]:
        names = [source.name for source in sources]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two sources are called {repeated!r}; give each a name of its own")
        return sources

    @field_validator("language")
    @classmethod
    def _can_be_told(cls, value: str | None) -> str | None:
        if value is not None and value not in LANGUAGES:
            raise ValueError("not a language that can be told: two letters are expected, such as en or de")
        return value

    @model_validator(mode="after")
    def _skipped_are_there(self) -> Recipe:
        names = [source.name for source in self.sources]
        for name in self.skip:
            if name not in names:
                guess = nearest(name, names)
                hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(names)}"
                raise ValueError(f"no source {name!r} to skip; {hint}")
        if len(set(self.skip)) == len(names):
            raise ValueError("every source is skipped")
        return self

    @property
    def used(self) -> list[Source]:
        """The sources that are read, in order."""
        return [source for source in self.sources if source.name not in self.skip]

    @model_validator(mode="after")
    def _weights_have_a_sum(self) -> Recipe:
        if self.rows is None and any(source.weight != 1 for source in self.sources):
            raise ValueError("a source has a weight, but no rows: say how many rows the mix has")
        return self


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
