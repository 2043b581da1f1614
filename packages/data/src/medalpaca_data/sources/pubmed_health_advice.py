"""PubMed health advice (Li, Wang and Yu, EMNLP 2021): whether a sentence of a paper gives strong, weak or no advice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from ..core.errors import BadRecord, UserError
from ..core.files import is_text
from ..core.records import FileNote, read_records
from ..core.row import Row
from .base import BaseSource, ExcludedError, Name, Record, Reject, SourceInfo

CLASSES: Mapping[str, str] = {"0": "no advice", "1": "weak advice", "2": "strong advice"}
# Sentences of fewer words are headings ("Results.") and trial numbers, all of class 0.
MIN_WORDS = 4
PLACEHOLDER = "no discussion section"

INSTRUCTION = "Does this sentence from a medical paper give strong advice, weak advice, or no advice?"


class PubMedHealthAdvice(BaseSource):
    """CSV files with `label`, `pmid` and `sentence`; for a directory in `paths`, the files annotations_*.csv in it.

    If a sentence has different labels in these files, all its copies are rejected, because the correct label is
    unknown.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="sentences of PubMed abstracts and discussions, classified by the strength of their advice",
        format="annotations_discussion.csv, annotations_structured_abstract.csv, annotations_unstructured_abstract.csv",
        get="the repository github.com/junwang4/detecting-health-advice, directory data",
        licence="none stated upstream",
        size="2 MB",
        rows="10,822 of 10,848 (measured)",
        default=False,
        remark="the repository states no licence: clarify the terms before you publish rows",
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
            file = self.resolve(root, path, "file or directory")
            tables = sorted(file.glob("annotations_*.csv")) if file.is_dir() else [file]
            if not tables:
                raise UserError(f"{file}: no annotations_*.csv in this directory")
            files += tables
        return files

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        names = self.file_names(root)
        labels = read_labels(names)
        for file, name in names.items():
            notes: list[FileNote] = []
            for location, record in read_records(file, on_note=notes.append):
                try:
                    if isinstance(record, BadRecord):
                        raise record
                    yield self.row(record, f"{name} {location}", labels)
                except (ValueError, BadRecord) as error:
                    yield Reject.of(name, location, error, record)
            yield from (replace(note, file=name) for note in notes)

    def row(self, record: Any, source_id: str, labels: Mapping[str, set[str]]) -> Row:
        sentence, label, pmid = (_field_text(record, name) for name in ("sentence", "label", "pmid"))
        if not is_text(sentence):
            raise ValueError("not valid Unicode (half a surrogate pair)")
        if not sentence:
            raise ValueError("no sentence")
        if sentence.lower() == PLACEHOLDER:
            raise ValueError("a placeholder instead of a sentence")
        if label not in CLASSES:
            raise ValueError(f"label is not one of {', '.join(CLASSES)}")
        if len(labels[sentence]) > 1:
            raise ValueError("contradictory label")
        if len(sentence.split()) < MIN_WORDS:
            raise ExcludedError(f"fewer than {MIN_WORDS} words")
        known = pmid.isascii() and pmid.isdigit()
        return self.make_row(
            source_id=source_id,
            instruction=INSTRUCTION,
            input=sentence,
            output=CLASSES[label].capitalize(),
            url=f"https://pubmed.ncbi.nlm.nih.gov/{pmid}/" if known else None,
            group=f"{self.name}:{pmid}" if known else None,
        )


def read_labels(files: Iterable[Path]) -> dict[str, set[str]]:
    """Return {sentence: its classes} over all files, without records whose label is unknown.

    A few sentences occur twice with different classes.
    """
    labels: dict[str, set[str]] = {}
    for file in files:
        for _, record in read_records(file):
            if isinstance(record, Mapping) and (label := _field_text(record, "label")) in CLASSES:
                labels.setdefault(_field_text(record, "sentence"), set()).add(CLASSES[label])
    return labels


def _field_text(record: Any, name: str) -> str:
    if not isinstance(record, Mapping):
        raise ValueError("not an object with sentence and label")
    value = record.get(name)
    return "" if value is None else str(value).strip()
