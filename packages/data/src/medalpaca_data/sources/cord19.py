"""Papers out of every layout that CORD-19 and the databases beside it come in. Which layout it is, the file tells.

CORD-19: the title of a paper from its abstract.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

from pydantic import Field

from ..core.archive import open_bytes, read_members
from ..core.errors import BadRecord, UserError
from ..core.files import existing, is_text, parse_json, sha256_bytes
from ..core.joined_digits import MARK, JoinedDigits, decode_entities, remove_marks, substitute
from ..core.records import read_csv
from ..formats.turtle import Node, read_turtle
from .base import About, BaseSource, Name, Record, Reject
from .published import TITLE_INSTRUCTION

LARGEST = 32 << 20  # bytes of one paper's own file; the largest parses are a tenth of it
SUFFIXES = (".json", ".ttl")
TABLES = (".csv", ".csv.gz")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
INLINE = re.compile(
    r"</?(?:jats:)?(?:su[bp]|i|b|em|strong|italic|bold)(?:\s[^<>]*)?/?>"
)  # H<sub>2</sub>O is one word
BLOCK = re.compile(
    r"</?(?:jats:)?(?:p|sec|title|list|list-item|br|h\d|div|span)(?:\s[^<>]*)?/?>|<!\[CDATA\[|\]\]>"
)
NOTHING = re.compile(
    r"\W*(?:nan|none|null|n/?a|unknown|not avail(?:able)?|abstract(?: not available)?|"
    r"no abstract(?: is)?(?: available)?)?\W*",
    re.IGNORECASE,
)
LONGEST_NOTHING = 60  # characters
DOI = re.compile(r"10\.\d{4,9}/\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """One abstract under its title. `key` is the paper's name in its corpus; rows with one key are one paper."""

    file: str
    place: str
    key: str
    title: str
    abstract: str
    url: str | None = None
    licence: str | None = None
    attribution: str | None = None

    @property
    def record(self) -> dict[str, str]:
        """What is kept of it when it is rejected."""
        return {"key": self.key, "title": self.title, "abstract": self.abstract}


def paper_files(path: Path) -> list[Path]:
    """The file, or the papers' files of a directory and below it, by name."""
    existing(path, "file or directory of CORD-19")
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        others = sorted(file for file in path.iterdir() if file.name.lower().endswith((*TABLES, *ARCHIVES)))
        hint = f"; name the file itself, {others[0]}" if others else ""
        raise UserError(f"{path}: no paper (.json or .ttl) in it{hint}")
    return found


def read_papers(path: Path) -> Iterator[Paper | Reject]:
    """Every paper of metadata.csv, of the WHO's CSV, or of .json and .ttl files in a directory or an archive."""
    name = path.name.lower()
    if path.is_dir():
        for file in paper_files(path):
            with open_bytes(file) as data:
                yield _one(file.relative_to(path).as_posix(), data)
    elif name.endswith(TABLES):
        yield from _table(path)
    elif name.endswith(SUFFIXES):
        with open_bytes(path) as data:
            yield _one(path.name, data)
    elif name.endswith(ARCHIVES):
        empty = True
        for member, data in read_members(path, SUFFIXES):
            empty = False
            yield _one(member.replace(" ", "_"), data, path.name)
        if empty:
            raise UserError(f"{path}: no paper (.json or .ttl) in it")
    else:
        raise UserError(
            f"{path}: a .csv, .json, .ttl, .zip or .tar.gz of CORD-19, or a directory, was expected"
        )


def _table(path: Path) -> Iterator[Paper | Reject]:
    make: Callable[[str, str, Mapping[str, str]], Paper] | None = None
    with open_bytes(path) as file:
        for place, record in read_csv(file, str(path)):
            if isinstance(record, BadRecord):
                yield Reject.of(path.name, place, record)
                continue
            if make is None:
                make = _layout(path, record)
            try:
                paper: Paper | Reject = make(path.name, place, record)
            except JoinedDigits as error:
                paper = Reject.of(path.name, place, error, record)
            yield paper


def _layout(path: Path, record: Mapping[str, str]) -> Callable[[str, str, Mapping[str, str]], Paper]:
    if {"cord_uid", "title", "abstract"} <= record.keys():
        return _of_metadata
    if {"Title", "Abstract"} <= record.keys():
        return _of_who
    raise UserError(
        f"{path}: neither the columns of metadata.csv (cord_uid, title, abstract) nor the WHO's (Title, Abstract)"
    )


def _of_metadata(file: str, place: str, record: Mapping[str, str]) -> Paper:
    def get(name: str) -> str:
        return (record.get(name) or "").strip()

    doi, pmid = get("doi"), get("pubmed_id")
    url = get("url").split(";")[0].strip()
    if not url:
        url = f"https://doi.org/{doi}" if doi else f"https://pubmed.ncbi.nlm.nih.gov/{pmid}" if pmid else ""
    return Paper(
        file=file,
        place=place,
        key=get("cord_uid") or doi.lower() or pmid or place,
        title=_clean(get("title")),
        abstract=_clean(get("abstract")),
        url=url or None,
        licence=_licence(get("license")),
        attribution=_authors(get("authors").split(";")[0], get("journal"), get("publish_time")[:4]),
    )


def _of_who(file: str, place: str, record: Mapping[str, str]) -> Paper:
    def get(name: str) -> str:
        return (record.get(name) or "").strip()

    doi = DOI.search(get("DOI"))
    return Paper(
        file=file,
        place=place,
        key=doi[0].lower() if doi else get("Covidence #") or place,
        title=_clean(get("Title")),
        abstract=_clean(get("Abstract")),
        url=f"https://doi.org/{doi[0]}" if doi else None,
        attribution=_authors(get("Authors").split(";")[0], get("Journal"), get("Published Year")),
    )


def _one(name: str, data: BinaryIO, archive: str = "") -> Paper | Reject:
    """The paper of a file of its own; a broken one is a record that is not understood."""
    file, place = (archive, name) if archive else (name, "paper")
    raw = data.read(LARGEST + 1)
    if len(raw) > LARGEST:
        return Reject(file, place, f"a paper of more than {LARGEST >> 20} MB", None)
    where = f"{file} {place}"
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Reject.of(file, place, BadRecord(where, "not UTF-8", raw.decode(errors="backslashreplace")))
    try:
        return (_of_turtle if name.endswith(".ttl") else _of_json)(file, place, text)
    except ValueError as error:
        return Reject.of(file, place, BadRecord(where, str(error), text))


def _of_json(file: str, place: str, text: str) -> Paper:
    try:
        value = parse_json(text, "")
    except UserError:
        raise ValueError("not valid JSON") from None
    metadata = value.get("metadata") if isinstance(value, dict) else None
    if not isinstance(metadata, dict) or not _string(value.get("paper_id")):
        raise ValueError("not a parsed paper of CORD-19 (no paper_id and metadata)")
    parts = value.get("abstract") or []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError("its abstract is not a list of parts")
    authors = metadata.get("authors")
    first = authors[0] if isinstance(authors, list) and authors and isinstance(authors[0], dict) else {}
    return Paper(
        file=file,
        place=place,
        key=value["paper_id"],
        title=_clean(_string(metadata.get("title"))),
        abstract="\n\n".join(filter(None, (_clean(_string(part.get("text"))) for part in parts))),
        attribution=_authors(_string(first.get("last")), "", ""),
    )


def _of_turtle(file: str, place: str, text: str) -> Paper:
    for subject, node in read_turtle(text).items():
        passages = [passage for passage in node.get("pm:passages", ()) if isinstance(passage, dict)]
        if passages:
            texts = {_passage_kind(passage): _first(passage, "pm:text") for passage in passages}
            return Paper(
                file=file,
                place=place,
                key=_first(node, "pm:id") or subject,
                title=_clean(texts.get("title", "")),
                abstract=_clean(texts.get("abstract", "")),
                url=subject if subject.startswith(("http://", "https://")) else None,
                attribution=_authors(
                    _first(node, "pm:authors"), _first(node, "pm:journal"), _first(node, "pm:year")
                ),
            )
    raise ValueError("no passages in it")


def _passage_kind(passage: Node) -> str:
    infons = next((node for node in passage.get("pm:infons", ()) if isinstance(node, dict)), {})
    return _first(infons, "pm:type").lower()


def _first(node: Node, name: str) -> str:
    return next((value for value in node.get(name, ()) if isinstance(value, str)), "")


def _string(value: Any) -> str:
    return value if isinstance(value, str) and is_text(value) else ""


def _clean(text: str) -> str:
    """Return one paragraph, without the tags and entities that publishers' systems leave; "" for a placeholder.

    Raise JoinedDigits where a tag between two digits goes: 10<sup>9</sup>.
    """
    if "&" in text or "<" in text:
        text = remove_marks(substitute(decode_entities(decode_entities(text)), (INLINE, MARK), (BLOCK, " ")))
    text = " ".join(text.split())
    nothing = len(text) < LONGEST_NOTHING and NOTHING.fullmatch(text)
    return "" if nothing or not is_text(text) else text


def _licence(code: str) -> str | None:
    """CORD-19's own codes; those of Creative Commons as they are usually written."""
    if not code:
        return None
    return code.upper().replace("CC-", "CC ", 1) if code.startswith("cc") else f"{code} (code of CORD-19)"


def _authors(first: str, journal: str, year: str) -> str | None:
    name = f"{first.strip()} et al." if first.strip() else ""
    parts = [" ".join(part.split()) for part in (name, journal, year) if part.strip()]
    return ", ".join(parts) or None


TAKEN, SAME_PAPER, SAME_TEXT, OVER = range(4)
REASONS = {
    SAME_PAPER: "the same paper again",
    SAME_TEXT: "the same title and abstract again",
    OVER: "over max_rows",
}


class CORD19(BaseSource):
    """`max_rows` papers are drawn by a hash of their names: the same ones in whatever order the file has them.

    The file is read twice, once to draw; between the two, 16 bytes for every paper are held.
    """

    about: ClassVar[About] = About(
        title="CORD-19: titles of papers on coronaviruses from their abstracts",
        format="metadata.csv (.gz too), parsed papers (.json) or PubTator's abstracts (.ttl) in a directory, .zip or "
        ".tar.gz, or the WHO's database as .csv",
        get="allenai.org/data/cord-19 (Semantic Scholar, last release of June 2022): metadata.csv; PubTator's and the "
        "WHO's: github.com/fhircat/CORD-19-on-FHIR",
        licence="of each paper; the license column of metadata.csv names it per row",
        size="1.6 GB metadata.csv",
        rows="821,007 published, 50,000 of them used; 1,878 of PubTator's 2,030, 1,327 of the WHO's 2,048 (measured)",
        remark="one paper may stand in it several times; titles would swamp the mix without max_rows",
    )
    reads_with: ClassVar[frozenset[str]] = frozenset({"max_rows"})

    kind: Literal["cord19"] = "cord19"
    name: Name = "cord19"
    path: str
    licence: str | None = "of the paper (not stated)"
    attribution: str | None = "CORD-19 (L. Lu Wang et al., 2020)"
    url: str | None = "https://github.com/allenai/cord19"
    max_rows: int | None = Field(default=50_000, ge=1)
    min_characters: int = Field(default=60, ge=0)  # of an abstract; words would not do, some are Chinese

    def files(self, root: Path) -> list[Path]:
        return paper_files(self._place(root))

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        place = self._place(root)
        drawn = iter(self._draw(place, seed))
        for paper in read_papers(place):
            if isinstance(paper, Reject):
                yield paper
            elif reason := self._unfit(paper) or REASONS.get(next(drawn)):
                yield Reject(paper.file, paper.place, reason, paper.record, by_rule=True)
            else:
                yield self.make(
                    source_id=f"{paper.file} {paper.place} {paper.key}",
                    instruction=TITLE_INSTRUCTION,
                    input=paper.abstract,
                    output=paper.title,
                    url=paper.url,
                    licence=paper.licence,
                    attribution=paper.attribution,
                    group=f"{self.name}:{paper.key}",
                )

    def _place(self, root: Path) -> Path:
        return existing(root / Path(self.path).expanduser(), f"file or directory (source {self.name!r})")

    def _unfit(self, paper: Paper) -> str | None:
        if not paper.abstract:
            return "no abstract"
        if not paper.title:
            return "no title"
        return "abstract too short" if len(paper.abstract) < self.min_characters else None

    def _draw(self, place: Path, seed: int) -> bytearray:
        """What becomes of every sound paper, in file order."""
        import numpy as np

        papers, texts = array("Q"), array("Q")
        for paper in read_papers(place):
            if not isinstance(paper, Reject) and self._unfit(paper) is None:
                papers.append(_number(f"{seed}:{paper.key}"))
                texts.append(_number(f"{paper.title.lower()}\n{paper.abstract.lower()}"))
        # Of a paper that stands there twice, the text with the smaller hash: also that is the same in any order.
        order = np.lexsort((np.frombuffer(texts, np.uint64), np.frombuffer(papers, np.uint64)))
        verdict = bytearray([OVER]) * len(papers)
        taken, seen_text, last = 0, set[int](), -1
        for n in order:
            paper_hash, text_hash = papers[n], texts[n]
            if paper_hash == last:
                verdict[n] = SAME_PAPER
            elif text_hash in seen_text:
                verdict[n] = SAME_TEXT
            elif self.max_rows is not None and taken == self.max_rows:
                break
            else:
                verdict[n], last = TAKEN, paper_hash
                taken += 1
                seen_text.add(text_hash)
        return verdict


def _number(text: str) -> int:
    return int(sha256_bytes(text.encode())[:16], 16)
