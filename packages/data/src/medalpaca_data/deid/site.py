"""Patterns and words of a site, from the recipe: its own numbers, words to keep, words to replace always."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from ..core.config import Config

if TYPE_CHECKING:
    from .rules import Span

# Rule of the words of `always`; rules of site patterns begin with "site: ".
ALWAYS = "site: always"
SITE = "site: "
CASE_NUMBER = "case number"


class SitePattern(Config):
    """A pattern of a site: its name in the ledger, a regular expression, and the class of what it finds.

    The identifier is the group `x` of the expression, or the whole match.
    """

    name: str = Field(min_length=1, pattern=r"^[\w .-]+$")
    regex: str = Field(min_length=1)
    kind: str = Field(alias="class")

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is not a regular expression: {error}") from None
        if pattern.match(""):
            raise ValueError("the expression matches the empty text; require at least one character")
        return value

    @field_validator("kind")
    @classmethod
    def _is_class(cls, value: str) -> str:
        from .rules import KINDS

        if value not in KINDS:
            raise ValueError(f"{value!r} is not a class; the classes are {', '.join(KINDS)}")
        return value


@dataclass(frozen=True)
class SiteRules:
    """The patterns, `keep` and `always` of a recipe, ready for use.

    The first group of `case_number`, the expression `group` of a source, is replaced wherever it matches.
    """

    patterns: tuple[SitePattern, ...] = ()
    keep: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
    case_number: str | None = None
    _keep: re.Pattern[str] | None = field(init=False, repr=False)
    _always: re.Pattern[str] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_keep", _any_of(self.keep))
        object.__setattr__(self, "_always", _any_of(self.always))

    def __bool__(self) -> bool:
        return bool(self.patterns or self.keep or self.always or self.case_number)

    def apply(self, text: str, spans: Sequence[Span]) -> list[Span]:
        """Return `spans` without the words of `keep`, and with the matches of the patterns and of `always`."""
        from .rules import Span, outside

        found = list(spans)
        if self._keep:
            kept = [match.span() for match in self._keep.finditer(text)]
            found = [part for span in found for part in outside(span, kept)]
        for pattern in self.patterns:
            for match in re.finditer(pattern.regex, text):
                start, end = match.span("x" if "x" in match.re.groupindex else 0)
                if start < end:
                    found.append(Span(start, end, pattern.kind, SITE + pattern.name))
        if self.case_number:
            spans_of_numbers = (match.span(1) for match in re.finditer(self.case_number, text))
            found += [
                Span(start, end, "other", CASE_NUMBER) for start, end in spans_of_numbers if start < end
            ]
        if self._always:
            found += [Span(*match.span(), "other", ALWAYS) for match in self._always.finditer(text)]
        return found

    def count_kept(self, text: str) -> int:
        """Return how often the words of `keep` occur in the text."""
        return sum(1 for _ in self._keep.finditer(text)) if self._keep else 0

    def record(self, counts: Mapping[str, int]) -> dict[str, Any]:
        """Return the record of the ledger: the hits of each pattern, and the occurrences of `always` and `keep`."""
        return {
            "patterns": {pattern.name: counts.get(SITE + pattern.name, 0) for pattern in self.patterns},
            "always": counts.get(ALWAYS, 0),
            "keep": counts.get(KEPT, 0),
        }


# Key of the counts of a stage.
KEPT = "site: keep"


def _any_of(words: Sequence[str]) -> re.Pattern[str] | None:
    if not words:
        return None
    alternatives = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)
