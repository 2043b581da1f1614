"""Posts of a Stack Exchange site, from the site's dump (`Posts.xml`) or from a pair of tables of questions and answers.

The tables are those of MedSpider's health.SE crawl. They are no clean TSV: texts hold line ends, so a record is
whatever stands from one line that begins like a record to the next.

Stack Exchange: a question's title and body, and each answer with enough votes, its author named.

A record is an answer; questions are read for their sake. The file is read twice, the questions in between kept in a
temporary database on disk, so that the dump of a large site needs little memory.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal

from pydantic import Field

from ..core.archive import open_bytes
from ..core.errors import UserError
from ..core.files import existing
from ..core.row import Row
from ..formats.html import html_text
from ..formats.sevenzip import unpack_7z
from ..formats.xml import read_elements
from .base import About, BaseSource, Context, LeftOut, Name, Record, Reject

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


POSTS, USERS = "Posts.xml", "Users.xml"
TABLES = ("questions.tsv", "answers.tsv")

# Dumps before 2020 do not say; the terms of use changed on these days.
LICENCES = (("2018-05-02", "CC BY-SA 4.0"), ("2011-04-08", "CC BY-SA 3.0"), ("", "CC BY-SA 2.5"))

INDEX = """
    PRAGMA journal_mode = OFF;
    CREATE TABLE questions(id TEXT PRIMARY KEY, title, body, html, author, licence, tags);
    CREATE TABLE users(id TEXT PRIMARY KEY, name) WITHOUT ROWID;
    CREATE TABLE taken(answer TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class StackExchange(BaseSource):
    """`path` is a site's archive (.7z), its Posts.xml (.gz too), or the directory with that or with the two tables.

    `site` is the part before .stackexchange.com, or a whole host such as stackoverflow.com. With `tags`, only
    questions that carry one of them are taken.
    """

    about: ClassVar[About] = About(
        title="Stack Exchange sites: questions and answers with enough votes",
        format="Posts.xml, plain, .gz or in the site's .7z; or the tables questions.tsv and answers.tsv (.gz too)",
        get="the Stack Exchange data dump (in an account's settings, or its copies at the Internet Archive), one .7z "
        "a site; the two tables: the repository hwsamuel/MedSpider",
        licence="CC BY-SA 2.5, 3.0 or 4.0, by each post's date; every author is to be named",
        size="health about 30 MB, biology about 100 MB as .7z",
        rows="health.SE, 2015 to March 2018: 3,751 answers, 731 of them with 5 votes or more",
        remark="one source a site: health and biology belong to the recipe; academia, bioinformatics and fitness, "
        "which Medical Meadow also took, are hardly medical and off",
    )

    kind: Literal["stack_exchange"] = "stack_exchange"
    name: Name = "stack_exchange"
    licence: str | None = "CC BY-SA"  # of posts that do not say and have no date
    path: str
    site: str = Field(default="health", pattern=r"^[a-z0-9][a-z0-9.-]*$")
    min_score: int = 5
    tags: tuple[str, ...] = ()

    def files(self, root: Path) -> list[Path]:
        place = existing(root / Path(self.path).expanduser(), f"file or directory (source {self.name!r})")
        if place.name.startswith(TABLES[0]):
            place = place.parent
        if place.is_dir():
            tables = [_either(place, table) for table in TABLES]
            if all(tables):
                return [table for table in tables if table]
            if not (posts := _either(place, POSTS)):
                raise UserError(f"{place}: neither {POSTS} nor {' and '.join(TABLES)} in this directory")
            place = posts
        # In the dump, posts name their authors by number only; the names stand in another file.
        users = None if place.suffix.lower() == ".7z" else _either(place.parent, USERS)
        return [place, users] if users else [place]

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        files = self.files(root)
        with tempfile.TemporaryDirectory(prefix="posts") as folder, closing(sqlite3.connect("")) as index:
            name = files[0].name
            if files[0].suffix.lower() == ".7z":
                found = unpack_7z(files[0], (POSTS, USERS), Path(folder))
                if POSTS not in found:
                    raise UserError(f"{files[0]}: no {POSTS} in it")
                files = [found[one] for one in (POSTS, USERS) if one in found]
            try:
                index.executescript(INDEX)
                if files[-1].name.startswith(USERS):
                    index.executemany("INSERT OR IGNORE INTO users VALUES (?, ?)", read_user_names(files[-1]))
                questions = (
                    self._indexed(post, index) for post in _posts(files, name) if post.kind == QUESTION
                )
                index.executemany("INSERT OR IGNORE INTO questions VALUES (?, ?, ?, ?, ?, ?, ?)", questions)
                for post in _posts(files, name):
                    yield self._record(post, index)
            except sqlite3.Error as error:
                raise UserError(f"{files[0]}: no room for a temporary index ({error}); set TMPDIR") from None

    def _indexed(self, post: Post, index: sqlite3.Connection) -> tuple[str | bool, ...]:
        title, author = " ".join(post.title.split()), self._author(post, index)
        return post.id, title, post.body, post.html, author, _licence(post), " ".join(post.tags)

    def _record(self, post: Post, index: sqlite3.Connection) -> Record:
        match post.kind:
            case kind if kind == QUESTION:
                return Context("questions")
            case kind if kind == ANSWER:
                try:
                    return self._row(post, index)
                except ValueError as error:
                    return Reject.of(post.file, post.place, error, dict(post.record))
            case "":
                return Reject(post.file, post.place, "not told apart into its columns", dict(post.record))
            case _:
                return Context("tag wikis and other posts")

    def _row(self, post: Post, index: sqlite3.Connection) -> Row:
        if not (post.id.isascii() and post.id.isdecimal()):
            raise ValueError("an answer without a number")
        if post.score is None:
            raise ValueError("an answer without a score")
        if post.score < self.min_score:
            raise LeftOut(f"a score below {self.min_score}")
        found = index.execute(
            "SELECT title, body, html, author, licence, tags FROM questions WHERE id = ?", (post.parent,)
        ).fetchone()
        if found is None:
            raise ValueError("its question is not in the file")
        title, body, html, asker, licence, tags = found
        if self.tags and not set(self.tags).intersection(tags.split(" ")):
            raise LeftOut("its question has none of the tags")
        body = _text(body, html)
        if not (answer := _text(post.body, post.html)):
            raise ValueError("an empty answer")
        if not (title or body):
            raise ValueError("its question is empty")
        # Merged questions: the tables list an answer under both.
        if not index.execute("INSERT OR IGNORE INTO taken VALUES (?)", (post.id,)).rowcount:
            raise LeftOut("the same answer again, under another question")
        url = post.url or f"https://{self._host()}/a/{post.id}"
        author = self._author(post, index)
        return self.make(
            source_id=f"{post.file} {post.place}",
            instruction=title or body,
            input=body if title else "",
            output=answer,
            url=url,
            licence=" and ".join(sorted({licence, _licence(post)} - {""})) or None,
            attribution=f"answer by {author}, question by {asker}, on {self._title()}, {url}",
            group=f"{self.name}:{post.parent}",
        )

    def _author(self, post: Post, index: sqlite3.Connection) -> str:
        known = index.execute("SELECT name FROM users WHERE id = ?", (post.user,)).fetchone()
        name = " ".join((known[0] if known else post.user_name).split())
        number = f"user {post.user}" if post.user else ""
        return f"{name} ({number})" if name and number else name or number or "an unnamed user"

    def _host(self) -> str:
        return self.site if self.site.endswith((".com", ".net")) else f"{self.site}.stackexchange.com"

    def _title(self) -> str:
        return f"{self.site.capitalize()} Stack Exchange" if self._host() != self.site else self.site


def _posts(files: list[Path], name: str) -> Iterator[Post]:
    if files[0].name.startswith(TABLES[0]):
        return read_tables(files[0], files[1])
    return read_dump(files[0], name)


def _either(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


def _text(body: str, html: bool) -> str:
    return html_text(body) if html else body.strip()


def _licence(post: Post) -> str:
    if post.licence or not post.date:
        return post.licence
    return next(licence for day, licence in LICENCES if post.date >= day)
