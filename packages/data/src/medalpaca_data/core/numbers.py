"""Check that cleaning keeps numbers: the visible text has the same numbers, signs and units before and after.

`visible_text` reads markup in one pass, and shares no pattern with the substitutions that it checks.
"""

from __future__ import annotations

import html
import re
import unicodedata
from html.entities import html5
from itertools import zip_longest

from .joined_digits import RESERVED

CHANGED = "cleaning would change a number, its sign or its unit"
# Most numbers of each text that the evidence shows.
MAX_SHOWN = 3

# A boundary that has no width on the page, such as that of a tag. Between two digits it separates two numbers.
EDGE = "\ufdd4"
# Elements that begin a line, cells of tables, elements without visible text, and others that only change its look.
LINE_TAGS = frozenset(
    ("br", "hr", "p", "div", "li", "tr", "ul", "ol", "blockquote", *(f"h{n}" for n in range(1, 7)))
)
CELL_TAGS = frozenset(("td", "th"))
HIDDEN_TAGS = frozenset(("ref", "script", "style"))
OTHER_TAGS = frozenset(
    (
        *(
            "a",
            "b",
            "i",
            "u",
            "em",
            "strong",
            "span",
            "sup",
            "sub",
            "font",
            "center",
            "small",
            "big",
            "code",
            "pre",
        ),
        *("dl", "dt", "dd", "table", "tbody", "thead", "img", "references", "gallery", "nowiki", "noinclude"),
    )
)
MARKUP = re.compile(
    r"<!--.*?-->"
    r"|<(?P<closing>/?)(?P<tag>[a-zA-Z][a-zA-Z0-9]*)(?P<rest>(?:\s+[^\s<>=\"']+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|"
    r"[^\s<>\"']+))*\s*/?)>"
    r"|&(?P<entity>\#?[a-zA-Z0-9]{1,32});",
    re.DOTALL,
)
LINK = re.compile(r"\[\[([^\[\]]*)\]\]")
# Links inside links; deeper ones are text.
MAX_LINK_DEPTH = 5
LETTER = re.compile(r"[^\W\d_]")
HIDDEN_LINK = re.compile(r"\s*(?:file|image)\s*:", re.IGNORECASE)
CATEGORY = re.compile(r"\s*category\s*:", re.IGNORECASE)
IMAGE_OPTIONS = re.compile(
    r"\bthumb\|(?:\s*(?:left|right|center|none|frame\w*|border|upright[^|\n]*|\d*x?\d*px|alt=[^|\n]*)\s*\|)*"
)

# An attribute outside this list is text if its value is a number without quotes: (<p value=0.05>).
ATTRIBUTE = re.compile(r"([^\s<>=\"']+)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s]+)")
MEASURES = frozenset(
    (
        *(
            "width",
            "height",
            "size",
            "border",
            "cellpadding",
            "cellspacing",
            "colspan",
            "rowspan",
            "hspace",
            "vspace",
        ),
        *(
            "start",
            "tabindex",
            "name",
            "id",
            "class",
            "color",
            "bgcolor",
            "href",
            "style",
            "perrow",
            "widths",
            "heights",
        ),
    )
)
# A soft hyphen or a hyphen of Word before a number may be its sign.
HIDDEN_SIGN = re.compile("[\u00ad\u001e\u001f](?=\\W{0,3}\\d)")

# Characters without a width, control characters, and the quotes of wikis for bold and italic.
UNSEEN = re.compile(
    "[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe0e\ufe0f\ufeff"
    "\ufff9-\ufffb]|'{2,}"
)
# A footnote behind a unit, which markup shows as a superscript. Before a slash, it may be a power.
FOOTNOTE = re.compile(r"(?<=[^\W\d_]|[%\u2030]) \[(\d{1,2}(?:[,\u2013-]\d{1,2})*)\](?![/\u00b7\u22c5])")
SPACE_RUN = re.compile(r"\s*\n\s*|\s+")
# A caret or underscore shows a superscript or subscript, whose boundary is an edge in markup.
EDGES = re.compile(f"[{EDGE}^_]+")
NEEDLESS_EDGES = re.compile(rf"(?<!\d){EDGE}|{EDGE}(?!\d)")
NUMBER = re.compile(
    r"(?P<sign>[-+\u00b1\u2213<>=~\u2010-\u2015\u2212\u2248\u2260\u2264\u2265\u2a7d\u2a7e\u00d7\u00f7/\u2044] ?|[.,])?"
    r"(?P<number>\d+(?:[.,]\d+)*[\u00bc-\u00be\u2150-\u215e]?|[\u00bc-\u00be\u2150-\u215e]|"
    r"[\u00b2\u00b3\u00b9\u2070-\u2079\u2080-\u2089]+)"
    r"(?P<unit> ?(?:[^\W\d_]|[%\u2030\u00b0/\u00b7\u2032\u2033])+)?"
)


class ChangedNumbers(ValueError):
    """Raised if two texts have other numbers; `evidence` shows the first that differ in each of them."""

    def __init__(self, before: list[str], after: list[str]) -> None:
        super().__init__(CHANGED)
        self.evidence = {"numbers_before": before, "numbers_after": after}


def check_numbers(visible: str, cleaned: str) -> None:
    """Raise ChangedNumbers if a text has other numbers, signs or units after cleaning.

    `visible` is the visible text before (`visible_text`). In it, templates of a wiki are shown already.
    """
    was, now = number_sequence(visible), number_sequence(_plain(cleaned))
    if was != now:
        first = next(n for n, (one, other) in enumerate(zip_longest(was, now)) if one != other)
        raise ChangedNumbers(was[first : first + MAX_SHOWN], now[first : first + MAX_SHOWN])


def number_sequence(text: str) -> list[str]:
    """Return the numbers of a plain text in order, each with its sign in front and its unit behind."""
    text = FOOTNOTE.sub(rf"{EDGE}\1{EDGE}", text)
    text = NEEDLESS_EDGES.sub("", EDGES.sub(EDGE, SPACE_RUN.sub(_one_space, text)))
    return [
        "".join((match["sign"] or "", match["number"], match["unit"] or "")).strip()
        for match in NUMBER.finditer(text)
    ]


def _one_space(match: re.Match[str]) -> str:
    return "\n" if "\n" in match[0] else " "


def visible_text(text: str, *, wiki: bool = False) -> str:
    """Return the text that a reader sees, with an edge (`EDGE`) wherever markup or an invisible character is left out.

    References, attributes, pictures and comments are not visible, nor are the categories of a wiki.
    """
    text = unicodedata.normalize("NFC", RESERVED.sub(EDGE, text))
    if "[[" in text:
        show = _wiki_link_text if wiki else _link_text
        for _ in range(MAX_LINK_DEPTH):
            text = LINK.sub(show, text)
    if "thumb|" in text:
        text = IMAGE_OPTIONS.sub("", text)
    return _plain(_parse_tags(text) if "<" in text or "&" in text else text)


def _plain(text: str) -> str:
    return UNSEEN.sub(EDGE, HIDDEN_SIGN.sub("-", text))


def _parse_tags(text: str) -> str:
    parts: list[str] = []
    position = 0
    while match := MARKUP.search(text, position):
        parts.append(text[position : match.start()])
        position = match.end()
        tag = (match["tag"] or "").lower()
        if match["entity"]:
            parts.append(_entity_text(match[0], match["entity"]))
        elif tag and _is_statement(tag, match["rest"]):
            parts.append(match[0])
        elif tag in HIDDEN_TAGS and not match["closing"] and not match["rest"].endswith("/"):
            end = re.compile(rf"</{tag}\s*>", re.IGNORECASE).search(text, position)
            position = end.end() if end else position
            parts.append(EDGE)
        elif tag in LINE_TAGS:
            parts.append("\n")
        elif tag in CELL_TAGS:
            parts.append(EDGE if match["closing"] else f"{EDGE}|{EDGE}")
        elif not tag or tag in OTHER_TAGS or tag in HIDDEN_TAGS:
            parts.append(EDGE)
        else:
            # Not a tag of HTML, so it is text.
            parts.append(match[0])
    return "".join((*parts, text[position:]))


def _is_statement(tag: str, attributes: str) -> bool:
    for name, value in ATTRIBUTE.findall(attributes.lower()):
        if name == "value" and tag != "li":
            return True
        if value.strip("+-.")[:1].isdigit() and name not in MEASURES and not name.startswith("data-"):
            return tag != "li" or name != "value"
    return False


def _entity_text(written: str, name: str) -> str:
    if not name.startswith("#"):
        return html5.get(f"{name};", written)
    return html.unescape(written) or EDGE


def _wiki_link_text(match: re.Match[str]) -> str:
    return EDGE if CATEGORY.match(match[1]) else _link_text(match)


def _link_text(match: re.Match[str]) -> str:
    target, bar, shown = match[1].partition("|")
    if HIDDEN_LINK.match(target):
        return EDGE
    if not bar and not LETTER.search(target):
        # A list of lists of numbers. The brackets are written so that they do not match again.
        return f"[{EDGE}[{target}]{EDGE}]"
    return f"{EDGE}{match[1].rpartition('|')[2] if bar else target}{EDGE}" if shown or not bar else EDGE
