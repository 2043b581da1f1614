"""Anki decks: flash cards as question and answer, cloze deletions as text with gaps. Cards with pictures are excluded.

A record is a card. Its text is what Anki shows: the card template is rendered with the fields of the note. A note with
several kinds of cards gives a row for each. A card that swaps the sides of an earlier card of its note is excluded.

The module also renders card templates (`{{Field}}`, `{{filter:Field}}`, conditional parts) and cloze deletions
(`{{c1::text::hint}}`).
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator

from ..core.errors import UserError
from ..core.files import is_text
from ..core.joined_digits import MARK, remove_marks
from ..core.records import FileNote, OnNote
from ..formats.anki_exports import is_crowdanki_name, is_text_export, read_crowdanki_notes, read_text_notes
from ..formats.apkg import Note, NoteType, read_notes
from ..formats.html import html_text
from .base import BaseSource, ExcludedError, Name, Record, Reject, SourceInfo

TAG = re.compile(r"\{{2,3}([^{}]*)\}{2,3}")
EMPTY_CONTENT = re.compile(r"<(?:br|div|/div|p|/p|span|/span)\b[^<>]{0,200}>|&nbsp;|\s", re.IGNORECASE)

# Fields that Anki fills in itself. They are rendered as empty.
BUILT_IN_FIELDS = frozenset({"FrontSide", "Tags", "Type", "Deck", "Subdeck", "Card", "CardFlag", "CardID"})


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a card: its HTML, and the values (HTML) of the fields that are visible on it."""

    html: str
    fields: tuple[str, ...]


def render_side(
    template: str, fields: Mapping[str, str], *, back: bool, cloze: Callable[[str], str] | None = None
) -> Side:
    """Render one side of a card from its template and its fields (name -> HTML).

    `back` selects the side. `cloze` is called for each visible field with the filter `cloze`, and returns its text with
    gaps. Hints and speech are omitted, and on the front also input boxes, because Anki does not show their content.
    Raises ValueError for a template with an unknown field, or with a conditional part that is not opened or closed.
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
                open_parts.append((name, _is_filled(name, fields) == (word[0] == "#")))
            case "/":
                if not open_parts or open_parts.pop()[0] != word[1:].strip():
                    raise ValueError("the card template closes a part that it did not open")
            case "!" | "=":
                continue
            case _ if visible:
                *filters, name = (part.strip() for part in word.split(":"))
                value = _field_value(name, fields)
                if _is_hidden(filters, back=back):
                    continue
                used.append(value)
                if "cloze" in filters and cloze:
                    value = cloze(value)
                shown.append(html.escape(html_text(value)) if "text" in filters else value)
    if open_parts:
        raise ValueError("the card template does not close a part that it opens")
    return Side("".join([*shown, template[end:]]), tuple(used))


def _field_value(name: str, fields: Mapping[str, str]) -> str:
    if name not in fields and name not in BUILT_IN_FIELDS:
        raise ValueError("the card template uses a field that the note type does not have")
    return fields.get(name, "")


def _is_filled(name: str, fields: Mapping[str, str]) -> bool:
    """Return whether a field has content. For `{{#c1}}`, the caller adds the cloze number as a field."""
    return bool(EMPTY_CONTENT.sub("", fields.get(name, "")))


def _is_hidden(filters: list[str], *, back: bool) -> bool:
    return any(
        word == "hint" or word.split(" ")[0] == "tts" or (word == "type" and not back) for word in filters
    )


GAP = "____"
# Largest depth of nested cloze deletions.
MAX_DEPTH = 20

CLOZE_TOKEN = re.compile(r"\{\{c([0-9]{1,4}(?:,[0-9]{1,4}){0,20})::|\}\}", re.IGNORECASE)


@dataclass(slots=True)
class _Cloze:
    """One cloze deletion: its opening as written, the numbers of its cards, its parts and its hint.

    The whole text is one as well, with an empty opening.
    """

    opening: str = ""
    numbers: frozenset[int] = frozenset()
    parts: list[str | _Cloze] = field(default_factory=list)
    hint: str = ""

    def add(self, text: str) -> None:
        """Append text; the text after the first double colon is the hint."""
        if self.opening and not self.hint:
            text, _, self.hint = text.partition("::")
        if text:
            self.parts.append(text)


def split_cloze(text: str, number: int) -> tuple[str, list[str]]:
    """Return the text of card `number` (from 1) with gaps, and the hidden answers in order.

    Each deletion with this number becomes a gap, followed by its hint; all others are filled in. HTML is not changed.
    Raises ValueError for deletions nested more than 20 deep, and JoinedDigits if filling in a deletion would join
    digits, as in 10{{c2::9}}.
    """
    answers: list[str] = []
    shown = remove_marks(_render_cloze(_parse_cloze(text), number, answers))
    return shown, [remove_marks(answer) for answer in answers]


def _parse_cloze(text: str) -> _Cloze:
    stack = [_Cloze()]
    end = 0
    for token in CLOZE_TOKEN.finditer(text):
        stack[-1].add(text[end : token.start()])
        end = token.end()
        if token[1]:
            if len(stack) > MAX_DEPTH:
                raise ValueError(f"clozes nested more than {MAX_DEPTH} deep")
            stack.append(_Cloze(token[0], frozenset(map(int, token[1].split(",")))))
        elif len(stack) > 1:
            done = stack.pop()
            stack[-1].parts.append(done)
        else:
            stack[-1].add(token[0])
    stack[-1].add(text[end:])
    # A deletion that is never closed is plain text.
    while len(stack) > 1:
        done = stack.pop()
        hint = f"::{done.hint}" if done.hint else ""
        stack[-1].parts += [done.opening, *done.parts, hint]
    return stack[0]


def _render_cloze(cloze: _Cloze, number: int | None, answers: list[str]) -> str:
    shown = []
    for part in cloze.parts:
        if isinstance(part, str):
            shown.append(part)
        elif number in part.numbers:
            answers.append(_render_cloze(part, None, []))
            shown.append(f"{GAP} ({part.hint})" if part.hint else GAP)
        else:
            shown += (MARK, _render_cloze(part, number, answers), MARK)
    return "".join(shown)


PACKAGE_SUFFIXES = (".apkg", ".colpkg")
DECK_SUFFIXES = (*PACKAGE_SUFFIXES, ".txt", ".json")

CARD_INSTRUCTION = "Answer the question on this flash card."
ONE_GAP_INSTRUCTION = "Say what belongs in the gap in this text."
SEVERAL_GAPS_INSTRUCTION = (
    "Say what belongs in the gaps in this text, in their order, separated by semicolons."
)

ANSWER_LINE = re.compile(r"""<hr\b[^<>]{0,200}\bid\s{0,9}=\s{0,9}["']?answer\b[^<>]{0,200}>""", re.IGNORECASE)

# Content that text cannot represent: the reason to exclude a card, and a pattern for the HTML of its visible fields.
UNSUPPORTED_CONTENT = (
    ("an image occlusion card", re.compile(r"\{\{c\d{1,4}::image-occlusion:", re.IGNORECASE)),
    ("a card with a picture", re.compile(r"<(?:img|svg|picture|canvas|object|embed)\b", re.IGNORECASE)),
    (
        "a card with sound or video",
        re.compile(r"\[(?:sound:|anki:)|<(?:audio|video|iframe)\b", re.IGNORECASE),
    ),
    ("a card with LaTeX, which Anki shows as a picture", re.compile(r"\[(?:latex|\$\$?)\]", re.IGNORECASE)),
)


class Anki(BaseSource):
    """Anki decks: `path` is one deck or a directory of decks, `paths` a list of these.

    A directory is searched with its subdirectories.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="Anki decks: flash cards and cloze deletions",
        format="Anki packages (.apkg, .colpkg), from any version of Anki; text exports (.txt); CrowdAnki (deck.json)",
        get="your own decks (in Anki: File, Export), or a shared deck from AnkiWeb",
        licence="that of the deck; many decks copy commercial books, so set licence: only if you know it",
        size="1 to 500 MB per deck, mostly pictures, which are not read",
        rows="one per card without a picture; Medical Meadow (2023) had 33,955 from its medical decks",
        remark="the decks used in 2023 were never published; use your own",
    )

    kind: Literal["anki"] = "anki"
    name: Name = "anki"
    path: str | None = None
    paths: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_paths(self) -> Anki:
        if (self.path is None) == (not self.paths):
            raise ValueError("set either path: (a deck or a directory of decks) or paths: (a list of these)")
        return self

    def files(self, root: Path) -> list[Path]:
        files: list[Path] = []
        for path in self.paths or (self.path,):
            deck = self.resolve(root, path or "", "deck")
            if not deck.is_dir() and deck.suffix.lower() not in DECK_SUFFIXES:
                raise UserError(
                    f"{deck}: not a deck; allowed are .apkg, .colpkg, a text export (.txt) and CrowdAnki's deck.json. "
                    "For a table of questions and answers use kind: alpaca"
                )
            decks = [file for file in sorted(deck.rglob("*")) if _is_deck(file)] if deck.is_dir() else [deck]
            if not decks:
                raise UserError(
                    f"{deck}: no .apkg or .colpkg file, no text export and no CrowdAnki deck in this directory"
                )
            files += decks
        return list(dict.fromkeys(files))

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        for file, name in self.file_names(root).items():
            notes: list[FileNote] = []
            for note in _read_notes(file, notes.append):
                yield from self._cards(name, note)
            yield from (replace(note, file=name) for note in notes)
        yield from self._others(root)

    def _others(self, root: Path) -> Iterator[FileNote]:
        """Yield a note for each directory with text or JSON files that are not decks."""
        for path in self.paths or (self.path,):
            folder = self.resolve(root, path or "", "deck")
            found = sorted(folder.rglob("*")) if folder.is_dir() else []
            others = [file for file in found if file.suffix.lower() in DECK_SUFFIXES and not _is_deck(file)]
            left_out = tuple((file.relative_to(folder).as_posix(), "not a deck") for file in others)
            if left_out:
                yield FileNote(file=folder.name, left_out=left_out)

    def _cards(self, file: str, note: Note) -> Iterator[Record]:
        """Yield a row or a reject for each card of a note, and one reject for a note without cards."""
        record = {"type": note.type and note.type.name, "fields": note.values}
        place = note.place or f"note {note.id}"
        if not note.cards:
            yield Reject(file, place, "a note without a card", record)
        earlier: list[tuple[str, str]] = []
        for number, deck in note.cards:
            location = f"{place} card {number + 1}"
            try:
                instruction, question, answer = _read_card(note, number)
                if any(question == back or answer == front for front, back in earlier):
                    raise ExcludedError("a reversed card")
            except ValueError as error:
                yield Reject.of(file, location, error, record)
                continue
            if not (note.type and note.type.cloze):
                earlier.append((question, answer))
            named = f"Anki deck {deck}" if deck not in ("", "Default") and is_text(deck) else None
            yield self.make_row(
                source_id=f"{file} {location}",
                instruction=instruction,
                input=question,
                output=answer,
                attribution="; ".join(filter(None, (self.attribution, named))) or None,
                # A note has the same guid in every package, so two exports of a deck stay in one split.
                group=f"{self.name}:{note.guid if is_text(note.guid) else note.id}",
            )


def _is_deck(file: Path) -> bool:
    """Return whether a file in a directory of decks is one of them."""
    if not file.is_file():
        return False
    match file.suffix.lower():
        case ".txt":
            return is_text_export(file)
        case ".json":
            return is_crowdanki_name(file)
        case suffix:
            return suffix in PACKAGE_SUFFIXES


def _read_notes(file: Path, on_note: OnNote) -> Iterator[Note]:
    match file.suffix.lower():
        case ".txt":
            return read_text_notes(file, on_note)
        case ".json":
            return read_crowdanki_notes(file)
        case _:
            return read_notes(file)


def _read_card(note: Note, number: int) -> tuple[str, str, str]:
    """Return instruction, question and answer of the card `number` (from 0).

    Raises ValueError with the reason if the card cannot be read: for instance, its text is not UTF-8, or it has no
    template or no answer. Raises ExcludedError for an empty card, and for content that text cannot represent, such as a
    picture.
    """
    kind = note.type
    if kind is None:
        raise ValueError("the note type is not in the package")
    if len(note.values) != len(kind.fields):
        raise ValueError("the number of fields differs from the note type")
    if not all(
        map(is_text, (*note.values, *kind.fields, *(side for both in kind.templates for side in both)))
    ):
        raise ValueError("the text is not UTF-8")
    fields = dict(zip(kind.fields, note.values, strict=True))
    return _read_cloze_card(kind, fields, number) if kind.cloze else _read_basic_card(kind, fields, number)


def _read_basic_card(kind: NoteType, fields: dict[str, str], number: int) -> tuple[str, str, str]:
    if not 0 <= number < len(kind.templates):
        raise ValueError("the note type has no template for this card")
    front, back = kind.templates[number]
    front_side, back_side = render_side(front, fields, back=False), render_side(back, fields, back=True)
    _exclude_unsupported(front_side, back_side)
    question, back_text = html_text(front_side.html), html_text(back_side.html)
    after_line = ANSWER_LINE.split(back_side.html, maxsplit=1)[1:]
    # Without the answer line, the back often repeats the front before the answer.
    answer = html_text(after_line[0]) if after_line else back_text.removeprefix(question).strip()
    if not question:
        raise ExcludedError("an empty card")
    if not answer:
        raise ValueError("no answer")
    return CARD_INSTRUCTION, question, answer


def _read_cloze_card(kind: NoteType, fields: dict[str, str], number: int) -> tuple[str, str, str]:
    if not kind.templates:
        raise ValueError("the note type has no template for this card")
    answers: list[str] = []

    def gaps(value: str) -> str:
        text, hidden = split_cloze(value, number + 1)
        answers.extend(hidden)
        return text

    shown = render_side(kind.templates[0][0], {**fields, f"c{number + 1}": "1"}, back=False, cloze=gaps)
    _exclude_unsupported(shown)
    # The deletion of this card was removed from the note. For Anki the card is empty and can be deleted.
    if not answers:
        raise ExcludedError("an empty card")
    texts = [html_text(answer) for answer in answers]
    if not all(texts):
        raise ValueError("no answer")
    return (
        ONE_GAP_INSTRUCTION if len(texts) == 1 else SEVERAL_GAPS_INSTRUCTION,
        html_text(shown.html),
        "; ".join(texts),
    )


def _exclude_unsupported(*sides: Side) -> None:
    content = "\n".join(value for side in sides for value in side.fields)
    for reason, pattern in UNSUPPORTED_CONTENT:
        if pattern.search(content):
            raise ExcludedError(reason)
