"""What every source has: a name, files, and a reader that yields a row or a reject for each record it meets.

Which part of a corpus a file is. Test rows are never used for training: not by setting, not by file name.

A source that is one plain data file: on disk, or in a dataset on the hub, pinned to a commit.

Exam items as rows: letter questions, so that training asks as the exam will.

A part of a published mix that is refused: it stands in the recipe and in the account, and brings no row.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from ..core.config import Config
from ..core.errors import BadRecord, UserError, one_line
from ..core.files import existing, is_text
from ..core.joined_digits import JoinedDigits
from ..core.offline import is_sealed, no_telemetry, sealed_setting
from ..core.records import read_records
from ..core.row import Row
from ..exams.exam import unscorable
from ..exams.item import Item, content_item_id
from ..exams.prompts import LETTER_INSTRUCTION, exam_input

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


HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
PARTS = {
    "test": re.compile(r"(?<![a-z])test(?:set|ing)?(?![a-z])"),
    "dev": re.compile(r"(?<![a-z])(?:dev|val|validation|development)(?:set)?(?![a-z])"),
    "train": re.compile(r"(?<![a-z])(?:train|training)(?:set)?(?![a-z])"),
}
SEPARATOR = re.compile(r"[\W_]+")
DEV_WORDS = ("dev", "development", "val", "valid", "validation", "eval", "evaluation", "holdout", "heldout")
ROW_SPLITS = {"train": "train", "training": "train"} | dict.fromkeys(DEV_WORDS, "dev")


def named_split(name: str) -> str | None:
    """`test`, `dev` or `train` if a name says so ("MyTestSet-2", "x_val.csv"), `test` before the others."""
    words = HUMP.sub(" ", name).lower()
    return next((split for split, word in PARTS.items() if word.search(words)), None)


def no_test_file(file: Path) -> Path:
    """`file`, unless it is named test."""
    if named_split(file.name) == "test":
        raise UserError(f"{file}: a file named test is refused; only train and dev can be built from")
    return file


def agreed_split(file: Path, declared: str | None, named: str | None = None) -> str | None:
    """The split that the recipe or the file's name says, or None; refused where the two disagree, and where it is test.

    `named` is another name that the file bears, inside.
    """
    no_test_file(file)
    named = named_split(named or "") or named_split(file.name)
    if named == "test":
        raise UserError(f"{file}: holds a test set; only train and dev can be built from")
    if declared and named and declared != named:
        raise UserError(f"{file}: is named {named}, and split: says {declared}; one of them is wrong")
    return declared or named


def row_split(said: object, own: str) -> str:
    """The split that a row says it is of, as train or dev; `own`, its source's, where it says nothing or none.

    Raises LeftOut for a test row, and ValueError for a name that is not known: it might be one more word for test.
    """
    word = SEPARATOR.sub("", "" if said is None else str(said).lower())
    if word in ("", "none"):
        return own
    if named_split(str(said)) == "test":
        raise LeftOut("test row")
    split = ROW_SPLITS.get(word.removesuffix("set").removesuffix("split"))
    if split is None:
        raise ValueError("split of the row is not known (train, dev and test are)")
    return split


def no_test(value: Any) -> Any:
    """For settings that name a split."""
    if value == "test" or (isinstance(value, list | tuple) and "test" in value):
        raise ValueError("test rows are never used for training; only train and dev can be built from")
    return value


TrainOrDev = Annotated[Literal["train", "dev"], BeforeValidator(no_test)]


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


def exam_row(source: BaseSource, item: Item, source_id: str, split: str, subject: str = "") -> Row:
    """An item's row, its group the subject and question. Raises ValueError with the reason where it has none."""
    if reason := unscorable(item):
        # Letters come from the record, and a reason names a kind of fault.
        raise ValueError(
            "option letters do not run from A" if reason.startswith("option letters") else reason
        )
    if not all(map(is_text, (item.question, *item.options.values()))):
        raise ValueError("half a surrogate pair, which is no text")
    question = content_item_id(" ".join(item.question.lower().split()), ())
    return source.make(
        source_id=source_id,
        instruction=LETTER_INSTRUCTION,
        input=exam_input(item),
        output=f"{item.answer}: {item.options[item.answer].strip()}",
        split=split,
        group=":".join(filter(None, (source.name, subject, question))),
    )


class Refused(BaseSource):
    """`why` is told wherever the mix is shown."""

    about: ClassVar[About] = About(
        title="a part of a published mix that must not be trained on, named so that the account is complete",
        format="none",
        get="nothing to get",
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
