"""Anki's card templates: `{{Field}}`, `{{filter:Field}}`, and parts shown only where a field is filled or empty."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..formats.html import html_text

TAG = re.compile(r"\{{2,3}([^{}]*)\}{2,3}")
BLANK = re.compile(r"<(?:br|div|/div|p|/p|span|/span)\b[^<>]{0,200}>|&nbsp;|\s", re.IGNORECASE)

# What Anki itself fills in: the front again on the back, and where the card lies. None of it is asked for.
OWN = frozenset({"FrontSide", "Tags", "Type", "Deck", "Subdeck", "Card", "CardFlag", "CardID"})


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a card: its HTML, and the contents of the fields that are seen on it."""

    html: str
    fields: tuple[str, ...]


def render(
    template: str, fields: Mapping[str, str], *, back: bool, cloze: Callable[[str], str] | None = None
) -> Side:
    """A side of a card, of field name -> HTML. `cloze` makes the gaps where the template asks for them.

    Hints, speech and boxes to type in are left out: they are not seen until somebody acts. Raises ValueError, with
    a short reason, for a template that names an unknown field or does not close what it opens.
    """
    shown: list[str] = []
    used: list[str] = []
    open_parts: list[tuple[str, bool]] = []
    end = 0
    for tag in TAG.finditer(template):
        visible = all(is_shown for _, is_shown in open_parts)
        if visible:
            shown.append(template[end : tag.start()])
        end = tag.end()
        word = tag[1].strip()
        match word[:1]:
            case "#" | "^":
                name = word[1:].strip()
                open_parts.append((name, _filled(name, fields) == (word[0] == "#")))
            case "/":
                if not open_parts or open_parts.pop()[0] != word[1:].strip():
                    raise ValueError("its card template closes what it did not open")
            case "!" | "=":
                continue
            case _ if visible:
                *filters, name = (part.strip() for part in word.split(":"))
                value = _field(name, fields)
                if _hidden(filters, back=back):
                    continue
                used.append(value)
                if "cloze" in filters and cloze:
                    value = cloze(value)
                shown.append(html.escape(html_text(value)) if "text" in filters else value)
    if open_parts:
        raise ValueError("its card template does not close what it opens")
    return Side("".join([*shown, template[end:]]), tuple(used))


def _field(name: str, fields: Mapping[str, str]) -> str:
    if name not in fields and name not in OWN:
        raise ValueError("its card template names a field that the note type does not have")
    return fields.get(name, "")


def _filled(name: str, fields: Mapping[str, str]) -> bool:
    """Whether a field holds anything. `{{#c1}}` asks for a cloze number, which the caller puts among the fields."""
    return bool(BLANK.sub("", fields.get(name, "")))


def _hidden(filters: list[str], *, back: bool) -> bool:
    return any(
        word == "hint" or word.split(" ")[0] == "tts" or (word == "type" and not back) for word in filters
    )
