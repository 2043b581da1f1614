"""The exam item, and an exam as a reader found it, before anything is judged."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..core.files import sha256_bytes

LETTERS = string.ascii_uppercase
POCKET = "medalpaca_pocket"  # bundled
VIGNETTES = "medalpaca_vignettes"  # bundled


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question. `options` maps letters to texts in the order in which they are shown."""

    id: str
    question: str
    options: Mapping[str, str]
    answer: str
    step: int | None = None
    subject: str | None = None  # of MedQA: the part, "step1" or "step2&3"
    image: str | None = None

    @property
    def chance(self) -> float:
        """The share right by guessing: one over the number of options."""
        return 1 / len(self.options)


@dataclass(frozen=True, slots=True)
class RawExam:
    """What a reader found, before anything is judged: items as they stand, and hashes of the files."""

    name: str
    items: tuple[Item, ...]
    source_sha256: str
    images: frozenset[str] = frozenset()  # ids of items whose text needs a picture
    warnings: tuple[str, ...] = ()


def content_item_id(question: str, options: Iterable[str]) -> str:
    """An id from an item's content, for layouts that have none: the same in whatever layout it comes."""
    return f"item-{sha256_bytes(chr(31).join((question, *options)).encode())[:12]}"
