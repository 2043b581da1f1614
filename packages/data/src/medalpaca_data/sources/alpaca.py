"""Rows that are already instruction rows: Alpaca's three fields in JSON, JSONL, CSV or Parquet."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Literal

from pydantic import field_validator

from ..row import Row, parse_row
from .base import FileSource, Name


class Alpaca(FileSource):
    """`group` is a regular expression; what its first group finds in the input keeps rows together in a split."""

    kind: Literal["alpaca"] = "alpaca"
    name: Name = "alpaca"
    split: Literal["train", "dev", "none"] = "none"
    group: str | None = None

    @field_validator("group")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            if value is not None and re.compile(value).groups < 1:
                raise ValueError("a regular expression with one group in parentheses is expected")
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        return value

    def row(self, record: Any, source_id: str) -> Row:
        row = parse_row(record)
        if (row.split or "").strip().lower() == "test":
            raise ValueError("a test row: never used for training")
        return dataclasses.replace(
            row,
            source=row.source or self.name,
            source_id=row.source_id or source_id,
            url=row.url or self.url,
            licence=row.licence or self.licence,
            attribution=row.attribution or self.attribution,
            split=row.split or self.split,
            group=row.group or self._group(row),
        )

    def _group(self, row: Row) -> str | None:
        found = re.search(self.group, row.input or row.instruction) if self.group else None
        return f"{self.name}:{found[1].strip().lower()}" if found else None
