"""Rules that keep test splits out of training: splits in file names, in rows and in settings."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from ..core.errors import UserError


class ExcludedError(ValueError):
    """Raised for a valid record that a rule excludes; the message is the reason in the ledger of the build."""


CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
SPLIT_PATTERNS = {
    "test": re.compile(r"(?<![a-z])test(?:set|ing)?(?![a-z])"),
    "dev": re.compile(r"(?<![a-z])(?:dev|val|validation|development)(?:set)?(?![a-z])"),
    "train": re.compile(r"(?<![a-z])(?:train|training)(?:set)?(?![a-z])"),
}
WORD = re.compile(r"[^\W\d_]+")
SEPARATOR = re.compile(r"[\W_]+")
DEV_NAMES = ("dev", "development", "val", "valid", "validation", "eval", "evaluation", "holdout", "heldout")
ROW_SPLITS = {"train": "train", "training": "train"} | dict.fromkeys(DEV_NAMES, "dev")


def split_from_name(name: str) -> str | None:
    """Return "test", "dev" or "train" if a name contains such a word ("MyTestSet-2", "x_val.csv"), else None.

    If it contains several, "test" comes before "dev", and "dev" before "train".
    """
    words = CAMEL_CASE.sub(" ", name).lower()
    return next((split for split, word in SPLIT_PATTERNS.items() if word.search(words)), None)


def is_test_file(name: str, declared: str | None = None) -> bool:
    """Return whether the path of a file, or a folder in it, names a test split.

    With a `declared` split, train or dev, the word test counts only at the start or the end of a name: it names no
    split in lab_test_results.csv.
    """
    if split_from_name(name) != "test":
        return False
    return declared not in ("train", "dev") or any(map(_is_at_edge, PurePosixPath(name).parts))


def _is_at_edge(name: str) -> bool:
    stem = name.lower().removesuffix(".gz")
    stem = stem[: stem.rindex(".")] if "." in stem else stem
    stem = CAMEL_CASE.sub(" ", name[: len(stem)])
    # A shard has its number at the end: test-00000-of-00001.
    words = [word for word in WORD.findall(stem.lower()) if word not in ("of", "set", "split", "data")]
    return any(SPLIT_PATTERNS["test"].fullmatch(word) for word in (*words[:1], *words[-1:]))


def refuse_test_file(file: Path, declared: str | None = None) -> Path:
    """Return `file`. Raises UserError if its name says that it is a test split (`is_test_file`)."""
    if is_test_file(file.name, declared):
        remedy = "" if _is_at_edge(file.name) else ", or set split: train"
        raise UserError(
            f"{file}: the file name says test, and test splits are not used; name a train or dev file; "
            f"if it is no test split, rename the file{remedy}"
        )
    return file


def resolve_split(file: Path, declared: str | None, named: str | None = None) -> str | None:
    """Return the split from the recipe (`declared`), from a name inside the file (`named`) or from the file name.

    Returns None if none of them has a split. Raises UserError if `declared` differs from the name, and for a test
    split. A split in `named` comes before that in the file name.
    """
    refuse_test_file(file)
    named = split_from_name(named or "") or split_from_name(file.name)
    if named == "test":
        raise UserError(
            f"{file}: contains a test split, and test splits are not used; name a train or dev file"
        )
    if declared and named and declared != named:
        raise UserError(
            f"{file}: the name says {named}, and the recipe has split: {declared}; correct one of them"
        )
    return declared or named


def parse_row_split(value: object, default: str) -> str:
    """Return the split of a row as "train" or "dev", or `default` if the row has none.

    `value` is the text in the row. Raises ExcludedError for a test row, and ValueError for an unknown name, because it
    may mean test.
    """
    word = SEPARATOR.sub("", "" if value is None else str(value).lower())
    if word in ("", "none"):
        return default
    if split_from_name(str(value)) == "test":
        raise ExcludedError("test row")
    split = ROW_SPLITS.get(word.removesuffix("set").removesuffix("split"))
    if split is None:
        raise ValueError("unknown split in the row; known are train, dev and test")
    return split


def refuse_test_split(value: Any) -> Any:
    """Return a setting that names one or more splits. Raises ValueError if one of them is "test"."""
    if value == "test" or (isinstance(value, list | tuple) and "test" in value):
        raise ValueError("test rows are never used for training; allowed are train and dev")
    return value


TrainOrDev = Annotated[Literal["train", "dev"], BeforeValidator(refuse_test_split)]
