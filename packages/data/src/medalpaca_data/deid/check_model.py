"""Linear model of the independent check: from a text to the direct identifiers that it seems to hold.

Direct identifiers are names, dates, e-mail addresses, and telephone, record and other numbers (see `CLASSES`).

The weights are trained on invented notes and on public medical text by tools/train_independent_check.py, and stored
as integers in independent_check.npz. They are not trained on, and do not read, anything of the detector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.files import sha256_bytes
from .check_features import (
    Features,
    Key,
    Token,
    bit_positions,
    contexts,
    hide_surrogates,
    tokenize,
)

FILE = "independent_check.npz"
# The first class is no identifier, the last one an identifier that is not direct.
CLASSES = ("none", "name", "date", "phone", "fax", "ssn", "mrn", "plan", "account", "email", "indirect")
# Largest number of stored sums of weights; a full store is emptied.
MAX_STORED = 400_000
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hit:
    """A suspected direct identifier: characters `start` to `end` of a text, its class and probability.

    `probability` is that of a direct identifier of any class.
    """

    start: int
    end: int
    kind: str
    probability: float


class Model:
    """Multinomial logistic regression over hashed features; `weights` has shape (BUCKETS, classes).

    `known` are bit tables of the words of public text. `thresholds` are the least probabilities of a hit by class; a
    class without one has no hits.
    """

    def __init__(
        self, weights: Floats, known: Mapping[str, npt.NDArray[np.uint8]], thresholds: Mapping[str, float]
    ):
        self._weights, self._known = weights, known
        self._thresholds = np.array([thresholds.get(kind, 1.1) for kind in CLASSES], dtype=np.float32)
        self._features = Features(lru_cache(100_000)(self.known))
        self._stored: dict[Key, int] = {}
        self._sums = np.zeros((1024, weights.shape[1]), dtype=np.float32)

    def known(self, word: str) -> str:
        """Return "l" if public text has the word in small letters, "c" if with a capital inside a sentence, or both."""
        lower = word.lower()
        return "".join(
            letter
            for letter, table in self._known.items()
            if all(table[bit >> 3] >> (bit & 7) & 1 for bit in bit_positions(lower))
        )

    def probabilities(self, text: str, tokens: list[Token]) -> tuple[list[int], Floats]:
        """Return the numbers of the tokens that are classified, and their probabilities, shape (numbers, classes)."""
        if len(self._stored) > MAX_STORED:
            self._stored.clear()
        lines = contexts(text, tokens)
        candidates = [n for n, token in enumerate(tokens) if not self._features.is_ordinary(token.text)]
        if not candidates:
            return [], np.zeros((0, len(CLASSES)), dtype=np.float32)
        keys = [
            [self._number(key) for key in self._features.keys(text, tokens, number, lines[number])]
            for number in candidates
        ]
        scores: Floats = self._sums[np.array(keys, dtype=np.int64)].sum(axis=1)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        return candidates, scores

    def _number(self, key: Key) -> int:
        number = self._stored.get(key)
        if number is None:
            number = self._stored[key] = len(self._stored)
            if number >= len(self._sums):
                self._sums = np.concatenate([self._sums, np.zeros_like(self._sums)])
            self._sums[number] = self._weights[self._features.buckets(key)].sum(axis=0)
        return number

    def hits(self, text: str) -> tuple[list[Hit], int]:
        """Return the suspected direct identifiers of a text, and its number of tokens.

        Neighbouring tokens of one of the `GROUPS`, with at most two characters between them, are one identifier.
        """
        hidden = hide_surrogates(text)
        tokens = tokenize(hidden)
        candidates, probabilities = self.probabilities(hidden, tokens)
        direct = probabilities[:, 1:-1]
        kinds = direct.argmax(axis=1) + 1
        likely = direct.sum(axis=1)
        hits: list[Hit] = []
        for row in np.flatnonzero(likely >= self._thresholds[kinds]):
            token, kind, chance = tokens[candidates[row]], CLASSES[kinds[row]], float(likely[row])
            last = hits[-1] if hits else None
            if last and GROUPS[last.kind] == GROUPS[kind] and joins(hidden[last.end : token.start]):
                hits[-1] = Hit(last.start, token.end, last.kind, max(last.probability, chance))
            else:
                hits.append(Hit(token.start, token.end, kind, chance))
        return hits, len(tokens)


# The classes whose recall and false positives are calibrated together, because they are confused with each other.
GROUPS = {kind: kind if kind in ("name", "date") else "number" for kind in CLASSES[1:-1]}


def joins(gap: str) -> bool:
    """Return whether the characters between two hits are so few that they are one identifier."""
    return len(gap) <= 2 and "\n" not in gap and "|" not in gap and "/" not in gap


def pack(weights: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Return weights as integers from -127 to 127, and the factor of each class that restores them."""
    scale = np.abs(weights).max(axis=0) / 127
    return np.rint(weights / scale).astype(np.int8), scale.astype(np.float32)


@cache
def stored() -> tuple[Model, dict[str, Any], str]:
    """Return the model of the package, its calibration, and the SHA-256 of its file."""
    file = files(__package__) / FILE
    data = file.read_bytes()
    import io

    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        weights = arrays["weights"].astype(np.float32) * arrays["scale"]
        known = {letter: arrays[f"known_{letter}"] for letter in "lc"}
        calibration = json.loads(arrays["calibration"].tobytes())
    return Model(weights, known, calibration["thresholds"]), calibration, sha256_bytes(data)
