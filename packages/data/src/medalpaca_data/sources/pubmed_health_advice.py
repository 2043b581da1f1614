"""PubMed health advice (Li, Wang and Yu, EMNLP 2021): does a sentence of a paper give advice, and how strong is it?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from ..core.errors import BadRecord, UserError
from ..core.files import existing, is_text
from ..core.records import read_records
from ..core.row import Row
from .base import About, BaseSource, LeftOut, Name, Reject

CLASSES: Mapping[str, str] = {"0": "no advice", "1": "weak advice", "2": "strong advice"}
FEWEST_WORDS = 4  # below it stand headings and trial numbers ("Results."), all of them class 0
PLACEHOLDER = "no discussion section"

INSTRUCTION = "Does this sentence from a medical paper give strong advice, weak advice, or no advice?"


class PubMedHealthAdvice(BaseSource):
    """CSVs with `label`, `pmid` and `sentence`; a directory stands for the annotations_*.csv in it.

    A sentence that stands under two labels is rejected wherever it stands: neither label is known to be right, and
    both together would teach a coin toss.
    """

    about: ClassVar[About] = About(
        title="sentences of PubMed abstracts and discussions, by the strength of the advice in them",
        format="annotations_discussion.csv, annotations_structured_abstract.csv, annotations_unstructured_abstract.csv",
        get="the repository github.com/junwang4/detecting-health-advice, directory data",
        licence="none stated upstream",
        size="2 MB",
        rows="10,822 of 10,848 (measured)",
        default=False,
        remark="upstream states no licence: look at the terms before passing rows on",
    )

    kind: Literal["pubmed_health_advice"] = "pubmed_health_advice"
    name: Name = "pubmed_health_advice"
    licence: str | None = "none stated (upstream repository)"
    attribution: str | None = (
        "Y. Li, J. Wang, B. Yu: Detecting Health Advice in Medical Research Literature (EMNLP 2021)"
    )
    url: str | None = "https://github.com/junwang4/detecting-health-advice"
    paths: tuple[str, ...] = Field(min_length=1)

    def files(self, root: Path) -> list[Path]:
        files: list[Path] = []
        for path in self.paths:
            file = existing(root / Path(path).expanduser(), f"file or directory (source {self.name!r})")
            inside = sorted(file.glob("annotations_*.csv")) if file.is_dir() else [file]
            if not inside:
                raise UserError(f"{file}: no annotations_*.csv in it")
            files += inside
        return files

    def records(self, root: Path, seed: int = 0) -> Iterator[Row | Reject]:
        files = self.files(root)
        labels = read_labels(files)
        for file in files:
            for place, record in read_records(file):
                try:
                    if isinstance(record, BadRecord):
                        raise record
                    yield self.row(record, f"{file.name} {place}", labels)
                except (ValueError, BadRecord) as error:
                    yield Reject.of(file.name, place, error, record)

    def row(self, record: Any, source_id: str, labels: Mapping[str, set[str]]) -> Row:
        sentence, label, pmid = (_field(record, name) for name in ("sentence", "label", "pmid"))
        if not is_text(sentence):
            raise ValueError("half a surrogate pair, which is no text")
        if not sentence:
            raise ValueError("no sentence")
        if sentence.lower() == PLACEHOLDER:
            raise ValueError("a placeholder, no sentence")
        if label not in CLASSES:
            raise ValueError(f"label is none of {', '.join(CLASSES)}")
        if len(labels[sentence]) > 1:
            raise ValueError("contradictory label")
        if len(sentence.split()) < FEWEST_WORDS:
            raise LeftOut(f"fewer than {FEWEST_WORDS} words")
        known = pmid.isascii() and pmid.isdigit()
        return self.make(
            source_id=source_id,
            instruction=INSTRUCTION,
            input=sentence,
            output=CLASSES[label].capitalize(),
            url=f"https://pubmed.ncbi.nlm.nih.gov/{pmid}/" if known else None,
            group=f"{self.name}:{pmid}" if known else None,
        )


def read_labels(files: Iterable[Path]) -> dict[str, set[str]]:
    """sentence -> its classes (`weak advice`), over all files: a few sentences stand twice and disagree."""
    labels: dict[str, set[str]] = {}
    for file in files:
        for _, record in read_records(file):
            if isinstance(record, Mapping) and (label := _field(record, "label")) in CLASSES:
                labels.setdefault(_field(record, "sentence"), set()).add(CLASSES[label])
    return labels


def _field(record: Any, name: str) -> str:
    if not isinstance(record, Mapping):
        raise ValueError("not an object with sentence and label")
    value = record.get(name)
    return "" if value is None else str(value).strip()
