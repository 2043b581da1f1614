"""A corpus that looks medical and means nothing, with planted copies and planted exam questions, from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

STARTS = "cardi hepat nephr derm gastr neur oste pulm thyr vas myel arthr angi bronch cyst enter gloss hyster"
MIDDLES = "o i a e oma itis osis ectom algi emi opath otom ograph uri pleg plasi troph scler lys gen"
ENDS = "al ic ous ia is um ine ol ide ate an ar ary oid ory us on in yl ose"
SMALL = "the of and in with to for is a by on from at as or that may be was are which not patient"

WORDS_MEAN, WORDS_SIGMA = 54, 0.45
EXACT, NEAR = 0.01, 0.10  # shares of the rows that are copies
EDITED = 0.02, 0.08  # share of a near copy's words that differ
STEM_WORDS = 30, 80  # words in an exam question
SPAN_WORDS = 20, 30  # words of a question that stand in a row


@dataclass(frozen=True, slots=True)
class Corpus:
    """Rows, which of them are copies and of what, and exam questions of which parts stand in rows."""

    texts: list[str]
    copies: list[tuple[int, int]]  # (copy, original); an original has one copy and is none
    stems: list[str]
    spans: list[tuple[int, int]]  # (stem, row)


def make(rows: int, seed: int, *, stems: int = 5_000, spans: int = 1_000) -> Corpus:
    """`rows` rows of about 54 words, copies among them, and `spans` rows with 20 to 30 words of a question inside."""
    rng, draw = random.Random(seed), np.random.default_rng(seed)  # noqa: S311
    vocabulary = ["".join(parts) for parts in product(STARTS.split(), MIDDLES.split(), ENDS.split())]
    rng.shuffle(vocabulary)
    vocabulary = SMALL.split() + vocabulary
    weights = 1 / np.arange(2, len(vocabulary) + 2)  # Zipf: few words are common
    steps = np.cumsum(weights / weights.sum())

    def take(lengths: np.ndarray) -> list[list[str]]:
        picks = np.searchsorted(steps, draw.random(int(lengths.sum()))).tolist()
        ends = np.cumsum(lengths).tolist()
        return [
            [vocabulary[i] for i in picks[end - n : end]]
            for end, n in zip(ends, lengths.tolist(), strict=True)
        ]

    exact, near = int(rows * EXACT), int(rows * NEAR)
    fresh = rows - exact - near
    shift = WORDS_MEAN * np.exp(-(WORDS_SIGMA**2) / 2)
    tokens = take(np.maximum(6, draw.lognormal(np.log(shift), WORDS_SIGMA, fresh)).astype(int))
    questions = take(draw.integers(*STEM_WORDS, size=stems))
    chosen = rng.sample(range(fresh), exact + near + spans)
    planted = []
    for stem, row in zip(rng.sample(range(stems), spans), chosen[exact + near :], strict=True):
        length = min(rng.randint(*SPAN_WORDS), len(questions[stem]))
        start = rng.randint(0, len(questions[stem]) - length)
        place = rng.randint(0, len(tokens[row]))
        tokens[row][place:place] = questions[stem][start : start + length]
        planted.append((stem, row))
    copied = [
        tokens[row] if n < exact else _edit(tokens[row], vocabulary, rng)
        for n, row in enumerate(chosen[: exact + near])
    ]
    # Copies stand anywhere, before their originals too.
    order = list(range(rows))
    rng.shuffle(order)
    texts = [""] * rows
    for place, row in zip(order, tokens + copied, strict=True):
        texts[place] = _sentences(row)
    pairs = [(order[fresh + n], order[row]) for n, row in enumerate(chosen[: exact + near])]
    return Corpus(texts, pairs, [_sentences(q) for q in questions], [(s, order[row]) for s, row in planted])


def _edit(tokens: Sequence[str], vocabulary: Sequence[str], rng: random.Random) -> list[str]:
    edited = list(tokens)
    for _ in range(max(1, round(len(edited) * rng.uniform(*EDITED)))):
        place = rng.randrange(len(edited))
        match rng.randrange(3):
            case 0:
                edited[place] = rng.choice(vocabulary)
            case 1:
                edited.insert(place, rng.choice(vocabulary))
            case _ if len(edited) > 1:
                del edited[place]
    return edited


def _sentences(tokens: Sequence[str]) -> str:
    """As text: a capital and a full stop every twelve words."""
    parts = [" ".join(tokens[n : n + 12]) for n in range(0, len(tokens), 12)]
    return ". ".join(part[:1].upper() + part[1:] for part in parts) + "."
