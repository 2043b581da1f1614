"""Rules of the profile `recall`: regular expressions that are tried only where a number or a certain word begins."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .rules import Match, Span

NUMBER_START = re.compile(r"[+(]?[0-9]+")
WORD_START = re.compile(r"[^\W\d_]+")
# The place of a rule that is tried at every number; "" stands for a rule that searches the whole text.
NUMBER = "number"


class Places:
    """Where the numbers and words of a text begin, and the text in small letters, of the same length."""

    def __init__(self, text: str) -> None:
        small = text.lower()
        self.text = text
        self.small = (
            small
            if len(small) == len(text)
            else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
        )
        self.numbers: list[int] = []
        for match in NUMBER_START.finditer(text):
            self.numbers.append(match.start())
            if not match[0][0].isdigit():
                self.numbers.append(match.start() + 1)
        self.words: dict[str, list[int]] = defaultdict(list)
        for match in WORD_START.finditer(self.small):
            self.words[match[0][:3]].append(match.start())

    def of(self, first: str) -> list[int]:
        """Return where the words begin whose first three letters are in `first`, separated by spaces."""
        starts = [at for letters in first.split() for at in self.words.get(letters, ())]
        return sorted(starts)


@dataclass(frozen=True)
class TextRule:
    """A regular expression for identifiers of one kind; the identifier is group `x` of a match, or the match.

    `at` is `NUMBER`, or the first three letters, in small letters, of the words at which a match begins; the rule is
    tried only there. `gate` has parts of a text in small letters: the rule is tried only in texts with one of them.
    """

    kind: str
    name: str
    pattern: str
    accept: Callable[[Match], bool] | None = None
    at: str = ""
    gate: tuple[str, ...] = ()
    regex: re.Pattern[str] = field(init=False)
    group: int | str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "regex", re.compile(self.pattern))
        object.__setattr__(self, "group", "x" if "(?P<x>" in self.pattern else 0)

    def spans(self, places: Places) -> list[Span]:
        """Return the identifiers that the rule finds."""
        text = places.text
        if self.gate and not any(part in places.small for part in self.gate):
            return []
        spans: list[Span] = []
        if not self.at:
            for match in self.regex.finditer(text):
                self._add(match, spans)
            return spans
        last = -1
        for at in places.numbers if self.at == NUMBER else places.of(self.at):
            here = self.regex.match(text, at) if at >= last else None
            if here:
                self._add(here, spans)
                last = here.end()
        return spans

    def _add(self, match: Match, spans: list[Span]) -> None:
        start, end = match.span(self.group)
        if start < end and (self.accept is None or self.accept(match)):
            spans.append(Span(start, end, self.kind, self.name))


def all_spans(rules: Sequence[TextRule], places: Places) -> list[Span]:
    """Return the identifiers that any of the rules finds."""
    return [span for rule in rules for span in rule.spans(places)]
