"""Train and calibrate the independent check of de-identification, and write its weights.

    uv run python tools/train_independent_check.py [--out FILE] [--folds 4]

Positive examples are invented notes (independent_check_notes.py), in part with surrogates in place of identifiers.
Negative examples are their other words and sentences of MedQuAD (CC BY 4.0; the words are hashed, no text is stored).
Recall and false positives are measured on templates, fillers, name parts and sentences that a fold did not see. The
result depends only on the files of this folder, MedQuAD, and the versions of numpy and scipy.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tarfile
import xml.etree.ElementTree as ET
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from independent_check_notes import DIRECT, Note, Notes, partly_replaced
from scipy.sparse import csr_matrix

from medalpaca_data.core import paths
from medalpaca_data.deid.check_features import (
    BITS,
    BUCKETS,
    Features,
    bit_positions,
    contexts,
    hide_surrogates,
    tokenize,
)
from medalpaca_data.deid.check_model import CLASSES, FILE, GROUPS, Model, pack

SEED = 17
# Words in at least this many documents are known.
DOCUMENTS = 3
DRAWS = 60
PLAIN_SENTENCES = 12000
EPOCHS, BATCH, RATE, DECAY = 6, 2048, 0.05, 2e-6
# Chosen on held-out templates: few false positives count more than recall, because recall is corrected for.
THRESHOLDS = dict.fromkeys(CLASSES[1:-1], 0.9)
MEDQUAD = "medquad/MedQuAD_577bd37_subsets1-9.tar.gz"
LABELS = {
    kind: (CLASSES.index("name") if kind in ("name", "bare") else CLASSES.index(kind)) for kind in DIRECT
}


def documents(shared: Path) -> list[list[str]]:
    """Return the sentences of each document of MedQuAD."""
    found = []
    with tarfile.open(shared / "data" / MEDQUAD) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            if member.name.endswith(".xml") and (file := archive.extractfile(member)):
                root = ET.fromstring(file.read())  # noqa: S314 - a pinned file
                text = " ".join(" ".join(answer.itertext()) for answer in root.iter("Answer"))
                sentences = re.split(r"(?<=[.?!])\s+(?=[A-Z])", re.sub(r"\s+", " ", text))
                found.append([one for one in sentences if 20 < len(one) < 300])
    return [sentences for sentences in found if sentences]


def known_tables(texts: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Return the tables of words that documents have in small letters ("l") or with a capital in a sentence ("c")."""
    counts: dict[str, Counter[str]] = {"l": Counter(), "c": Counter()}
    for sentences in texts:
        small, capital = set(), set()
        for sentence in sentences:
            for token in tokenize(sentence)[1:]:
                if token.text.islower():
                    small.add(token.text)
                elif token.text[0].isupper():
                    capital.add(token.text.lower())
        counts["l"].update(small)
        counts["c"].update(capital)
    tables = {}
    for letter, words in counts.items():
        table = np.zeros(BITS // 8, dtype=np.uint8)
        for word, count in words.items():
            if count >= DOCUMENTS:
                for bit in bit_positions(word):
                    table[bit >> 3] |= 1 << (bit & 7)
        tables[letter] = table
    return tables


def part_of(text: str, parts: int) -> int:
    """Return the part, 0 to parts - 1, that a template, filler or sentence belongs to."""
    return zlib.crc32(f"part {text}".encode()) % parts


class Matrix:
    """Rows of features with their labels."""

    def __init__(self, known: Callable[[str], str]) -> None:
        self.features = Features(known)
        self.stored: dict[Any, list[int]] = {}
        self.columns: list[np.ndarray] = []
        self.labels: list[int] = []

    def add(self, text: str, spans: Iterable[tuple[int, int, str]]) -> None:
        """Add the tokens of a text that the model classifies."""
        hidden = hide_surrogates(text)
        tokens = tokenize(hidden)
        spans = list(spans)
        for number, (token, context) in enumerate(zip(tokens, contexts(hidden, tokens), strict=True)):
            if self.features.is_ordinary(token.text):
                continue
            kind = next((kind for start, end, kind in spans if start < token.end and token.start < end), None)
            columns: list[int] = []
            for key in self.features.keys(hidden, tokens, number, context):
                if key not in self.stored:
                    self.stored[key] = self.features.buckets(key)
                columns += self.stored[key]
            self.columns.append(np.array(columns, dtype=np.int32))
            self.labels.append(0 if kind is None else LABELS.get(kind, CLASSES.index("indirect")))

    def fit(self) -> np.ndarray:
        """Return the weights, shape (BUCKETS, classes): Adam on the cross entropy, with decay towards zero."""
        ends = np.cumsum([0, *map(len, self.columns)])
        matrix = csr_matrix(
            (np.ones(ends[-1], dtype=np.float32), np.concatenate(self.columns), ends),
            shape=(len(self.labels), BUCKETS),
        )
        labels = np.array(self.labels)
        targets = np.eye(len(CLASSES), dtype=np.float32)[labels]
        weights = np.zeros((BUCKETS, len(CLASSES)), dtype=np.float32)
        mean, square = np.zeros_like(weights), np.zeros_like(weights)
        draw, step = np.random.default_rng(SEED), 0
        total = EPOCHS * -(-len(labels) // BATCH)
        for _ in range(EPOCHS):
            order = draw.permutation(len(labels))
            for at in range(0, len(order), BATCH):
                rows = order[at : at + BATCH]
                part = matrix[rows]
                scores = part @ weights
                scores = np.exp(scores - scores.max(axis=1, keepdims=True))
                scores /= scores.sum(axis=1, keepdims=True)
                gradient = part.T @ ((scores - targets[rows]) / len(rows)) + DECAY * weights
                step += 1
                mean = 0.9 * mean + 0.1 * gradient
                square = 0.999 * square + 0.001 * gradient**2
                rate = RATE * (1 - step / (total + 1))
                weights -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        return weights


def train(
    tables: dict[str, np.ndarray], keep: Callable[[str], bool], sentences: Sequence[str], draws: int = DRAWS
) -> np.ndarray:
    """Return weights trained on the templates, fillers and sentences that `keep` selects."""
    draw = random.Random(SEED)
    known = Model(np.zeros((1, 1), dtype=np.float32), tables, {}).known
    stored: dict[str, str] = {}
    matrix = Matrix(lambda word: stored[word] if word in stored else stored.setdefault(word, known(word)))
    notes = Notes(draw, sentences, keep)
    for number, (style, body) in enumerate(notes.templates):
        if keep(f"template {body}"):
            for n in range(draws):
                note = notes.note(number)
                share = draw.choice([1.0, 1.0, 0.0, draw.random(), draw.random()])
                left = frozenset(i for i in range(len(note.spans)) if draw.random() < share)
                matrix.add(*partly_replaced(note.text, note.spans, left, f"{style}{number}-{n}", SEED))
    for _ in range(PLAIN_SENTENCES if draws == DRAWS else PLAIN_SENTENCES * draws // DRAWS):
        text = draw.choice(sentences)
        change = draw.random()
        if change < 0.3:
            text = text.upper() if change < 0.1 else text.lower() if change < 0.18 else text.title()
        matrix.add(text, ())
    return matrix.fit()


def score(model: Model, notes: Sequence[Note], draw: random.Random) -> dict[str, Any]:
    """Return, by template, spans and hits of each group with some identifiers left, and hits and words with none."""
    result: dict[int, dict[str, Any]] = {}
    for n, note in enumerate(notes):
        entry = result.setdefault(
            note.template, {"spans": Counter(), "hits": Counter(), "false": Counter(), "words": 0}
        )
        # As many as are left after a detector of medium recall.
        left = frozenset(i for i in range(len(note.spans)) if draw.random() < 0.4)
        text, kept = partly_replaced(note.text, note.spans, left, f"held-out-{n}", SEED)
        hits, _ = model.hits(text)
        entry["spans"].update(GROUPS[CLASSES[LABELS[kind]]] for _, _, kind in kept if kind in DIRECT)
        entry["hits"].update(GROUPS[hit.kind] for hit in hits)
        text, _ = partly_replaced(note.text, note.spans, frozenset(), f"held-out-{n}", SEED)
        hits, words = model.hits(text)
        entry["false"].update(GROUPS[hit.kind] for hit in hits)
        entry["words"] += words
        entry.setdefault("shown", []).extend(text[hit.start : hit.end] for hit in hits)
    return result


def calibrate(by_template: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return recall and false positives per 1,000 words of each group, with their spread over templates."""
    groups = {}
    for group in dict.fromkeys(GROUPS.values()):
        spans = np.array([entry["spans"][group] for entry in by_template], dtype=float)
        false = np.array([entry["false"][group] for entry in by_template], dtype=float)
        hits = np.array([entry["hits"][group] for entry in by_template], dtype=float) - false * (spans > 0)
        words = np.array([entry["words"] for entry in by_template], dtype=float)
        has = spans > 0
        recall = hits[has].sum() / spans[has].sum()
        deviation = np.sqrt((spans[has] * (hits[has] / spans[has] - recall) ** 2).sum() / spans[has].sum())
        rate = 1000 * false.sum() / words.sum()
        rate_deviation = np.sqrt((words * (1000 * false / words - rate) ** 2).sum() / words.sum())
        groups[group] = {
            "recall": round(float(recall), 4), "recall_sd": round(float(deviation), 4),
            "false_per_1000_words": round(float(rate), 4), "false_sd": round(float(rate_deviation), 4),
        }  # fmt: skip
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    target = Path(__file__).parents[1] / "packages/data/src/medalpaca_data/deid" / FILE
    parser.add_argument("--out", type=Path, default=target)
    parser.add_argument("--folds", type=int, default=4, help="parts for the calibration")
    options = parser.parse_args()
    shared = paths.shared()
    if shared is None:
        raise SystemExit("MedQuAD not found; set MEDALPACA_SHARED to the directory that holds data/")
    texts = documents(shared)
    tables = known_tables(texts)
    by_template: list[dict[str, Any]] = []
    for fold in range(options.folds):

        def seen(text: str, fold: int = fold) -> bool:
            return part_of(text, options.folds) != fold

        sentences = [
            one for number, text in enumerate(texts) if number % options.folds != fold for one in text
        ]
        weights, scale = pack(train(tables, seen, sentences))
        model = Model(weights.astype(np.float32) * scale, tables, THRESHOLDS)
        others = [one for number, text in enumerate(texts) if number % options.folds == fold for one in text]
        draw = random.Random(SEED + 1)
        notes = Notes(draw, others, lambda text: not seen(text))
        held = [n for n, (_, body) in enumerate(notes.templates) if not seen(f"template {body}")]
        found = score(model, [notes.note(n) for n in held for _ in range(20)], draw)
        for n, entry in found.items():
            recall = {
                group: f"{entry['hits'][group] - entry['false'][group]}/{count}"
                for group, count in entry["spans"].items()
            }
            print(
                fold,
                n,
                notes.templates[n][0],
                recall,
                dict(entry["false"]),
                entry["words"],
                entry["shown"][:6],
                flush=True,
            )
        by_template += found.values()
        plain = [len(model.hits(one)[0]) for one in random.Random(1).sample(others, 3000)]
        print(
            f"fold {fold}: {sum(plain)} hits in 3,000 sentences",
            json.dumps(calibrate(list(found.values()))),
            flush=True,
        )
    calibration = {"thresholds": THRESHOLDS, "groups": calibrate(by_template)}
    print(json.dumps(calibration["groups"], indent=1))
    weights, scale = pack(train(tables, lambda text: True, [one for text in texts for one in text]))
    write(options.out, weights, scale, tables, calibration)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


def write(
    file: Path,
    weights: np.ndarray,
    scale: np.ndarray,
    tables: dict[str, np.ndarray],
    calibration: dict[str, Any],
) -> None:
    """Write the file of the model; equal arrays give equal bytes."""
    import io
    import zipfile

    arrays = {
        "weights": weights, "scale": scale, "known_l": tables["l"], "known_c": tables["c"],
        "calibration": np.frombuffer(json.dumps(calibration, sort_keys=True).encode(), dtype=np.uint8),
    }  # fmt: skip
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.save(data, array, allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (2026, 1, 1, 0, 0, 0)), data.getvalue(), zipfile.ZIP_DEFLATED
            )


if __name__ == "__main__":
    main()
