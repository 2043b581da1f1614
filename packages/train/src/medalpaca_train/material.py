"""From the words of a recipe to what lies on disk: the run directory, the base, the rows and how they are split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medalpaca_data.clearance import Clearance, clear
from medalpaca_data.ground import places
from medalpaca_data.ground.files import existing
from medalpaca_data.row import Row, read_rows, read_split, rows_sha256

from .recipe import Recipe

POCKET_DATA = {"pocket", "pocket-language"}  # `data:` words for the built-in Meadows
POCKET_BASE = "pocket-base"  # the `model:` word for the quickstart's base
POCKET_SEED = 0  # the embedded material is the same whatever the run's own seed


@dataclass(frozen=True, slots=True)
class Material:
    """The rows of a run: what is learned, what is only measured, and the name of the data."""

    train: list[Row]
    validation: list[Row]
    read: int
    sha256: str


def settle(recipe: Recipe, name: str) -> Recipe:
    """The recipe with its words replaced by absolute places. Builds a built-in Meadow that is not there yet."""
    return recipe.model_copy(
        update={
            "out": str(Path(recipe.out).expanduser().absolute() if recipe.out else places.runs() / name),
            "data": str(_data(recipe.data)),
            "model": _model(recipe.model),
            "validation": _validation(recipe.validation),
        }
    )


def read_material(recipe: Recipe) -> Material:
    """The rows of a settled recipe. Raises UserError, naming file and row, for anything that cannot be read."""
    path = Path(recipe.data)
    rows = read_rows(path)
    files = [path]
    if isinstance(recipe.validation, str):
        train, held = rows, read_rows(recipe.validation)
        files.append(Path(recipe.validation))
    elif recipe.validation == 0:
        train, held = rows, []
    elif (
        path.is_dir()
        and (path / "validation.parquet").is_file()
        and (built := read_split(path, "validation"))
    ):
        train, held = rows, built
    else:
        train, held = split(rows, recipe.validation, recipe.seed)
    return Material(train, held, len(train) + len(held), rows_sha256(*files))


def clear_rows(recipe: Recipe, material: Material) -> Clearance:
    """Why the rows of a settled recipe may be trained on. Raises UserError where they may not, before any model."""
    apart = isinstance(recipe.validation, str)
    rows = material.train if apart else [*material.train, *material.validation]
    stated, accepted = recipe.patient_text, recipe.accept_patient_text
    cleared = clear(Path(recipe.data), rows, patient_text=stated, accepted=accepted)
    if apart:
        held = Path(str(recipe.validation))
        also = clear(held, material.validation, patient_text=stated, accepted=accepted)
        said, evidence = f"{cleared.said}; for validation: {also.said}", {"validation": also.as_json()}
        notes = cleared.notes + also.notes
        cleared = replace(cleared, said=said, evidence={**cleared.evidence, **evidence}, notes=notes)
    return cleared


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(train, validation): whole groups are drawn until they hold `share` of the rows, or one group more.

    A group (a disease, a thread) is never cut, since rows of one group answer each other. Rows without a group
    stand alone; rows with the same text stay together. With fewer than two groups nothing is held out.
    """
    groups = sorted({row.group or row.id for row in rows})
    if len(groups) < 2:
        return list(rows), []
    sizes: dict[str, int] = dict.fromkeys(groups, 0)
    for row in rows:
        sizes[row.group or row.id] += 1
    held: set[str] = set()
    count = 0
    for index in np.random.default_rng(seed).permutation(len(groups))[: len(groups) - 1]:
        if count >= share * len(rows):
            break
        held.add(groups[index])
        count += sizes[groups[index]]
    return (
        [row for row in rows if (row.group or row.id) not in held],
        [row for row in rows if (row.group or row.id) in held],
    )


def _data(word: str) -> Path:
    if word in POCKET_DATA:
        from medalpaca_data.builtin import ensure_meadow

        # The quickstart examines what was learned from this Meadow, so that one has its fixed place.
        out = places.quickstart().meadow if word == "pocket" else places.cache() / word
        return Path(ensure_meadow(word, out, POCKET_SEED)).absolute()
    return existing(Path(word).expanduser().absolute(), "data file or directory")


def _model(word: str) -> str:
    if word == POCKET_BASE:
        return str(places.quickstart().base)
    local = Path(word).expanduser()
    return str(local.absolute()) if word != "pocket" and local.exists() else word


def _validation(value: float | str) -> float | str:
    return str(existing(Path(value).expanduser().absolute())) if isinstance(value, str) else value
