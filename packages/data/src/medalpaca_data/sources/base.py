"""Base classes of all sources: settings, raw files, and one row, reject or context record for each raw record.

Also here: the conversion of an exam item to a row.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ..core.config import Config
from ..core.encoding import canonical_encoding
from ..core.errors import BadRecord, UserError
from ..core.files import existing, is_text, unique_names
from ..core.records import FileNote, OnNote, ReadOptions, ignore_note
from ..core.row import Row
from ..exams.exam import unscorable
from ..exams.item import LETTER_INSTRUCTION, Item, content_item_id, exam_input
from .answer_rules import Repair
from .data_files import DATA_FILE_SUFFIXES as DATA_FILE_SUFFIXES
from .data_files import DataFile as DataFile
from .data_files import Selection, has_suffix, read_data_file, select_files, with_known_names
from .hub import download_from_hub
from .splits import ExcludedError as ExcludedError
from .splits import TrainOrDev as TrainOrDev
from .splits import parse_row_split as parse_row_split
from .splits import refuse_test_file as refuse_test_file
from .splits import refuse_test_split as refuse_test_split
from .splits import resolve_split as resolve_split
from .splits import split_from_name as split_from_name

# The name is also a file name in the directory `rejected/`, so path separators are not allowed.
Name = Annotated[str, Field(pattern=r"^[\w.-]*\w[\w.-]*$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """Description of a source, which the command `data sources` prints: what it is and how to get the raw files.

    Attributes:
        title: Contents, in one line.
        format: File formats that are read.
        get: Where the raw files can be downloaded.
        licence: Licence of the raw files.
        size: Approximate size of the raw files.
        rows: Number of rows, and for which release.
        default: Whether the `medical_meadow` recipe uses the source.
        remark: Why it is not used by default, or what to know before use.
        patient_text: Whether patients wrote the text or it is about patients. Training on its rows then requires a
            record of their de-identification.
    """

    title: str
    format: str
    get: str
    licence: str
    size: str
    rows: str
    default: bool = True
    remark: str = ""
    patient_text: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that did not become a row: its file and location, the reason, and the record itself.

    `by_rule` is true for a valid record that a rule excludes (a low score, a test row, a card with a picture). Only the
    other rejects count towards `max_reject_share` of the recipe. Rejects are counted by reason, so a reason names a
    kind of fault and contains no text of the record; `evidence` has the details. `record` is None if it is not kept.
    """

    file: str
    location: str
    reason: str
    record: Any
    by_rule: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, file: str, location: str, error: ValueError | BadRecord, record: Any = None) -> Reject:
        """Return the reject for the `error` that a record caused.

        An ExcludedError gives a reject by rule. A BadRecord contains its own raw record, so `record` is ignored.
        """
        if isinstance(error, BadRecord):
            return cls(file, location, error.reason, error.record)
        by_rule = isinstance(error, ExcludedError)
        return cls(file, location, str(error), record, by_rule, getattr(error, "evidence", {}))


@dataclass(frozen=True, slots=True)
class Context:
    """A record that only gives context to others and never becomes a row, such as a question with several answers.

    `kind` is a plural noun, such as "questions", under which the ledger of the build (ledger.json) counts it.
    """

    kind: str


Record = Row | Reject | Context | Repair | FileNote


class BaseSource(Config):
    """A source in a recipe. Its fields are its settings, and `records` yields its rows and rejects.

    Attributes:
        about: Description of the source.
        applied_settings: Settings of the mix, such as `max_rows`, that `records` applies itself.
        name: Name of the source in the ledger of the build and in each row.
        licence: Licence of its rows, where a record does not state its own.
        attribution: Authors to name, where a record does not name its own.
        url: Address of the corpus, where a record does not have its own.
        patient_text: Whether patients wrote the text or it is about patients; `about` may declare it as well.
        published: Number of rows in a published mix, shown for comparison.
        max_rows: Maximum number of rows in the mix.
        weight: Weight of the source when the recipe sets `rows`.
    """

    about: ClassVar[SourceInfo]
    applied_settings: ClassVar[frozenset[str]] = frozenset()
    if TYPE_CHECKING:
        # Each concrete source declares its own literal, by which a recipe selects the class.
        kind: str

    name: Name
    licence: str | None = None
    attribution: str | None = None
    url: str | None = None
    patient_text: bool = False
    published: int | None = Field(default=None, ge=0)
    max_rows: int | None = Field(default=None, ge=1)
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @property
    def private(self) -> bool:
        """Whether its rows are patient text. Training on them requires a record of their de-identification."""
        return self.about.patient_text or self.patient_text

    def has_wikitext(self) -> bool:
        """Return whether its texts may be wikitext, from which cleaning removes templates such as {{drug}}."""
        return False

    @abstractmethod
    def files(self, root: Path) -> list[Path]:
        """Return the raw files, with relative paths resolved against `root`.

        Raises UserError if one does not exist, or if it is a test split. A file on the hub is downloaded.
        """

    @abstractmethod
    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        """Yield a row, reject or context for every record, in file order. `seed` seeds all random choices."""

    def file_names(self, root: Path) -> dict[Path, str]:
        """Return a unique name for each of `files`, with which rows, rejects and the ledger name the file."""
        return unique_names(self.files(root))

    def resolve(self, root: Path, path: str, what: str = "file") -> Path:
        """Return `path`, resolved against `root` if it is relative. Raises UserError if it does not exist.

        `what` names the kind of file in the message.
        """
        return existing(root / Path(path).expanduser(), f"{what} (source {self.name!r})")

    def make_row(
        self, *, source_id: str, output: str, instruction: str = "", input: str = "", **origin: Any
    ) -> Row:
        """Return a row of this source.

        `origin` sets url, licence, attribution, split, group or generator. If it does not set one, or sets it to None,
        url, licence and attribution are the settings of the source, and split is "none".
        """
        known = {"url": self.url, "licence": self.licence, "attribution": self.attribution, "split": "none"}
        return Row(
            instruction=instruction,
            input=input,
            output=output,
            source=self.name,
            source_id=source_id,
            **{**known, **{key: value for key, value in origin.items() if value is not None}},
        )


DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}

HubName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class FileSource(BaseSource):
    """A source of data files: `path` on disk, or `file` of the dataset `hub` at the commit `revision`.

    Files are read record by record. Only a Parquet or Arrow file, and JSON that is not a list, is held in memory.

    Attributes:
        path: A file, a folder with its subfolders, a pattern with * ? [], or a list of these.
        hub: Dataset on the Hugging Face hub.
        revision: Commit of the dataset, 40 hexadecimal digits.
        file: File in the dataset.
        encoding: Encoding of text files; null detects UTF-8, UTF-16 with a byte order mark, cp1252 and Latin-1.
        delimiter: Delimiter of CSV and TSV files, one character; null detects comma, semicolon, tab and bar.
        sheet: Name of the sheet of a workbook; null is the first.
    """

    suffixes: ClassVar[tuple[str, ...]] = DATA_FILE_SUFFIXES

    path: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    hub: HubName | None = None
    revision: Commit | None = None
    file: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None

    @model_validator(mode="after")
    def _check_location(self) -> FileSource:
        on_hub = (self.hub, self.revision, self.file)
        if self.path is not None and not all((self.path,) if isinstance(self.path, str) else self.path):
            raise ValueError("path: is empty; give a file, a folder or a pattern")
        if (self.path is None) == (self.hub is None) or (self.path and any(on_hub)):
            raise ValueError("set either path:, or all of hub:, revision: and file:")
        if self.hub and not all(on_hub):
            raise ValueError("hub: needs revision: (a commit, 40 hex digits) and file: as well")
        if self.file and not has_suffix(self.file, self.suffixes):
            raise ValueError(
                f"{self.file}: unknown suffix; allowed are {' '.join(self.suffixes)}, each also with .gz"
            )
        if self.file and (self.file.startswith("/") or ".." in self.file.split("/") or "\\" in self.file):
            raise ValueError(f"file: {self.file} is not a path inside a dataset; give a relative path")
        return self

    @field_validator("delimiter")
    @classmethod
    def _check_delimiter(cls, value: str | None) -> str | None:
        value = DELIMITER_NAMES.get(value, value) if value else value
        if value is not None and (len(value) != 1 or value in '"\r\n'):
            raise ValueError(f"must be one character, or one of {', '.join(DELIMITER_NAMES)}")
        return value

    @property
    def read_options(self) -> ReadOptions:
        """Return the settings for reading text files. Raises UserError for an unknown encoding."""
        try:
            encoding = canonical_encoding(self.encoding) if self.encoding else None
        except ValueError as error:
            raise UserError(f"source {self.name!r}, key 'encoding': {error}") from None
        return ReadOptions(encoding, self.delimiter)

    def select(self, root: Path) -> Selection:
        """Return the data files and what is left out of folders and patterns. A file on the hub is downloaded.

        Raises UserError as `select_files`.
        """
        if self.path is not None:
            paths = (self.path,) if isinstance(self.path, str) else self.path
            return select_files(root, paths, self.suffixes, self.name, self._declared_split)
        file = download_from_hub(self.hub or "", self.revision or "", self.file or "")
        return Selection([DataFile(refuse_test_file(file, self._declared_split), file.name)])

    @property
    def _declared_split(self) -> str | None:
        return getattr(self, "split", None)

    def files(self, root: Path) -> list[Path]:
        # An unknown encoding is an error before any file is read.
        _ = self.read_options
        return [file.path for file in self.select(root).files]

    def file_names(self, root: Path) -> dict[Path, str]:
        names = {file.path: file.name for file in self.select(root).files}
        return {file: names.get(file, file.name) for file in self.files(root)}

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        selection = self.select(root)
        for file in selection.files:
            yield from self.read_file(file)
        yield from selection.left_out

    def read_file(self, file: DataFile) -> Iterator[Record]:
        """Yield the row or reject of every record of `file`, and then the notes on the file."""
        notes: list[FileNote] = []
        for location, value in self.values(file, notes.append):
            yield from self.convert(value, file.name, location)
        # Texts of patients are not shown.
        hidden: dict[str, Any] = {"samples": ()} if self.private else {}
        yield from (replace(note, file=file.name, **hidden) for note in notes)

    def values(self, file: DataFile, on_note: OnNote = ignore_note) -> Iterator[tuple[str, Any]]:
        """Yield (location, value) for every record of `file`; the value is a BadRecord if it cannot be read."""
        records = read_data_file(file, self.read_options, self.sheet, on_note, self._declared_split)
        fields = getattr(self, "fields", None) or {}
        return with_known_names(records, {*fields.values(), *getattr(self, "ignore", ())})

    def convert(self, value: Any, file: str, location: str) -> Iterator[Record]:
        """Yield the row of one record, or a reject if it has none. `value` is a BadRecord if it cannot be read."""
        try:
            if isinstance(value, BadRecord):
                raise value
            yield self.row(value, f"{file} {location}")
        except (ValueError, BadRecord) as error:
            yield Reject.of(file, location, error, value)

    @abstractmethod
    def row(self, record: Any, source_id: str) -> Row:
        """Return the row of one record. Raises ValueError if it is not valid, ExcludedError if a rule excludes it."""


def make_exam_row(source: BaseSource, item: Item, source_id: str, split: str, subject: str = "") -> Row:
    """Return an exam item as a row with the prompt of the exam and the answer "LETTER: text".

    The group consists of the name of the source, the subject and a hash of the question. Raises ValueError if the item
    cannot be scored or is not valid Unicode.
    """
    if reason := unscorable(item):
        # The letters come from the record, and a reason contains no text of the record.
        raise ValueError(
            "option letters do not run from A" if reason.startswith("option letters") else reason
        )
    if not all(map(is_text, (item.question, *item.options.values()))):
        raise ValueError("not valid Unicode (half a surrogate pair)")
    question = content_item_id(" ".join(item.question.lower().split()), ())
    return source.make_row(
        source_id=source_id,
        instruction=LETTER_INSTRUCTION,
        input=exam_input(item),
        output=f"{item.answer}: {item.options[item.answer].strip()}",
        split=split,
        group=":".join(filter(None, (source.name, subject, question))),
    )


class Refused(BaseSource):
    """A part of a published mix that is not used; it has no rows.

    The recipe and the ledger of the build list it with the reason `why`, so that no part is missing.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="a part of a published mix that must not be used for training; listed to keep the ledger complete",
        format="none",
        get="no file needed",
        licence="none",
        size="0",
        rows="0",
        default=False,
    )

    kind: Literal["refused"] = "refused"
    why: str

    def files(self, root: Path) -> list[Path]:
        return []

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        return iter(())
