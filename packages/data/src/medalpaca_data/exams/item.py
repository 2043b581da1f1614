"""The exam item, and an exam as it was read, before items that cannot be scored are excluded."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..core.files import sha256_bytes

LETTERS = string.ascii_uppercase
# Names of the bundled exams.
POCKET = "medalpaca_pocket"
VIGNETTES = "medalpaca_vignettes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One single-best-answer question.

    `options` maps letters to texts in the order in which they are shown; `answer` is a letter. `subject` of a MedQA
    item is its part, "step1" or "step2&3".
    """

    id: str
    question: str
    options: Mapping[str, str]
    answer: str
    step: int | None = None
    subject: str | None = None
    image: str | None = None

    @property
    def chance(self) -> float:
        """Return the expected accuracy of guessing: 1 / number of options."""
        return 1 / len(self.options)


@dataclass(frozen=True, slots=True)
class RawExam:
    """All items of an exam file, before exclusion.

    `source_sha256` is the hash of the files, `images` the ids of items whose question needs a picture.
    """

    name: str
    items: tuple[Item, ...]
    source_sha256: str
    images: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


def content_item_id(question: str, options: Iterable[str]) -> str:
    """Return an id computed from question and options, for layouts that have no ids."""
    return f"item-{sha256_bytes(chr(31).join((question, *options)).encode())[:12]}"
