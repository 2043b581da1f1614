"""`data audit`: do a published file's labels agree with the corpus it was made from?

The published PubMed-causal part of Medical Meadow has every label wrong; this is how one finds out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .core.errors import UserError
from .core.records import read_rows
from .core.row import Row
from .sources.pubmed_causal import Encoding, read_classes
from .sources.pubmed_health_advice import read_labels


@dataclass(frozen=True, slots=True)
class Corpus:
    """A labelled corpus whose published form can be audited."""

    name: str
    # What a published label says, told by the words in it; more telling words first.
    phrases: tuple[tuple[str, str], ...]
    read: Callable[[Sequence[Path], Encoding | None], dict[str, set[str]]]  # sentence -> its classes

    def class_of(self, text: str) -> str | None:
        """The class that a published label names, or None."""
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
    """Published labels against upstream's, joined by sentence."""

    corpus: str
    rows: int
    unmatched: int  # sentences that upstream does not hold
    contradictory: int  # the label is one of several that upstream gives the sentence, so it proves nothing
    agree: int
    confusion: Counter[tuple[str, str]]  # (upstream class, published class)

    @property
    def disagree(self) -> int:
        """Labels that upstream never gave their sentence."""
        return self.rows - self.unmatched - self.contradictory - self.agree


def audit(published: Path, *upstream: Path, encoding: Encoding | None = None) -> Audit:
    """Join `published` (Alpaca rows) to `upstream` (its CSVs) by sentence and compare the classes.

    Which corpus it is, the published labels say: of health advice, or of a causal relationship, whose numbering
    `encoding` names. Raises UserError for a label that is neither.
    """
    rows = read_rows(published)
    corpus = _corpus(rows, published)
    if encoding and corpus is not CAUSAL:
        raise UserError(
            f"{published}: holds labels of {corpus.name}, which have one numbering; drop --encoding"
        )
    classes = corpus.read(upstream, encoding)
    unmatched = contradictory = agree = 0
    confusion: Counter[tuple[str, str]] = Counter()
    for n, row in enumerate(rows, 1):
        said = corpus.class_of(row.output)
        if said is None:
            raise UserError(f"{published} row {n}: 'output' is no label of the {corpus.name} corpus")
        truth = classes.get(row.input.strip())
        if truth is None:
            unmatched += 1
            continue
        contradictory += said in truth and len(truth) > 1
        agree += truth == {said}
        confusion["/".join(sorted(truth)), said] += 1
    return Audit(corpus.name, len(rows), unmatched, contradictory, agree, confusion)


def as_json(result: Audit) -> dict[str, Any]:
    """The counts, for scripts."""
    return {
        "corpus": result.corpus,
        "rows": result.rows,
        "unmatched": result.unmatched,
        "contradictory": result.contradictory,
        "agree": result.agree,
        "disagree": result.disagree,
        "confusion": [
            {"upstream": truth, "published": said, "rows": count}
            for (truth, said), count in sorted(result.confusion.items())
        ],
    }


def show(result: Audit, console: Console) -> None:
    """Which class was published as which."""
    table = Table(title="Upstream class, and what was published", title_justify="left")
    for name in ("upstream", "published"):
        table.add_column(name, overflow="fold")
    table.add_column("rows", justify="right", no_wrap=True)
    for (truth, said), count in result.confusion.most_common():
        table.add_row(truth, said, f"{count:,}")
    console.print(table)
    console.print(
        f"{result.agree:,} of {result.rows:,} {result.corpus} labels agree with upstream, {result.disagree:,} disagree "
        f"({result.contradictory:,} stand there under several labels, {result.unmatched:,} are not found there)."
    )


def _corpus(rows: Sequence[Row], published: Path) -> Corpus:
    for corpus in (ADVICE, CAUSAL):
        if corpus.class_of(rows[0].output):
            return corpus
    raise UserError(f"{published} row 1: 'output' is no label of a causal relationship or of health advice")
