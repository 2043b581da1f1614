"""What every source has: a name, files, and a reader that yields a row or a reject for each record it meets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..config import Config
from ..ground.errors import UserError
from ..ground.files import existing
from ..row import Row, read_records

# Also the name of a file in rejected/, so it must not lead anywhere else.
Name = Annotated[str, Field(pattern=r"^[\w.-]*\w[\w.-]*$")]


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that did not become a row: where it stood, why, and the record itself so that nothing is lost."""

    file: str
    place: str
    reason: str
    record: Any


class BaseSource(Config):
    """A source as a recipe names it. Its fields are its settings; `records` does the work."""

    name: Name
    licence: str | None = None
    attribution: str | None = None
    url: str | None = None

    @abstractmethod
    def files(self, root: Path) -> list[Path]:
        """The raw files it reads, relative paths taken from `root`."""

    @abstractmethod
    def records(self, root: Path, seed: int = 0) -> Iterator[Row | Reject]:
        """A row or a reject for every record, in file order: read = rows + rejects. `seed` is of every draw."""


class FileSource(BaseSource):
    """A source that is one file of records, each parsed by `row`."""

    path: str

    def files(self, root: Path) -> list[Path]:
        return [existing(root / Path(self.path).expanduser(), f"file (source {self.name!r})")]

    def records(self, root: Path, seed: int = 0) -> Iterator[Row | Reject]:
        [file] = self.files(root)
        for place, record in read_records(file):
            if isinstance(record, UserError):
                reason = str(record).partition(": ")[2]
                yield Reject(file.name, place, reason, None)
                continue
            try:
                yield self.row(record, f"{file.name} {place}")
            except ValueError as error:
                yield Reject(file.name, place, str(error), record)

    @abstractmethod
    def row(self, record: Any, source_id: str) -> Row:
        """One record's row. Raises ValueError with the reason where there is none."""
