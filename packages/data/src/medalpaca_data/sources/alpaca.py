"""Instruction rows in the Alpaca layout (instruction, input, output), or in columns with other names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ..core.row import FIELDS, TEXTS, Row, parse_row
from .base import FileSource, Name, SourceInfo, parse_row_split

RowField = Literal["instruction", "input", "output", "url", "licence", "attribution", "split", "group"]

# Columns of well-known layouts, tried in this order. `fields` in the recipe replaces them.
LAYOUTS: tuple[Mapping[str, str], ...] = (
    {"instruction": "instruction", "input": "input", "output": "output"},
    {"instruction": "instruction", "input": "context", "output": "response"},
    {"instruction": "instruction", "output": "response"},
    {"instruction": "prompt", "output": "completion"},
    {"instruction": "prompt", "output": "response"},
    {"instruction": "question", "output": "answer"},
)
TURN_COLUMNS = ("messages", "conversations", "conversation")
WRONG_LABEL_INSTRUCTION = re.compile(r"Is this describing a \(1\) directly correlative relationship")


class Alpaca(FileSource):
    """A file of instruction rows.

    `fields` names the columns, for instance {instruction: question, output: answer}; by default, `LAYOUTS` are
    recognized. `group` is a regular expression that is searched in the input, or in the instruction if there is no
    input. Rows with the same text in the expression's first group, apart from case, stay on one side of the validation
    split. A group in the row itself comes first. `split` applies to rows without a split.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="any file of instruction rows, on disk or on the hub",
        format=".json .jsonl .csv .tsv (.gz) .parquet: instruction, input, output; or columns named in fields:",
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
        row = parse_row(self._rename_columns(record))
        split = parse_row_split(row.split, self.split)
        if WRONG_LABEL_INSTRUCTION.search(row.instruction):
            raise ValueError(
                "labels of the published pubmed_causal are all wrong; use kind: pubmed_causal instead"
            )
        return dataclasses.replace(
            row,
            source=row.source or self.name,
            source_id=f"{source_id} = {row.source_id}" if row.source_id else source_id,
            url=row.url or self.url,
            licence=row.licence or self.licence,
            attribution=row.attribution or self.attribution,
            split=split,
            group=row.group or self._group(row),
        )

    def _rename_columns(self, record: Any) -> Any:
        """Return the record with its columns renamed by `fields` or by the first layout that fits.

        Another record is returned unchanged. Raises ValueError for a missing column and for a conversation.
        """
        if not isinstance(record, Mapping):
            return record
        if self.fields:
            if missing := [column for column in self.fields.values() if column not in record]:
                # `fields` comes from the recipe, so its column name may stand in a reason.
                raise ValueError(f"no column {missing[0]!r}, which the recipe names under fields")
            named = {field: record[column] for field, column in self.fields.items()}
            # The column `split` is read even if `fields` does not name it, so that test rows are recognized.
            return {"instruction": "", "split": record.get("split"), **named}
        if any(isinstance(record.get(name), list) for name in TURN_COLUMNS):
            raise ValueError("a conversation of several turns; use kind: chat")
        for layout in LAYOUTS:
            # An Alpaca row may have no input.
            required = [name for field, name in layout.items() if (field, name) != ("input", "input")]
            if all(name in record for name in required):
                extra = {name: record[name] for name in FIELDS if name in record and name not in TEXTS}
                return extra | {field: record.get(name) for field, name in layout.items()}
        return record

    def _group(self, row: Row) -> str | None:
        match = re.search(self.group, row.input or row.instruction) if self.group else None
        return f"{self.name}:{match[1].strip().lower()}" if match else None
