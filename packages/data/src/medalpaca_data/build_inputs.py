"""Inputs of a build: raw files with their SHA-256, checks of their columns, and the exams of the recipe."""

from __future__ import annotations

from pathlib import Path

from .core.errors import UserError
from .core.files import sha256_file
from .exams.exam import Exam, load_exam
from .recipe import Recipe
from .sources.columns import ColumnSource


def hash_inputs(recipe: Recipe, root: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the names of the raw files of every source with their SHA-256.

    Raises UserError with all files that are missing.
    """
    files_of: dict[str, dict[Path, str]] = {}
    missing: dict[str, str] = {}
    for source in recipe.used:
        try:
            files_of[source.name] = source.file_names(root)
        except UserError as error:
            missing[source.name] = str(error)
    if len(missing) == 1:
        raise UserError(*missing.values())
    if missing:
        listed = ", ".join(f"{message.partition(': ')[0]} ({name})" for name, message in missing.items())
        without = f", or build without them: skip=[{','.join(missing)}]" if files_of else ""
        raise UserError(f"raw files missing: {listed}; `data sources KIND` prints where to get them{without}")
    return {
        source: [(name, sha256_file(file)) for file, name in names.items()]
        for source, names in files_of.items()
    }


def check_columns(recipe: Recipe, root: Path) -> None:
    """Raise UserError if the layout of a file is unknown, or a strict source has a column that is not read."""
    for source in recipe.used:
        if isinstance(source, ColumnSource):
            source.preflight(root, strict=recipe.strict or source.strict)


def load_recipe_exam(name: str, root: Path) -> Exam:
    """Return an exam by its bundled name or a path relative to the recipe, including items with pictures."""
    path = root / Path(name).expanduser()
    return load_exam(str(path) if path.exists() else name, images="keep")
