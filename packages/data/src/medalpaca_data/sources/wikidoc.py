"""WikiDoc's textbook: a section's heading is made a question by rule, and its text is the answer."""

from __future__ import annotations

from typing import ClassVar, Literal

from ..formats.mediawiki import Page
from .base import About, Name
from .wiki_pages import WikiPages
from .wiki_questions import question, split_title
from .wikidoc_patient_info import is_patient_page


class WikiDoc(WikiPages):
    """A large article and the pages that it is divided into ("Asthma causes") are one group."""

    about: ClassVar[About] = About(
        title="WikiDoc, a medical textbook that its readers write",
        format="MediaWiki export (.xml, .xml.gz, .xml.bz2), a saved page (.html) or a directory of those",
        get="wikidoc.org: Special:Export (categories or lists of titles), or pages saved from the browser",
        licence="CC BY-SA 3.0",
        size="a few hundred MB as an export of the whole site (not measured)",
        rows="67,704 published in 2023, 10,000 of them used; none measured, for want of the file",
        remark="questions are made from headings by rule; tables, pictures and references are left out",
    )

    kind: Literal["wikidoc"] = "wikidoc"
    name: Name = "wikidoc"
    attribution: str | None = "WikiDoc contributors"

    def other_page(self, page: Page) -> str | None:
        return "a page of patient information" if is_patient_page(page.title) else None

    def question(self, page: Page, headings: list[str]) -> str | None:
        return question(page.title, headings)

    def group(self, page: Page) -> str:
        return split_title(page.title)[0]
