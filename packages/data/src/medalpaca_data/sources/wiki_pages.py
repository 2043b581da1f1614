"""Base class for sources from wiki pages: each section gives a row with a question made from its heading, or a reject.

Known headings have their own question forms (wiki_headings.yaml); for other headings there is a general form.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import yaml
from pydantic import Field

from ..core.joined_digits import JoinedDigits
from ..core.unclear_text import STRUCK
from ..formats.mediawiki import Page, page_files, read_pages
from ..formats.wikitext import Section
from .base import BaseSource, Record, Reject

LICENCE = "CC BY-SA 3.0"
# Lines at the start of a page that name its editors; WikiDoc writes them in bold, not in a template.
EDITORS = re.compile(
    r"^.*\b(?:associate )?editors?(?:\(s\)|s)?[- ]in[- ]chief\b.*$\n?", re.IGNORECASE | re.MULTILINE
)
KEYWORDS = re.compile(r"^synonyms and keywords:.*$\n?", re.IGNORECASE | re.MULTILINE)


class WikiPages(BaseSource):
    """A source from wiki pages: `path` is an export, a saved page, or a directory of saved pages.

    `site` is the start of each page's address. A section of fewer than `min_words` words is excluded.
    """

    path: str
    licence: str | None = LICENCE
    url: str | None = "https://www.wikidoc.org"
    site: str = "https://www.wikidoc.org/index.php/"
    min_words: int = Field(default=10, ge=0)

    def has_wikitext(self) -> bool:
        return True

    def files(self, root: Path) -> list[Path]:
        return page_files(self._resolve(root))

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        for page in read_pages(self._resolve(root)):
            if reason := _find_page_fault(page) or self.other_page(page):
                yield Reject(
                    _quote_file_name(page),
                    page.location or "page",
                    reason,
                    {"title": page.title},
                    by_rule=True,
                )
                continue
            try:
                sections = page.sections()
            except ValueError as error:
                yield Reject.of(_quote_file_name(page), page.location or "page", error, {"title": page.title})
                continue
            records = list(self._page(page, sections))
            if not records:
                reason = "a page without text"
                yield Reject(
                    _quote_file_name(page),
                    page.location or "page",
                    reason,
                    {"title": page.title},
                    by_rule=True,
                )
            yield from records

    @abstractmethod
    def other_page(self, page: Page) -> str | None:
        """Return the reason why a page does not belong to this source, or None if it does."""

    @abstractmethod
    def question(self, page: Page, headings: list[str]) -> str | None:
        """Return the question that a section answers, or None if its headings make none.

        `headings` are those of the section and of the sections around it, outermost first. The text before the first
        heading has none.
        """

    @abstractmethod
    def group(self, page: Page) -> str:
        """Return the group of all rows of a page, without the name of the source."""

    def _resolve(self, root: Path) -> Path:
        return self.resolve(root, self.path, "file or directory")

    def _page(self, page: Page, sections: list[Section]) -> Iterator[Record]:
        above: list[tuple[int, str]] = []
        for number, section in enumerate(sections):
            above = [pair for pair in above if pair[0] < section.level]
            if section.level:
                above.append((section.level, section.heading))
            headings = [heading for _, heading in above]
            answer = KEYWORDS.sub("", EDITORS.sub("", section.text)).strip() if number == 0 else section.text
            if number == 0 and not answer:
                # There is no text before the first heading, or only the names of the editors.
                continue
            location = f"{page.location or 'page'} section {number}"
            origin = f'page="{page.title}" heading="{" / ".join(headings)}"'
            question = self.question(page, headings)
            record = {"page": page.title, "headings": headings, "text": section.text}
            if reason := self._find_fault(section, answer, question):
                yield Reject(_quote_file_name(page), location, reason, record, by_rule=True)
            elif section.is_struck:
                yield Reject.of(_quote_file_name(page), location, ValueError(STRUCK), record)
            elif section.joined:
                yield Reject.of(_quote_file_name(page), location, JoinedDigits(section.joined), record)
            else:
                yield self.make_row(
                    source_id=f"{_quote_file_name(page)} {location} {origin}",
                    instruction=question or "",
                    output=answer,
                    url=self.site + quote(page.title.replace(" ", "_"), safe="/:(),'"),
                    attribution=_format_attribution(page, self.attribution),
                    group=f"{self.name}:{self.group(page).lower()}",
                )

    def _find_fault(self, section: Section, answer: str, question: str | None) -> str | None:
        if question is None:
            return "a heading that makes no question"
        if not answer:
            return "no text under the heading"
        if section.links_only:
            return "a list of links only"
        if len(answer.split()) < self.min_words:
            return "answer too short"
        return None


def _find_page_fault(page: Page) -> str | None:
    if page.kind == "redirect":
        return "a redirect"
    if not page.in_main:
        return "a page outside the main namespace"
    if page.kind != "article":
        return f"a {page.kind} page"
    return None if page.title else "a page without a title"


def _quote_file_name(page: Page) -> str:
    """Return the page's file name, percent-encoded, because a space separates it from the location in `source_id`."""
    return quote(page.file, safe="/:(),'!$&+;=@~")


def _format_attribution(page: Page, authors: str | None) -> str:
    return ", ".join(
        part for part in (authors, f'"{page.title}"', page.revision and f"revision {page.revision}") if part
    )


SHORT_ANSWER = "Answer in short."

OVERVIEW_HEADINGS = frozenset(("overview", "summary", "in brief", ""))
PUNCTUATION = re.compile(r"[^\w()?' ]+")
SPACES = re.compile(r" {2,}")
# A longer heading, in characters, is a sentence and makes no question.
MAX_HEADING_LENGTH = 120


class HeadingTable(NamedTuple):
    """Content of wiki_headings.yaml.

    `questions` maps a heading to its question form. Headings in `none` make no question. `chapters` are the ends of the
    titles of the pages of a large article ("Asthma causes"), the longest first. `page_words` are the words of questions
    that do not name their topic.
    """

    questions: Mapping[str, str]
    none: frozenset[str]
    chapters: tuple[str, ...]
    page_words: frozenset[str]


@cache
def heading_table() -> HeadingTable:
    """Return the known headings. The file is read on first use, because only wiki sources need it."""
    table = yaml.safe_load(files(__package__).joinpath("wiki_headings.yaml").read_text(encoding="utf-8"))
    questions = {name: form for form, names in table["questions"].items() for name in names}
    chapters = {name for name in questions if len(name) > 4 or name in ("mri", "ct", "ecg")}
    chapters |= {"overview", "patient information"}
    return HeadingTable(
        questions,
        frozenset(table["none"]),
        tuple(sorted(chapters, key=len, reverse=True)),
        frozenset(table["page_words"]),
    )


def split_title(title: str) -> tuple[str, str]:
    """Return topic and chapter of a page title: "Asthma medical therapy" gives ("Asthma", "medical therapy").

    A title without a known chapter at its end is the topic, and the chapter is "".
    """
    plain = _normalize_text(title)
    for chapter in heading_table().chapters:
        if plain.endswith(f" {chapter}") or plain.endswith(f" ({chapter})"):
            words = title.split()
            topic = " ".join(words[: -len(chapter.split())]).rstrip(" ,-(")
            if topic:
                return topic, chapter
    return title, ""


def make_question(title: str, headings: Sequence[str]) -> str | None:
    """Return the question that the section under `headings` answers, or None if they make no question.

    `headings` are those of the section and of the sections around it, outermost first. It is empty for the text before
    the first heading of a page.
    """
    table = heading_table()
    topic, chapter = split_title(title)
    *above, heading = headings or ("",)
    names = [_normalize_heading(one, topic) for one in (*above, heading)]
    if any(name in table.none for name in names) or len(heading) > MAX_HEADING_LENGTH:
        return None
    name = names[-1]
    if name in OVERVIEW_HEADINGS:
        form = next(
            (table.questions[one] for one in (*reversed(names[:-1]), chapter) if one in table.questions),
            "What is {x}?",
        )
        question = form.replace("{x}", topic)
        return question if form == "What is {x}?" else f"{question} {SHORT_ANSWER}"
    if heading.endswith("?"):
        return heading if topic.lower() in heading.lower() else f"{heading} (about {topic})"
    if name in table.questions:
        return table.questions[name].replace("{x}", topic)
    # A letter of an alphabetical list.
    if len(name) < 3:
        return None
    parent = next(
        (table.questions[one] for one in reversed(names[:-1]) if one in table.questions),
        table.questions.get(chapter),
    )
    if parent:
        return f"{parent.replace('{x}', topic)} (the part on {heading})"
    if topic.lower() in heading.lower():
        return f"What is known about {heading}?"
    return f"What is known about {heading} in the context of {topic}?"


def _normalize_heading(heading: str, topic: str) -> str:
    """Return a heading in lower case, without its topic and punctuation, as a key of `HeadingTable.questions`."""
    plain, about = _normalize_text(heading), _normalize_text(topic)
    if about and about in plain and plain != about:
        plain = re.sub(rf"\b(?:of |in |for )?(?:an? |the )?{re.escape(about)}(?:'s)?(?!\w)", "", plain)
    return SPACES.sub(" ", plain).strip(" ?")


def _normalize_text(text: str) -> str:
    return SPACES.sub(" ", PUNCTUATION.sub(" ", text.lower().replace("&", " and "))).strip()
