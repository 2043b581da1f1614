"""HTML to plain text: keep the lines of paragraphs and lists, and remove scripts and tags.

A mark (`core.joined_digits.MARK`) stands where removed markup separated two digits, so that no two numbers are joined.
"""

from __future__ import annotations

import re
from typing import Any

from ..core.joined_digits import (
    END,
    MARK,
    RESERVED,
    SUB,
    SUP,
    decode_digits,
    drop_needless_marks,
    remove_marks,
    write_scripts,
)

BLANK_LINES = re.compile(r"\n{3,}")
# The edges between text and markup. A mark is inserted only beside a character that is not a space, so that the parser
# keeps both in one text node and collapses spaces as it does without marks.
MARKUP_START = re.compile(r"<(?<=[^\s>]<)")
MARKUP_END = re.compile(r">(?=[^\s<])")
SCRIPT_TAG = re.compile(r"<su[bp]\b", re.IGNORECASE)


def html_text(fragment: str) -> str:
    """Return the visible text of an HTML fragment, with "- " before list items and at most one blank line in a row.

    Plain text is treated in the same way, so its entities are decoded. Superscripts and subscripts are written by
    `write_scripts`: 10^9 and H2O. Raises JoinedDigits if removing markup would join two numbers, as in 1<b>2</b>.
    """
    return remove_marks(html_text_with_marks(fragment))


def html_text_with_marks(fragment: str) -> str:
    """Return the text like `html_text`, but with a mark where markup between two digits was removed; raise nothing."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    # Without a body, the parser may move leading text and comments.
    page: Any = f"<body>{mark_markup_edges(fragment)}</body>"
    if SCRIPT_TAG.search(page):
        page = HTMLTree.parse(page)
        mark_scripts(page)
    text = extract_plain_text(page, preserve_formatting=True, list_bullets=True, links=False)
    text = write_scripts(drop_needless_marks(text)).replace("\u2022 ", "- ").replace("\xa0", " ")
    lines = (line.rstrip() for line in text.split("\n"))
    return BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def mark_markup_edges(fragment: str) -> str:
    """Return the HTML with entities of digits decoded, and a mark between each tag and the text beside it."""
    # NUL is the only character that the parser itself deletes.
    text = drop_needless_marks(RESERVED.sub(MARK, decode_digits(fragment)).replace("\0", MARK))
    return MARKUP_END.sub(f">{MARK}", MARKUP_START.sub(f"{MARK}<", text))


def mark_scripts(tree: Any) -> None:
    """Insert the characters that `write_scripts` reads at both ends of each superscript and subscript of a page."""
    for name, start in (("sup", SUP), ("sub", SUB)):
        for node in tree.body.get_elements_by_tag_name(name):
            node.prepend(tree.create_text_node(start))
            node.append(tree.create_text_node(END))
