"""Stack Exchange: questions with each answer that has enough votes, and the names of the authors.

Reads a site's dump (`Posts.xml`), or the two tables of MedSpider's crawl of the health site. The tables are not valid
TSV: their texts contain line breaks, so a record ends where the next line looks like the start of a record.

Each answer gives a row or a reject. The posts are read twice, and the questions are kept in a temporary database on
disk. So the dump of a large site needs little memory.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal

from pydantic import Field

from ..core.errors import UserError
from ..core.row import Row
from ..core.streams import open_bytes
from ..formats.html import html_text
from ..formats.sevenzip import unpack_7z
from ..formats.xml import read_elements
from .answer_rules import REFERENCE_LABEL, Repair, find_removed_words
from .base import BaseSource, Context, ExcludedError, Name, Record, Reject, SourceInfo

# Values of PostTypeId. The others are tag wikis, elections and similar posts.
QUESTION, ANSWER = "1", "2"

# The site adds such a mark to the titles that it shows, and a crawler copies it.
CLOSING_MARK = re.compile(r"(?<=\S)\s*\[(?:closed|on hold|duplicate|migrated|locked|deleted)\]$")
NUMBER = re.compile(r"-?[0-9]{1,12}")
# Tags are written <a><b> or |a|b|, and in the tables a, b.
TAG = re.compile(r"[^<>|,\s]+")

QUESTION_COLUMNS = (
    *("question_id", "question_url", "question_title", "question_body"),
    *("time_stamp", "username", "votes", "favorites", "tags"),
)
ANSWER_COLUMNS = ("question_id", "answer_id", "answer_url", "answer", "time_stamp", "username", "votes")
# Largest size of a record of the tables, in bytes. The sites allow posts of 30,000 characters.
MAX_RECORD_SIZE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One post. A text that the raw record lacks is "".

    record: the raw record, by column.
    kind: QUESTION, ANSWER or another PostTypeId; "" for a record with other than the expected columns.
    parent: id of the question of an answer.
    html: whether `body` is HTML.
    score: votes; None if it is not a number.
    date: date and time in ISO 8601.
    user, user_name: id and name of the author.
    """

    file: str
    location: str
    record: Mapping[str, str]
    kind: str
    id: str = ""
    parent: str = ""
    title: str = ""
    body: str = ""
    html: bool = True
    score: int | None = None
    tags: tuple[str, ...] = ()
    date: str = ""
    user: str = ""
    user_name: str = ""
    licence: str = ""
    url: str = ""


def read_dump(file: Path, name: str) -> Iterator[Post]:
    """Yield all posts of a `Posts.xml` or `Posts.xml.gz`, in file order; `name` is the file name that rows state."""
    with open_bytes(file) as data:
        for line, row in read_elements(data, str(file), {"row"}):
            values = row.attrib
            number = values.get("Id", "")
            yield Post(
                file=name,
                location=f"row Id={number}" if NUMBER.fullmatch(number) else line,
                record=values,
                kind=values.get("PostTypeId", ""),
                id=number,
                parent=values.get("ParentId", ""),
                title=values.get("Title", ""),
                body=values.get("Body", ""),
                score=_parse_int(values.get("Score", "")),
                tags=tuple(TAG.findall(values.get("Tags", ""))),
                date=values.get("CreationDate", ""),
                user=values.get("OwnerUserId", ""),
                user_name=values.get("OwnerDisplayName", ""),
                licence=values.get("ContentLicense", ""),
            )


def read_user_names(file: Path) -> Iterator[tuple[str, str]]:
    """Yield (id, name) of every user in a `Users.xml` or `Users.xml.gz`."""
    with open_bytes(file) as data:
        for _, row in read_elements(data, str(file), {"row"}):
            yield row.get("Id", ""), row.get("DisplayName", "")


def read_tables(questions: Path, answers: Path) -> Iterator[Post]:
    """Yield the posts of MedSpider's two tables, first all questions, then all answers."""
    for location, values in _read_table(questions, QUESTION_COLUMNS, re.compile(rb"[0-9]+\thttps?://")):
        if len(values) < len(QUESTION_COLUMNS):
            yield Post(file=questions.name, location=location, record=values, kind="")
            continue
        yield Post(
            file=questions.name,
            location=location,
            record=values,
            kind=QUESTION,
            id=values["question_id"],
            title=values["question_title"],
            # The crawler appended a hyphen to 97 of 100 bodies.
            body=values["question_body"].rstrip().removesuffix("-"),
            html=False,
            tags=tuple(TAG.findall(values["tags"])),
            date=values["time_stamp"],
            user_name=values["username"],
            url=values["question_url"],
        )
    for location, values in _read_table(answers, ANSWER_COLUMNS, re.compile(rb"[0-9]+\t[0-9]+\thttps?://")):
        if len(values) < len(ANSWER_COLUMNS):
            yield Post(file=answers.name, location=location, record=values, kind="")
            continue
        yield Post(
            file=answers.name,
            location=location,
            record=values,
            kind=ANSWER,
            id=values["answer_id"],
            parent=values["question_id"],
            body=values["answer"],
            html=False,
            score=_parse_int(values["votes"].strip()),
            date=values["time_stamp"],
            user_name=values["username"],
            url=values["answer_url"],
        )


def _read_table(
    file: Path, columns: tuple[str, ...], start: re.Pattern[bytes]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield ("line N", {column: text}) for every record; {"record": text} if the number of columns differs.

    `start` matches the first line of a record.
    """
    for number, text in _split_records(file, "\t".join(columns).encode(), start):
        values = text.split("\t")
        fits = len(values) == len(columns)
        yield f"line {number}", dict(zip(columns, values, strict=True)) if fits else {"record": text}


def _split_records(file: Path, heading: bytes, start: re.Pattern[bytes]) -> Iterator[tuple[int, str]]:
    with open_bytes(file) as data:
        if data.readline(MAX_RECORD_SIZE).removeprefix(b"\xef\xbb\xbf").rstrip() != heading:
            raise UserError(f"{file} line 1: expected the tab-separated heading {heading.decode()!r}")
        first, chunk = 2, b""
        for number, line in enumerate(_read_lines(data), 2):
            if start.match(line) and chunk:
                yield first, _decode(chunk, file, first)
                first, chunk = number, b""
            chunk += line
            if len(chunk) > MAX_RECORD_SIZE:
                raise UserError(
                    f"{file} line {first}: a record of more than {MAX_RECORD_SIZE} bytes; give questions.tsv or "
                    "answers.tsv of the MedSpider crawl (`data sources stack_exchange`)"
                )
        if chunk:
            yield first, _decode(chunk, file, first)


def _read_lines(data: BinaryIO) -> Iterator[bytes]:
    while line := data.readline(MAX_RECORD_SIZE):
        yield line


def _decode(chunk: bytes, file: Path, line: int) -> str:
    try:
        return chunk.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UserError(f"{file} line {line}: not UTF-8; convert the file to UTF-8") from None


def _parse_int(text: str) -> int | None:
    return int(text) if NUMBER.fullmatch(text) else None


POSTS_FILE, USERS_FILE = "Posts.xml", "Users.xml"
TABLE_FILES = ("questions.tsv", "answers.tsv")

# Dumps before 2020 do not state the licence of a post; the sites changed it for new posts on these dates.
LICENCES = (("2018-05-02", "CC BY-SA 4.0"), ("2011-04-08", "CC BY-SA 3.0"), ("", "CC BY-SA 2.5"))

INDEX_SCHEMA = """
    PRAGMA journal_mode = OFF;
    CREATE TABLE questions(id TEXT PRIMARY KEY, title, body, html, author, licence, tags);
    CREATE TABLE users(id TEXT PRIMARY KEY, name) WITHOUT ROWID;
    CREATE TABLE taken(answer TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class StackExchange(BaseSource):
    """A Stack Exchange site: `path` is its archive (.7z), its Posts.xml (.gz too), or a directory with the raw files.

    The raw files are Posts.xml and Users.xml, or the two tables questions.tsv and answers.tsv; `path` may also be
    questions.tsv. `site` is the part before .stackexchange.com, or a host name that ends with .com or .net. `min_score`
    is the lowest score of an answer. With `tags`, only questions with one of these tags are used.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="Stack Exchange sites: questions and answers with enough votes",
        format="Posts.xml, plain, .gz or in the site's .7z; or the tables questions.tsv and answers.tsv (.gz too)",
        get="the Stack Exchange data dump, one .7z per site (in the settings of an account, or copies at the Internet "
        "Archive); the two tables: the repository github.com/hwsamuel/MedSpider",
        licence="CC BY-SA 2.5, 3.0 or 4.0, by the date of each post; every author must be named",
        size="health about 30 MB, biology about 100 MB as .7z",
        rows="health.SE, 2015 to March 2018, tables: 3,751 answers, 758 with 5 votes or more, 117 of them whole; "
        "the crawl removed links, emphasis, lists and quotations",
        remark="one source per site: the recipe uses health and biology; Medical Meadow (2023) also used academia, "
        "bioinformatics and fitness, which are hardly medical",
    )

    kind: Literal["stack_exchange"] = "stack_exchange"
    name: Name = "stack_exchange"
    # Applies to posts with neither a licence nor a date.
    licence: str | None = "CC BY-SA"
    path: str
    site: str = Field(default="health", pattern=r"^[a-z0-9][a-z0-9.-]*$")
    min_score: int = 5
    tags: tuple[str, ...] = ()

    def files(self, root: Path) -> list[Path]:
        path = self.resolve(root, self.path, "file or directory")
        if path.name.startswith(TABLE_FILES[0]):
            path = path.parent
        if path.is_dir():
            tables = [_find_plain_or_gz(path, table) for table in TABLE_FILES]
            if all(tables):
                return [table for table in tables if table]
            if not (posts := _find_plain_or_gz(path, POSTS_FILE)):
                raise UserError(
                    f"{path}: neither {POSTS_FILE} nor {' and '.join(TABLE_FILES)} in this directory"
                )
            path = posts
        # In the dump, posts usually have only the ids of their authors; the names are in Users.xml.
        users = None if path.suffix.lower() == ".7z" else _find_plain_or_gz(path.parent, USERS_FILE)
        return [path, users] if users else [path]

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        files = self.files(root)
        with tempfile.TemporaryDirectory(prefix="posts") as folder, closing(sqlite3.connect("")) as index:
            name = files[0].name
            if files[0].suffix.lower() == ".7z":
                unpacked = unpack_7z(files[0], (POSTS_FILE, USERS_FILE), Path(folder))
                if POSTS_FILE not in unpacked:
                    raise UserError(f"{files[0]}: no {POSTS_FILE} in this archive")
                files = [unpacked[one] for one in (POSTS_FILE, USERS_FILE) if one in unpacked]
            try:
                index.executescript(INDEX_SCHEMA)
                if files[-1].name.startswith(USERS_FILE):
                    index.executemany("INSERT OR IGNORE INTO users VALUES (?, ?)", read_user_names(files[-1]))
                questions = (
                    self._indexed(post, index) for post in _read_posts(files, name) if post.kind == QUESTION
                )
                index.executemany("INSERT OR IGNORE INTO questions VALUES (?, ?, ?, ?, ?, ?, ?)", questions)
                for post in _read_posts(files, name):
                    yield from self._records(post, index)
            except sqlite3.Error as error:
                raise UserError(
                    f"{files[0]}: cannot write a temporary index ({error}); set TMPDIR to a directory with space"
                ) from None

    def _indexed(self, post: Post, index: sqlite3.Connection) -> tuple[str | bool, ...]:
        title, author = " ".join(post.title.split()), self._author(post, index)
        return post.id, title, post.body, post.html, author, _post_licence(post), " ".join(post.tags)

    def _records(self, post: Post, index: sqlite3.Connection) -> Iterator[Record]:
        match post.kind:
            case kind if kind == QUESTION:
                yield Context("questions")
            case kind if kind == ANSWER:
                try:
                    row = self._row(post, index)
                except ValueError as error:
                    yield Reject.of(post.file, post.location, error, dict(post.record))
                    return
                title, answer = CLOSING_MARK.sub("", row.instruction), row.output
                if title != row.instruction:
                    yield Repair("closing mark removed from the title")
                if not post.html and (answer := REFERENCE_LABEL.sub("", answer)) != row.output:
                    yield Repair("label of lost references removed")
                yield replace(row, instruction=title, output=answer, id="")
            case "":
                yield Reject(post.file, post.location, "not the expected columns", dict(post.record))
            case _:
                yield Context("tag wikis and other posts")

    def _row(self, post: Post, index: sqlite3.Connection) -> Row:
        if not (post.id.isascii() and post.id.isdecimal()):
            raise ValueError("an answer without a number")
        if post.score is None:
            raise ValueError("an answer without a score")
        if post.score < self.min_score:
            raise ExcludedError(f"a score below {self.min_score}")
        question = index.execute(
            "SELECT title, body, html, author, licence, tags FROM questions WHERE id = ?", (post.parent,)
        ).fetchone()
        if question is None:
            raise ValueError("its question is not in the file")
        title, body, html, asker, licence, tags = question
        if self.tags and not set(self.tags).intersection(tags.split(" ")):
            raise ExcludedError("its question has none of the tags in the recipe")
        raw_body, body = body, _body_text(body, html)
        if not (answer := _body_text(post.body, post.html)):
            raise ValueError("an empty answer")
        if not (title or body):
            raise ValueError("its question is empty")
        if not post.html and (lost := find_removed_words(raw_body) or find_removed_words(post.body)):
            raise ExcludedError(f"{lost} missing, removed by the crawler")
        # After a merge of two questions, the tables list an answer under both.
        if not index.execute("INSERT OR IGNORE INTO taken VALUES (?)", (post.id,)).rowcount:
            raise ExcludedError("the same answer again, under another question")
        url = post.url or f"https://{self._host()}/a/{post.id}"
        author = self._author(post, index)
        return self.make_row(
            source_id=f"{post.file} {post.location}",
            instruction=title or body,
            input=body if title else "",
            output=answer,
            url=url,
            licence=" and ".join(sorted({licence, _post_licence(post)} - {""})) or None,
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


def _read_posts(files: list[Path], name: str) -> Iterator[Post]:
    if files[0].name.startswith(TABLE_FILES[0]):
        return read_tables(files[0], files[1])
    return read_dump(files[0], name)


def _find_plain_or_gz(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


def _body_text(body: str, html: bool) -> str:
    return html_text(body) if html else body.strip()


def _post_licence(post: Post) -> str:
    if post.licence or not post.date:
        return post.licence
    return next(licence for day, licence in LICENCES if post.date >= day)
