"""Which part of a corpus a file is. Test rows are never used for training: not by setting, not by file name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from ..ground.errors import UserError

HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
PARTS = {
    "test": re.compile(r"(?<![a-z])test(?:set|ing)?(?![a-z])"),
    "dev": re.compile(r"(?<![a-z])(?:dev|val|validation|development)(?:set)?(?![a-z])"),
    "train": re.compile(r"(?<![a-z])(?:train|training)(?:set)?(?![a-z])"),
}


def named_split(name: str) -> str | None:
    """`test`, `dev` or `train` if a name says so ("MyTestSet-2", "x_val.csv"), `test` before the others."""
    words = HUMP.sub(" ", name).lower()
    return next((split for split, word in PARTS.items() if word.search(words)), None)


def no_test_file(file: Path) -> Path:
    """`file`, unless it is named test."""
    if named_split(file.name) == "test":
        raise UserError(f"{file}: a file named test is refused; only train and dev can be built from")
    return file


def agreed_split(file: Path, declared: str | None, named: str | None = None) -> str | None:
    """The split that the recipe or the file's name says, or None; refused where the two disagree, and where it is test.

    `named` is another name that the file bears, inside.
    """
    no_test_file(file)
    named = named_split(named or "") or named_split(file.name)
    if named == "test":
        raise UserError(f"{file}: holds a test set; only train and dev can be built from")
    if declared and named and declared != named:
        raise UserError(f"{file}: is named {named}, and split: says {declared}; one of them is wrong")
    return declared or named


def no_test(value: Any) -> Any:
    """For settings that name a split."""
    if value == "test" or (isinstance(value, list | tuple) and "test" in value):
        raise ValueError("test rows are never used for training; only train and dev can be built from")
    return value


TrainOrDev = Annotated[Literal["train", "dev"], BeforeValidator(no_test)]
