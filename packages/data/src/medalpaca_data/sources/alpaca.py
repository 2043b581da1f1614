"""Rows that are already instruction rows: Alpaca's three fields, or two columns that say the same under other names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ..core.row import FIELDS, TEXTS, Row, parse_row
from .base import About, Name, PlainFile, row_split

Field_ = Literal["instruction", "input", "output", "url", "licence", "attribution", "split", "group"]

# Columns of well-known layouts. Whatever else a file calls them, the recipe says in `fields`.
LAYOUTS: tuple[Mapping[str, str], ...] = (
    {"instruction": "instruction", "input": "input", "output": "output"},
    {"instruction": "instruction", "input": "context", "output": "response"},
    {"instruction": "instruction", "output": "response"},
    {"instruction": "prompt", "output": "completion"},
    {"instruction": "prompt", "output": "response"},
    {"instruction": "question", "output": "answer"},
)
TURNS = ("messages", "conversations", "conversation")
WRONG_LABELS = re.compile(r"Is this describing a \(1\) directly correlative relationship")


class Alpaca(PlainFile):
    """`fields` names the columns: {instruction: question, output: answer}; without it well-known layouts are known.

    `group` is a regular expression; what its first group finds in the input keeps rows together in a split.
    """

    about: ClassVar[About] = About(
        title="any file of instruction rows, on disk or on the hub",
        format=".json .jsonl .csv .tsv (.gz) .parquet: instruction, input, output; or columns named in fields:",
        get="yours, or a dataset on the Hugging Face hub (hub:, revision:, file:)",
        licence="whatever the file's is: say it with licence:",
        size="any",
        rows="any",
        default=False,
        remark="rows marked test are left out, dev held out; licence, attribution and url are yours to declare",
    )

    kind: Literal["alpaca"] = "alpaca"
    name: Name = "alpaca"
    split: Literal["train", "dev", "none"] = "none"
    group: str | None = None
    fields: dict[Field_, str] | None = Field(default=None, min_length=1)

    @field_validator("group")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            if value is not None and re.compile(value).groups < 1:
                raise ValueError("a regular expression with one group in parentheses is expected")
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        return value

    @model_validator(mode="after")
    def _asks_and_answers(self) -> Alpaca:
        if self.fields and not ("output" in self.fields and {"instruction", "input"} & set(self.fields)):
            raise ValueError("fields: must name a column for output, and one for instruction or input")
        return self

    def row(self, record: Any, source_id: str) -> Row:
        row = parse_row(self._named(record))
        split = row_split(row.split, self.split)
        if WRONG_LABELS.search(row.instruction):
            raise ValueError(
                "published causal labels, all of them wrong: kind pubmed_causal builds them anew"
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

    def _named(self, record: Any) -> Any:
        """The record under our own names."""
        if not isinstance(record, Mapping):
            return record
        if self.fields:
            if any(name not in record for name in self.fields.values()):
                raise ValueError("lacks a column that fields: names")
            named = {ours: record[theirs] for ours, theirs in self.fields.items()}
            # Not named, it is heeded all the same: a column that says test must not be overlooked.
            return {"instruction": "", "split": record.get("split"), **named}
        if any(isinstance(record.get(name), list) for name in TURNS):
            raise ValueError("turns of a conversation: kind chat reads them")
        for layout in LAYOUTS:
            # An Alpaca row may lack its input.
            if all(name in record for ours, name in layout.items() if (ours, name) != ("input", "input")):
                extra = {name: record[name] for name in FIELDS if name in record and name not in TEXTS}
                return extra | {ours: record.get(name) for ours, name in layout.items()}
        return record

    def _group(self, row: Row) -> str | None:
        found = re.search(self.group, row.input or row.instruction) if self.group else None
        return f"{self.name}:{found[1].strip().lower()}" if found else None
