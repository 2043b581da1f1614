"""HTML to plain text: paragraphs and lists keep their lines, scripts and tags go, sub- and superscripts join."""

from __future__ import annotations

import re

from ..core.joined_digits import MARK, decode_digits, drop_needless_marks, remove_marks

BLANK_LINES = re.compile(r"\n{3,}")
# Where text meets a tag or a comment. A mark is put only beside a character that is no blank, so that the parser puts
# both into the same text and blanks collapse as they would without it.
MARKUP_START = re.compile(r"<(?<=[^\s>]<)")
MARKUP_END = re.compile(r">(?=[^\s<])")


def html_text(fragment: str) -> str:
    """Return the text a reader would see; of what is no HTML, the text itself with its entities decoded.

    Raise JoinedDigits where markup between two digits goes and nothing takes its place: 10<sup>9</sup>.
    """
    return remove_marks(html_text_with_marks(fragment))


def html_text_with_marks(fragment: str) -> str:
    """Return the text as `html_text` does, with a mark where markup between two digits went."""
    from resiliparse.extract.html2text import extract_plain_text

    # Without a body a parser puts leading text and comments where it likes.
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
    """Return the HTML with a mark at both edges of all markup that stands beside text."""
    # NUL is the one character that the parser itself deletes.
    text = drop_needless_marks(decode_digits(fragment).replace("\0", MARK))
    return MARKUP_END.sub(f">{MARK}", MARKUP_START.sub(f"{MARK}<", text))
