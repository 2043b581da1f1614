"""Contamination: how much of an exam's question stands in a text, by shared runs of words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .exam import Exam

N = 13  # words in a run; stems that are shorter are looked for whole
MIN_WORDS = 8  # below this a stem is too generic for runs: only a text that is the question counts
WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class ItemCoverage:
    """One exam item against all texts: how much of it the text that covers it best holds."""

    item_id: str
    step: int | None
    coverage: float  # share of the stem's word 13-grams found in the text; decides
    token_coverage: float  # share of the stem's words inside a found 13-gram; reported beside it
    text_index: int | None  # which text; None when none shares a run


def words(text: str) -> list[str]:
    """The words that runs are made of."""
    return WORD.findall(text.lower())


def ngrams(tokens: list[str], n: int) -> Iterator[tuple[str, ...]]:
    """All runs of `n` words, in order."""
    return zip(*(tokens[i:] for i in range(n)), strict=False)


def coverage(exam: Exam, texts: Iterable[str]) -> list[ItemCoverage]:
    """For every item of `exam`, in its order, the text that covers its stem best.

    Texts are gone through once and not kept, so a corpus may be of any size. Stems of 8 to 12 words count as one run;
    shorter ones are covered only by a text that contains a whole line equal to them.
    """
    stems = [words(item.question) for item in exam.items]
    sizes = [min(N, len(stem)) if len(stem) >= MIN_WORDS else 0 for stem in stems]
    index: dict[tuple[str, ...], list[int]] = {}
    for i, (stem, n) in enumerate(zip(stems, sizes, strict=True)):
        for gram in set(ngrams(stem, n)) if n else {tuple(stem)} - {()}:
            index.setdefault(gram, []).append(i)
    lengths = sorted({n for n in sizes if n})
    short = any(not n for n in sizes)
    best = [ItemCoverage(item.id, item.step, 0.0, 0.0, None) for item in exam.items]
    for t, text in enumerate(texts):
        found: set[int] = set()
        grams: set[tuple[str, ...]] = set()
        tokens = words(text)
        for n in lengths:
            for gram in ngrams(tokens, n):
                if gram in index:
                    grams.add(gram)
        if short:
            grams.update(line for line in map(tuple, map(words, text.splitlines())) if line in index)
        for gram in grams:
            found.update(index[gram])
        for i in found:
            share, tokens_share = _shares(stems[i], sizes[i], grams)
            if share > best[i].coverage:
                best[i] = ItemCoverage(exam.items[i].id, exam.items[i].step, share, tokens_share, t)
    return best


def _shares(stem: list[str], n: int, grams: set[tuple[str, ...]]) -> tuple[float, float]:
    if not n:
        return 1.0, 1.0
    hits = [gram in grams for gram in ngrams(stem, n)]
    covered = bytearray(len(stem))
    for start, hit in enumerate(hits):
        if hit:
            covered[start : start + n] = b"\x01" * n
    return sum(hits) / len(hits), sum(covered) / len(stem)
