"""Options and answers of exam records: conversion of published forms to lettered options and the correct letter.

A form that allows two readings gives a reason instead of a letter. No reading is guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..core.errors import UserError
from ..core.files import parse_json
from .item import LETTERS, encodable_text

# Keys of an option that is an object: its label, and its text.
LABEL_KEYS = ("key", "label", "letter", "aid", "id")
TEXT_KEYS = ("value", "text", "content", "atext")

NO_ANSWER = "no answer"
SEVERAL_ANSWERS = "several answers are named"
UNKNOWN_ANSWER = "key not among the options"
NUMBER = "the answer is a number that may count from 0 or from 1; set answer_base in fields"
SEVERAL_READINGS = "the answer fits several options"
NUMBER_OR_TEXT = (
    "the answer is a number and also the text of an option; if it is a text, set answer_base: text in fields"
)
COLUMNS_DISAGREE = "the answer columns disagree"
LETTER_AND_TEXT_DISAGREE = "letter and text of the answer disagree"

_OPEN, _CLOSE = r"[\s(\[{<\"'*_`]*", r"[\s)\]}>\"'*_`]*"
# A letter with or without brackets, a period, and a word before it: b, (C), B., Option B, Answer: B.
_LETTER = re.compile(
    rf"{_OPEN}(?:(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)\s*(?:is\s+)?[:=]?|correct\s*[:=])?{_OPEN}([a-z]){_CLOSE}[.:,;)]*{_CLOSE}",
    re.IGNORECASE,
)
# A letter and the text of its option: B) Vitamin C, (B) Vitamin C, B. Vitamin C, B: Vitamin C, B - Vitamin C,
# B (Vitamin C).
_LETTER_TEXT = re.compile(
    r"\s*(?:(?:answer|option|choice)\s+)?(?:[(\[]([a-z])[)\]]\s*[.:]?\s*|([a-z])\s*[.:)\]]\s*|([a-z])\s+[-\u2013\u2014]\s+)(\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_LETTER_BRACKETS = re.compile(r"\s*([a-z])\s*\((.+)\)\s*\.?", re.IGNORECASE | re.DOTALL)
# Two or more letters without anything between them: AB.
_LETTERS_ONLY = re.compile(r"[A-Z]{2,}")
_SEPARATOR = re.compile(r"\s*(?:[,;/&+|]|\band\b|\bor\b)\s*", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,4}(?:\.0+)?")
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff\u00ad]")


@dataclass(frozen=True, slots=True)
class Options:
    """Options by letter, and the letter of each label that is no letter, such as `option2`, `opb` or an `aid`."""

    texts: dict[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnswerForms:
    """Evidence of the whole file for its forms of answers.

    `letters`: every answer is a letter. `mixed`: some answers are numbers and others are not. `base` is the number of
    the first option, "text" if every answer is the text of an option, None if neither is known. `base_is_found`: the
    answers showed the base; else the user set it.
    """

    letters: bool = False
    mixed: bool = False
    base: Literal[0, 1, "text"] | None = None
    base_is_found: bool = False


def answer_forms(values: Iterable[Any]) -> AnswerForms:
    """Return the forms of all answers of a file; empty ones and structures are ignored."""
    listed = list(values)
    cleaned = [clean(value) for value in listed if isinstance(value, str) and clean(value)]
    letters = [bool(_LETTER.fullmatch(text) or _letter_and_text(text)) for text in cleaned]
    others = any(not _NUMBER.fullmatch(text) for text in cleaned)
    return AnswerForms(
        letters=bool(letters) and all(letters), mixed=others and any(map(answer_numbers, listed))
    )


def answer_numbers(value: Any) -> list[int]:
    """Return an answer that is a number, alone or in a list of one, as a list of one; else an empty list."""
    value = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
    is_number = isinstance(value, str | int | float) and not isinstance(value, bool)
    return [int(float(text))] if is_number and _NUMBER.fullmatch(text := clean(str(value))) else []


def _letter_and_text(value: str) -> tuple[str, str] | None:
    """Return letter and text of an answer that has both, else None."""
    if match := _LETTER_TEXT.fullmatch(value):
        return (match[1] or match[2] or match[3]).upper(), match[4]
    if match := _LETTER_BRACKETS.fullmatch(value):
        return match[1].upper(), match[2]
    return None


def clean(value: str) -> str:
    """Return `value` with compatibility characters (full-width letters, enclosed letters) and white space unified.

    This form is for letters and labels only, because 10\u00b2 becomes 102.
    """
    return single_spaced(unicodedata.normalize("NFKC", value))


def single_spaced(value: str) -> str:
    """Return `value` without invisible characters, with single blanks as white space."""
    return " ".join(_INVISIBLE.sub("", value).split())


def is_blank(value: Any) -> bool:
    """Return whether a value is missing: null, empty text, an empty structure, or not a number (NaN)."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value != value or (isinstance(value, list | tuple | Mapping) and not value)


def read_options(value: Any, where: str) -> Options:
    """Return options from an object {label: text}, a list of texts or of objects, or JSON text of one of these.

    Empty options at the end that are null, as tables write them, are dropped. Raises UserError for another type, for
    repeated labels, and for more than 26 options.
    """
    if isinstance(value, str):
        if value.lstrip()[:1] not in ("[", "{"):
            raise UserError(f"{where}: 'options' is text; allowed: an object, a list, or JSON text of them")
        try:
            value = parse_json(value, where)
        except UserError:
            raise UserError(
                f"{where}: 'options' is text that is not JSON; write it as a JSON list or object"
            ) from None
    if isinstance(value, Mapping) and set(value) in ({"text", "label"}, {"text", "key"}):
        texts, labels = value["text"], value["label" if "label" in value else "key"]
        if isinstance(texts, list) and isinstance(labels, list) and len(texts) == len(labels):
            return label_options(zip(labels, texts, strict=True), where)
    if isinstance(value, Mapping):
        return label_options(value.items(), where)
    if not isinstance(value, list | tuple):
        raise UserError(f"{where}: 'options' is {type(value).__name__}; allowed: an object or a list")
    if any(isinstance(entry, Mapping) for entry in value):
        return label_options([_label_and_text(entry, where) for entry in value], where)
    return label_options([(None, text) for text in value], where)


def _label_and_text(entry: Any, where: str) -> tuple[Any, Any]:
    keys = set(entry) if isinstance(entry, Mapping) else set()
    label = [key for key in LABEL_KEYS if key in keys]
    text = [key for key in TEXT_KEYS if key in keys]
    if len(text) != 1 or len(label) > 1 or len(keys) != len(text) + len(label):
        found = ", ".join(sorted(map(str, keys))) or type(entry).__name__
        raise UserError(
            f"{where}: an option has {found}; allowed: one of {', '.join(LABEL_KEYS)} and one of {', '.join(TEXT_KEYS)}"
        )
    return entry[label[0]] if label else None, entry[text[0]]


def label_options(pairs: Iterable[tuple[Any, Any]], where: str) -> Options:
    """Return the options of (label, text). Labels that are letters stay; others, and None, are numbered by letters."""
    listed = list(pairs)
    while listed and (listed[-1][1] is None or listed[-1][1] != listed[-1][1]):
        listed.pop()
    if len(listed) > len(LETTERS):
        raise UserError(f"{where}: {len(listed)} options; allowed: at most {len(LETTERS)}")
    names = ["" if label is None else clean(str(label)) for label, _ in listed]
    given = [match[1].upper() if (match := _LETTER.fullmatch(name)) else None for name in names]
    if any(given) and not all(given):
        other = names[given.index(None)]
        raise UserError(f"{where}: the option label {other!r} is not a letter, but other labels are")
    letters = [letter for letter in given if letter] if all(given) else list(LETTERS[: len(listed)])
    labels = {} if all(given) else {name: letter for name, letter in zip(names, letters, strict=True) if name}
    if len(set(letters)) < len(letters) or (labels and len(labels) < len(names)):
        raise UserError(f"{where}: two options have the same label")
    texts = {
        letter: option_text(text, letter, where) for letter, (_, text) in zip(letters, listed, strict=True)
    }
    return Options(texts, labels)


def option_text(value: Any, letter: str, where: str) -> str:
    """Return one option as text; null gives an empty text. Raises UserError for a structure."""
    if value is None or value != value:
        return ""
    if not isinstance(value, str | int | float):
        raise UserError(f"{where}: option {letter} is {type(value).__name__}, not text")
    return encodable_text(str(value), f"option {letter}", where)


def find_answer(
    values: Sequence[tuple[Any, int | None]], options: Options, forms: AnswerForms
) -> tuple[str, str | None]:
    """Return (letter, None), or (the value as far as it is a letter, reason) where no single letter is meant.

    `values` holds the value of each answer column and the number from which it counts, None if that is not known. All
    columns must agree.
    """
    readings: list[list[str]] = []
    fault: str | None = None
    first = ""
    for given, base in values:
        value = given[0] if isinstance(given, list | tuple) and len(given) == 1 else given
        if is_blank(value):
            continue
        if isinstance(value, list | tuple):
            return "", SEVERAL_ANSWERS
        if not isinstance(value, str | int | float):
            return "", f"the answer is {type(value).__name__}, not a letter or a text"
        letters, reason = _readings(value, options, base, forms if not readings else None)
        if not readings and isinstance(value, str) and (match := _LETTER.fullmatch(clean(value))):
            first = match[1].upper()
        fault = fault or reason
        readings.append(letters)
    if not readings:
        return "", NO_ANSWER
    common = [letter for letter in readings[0] if all(letter in other for other in readings[1:])]
    # One column with a number: that the number fits one count only is no evidence that it is meant.
    if len(common) == 1 and not (len(readings) == 1 and fault in (NUMBER, NUMBER_OR_TEXT)):
        return common[0], None
    if common:
        return "", fault or SEVERAL_READINGS
    return ("", COLUMNS_DISAGREE) if readings[0] else (first, fault or UNKNOWN_ANSWER)


def _readings(
    value: str | float, options: Options, base: int | None, forms: AnswerForms | None
) -> tuple[list[str], str | None]:
    """Return the letters that an answer can mean, and the reason if these are none or several.

    `forms` is None for a column that only has to agree with an earlier one.
    """
    text = clean(str(value))
    texts = _letters_of_text(str(value), options, every=forms is None)
    forms = forms or AnswerForms()
    if base is None and forms.base == "text":
        return texts, None if len(texts) == 1 else SEVERAL_READINGS if texts else UNKNOWN_ANSWER
    if text in options.labels:
        return [options.labels[text]], None
    if _NUMBER.fullmatch(text) and not isinstance(value, bool):
        number = int(float(text))
        if str(number) in options.labels:
            return [options.labels[str(number)]], None
        is_index = base is not None
        base = forms.base if base is None and forms.base != "text" else base
        counts = [number - start for start in ((0, 1) if base is None else (base,))]
        by_count = [LETTERS[n] for n in counts if 0 <= n < len(options.texts)]
        if texts and not is_index and (by_count or base is not None):
            is_same = base is not None and by_count == texts
            return list(dict.fromkeys((*texts, *by_count))), None if is_same else NUMBER_OR_TEXT
        if base is not None:
            return by_count, None if by_count else UNKNOWN_ANSWER
        return texts or by_count, NUMBER if by_count else None
    if match := _LETTER.fullmatch(text):
        letter = match[1].upper()
        by_letter = [letter] if letter in options.texts else []
        other = [] if letter in texts or (forms.letters and by_letter) else texts
        return by_letter + other, SEVERAL_READINGS if by_letter and other else None
    if texts:
        return texts, SEVERAL_READINGS if len(texts) > 1 else None
    parts = [part.strip() for part in _SEPARATOR.split(text)]
    if len(parts) > 1 and all(
        part in options.labels or _LETTER.fullmatch(part) or _NUMBER.fullmatch(part) for part in parts
    ):
        return [], SEVERAL_ANSWERS
    if _LETTERS_ONLY.fullmatch(text) and len(set(text)) == len(text) and set(text) <= set(options.texts):
        return [], SEVERAL_ANSWERS
    if (both := _letter_and_text(text)) and both[0] in options.texts:
        agree = _folded(clean(options.texts[both[0]])) == _folded(both[1])
        return ([both[0]], None) if agree else ([], LETTER_AND_TEXT_DISAGREE)
    return [], UNKNOWN_ANSWER


def _letters_of_text(value: str, options: Options, *, every: bool = False) -> list[str]:
    """Return the options with exactly this text, else those that differ in case, white space or a final period.

    Options with equal texts count as one, the first, unless `every` is set.
    """
    for form in (str, single_spaced, _folded):
        wanted = form(value)
        found = [letter for letter, text in options.texts.items() if wanted and form(text) == wanted]
        if found:
            distinct = {options.texts[letter]: letter for letter in reversed(found)}
            return found if every else sorted(distinct.values())
    return []


def _folded(text: str) -> str:
    return single_spaced(text).rstrip(".").casefold()
