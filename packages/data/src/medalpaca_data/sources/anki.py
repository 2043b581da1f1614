"""Anki's card templates: `{{Field}}`, `{{filter:Field}}`, and parts shown only where a field is filled or empty.

Cloze deletions, `{{c1::text::hint}}`: a text with the gaps of one card, and what the gaps hide.

Anki decks: flash cards as questions and answers, cloze deletions as texts with gaps. Picture cards are left out.

A record is a card. What Anki would show is what is read: the card's own template decides, so a note with several
kinds of cards gives a row for each, but a card that only swaps the sides of another gives none.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator

from ..core.errors import UserError
from ..core.files import existing, is_text
from ..core.joined_digits import MARK, remove_marks
from ..formats.apkg import Note, NoteType, read_notes
from ..formats.html import html_text
from .base import About, BaseSource, LeftOut, Name, Record, Reject

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
    shown = remove_marks(_show(_parse(text), number, answers))
    return shown, [remove_marks(answer) for answer in answers]


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
            shown += (MARK, _show(part, number, answers), MARK)
    return "".join(shown)


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
                yield Reject.of(file, place, error, record)
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
