"""The bundled exam `medalpaca_vignettes`: original questions in the style of Steps 1 to 3 that anybody may be shown."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files

from .item import VIGNETTES, RawExam
from .layouts import read_exam

FILE = "vignettes.jsonl"


def vignettes() -> RawExam:
    """The exam as it lies in the package. Explanations and references stay in the file: they are not asked."""
    with as_file(files(__package__).joinpath(FILE)) as path:
        return replace(read_exam(path), name=VIGNETTES)
