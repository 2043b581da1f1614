"""WikiDoc: the textbook and the patient information, from pages or from the rows published in 2023.

From a page, a rule makes a question from the heading of each section, and the text of the section is the answer. For
the published rows, this module finds the subject of a question, and excludes questions about the wiki itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import unquote

from pydantic import Field

from ..core.errors import BadRecord
from ..core.records import FileNote, read_records
from ..core.row import parse_row
from ..formats.mediawiki import Page
from .answer_rules import Repair, points_outside
from .base import DATA_SUFFIXES, Name, Record, Reject, SourceInfo, parse_row_split
from .wiki_pages import WikiPages, heading_table, make_question, split_title

# The published rows contain help pages of the wiki and the empty form of a patient page.
WIKI_HELP = re.compile(
    r"wikidoc|\bwiki|editor.in.chief|be an \"?expert|equal signs|\bcategory\b|\breferences?\b(?! range)|"
    r"reference manager|microchapter|user page|\bredirect|\bfont\b|insert an? |table of contents|"
    r"return to top|upload a|sidebar|straight to a picture|computer code|big quotes|tools for editing|"
    r"\blog in\b|pictures across|\bgallery\b|"
    r"incidence and prevalence project|links black|level of the audience|\bthe page\b|page i want|individual pages|"
    r"\.svg|\bsynonyms?\b|of the content|\ba template\b|news services|what colors|deletion review|"
    r"meet (?:those|these) needs",
    re.IGNORECASE,
)
EMPTY_FORM = re.compile(
    r"\((?:disease name|project name|condition)\)|^patient information page template", re.IGNORECASE
)
EMPTY_FORM_ANSWER = re.compile(
    r"^(?:here you can list|this section should focus on|in this section you should)\b|\((?:disease|project) name\)",
    re.IGNORECASE,
)
PAGE_NAME = re.compile(r"[(\s]+patient information\b\)?", re.IGNORECASE)
# Residue of wiki markup: videos, empty figures, broken references, and link targets: "Anemia (patient information)|".
RESIDUE = re.compile(
    r"\{\{#ev:[^{}]*\}\}|</?figure-inline[^<>]*>|<ref[^<>]*</ref>|"
    r"[A-Z][^A-Z|\n]{0,40} ?\(patient information[)}]\|\s?"
)
# A link without its target.
DIRECTIONS = re.compile(
    r"^Directions to hospitals (?:performing|treating) [^\n]*\n?", re.IGNORECASE | re.MULTILINE
)
WORD = re.compile(r"\w+")
SPACE = re.compile(r"\s+")
BEFORE_MARK = re.compile(r"\s+(?=\?)")

# Forms of complete questions; the group `x` is the subject. The first form that matches is used.
_SIGNS = r"(?:signs? (?:and|or) )?symptoms|(?:possible )?causes|risks?|(?:possible )?complications|types|treatments?"
_AFTER = r"(?: \((?:outlook/prognosis|outlook|diagnosis)\))?"
_DONE = r"(?:done|performed|made|diagnosed|treated|prevented|inherited|spread|transmitted)"
QUESTION_SHAPES = (
    r"how do i know if (?:i|my baby|my child) ha(?:ve|s) (?P<x>.+?) and what .+",
    rf"what (?:are|is) (?:the |some (?:of the )?)?(?:possible )?"
    rf"(?:{_SIGNS}|side effects|precautions against|precautions for|prognosis for someone with|costs)"
    rf"(?: of| for| against)? (?P<x>.+?){_AFTER}",
    r"what causes (?P<x>.+?)",
    r"when to (?:seek|get) (?:urgent )?medical (?:care|attention)(?: when i have| for| if i have)? "
    rf"(?P<x>.+?){_AFTER}",
    rf"what to expect (?:if i have|before|after|during) (?P<x>.+?){_AFTER}",
    r"who is at (?:the )?(?:high(?:est)? )?risks? (?:for|of) (?P<x>.+?)",
    r"where to (?:find|get) (?:medical care for|cent(?:er|re)s that (?:perform|do)) (?P<x>.+?)",
    rf"how (?:to|do i) know (?:if )?(?:you|i|your baby|my baby) (?:have|has) (?P<x>.+?){_AFTER}",
    r"(?:when|what|where|how|should|can|may) .+ (?:after|before) (?:i underwent )?(?P<x>.+? instructions)",
    rf"how (?:is|are|a|an) (?P<x>.+?) {_DONE}",
    r"how will (?P<x>.+?) feel",
    rf"why is (?P<x>.+?) {_DONE}",
    r"how (?:to prepare|common|often|frequent)(?: for| is| are| does)? (?P<x>.+?)(?: occur)?",
    r"who (?:needs|should have|should not (?:take|have)) (?P<x>.+?)",
    r"(?:what should i tell my doctor before|how should i|what should i do) .*?(?:taking|take|store) (?P<x>.+?)",
    r"what diseases are caused by (?P<x>\w+)",
    r"what is (?P<x>.+?)",
    rf"is (?P<x>.+?) (?:ever fatal|fatal|contagious|{_DONE})",
)
# Phrases in the position of the subject that name none, because the question refers to the subject of its page.
NO_SUBJECT = re.compile(
    r"(?:the |this |that |an? |my |your |it\b|its )?(?:procedure|test|medication|medicine|drug|dose|treatment|surgery|"
    r"disease|outlook(?:/prognosis)?|risks?|results?|normal results|operation|condition|it|this|them|overdose|"
    r"outlook \(prognosis\)|most important .+|highest risk)?",
    re.IGNORECASE,
)
ARTICLE = re.compile(r"^(?:an?|the|your|my) ", re.IGNORECASE)
PARENTHESIS = re.compile(r"\s*\([^()]*\)$")


def clean_question(text: str) -> str:
    """Return the question without URL escapes (%27), the words "patient information" and extra spaces."""
    text = PAGE_NAME.sub("", unquote(text))
    return BEFORE_MARK.sub("", SPACE.sub(" ", text)).strip()


def find_exclusion(question: str, answer: str) -> str | None:
    """Return the reason why a question and its answer are not patient information, or None if they are."""
    if EMPTY_FORM.search(question) or EMPTY_FORM_ANSWER.search(answer):
        return "the form of a patient page, not filled in"
    if WIKI_HELP.search(question):
        return "about the wiki, not about medicine"
    return None


def names_no_subject(question: str) -> bool:
    """Return whether a question can only be understood on the page on which it was, as "What are the risks?"."""
    return heading_table().page_words.issuperset(WORD.findall(question.lower()))


def clean_answer(text: str) -> str:
    """Return the answer without residue of wiki markup and without links that have lost their targets."""
    return DIRECTIONS.sub("", RESIDUE.sub("", text)).strip()


@cache
def _compiled_shapes() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(shape + r"\s*\?$", re.IGNORECASE) for shape in QUESTION_SHAPES)


def find_subject(question: str) -> str | None:
    """Return the subject of a question in lower case, without article and regular plural s, or None if it has none."""
    for shape in _compiled_shapes():
        if match := shape.match(question):
            return _normalize_subject(match["x"])
    return None


def _normalize_subject(text: str) -> str | None:
    text = ARTICLE.sub("", text.strip().lower().replace("\u2019", "'"))
    # Parentheses after a name are dropped, as in "... (open)"; "(dermatofibroma)" alone is the name.
    text = (PARENTHESIS.sub("", text) or text.strip("()")).strip(" ?,.")
    if NO_SUBJECT.fullmatch(text):
        return None
    return (
        text[:-1]
        if len(text) > 4 and text.endswith("s") and not text.endswith(("ss", "us", "is", "'s", "as"))
        else text
    )


def _find_empty_answer(question: str, answer: str) -> str | None:
    if not answer:
        return "an answer that is only a video or a link"
    if names_no_subject(question):
        return "a question that does not name its subject"
    if points_outside(answer):
        return "an answer that points to another part of its page"
    return None


PATIENT_PAGE = re.compile(r"\s*\(?patient information\)?\s*$", re.IGNORECASE)


def is_patient_page(title: str) -> bool:
    """Return whether the title of a page ends with "patient information"."""
    return bool(PATIENT_PAGE.search(title))


class WikiDocPatientInfo(WikiPages):
    """Patient information: `path` is a file of published rows, or an export or saved pages as for `wikidoc`.

    The published rows have the question in `input` and keep the order of their pages. A question without a subject
    ("What are the risks?") therefore gets the group of the row before it, if there is one. For pages, `min_words` is
    the length of the shortest answer, which is low because "Prognosis is poor." is an answer. It does not apply to
    published rows.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="WikiDoc's patient information: questions about diseases with short answers for laypeople",
        format=".json, .jsonl, .csv, .parquet (instruction, input, output); or a MediaWiki export or saved pages",
        get="github.com/kbressem/medAlpaca: medical_meadow_small.json; or wikidoc.org: pages (patient information)",
        licence="CC BY-SA 3.0",
        size="4 MB",
        rows="5,682 of 5,942 (measured, 2023 file); the others are about the wiki, or answer nothing",
    )

    kind: Literal["wikidoc_patient_info"] = "wikidoc_patient_info"
    name: Name = "wikidoc_patient_info"
    attribution: str | None = "WikiDoc contributors"
    min_words: int = Field(default=2, ge=0)

    def files(self, root: Path) -> list[Path]:
        file = self._rows_file(root)
        return [file] if file else super().files(root)

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        file = self._rows_file(root)
        return self._rows(file) if file else super().records(root, seed)

    def other_page(self, page: Page) -> str | None:
        return None if is_patient_page(page.title) else "a page of the textbook"

    def question(self, page: Page, headings: list[str]) -> str | None:
        return make_question(PATIENT_PAGE.sub("", page.title), headings)

    def group(self, page: Page) -> str:
        return PATIENT_PAGE.sub("", page.title)

    def _rows_file(self, root: Path) -> Path | None:
        file = self.resolve(root, self.path, "file or directory")
        return (
            file if file.name.lower().removesuffix(".gz").endswith(DATA_SUFFIXES) and file.is_file() else None
        )

    def _rows(self, file: Path) -> Iterator[Record]:
        group = None
        notes: list[FileNote] = []
        for location, value in read_records(file, on_note=notes.append):
            try:
                if isinstance(value, BadRecord):
                    raise value
                row = parse_row(value)
                split = parse_row_split(row.split, "none")
            except (ValueError, BadRecord) as error:
                yield Reject.of(file.name, location, error, value)
                continue
            question, raw = clean_question(row.input or row.instruction), row.output.strip()
            answer = clean_answer(raw)
            if reason := find_exclusion(question, raw) or _find_empty_answer(question, answer):
                yield Reject(file.name, location, reason, value, by_rule=True)
            else:
                if answer != raw:
                    yield Repair("residue of wiki markup removed")
                group = find_subject(question) or group
                yield self.make_row(
                    source_id=f"{file.name} {location}",
                    instruction=question,
                    output=answer,
                    split=split,
                    group=f"{self.name}:{group}" if group else None,
                )
        yield from notes


class WikiDoc(WikiPages):
    """WikiDoc's textbook. An article and its chapter pages ("Asthma causes") share a group."""

    about: ClassVar[SourceInfo] = SourceInfo(
        title="WikiDoc, a collaborative medical textbook",
        format="MediaWiki export (.xml, .xml.gz, .xml.bz2), a saved page (.html) or a directory of saved pages",
        get="wikidoc.org: Special:Export (categories or lists of titles), or pages saved from the browser",
        licence="CC BY-SA 3.0",
        size="a few hundred MB as an export of the whole site (not measured)",
        rows="67,704 published in 2023, 10,000 of them used (not measured, the file is not available)",
        remark="questions are made from headings by rule; tables, pictures and references are omitted",
    )

    kind: Literal["wikidoc"] = "wikidoc"
    name: Name = "wikidoc"
    attribution: str | None = "WikiDoc contributors"

    def other_page(self, page: Page) -> str | None:
        return "a page of patient information" if is_patient_page(page.title) else None

    def question(self, page: Page, headings: list[str]) -> str | None:
        return make_question(page.title, headings)

    def group(self, page: Page) -> str:
        return split_title(page.title)[0]
