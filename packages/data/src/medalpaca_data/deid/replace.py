"""One record with its identifiers replaced, and what a second check finds in it.

Identifiers out of any JSON value: for rejected records of patient text, which no stage has gone through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .find import Tagger, find_identifiers
from .rules import Span
from .surrogates import Surrogates


@dataclass(frozen=True, slots=True)
class Replacement:
    """Texts before and after share everything outside `found` (places before) and `placed` (the same places after)."""

    texts: tuple[str, ...]
    found: tuple[tuple[Span, ...], ...]
    placed: tuple[tuple[Span, ...], ...]
    left: tuple[tuple[Span, ...], ...]  # identifiers that the second check finds, places after


MAX_ROUNDS = 4  # a name may only show once another has gone; two rounds are nearly always enough


def replace_identifiers(
    texts: Sequence[str], record: str, seed: int = 0, tagger: Tagger | None = None
) -> Replacement:
    """The record's texts with surrogates, drawn from `seed` and the record's id alone.

    What only the second check finds is replaced too, and the check run again; `left` is what it finds at last.
    """
    found = find_identifiers(texts, tagger)
    for _ in range(MAX_ROUNDS):
        surrogates = Surrogates(record, seed, texts, found)
        pairs = [
            _insert_surrogates(text, spans, surrogates) for text, spans in zip(texts, found, strict=True)
        ]
        after, placed = [text for text, _ in pairs], [spans for _, spans in pairs]
        left = [
            [piece for span in spans for piece in _original_parts(span, text, put)]
            for text, spans, put in zip(after, find_identifiers(after, tagger), placed, strict=True)
        ]
        if not any(left):
            break
        before = found
        found = [
            sorted(
                [*spans, *(_to_original(piece, spans, put) for piece in pieces)], key=lambda span: span.start
            )
            for spans, pieces, put in zip(found, left, placed, strict=True)
        ]
    else:
        found = before
    return Replacement(
        tuple(after), tuple(map(tuple, found)), tuple(map(tuple, placed)), tuple(map(tuple, left))
    )


def _to_original(span: Span, found: Sequence[Span], placed: Sequence[Span]) -> Span:
    """A place after, outside of all that was put in, as the place before."""
    moved = sum(
        (old.end - old.start) - (new.end - new.start)
        for old, new in zip(found, placed, strict=True)
        if new.end <= span.start
    )
    return Span(span.start + moved, span.end + moved, span.kind, span.rule)


def mask(texts: Sequence[str], found: Sequence[Sequence[Span]]) -> list[str]:
    """The texts with `[KIND]` in every identifier's place."""
    result = []
    for text, spans in zip(texts, found, strict=True):
        for span in reversed(spans):
            text = f"{text[: span.start]}[{span.kind.upper()}]{text[span.end :]}"  # noqa: PLW2901
        result.append(text)
    return result


def _insert_surrogates(text: str, spans: Sequence[Span], surrogates: Surrogates) -> tuple[str, list[Span]]:
    parts: list[str] = []
    placed: list[Span] = []
    at = length = 0
    for span in spans:
        new = surrogates.of(span, text)
        parts += [text[at : span.start], new]
        length += span.start - at
        placed.append(Span(length, length + len(new), span.kind, span.rule))
        length += len(new)
        at = span.end
    return "".join([*parts, text[at:]]), placed


def _original_parts(span: Span, text: str, placed: Sequence[Span]) -> list[Span]:
    """What a hit holds of the original: a moved date looks like any date, and is none of it."""
    pieces = [(span.start, span.end)]
    for put in placed:
        pieces = [
            piece
            for start, end in pieces
            for piece in ((start, min(end, put.start)), (max(start, put.end), end))
            if piece[0] < piece[1]
        ]
    return [
        Span(*piece, span.kind, span.rule)
        for piece in pieces
        if any(c.isalnum() for c in text[slice(*piece)])
    ]


def redact(value: Any) -> Any:
    """The same value with `[KIND]` in every identifier's place, in all its strings; keys and numbers stay."""
    match value:
        case str():
            return mask([value], find_identifiers([value]))[0]
        case dict():
            return {key: redact(inner) for key, inner in value.items()}
        case list() | tuple():
            return [redact(inner) for inner in value]
        case _:
            return value
