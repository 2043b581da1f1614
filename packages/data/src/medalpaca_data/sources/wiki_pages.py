"""What WikiDoc's textbook and its patient pages share: pages to sections, and the rules of what makes no row.

Headings of an encyclopaedia of diseases as questions: known ones in words of their own, others in a general form.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import yaml
from pydantic import Field

from ..core.files import existing
from ..core.joined_digits import JoinedDigits
from ..formats.mediawiki import Page, page_files, read_pages
from ..formats.wikitext import Section
from .base import BaseSource, Record, Reject

LICENCE = "CC BY-SA 3.0"
# Who edited a chapter stands in its first lines, in bold and not in a template.
EDITORS = re.compile(
    r"^.*\b(?:associate )?editors?(?:\(s\)|s)?[- ]in[- ]chief\b.*$\n?", re.IGNORECASE | re.MULTILINE
)
KEYWORDS = re.compile(r"^synonyms and keywords:.*$\n?", re.IGNORECASE | re.MULTILINE)


class WikiPages(BaseSource):
    """`path` is an export or a directory of saved pages; `site` is what a page's address begins with."""

    path: str
    licence: str | None = LICENCE
    url: str | None = "https://www.wikidoc.org"
    site: str = "https://www.wikidoc.org/index.php/"
    min_words: int = Field(default=10, ge=0)  # of an answer

    def files(self, root: Path) -> list[Path]:
        return page_files(self._place(root))

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        for page in read_pages(self._place(root)):
            if reason := _no_page(page) or self.other_page(page):
                yield Reject(
                    _name(page), page.location or "page", reason, {"title": page.title}, by_rule=True
                )
                continue
            try:
                sections = page.sections()
            except ValueError as error:
                yield Reject.of(_name(page), page.location or "page", error, {"title": page.title})
                continue
            records = list(self._page(page, sections))
            if not records:
                reason = "a page without text"
                yield Reject(
                    _name(page), page.location or "page", reason, {"title": page.title}, by_rule=True
                )
            yield from records

    @abstractmethod
    def other_page(self, page: Page) -> str | None:
        """Why a page is not this source's, or None."""

    @abstractmethod
    def question(self, page: Page, headings: list[str]) -> str | None:
        """The question that a section answers, or None."""

    @abstractmethod
    def group(self, page: Page) -> str:
        """What all of a page's rows have in common, without the source's name."""

    def _place(self, root: Path) -> Path:
        return existing(root / Path(self.path).expanduser(), f"file or directory (source {self.name!r})")

    def _page(self, page: Page, sections: list[Section]) -> Iterator[Record]:
        above: list[tuple[int, str]] = []
        for number, section in enumerate(sections):
            above = [pair for pair in above if pair[0] < section.level]
            if section.level:
                above.append((section.level, section.heading))
            headings = [heading for _, heading in above]
            answer = KEYWORDS.sub("", EDITORS.sub("", section.text)).strip() if number == 0 else section.text
            if number == 0 and not answer:
                continue  # nothing stands before the first heading, or only who edited the page
            place = f"{page.location or 'page'} section {number}"
            told = f'page="{page.title}" heading="{" / ".join(headings)}"'
            asked = self.question(page, headings)
            record = {"page": page.title, "headings": headings, "text": section.text}
            if reason := self._no_answer(section, answer, asked):
                yield Reject(_name(page), place, reason, record, by_rule=True)
            elif section.joined:
                yield Reject.of(_name(page), place, JoinedDigits(section.joined), record)
            else:
                yield self.make(
                    source_id=f"{_name(page)} {place} {told}",
                    instruction=asked or "",
                    output=answer,
                    url=self.site + quote(page.title.replace(" ", "_"), safe="/:(),'"),
                    attribution=_attribution(page, self.attribution),
                    group=f"{self.name}:{self.group(page).lower()}",
                )

    def _no_answer(self, section: Section, answer: str, asked: str | None) -> str | None:
        if asked is None:
            return "a heading that makes no question"
        if not answer:
            return "no text under the heading"
        if section.links_only:
            return "a list of links only"
        if len(answer.split()) < self.min_words:
            return "answer too short"
        return None


def _no_page(page: Page) -> str | None:
    if page.kind == "redirect":
        return "a redirect"
    if not page.in_main:
        return "a page outside the main namespace"
    if page.kind != "article":
        return f"a {page.kind} page"
    return None if page.title else "a page without a title"


def _name(page: Page) -> str:
    """The file's name as one word, because a place in `source_id` follows after a blank."""
    return quote(page.file, safe="/:(),'!$&+;=@~")


def _attribution(page: Page, whom: str | None) -> str:
    return ", ".join(
        part for part in (whom, f'"{page.title}"', page.revision and f"revision {page.revision}") if part
    )


SHORT = "Answer in short."

_TABLE = yaml.safe_load(files(__package__).joinpath("wiki_headings.yaml").read_text(encoding="utf-8"))
KNOWN: Mapping[str, str] = {name: form for form, names in _TABLE["questions"].items() for name in names}
NONE = frozenset(_TABLE["none"])
OVERVIEW = frozenset(("overview", "summary", "in brief", ""))
# Endings of the titles of the pages that a large article is divided into.
CHAPTERS = tuple(
    sorted(
        {name for name in KNOWN if len(name) > 4 or name in ("mri", "ct", "ecg")}
        | {"overview", "patient information"},
        key=len,
        reverse=True,
    )
)
SIGNS = re.compile(r"[^\w()?' ]+")
SPACES = re.compile(r" {2,}")
LONGEST = 120  # characters of a heading; what is longer is a sentence in a heading's place


def split_title(title: str) -> tuple[str, str]:
    """("Asthma", "medical therapy") for the page "Asthma medical therapy"; ("Asthma", "") for the article itself."""
    plain = _plain(title)
    for chapter in CHAPTERS:
        if plain.endswith(f" {chapter}") or plain.endswith(f" ({chapter})"):
            words = title.split()
            topic = " ".join(words[: -len(chapter.split())]).rstrip(" ,-(")
            if topic:
                return topic, chapter
    return title, ""


def question(title: str, headings: Sequence[str]) -> str | None:
    """The question that the section under `headings` (outermost first) answers, or None where it answers none.

    `headings` is empty for what stands before a page's first heading.
    """
    topic, chapter = split_title(title)
    *above, heading = headings or ("",)
    names = [_key(one, topic) for one in (*above, heading)]
    if any(name in NONE for name in names) or len(heading) > LONGEST:
        return None
    name = names[-1]
    if name in OVERVIEW:
        form = next((KNOWN[one] for one in (*reversed(names[:-1]), chapter) if one in KNOWN), "What is {x}?")
        asked = form.replace("{x}", topic)
        return asked if form == "What is {x}?" else f"{asked} {SHORT}"
    if heading.endswith("?"):
        return heading if topic.lower() in heading.lower() else f"{heading} (about {topic})"
    if name in KNOWN:
        return KNOWN[name].replace("{x}", topic)
    if len(name) < 3:  # a letter of an alphabetical list
        return None
    parent = next((KNOWN[one] for one in reversed(names[:-1]) if one in KNOWN), KNOWN.get(chapter))
    if parent:
        return f"{parent.replace('{x}', topic)} (the part on {heading})"
    if topic.lower() in heading.lower():
        return f"What is known about {heading}?"
    return f"What is known about {heading} in the context of {topic}?"


def _key(heading: str, topic: str) -> str:
    """A heading without its topic, signs and capitals, as KNOWN has it."""
    plain, about = _plain(heading), _plain(topic)
    if about and about in plain and plain != about:
        plain = re.sub(rf"\b(?:of |in |for )?(?:an? |the )?{re.escape(about)}(?:'s)?(?!\w)", "", plain)
    return SPACES.sub(" ", plain).strip(" ?")


def _plain(text: str) -> str:
    return SPACES.sub(" ", SIGNS.sub(" ", text.lower().replace("&", " and "))).strip()
