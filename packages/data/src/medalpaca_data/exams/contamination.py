"""Decontamination: coverage of exam questions by texts.

Coverage is the share of a question's word 13-grams that occur in a text. A question of fewer than 8 words has a rule of
its own, in `short_questions`. Paraphrases and translations are not detected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..core.numbers import EDGE, visible_text
from ..core.words import (
    HashedWords,
    Hashes,
    Offsets,
    batches,
    hash_runs,
    hash_windows,
    hash_words,
    mix,
    ngrams,
    range_indices,
    words,
)
from .exam import Exam
from .item import Item
from .short_questions import Passage, ShortQuestion

# A text, or the question part (instruction and input) and the answer of a row. A text is a question part.
Text = str | tuple[str, str]
# Words of an n-gram. A question of fewer words is one n-gram.
N = 13
# For a question of fewer words, an n-gram is not enough: see `ShortQuestion`.
MIN_WORDS = 8
# A boundary without a width that does not separate two numbers.
EDGE_IN_WORD = re.compile(rf"(?<!\d){EDGE}|{EDGE}(?!\d)")
# Words at the end of an n-gram by which it is looked up.
PROBES = (1, 2, 4, 8, N)
# Largest number of leading bits of a hash that the filter of an index distinguishes; it then takes 16 MB.
FILTER_BITS = 24


@dataclass(frozen=True, slots=True)
class ItemCoverage:
    """Coverage of one exam item by the text that covers it most.

    `coverage` is the share (0 to 1) of the question's word 13-grams found in the text; decisions use it.
    `token_coverage` is the share of the question's words inside a found 13-gram. `text_index` is the position of the
    text, from 0, or None if no text shares a 13-gram.
    """

    item_id: str
    step: int | None
    coverage: float
    token_coverage: float
    text_index: int | None


@dataclass(frozen=True, slots=True)
class Hit:
    """Coverage of one exam item by one text; `row` is the position of the text, from 0."""

    exam: Exam
    item_id: str
    row: int
    coverage: float
    token_coverage: float


def coverage(exam: Exam, texts: Iterable[Text]) -> list[ItemCoverage]:
    """Return the highest coverage by one text for every item of `exam`, in the order of the items.

    `texts` is read once and not stored, so a corpus may have any size. A text is a string, or the question part and the
    answer of a row. A question of 8 to 12 words is one n-gram. A shorter question is covered (1) or not (0) by the rule
    of `ShortQuestion.is_in`. Of equal coverages, the first text is returned.
    """
    best = [ItemCoverage(item.id, item.step, 0.0, 0.0, None) for item in exam.items]
    for match in _matches(exam.items, texts):
        if match.coverage > best[match.item].coverage:
            item = exam.items[match.item]
            best[match.item] = ItemCoverage(
                item.id, item.step, match.coverage, match.token_coverage, match.text
            )
    return best


def hits(exams: Sequence[Exam], texts: Iterable[Text], floor: float) -> Iterator[Hit]:
    """Yield every item with a coverage of at least `floor` by one text, in the order of the texts.

    An item without a shared n-gram is never a hit, even if `floor` is 0.
    """
    owners = [(exam, item) for exam in exams for item in exam.items]
    for match in _matches([item for _, item in owners], texts):
        if match.coverage >= floor:
            exam, item = owners[match.item]
            yield Hit(exam, item.id, match.text, match.coverage, match.token_coverage)


def too_short(items: Iterable[Item]) -> frozenset[str]:
    """Return the ids of the items whose question is too short to judge inside a line.

    They are found only as a line or sentence of a question, or with their options.
    """
    return frozenset(
        item.id
        for item in map(_without_markup, items)
        if len(words(item.question)) < MIN_WORDS and ShortQuestion.of(item).too_short
    )


def compared_text(text: str) -> str:
    """Return a text as a reader sees it, without HTML tags and entities, for the comparison of words.

    A raised or lowered number beside a digit is a word of its own, as in 10^9, which cleaning writes.
    """
    if "<" not in text and "&" not in text:
        return text
    return EDGE_IN_WORD.sub("", visible_text(text)).replace(EDGE, " ")


def _without_markup(item: Item) -> Item:
    texts = {letter: compared_text(text) for letter, text in item.options.items()}
    return replace(item, question=compared_text(item.question), options=texts)


@dataclass(frozen=True, slots=True)
class _Match:
    item: int
    text: int
    coverage: float
    token_coverage: float


def _matches(items: Sequence[Item], texts: Iterable[Text]) -> Iterator[_Match]:
    """Yield all pairs of item and text with a shared n-gram. Pairs are found by hash and compared by words."""
    items = [_without_markup(item) for item in items]
    stems = [words(item.question) for item in items]
    short = [
        None if len(stem) >= MIN_WORDS else ShortQuestion.of(item)
        for stem, item in zip(stems, items, strict=True)
    ]
    sizes = [min(N, len(stem)) for stem in stems]
    indexes = [index for n in PROBES if len((index := _index(stems, sizes, n)).items)]
    if not indexes:
        return
    done = 0
    # Length of the question part of each text of the batch.
    borders: list[int] = []

    def joined() -> Iterator[str]:
        for text in texts:
            question, *answer = map(compared_text, (text,) if isinstance(text, str) else text)
            borders.append(len(question))
            yield "\n".join((question, *answer))

    for batch in batches(joined()):
        hashed = hash_words(batch)
        codes = [_look_up(index, hashed) for index in indexes]
        known = -1
        for code in np.unique(np.concatenate(codes)).tolist():
            t, i = divmod(code, 1 << 32)
            if t != known:
                known, tokens, passage = t, words(batch[t]), None
                grams: dict[int, set[tuple[str, ...]]] = {}
            if question := short[i]:
                passage = passage or Passage(batch[t][: borders[t]], batch[t][borders[t] :])
                if question.is_in(passage):
                    yield _Match(i, done + t, 1.0, 1.0)
                continue
            n = sizes[i]
            if n not in grams:
                grams[n] = set(ngrams(tokens, n))
            share, token_share = _shares(stems[i], n, grams[n])
            if share:
                yield _Match(i, done + t, share, token_share)
        done += len(batch)
        borders.clear()


@dataclass(frozen=True, slots=True)
class _Index:
    """Hashes of the n-grams of questions, sorted by the hash of their last `probe` words.

    N-gram i has the last words `probes[i]`, `sizes[i]` words with the hash `hashes[i]`, and belongs to the item at
    `items[i]`. `filter[hash >> shift]` is true for every hash in `probes` and few others, so that nearly all n-grams of
    a text need no exact search.
    """

    probe: int
    probes: Hashes
    sizes: Offsets
    hashes: Hashes
    items: Offsets
    filter: NDArray[np.bool_]
    shift: np.uint64


def _index(stems: Sequence[list[str]], sizes: Sequence[int], probe: int) -> _Index:
    """Return the index of the questions with this probe, the longest of `PROBES` that their n-grams have."""
    chosen = [i for i, size in enumerate(sizes) if max((n for n in PROBES if n <= size), default=0) == probe]
    parts = []
    done = 0
    for batch in batches(" ".join(stems[i]) for i in chosen):
        hashed = hash_words(batch)
        owners = np.array(chosen[done : done + len(batch)], np.int64)
        done += len(batch)
        size = np.array([sizes[i] for i in owners.tolist()], np.int64)
        counts = np.diff(hashed.offsets) - size + 1
        ends = range_indices(hashed.offsets[:-1] + size, counts)
        size = np.repeat(size, counts)
        probes, whole = (mix(hash_runs(hashed.hashes, ends - n, ends)) for n in (probe, size))
        parts.append((probes, size, whole, np.repeat(owners, counts)))
    kinds = (np.uint64, np.int64, np.uint64, np.int64)
    columns = [
        np.concatenate([np.empty(0, kind), *(part[n] for part in parts)]) for n, kind in enumerate(kinds)
    ]
    order = np.argsort(columns[0], kind="stable")
    probes, size, whole, owners = (column[order] for column in columns)
    bits = min(FILTER_BITS, (64 * len(probes)).bit_length())
    marked = np.zeros(1 << bits, np.bool_)
    marked[probes >> (shift := np.uint64(64 - bits))] = True
    return _Index(probe, probes, size, whole, owners, marked, shift)


def _look_up(index: _Index, texts: HashedWords) -> Offsets:
    """Return `text << 32 | item` for every shared n-gram."""
    runs = mix(hash_windows(texts.hashes, index.probe))
    places = np.flatnonzero(index.filter[runs >> index.shift])
    first = np.searchsorted(index.probes, runs[places], side="left")
    counts = np.searchsorted(index.probes, runs[places], side="right") - first
    found = range_indices(first, counts)
    ends = np.repeat(places, counts) + index.probe
    starts = ends - index.sizes[found]
    owners = np.searchsorted(texts.offsets, ends - 1, side="right") - 1
    # An n-gram must not span two texts.
    same = starts >= texts.offsets[owners]
    if index.probe < N and same.any():
        same[same] = mix(hash_runs(texts.hashes, starts[same], ends[same])) == index.hashes[found[same]]
    return owners[same] << 32 | index.items[found[same]]


def _shares(stem: list[str], n: int, grams: set[tuple[str, ...]]) -> tuple[float, float]:
    found = [gram in grams for gram in ngrams(stem, n)]
    covered = bytearray(len(stem))
    for start, hit in enumerate(found):
        if hit:
            covered[start : start + n] = b"\x01" * n
    return sum(found) / len(found), sum(covered) / len(stem)
