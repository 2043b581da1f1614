"""What every source has: a name, files, and a reader that yields a row or a reject for each record it meets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ..config import Config
from ..deleted import JoinedDigits
from ..ground.errors import BadRecord
from ..row import Row

# Also the name of a file in rejected/, so it must not lead anywhere else.
Name = Annotated[str, Field(pattern=r"^[\w.-]*\w[\w.-]*$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What `data sources` says of a kind of source: facts for somebody who has to get the raw file."""

    title: str  # one line: what is in it
    format: str  # of the raw files that are read
    get: str  # where the raw file is to be had
    licence: str
    size: str  # of the raw file, about
    rows: str  # how many rows it gives, and of which release
    default: bool = True  # part of the medical_meadow recipe
    remark: str = ""  # why it is off, or what to know before using it
    patient_text: bool = False  # written by or about patients: training demands a de-identification record


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that did not become a row: where it stood, why, and the record itself so that nothing is lost.

    `by_rule` says that the record is sound and left out on purpose (a low score, a test row, a picture card); only
    others count towards `max_reject_share`. Reasons are counted, so they name a kind of fault, not its text;
    `evidence` shows the fault in this record.
    """

    file: str
    place: str
    reason: str
    record: Any
    by_rule: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, file: str, place: str, error: ValueError | BadRecord, record: Any = None) -> Reject:
        """What `error` says of a record: that it is left out, that it makes no row, or that it cannot be read."""
        if isinstance(error, BadRecord):
            return cls(file, place, error.reason, error.record)
        evidence = {"digits": error.digits} if isinstance(error, JoinedDigits) else {}
        return cls(file, place, str(error), record, isinstance(error, LeftOut), evidence)


@dataclass(frozen=True, slots=True)
class Context:
    """A record that is read for the sake of others and can never be a row itself: the question over its answers."""

    kind: str  # in the plural, for the ledger: "questions"


Record = Row | Reject | Context


class LeftOut(ValueError):
    """Raised by `row` for a sound record that a rule leaves out; its text is the reason."""


class BaseSource(Config):
    """A source as a recipe names it. Its fields are its settings; `records` does the work."""

    about: ClassVar[About]
    reads_with: ClassVar[frozenset[str]] = frozenset()  # settings of the mix that `records` heeds already

    name: Name
    licence: str | None = None
    attribution: str | None = None
    url: str | None = None
    patient_text: bool = (
        False  # true: written by or about patients, as the kind itself may say of all its rows
    )
    published: int | None = Field(
        default=None, ge=0
    )  # rows of it in a mix that was published, shown beside ours
    max_rows: int | None = Field(default=None, ge=1)  # of the mix
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)  # share of the recipe's `rows`

    @property
    def private(self) -> bool:
        """Whether its rows are patient text, which goes nowhere without a de-identification record."""
        return self.about.patient_text or self.patient_text

    @abstractmethod
    def files(self, root: Path) -> list[Path]:
        """The raw files it reads, relative paths taken from `root`."""

    @abstractmethod
    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        """A row or a reject for every record, in file order: read = rows + rejects. `seed` is of every draw."""

    def make(
        self, *, source_id: str, output: str, instruction: str = "", input: str = "", **origin: Any
    ) -> Row:
        """A row of this source; what `origin` (url, licence, attribution, split, group) leaves out is the source's."""
        known = {"url": self.url, "licence": self.licence, "attribution": self.attribution, "split": "none"}
        return Row(
            instruction=instruction,
            input=input,
            output=output,
            source=self.name,
            source_id=source_id,
            **{**known, **{key: value for key, value in origin.items() if value is not None}},
        )
