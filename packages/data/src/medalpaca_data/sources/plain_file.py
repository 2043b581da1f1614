"""A source that is one plain data file: on disk, or in a dataset on the hub, pinned to a commit."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from ..ground.errors import BadRecord, UserError, one_line
from ..ground.files import existing
from ..ground.sealed import is_sealed, no_telemetry, sealed_setting
from ..row import Row, read_records
from .base import BaseSource, Record, Reject
from .splits import no_test_file

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
TIMEOUT = 10  # seconds to wait for the hub's first answer

HubName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class PlainFile(BaseSource):
    """`path`, or `hub` (owner/name of a dataset) with `revision` (a commit, so that it never changes) and `file`.

    It is read record by record; only Parquet, and JSON that is no list, is held in memory.
    """

    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    path: str | None = None
    hub: HubName | None = None
    revision: Commit | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> PlainFile:
        on_hub = (self.hub, self.revision, self.file)
        if (self.path is None) == (self.hub is None) or (self.path and any(on_hub)):
            raise ValueError("name either path:, or hub: with revision: and file:")
        if self.hub and not all(on_hub):
            raise ValueError("hub: needs revision: (a commit, 40 hex digits) and file: beside it")
        name = self.file or self.path or ""
        if not name.lower().removesuffix(".gz").endswith(self.suffixes):
            raise ValueError(f"{name}: only plain data is read ({' '.join(self.suffixes)}, also .gz)")
        if self.file and (self.file.startswith("/") or ".." in self.file.split("/") or "\\" in self.file):
            raise ValueError(f"file: {self.file} is no path inside a dataset")
        return self

    def files(self, root: Path) -> list[Path]:
        if self.path is not None:
            file = existing(root / Path(self.path).expanduser(), f"file (source {self.name!r})")
        else:
            file = from_hub(self.hub or "", self.revision or "", self.file or "")
        return [no_test_file(file)]

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        yield from self.each(self.files(root)[0])

    def each(self, file: Path) -> Iterator[Record]:
        """What becomes of every record of `file`."""
        for place, value in read_records(file):
            yield from self.take(value, file.name, place)

    def take(self, value: Any, file: str, place: str) -> Iterator[Record]:
        """What becomes of one record, or of the BadRecord in its place: `row`, or the reason why not."""
        try:
            if isinstance(value, BadRecord):
                raise value
            yield self.row(value, f"{file} {place}")
        except (ValueError, BadRecord) as error:
            yield Reject.of(file, place, error, value)

    @abstractmethod
    def row(self, record: Any, source_id: str) -> Row:
        """One record's row. Raises ValueError with the reason where there is none, LeftOut where a rule says so."""


def from_hub(hub: str, revision: str, name: str) -> Path:
    """A file of a dataset in the hub's cache, downloaded if it is not there yet and nothing forbids it.

    Only the file itself is fetched and read; no code of the dataset is. Sealed, the hub is never asked.
    """
    where = f"{hub}: {name} of {revision[:12]}"
    no_telemetry()
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    except ImportError:
        raise UserError(f"{where}: reading from a hub needs huggingface_hub (the extra `hub`)") from None
    found = try_to_load_from_cache(hub, name, repo_type="dataset", revision=revision)
    if isinstance(found, str):
        return Path(found)
    if is_sealed():
        raise UserError(
            f"{where}: not in the local hub cache, and {sealed_setting()}; download the file and name it as path:"
        )
    try:
        # Asked once and first, because a download tries for half a minute to reach a hub that is not there.
        get_hf_file_metadata(hf_hub_url(hub, name, repo_type="dataset", revision=revision), timeout=TIMEOUT)
        return Path(hf_hub_download(hub, name, repo_type="dataset", revision=revision))
    except Exception as error:  # the network stack's errors have no common base
        cause = one_line(error) or type(error).__name__
        raise UserError(f"{where} could not be fetched ({cause[:160]})") from None
