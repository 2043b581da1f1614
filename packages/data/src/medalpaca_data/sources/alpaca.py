"""Instruction rows in the Alpaca layout (instruction, input, output), or in columns with other names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ..core.case_columns import PLACEHOLDER_EMPTY, is_empty, is_placeholder
from ..core.prompt import user_message
from ..core.row import TEXTS, Row, parse_row
from .base import Name, SourceInfo
from .columns import ORIGIN_COLUMNS, LayoutSource
from .turns import TURN_COLUMNS, Turn, join_texts, make_prompt

RowField = Literal[
    "instruction",
    "input",
    "output",
    "context",
    "system",
    "history",
    "url",
    "licence",
    "attribution",
    "split",
    "group",
]

# Columns of well-known layouts, tried in this order. `fields` in the recipe replaces them. Columns of the case
# (`core.case_columns`) are read as well.
LAYOUTS: tuple[Mapping[str, str], ...] = (
    {"instruction": "instruction", "input": "input", "output": "output"},
    {"instruction": "instruction", "input": "context", "output": "response"},
    {"instruction": "instruction", "output": "response"},
    {"instruction": "prompt", "output": "completion"},
    {"instruction": "prompt", "output": "response"},
    {"instruction": "question", "output": "answer"},
)
NO_RECORD = "none of the first records has all columns that fields: names; correct the column names in the key 'fields'"
CONVERSATION = "a conversation of several turns; use kind: chat"
WRONG_LABEL_INSTRUCTION = re.compile(r"Is this describing a \(1\) directly correlative relationship")


class Alpaca(LayoutSource):
    """A file of instruction rows.

    `fields` names the columns, for instance {instruction: question, output: answer}; by default, `LAYOUTS` are
    recognized. Columns such as `context`, `system` or `history` are joined to the question, unless `ignore` names them.
    The turns of `history` are part of the prompt and are not learned. `group` is a regular expression that is searched
    in the input, or in the instruction if there is no input. Rows with the same text in the expression's first group,
    apart from case, stay on one side of the validation split. A group in the row itself comes first. `split` applies to
    rows without a split.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="any file of instruction rows, on disk or on the hub",
        format=".json .jsonl .csv .tsv (.gz) .parquet: instruction, input, output, and columns of the case such as "
        "context, system, history; or columns named in fields:",
        get="your own file, or a dataset on the Hugging Face hub (hub:, revision:, file:)",
        licence="that of the file; set it with licence:",
        size="any",
        rows="any",
        default=False,
        remark="rows marked test are excluded, rows marked dev are held out; set licence, attribution and url",
    )

    kind: Literal["alpaca"] = "alpaca"
    name: Name = "alpaca"
    split: Literal["train", "dev", "none"] = "none"
    group: str | None = None
    fields: dict[RowField, str] | None = Field(default=None, min_length=1)

    @field_validator("group")
    @classmethod
    def _check_group(cls, value: str | None) -> str | None:
        try:
            if value is not None and re.compile(value).groups < 1:
                raise ValueError(
                    f"{value!r} has no group in parentheses; expected one, as in 'case (\\\\d+)'"
                )
        except re.error as error:
            raise ValueError(f"{value!r} is not a regular expression ({error})") from None
        return value

    @model_validator(mode="after")
    def _check_fields(self) -> Alpaca:
        if self.fields and not ("output" in self.fields and {"instruction", "input"} & set(self.fields)):
            raise ValueError("fields: must name a column for output and one for instruction or input")
        return self

    def row(self, record: Any, source_id: str) -> Row:
        row = parse_row(self._texts(record)[0] if isinstance(record, Mapping) else record)
        if WRONG_LABEL_INSTRUCTION.search(row.instruction):
            raise ValueError(
                "labels of the published pubmed_causal are all wrong; use kind: pubmed_causal instead"
            )
        return self.with_origin(row, source_id, self.split, row.group or self._group(row))

    def repairs(self, record: Any) -> Iterable[str]:
        return self._texts(record)[1]

    def unread(self, record: Mapping[str, Any]) -> Iterable[str]:
        try:
            columns = self._columns(record).values()
            case = self.read_case(record, columns)
        except ValueError:
            # The record is rejected, and the reject file has all its columns.
            return ()
        return self.unread_apart_from(record, {*columns, *case.columns})

    def fits(self, record: Mapping[str, Any]) -> bool:
        try:
            return bool(self._columns(record))
        except ValueError:
            return False

    def layout_message(self, columns: list[str]) -> str:
        found = self.show_headings(columns)
        if self.fields:
            missing = ", ".join(repr(column) for column in self.fields.values() if column not in columns)
            return (
                f"no column {missing}; the file has: {found}; correct the column names in the key 'fields'"
                if missing
                else NO_RECORD
            )
        if set(columns) & set(TURN_COLUMNS):
            return f"{CONVERSATION} (columns found: {found})"
        known = ", ".join(" + ".join(_required(layout).values()) for layout in LAYOUTS)
        return (
            f"unknown layout; columns found: {found}; known: {known}; "
            f"name the columns, for instance fields: {_suggest_fields(columns)}"
        )

    def _columns(self, record: Mapping[str, Any]) -> dict[str, str]:
        """Return the column of each field of a row, by `fields` or by the first layout that fits.

        Raises ValueError for a missing column, an unknown layout and a conversation.
        """
        if self.fields:
            if missing := [column for column in self.fields.values() if column not in record]:
                # `fields` comes from the recipe, so its column name may stand in a reason.
                raise ValueError(f"no column {missing[0]!r}, which the recipe names under fields")
            # The column `split` is read even if `fields` does not name it, so that test rows are recognized.
            return {"split": "split"} | {str(field): column for field, column in self.fields.items()}
        names = {name for name in record if name not in self.ignore}
        if any(isinstance(record[name], list) for name in TURN_COLUMNS if name in names):
            raise ValueError(CONVERSATION)
        for layout in LAYOUTS:
            if names.issuperset(_required(layout).values()):
                origin = {name: name for name in ORIGIN_COLUMNS if name in names}
                return {**origin, **{field: name for field, name in layout.items() if name in names}}
        if "instruction" in names or "output" in names:
            raise ValueError(f"no key {'output' if 'instruction' in names else 'instruction'!r}")
        raise ValueError("the columns are in no known layout; name them under fields")

    def _texts(self, record: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return the fields of a row, with the case joined to the question, and the kinds of repairs."""
        columns = self._columns(record)
        row = {field: record.get(column) for field, column in columns.items()}
        case = self.read_case(record, columns.values())
        if is_placeholder(columns.get("input", ""), row.get("input")):
            case.repairs.append(PLACEHOLDER_EMPTY)
            row["input"] = ""
        if is_empty(row.get("input")):
            row["input"] = ""
        for field in TEXTS:
            if row.get(field) is None and field != "input" and field in columns:
                raise ValueError(f"no value in {columns[field]!r}")
            if row.get(field) is not None and not isinstance(row[field], str):
                raise ValueError(f"{columns[field]!r} is {type(row[field]).__name__}, not text")
        for field in ("system", "context", "history"):
            if not is_empty(value := row.pop(field, None)):
                case.add(field, columns[field], value)
        instruction, text = row.get("instruction") or "", row.get("input") or ""
        context = case.context(instruction, text)
        if case.system or case.history:
            turns = [*case.history, Turn("user", user_message(instruction, text))]
            instruction, text = make_prompt(join_texts(*case.system), context, turns)
        elif context:
            text = join_texts(context, text)
        return {**row, "instruction": instruction, "input": text}, case.repairs

    def _group(self, row: Row) -> str | None:
        match = re.search(self.group, row.input or row.instruction) if self.group else None
        return f"{self.name}:{match[1].strip().lower()}" if match else None


def _required(layout: Mapping[str, str]) -> dict[str, str]:
    # An Alpaca row may have no input.
    return {field: name for field, name in layout.items() if (field, name) != ("input", "input")}


def _suggest_fields(columns: list[str]) -> str:
    """Return a value of `fields`: the columns that differ from a layout only in case, or else placeholders."""
    named = {column.lower(): column for column in columns}
    for layout in LAYOUTS:
        if named.keys() >= set(_required(layout).values()):
            pairs = {field: named[name] for field, name in layout.items() if name in named}
            return f"{{{', '.join(f'{field}: {name}' for field, name in pairs.items())}}}"
    return "{instruction: COLUMN, output: COLUMN}"
