"""The command `data audit`: compare published labels with the corpus they were made from.

In the published PubMed causal part of Medical Meadow, every label is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .clean_text import clean_text
from .core.errors import UserError
from .core.records import read_rows
from .core.row import Row
from .sources.pubmed_causal import Encoding, read_classes
from .sources.pubmed_health_advice import read_labels


@dataclass(frozen=True, slots=True)
class Corpus:
    """A labelled corpus.

    `phrases` are pairs of a word in a published label and its class; the first pair that fits is used. `read` returns
    the classes of every sentence of the corpus.
    """

    name: str
    phrases: tuple[tuple[str, str], ...]
    read: Callable[[Sequence[Path], Encoding | None], dict[str, set[str]]]

    def class_of(self, text: str) -> str | None:
        """Return the class of a published label, or None if it contains none of the words in `phrases`."""
        lowered = f" {text.lower()}"
        return next((name for word, name in self.phrases if f" {word}" in lowered), None)


ADVICE = Corpus(
    "health advice",
    (("no advice", "no advice"), ("weak advice", "weak advice"), ("strong advice", "strong advice")),
    lambda files, encoding: read_labels(files),
)
CAUSAL = Corpus(
    "causal",
    (
        ("no ", "no relationship"),
        ("conditional", "conditional causal"),
        ("correlat", "correlational"),
        ("caus", "direct causal"),
    ),
    read_classes,
)


@dataclass(frozen=True, slots=True)
class Audit:
    """Numbers of published rows by their agreement with the corpus, joined by sentence.

    `unmatched` rows have a sentence that is not in the corpus. `contradictory` rows have a sentence with several labels
    in the corpus, and one of these. `confusion` counts (class in the corpus, published class) over all matched rows;
    several classes of a sentence are joined by "/".
    """

    corpus: str
    rows: int
    unmatched: int
    contradictory: int
    agree: int
    confusion: Counter[tuple[str, str]]

    @property
    def disagree(self) -> int:
        """Return the number of rows whose label the corpus does not have for their sentence."""
        return self.rows - self.unmatched - self.contradictory - self.agree


def audit(published: Path, *upstream: Path, encoding: Encoding | None = None) -> Audit:
    """Compare the labels of `published` (Alpaca rows) with those of `upstream` (CSV files), joined by sentence.

    A sentence that only one side has repaired or cleaned is joined as well.

    The corpus, health advice or causal language, is recognised by the first label. `encoding` is the numbering of the
    causal labels in the CSV files. Raises UserError for a label that is not of this corpus, and for an `encoding` of
    health advice.
    """
    rows = read_rows(published)
    corpus = _corpus(rows, published)
    if encoding and corpus is not CAUSAL:
        raise UserError(
            f"{published}: the labels are of the {corpus.name} corpus, which has one numbering; remove --encoding"
        )
    classes = corpus.read(upstream, encoding)
    # One side may have been cleaned by a build, the other not.
    cleaned: dict[str, set[str]] = {}
    for sentence, found in classes.items():
        cleaned.setdefault(_cleaned(sentence), set()).update(found)
    unmatched = contradictory = agree = 0
    confusion: Counter[tuple[str, str]] = Counter()
    for n, row in enumerate(rows, 1):
        label = corpus.class_of(row.output)
        if label is None:
            raise UserError(
                f"{published} row {n}: 'output' is not a label of the {corpus.name} corpus; its classes: "
                f"{', '.join(name for _, name in corpus.phrases)}"
            )
        truth = classes.get(row.input.strip()) or cleaned.get(_cleaned(row.input))
        if truth is None:
            unmatched += 1
            continue
        contradictory += label in truth and len(truth) > 1
        agree += truth == {label}
        confusion["/".join(sorted(truth)), label] += 1
    return Audit(corpus.name, len(rows), unmatched, contradictory, agree, confusion)


def _cleaned(sentence: str) -> str:
    """Return a sentence as the stage `clean` writes it, or the sentence itself if that stage rejects it."""
    try:
        return clean_text(sentence)[0]
    except ValueError:
        return sentence.strip()


def as_json(result: Audit) -> dict[str, Any]:
    """Return the result of `data audit` as a JSON object: rows by agreement, and the confusion counts."""
    return {
        "corpus": result.corpus,
        "rows": result.rows,
        "unmatched": result.unmatched,
        "contradictory": result.contradictory,
        "agree": result.agree,
        "disagree": result.disagree,
        "confusion": [
            {"upstream": truth, "published": label, "rows": count}
            for (truth, label), count in sorted(result.confusion.items())
        ],
    }


def show(result: Audit, console: Console) -> None:
    """Print the confusion table and the counts."""
    table = Table(title="Class in the corpus and published class", title_justify="left")
    for name in ("upstream", "published"):
        table.add_column(name, overflow="fold")
    table.add_column("rows", justify="right", no_wrap=True)
    for (truth, label), count in result.confusion.most_common():
        table.add_row(truth, label, f"{count:,}")
    console.print(table)
    console.print(
        f"{result.agree:,} of {result.rows:,} {result.corpus} labels agree with the corpus, {result.disagree:,} "
        f"disagree; {result.contradictory:,} have several labels there, {result.unmatched:,} are not there."
    )


def _corpus(rows: Sequence[Row], published: Path) -> Corpus:
    for corpus in (ADVICE, CAUSAL):
        if corpus.class_of(rows[0].output):
            return corpus
    raise UserError(f"{published} row 1: 'output' is not a label of causal language or of health advice")
