"""HTML to plain text: keep the lines of paragraphs and lists, and remove scripts and tags.

A mark (`core.joined_digits.MARK`) stands where removed markup separated two digits, so that no two numbers are joined.
"""

from __future__ import annotations

import re

from ..core.joined_digits import MARK, decode_digits, drop_needless_marks, remove_marks

BLANK_LINES = re.compile(r"\n{3,}")
# The edges between text and markup. A mark is inserted only beside a character that is not a space, so that the parser
# keeps both in one text node and collapses spaces as it does without marks.
MARKUP_START = re.compile(r"<(?<=[^\s>]<)")
MARKUP_END = re.compile(r">(?=[^\s<])")


def html_text(fragment: str) -> str:
    """Return the visible text of an HTML fragment, with "- " before list items and at most one blank line in a row.

    Plain text is treated in the same way, so its entities are decoded. Raises JoinedDigits if removing markup would
    join two numbers, as in 10<sup>9</sup>.
    """
    return remove_marks(html_text_with_marks(fragment))


def html_text_with_marks(fragment: str) -> str:
    """Return the text like `html_text`, but with a mark where markup between two digits was removed; raise nothing."""
    from resiliparse.extract.html2text import extract_plain_text

    # Without a body, the parser may move leading text and comments.
    text = extract_plain_text(
        f"<body>{mark_markup_edges(fragment)}</body>",
        preserve_formatting=True,
        list_bullets=True,
        links=False,
    )
    text = drop_needless_marks(text).replace("\u2022 ", "- ").replace("\xa0", " ")
    lines = (line.rstrip() for line in text.split("\n"))
    return BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def mark_markup_edges(fragment: str) -> str:
    """Return the HTML with entities of digits decoded, and a mark between each tag and the text beside it."""
    # NUL is the only character that the parser itself deletes.
    text = drop_needless_marks(decode_digits(fragment).replace("\0", MARK))
    return MARKUP_END.sub(f">{MARK}", MARKUP_START.sub(f"{MARK}<", text))
