"""Cloze deletions, `{{c1::text::hint}}`: a text with the gaps of one card, and what the gaps hide."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..deleted import GONE, settled

GAP = "____"
DEPTH = 20  # nobody writes more than a few inside one another

TOKEN = re.compile(r"\{\{c([0-9]{1,4}(?:,[0-9]{1,4}){0,20})::|\}\}", re.IGNORECASE)


@dataclass(slots=True)
class _Cloze:
    """One deletion; `opening` is its first mark as it stands in the text, `numbers` the cards it is a gap on."""

    opening: str = ""
    numbers: frozenset[int] = frozenset()
    parts: list[str | _Cloze] = field(default_factory=list)
    hint: str = ""

    def add(self, text: str) -> None:
        """Text directly inside; what follows the first double colon is the hint."""
        if self.opening and not self.hint:
            text, _, self.hint = text.partition("::")
        if text:
            self.parts.append(text)


def with_gaps(text: str, number: int) -> tuple[str, list[str]]:
    """The text of card `number`, a gap (and its hint) for each of its deletions and all others filled in; and what
    belongs in the gaps, in their order, none if no deletion has the number. HTML is left as it is.

    Raise ValueError for deletions nested more than 20 deep, and JoinedDigits where a deletion that is filled in
    has digits on both sides of its edge: 10{{c2::9}}.
    """
    answers: list[str] = []
    shown = settled(_show(_parse(text), number, answers))
    return shown, [settled(answer) for answer in answers]


def _parse(text: str) -> _Cloze:
    open_ones = [_Cloze()]
    end = 0
    for token in TOKEN.finditer(text):
        open_ones[-1].add(text[end : token.start()])
        end = token.end()
        if token[1]:
            if len(open_ones) > DEPTH:
                raise ValueError(f"clozes nested more than {DEPTH} deep")
            open_ones.append(_Cloze(token[0], frozenset(map(int, token[1].split(",")))))
        elif len(open_ones) > 1:
            done = open_ones.pop()
            open_ones[-1].parts.append(done)
        else:
            open_ones[-1].add(token[0])
    open_ones[-1].add(text[end:])
    while len(open_ones) > 1:  # never closed: text like any other
        done = open_ones.pop()
        hint = f"::{done.hint}" if done.hint else ""
        open_ones[-1].parts += [done.opening, *done.parts, hint]
    return open_ones[0]


def _show(cloze: _Cloze, number: int | None, answers: list[str]) -> str:
    shown = []
    for part in cloze.parts:
        if isinstance(part, str):
            shown.append(part)
        elif number in part.numbers:
            answers.append(_show(part, None, []))
            shown.append(f"{GAP} ({part.hint})" if part.hint else GAP)
        else:
            shown += (GONE, _show(part, number, answers), GONE)
    return "".join(shown)
