"""WikiDoc's patient information: from the rows published in 2023, or from the pages, whose headings are questions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ..formats.mediawiki import Page
from ..ground.errors import UserError
from ..ground.files import existing
from ..row import parse_row
from .base import About, Name, Record, Reject
from .patient_question import subject, tidy_question, unfit
from .plain_file import SUFFIXES, read_plain
from .wiki_pages import WikiPages
from .wiki_questions import question

PATIENT_PAGE = re.compile(r"\s*\(?patient information\)?\s*$", re.IGNORECASE)


def is_patient_page(title: str) -> bool:
    """Whether a page's title says that it is written for patients."""
    return bool(PATIENT_PAGE.search(title))


class WikiDocPatientInfo(WikiPages):
    """`path` is a file of rows (question in `input`), or an export or saved pages, as for `wikidoc`.

    A question of the published rows that names no disease ("What are the risks?") belongs to the one before it: the
    rows stand as they did on their pages.
    """

    about: ClassVar[About] = About(
        title="WikiDoc's patient information: questions about diseases with short answers for laymen",
        format=".json, .jsonl, .csv, .parquet (instruction, input, output); or a MediaWiki export or saved pages",
        get="github.com/kbressem/medAlpaca: medical_meadow_small.json; or wikidoc.org: pages (patient information)",
        licence="CC BY-SA 3.0",
        size="4 MB",
        rows="5,942 read (measured, 2023 file), 5,850 of them kept: 92 are about the wiki itself or an empty form",
    )

    kind: Literal["wikidoc_patient_info"] = "wikidoc_patient_info"
    name: Name = "wikidoc_patient_info"
    attribution: str | None = "WikiDoc contributors"
    min_words: int = Field(default=2, ge=0)  # of an answer; "Prognosis is poor." is one

    def files(self, root: Path) -> list[Path]:
        file = self._rows_file(root)
        return [file] if file else super().files(root)

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        file = self._rows_file(root)
        return self._rows(file) if file else super().records(root, seed)

    def other_page(self, page: Page) -> str | None:
        return None if is_patient_page(page.title) else "a page of the textbook"

    def question(self, page: Page, headings: list[str]) -> str | None:
        return question(PATIENT_PAGE.sub("", page.title), headings)

    def group(self, page: Page) -> str:
        return PATIENT_PAGE.sub("", page.title)

    def _rows_file(self, root: Path) -> Path | None:
        file = existing(root / Path(self.path).expanduser(), f"file or directory (source {self.name!r})")
        return file if file.name.lower().removesuffix(".gz").endswith(SUFFIXES) and file.is_file() else None

    def _rows(self, file: Path) -> Iterator[Record]:
        group = None
        for place, value in read_plain(file):
            if isinstance(value, UserError):
                yield Reject(file.name, place, str(value).partition(": ")[2], None)
                continue
            try:
                row = parse_row(value)
            except ValueError as error:
                yield Reject(file.name, place, str(error), value)
                continue
            asked, answer = tidy_question(row.input or row.instruction), row.output.strip()
            if row.split == "test":
                yield Reject(file.name, place, "test row", value, by_rule=True)
            elif reason := unfit(asked, answer):
                yield Reject(file.name, place, reason, value, by_rule=True)
            else:
                group = subject(asked) or group
                yield self.make(
                    source_id=f"{file.name} {place}",
                    instruction=asked,
                    output=answer,
                    group=f"{self.name}:{group}" if group else None,
                )
