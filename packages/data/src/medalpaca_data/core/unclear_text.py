"""Texts that are refused, because plain text cannot show what formatting or an invisible character means in them."""

from __future__ import annotations

import re

STRUCK = "struck-through text"
HIDDEN_HYPHEN = "an invisible hyphen before a number, which may be a minus"
# Characters of a text that are shown on each side of the fault.
SHOWN_CONTEXT = 10

STRUCK_TAG = re.compile(
    r"<(?P<name>s|strike|del)(?:\s+[\w:-]+\s*=[^<>]*)?\s*>(?P<content>.*?)</(?P=name)\s*>",
    re.IGNORECASE | re.DOTALL,
)
STRUCK_STYLE = re.compile(r"<[a-z][a-z0-9]*\s[^<>]*?\bstyle\s*=\s*[\"']?[^\"'<>]*line-through", re.IGNORECASE)
TAG = re.compile(r"<[^<>]*>|&nbsp;")
# The token of a prompt template: before a first instruction, or around the whole text.
SENTENCE_TOKEN = re.compile(r"\s*<s>(?:\s*(?:\[INST\]|<<SYS>>)|(?!.*</s>\s*\S)(?:.*</s>\s*\Z))", re.DOTALL)
# The soft hyphen, and the two hyphens of Word as exports write them.
INVISIBLE_HYPHENS = "\u00ad\u001e\u001f"
# Between two digits, the deletion is an error of its own.
MINUS = re.compile(
    rf"(?<!\d)[{INVISIBLE_HYPHENS}](?=[{INVISIBLE_HYPHENS}\u200b-\u200f\u2060-\u2064\ufeff\ufdd0-\ufdd4]*"
    r"[ \u00a0]?[.,]?[\d\u00bc-\u00be\u2150-\u215e])"
)


class UnclearText(ValueError):
    """Raised for a text whose plain form may have another meaning; `evidence` has the place with its context."""

    def __init__(self, reason: str, text: str, start: int, end: int) -> None:
        super().__init__(reason)
        self.evidence = {"characters": ascii(text[max(0, start - SHOWN_CONTEXT) : end + SHOWN_CONTEXT])[1:-1]}


def refuse_struck_text(text: str, *, template: bool = False) -> None:
    """Raise UnclearText for HTML with struck-through text, whose plain text would state what its author deleted.

    With `template`, the token `<s>` of a prompt template at the start of the text is no markup.
    """
    if template and SENTENCE_TOKEN.match(text):
        return
    for match in STRUCK_TAG.finditer(text):
        if TAG.sub("", match["content"]).strip():
            raise UnclearText(STRUCK, text, *match.span("content"))
    if style := STRUCK_STYLE.search(text):
        raise UnclearText(STRUCK, text, style.end(), style.end())


def refuse_hidden_minus(text: str) -> None:
    """Raise UnclearText for an invisible hyphen before a number: `\\xad5` may be 5, -5, or the end of a name."""
    if any(hyphen in text for hyphen in INVISIBLE_HYPHENS) and (match := MINUS.search(text)):
        raise UnclearText(HIDDEN_HYPHEN, text, *match.span())
