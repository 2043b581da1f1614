"""HTML to plain text: paragraphs and lists keep their lines, scripts and tags go, sub- and superscripts join."""

from __future__ import annotations

import re

BLANK_LINES = re.compile(r"\n{3,}")


def html_text(fragment: str) -> str:
    """The text a reader would see. Never fails: what is no HTML comes back as it is, entities resolved."""
    from resiliparse.extract.html2text import extract_plain_text

    # Without a body a parser puts leading text and comments where it likes.
    text = extract_plain_text(
        f"<body>{fragment}</body>", preserve_formatting=True, list_bullets=True, links=False
    )
    text = text.replace("\u2022 ", "- ").replace("\xa0", " ")
    lines = (line.rstrip() for line in text.split("\n"))
    return BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()
