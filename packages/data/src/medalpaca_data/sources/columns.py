"""Base class of sources whose files have columns: unread columns are counted, and unknown layouts are refused."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from pydantic import PrivateAttr

from ..core.case_columns import (
    PLACEHOLDER_EMPTY,
    REPEATS_QUESTION,
    case_columns,
    is_empty,
    is_placeholder,
    is_repeated,
    join_case_texts,
    why_unread,
)
from ..core.errors import UserError
from ..core.files import is_text
from ..core.row import FIELDS, TEXTS, Row
from .answer_rules import Repair
from .base import DataFile, FileSource, Record, Reject, parse_row_split
from .turns import NOT_UNICODE, Turn, parse_history, parse_json_list

# Columns with the origin of a row, which `parse_row` reads. `id` is one of them: it is computed again.
ORIGIN_COLUMNS = tuple(name for name in FIELDS if name not in TEXTS)
# Columns of the Alpaca layout, for sources that read no other.
ALPACA_COLUMNS = frozenset({*TEXTS, "split"})
REPEATED_SYSTEM = "equal system text written once"
# Number of records at the start of a file that are compared with the known layouts.
PROBED_RECORDS = 100
# Largest number of columns in a message.
MAX_COLUMNS_SHOWN = 30


class Unread(Counter[str]):
    """Number of values that are not read, by column. A reason is that of all values of a column."""

    def __init__(self) -> None:
        super().__init__()
        self._reasons: dict[str, set[str | None]] = {}

    def note(self, column: str, value: Any) -> None:
        """Count a value of a column, and note the reason."""
        self[column] += 1
        self._reasons.setdefault(column, set()).add(why_unread(column, value))

    @property
    def reasons(self) -> dict[str, str]:
        """The reasons by column; a column whose values have several reasons, or none, has no reason."""
        shared = {column: next(iter(found)) for column, found in self._reasons.items() if len(found) == 1}
        return {column: reason for column, reason in shared.items() if reason}


class ColumnSource(FileSource):
    """A file of records with columns (or keys), of which it reads some.

    `ignore` names columns that are not read on purpose; they are not counted. With `strict`, a build is refused if
    another column is not read. The recipe has the same key for all its sources.
    """

    columns_read: ClassVar[frozenset[str]] = frozenset()

    ignore: tuple[str, ...] = ()
    strict: bool = False
    _counter: Unread | None = PrivateAttr(None)

    def counting(self, counter: Unread) -> ColumnSource:
        """Return a copy whose `records` adds to `counter` the values that it does not read, by column."""
        copy = self.model_copy()
        copy._counter = counter
        return copy

    def unread(self, record: Mapping[str, Any]) -> Iterable[str]:
        """Return the columns of a record that have a value and are not read."""
        return self.unread_apart_from(record, self.columns_read)

    def unread_apart_from(self, record: Mapping[str, Any], read: Collection[str]) -> list[str]:
        """Return the columns of a record that have a value and are neither in `read` nor in `ignore`."""
        skipped = {*read, *self.ignore, "id"}
        return [name for name, value in record.items() if name not in skipped and not is_empty(value)]

    def convert(self, value: Any, file: str, location: str) -> Iterator[Record]:
        if self._counter is not None and isinstance(value, Mapping):
            for column in self.unread(value):
                self._counter.note(column, value.get(column))
        yield from super().convert(value, file, location)

    def preflight(self, root: Path, *, strict: bool) -> None:
        """With `strict`, read the whole file, and raise UserError if a column is not read."""
        counter = Unread()
        if strict:
            for _ in self.counting(counter).records(root):
                pass
        if counter:
            raise UserError(
                f"source {self.name!r}: strict, but columns are not read: {show_columns(counter, counter.reasons)}; "
                "name those of the question in fields: (kind: alpaca), and those that are not needed in ignore: "
                f"[{', '.join(list(counter)[:MAX_COLUMNS_SHOWN])}]"
            )


class LayoutSource(ColumnSource):
    """A file in one of several layouts, which its columns show. A file in another layout is refused."""

    def read_file(self, file: DataFile) -> Iterator[Record]:
        records = super().read_file(file)
        start = list(islice(records, PROBED_RECORDS))
        rejects = (record for record in start if isinstance(record, Reject))
        raw = [reject.record for reject in rejects if isinstance(reject.record, Mapping) and reject.record]
        if raw and not any(isinstance(record, Row) or self._fits(record) for record in (*start, *raw)):
            columns = list(dict.fromkeys(str(name) for record in raw for name in record))
            raise UserError(f"{file.path}: {self.layout_message(columns)} (source {self.name!r})")
        yield from start
        yield from records

    def preflight(self, root: Path, *, strict: bool) -> None:
        """Raise UserError if the layout is unknown, and with `strict` if a column is not read."""
        super().preflight(root, strict=strict)
        if not strict:
            # Reading the first record compares the start of the file with the known layouts.
            next((record for record in self.records(root) if isinstance(record, Row | Reject)), None)

    def convert(self, value: Any, file: str, location: str) -> Iterator[Record]:
        """Yield the repairs of a record before its row, or the reject."""
        records = list(super().convert(value, file, location))
        if isinstance(records[0], Row):
            yield from map(Repair, self.repairs(value))
        yield from records

    @abstractmethod
    def repairs(self, record: Any) -> Iterable[str]:
        """Return the kinds of repairs of a record that has a row."""

    def _fits(self, record: Any) -> bool:
        return isinstance(record, Mapping) and self.fits(record)

    @abstractmethod
    def fits(self, record: Mapping[str, Any]) -> bool:
        """Return whether the columns of a record are in a known layout."""

    @abstractmethod
    def layout_message(self, columns: list[str]) -> str:
        """Return the message for a file with these columns, which are in no known layout."""

    def show_headings(self, columns: list[str]) -> str:
        """Return the names of columns as one text, of at most `MAX_COLUMNS_SHOWN` columns."""
        more = len(columns) - MAX_COLUMNS_SHOWN
        shown = ", ".join(name[:60] or "(no heading)" for name in columns[:MAX_COLUMNS_SHOWN])
        return f"{shown} and {more} more" if more > 0 else shown

    def with_origin(self, row: Row, source_id: str, split: str, group: str | None) -> Row:
        """Return a row with the origin in its record, or else with that of the source."""
        return dataclasses.replace(
            row,
            source=row.source or self.name,
            source_id=f"{source_id} = {row.source_id}" if row.source_id else source_id,
            url=row.url or self.url,
            licence=row.licence or self.licence,
            attribution=row.attribution or self.attribution,
            split=parse_row_split(row.split, split),
            group=group,
        )

    def read_case(self, record: Mapping[str, Any], read: Collection[str], *, is_chat: bool = False) -> Case:
        """Return the parts of the question in the columns that are neither in `read` nor in `ignore`.

        With `is_chat`, the record is a conversation. Raises ValueError if such a column has a structure where a text is
        expected.
        """
        case = Case()
        for column, kind in case_columns(record, is_chat=is_chat):
            if column not in read and column not in self.ignore:
                case.add(kind, column, record[column])
        return case


@dataclass(slots=True)
class Case:
    """Parts of a question in columns of their own: system texts, texts of the case, and earlier turns.

    `texts` are pairs of column and text. `columns` are the columns that all parts were read from. `repairs` are the
    kinds of changes beyond joining.
    """

    system: list[str] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    history: list[Turn] = field(default_factory=list)
    columns: set[str] = field(default_factory=set)
    repairs: list[str] = field(default_factory=list)

    def add(self, kind: str, column: str, value: Any) -> None:
        """Add the value of a column. Raises ValueError if it is neither a text nor a list of texts, nor turns."""
        self.columns.add(column)
        if is_placeholder(column, value):
            self.repairs.append(PLACEHOLDER_EMPTY)
            return
        if kind == "history":
            value = parse_json_list(value)
        if is_empty(value):
            return
        is_list = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
        if kind == "history" and not isinstance(value, str) and not is_list:
            self.history += parse_history(value, column)
            return
        text = "\n".join(value) if is_list else value
        if not isinstance(text, str):
            raise ValueError(f"{column!r} is {type(text).__name__}, not text")
        if not is_text(text):
            raise ValueError(f"{column!r} is {NOT_UNICODE}")
        if kind == "system":
            self.add_system(text.strip())
        elif text.strip():
            self.texts.append((column, text.strip()))

    def add_system(self, text: str) -> None:
        """Add a system text. An equal one is added once, and the repair is counted."""
        if text in self.system:
            self.repairs.append(REPEATED_SYSTEM)
        else:
            self.system.append(text)

    def context(self, *question: str) -> str:
        """Return the texts of the case, apart from those that a text of `question` repeats, which are counted."""
        texts = [
            (column, text)
            for column, text in self.texts
            if not any(is_repeated(text, other) for other in question)
        ]
        self.repairs += [REPEATS_QUESTION] * (len(self.texts) - len(texts))
        return join_case_texts(texts)


def show_columns(counts: Mapping[str, int], reasons: Mapping[str, str]) -> str:
    """Return columns with their counts and reasons as one text: "Topic (1,204), index (3: row numbers of pandas)"."""
    return ", ".join(
        f"{name or '(no heading)'} ({count:,}{': ' + reasons[name] if name in reasons else ''})"
        for name, count in counts.items()
    )
