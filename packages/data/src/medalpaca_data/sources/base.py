"""Base classes of all sources: settings, raw files, and one row, reject or context record for each raw record.

Also here: the rules that keep test splits out of training, and the conversion of an exam item to a row.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from ..core.config import Config
from ..core.errors import BadRecord, UserError, one_line
from ..core.files import existing, is_text
from ..core.offline import is_sealed, no_telemetry, sealed_setting
from ..core.records import read_records
from ..core.row import Row
from ..exams.exam import unscorable
from ..exams.item import LETTER_INSTRUCTION, Item, content_item_id, exam_input
from .answer_rules import Repair

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


Record = Row | Reject | Context | Repair


class ExcludedError(ValueError):
    """Raised for a valid record that a rule excludes; the message is the reason in the ledger of the build."""


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


CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
SPLIT_PATTERNS = {
    "test": re.compile(r"(?<![a-z])test(?:set|ing)?(?![a-z])"),
    "dev": re.compile(r"(?<![a-z])(?:dev|val|validation|development)(?:set)?(?![a-z])"),
    "train": re.compile(r"(?<![a-z])(?:train|training)(?:set)?(?![a-z])"),
}
SEPARATOR = re.compile(r"[\W_]+")
DEV_NAMES = ("dev", "development", "val", "valid", "validation", "eval", "evaluation", "holdout", "heldout")
ROW_SPLITS = {"train": "train", "training": "train"} | dict.fromkeys(DEV_NAMES, "dev")


def split_from_name(name: str) -> str | None:
    """Return "test", "dev" or "train" if a name contains such a word ("MyTestSet-2", "x_val.csv"), else None.

    If it contains several, "test" comes before "dev", and "dev" before "train".
    """
    words = CAMEL_CASE.sub(" ", name).lower()
    return next((split for split, word in SPLIT_PATTERNS.items() if word.search(words)), None)


def refuse_test_file(file: Path) -> Path:
    """Return `file`. Raises UserError if its name says that it is a test split."""
    if split_from_name(file.name) == "test":
        raise UserError(
            f"{file}: the file name says test, and test splits are not used; name a train or dev file"
        )
    return file


def resolve_split(file: Path, declared: str | None, named: str | None = None) -> str | None:
    """Return the split from the recipe (`declared`), from a name inside the file (`named`) or from the file name.

    Returns None if none of them has a split. Raises UserError if `declared` differs from the name, and for a test
    split. A split in `named` comes before that in the file name.
    """
    refuse_test_file(file)
    named = split_from_name(named or "") or split_from_name(file.name)
    if named == "test":
        raise UserError(
            f"{file}: contains a test split, and test splits are not used; name a train or dev file"
        )
    if declared and named and declared != named:
        raise UserError(
            f"{file}: the name says {named}, and the recipe has split: {declared}; correct one of them"
        )
    return declared or named


def parse_row_split(value: object, default: str) -> str:
    """Return the split of a row as "train" or "dev", or `default` if the row has none.

    `value` is the text in the row. Raises ExcludedError for a test row, and ValueError for an unknown name, because it
    may mean test.
    """
    word = SEPARATOR.sub("", "" if value is None else str(value).lower())
    if word in ("", "none"):
        return default
    if split_from_name(str(value)) == "test":
        raise ExcludedError("test row")
    split = ROW_SPLITS.get(word.removesuffix("set").removesuffix("split"))
    if split is None:
        raise ValueError("unknown split in the row; known are train, dev and test")
    return split


def refuse_test_split(value: Any) -> Any:
    """Return a setting that names one or more splits. Raises ValueError if one of them is "test"."""
    if value == "test" or (isinstance(value, list | tuple) and "test" in value):
        raise ValueError("test rows are never used for training; allowed are train and dev")
    return value


TrainOrDev = Annotated[Literal["train", "dev"], BeforeValidator(refuse_test_split)]

DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
# Seconds to wait for the first response of the hub.
HUB_TIMEOUT = 10

HubName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class FileSource(BaseSource):
    """A source that is one data file: `path` on disk, or `file` of the dataset `hub` at the commit `revision`.

    The file is read record by record. Only a Parquet file, and JSON that is not a list, is held in memory.
    """

    suffixes: ClassVar[tuple[str, ...]] = DATA_SUFFIXES

    path: str | None = None
    hub: HubName | None = None
    revision: Commit | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _check_location(self) -> FileSource:
        on_hub = (self.hub, self.revision, self.file)
        if (self.path is None) == (self.hub is None) or (self.path and any(on_hub)):
            raise ValueError("set either path:, or all of hub:, revision: and file:")
        if self.hub and not all(on_hub):
            raise ValueError("hub: needs revision: (a commit, 40 hex digits) and file: as well")
        name = self.file or self.path or ""
        if not name.lower().removesuffix(".gz").endswith(self.suffixes):
            raise ValueError(
                f"{name}: unknown suffix; allowed are {' '.join(self.suffixes)}, each also with .gz"
            )
        if self.file and (self.file.startswith("/") or ".." in self.file.split("/") or "\\" in self.file):
            raise ValueError(f"file: {self.file} is not a path inside a dataset; give a relative path")
        return self

    def files(self, root: Path) -> list[Path]:
        if self.path is not None:
            file = self.resolve(root, self.path)
        else:
            file = download_from_hub(self.hub or "", self.revision or "", self.file or "")
        return [refuse_test_file(file)]

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        yield from self.read_file(self.files(root)[0])

    def read_file(self, file: Path) -> Iterator[Record]:
        """Yield the row or reject of every record of `file`."""
        for location, value in read_records(file):
            yield from self.convert(value, file.name, location)

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


def download_from_hub(hub: str, revision: str, name: str) -> Path:
    """Return the path of a dataset's file in the local hub cache; download the file if it is not there.

    Only this file is downloaded, and no code of the dataset is run. Raises UserError if the download fails. In sealed
    mode (MEDALPACA_SEALED), nothing is downloaded, and a file that is not in the cache raises UserError.
    """
    where = f"{hub}: {name} of {revision[:12]}"
    no_telemetry()
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    except ImportError:
        raise UserError(
            f"{where}: needs huggingface_hub; install medalpaca-data[hub], or download the file and set path:"
        ) from None
    cached = try_to_load_from_cache(hub, name, repo_type="dataset", revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    if is_sealed():
        raise UserError(
            f"{where}: not in the local hub cache, and {sealed_setting()}; download the file and set path:"
        )
    try:
        # One request with a timeout comes first, because a download retries an unreachable hub for half a minute.
        get_hf_file_metadata(
            hf_hub_url(hub, name, repo_type="dataset", revision=revision), timeout=HUB_TIMEOUT
        )
        return Path(hf_hub_download(hub, name, repo_type="dataset", revision=revision))
    # The exceptions of the network libraries have no common base class.
    except Exception as error:
        cause = one_line(error) or type(error).__name__
        raise UserError(f"{where} could not be downloaded ({cause[:160]})") from None


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
