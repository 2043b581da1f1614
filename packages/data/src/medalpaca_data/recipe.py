"""The recipe of `data build`: its keys, their defaults, and the built-in recipes."""

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
    """Keys of a recipe.

    Paths are relative to the directory of the recipe file, and for a built-in recipe to the working directory.

    Attributes:
        name: Name of the recipe, also in the dataset card.
        sources: Raw data to read, in order.
        skip: Names of sources that are not read; the ledger lists them.
        strict: Refuse a build if a source has a column that is not read. A source has the same key for itself alone.
        clean: Remove markup from texts and reject rows that are not usable, for instance without an answer.
        deidentify: Check or replace identifiers in sources of patient text, or in all sources if none is marked; null
            does neither.
        language: ISO 639-1 code; rows of 20 words or more that are very probably in another language are rejected.
            Null keeps all.
        refuse_tests: Reject rows with questions of published test sets.
        rephrase: Rephrase rows of some sources by rules or with a model.
        near_duplicates: Jaccard similarity of word 3-grams from which a later row is rejected; null keeps all.
        exams: Exam files, directories or bundled names for decontamination.
        max_coverage: A row is rejected if its coverage of an exam question is this share or more.
        rows: Number of rows of the mix, divided among the sources by `weight`; null keeps all, up to `max_rows`.
        validation: Share of the sets of linked rows that are held out for validation, beside the rows of split dev.
        max_reject_share: Share of invalid records of a source above which the build stops.
        seed: Seed of all random draws.
    """

    name: str
    sources: list[Annotated[Source, Field(discriminator="kind")]] = Field(min_length=1)
    skip: tuple[str, ...] = ()
    strict: bool = False
    clean: bool = True
    deidentify: Deidentification | None = None
    language: str | None = None
    refuse_tests: bool = True
    rephrase: Rephrase | None = None
    near_duplicates: float | None = Field(default=0.8, ge=0.5, le=1)
    exams: tuple[str, ...] = ()
    max_coverage: float = Field(default=0.5, gt=0, le=1)
    rows: int | None = Field(default=None, ge=1)
    validation: float = Field(default=0.05, ge=0, lt=1)
    max_reject_share: float = Field(default=0.05, ge=0, le=1)
    seed: int = 0

    @field_validator("sources")
    @classmethod
    def _check_unique_names(cls, sources: list[Source]) -> list[Source]:
        names = [source.name for source in sources]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two sources have the name {repeated!r}; give each source a unique name")
        return sources

    @field_validator("language")
    @classmethod
    def _check_language(cls, value: str | None) -> str | None:
        if value is not None and value not in LANGUAGES:
            raise ValueError("not a language that can be detected; use an ISO 639-1 code such as en or de")
        return value

    @model_validator(mode="after")
    def _check_skip(self) -> Recipe:
        names = [source.name for source in self.sources]
        for name in self.skip:
            if name not in names:
                guess = nearest(name, names)
                hint = f"did you mean {guess!r}?" if guess else f"allowed: {', '.join(names)}"
                raise ValueError(f"no source {name!r} to skip; {hint}")
        if len(set(self.skip)) == len(names):
            raise ValueError("all sources are skipped; remove a name from skip")
        return self

    @property
    def used(self) -> list[Source]:
        """Return the sources that are not named in `skip`, in order."""
        return [source for source in self.sources if source.name not in self.skip]

    @model_validator(mode="after")
    def _check_weights(self) -> Recipe:
        if self.rows is None and any(source.weight != 1 for source in self.sources):
            raise ValueError(
                "a source has a weight, but the recipe has no key 'rows'; set the number of rows of the mix"
            )
        return self


def builtin_recipes() -> list[str]:
    """Return the names of the built-in recipes."""
    entries = files(__package__).joinpath("recipes").iterdir()
    return sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> tuple[Recipe, Path]:
    """Return the recipe and the directory to which its paths are relative.

    For a built-in recipe that is the working directory. Raises UserError for an unknown name or an invalid file.
    """
    if name_or_path in builtin_recipes():
        file = Path(str(files(__package__).joinpath("recipes", f"{name_or_path}.yaml")))
        return load_config(Recipe, file, overrides, where=f"recipe {name_or_path}"), Path()
    path = Path(name_or_path)
    if not path.suffix and not path.exists():
        known = builtin_recipes()
        hint = (
            f"did you mean {guess!r}?"
            if (guess := nearest(name_or_path, known))
            else f"allowed: {', '.join(known)}"
        )
        raise UserError(f"{name_or_path}: neither a file nor a built-in recipe; {hint}")
    return load_config(Recipe, path, overrides), path.parent
