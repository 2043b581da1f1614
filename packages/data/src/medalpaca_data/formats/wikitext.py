"""Wikitext to plain sections: prose and lists stay; templates, references, tables, files, categories and galleries go.

mwparserfromhell takes the markup apart; what a broken page leaves of it (unclosed links and templates, table rows,
image options) is removed afterwards, line by line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..core.joined_digits import (
    MARK,
    JoinedDigits,
    decode_digits,
    decode_entities,
    drop_needless_marks,
    remove_marks,
    show_marks_as_bars,
    substitute,
)

# Link text stands between these while a section is read; a section of nothing else is a list of links.
LINK_START, LINK_END = "\ue000", "\ue001"
LINK_MARKS = re.compile(f"[{LINK_START}{LINK_END}]")
LINK_TEXT = re.compile(f"{LINK_START}[^{LINK_START}{LINK_END}]*{LINK_END}")

DROPPED_TAG = re.compile(
    "ref|references|gallery|table|timeline|imagemap|math|score|syntaxhighlight|source|script|style|video|youtube|"
    "googlemap|categorytree|inputbox|dpl|noinclude|includeonly|figure|biblio"
)
DROPPED_LINK = re.compile("file|image|media|category|special")
INTERWIKI = re.compile(r"[a-z]{2,3}(-[a-z]+)*")  # [[de:Asthma]] is the same page in another language

BROKEN = "wikitext that cannot be taken apart"
# Each is bounded to its line or excludes its own opening, so that none can run over a page twice.
LEFTOVERS = (
    re.compile(r"\{\{[^{}]*\}\}"),
    re.compile(r"\[\[(?:file|image|category|media):[^\[\]\n]*(?:\]\])?", re.IGNORECASE),
    re.compile(
        r"</?(?:ref|gallery|references|center|div|span|br|small|big|nowiki|font)\b[^<>\n]*>", re.IGNORECASE
    ),
    re.compile(r"<ref(?:http)[^\s<>]*", re.IGNORECASE),
    re.compile(r"^[ \t]*(?:\{\||\|\}|\|-|\|\+|[|!]).*$", re.MULTILINE),
    re.compile(r"\b(?:thumb|thumbnail|frame|frameless|\d{1,4}px)\|[^\n]*"),
    re.compile(r"__[A-Z]{3,20}__"),
    re.compile(r"\[\[|\]\]|\{\{+|\}\}+|'{2,}"),
)
CARRIAGE_RETURN = re.compile("\r")
BULLET = re.compile(r"^[ \t]*([*#:;][*#:; \t]*+)", re.MULTILINE)
SPACE_RUN = re.compile(r"[ \t\u00a0]+")
# The parser tries every opening without a closing anew over all that follows: at this product that takes seconds.
MAX_PARSE_COST = 10_000_000
PAIRED_MARKUP = re.compile(
    r"(\{\{|\[\[|\[|\{\||<([a-zA-Z]{1,20})\b)|(\}\}|\]\]|\]|\|\}|/>|</([a-zA-Z]{1,20})\b)"
)
CLOSING_PAIRS = {"}}": "{{", "]]": "[[", "]": "[", "|}": "{|"}
BLANK_LINES = re.compile(r"\n{3,}")
EMPTY_BULLET = re.compile(r"^-[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Section:
    """What stands between one heading and the next of any level; level 0 is what stands before the first.

    `joined` is "" or the digits that a deletion would join, as "10|9"; `text` then holds bars in such places.
    """

    level: int
    heading: str
    text: str
    links_only: bool
    joined: str = ""


def wiki_sections(wikitext: str) -> list[Section]:
    """Return the sections of a page, in order, those without text too.

    Raise ValueError where the markup cannot be taken apart, and JoinedDigits for a heading as `wiki_text` does.
    """
    parts: list[tuple[int, str, list[str]]] = [(0, "", [])]
    for line in _source(wikitext).split("\n"):
        level = _level(line)
        if level:
            parts.append((level, wiki_text(line.strip()[level:-level]), []))
        else:
            parts[-1][2].append(line)
    return [make_section(level, heading, _marked("\n".join(lines))) for level, heading, lines in parts]


def wiki_text(wikitext: str) -> str:
    """Return the text a reader would see of a piece of wikitext.

    Raise ValueError as `wiki_sections` does, and JoinedDigits where markup between two digits goes and nothing takes
    its place: 10<sup>9</sup>.
    """
    return _tidy(_marked(_source(wikitext)))


def remove_comments(wikitext: str, mark: str = "") -> str:
    """Return the text with `mark` in place of its comments.

    A comment that is not closed hides the rest of the page, as it does on the site.
    """
    shown, place = [], 0
    while (start := wikitext.find("<!--", place)) >= 0:
        shown.append(wikitext[place:start])
        end = wikitext.find("-->", start + 4)
        place = end + 3 if end >= 0 else len(wikitext)
    return mark.join((*shown, wikitext[place:]))


def make_section(level: int, heading: str, marked: str) -> Section:
    """Return a section of text whose links stand between OPEN and CLOSE."""
    try:
        text = _tidy(marked)
    except JoinedDigits as error:
        return Section(
            level, heading, show_marks_as_bars(LINK_MARKS.sub(MARK, marked)).strip(), False, error.digits
        )
    bare = LINK_TEXT.sub("", marked)
    return Section(level, heading, text, bool(text) and bare != marked and not re.search(r"\w", bare))


def _level(line: str) -> int:
    """2 for == a heading ==, 0 for no heading."""
    line = line.strip()
    opening = len(line) - len(line.lstrip("="))
    closing = len(line) - len(line.rstrip("="))
    return min(opening, closing, 6) if len(line) > opening + closing and line.strip("= \t") else 0


def _source(wikitext: str) -> str:
    """Return the wikitext without its comments and without OPEN and CLOSE; between digits a mark takes their place."""
    return drop_needless_marks(LINK_MARKS.sub(MARK, remove_comments(decode_digits(wikitext), MARK)))


def _marked(wikitext: str) -> str:
    import mwparserfromhell
    from mwparserfromhell.parser import ParserError

    if _unclosed(wikitext) * len(wikitext) > MAX_PARSE_COST:
        raise ValueError(BROKEN)
    try:
        return drop_needless_marks("".join(_render(mwparserfromhell.parse(wikitext, skip_style_tags=True))))
    except (ParserError, RecursionError):
        raise ValueError(BROKEN) from None


def _unclosed(wikitext: str) -> int:
    """How many openings of links, templates, tables and tags have no closing after them."""
    open_now: Counter[str] = Counter()
    last_tag = ""
    for found in PAIRED_MARKUP.finditer(wikitext):
        opening, tag, closing, closed = found.groups()
        if opening:
            last_tag = f"<{tag.lower()}" if tag else last_tag
            open_now[last_tag if tag else opening] += 1
            continue
        name = last_tag if closing == "/>" else f"<{closed.lower()}" if closed else CLOSING_PAIRS[closing]
        if open_now[name] > 0:
            open_now[name] -= 1
    return open_now.total() - sum(open_now[f"<{name}"] for name in ("br", "hr", "wbr"))


def _render(code: Any) -> Iterator[str]:
    """Yield the text of the nodes: links between OPEN and CLOSE, and a mark at each edge of other markup."""
    from mwparserfromhell import nodes

    for node in code.nodes if code is not None else ():
        match node:
            case nodes.Text():
                yield node.value
            case nodes.HTMLEntity():
                yield decode_entities(str(node))
            case nodes.Wikilink():
                yield from _link(str(node.title), node)
            case nodes.ExternalLink():
                # A bare address is no text; one in brackets has a name or shows a number.
                if node.title is None:
                    yield MARK
                else:
                    yield from (LINK_START, *_render(node.title), LINK_END)
            case nodes.Tag():
                name = str(node.tag).strip().lower()
                if name == "br":
                    yield "\n"
                elif name in ("li", "dd", "dt") and node.wiki_markup:
                    yield str(node.wiki_markup)
                elif DROPPED_TAG.fullmatch(name):
                    yield MARK
                else:
                    yield from (MARK, *_render(node.contents), MARK)
            case nodes.Heading():
                yield from (MARK, *_render(node.title), MARK)
            case _:
                yield MARK


def _link(title: str, node: Any) -> Iterator[str]:
    prefix, colon, _ = title.strip().partition(":")
    prefix = prefix.strip().lower()
    if colon and (DROPPED_LINK.fullmatch(prefix) or (INTERWIKI.fullmatch(prefix) and node.text is None)):
        yield MARK
        return
    yield LINK_START
    if node.text is None:
        yield title.strip().lstrip(":")
    else:
        yield from _render(node.text)
    yield LINK_END


def _tidy(marked: str) -> str:
    text = remove_marks(
        substitute(marked, *((gone, MARK) for gone in (LINK_MARKS, CARRIAGE_RETURN, *LEFTOVERS)))
    )
    text = BULLET.sub(lambda found: "- " if "*" in found[1] or "#" in found[1] else "", text)
    text = EMPTY_BULLET.sub("", "\n".join(SPACE_RUN.sub(" ", line).strip() for line in text.split("\n")))
    return BLANK_LINES.sub("\n\n", text).strip()
