"""Anki decks: flash cards as questions and answers, cloze deletions as texts with gaps. Picture cards are left out.

A record is a card. What Anki would show is what is read: the card's own template decides, so a note with several
kinds of cards gives a row for each, but a card that only swaps the sides of another gives none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator

from ..formats.apkg import Note, NoteType, read_notes
from ..formats.html import html_text
from ..ground.errors import UserError
from ..ground.files import existing, is_text
from .anki_template import Side, render
from .base import About, BaseSource, LeftOut, Name, Record, Reject
from .cloze import with_gaps

SUFFIXES = (".apkg", ".colpkg")

CARD = "Answer the question on this flash card."
ONE_GAP = "Say what belongs in the gap in this text."
SEVERAL_GAPS = "Say what belongs in the gaps in this text, in their order, separated by semicolons."

ANSWER_LINE = re.compile(r"""<hr\b[^<>]{0,200}\bid\s{0,9}=\s{0,9}["']?answer\b[^<>]{0,200}>""", re.IGNORECASE)

# What cannot be put into words, and how it shows in a field.
UNFIT = (
    ("an image occlusion card", re.compile(r"\{\{c\d{1,4}::image-occlusion:", re.IGNORECASE)),
    ("a card with a picture", re.compile(r"<(?:img|svg|picture|canvas|object|embed)\b", re.IGNORECASE)),
    (
        "a card with sound or video",
        re.compile(r"\[(?:sound:|anki:)|<(?:audio|video|iframe)\b", re.IGNORECASE),
    ),
    ("a card with LaTeX, which Anki shows as a picture", re.compile(r"\[(?:latex|\$\$?)\]", re.IGNORECASE)),
)


class Anki(BaseSource):
    """`path` is a deck or a directory of decks; `paths` are several."""

    about: ClassVar[About] = About(
        title="Anki decks: flash cards and cloze deletions",
        format="Anki packages (.apkg, .colpkg), from any version of Anki",
        get="your own decks, or a deck from AnkiWeb's list of shared decks; in Anki: File, Export",
        licence="the deck's own; many copy commercial study books, so set licence: only where you know it",
        size="1 to 500 MB a deck, nearly all of it pictures that are not read",
        rows="one for each card without a picture; Medical Meadow (2023) had 33,955 from its medical decks",
        remark="the decks of 2023 were never published: bring your own",
    )

    kind: Literal["anki"] = "anki"
    name: Name = "anki"
    path: str | None = None
    paths: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _some_deck(self) -> Anki:
        if (self.path is None) == (not self.paths):
            raise ValueError("either path: (a deck or a directory of decks) or paths: (several) is needed")
        return self

    def files(self, root: Path) -> list[Path]:
        files: list[Path] = []
        for path in self.paths or (self.path,):
            place = existing(root / Path(path or "").expanduser(), f"deck (source {self.name!r})")
            found = [place]
            if place.is_dir():
                found = sorted(file for file in place.rglob("*") if file.suffix.lower() in SUFFIXES)
            if not found:
                raise UserError(f"{place}: no .apkg or .colpkg file in this directory")
            files += found
        return list(dict.fromkeys(files))

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        for file in self.files(root):
            for note in read_notes(file):
                yield from self._cards(file.name, note)

    def _cards(self, file: str, note: Note) -> Iterator[Record]:
        """A row or a reject for each card of a note; one reject for a note that has no card."""
        record = {"type": note.type and note.type.name, "fields": note.values}
        if not note.cards:
            yield Reject(file, f"note {note.id}", "a note without a card", record)
        earlier: list[tuple[str, str]] = []
        for number, deck in note.cards:
            place = f"note {note.id} card {number + 1}"
            try:
                instruction, question, answer = _card(note, number)
                if any(question == back or answer == front for front, back in earlier):
                    raise LeftOut("a reversed card")
            except ValueError as error:
                yield Reject(file, place, str(error), record, isinstance(error, LeftOut))
                continue
            if not (note.type and note.type.cloze):
                earlier.append((question, answer))
            named = f"Anki deck {deck}" if deck not in ("", "Default") and is_text(deck) else None
            yield self.make(
                source_id=f"{file} {place}",
                instruction=instruction,
                input=question,
                output=answer,
                attribution="; ".join(filter(None, (self.attribution, named))) or None,
                # The id that a note keeps in every package, so that two exports of a deck are not split either.
                group=f"{self.name}:{note.guid if is_text(note.guid) else note.id}",
            )


def _card(note: Note, number: int) -> tuple[str, str, str]:
    """Instruction, question and answer of a note's card. Raises ValueError, or LeftOut, with the reason."""
    kind = note.type
    if kind is None:
        raise ValueError("its note type is not in the package")
    if len(note.values) != len(kind.fields):
        raise ValueError("its fields are not those of its note type")
    if not all(
        map(is_text, (*note.values, *kind.fields, *(side for both in kind.templates for side in both)))
    ):
        raise ValueError("its text is not UTF-8")
    fields = dict(zip(kind.fields, note.values, strict=True))
    return _cloze_card(kind, fields, number) if kind.cloze else _plain_card(kind, fields, number)


def _plain_card(kind: NoteType, fields: dict[str, str], number: int) -> tuple[str, str, str]:
    if not 0 <= number < len(kind.templates):
        raise ValueError("its note type has no such card")
    front, back = kind.templates[number]
    asked, told = render(front, fields, back=False), render(back, fields, back=True)
    _refuse_unfit(asked, told)
    question, whole = html_text(asked.html), html_text(told.html)
    tail = ANSWER_LINE.split(told.html, maxsplit=1)[1:]
    # Without the line, the back often repeats the front before it answers.
    answer = html_text(tail[0]) if tail else whole.removeprefix(question).strip()
    if not question:
        raise LeftOut("an empty card")
    if not answer:
        raise ValueError("no answer")
    return CARD, question, answer


def _cloze_card(kind: NoteType, fields: dict[str, str], number: int) -> tuple[str, str, str]:
    if not kind.templates:
        raise ValueError("its note type has no such card")
    answers: list[str] = []

    def gaps(value: str) -> str:
        text, hidden = with_gaps(value, number + 1)
        answers.extend(hidden)
        return text

    shown = render(kind.templates[0][0], {**fields, f"c{number + 1}": "1"}, back=False, cloze=gaps)
    _refuse_unfit(shown)
    if not answers:  # the deletion was edited away; Anki calls such a card empty and offers to remove it
        raise LeftOut("an empty card")
    texts = [html_text(answer) for answer in answers]
    if not all(texts):
        raise ValueError("no answer")
    return ONE_GAP if len(texts) == 1 else SEVERAL_GAPS, html_text(shown.html), "; ".join(texts)


def _refuse_unfit(*sides: Side) -> None:
    content = "\n".join(value for side in sides for value in side.fields)
    for reason, pattern in UNFIT:
        if pattern.search(content):
            raise LeftOut(reason)
