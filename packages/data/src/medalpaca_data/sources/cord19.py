"""CORD-19: write the title of a paper from its abstract.

Reads the layouts of CORD-19, PubTator and the WHO's database. The layout is recognized from suffix and columns.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

from pydantic import Field

from ..core.delimited import read_csv
from ..core.errors import BadRecord, UserError
from ..core.files import existing, is_text, parse_json, sha256_bytes
from ..core.joined_digits import (
    MARK,
    RESERVED,
    JoinedDigits,
    decode_entities,
    mark_script_tags,
    remove_marks,
    substitute,
    write_scripts,
)
from ..core.streams import open_bytes, read_members
from ..formats.turtle import Node, read_turtle
from .base import BaseSource, Name, Record, Reject, SourceInfo
from .published import TITLE_INSTRUCTION

# Largest size of the file of one paper, in bytes. The largest parsed papers have a tenth of it.
MAX_PAPER_SIZE = 32 << 20
PAPER_SUFFIXES = (".json", ".ttl")
TABLE_SUFFIXES = (".csv", ".csv.gz")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
# Tags that are removed without a space: H<sub>2</sub>O is one word.
INLINE_TAG = re.compile(r"</?(?:jats:)?(?:i|b|em|strong|italic|bold)(?:\s[^<>]*)?/?>")
BLOCK_TAG = re.compile(
    r"</?(?:jats:)?(?:p|sec|title|list|list-item|br|h\d|div|span)(?:\s[^<>]*)?/?>|<!\[CDATA\[|\]\]>"
)
PLACEHOLDER = re.compile(
    r"\W*(?:nan|none|null|n/?a|unknown|not avail(?:able)?|abstract(?: not available)?|"
    r"no abstract(?: is)?(?: available)?)?\W*",
    re.IGNORECASE,
)
# A longer text, in characters, is no placeholder.
MAX_PLACEHOLDER_LENGTH = 60
DOI = re.compile(r"10\.\d{4,9}/\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A title and its abstract, each "" if it is missing.

    `key` is the id of the paper in its corpus, or its location if it has none. Records with one key are one paper.
    """

    file: str
    location: str
    key: str
    title: str
    abstract: str
    url: str | None = None
    licence: str | None = None
    attribution: str | None = None

    @property
    def record(self) -> dict[str, str]:
        """The fields that the reject file stores if the paper is rejected."""
        return {"key": self.key, "title": self.title, "abstract": self.abstract}


def paper_files(path: Path) -> list[Path]:
    """Return `path` if it is a file, else all .json and .ttl files below the directory, sorted by path.

    Raises UserError if there is none.
    """
    existing(path, "file or directory of CORD-19")
    if not path.is_dir():
        return [path]
    papers = sorted(
        file for file in path.rglob("*") if file.suffix.lower() in PAPER_SUFFIXES and file.is_file()
    )
    if not papers:
        suffixes = (*TABLE_SUFFIXES, *ARCHIVE_SUFFIXES)
        others = sorted(file for file in path.iterdir() if file.name.lower().endswith(suffixes))
        hint = f"; set path: to a file, such as {others[0]}" if others else ""
        raise UserError(f"{path}: no paper (.json or .ttl) in this directory{hint}")
    return papers


def read_papers(path: Path) -> Iterator[Paper | Reject]:
    """Yield every paper of metadata.csv or the WHO's CSV, or of .json and .ttl files.

    These may be one file, or all files in a directory or an archive. A record that is not valid gives a reject. Raises
    UserError for another suffix, other columns, and an archive or directory without a paper.
    """
    name = path.name.lower()
    if path.is_dir():
        for file in paper_files(path):
            with open_bytes(file) as data:
                yield _read_paper(file.relative_to(path).as_posix(), data)
    elif name.endswith(TABLE_SUFFIXES):
        yield from _read_table(path)
    elif name.endswith(PAPER_SUFFIXES):
        with open_bytes(path) as data:
            yield _read_paper(path.name, data)
    elif name.endswith(ARCHIVE_SUFFIXES):
        empty = True
        for member, data in read_members(path, PAPER_SUFFIXES):
            empty = False
            yield _read_paper(member.replace(" ", "_"), data, path.name)
        if empty:
            raise UserError(f"{path}: no paper (.json or .ttl) in this archive")
    else:
        raise UserError(
            f"{path}: unknown suffix; expected {', '.join((*TABLE_SUFFIXES, *PAPER_SUFFIXES, *ARCHIVE_SUFFIXES))} of "
            "CORD-19, or a directory with .json or .ttl files"
        )


def _read_table(path: Path) -> Iterator[Paper | Reject]:
    make: Callable[[str, str, Mapping[str, str]], Paper] | None = None
    with open_bytes(path) as file:
        for location, record in read_csv(file, str(path)):
            if isinstance(record, BadRecord):
                yield Reject.of(path.name, location, record)
                continue
            if make is None:
                make = _find_layout(path, record)
            try:
                paper: Paper | Reject = make(path.name, location, record)
            except JoinedDigits as error:
                paper = Reject.of(path.name, location, error, record)
            yield paper


def _find_layout(path: Path, record: Mapping[str, str]) -> Callable[[str, str, Mapping[str, str]], Paper]:
    if {"cord_uid", "title", "abstract"} <= record.keys():
        return _parse_metadata_record
    if {"Title", "Abstract"} <= record.keys():
        return _parse_who_record
    raise UserError(
        f"{path}: has the columns {', '.join(record)}; expected those of metadata.csv (cord_uid, title, abstract) "
        "or of the WHO's file (Title, Abstract)"
    )


def _parse_metadata_record(file: str, location: str, record: Mapping[str, str]) -> Paper:
    def get(name: str) -> str:
        return (record.get(name) or "").strip()

    doi, pmid = get("doi"), get("pubmed_id")
    url = get("url").split(";")[0].strip()
    if not url:
        url = f"https://doi.org/{doi}" if doi else f"https://pubmed.ncbi.nlm.nih.gov/{pmid}" if pmid else ""
    return Paper(
        file=file,
        location=location,
        key=get("cord_uid") or doi.lower() or pmid or location,
        title=_clean_paragraph(get("title")),
        abstract=_clean_paragraph(get("abstract")),
        url=url or None,
        licence=_format_licence(get("license")),
        attribution=_format_attribution(
            get("authors").split(";")[0], get("journal"), get("publish_time")[:4]
        ),
    )


def _parse_who_record(file: str, location: str, record: Mapping[str, str]) -> Paper:
    def get(name: str) -> str:
        return (record.get(name) or "").strip()

    doi = DOI.search(get("DOI"))
    return Paper(
        file=file,
        location=location,
        key=doi[0].lower() if doi else get("Covidence #") or location,
        title=_clean_paragraph(get("Title")),
        abstract=_clean_paragraph(get("Abstract")),
        url=f"https://doi.org/{doi[0]}" if doi else None,
        attribution=_format_attribution(get("Authors").split(";")[0], get("Journal"), get("Published Year")),
    )


def _read_paper(name: str, data: BinaryIO, archive: str = "") -> Paper | Reject:
    """Return the paper in a file, or a reject if the file is not valid; `archive` is the archive's name, if any."""
    file, location = (archive, name) if archive else (name, "paper")
    raw = data.read(MAX_PAPER_SIZE + 1)
    if len(raw) > MAX_PAPER_SIZE:
        return Reject(file, location, f"a paper of more than {MAX_PAPER_SIZE >> 20} MB", None)
    where = f"{file} {location}"
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Reject.of(file, location, BadRecord(where, "not UTF-8", raw.decode(errors="backslashreplace")))
    try:
        return (_parse_turtle_paper if name.endswith(".ttl") else _parse_json_paper)(file, location, text)
    except ValueError as error:
        return Reject.of(file, location, BadRecord(where, str(error), text))


def _parse_json_paper(file: str, location: str, text: str) -> Paper:
    try:
        value = parse_json(text, "")
    except UserError:
        raise ValueError("not valid JSON") from None
    metadata = value.get("metadata") if isinstance(value, dict) else None
    if not isinstance(metadata, dict) or not _valid_text(value.get("paper_id")):
        raise ValueError("not a parsed paper of CORD-19 (no paper_id and metadata)")
    parts = value.get("abstract") or []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError("the abstract is not a list of parts")
    authors = metadata.get("authors")
    first = authors[0] if isinstance(authors, list) and authors and isinstance(authors[0], dict) else {}
    return Paper(
        file=file,
        location=location,
        key=value["paper_id"],
        title=_clean_paragraph(_valid_text(metadata.get("title"))),
        abstract="\n\n".join(
            filter(None, (_clean_paragraph(_valid_text(part.get("text"))) for part in parts))
        ),
        attribution=_format_attribution(_valid_text(first.get("last")), "", ""),
    )


def _parse_turtle_paper(file: str, location: str, text: str) -> Paper:
    for subject, node in read_turtle(text).items():
        passages = [passage for passage in node.get("pm:passages", ()) if isinstance(passage, dict)]
        if passages:
            texts = {_passage_kind(passage): _first_text(passage, "pm:text") for passage in passages}
            return Paper(
                file=file,
                location=location,
                key=_first_text(node, "pm:id") or subject,
                title=_clean_paragraph(texts.get("title", "")),
                abstract=_clean_paragraph(texts.get("abstract", "")),
                url=subject if subject.startswith(("http://", "https://")) else None,
                attribution=_format_attribution(
                    _first_text(node, "pm:authors"),
                    _first_text(node, "pm:journal"),
                    _first_text(node, "pm:year"),
                ),
            )
    raise ValueError("no passages in the file")


def _passage_kind(passage: Node) -> str:
    infons = next((node for node in passage.get("pm:infons", ()) if isinstance(node, dict)), {})
    return _first_text(infons, "pm:type").lower()


def _first_text(node: Node, name: str) -> str:
    return next((value for value in node.get(name, ()) if isinstance(value, str)), "")


def _valid_text(value: Any) -> str:
    return value if isinstance(value, str) and is_text(value) else ""


def _clean_paragraph(text: str) -> str:
    """Return the text as one paragraph without HTML tags and entities, or "" for a placeholder or invalid Unicode.

    Superscripts are written by `write_scripts`. Raises JoinedDigits if a tag is the only separator of two digits.
    """
    if "&" in text or "<" in text:
        steps = ((INLINE_TAG, MARK), (BLOCK_TAG, " "))
        text = mark_script_tags(RESERVED.sub(MARK, decode_entities(decode_entities(text))))
        text = remove_marks(write_scripts(substitute(text, *steps)))
    text = " ".join(text.split())
    is_placeholder = len(text) < MAX_PLACEHOLDER_LENGTH and PLACEHOLDER.fullmatch(text)
    return "" if is_placeholder or not is_text(text) else text


def _format_licence(code: str) -> str | None:
    """Return the licence for a code of CORD-19, in the usual spelling for Creative Commons, or None for ""."""
    if not code:
        return None
    return code.upper().replace("CC-", "CC ", 1) if code.startswith("cc") else f"{code} (code of CORD-19)"


def _format_attribution(first: str, journal: str, year: str) -> str | None:
    name = f"{first.strip()} et al." if first.strip() else ""
    parts = [" ".join(part.split()) for part in (name, journal, year) if part.strip()]
    return ", ".join(parts) or None


SELECTED, REPEATED_PAPER, REPEATED_TEXT, OVER_LIMIT = range(4)
REASONS = {
    REPEATED_PAPER: "the same paper again",
    REPEATED_TEXT: "the same title and abstract again",
    OVER_LIMIT: "over max_rows",
}


class CORD19(BaseSource):
    """Papers of CORD-19, of which at most `max_rows` are sampled by a hash of their keys and the seed.

    Of several records of a paper, and of several papers with one text, only one is used. The sample does not depend on
    the order in the file, unless papers lack an id. The files are read twice, first to sample. This needs about 25
    bytes of memory per paper, and about 100 more for each one in the sample.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="CORD-19: titles of papers on coronaviruses from their abstracts",
        format="metadata.csv (.gz too); parsed papers (.json) or PubTator abstracts (.ttl) in a directory, .zip or "
        ".tar.gz; or the WHO's database as .csv",
        get="allenai.org/data/cord-19 (Semantic Scholar, last release of June 2022): metadata.csv; PubTator's and the "
        "WHO's: github.com/fhircat/CORD-19-on-FHIR",
        licence="that of each paper; the license column of metadata.csv has it per row",
        size="1.6 GB metadata.csv",
        rows="821,007 published, 50,000 of them used; 1,878 of PubTator's 2,030, 1,327 of the WHO's 2,048 (measured)",
        remark="a paper can occur several times; without max_rows, titles would dominate the mix",
    )
    applied_settings: ClassVar[frozenset[str]] = frozenset({"max_rows"})

    kind: Literal["cord19"] = "cord19"
    name: Name = "cord19"
    path: str
    licence: str | None = "of the paper (not stated)"
    attribution: str | None = "CORD-19 (L. Lu Wang et al., 2020)"
    url: str | None = "https://github.com/allenai/cord19"
    max_rows: int | None = Field(default=50_000, ge=1)
    # Length of the shortest abstract, in characters, not words, because some abstracts are Chinese.
    min_characters: int = Field(default=60, ge=0)

    def files(self, root: Path) -> list[Path]:
        return paper_files(self._resolve(root))

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        path = self._resolve(root)
        results = iter(self._sample(path, seed))
        for paper in read_papers(path):
            if isinstance(paper, Reject):
                yield paper
            elif reason := self._find_fault(paper) or REASONS.get(next(results)):
                yield Reject(paper.file, paper.location, reason, paper.record, by_rule=True)
            else:
                yield self.make_row(
                    source_id=f"{paper.file} {paper.location} {paper.key}",
                    instruction=TITLE_INSTRUCTION,
                    input=paper.abstract,
                    output=paper.title,
                    url=paper.url,
                    licence=paper.licence,
                    attribution=paper.attribution,
                    group=f"{self.name}:{paper.key}",
                )

    def _resolve(self, root: Path) -> Path:
        return self.resolve(root, self.path, "file or directory")

    def _find_fault(self, paper: Paper) -> str | None:
        if not paper.abstract:
            return "no abstract"
        if not paper.title:
            return "no title"
        return "abstract too short" if len(paper.abstract) < self.min_characters else None

    def _sample(self, path: Path, seed: int) -> bytearray:
        """Return one value for every paper without a fault, in file order: SELECTED or a key of `REASONS`."""
        import numpy as np

        papers, texts = array("Q"), array("Q")
        for paper in read_papers(path):
            if not isinstance(paper, Reject) and self._find_fault(paper) is None:
                papers.append(_hash_number(f"{seed}:{paper.key}"))
                texts.append(_hash_number(f"{paper.title.lower()}\n{paper.abstract.lower()}"))
        # Of the records of one paper, the one with the smallest hash of its text comes first, in any file order.
        order = np.lexsort((np.frombuffer(texts, np.uint64), np.frombuffer(papers, np.uint64)))
        results = bytearray([OVER_LIMIT]) * len(papers)
        selected, seen_texts, last = 0, set[int](), -1
        for n in order:
            paper_hash, text_hash = papers[n], texts[n]
            if paper_hash == last:
                results[n] = REPEATED_PAPER
            elif text_hash in seen_texts:
                results[n] = REPEATED_TEXT
            elif self.max_rows is not None and selected == self.max_rows:
                break
            else:
                results[n], last = SELECTED, paper_hash
                selected += 1
                seen_texts.add(text_hash)
        return results


def _hash_number(text: str) -> int:
    return int(sha256_bytes(text.encode())[:16], 16)
