"""MedQuAD: consumers' questions with answers from the sites of the US National Institutes of Health."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal
from xml.etree.ElementTree import Element

from ..core.archive import open_bytes, read_members
from ..core.errors import UserError
from ..core.files import existing
from ..core.joined_digits import JoinedDigits, find_joined_digits
from ..formats.xml import element_text, read_elements
from .base import About, BaseSource, Name, Record, Reject

# Four documents of NINDS and one of the CDC are in layouts of their own, with other names for the same things.
DOCUMENTS = ("Document", "doc", "DiseaseFile")
INSTITUTES: Mapping[str, str] = {
    "CancerGov": "National Cancer Institute",
    "GARD": "Genetic and Rare Diseases Information Center",
    "GHR": "Genetics Home Reference",
    "MPlusHealthTopics": "MedlinePlus Health Topics",
    "NIDDK": "National Institute of Diabetes and Digestive and Kidney Diseases",
    "NINDS": "National Institute of Neurological Disorders and Stroke",
    "NIHSeniorHealth": "NIH Senior Health",
    "NHLBI": "National Heart, Lung, and Blood Institute",
    "CDC": "Centers for Disease Control and Prevention",
    "ADAM": "A.D.A.M. Medical Encyclopedia",
    "MPlusDrugs": "MedlinePlus Drugs",
    "MPlusHerbsSupplements": "MedlinePlus Herbs and Supplements",
}
LARGEST = 16 << 20  # bytes of one document
# Upstream's forms that are no sentences of a consumer; the new ones fit one disease and many.
FORMS = (
    (re.compile(r"^what is \(are\) (.+)", re.IGNORECASE), r"What is meant by \1"),
    (re.compile(r"^do you have information about (.+)", re.IGNORECASE), r"What should I know about \1"),
)
MARKS = re.compile(r"[\s?.]++$")
UNFINISHED = re.compile(
    r"(?:\(are\)| for| of| about|^how to \w+)\?$", re.IGNORECASE
)  # made from an empty focus
BULLET = re.compile(r"[ \t]{2,}-[ \t]+")
BLANKS = re.compile(r"[ \t\u00a0]+")
BLANK_LINES = re.compile(r"\n{3,}")


class MedQuAD(BaseSource):
    """`path` is the repository as a directory, or an archive of it; `qtypes`, if given, are the types to take."""

    about: ClassVar[About] = About(
        title="MedQuAD: consumers' questions with answers from sites of the US National Institutes of Health",
        format=".xml, one file for each document, in a directory, .zip or .tar.gz",
        get="github.com/abachaa/MedQuAD",
        licence="CC BY 4.0",
        size="6 MB packed (subsets 1 to 9)",
        rows="16,419 of 16,428 pairs of the nine subsets that have answers (measured); 31,029 more have none",
    )

    kind: Literal["medquad"] = "medquad"
    name: Name = "medquad"
    path: str
    licence: str | None = "CC BY 4.0"
    attribution: str | None = "MedQuAD (A. Ben Abacha, D. Demner-Fushman, BMC Bioinformatics 2019)"
    url: str | None = "https://github.com/abachaa/MedQuAD"
    qtypes: list[str] | None = None

    def files(self, root: Path) -> list[Path]:
        place = self._place(root)
        if not place.is_dir():
            return [place]
        found = sorted(file for file in place.rglob("*") if file.suffix.lower() == ".xml" and file.is_file())
        if not found:
            raise UserError(f"{place}: no document (.xml) in it")
        return found

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        place = self._place(root)
        if place.is_dir():
            for path in self.files(root):
                with open_bytes(path) as data:
                    yield from self._document(path.relative_to(place).as_posix().replace(" ", "_"), "", data)
            return
        if place.suffix.lower() == ".xml":
            raise UserError(f"{place}: name the directory of MedQuAD's documents, or an archive of it")
        empty = True
        for member, data in read_members(place, ".xml"):
            empty = False
            yield from self._document(place.name.replace(" ", "_"), f"{member.replace(' ', '_')} ", data)
        if empty:
            raise UserError(f"{place}: no document (.xml) in it")

    def _place(self, root: Path) -> Path:
        return existing(root / Path(self.path).expanduser(), f"file or directory (source {self.name!r})")

    def _document(self, file: str, member: str, data: BinaryIO) -> Iterator[Record]:
        """The pairs of one document; one that cannot be read is a record of its own, thousands stand beside it."""
        where = f"{member}document"
        text = data.read(LARGEST + 1)
        if len(text) > LARGEST:
            yield Reject(file, where, "a document of more than 16 MB", None)
            return
        try:
            documents = list(read_elements(io.BytesIO(text), file, DOCUMENTS))
        except UserError as error:
            yield Reject(file, where, "not readable as XML", {"error": str(error)})
            return
        if not documents:
            yield Reject(file, where, "not a document of MedQuAD", None)
        for place, document in documents:
            yield from self._pairs(file, member, place, document)

    def _pairs(self, file: str, member: str, place: str, document: Element) -> Iterator[Record]:
        focus = " ".join((document.findtext("Focus") or document.findtext("doctitle-focus") or "").split())
        institute = document.get("source") or document.get("corpus") or ""
        name = document.get("id") or document.get("docid") or document.get("fid") or place
        pairs = [*document.iter("QAPair"), *document.iter("pair")]
        if not pairs:
            yield Reject(
                file, f"{member}document", "a document without questions", {"focus": focus}, by_rule=True
            )
        for number, pair in enumerate(pairs, 1):
            asked = _child(pair, "question")
            question = _question(element_text(asked))
            answer = _answer(element_text(_child(pair, "answer")))
            qtype = (asked.get("qtype") or "").strip().lower()
            where = f"{member}pair {number}"
            record = {"focus": focus, "qtype": qtype, "question": question, "answer": answer}
            if not question:
                yield Reject(file, where, "no question", record)
            elif not answer:
                yield Reject(file, where, "no answer upstream", record, by_rule=True)
            elif not focus and UNFINISHED.search(question):
                yield Reject(
                    file, where, "a question that does not say what it is about", record, by_rule=True
                )
            elif self.qtypes is not None and qtype not in self.qtypes:
                yield Reject(file, where, "a type of question that is not asked for", record, by_rule=True)
            elif digits := find_joined_digits(question) or find_joined_digits(answer):
                yield Reject.of(file, where, JoinedDigits(digits), record)
            else:
                yield self.make(
                    source_id=f"{file} {where} {qtype}".strip(),
                    instruction=question,
                    output=answer,
                    url=document.get("url") or None,
                    attribution=", ".join(
                        part for part in (INSTITUTES.get(institute, institute), self.attribution) if part
                    ),
                    group=f"{self.name}:{focus.lower() or f'{institute} {name}'}",
                )


def _child(pair: Element, name: str) -> Element:
    found = pair.find(name.capitalize() if pair.tag == "QAPair" else name)
    return found if found is not None else Element(name)


def _question(text: str) -> str:
    """One line that ends in one question mark, in a form that a consumer would use."""
    text = MARKS.sub("", " ".join(text.split()))
    for form, new in FORMS:
        text = form.sub(new, text)
    return f"{text[:1].upper()}{text[1:]}?" if text else ""


def _answer(text: str) -> str:
    """Without the layout of the page it was cut from: indented lines, and bullets that share a line."""
    lines = (BLANKS.sub(" ", line).strip() for line in BULLET.sub("\n- ", text).split("\n"))
    return BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()
