"""Pages of a MediaWiki site, from an XML export (plain or compressed) or from pages saved as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element

from ..core.errors import UserError
from ..core.files import existing
from ..core.joined_digits import MARK, remove_marks
from ..core.streams import open_bytes
from ..core.unclear_text import STRUCK, UnclearText
from .html import html_text_with_marks, mark_markup_edges
from .wiki_templates import tex_text
from .wikitext import LINK_END, LINK_START, STRUCK_MARK, Section, make_section, remove_comments, wiki_sections
from .xml import read_elements

Kind = Literal["article", "redirect", "disambiguation", "stub"]

# Characters. By default, MediaWiki refuses to store a longer page.
MAX_PAGE_LENGTH = 2 << 20
NAMESPACE = re.compile(
    "talk|user|file|image|mediawiki|template|help|category|special|media|portal|module|wikidoc|project|draft"
)
TEMPLATE = re.compile(r"\{\{[ \t\n]*([^{}|\n]{1,60})")
REDIRECT = re.compile(r"\s*#\s*REDIRECT", re.IGNORECASE)
HEADING_TAG = re.compile("h[1-6]")
DROPPED_TAG = re.compile("table|script|style|figure|noscript|form|iframe|math|svg|video|audio")
DROPPED_CLASS = re.compile(
    "reference|references|reflist|mw-references-wrap|mw-editsection|toc|thumb|gallery|navbox|noprint|infobox|catlinks|"
    "printfooter|mw-jump-link|metadata|error|tex|mwe-math-fallback-image-\\w+"
)
# Characters before and after a heading while a saved page is read; the level follows the first one.
HEADING_START, HEADING_END = "\ue002", "\ue003"
HEADING = re.compile(f"{HEADING_START}([1-6])([^{HEADING_START}{HEADING_END}]*){HEADING_END}")
RESERVED_CHARACTERS = str.maketrans(
    dict.fromkeys(LINK_START + LINK_END + HEADING_START + HEADING_END + STRUCK_MARK, MARK)
)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a wiki.

    file: name of the export, or path of the saved page in its directory.
    location: "line N" in an export, "" for a saved page.
    in_main: true for pages in the main namespace, which contains the articles.
    revision: id of the newest revision, or None if it is not stated.
    text: wikitext, or HTML if `saved` is true.
    """

    file: str
    location: str
    title: str
    in_main: bool
    kind: Kind
    revision: str | None
    text: str
    saved: bool = False

    def sections(self) -> list[Section]:
        """Return the sections of the page, in order, including those without text.

        Raises ValueError with a short reason if the page is too long or cannot be parsed. Raises JoinedDigits, which
        is a ValueError, if removing markup from a heading would join two numbers.
        """
        if len(self.text) > MAX_PAGE_LENGTH:
            raise ValueError("page longer than the MediaWiki limit")
        return _html_sections(self.text) if self.saved else wiki_sections(self.text)


def page_files(path: Path) -> list[Path]:
    """Return `path` if it is a file, else the saved pages in the directory and its subdirectories, sorted by path.

    Raises UserError if the directory has no saved page.
    """
    if not path.is_dir():
        return [path]
    files = sorted(
        file for file in path.rglob("*") if file.suffix.lower() in (".html", ".htm") and file.is_file()
    )
    if not files:
        raise UserError(f"{path}: no saved page (.html or .htm) in this directory")
    return files


def read_pages(path: Path) -> Iterator[Page]:
    """Yield the pages of an export (.xml, .xml.gz, .xml.bz2), one saved page, or all saved pages in a directory.

    A saved page has the suffix .html or .htm. Raises UserError if the path does not exist or has no page.
    """
    existing(path, "MediaWiki export or directory of saved pages")
    if path.is_dir():
        for file in page_files(path):
            yield _saved_page(file, file.relative_to(path).as_posix())
    elif path.suffix.lower() in (".html", ".htm"):
        yield _saved_page(path, path.name)
    else:
        yield from _export_pages(path)


def _export_pages(path: Path) -> Iterator[Page]:
    pages = 0
    with open_bytes(path) as file:
        for location, element in read_elements(file, str(path), {"page"}):
            pages += 1
            yield _export_page(path.name, location, element)
    if not pages:
        raise UserError(f"{path}: contains no page; expected a MediaWiki export such as pages-articles.xml")


def _export_page(file: str, location: str, element: Element) -> Page:
    # A page with its full history has many revisions, oldest first; only the newest one is read.
    revision = next(reversed(element.findall("revision")), Element("revision"))
    title = (element.findtext("title") or "").strip()
    text = revision.findtext("text") or ""
    space = (element.findtext("ns") or "").strip()
    kind: Kind = "article"
    if element.find("redirect") is not None or REDIRECT.match(text):
        kind = "redirect"
    else:
        kind = _kind(
            name.strip().lower() for name in TEMPLATE.findall(remove_comments(text[:MAX_PAGE_LENGTH]))
        )
    in_main = space == "0" if space else _is_in_main_namespace(title)
    return Page(file, location, title, in_main, kind, (revision.findtext("id") or "").strip() or None, text)


def _kind(templates: Iterator[str]) -> Kind:
    for name in templates:
        if name.startswith("disambig") or name.endswith("disambiguation") or name == "hndis":
            return "disambiguation"
        if name == "stub" or name.endswith(("-stub", " stub")):
            return "stub"
    return "article"


def _is_in_main_namespace(title: str) -> bool:
    space, colon, _ = title.partition(":")
    return not colon or not NAMESPACE.fullmatch(space.strip().lower().removesuffix(" talk"))


def _saved_page(path: Path, name: str) -> Page:
    from resiliparse.parse.html import HTMLTree

    with open_bytes(path) as file:
        text = file.read(4 * MAX_PAGE_LENGTH).decode("utf-8", "replace")
    tree = HTMLTree.parse(text)
    heading = tree.document.query_selector("#firstHeading") if tree.document else None
    title = " ".join(((heading.text if heading else tree.title) or "").split())
    # A title such as "Asthma - wikidoc" ends with the name of the site.
    if not heading:
        title = re.sub(r"\s+[-\u2013|]\s+[^-\u2013|]{1,40}$", "", title)
    kind: Kind = "article"
    if tree.document and tree.document.query_selector(".redirectMsg, .mw-redirect-target"):
        kind = "redirect"
    elif tree.document and tree.document.query_selector("#disambigbox, .disambig, .dmbox-disambig"):
        kind = "disambiguation"
    elif tree.document and tree.document.query_selector(".stub"):
        kind = "stub"
    revision = re.search(r'"wgRevisionId":\s?(\d{1,12})\b', text)
    return Page(
        name,
        "",
        title,
        _is_in_main_namespace(title),
        kind,
        revision[1] if revision else None,
        text,
        saved=True,
    )


def _html_sections(text: str) -> list[Section]:
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(mark_markup_edges(text.translate(RESERVED_CHARACTERS)))
    body = tree.body
    if body is None:
        return []
    content = body.query_selector("#mw-content-text, .mw-parser-output") or body
    dropped, headings, links = _find_nodes(content)
    for node in _struck_nodes(content):
        node.before(tree.create_text_node(STRUCK_MARK))
    for node in headings:
        node.prepend(tree.create_text_node(f"{HEADING_START}{node.tag[1]}"))
        node.append(tree.create_text_node(HEADING_END))
    for node in links:
        node.prepend(tree.create_text_node(LINK_START))
        node.append(tree.create_text_node(LINK_END))
    has_math = any(node.tag == "math" for node in dropped)
    for node in dropped:
        # A formula has its source in an attribute, and beside MathML also in the attribute of a picture.
        is_copy = has_math and "tex" not in node.class_list
        formula = node.getattr("alttext" if node.tag == "math" else "alt")
        if formula and (node.tag == "math" or not is_copy):
            node.before(tree.create_text_node(f"{MARK}{tex_text(formula)}{MARK}"))
        node.remove()
    first, *rest = HEADING.split(html_text_with_marks(content.html))
    parts = [make_section(0, "", first)]
    for level, heading, marked in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        if STRUCK_MARK in heading:
            raise UnclearText(STRUCK, heading, 0, len(heading))
        name = " ".join(remove_marks(heading.translate(RESERVED_CHARACTERS)).split())
        parts.append(make_section(int(level), name, marked))
    return parts


def _struck_nodes(content: Any) -> list[Any]:
    """Return the nodes with struck-through text."""
    nodes = content.query_selector_all("s, del, strike, [style*='line-through']")
    return [node for node in nodes if node.text.strip()]


def _find_nodes(content: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the nodes to drop, the headings, and the links; headings and links inside a node to drop are left out."""
    dropped, headings, links = [], [], []
    pending = [content]
    while pending:
        node = pending.pop()
        for child in node.children:
            tag = child.tag
            if DROPPED_TAG.fullmatch(tag) or any(map(DROPPED_CLASS.fullmatch, child.class_list)):
                dropped.append(child)
                continue
            if HEADING_TAG.fullmatch(tag):
                headings.append(child)
            elif tag == "a":
                links.append(child)
            pending.append(child)
    return dropped, headings, links
