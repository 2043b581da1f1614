"""PubMed causal language (Yu, Li and Wang, EMNLP 2019): which kind of relationship a conclusion sentence claims.

Two original copies number the classes differently: 1 and 3 are swapped. The recipe sets the numbering with `encoding`.
Otherwise the class counts must be exactly those of one of the copies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..core.errors import UserError
from ..core.files import is_text
from ..core.records import ReadOptions
from ..core.row import Row
from .base import DataFile, Name, Record, SourceInfo
from .columns import ColumnSource

Encoding = Literal["causal-language-use", "correlation-to-causation"]

CLASSES: Mapping[str, Mapping[str, str]] = {
    "causal-language-use": {
        "0": "no relationship",
        "1": "direct causal",
        "2": "conditional causal",
        "3": "correlational",
    },
    "correlation-to-causation": {
        "0": "no relationship",
        "1": "correlational",
        "2": "conditional causal",
        "3": "direct causal",
    },
}

# Rows per class in the full original file (3,061 sentences), the same in both copies.
KNOWN_COUNTS = {
    "no relationship": 1356,
    "direct causal": 494,
    "conditional causal": 213,
    "correlational": 998,
}

INSTRUCTION = (
    "Which kind of relationship does this sentence claim: direct causal, conditional causal, correlational, "
    "or no relationship?"
)


class PubMedCausal(ColumnSource):
    """A CSV file with the columns `sentence` and `label`.

    `encoding` sets the numbering of the labels; by default `detect_encoding` detects it.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="conclusion sentences of PubMed abstracts, classified by the relationship that they claim",
        format=".csv with sentence and label: pubmed_causal_language_use.csv, or annotated_pubmed.csv",
        get="the repository github.com/junwang4/causal-language-use-in-science, directory data",
        licence="GPL-3.0 (upstream repository)",
        size="0.6 MB",
        rows="3,061 (measured)",
        remark="two copies number the labels differently; in the file published in 2023, all 2,446 labels are wrong",
    )

    columns_read: ClassVar[frozenset[str]] = frozenset({"sentence", "label"})

    kind: Literal["pubmed_causal"] = "pubmed_causal"
    name: Name = "pubmed_causal"
    licence: str | None = "GPL-3.0 (upstream repository)"
    attribution: str | None = (
        "B. Yu, Y. Li, J. Wang: Detecting Causal Language Use in Science Findings (EMNLP 2019)"
    )
    url: str | None = "https://github.com/junwang4/causal-language-use-in-science"
    encoding: Encoding | None = None

    @property
    def read_options(self) -> ReadOptions:
        # The key `encoding` is the numbering of the labels; the encoding of the text is detected.
        return ReadOptions(delimiter=self.delimiter)

    def read_file(self, file: DataFile) -> Iterator[Record]:
        encoding = self.encoding or detect_encoding(file.path, (value for _, value in self.values(file)))
        return super(PubMedCausal, self.model_copy(update={"encoding": encoding})).read_file(file)

    def row(self, record: Any, source_id: str) -> Row:
        if not isinstance(record, Mapping):
            raise ValueError("not an object with sentence and label")
        values = [record.get(name) for name in ("sentence", "label")]
        if any(isinstance(value, Mapping | list) for value in values):
            raise ValueError("'sentence' or 'label' is a structure, not text")
        sentence, label = ("" if value is None else str(value).strip() for value in values)
        if not is_text(sentence):
            raise ValueError("'sentence' is not valid Unicode (half a surrogate pair)")
        if not sentence:
            raise ValueError("no sentence")
        # `read_file` has set the encoding.
        classes = CLASSES[self.encoding or ""]
        if label not in classes:
            raise ValueError(f"label {label!r} is not one of {', '.join(classes)}")
        return self.make_row(
            source_id=source_id,
            instruction=INSTRUCTION,
            input=sentence,
            output=classes[label].capitalize(),
        )


def detect_encoding(file: Path, records: Iterable[Any]) -> Encoding:
    """Return the numbering of the labels in the records of a file, from the number of rows of each class.

    Raises UserError if these numbers are not exactly those of a full original copy.
    """
    labels = Counter(str(record.get("label")).strip() for record in records if isinstance(record, Mapping))
    for encoding, classes in CLASSES.items():
        if labels == {label: KNOWN_COUNTS[name] for label, name in classes.items()}:
            return encoding  # type: ignore[return-value]
    raise UserError(
        f"{file}: the labels are ambiguous: two numberings exist (1 and 3 swapped), and the class counts match "
        f"neither; set encoding: to one of {', '.join(CLASSES)}"
    )


def read_classes(files: Iterable[Path], encoding: Encoding | None = None) -> dict[str, set[str]]:
    """Return {sentence: its classes in lower case} over all files, for the audit of published data.

    A few sentences occur twice with different classes. Raises UserError if `encoding` is None and cannot be detected.
    """
    classes: dict[str, set[str]] = {}
    for file in files:
        source = PubMedCausal(path=file.name, encoding=encoding)
        for record in source.records(file.parent):
            if isinstance(record, Row):
                classes.setdefault(record.input, set()).add(record.output.lower())
    return classes
