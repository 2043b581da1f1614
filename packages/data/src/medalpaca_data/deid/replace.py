"""Replace or mask the identifiers in the texts of one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .find import Profile, Tagger, find_identifiers
from .rules import Span, outside
from .surrogates import Surrogates

if TYPE_CHECKING:
    from .site import SiteRules

# A name may become visible only after another one is replaced; two rounds are nearly always enough.
MAX_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Replacement:
    """The texts of a record with surrogates in place of its identifiers. The rest of the texts is unchanged."""

    texts: tuple[str, ...]
    # For each text: the identifiers in the original text, and their surrogates in the new text.
    identifiers: tuple[tuple[Span, ...], ...]
    surrogates: tuple[tuple[Span, ...], ...]
    # For each text: identifiers that the last check still finds in the new text; usually none.
    remaining: tuple[tuple[Span, ...], ...]


def replace_identifiers(
    texts: Sequence[str],
    record: str,
    secret: bytes,
    tagger: Tagger | None = None,
    *,
    group: str | None = None,
    profile: Profile = "precise",
    site: SiteRules | None = None,
) -> Replacement:
    """Replace the identifiers in the texts of a row by surrogates.

    The surrogates depend only on `secret`, the identifiers, and the `group` of the row, or its id `record` if it has no
    group. The new texts are checked again, and what only this check finds is replaced as well. After `MAX_ROUNDS`
    rounds, what is still found is returned as `remaining` and is not replaced. `tagger` finds identifiers in addition
    to the rules, and `site` has the patterns and words of a recipe. The surrogates themselves, known by their place,
    are not found again.
    """
    scope = f"row {record}" if group is None else f"group {group}"
    found = find_identifiers(texts, tagger, profile=profile, site=site)
    for _ in range(MAX_ROUNDS):
        surrogates = Surrogates(secret, scope, _dates(texts, found) if group is None else ())
        pairs = [
            _insert_surrogates(text, spans, surrogates) for text, spans in zip(texts, found, strict=True)
        ]
        after, inserted = [text for text, _ in pairs], [spans for _, spans in pairs]
        remaining = [
            [part for span in spans for part in _original_parts(span, text, new)]
            for text, spans, new in zip(
                after, find_identifiers(after, tagger, profile=profile, site=site), inserted, strict=True
            )
        ]
        if not any(remaining):
            break
        before = found
        found = [
            sorted([*spans, *(_to_original(part, spans, new) for part in parts)], key=lambda span: span.start)
            for spans, parts, new in zip(found, remaining, inserted, strict=True)
        ]
    else:
        found = before
    return Replacement(
        tuple(after), tuple(map(tuple, found)), tuple(map(tuple, inserted)), tuple(map(tuple, remaining))
    )


def mask(texts: Sequence[str], found: Sequence[Sequence[Span]]) -> list[str]:
    """Return the texts with a mark such as `[PHONE]` in place of each identifier in `found`.

    The spans of a text must be in order and must not overlap.
    """
    result = []
    for text, spans in zip(texts, found, strict=True):
        for span in reversed(spans):
            text = f"{text[: span.start]}[{span.kind.upper()}]{text[span.end :]}"  # noqa: PLW2901
        result.append(text)
    return result


def _dates(texts: Sequence[str], found: Sequence[Sequence[Span]]) -> list[str]:
    return [
        text[span.start : span.end]
        for text, spans in zip(texts, found, strict=True)
        for span in spans
        if span.kind == "date"
    ]


def _insert_surrogates(text: str, spans: Sequence[Span], surrogates: Surrogates) -> tuple[str, list[Span]]:
    """Return the text with surrogates, and the span of each surrogate in it."""
    parts: list[str] = []
    inserted: list[Span] = []
    at = length = 0
    for span in spans:
        new = surrogates.replacement(span, text)
        parts += [text[at : span.start], new]
        length += span.start - at
        inserted.append(Span(length, length + len(new), span.kind, span.rule))
        length += len(new)
        at = span.end
    return "".join([*parts, text[at:]]), inserted


def _original_parts(span: Span, text: str, inserted: Sequence[Span]) -> list[Span]:
    """Return the parts of a hit in the new text that come from the original text: a shifted date is not one."""
    parts = outside(span, [(new.start, new.end) for new in inserted])
    return [part for part in parts if any(c.isalnum() for c in text[part.start : part.end])]


def _to_original(span: Span, found: Sequence[Span], inserted: Sequence[Span]) -> Span:
    """Return the span in the original text that corresponds to a span of the new text outside of surrogates."""
    offset = sum(
        (old.end - old.start) - (new.end - new.start)
        for old, new in zip(found, inserted, strict=True)
        if new.end <= span.start
    )
    return Span(span.start + offset, span.end + offset, span.kind, span.rule)
