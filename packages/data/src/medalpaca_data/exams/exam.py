"""The exam: scorable items, excluded items with their reason, and the hash that identifies the exam."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path

from ..core.errors import UserError
from ..core.files import sha256_json
from .item import LETTERS, POCKET, VIGNETTES, Item, RawExam

VIGNETTES_FILE = "vignettes.jsonl"
MIN_OPTIONS, MAX_OPTIONS = 2, 26
BUNDLED = (POCKET, VIGNETTES)


@dataclass(frozen=True, slots=True)
class Excluded:
    """An item that was read but cannot be scored."""

    id: str
    step: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Exam:
    """An exam that is ready for evaluation: the scorable items, and the excluded ones with their reason.

    `read` is the number of all items: `len(items) + len(excluded)`. `sha256` is computed over the scorable items in
    canonical form and identifies the exam wherever a score is reported. `source_sha256` is the hash of the files.
    """

    name: str
    items: tuple[Item, ...]
    excluded: tuple[Excluded, ...]
    read: int
    sha256: str
    source_sha256: str
    warnings: tuple[str, ...] = ()


def find_exam(explicit: str | None) -> str | None:
    """Return the path or name of an exam: `explicit`, else the variable `MEDALPACA_EXAM`, else None."""
    return explicit or os.environ.get("MEDALPACA_EXAM") or None


def load_exam(path_or_name: str | Path, *, images: str = "exclude") -> Exam:
    """Return an exam from a file or directory in a known layout, or a bundled exam by name.

    `images="keep"` includes items whose question needs a picture; "exclude" excludes and counts them.
    Raises UserError if the path does not exist, the layout is unknown, a record is invalid, or no item can be scored.
    """
    if images not in ("exclude", "keep"):
        raise UserError(f"images={images!r}: allowed: 'exclude', 'keep'")
    return exclude_unscorable(raw_exam(path_or_name), images=images)


def raw_exam(path_or_name: str | Path, invalid: list[tuple[str, str]] | None = None) -> RawExam:
    """Return all items of an exam (a path or the name of a bundled exam), before exclusion.

    (location, reason) of every invalid record is appended to `invalid`. Without `invalid`, the first invalid record
    raises UserError.
    """
    from .layouts import read_exam

    if str(path_or_name) == POCKET:
        from .pocket import pocket_exam

        return pocket_exam()
    if str(path_or_name) == VIGNETTES:
        # Explanations and references in the file are not read.
        with as_file(files(__package__).joinpath(VIGNETTES_FILE)) as path:
            return replace(read_exam(path), name=VIGNETTES)
    if not Path(path_or_name).exists():
        raise UserError(
            f"{path_or_name}: no such exam; give a file, a directory, or one of {', '.join(BUNDLED)}"
        )
    return read_exam(Path(path_or_name), invalid)


def exclude_unscorable(raw: RawExam, *, images: str = "exclude") -> Exam:
    """Return the exam with every item that cannot be scored excluded, with its reason.

    A repeated item is excluded too. So is an item that needs a picture, unless `images` is "keep". Raises UserError if
    two different items have the same id, or if no item is left.
    """
    seen: dict[str, Item] = {}
    items, excluded = [], []
    for item in raw.items:
        first = seen.setdefault(item.id, item)
        if first is not item and first != item:
            raise UserError(
                f"{raw.name}: two different items have the id {item.id!r}; give each item a unique id"
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
            f"{raw.name}: none of the {len(raw.items)} items can be scored ({'; '.join(reasons) or 'no items'})"
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
    """Return the reason why an item cannot be scored, or None."""
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
    """Return the SHA-256 over id, step, question, options and answer of the items, in order, as canonical JSON."""
    return sha256_json(
        [[item.id, item.step, item.question, list(item.options.items()), item.answer] for item in items]
    )
