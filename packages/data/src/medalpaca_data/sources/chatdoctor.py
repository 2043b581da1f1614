"""GenMedGPT-5k of ChatDoctor: patients' questions and doctors' answers, both by a model, from a table of diseases.

ChatDoctor's other files hold what real patients wrote; kind patient_dialogues reads them, and this one refuses them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..core.errors import UserError
from ..core.files import existing, read_text
from ..core.records import read_records
from ..core.row import Row, parse_row
from .base import About, Name, PlainFile, Record, row_split

INSTRUCTION = "Answer this patient's question as a physician would."
NEXT_TURN = re.compile(r"\bPatient\s*:")
SITES = re.compile(r"chat ?doctor|health ?care ?magic|icliniq", re.IGNORECASE)  # never in a synthetic row
PROBED = 1000
WORD = re.compile(r"[a-z0-9]+")


class ChatDoctor(PlainFile):
    """chatdoctor5k.json; with `diseases` (format_dataset.csv, beside it) rows about one disease share a group."""

    about: ClassVar[About] = About(
        title="GenMedGPT-5k of ChatDoctor: short consultations, written by a model",
        format="chatdoctor5k.json (.gz too): instruction, input, output; and format_dataset.csv, for groups",
        get="the repository github.com/Kent0n-Li/ChatDoctor",
        licence="Apache-2.0 (repository); written with ChatGPT",
        size="2.5 MB",
        rows="5,291 of 5,452 (measured); the other 161 answers run on into the patient's next turn",
        remark="synthetic, and never checked by a physician; what real patients wrote is kind patient_dialogues",
    )

    kind: Literal["chatdoctor"] = "chatdoctor"
    name: Name = "chatdoctor"
    licence: str | None = "Apache-2.0"
    attribution: str | None = "Y. Li et al.: ChatDoctor (2023)"
    url: str | None = "https://github.com/Kent0n-Li/ChatDoctor"
    diseases: str | None = None

    def files(self, root: Path) -> list[Path]:
        files = super().files(root)
        if self.diseases is not None:
            files.append(existing(root / Path(self.diseases).expanduser(), f"file (source {self.name!r})"))
        return files

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        file, *table = self.files(root)
        start = [str(value) for _, value in islice(read_records(file), PROBED)]
        if sum(bool(SITES.search(text)) for text in start) * 100 > len(start):
            raise UserError(f"{file}: holds what real patients wrote; kind patient_dialogues reads it")
        groups = Diseases(read_diseases(table[0])) if table else None
        for record in self.each(file):
            if isinstance(record, Row) and groups and (disease := groups.of(record)):
                yield replace(record, group=f"{self.name}:{disease}")
            else:
                yield record

    def row(self, record: Any, source_id: str) -> Row:
        row = parse_row(record)
        if not row.input.strip():
            raise ValueError("no question")
        if NEXT_TURN.search(row.output):
            raise ValueError("the answer runs on into the patient's next turn")
        return self.make(
            source_id=source_id,
            instruction=INSTRUCTION,
            input=row.input.strip(),
            output=row.output.strip(),
            split=row_split(row.split, "none"),
            generator="ChatGPT (2023)",
        )


class Diseases:
    """Names of diseases, to be found in a row."""

    def __init__(self, names: list[str]) -> None:
        spelled = {" ".join(WORD.findall(name.lower())): name.lower() for name in names}
        self._names = {words: spelled[words] for words in sorted(spelled, key=len, reverse=True) if words}
        self._any = re.compile(rf"\b(?:{'|'.join(map(re.escape, self._names))})\b") if self._names else None

    def of(self, row: Row) -> str | None:
        """The one disease that the answer names, else the one that the question names; None where it is not one."""
        for text in (row.output, row.input):
            found = set(self._any.findall(" ".join(WORD.findall(text.lower())))) if self._any else set()
            if len(found) == 1:
                return self._names[found.pop()]
        return None


def read_diseases(file: Path) -> list[str]:
    """The column `disease` of format_dataset.csv."""
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True)
    try:
        names = [record.get("disease") for record in reader]
    except csv.Error as error:
        raise UserError(f"{file} line {reader.line_num}: not valid CSV ({error})") from None
    if not all(isinstance(name, str) and name.strip() for name in names) or not names:
        raise UserError(f"{file}: a column `disease` without gaps was expected")
    return [str(name).strip() for name in names]
