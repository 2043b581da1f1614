"""Posts of a Stack Exchange site, from the site's dump (`Posts.xml`) or from a pair of tables of questions and answers.

The tables are those of MedSpider's health.SE crawl. They are no clean TSV: texts hold line ends, so a record is
whatever stands from one line that begins like a record to the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..formats.archive import open_bytes
from ..formats.xml import read_elements
from ..ground.errors import UserError

QUESTION, ANSWER = "1", "2"  # of PostTypeId; the others are tag wikis, elections and the like

NUMBER = re.compile(r"-?[0-9]{1,12}")
TAG = re.compile(r"[^<>|,\s]+")  # <a><b>, |a|b|, and in the tables a, b

QUESTION_COLUMNS = (
    *("question_id", "question_url", "question_title", "question_body"),
    *("time_stamp", "username", "votes", "favorites", "tags"),
)
ANSWER_COLUMNS = ("question_id", "answer_id", "answer_url", "answer", "time_stamp", "username", "votes")
LONGEST = 1 << 20  # bytes of a record; the sites allow 30,000 characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One post. `score` is None where there is no number, `body` HTML where `html` says so."""

    file: str
    place: str
    record: Mapping[str, str]
    kind: str  # QUESTION, ANSWER or another PostTypeId; "" where the record cannot be told apart
    id: str = ""
    parent: str = ""  # of an answer: its question
    title: str = ""
    body: str = ""
    html: bool = True
    score: int | None = None
    tags: tuple[str, ...] = ()
    date: str = ""  # ISO 8601
    user: str = ""  # id
    user_name: str = ""
    licence: str = ""
    url: str = ""


def read_dump(file: Path, name: str) -> Iterator[Post]:
    """All posts of a `Posts.xml` or `Posts.xml.gz`, in file order; `name` is what it is called in the rows."""
    with open_bytes(file) as data:
        for line, row in read_elements(data, str(file), {"row"}):
            values = row.attrib
            number = values.get("Id", "")
            yield Post(
                file=name,
                place=f"row Id={number}" if NUMBER.fullmatch(number) else line,
                record=values,
                kind=values.get("PostTypeId", ""),
                id=number,
                parent=values.get("ParentId", ""),
                title=values.get("Title", ""),
                body=values.get("Body", ""),
                score=_number(values.get("Score", "")),
                tags=tuple(TAG.findall(values.get("Tags", ""))),
                date=values.get("CreationDate", ""),
                user=values.get("OwnerUserId", ""),
                user_name=values.get("OwnerDisplayName", ""),
                licence=values.get("ContentLicense", ""),
            )


def read_user_names(file: Path) -> Iterator[tuple[str, str]]:
    """(id, name) of every user in a `Users.xml`."""
    with open_bytes(file) as data:
        for _, row in read_elements(data, str(file), {"row"}):
            yield row.get("Id", ""), row.get("DisplayName", "")


def read_tables(questions: Path, answers: Path) -> Iterator[Post]:
    """All questions, then all answers."""
    for place, values in _table(questions, QUESTION_COLUMNS, re.compile(rb"[0-9]+\thttps?://")):
        if len(values) < len(QUESTION_COLUMNS):
            yield Post(file=questions.name, place=place, record=values, kind="")
            continue
        yield Post(
            file=questions.name,
            place=place,
            record=values,
            kind=QUESTION,
            id=values["question_id"],
            title=values["question_title"],
            # The crawler put a hyphen behind 97 of 100 bodies.
            body=values["question_body"].rstrip().removesuffix("-"),
            html=False,
            tags=tuple(TAG.findall(values["tags"])),
            date=values["time_stamp"],
            user_name=values["username"],
            url=values["question_url"],
        )
    for place, values in _table(answers, ANSWER_COLUMNS, re.compile(rb"[0-9]+\t[0-9]+\thttps?://")):
        if len(values) < len(ANSWER_COLUMNS):
            yield Post(file=answers.name, place=place, record=values, kind="")
            continue
        yield Post(
            file=answers.name,
            place=place,
            record=values,
            kind=ANSWER,
            id=values["answer_id"],
            parent=values["question_id"],
            body=values["answer"],
            html=False,
            score=_number(values["votes"].strip()),
            date=values["time_stamp"],
            user_name=values["username"],
            url=values["answer_url"],
        )


def _table(
    file: Path, columns: tuple[str, ...], start: re.Pattern[bytes]
) -> Iterator[tuple[str, dict[str, str]]]:
    """("line N", column -> text) of every record; a record with other than these columns is {"record": its text}."""
    for number, text in _chunks(file, "\t".join(columns).encode(), start):
        values = text.split("\t")
        fits = len(values) == len(columns)
        yield f"line {number}", dict(zip(columns, values, strict=True)) if fits else {"record": text}


def _chunks(file: Path, heading: bytes, start: re.Pattern[bytes]) -> Iterator[tuple[int, str]]:
    with open_bytes(file) as data:
        if data.readline(LONGEST).removeprefix(b"\xef\xbb\xbf").rstrip() != heading:
            raise UserError(f"{file} line 1: not the heading {heading.decode()!r} with tabs between")
        first, chunk = 2, b""
        for number, line in enumerate(_lines(data), 2):
            if start.match(line) and chunk:
                yield first, _decode(chunk, file, first)
                first, chunk = number, b""
            chunk += line
            if len(chunk) > LONGEST:
                raise UserError(
                    f"{file} line {first}: a record of more than {LONGEST} bytes; not such a table"
                )
        if chunk:
            yield first, _decode(chunk, file, first)


def _lines(data: BinaryIO) -> Iterator[bytes]:
    while line := data.readline(LONGEST):
        yield line


def _decode(chunk: bytes, file: Path, line: int) -> str:
    try:
        return chunk.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UserError(f"{file} line {line}: not UTF-8; convert the file to UTF-8") from None


def _number(text: str) -> int | None:
    return int(text) if NUMBER.fullmatch(text) else None
