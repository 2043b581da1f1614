"""What every source has: a name, files, and a reader that yields a row or a reject for each record it meets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ..config import Config
from ..ground.errors import UserError
from ..ground.files import existing
from ..row import Row, read_records

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
    others count towards `max_reject_share`. Reasons are counted, so they name a kind of fault, not its text.
    """

    file: str
    place: str
    reason: str
    record: Any
    by_rule: bool = False


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
    published: int | None = Field(
        default=None, ge=0
    )  # rows of it in a mix that was published, shown beside ours
    max_rows: int | None = Field(default=None, ge=1)  # of the mix
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)  # share of the recipe's `rows`

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


class FileSource(BaseSource):
    """A source that is one file of records, each parsed by `row`."""

    path: str

    def files(self, root: Path) -> list[Path]:
        return [existing(root / Path(self.path).expanduser(), f"file (source {self.name!r})")]

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        [file] = self.files(root)
        for place, record in read_records(file):
            if isinstance(record, UserError):
                reason = str(record).partition(": ")[2]
                yield Reject(file.name, place, reason, None)
                continue
            try:
                yield self.row(record, f"{file.name} {place}")
            except ValueError as error:
                yield Reject(file.name, place, str(error), record, isinstance(error, LeftOut))

    @abstractmethod
    def row(self, record: Any, source_id: str) -> Row:
        """One record's row. Raises ValueError with the reason where there is none, LeftOut where a rule says so."""
