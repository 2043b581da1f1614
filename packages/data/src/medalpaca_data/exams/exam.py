"""The exam: scorable items, excluded items with their reason, and the hash that identifies the exam."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import sha256_json
from .item import LETTERS, POCKET, VIGNETTES, Item, RawExam
from .item_checks import ANSWER_REPEATED, LETTERS_DISAGREE, answer_is_repeated, letters_disagree

VIGNETTES_FILE = "vignettes.jsonl"
MIN_OPTIONS, MAX_OPTIONS = 2, 26
BUNDLED = (POCKET, VIGNETTES)


@dataclass(frozen=True, slots=True)
class Excluded:
    """An item that was read but cannot be scored, or a record that is no item (`is_record`); then `id` is its place.

    `place` is the line or row of an item without an id of its own, whose `id` was computed from its texts.
    """

    id: str
    step: int | None
    reason: str
    is_record: bool = False
    place: str = ""

    @property
    def name(self) -> str:
        """The id, with the place of an item without an id of its own."""
        return f"{self.id} ({self.place})" if self.place else self.id


@dataclass(frozen=True, slots=True)
class Exam:
    """An exam that is ready for evaluation: the scorable items, and the excluded ones with their reason.

    `read` is the number of all items: `len(items) + len(excluded)`. `sha256` is computed over the scorable items in
    canonical form and identifies the exam wherever a score is reported. `source_sha256` is the hash of the files.
    `unread` counts the values of columns that were not read, by column; `changes` the items whose text or id was
    changed, by change.
    """

    name: str
    items: tuple[Item, ...]
    excluded: tuple[Excluded, ...]
    read: int
    sha256: str
    source_sha256: str
    warnings: tuple[str, ...] = ()
    unread: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, int] = field(default_factory=dict)


def find_exam(explicit: str | None) -> str | None:
    """Return the path or name of an exam: `explicit`, else the variable `MEDALPACA_EXAM`, else None."""
    return explicit or os.environ.get("MEDALPACA_EXAM") or None


def load_exam(
    path_or_name: str | Path, *, images: str = "exclude", fields: Any = None, allow_empty: bool = False
) -> Exam:
    """Return an exam from a file or directory in a known layout, or a bundled exam by name.

    `images="keep"` includes items whose question needs a picture; "exclude" excludes and counts them. `fields` names
    the columns of a file in another layout: a mapping, or its text in YAML or JSON (see `fields.ExamFields`).
    Raises UserError if the path does not exist, the layout is unknown, or no item can be scored (unless `allow_empty`).
    """
    if images not in ("exclude", "keep"):
        raise UserError(f"images={images!r}: allowed: 'exclude', 'keep'")
    return exclude_unscorable(raw_exam(path_or_name, fields), images=images, allow_empty=allow_empty)


def raw_exam(path_or_name: str | Path, fields: Any = None) -> RawExam:
    """Return all items of an exam (a path or the name of a bundled exam), before exclusion."""
    from .fields import parse_fields
    from .layouts import read_exam

    if str(path_or_name) in BUNDLED and fields is not None:
        raise UserError(f"{path_or_name}: a bundled exam; fields are for an exam file")
    if str(path_or_name) == POCKET:
        from .pocket import pocket_exam

        return pocket_exam()
    if str(path_or_name) == VIGNETTES:
        with as_file(files(__package__).joinpath(VIGNETTES_FILE)) as path:
            # The explanations and references of this file are known; they are not listed as unread.
            return replace(read_exam(path), name=VIGNETTES, unread={})
    if not Path(path_or_name).exists():
        raise UserError(
            f"{path_or_name}: no such exam; give a file, a directory, or one of {', '.join(BUNDLED)}"
        )
    return read_exam(Path(path_or_name), None if fields is None else parse_fields(fields, "fields"))


def exclude_unscorable(raw: RawExam, *, images: str = "exclude", allow_empty: bool = False) -> Exam:
    """Return the exam with every item that cannot be scored excluded, with its reason.

    A record that is no item and a repeated item are excluded too. So is an item that needs a picture, unless `images`
    is "keep". An item with the id of a different item gets another id. Raises UserError if no item is left, unless
    `allow_empty` is set.
    """
    seen: dict[str, Item] = {}
    changes = Counter(raw.changes)
    items, excluded = (
        [],
        [Excluded(location, None, reason, is_record=True) for location, reason in raw.invalid],
    )
    for given in raw.items:
        item = _with_unique_id(given, seen)
        if item is not given:
            changes["id is that of a different item; a number was added"] += 1
        reason = unscorable(item) if seen.setdefault(item.id, item) is item else "same item again"
        if reason is None and answer_is_repeated(item):
            reason = ANSWER_REPEATED
        if reason is None and letters_disagree(item):
            reason = LETTERS_DISAGREE
        needs_image = given.id in raw.images if item is given else item.image is not None
        if reason is None and images == "exclude" and needs_image:
            reason = "needs an image"
        if reason is None:
            items.append(item)
        else:
            excluded.append(Excluded(item.id, item.step, reason, place=item.place))
    exam = Exam(
        name=raw.name,
        items=tuple(items),
        excluded=tuple(excluded),
        read=len(items) + len(excluded),
        sha256=canonical_sha256(items),
        source_sha256=raw.source_sha256,
        warnings=raw.warnings,
        unread=raw.unread,
        changes=dict(changes),
    )
    if not items and not allow_empty:
        raise UserError(_none_scorable(exam, raw.file))
    return exam


def _none_scorable(exam: Exam, file: str) -> str:
    located = [f"{entry.id}: {entry.reason}" for entry in exam.excluded if entry.is_record][:1]
    reasons = sorted({entry.reason for entry in exam.excluded if not entry.is_record})
    found = "; ".join((*located, *reasons[:5])) or "no items"
    return f"{file or exam.name}: none of the {exam.read} items can be scored ({found})"


def _with_unique_id(item: Item, seen: Mapping[str, Item]) -> Item:
    """Return `item`, with a number after its id if a different item in `seen` has this id."""
    unique = item
    n = 1
    while unique.id in seen and seen[unique.id] != unique:
        n += 1
        unique = replace(item, id=f"{item.id}-{n}")
    return unique


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
    if item.fault is not None:
        return item.fault
    if item.answer not in item.options:
        return "key not among the options"
    return None


def canonical_sha256(items: Iterable[Item]) -> str:
    """Return the SHA-256 over id, step, question, options and answer of the items, in order, as canonical JSON."""
    return sha256_json(
        [[item.id, item.step, item.question, list(item.options.items()), item.answer] for item in items]
    )
