"""The exam: items with their options and key, what was excluded and why, and the hash that names it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UserError
from ..core.files import sha256_json
from .item import LETTERS, POCKET, VIGNETTES, Item, RawExam

MIN_OPTIONS, MAX_OPTIONS = 2, 26
BUNDLED = (POCKET, VIGNETTES)


@dataclass(frozen=True, slots=True)
class Excluded:
    """An item that was read and cannot be scored."""

    id: str
    step: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Exam:
    """An exam ready to be scored. `len(items) + len(excluded) == read`, always."""

    name: str
    items: tuple[Item, ...]
    excluded: tuple[Excluded, ...]
    read: int
    sha256: str  # of the scorable items in canonical form: names the exam in everything that quotes a score
    source_sha256: str  # of the files it was read from
    warnings: tuple[str, ...] = ()


def find_exam(explicit: str | None) -> str | None:
    """The exam somebody named: `explicit`, else `MEDALPACA_EXAM`, else None."""
    return explicit or os.environ.get("MEDALPACA_EXAM") or None


def load_exam(path_or_name: str | Path, *, images: str = "exclude") -> Exam:
    """Read an exam from a file or directory in any known layout, or a bundled one by name.

    `images="keep"` also scores items whose text needs a picture. Raises UserError, one line, when nothing is
    there, the layout is unknown, a record is broken, or no item can be scored.
    """
    if images not in ("exclude", "keep"):
        raise UserError(f"images={images!r}: 'exclude' or 'keep'")
    return exclude_unscorable(raw_exam(path_or_name), images=images)


def raw_exam(path_or_name: str | Path, broken: list[tuple[str, str]] | None = None) -> RawExam:
    """An exam as it stands, before it is judged. (place, reason) of records that cannot be read go to `broken`.

    Without `broken`, the first such record is refused.
    """
    from .layouts import read_exam
    from .pocket import pocket_exam, vignettes

    bundled = {POCKET: pocket_exam, VIGNETTES: vignettes}.get(str(path_or_name))
    return bundled() if bundled else read_exam(Path(path_or_name), broken)


def exclude_unscorable(raw: RawExam, *, images: str = "exclude") -> Exam:
    """Separate what can be scored from what cannot, with the reason."""
    seen: dict[str, Item] = {}
    items, excluded = [], []
    for item in raw.items:
        first = seen.setdefault(item.id, item)
        if first is not item and first != item:
            raise UserError(
                f"{raw.name}: two different items are called {item.id!r}; give each an id of its own"
            )
        reason = unscorable(item) if first is item else "same item again"
        if reason is None and images == "exclude" and item.id in raw.images:
            reason = "needs an image"
        if reason is None:
            items.append(item)
        else:
            excluded.append(Excluded(item.id, item.step, reason))
    if not items:
        reasons = sorted({entry.reason for entry in excluded})
        raise UserError(
            f"{raw.name}: no scorable item among {len(raw.items)} read ({'; '.join(reasons) or 'it is empty'})"
        )
    return Exam(
        name=raw.name,
        items=tuple(items),
        excluded=tuple(excluded),
        read=len(raw.items),
        sha256=canonical_sha256(items),
        source_sha256=raw.source_sha256,
        warnings=raw.warnings,
    )


def unscorable(item: Item) -> str | None:
    """Why an item cannot be scored, or None."""
    if not item.question.strip():
        return "no question"
    if not item.options:
        return "no options"
    if any(not text.strip() for text in item.options.values()):
        return "empty options"
    if not MIN_OPTIONS <= len(item.options) <= MAX_OPTIONS:
        return f"{len(item.options)} option(s), {MIN_OPTIONS} to {MAX_OPTIONS} can be scored"
    if list(item.options) != list(LETTERS[: len(item.options)]):
        return f"option letters {''.join(item.options)} do not run from A"
    if item.answer not in item.options:
        return "key not among the options"
    return None


def canonical_sha256(items: Iterable[Item]) -> str:
    """SHA-256 over the items in canonical JSON: the same exam has the same name in whatever layout it came."""
    return sha256_json(
        [[item.id, item.step, item.question, list(item.options.items()), item.answer] for item in items]
    )
