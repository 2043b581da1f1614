"""Wikitext to plain sections: keep prose and lists; remove boxes, references, tables, files, categories, galleries.

Formulas and templates inside a sentence are kept as text, so that a sentence keeps its numbers.

mwparserfromhell parses the markup. The remains of broken markup (unclosed links and templates, table rows, image
options) are removed afterwards, line by line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..core.joined_digits import (
    END,
    MARK,
    RESERVED,
    SUB,
    SUP,
    JoinedDigits,
    decode_digits,
    decode_entities,
    drop_needless_marks,
    remove_marks,
    show_marks_as_bars,
    substitute,
    write_scripts,
)
from ..core.unclear_text import STRUCK, UnclearText
from .wiki_templates import shows_number, template_text, tex_text

# Characters before and after the text of a link while a section is read, to find sections of links only.
LINK_START, LINK_END = "\ue000", "\ue001"
LINK_MARKS = re.compile(f"[{LINK_START}{LINK_END}]")
LINK_TEXT = re.compile(f"{LINK_START}[^{LINK_START}{LINK_END}]*{LINK_END}")

# Characters before and after the values of an unknown template. On a line of its own, such a template is a box.
TEMPLATE_START, TEMPLATE_END = "\ue004", "\ue005"
TEMPLATE_MARKS = re.compile(f"[{TEMPLATE_START}{TEMPLATE_END}]")
BOX = re.compile(
    rf"^[ \t*#:;]*(?:{TEMPLATE_START}[^{TEMPLATE_START}{TEMPLATE_END}]*{TEMPLATE_END}[ \t]*)+$", re.MULTILINE
)

# Before a struck-through text while a section is read: plain text would state what its author deleted.
STRUCK_MARK = "\ue006"
STRUCK_NAMES = frozenset({"s", "strike", "del", "strikethrough", "struck"})
STRUCK_STYLE = "line-through"

DROPPED_TAG = re.compile(
    "ref|references|gallery|table|timeline|imagemap|score|syntaxhighlight|source|script|style|video|youtube|"
    "googlemap|categorytree|inputbox|dpl|noinclude|includeonly|figure|biblio"
)
DROPPED_LINK = re.compile("file|image|media|category|special")
# The prefix of a link to the page in another language: [[de:Asthma]].
INTERWIKI = re.compile(r"[a-z]{2,3}(-[a-z]+)*")

PARSE_FAILED = "wikitext that cannot be parsed"
# Each pattern stays in one line or excludes its own opening, so that the time is linear in the length of the page. The
# rules match what remains of broken markup.
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
# Largest product of the number of unclosed openings and of characters in a text. For each unclosed opening, the parser
# reads the rest of the text again; at this product it takes seconds.
MAX_PARSE_COST = 10_000_000
PAIRED_MARKUP = re.compile(
    r"(\{\{|\[\[|\[|\{\||<([a-zA-Z]{1,20})\b)|(\}\}|\]\]|\]|\|\}|/>|</([a-zA-Z]{1,20})\b)"
)
CLOSING_PAIRS = {"}}": "{{", "]]": "[[", "]": "[", "|}": "{|"}
BLANK_LINES = re.compile(r"\n{3,}")
EMPTY_BULLET = re.compile(r"^-[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Section:
    """The text between a heading and the next heading of any level; level 0 is the text before the first heading.

    `links_only` is true if the text has no word outside of links. `joined` is "", or the digits that removing markup
    would join, such as "10|9"; `text` then has bars between them, and `links_only` is false. `is_struck` is true if a
    part of the text is struck through.
    """

    level: int
    heading: str
    text: str
    links_only: bool
    joined: str = ""
    is_struck: bool = False


def wiki_sections(wikitext: str) -> list[Section]:
    """Return the sections of a page in order, including those without text.

    Raises ValueError if the markup cannot be parsed or has too many unclosed openings. Raises JoinedDigits, which is a
    ValueError, if removing markup from a heading would join two numbers.
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
    """Return the visible text of a piece of wikitext.

    Raises ValueError like `wiki_sections`, JoinedDigits if removing markup would join two numbers, as in 1<b>2</b>, and
    UnclearText if a part of the text is struck through.
    """
    marked = _marked(_source(wikitext))
    if (start := marked.find(STRUCK_MARK)) >= 0:
        raise UnclearText(STRUCK, marked, start, start + 1)
    return _tidy(marked)


def remove_comments(wikitext: str, mark: str = "") -> str:
    """Return the text with `mark` in place of its comments (`<!-- -->`).

    An unclosed comment hides the rest of the page, as on the site.
    """
    visible, position = [], 0
    while (start := wikitext.find("<!--", position)) >= 0:
        visible.append(wikitext[position:start])
        end = wikitext.find("-->", start + 4)
        position = end + 3 if end >= 0 else len(wikitext)
    return mark.join((*visible, wikitext[position:]))


def make_section(level: int, heading: str, marked: str) -> Section:
    """Return a section from its text, in which links are between LINK_START and LINK_END and marks separate digits."""
    is_struck = STRUCK_MARK in marked
    marked = marked.replace(STRUCK_MARK, MARK)
    try:
        text = _tidy(marked)
    except JoinedDigits as error:
        shown = show_marks_as_bars(LINK_MARKS.sub(MARK, marked)).strip()
        return Section(level, heading, shown, False, error.digits, is_struck)
    bare = LINK_TEXT.sub("", marked)
    links_only = bool(text) and bare != marked and not re.search(r"\w", bare)
    return Section(level, heading, text, links_only, is_struck=is_struck)


def _level(line: str) -> int:
    """Return the level of a heading line, such as 2 for "== Causes ==", or 0 for another line."""
    line = line.strip()
    opening = len(line) - len(line.lstrip("="))
    closing = len(line) - len(line.rstrip("="))
    return min(opening, closing, 6) if len(line) > opening + closing and line.strip("= \t") else 0


def _source(wikitext: str) -> str:
    """Return the wikitext without comments and LINK_START or LINK_END, with marks in their place between digits."""
    text = remove_comments(decode_digits(wikitext), MARK).replace(STRUCK_MARK, MARK)
    return drop_needless_marks(RESERVED.sub(MARK, TEMPLATE_MARKS.sub(MARK, LINK_MARKS.sub(MARK, text))))


def _marked(wikitext: str) -> str:
    import mwparserfromhell
    from mwparserfromhell.parser import ParserError

    if _unclosed(wikitext) * len(wikitext) > MAX_PARSE_COST:
        raise ValueError(PARSE_FAILED)
    try:
        text = "".join(_render(mwparserfromhell.parse(wikitext, skip_style_tags=True)))
    except (ParserError, RecursionError):
        raise ValueError(PARSE_FAILED) from None
    return write_scripts(drop_needless_marks(text))


def _unclosed(wikitext: str) -> int:
    """Return the number of openings of links, templates, tables and tags without a closing."""
    open_now: Counter[str] = Counter()
    last_tag = ""
    for match in PAIRED_MARKUP.finditer(wikitext):
        opening, tag, closing, closed = match.groups()
        if opening:
            last_tag = f"<{tag.lower()}" if tag else last_tag
            open_now[last_tag if tag else opening] += 1
            continue
        name = last_tag if closing == "/>" else f"<{closed.lower()}" if closed else CLOSING_PAIRS[closing]
        if open_now[name] > 0:
            open_now[name] -= 1
    return open_now.total() - sum(open_now[f"<{name}"] for name in ("br", "hr", "wbr"))


def _render(code: Any) -> Iterator[str]:
    """Yield the text of the nodes; links are between LINK_START and LINK_END, other markup between marks."""
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
                # A bare address is deleted; one in brackets has a title.
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
                elif name in ("math", "chem"):
                    yield from (MARK, tex_text(str(node.contents or "")), MARK)
                elif name in ("sup", "sub"):
                    yield from (MARK, SUP if name == "sup" else SUB, *_render(node.contents), END, MARK)
                elif DROPPED_TAG.fullmatch(name):
                    yield MARK
                elif name in STRUCK_NAMES or _has_struck_style(node):
                    yield from _struck("".join(_render(node.contents)))
                else:
                    yield from (MARK, *_render(node.contents), MARK)
            case nodes.Heading():
                yield from (MARK, *_render(node.title), MARK)
            case nodes.Template():
                yield from (MARK, _template(node), MARK)
            case _:
                yield MARK


def _has_struck_style(node: Any) -> bool:
    return any(
        str(part.name).strip().lower() == "style" and STRUCK_STYLE in str(part.value or "")
        for part in node.attributes
    )


def _struck(text: str) -> tuple[str, ...]:
    return (MARK, STRUCK_MARK, text, MARK) if text.strip() else (MARK,)


def _template(node: Any) -> str:
    """Return the text of a template; the values of an unknown one are between TEMPLATE_START and TEMPLATE_END."""
    values = ["".join(_render(part.value)) for part in node.params if not part.showkey]
    named = {str(part.name).strip(): "".join(_render(part.value)) for part in node.params if part.showkey}
    if str(node.name).strip().lower() in STRUCK_NAMES:
        return "".join(_struck(" ".join(values)))
    text = template_text(str(node.name), values, named)
    if text is None and shows_number(values):
        shown = " ".join(" ".join(TEMPLATE_MARKS.sub("", value).split()) for value in values)
        return f"{TEMPLATE_START}{shown}{TEMPLATE_END}"
    return text or ""


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
        substitute(
            marked,
            *((pattern, MARK) for pattern in (LINK_MARKS, BOX, TEMPLATE_MARKS, CARRIAGE_RETURN, *LEFTOVERS)),
        )
    )
    text = BULLET.sub(lambda match: "- " if "*" in match[1] or "#" in match[1] else "", text)
    text = EMPTY_BULLET.sub("", "\n".join(SPACE_RUN.sub(" ", line).strip() for line in text.split("\n")))
    return BLANK_LINES.sub("\n\n", text).strip()
