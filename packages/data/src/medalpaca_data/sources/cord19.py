"""CORD-19: the title of a paper from its abstract."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ..ground.files import existing, sha256_bytes
from .base import About, BaseSource, Name, Record, Reject
from .cord19_papers import Paper, paper_files, read_papers
from .published import TITLE_INSTRUCTION

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
