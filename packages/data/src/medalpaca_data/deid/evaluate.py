"""Measure a detector of identifiers on annotated notes: the command `data deid evaluate`.

An identifier counts as found if every letter and digit of it is covered by spans of the detector, of whatever class
(Norgeot and others 2020, npj Digit Med 3:57, count recall without the class in the same way). A false positive is a
word (`\\w+`) that overlaps no annotated span and of which the detector covers at least one character. No result
contains text of a note: missed identifiers are counted by their shape.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import NormalDist
from typing import Any

from ..core.errors import UserError
from .annotated_notes import BEYOND, CLASSES, DIRECT, Note, mask_form
from .rules import Span

WORD = re.compile(r"\w+")
DEFAULT_FIELDS = ("style", "language")
NO_VALUE = "(none)"
CONFIDENCE = 0.95
# Classes with fewer items have counts in the table, and no recall.
MIN_ITEMS = 30
# Bootstrap: number of samples, seed, and the smallest number of templates; with fewer, notes are drawn.
SAMPLES, SEED, MIN_TEMPLATES = 2000, 0, 5
# Numbers of a matrix of samples, so that its memory is bounded.
MATRIX_SIZE = 4_000_000

Detector = Callable[[str], Sequence[Span]]
Interval = tuple[float, float]


@dataclass(slots=True)
class Tally:
    """Counts over some notes.

    `n` and `found` count identifiers by class. `characters` are letters and digits of identifiers, those of two
    overlapping annotations once, and `leaked` are those of them that the detector does not cover. `notes_with_leak` are
    notes with a missed identifier, `notes_with_direct_leak` those with one of a class in `DIRECT`.
    """

    notes: int = 0
    words: int = 0
    false_positives: int = 0
    characters: int = 0
    leaked: int = 0
    notes_with_leak: int = 0
    notes_with_direct_leak: int = 0
    n: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add the counts of `other`."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def total(self, classes: Iterable[str]) -> tuple[int, int]:
        """Return the number of identifiers of some classes, and of those found."""
        classes = list(classes)
        return sum(self.n[kind] for kind in classes), sum(self.found[kind] for kind in classes)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of `evaluate`.

    Attributes:
        tally: Counts over all notes.
        by: Counts by field and value.
        missed: Shapes of missed identifiers by class, with their number.
        unit: What the bootstrap draws, "templates" or "notes"; `units` is their number.
        intervals: 95 % bootstrap intervals of "all", "direct" (recall), "notes_without_direct_leak" and
            "notes_without_leak" (shares); None with fewer than two units, or without an identifier.
    """

    tally: Tally
    by: Mapping[str, Mapping[str, Tally]]
    missed: Mapping[str, Counter[str]]
    unit: str
    units: int
    intervals: Mapping[str, Interval | None]


def evaluate(
    notes: Iterable[Note],
    detector: Detector,
    *,
    by: Sequence[str] | None = None,
    on_note: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Return how many identifiers `detector` finds and misses in annotated notes.

    `by` names fields of the notes for which counts are kept by value; None stands for those of `DEFAULT_FIELDS` that
    occur. One note is held at a time. `on_note` is called after each. Raises UserError if no note has a field of `by`.
    """
    tally = Tally()
    values: dict[str, dict[str, Tally]] = {}
    missed: dict[str, Counter[str]] = {}
    templates: list[str] = []
    counts: list[tuple[int, ...]] = []
    known: set[str] = set()
    for note in notes:
        one = _score(note, detector(note.text), missed)
        tally.add(one)
        known |= note.fields.keys()
        for name in DEFAULT_FIELDS if by is None else by:
            values.setdefault(name, {}).setdefault(note.fields.get(name, NO_VALUE), Tally()).add(one)
        templates.append(template_of(note))
        counts.append(
            (
                *one.total(CLASSES),
                *one.total(DIRECT),
                one.notes,
                one.notes - one.notes_with_direct_leak,
                one.notes - one.notes_with_leak,
            )
        )
        on_note()
    for name in by or ():
        if name not in known:
            allowed = ", ".join(sorted(known)) or "none, because the notes have no fields"
            raise UserError(f"--by {name}: no note has this field; allowed: {allowed}")
    unit = "templates" if MIN_TEMPLATES <= len(set(templates)) < len(templates) else "notes"
    groups = _grouped(templates, counts) if unit == "templates" else counts
    return Evaluation(
        tally,
        {name: groups for name, groups in values.items() if name in known},
        missed,
        unit,
        len(groups),
        bootstrap(groups),
    )


def template_of(note: Note) -> str:
    """Return the template of a note: its field `template`, else its id without the number at the end.

    `discharge-0-1` is draw 1 of the template `discharge-0`, and `110-01` of i2b2 is a note of patient 110.
    """
    return note.fields.get("template") or re.sub(r"[-_.][0-9]+$", "", note.id)


def _score(note: Note, found: Sequence[Span], missed: dict[str, Counter[str]]) -> Tally:
    """Return the counts of one note, and add the shapes of its missed identifiers to `missed`."""
    text = note.text
    covered, annotated, identifiers = (bytearray(len(text)) for _ in range(3))
    for span in found:
        covered[span.start : span.end] = b"\x01" * len(text[span.start : span.end])
    tally = Tally(notes=1)
    missed_kinds = set()
    for span in note.spans:
        annotated[span.start : span.end] = b"\x01" * (span.end - span.start)
        places = [n for n in range(span.start, span.end) if text[n].isalnum()]
        is_found = all(covered[n] for n in places)
        tally.n[span.kind] += 1
        tally.found[span.kind] += is_found
        if span.kind in BEYOND:
            continue
        for n in places:
            identifiers[n] = 1
        if not is_found:
            missed_kinds.add(span.kind)
            missed.setdefault(span.kind, Counter())[mask_form(text[span.start : span.end])] += 1
    tally.characters = sum(identifiers)
    tally.leaked = sum(one and not seen for one, seen in zip(identifiers, covered, strict=True))
    tally.notes_with_leak = int(bool(missed_kinds))
    tally.notes_with_direct_leak = int(bool(missed_kinds & DIRECT))
    for match in WORD.finditer(text):
        tally.words += 1
        part = slice(*match.span())
        tally.false_positives += any(covered[part]) and not any(annotated[part])
    return tally


def _grouped(keys: Sequence[str], counts: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    groups: dict[str, tuple[int, ...]] = {}
    for key, row in zip(keys, counts, strict=True):
        groups[key] = tuple(map(sum, zip(groups[key], row, strict=True))) if key in groups else row
    return list(groups.values())


def wilson(found: int, n: int) -> Interval:
    """Return the 95 % Wilson score interval of a recall `found` / `n`, with n > 0.

    Wilson (1927), JASA 22:209-212: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). It takes identifiers as
    independent, so it is too narrow where notes repeat a form.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = found / n
    centre = share + z * z / (2 * n)
    margin = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the bound is exactly 0 or 1, which rounding errors would miss.
    low = 0.0 if found == 0 else (centre - margin) / scale
    return low, 1.0 if found == n else (centre + margin) / scale


def bootstrap(counts: Sequence[tuple[int, ...]]) -> dict[str, Interval | None]:
    """Return percentile intervals of recalls and shares of notes, by drawing whole units with replacement.

    Each item of `counts` belongs to a template or note: (identifiers, found, direct ones, found, notes, without a
    direct leak, without a leak). A figure is a ratio of sums over the drawn units (Davison and Hinkley 1997, Bootstrap
    Methods and their Application, sections 2.4 and 3.8). The seed `SEED` gives the same intervals again.
    An interval is None with fewer than two units, or if no drawn unit has an identifier.
    """
    import numpy as np

    ratios = {
        "all": (1, 0),
        "direct": (3, 2),
        "notes_without_direct_leak": (5, 4),
        "notes_without_leak": (6, 4),
    }
    units = len(counts)
    if units < 2:
        return dict.fromkeys(ratios)
    matrix = np.array(counts, dtype=np.int64)
    draw = np.random.default_rng(SEED)
    rows = max(1, MATRIX_SIZE // units)
    sums = np.concatenate(
        [
            draw.multinomial(units, np.full(units, 1 / units), size=min(rows, SAMPLES - done)) @ matrix
            for done in range(0, SAMPLES, rows)
        ]
    )
    tail = 100 * (1 - CONFIDENCE) / 2
    intervals: dict[str, Interval | None] = {}
    for name, (part, whole) in ratios.items():
        # A sample may have drawn no unit with an identifier; it has no recall.
        defined = sums[sums[:, whole] > 0]
        if not len(defined):
            intervals[name] = None
            continue
        low, high = np.percentile(defined[:, part] / defined[:, whole], [tail, 100 - tail])
        intervals[name] = float(low), float(high)
    return intervals


def evaluation_as_json(result: Evaluation, missed: int = 0) -> dict[str, Any]:
    """Return the result of `data deid evaluate` as a JSON object, with up to `missed` shapes per class.

    recall = found / n; intervals are pairs of bounds. Classes outside of Safe Harbor are no part of `all`.
    """
    tally = result.tally
    return {
        "notes": tally.notes,
        "words": tally.words,
        "classes": {
            kind: {
                **_recall(tally, [kind], wilson(tally.found[kind], tally.n[kind])),
                "direct": kind in DIRECT,
            }
            for kind in CLASSES
            if tally.n[kind]
        },
        "outside_safe_harbor": {
            kind: {"n": tally.n[kind], "found": tally.found[kind]} for kind in BEYOND if tally.n[kind]
        },
        "all": _recall(tally, CLASSES, result.intervals["all"]),
        "direct": _recall(tally, DIRECT, result.intervals["direct"]),
        **_rates(tally),
        "intervals": {
            name: _rounded(result.intervals[name])
            for name in ("notes_without_direct_leak", "notes_without_leak")
        },
        "bootstrap": {"over": result.unit, "units": result.units, "samples": SAMPLES, "seed": SEED},
        "by": {
            name: {
                value: {
                    "notes": one.notes,
                    "words": one.words,
                    "all": _recall(one, CLASSES),
                    "direct": _recall(one, DIRECT),
                    **_rates(one),
                }
                for value, one in sorted(values.items())
            }
            for name, values in result.by.items()
        },
        "missed": {
            kind: [{"form": form, "n": n} for form, n in top_forms(result.missed[kind], missed)]
            for kind in CLASSES
            if missed and kind in result.missed
        },
    }


def top_forms(forms: Counter[str], n: int) -> list[tuple[str, int]]:
    """Return the `n` most frequent shapes with their number; equal ones in alphabetical order."""
    return sorted(forms.items(), key=lambda entry: (-entry[1], entry[0]))[:n]


def share(part: int, whole: int) -> float | None:
    """Return `part` / `whole` with five decimals, None for `whole` = 0."""
    return round(part / whole, 5) if whole else None


def _rates(tally: Tally) -> dict[str, Any]:
    """Return the rates of leaks and false positives.

    false_positive_words_per_1000 = 1,000 x false positives / words. character_leak_rate = letters and digits of
    identifiers that are not covered / letters and digits of identifiers. The others are shares of all notes.
    """
    rate = share(1000 * tally.false_positives, tally.words)
    return {
        "false_positive_words": tally.false_positives,
        "false_positive_words_per_1000": rate,
        "notes_without_direct_leak": share(tally.notes - tally.notes_with_direct_leak, tally.notes),
        "notes_without_leak": share(tally.notes - tally.notes_with_leak, tally.notes),
        "character_leak_rate": share(tally.leaked, tally.characters),
    }


def _recall(tally: Tally, kinds: Iterable[str], interval: Interval | None = None) -> dict[str, Any]:
    n, found = tally.total(kinds)
    result: dict[str, Any] = {"n": n, "found": found, "recall": share(found, n)}
    return result | {"interval": _rounded(interval)} if interval else result


def _rounded(interval: Interval | None) -> list[float] | None:
    return interval and [round(bound, 5) for bound in interval]
