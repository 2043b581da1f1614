"""HTML to plain text: keep the lines of paragraphs and lists, and remove scripts and tags.

A mark (`core.joined_digits.MARK`) stands where removed markup separated two digits, so that no two numbers are joined.
"""

from __future__ import annotations

import re

from ..core.joined_digits import (
    END,
    MARK,
    RESERVED,
    SCRIPT_TAG,
    SUB,
    SUP,
    decode_digits,
    drop_needless_marks,
    remove_marks,
    write_scripts,
)
from ..core.unclear_text import refuse_struck_text

BLANK_LINES = re.compile(r"\n{3,}")
# The edges between text and markup. A mark is inserted only beside a character that is not a space, so that the parser
# keeps both in one text node and collapses spaces as it does without marks.
# Without the hyphens of Word, U+001E and U+001F, which Python counts as spaces.
BLANKS = " \t\n\r\f\v\u2002\u2003\u2009"
MARKUP_START = re.compile(r"<(?<=[^\s>]<)")
MARKUP_END = re.compile(r">(?=[^\s<])")


def html_text(fragment: str) -> str:
    """Return the visible text of an HTML fragment, with "- " before list items and at most one blank line in a row.

    Plain text is treated in the same way, so its entities are decoded. Superscripts and subscripts are written by
    `write_scripts`: 10^9 and H2O. Raises JoinedDigits if removing markup would join two numbers, as in 1<b>2</b>, and
    UnclearText if a text is struck through.
    """
    refuse_struck_text(fragment)
    return remove_marks(html_text_with_marks(fragment))


def html_text_with_marks(fragment: str) -> str:
    """Return the text like `html_text`, but with a mark where markup between two digits was removed; raise nothing."""
    from resiliparse.extract.html2text import extract_plain_text

    # Without a body, the parser may move leading text and comments.
    page = f"<body>{mark_markup_edges(fragment)}</body>"
    text = extract_plain_text(page, preserve_formatting=True, list_bullets=True, links=False)
    text = write_scripts(drop_needless_marks(text)).replace("\u2022 ", "- ").replace("\xa0", " ")
    lines = (line.rstrip(BLANKS) for line in text.split("\n"))
    return BLANK_LINES.sub("\n\n", "\n".join(lines)).strip(BLANKS)


def mark_markup_edges(fragment: str) -> str:
    """Return the HTML with entities of digits decoded, and a mark between each tag and the text beside it.

    Superscripts and subscripts begin and end with the characters that `write_scripts` reads.
    """
    # NUL is the only character that the parser itself deletes.
    text = drop_needless_marks(RESERVED.sub(MARK, decode_digits(fragment)).replace("\0", MARK))
    text = SCRIPT_TAG.sub(_enclose_script, text)
    return MARKUP_END.sub(f">{MARK}", MARKUP_START.sub(f"{MARK}<", text))


def _enclose_script(tag: re.Match[str]) -> str:
    if tag["closing"]:
        return f"{END}{tag[0]}"
    return f"{tag[0]}{SUP if tag['kind'] in 'pP' else SUB}"
