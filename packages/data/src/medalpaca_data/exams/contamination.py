"""Contamination: how much of an exam's question stands in a text, by shared runs of words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..words import (
    HashedWords,
    Hashes,
    Places,
    batches,
    hash_runs,
    hash_windows,
    hash_words,
    mix,
    ngrams,
    places_in,
    words,
)
from .exam import Exam
from .item import Item

N = 13  # words in a run; stems that are shorter are looked for whole
MIN_WORDS = 8  # below this a stem is too generic for runs: only a text that is the question counts
FILTER_BITS = 24  # at most: 16 MB


@dataclass(frozen=True, slots=True)
class ItemCoverage:
    """One exam item against all texts: how much of it the text that covers it best holds."""

    item_id: str
    step: int | None
    coverage: float  # share of the stem's word 13-grams found in the text; decides
    token_coverage: float  # share of the stem's words inside a found 13-gram; reported beside it
    text_index: int | None  # which text; None when none shares a run


@dataclass(frozen=True, slots=True)
class Hit:
    """One exam item in one text."""

    exam: Exam
    item_id: str
    row: int  # which text
    coverage: float
    token_coverage: float


def coverage(exam: Exam, texts: Iterable[str]) -> list[ItemCoverage]:
    """For every item of `exam`, in its order, the text that covers its stem best.

    Texts are gone through once and not kept, so a corpus may be of any size. Stems of 8 to 12 words count as one run;
    shorter ones are covered only by a text that contains a whole line equal to them.
    """
    best = [ItemCoverage(item.id, item.step, 0.0, 0.0, None) for item in exam.items]
    for match in _matches(exam.items, texts):
        if match.coverage > best[match.item].coverage:
            item = exam.items[match.item]
            best[match.item] = ItemCoverage(
                item.id, item.step, match.coverage, match.token_coverage, match.text
            )
    return best


def hits(exams: Sequence[Exam], texts: Iterable[str], floor: float) -> Iterator[Hit]:
    """Every item of any of the exams with a coverage of at least `floor` by one text, in the order of the texts.

    Coverage is as in `coverage`; what shares no run with a text is no hit, whatever the floor.
    """
    owners = [(exam, item) for exam in exams for item in exam.items]
    for match in _matches([item for _, item in owners], texts):
        if match.coverage >= floor:
            exam, item = owners[match.item]
            yield Hit(exam, item.id, match.text, match.coverage, match.token_coverage)


@dataclass(frozen=True, slots=True)
class _Match:
    item: int
    text: int
    coverage: float
    token_coverage: float


def _matches(items: Sequence[Item], texts: Iterable[str]) -> Iterator[_Match]:
    """All pairs that share a run. Hashes say which pairs to look at, the words themselves what they share."""
    stems = [words(item.question) for item in items]
    sizes = [min(N, len(stem)) if len(stem) >= MIN_WORDS else 0 for stem in stems]
    indexes = [_index(stems, sizes, n) for n in sorted(set(sizes))]
    if not indexes:
        return
    done = 0
    for batch in batches(texts):
        # Only a short stem asks where lines end.
        lines = [text.splitlines() for text in batch] if 0 in sizes else [[text] for text in batch]
        starts = np.concatenate(([0], np.cumsum([len(part) for part in lines])))
        hashed = hash_words([line for part in lines for line in part])
        codes = [_look_up(index, hashed, starts) for index in indexes]
        known = -1
        for code in np.unique(np.concatenate(codes)).tolist():
            t, i = divmod(code, 1 << 32)
            if t != known:
                known, tokens = t, words(batch[t])
                grams: dict[int, set[tuple[str, ...]]] = {}
            n = sizes[i]
            if n not in grams:
                grams[n] = set(ngrams(tokens, n)) if n else {tuple(words(line)) for line in lines[t]}
            share, token_share = _shares(stems[i], n, grams[n])
            if share:
                yield _Match(i, done + t, share, token_share)
        done += len(batch)


@dataclass(frozen=True, slots=True)
class _Index:
    """The runs of n words in the stems; with n = 0 whole stems, to be compared with whole lines."""

    n: int
    runs: Hashes  # sorted
    items: Places  # the item that the run is in
    filter: NDArray[np.bool_]  # whether a run has these first bits; rules out nearly all of a text
    shift: np.uint64  # leaves the first bits of a hash


def _index(stems: Sequence[list[str]], sizes: Sequence[int], n: int) -> _Index:
    chosen = [i for i, stem in enumerate(stems) if sizes[i] == n and stem]
    parts, owners, done = [], [], 0
    for batch in batches(" ".join(stems[i]) for i in chosen):
        hashed = hash_words(batch)
        found = _runs(hashed, n)
        whole, part = _owners(hashed, np.arange(len(batch) + 1), n, np.arange(len(found)))
        parts.append(found[whole])
        owners.append(part + done)
        done += len(batch)
    runs = np.concatenate(parts or [np.empty(0, np.uint64)])
    items = np.array(chosen, np.int64)[np.concatenate(owners or [np.empty(0, np.int64)])]
    order = np.argsort(runs, kind="stable")
    bits = min(FILTER_BITS, (64 * len(runs)).bit_length())
    marked = np.zeros(1 << bits, np.bool_)
    marked[runs >> (shift := np.uint64(64 - bits))] = True
    return _Index(n, runs[order], items[order], marked, shift)


def _look_up(index: _Index, lines: HashedWords, starts: Places) -> Places:
    """`text << 32 | item` wherever a run of an item is in a text; text t is lines `starts[t]` to `starts[t + 1]`."""
    runs = _runs(lines, index.n)
    places = np.flatnonzero(index.filter[runs >> index.shift])
    places, texts = _owners(lines, starts, index.n, places)
    first = np.searchsorted(index.runs, runs[places], side="left")
    counts = np.searchsorted(index.runs, runs[places], side="right") - first
    return np.repeat(texts, counts) << 32 | index.items[places_in(first, counts)]


def _runs(lines: HashedWords, n: int) -> Hashes:
    """Every run of n words, those across two texts too; with n = 0 every line."""
    if n:
        return mix(hash_windows(lines.hashes, n))
    return mix(hash_runs(lines.hashes, lines.offsets[:-1], lines.offsets[1:]))


def _owners(lines: HashedWords, starts: Places, n: int, places: Places) -> tuple[Places, Places]:
    """Those of the places whose runs stand in one text, and that text."""
    borders = lines.offsets[starts] if n else starts
    texts = np.searchsorted(borders, places, side="right") - 1
    whole = places + max(n, 1) <= borders[texts + 1]
    return places[whole], texts[whole]


def _shares(stem: list[str], n: int, grams: set[tuple[str, ...]]) -> tuple[float, float]:
    if not n:
        return (1.0, 1.0) if tuple(stem) in grams else (0.0, 0.0)
    found = [gram in grams for gram in ngrams(stem, n)]
    covered = bytearray(len(stem))
    for start, hit in enumerate(found):
        if hit:
            covered[start : start + n] = b"\x01" * n
    return sum(found) / len(found), sum(covered) / len(stem)
