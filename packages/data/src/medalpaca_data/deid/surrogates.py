"""Surrogates: texts that replace identifiers, the same one for the same identifier throughout a row and its group.

Surrogates have forms that are reserved for examples or never issued, so that the rules recognise them afterwards:
telephone numbers end in 555-01xx (North American fiction); addresses are in example.org (RFC 2606), 192.0.2.0/24
(RFC 5737) or 2001:db8::/32 (RFC 3849); social security numbers begin with 000; other numbers are zeros and a counter
in the layout of the original. Synthetic names are made of syllables; none of them is in the lists of real names.
Dates are shifted into the years 2100 to 2199.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from .dates import BIRTH_LABEL, LATEST_BIRTH_YEAR, DateShift, is_shifted_date
from .places import FACILITY, SMALL_ZIP3, STREET_TYPES
from .rules import LETTER, PARTICLES, Span, digits
from .secret import draw

SYNTHETIC_HEADS = [
    "Bralv", "Cromd", "Drelk", "Fruv", "Glanv", "Jorv", "Krolb", "Lurd", "Morv", "Nelv", "Plav", "Quilb", "Rolv",
    "Sorb", "Trolv", "Vulb", "Wrenv", "Yolv", "Zelb", "Skelv",
]  # fmt: skip
SYNTHETIC_TAILS = [
    "ado", "ambrix", "anto", "eddo", "elno", "emlo", "endix", "erno", "iddo", "ilmo", "imbo", "inno", "orro",
    "oddo", "ombix", "ulvo", "undo", "urno",
]  # fmt: skip
# The middle syllable is a vowel and a consonant, 70 in all; names without a middle syllable are older surrogates.
_VOWELS, _CONSONANTS = "aeiou", "bdfgklmnprstvz"
SYNTHETIC_NAME = re.compile(
    rf"(?:(?:{'|'.join(SYNTHETIC_HEADS)})(?:[aeiou][bdfgklmnprstvz])?(?:{'|'.join(SYNTHETIC_TAILS)}))+",
    re.IGNORECASE,
)
NAME_COUNT = len(SYNTHETIC_HEADS) * len(_VOWELS) * len(_CONSONANTS) * len(SYNTHETIC_TAILS)


def synthetic_name(number: int) -> str:
    """Return the synthetic name with a number from 0 to `NAME_COUNT` - 1."""
    number, tail = divmod(number, len(SYNTHETIC_TAILS))
    number, consonant = divmod(number, len(_CONSONANTS))
    head, vowel = divmod(number, len(_VOWELS))
    return SYNTHETIC_HEADS[head] + _VOWELS[vowel] + _CONSONANTS[consonant] + SYNTHETIC_TAILS[tail]


def is_synthetic_name(word: str) -> bool:
    """Return whether a word is a synthetic name; case is ignored."""
    return SYNTHETIC_NAME.fullmatch(word) is not None


OVER_89 = "90 or older"
GENERIC_WORD = re.compile(
    rf"{STREET_TYPES}|{FACILITY}|County|Parish|Borough|Township|Apt|Apartment|Unit|Suite|Ste|Room|Rm|Flat|Floor|P|O|Box|PO|Post|Office|"
    r"Postbox|Locked|Bag|[NSEW]|St|Saint|Mt|Ft|General|Regional|Memorial|Community|University|Medical|Center|Centre|Health|"
    r"Nursing|Home|School|High|Care|Senior|Assisted|Living|Rehabilitation|of|de|del|la|le|des|du|dos|da|st|nd|rd|th|s|the|upon|and",
    re.IGNORECASE,
)
WORD = re.compile(rf"{LETTER}+(?:['\u2019]{LETTER}+)*")
ID_KINDS = frozenset(
    {"mrn", "plan", "account", "licence", "vehicle", "device", "biometric", "photo", "other"}
)
EXAMPLE_ADDRESS = re.compile(r"(?i)(?:^|[@./]|\bat )example\.(?:org|com|net)\b|\bat example dot org$")
# Surrogates for initials.
INITIALS = ("Q", "X", "Z")
# Words of a name that identify nobody and are kept.
TITLES = frozenset(
    ["dr", "mr", "mrs", "ms", "miss", "prof", "md", "jr", "sr", "and", "frau", "herr", "herrn"]
)


def is_surrogate(kind: str, text: str) -> bool:
    """Return whether the text has the form of a surrogate of this kind; false for ages, which have none."""
    match kind:
        case "name" | "place":
            words = [word for word in WORD.findall(text) if not _is_kept(word)]
            if kind == "place":
                if re.fullmatch(r"[0-9]{3}XX|X{1,2}0[0X]? 0XX", text):
                    return True
                words = [word for word in words if not GENERIC_WORD.fullmatch(word)]
                if not words:
                    return all(_is_counter(number) for number in re.findall(r"[0-9]+", text))
            return all(is_synthetic_name(word) or word in INITIALS for word in words)
        case "phone" | "fax":
            number = digits(text)
            return number[-7:-2] == "55501" or (len(number) < 7 and _is_counter(text))
        case "ssn":
            return digits(text).startswith("000") or (len(digits(text)) == 4 and _is_counter(text))
        case "email" | "url":
            return EXAMPLE_ADDRESS.search(text) is not None
        case "ip":
            return text.startswith("192.0.2.") or text.lower().startswith("2001:db8:")
        case "date":
            return is_shifted_date(text)
        case "age":
            return False
        case _:
            return _is_counter(text.rpartition(".")[0] if kind == "photo" else text)


def _is_counter(text: str) -> bool:
    """Return whether all letters are X and all digits zero, except the last two digits."""
    number = digits(text)
    plain = bool(text) and all(c in "xX" for c in text if c.isalpha())
    return plain and (not number or number.startswith("0")) and not number[:-2].strip("0")


class Surrogates:
    """The surrogates of one scope: a `group` such as a case number, or a single row.

    Each surrogate depends only on `secret`, `scope`, and the kind and characters of the identifier. So all rows of a
    group have the same surrogate for the same identifier, also in other shards and in later builds. Two identifiers of
    a scope rarely get the same surrogate: there are `NAME_COUNT` names, and 99 numbers of most other kinds.
    `dates` are the texts of the dates of a row; a date without a year gets the latest year in them (see `DateShift`).
    """

    def __init__(self, secret: bytes, scope: str, dates: Sequence[str] = ()) -> None:
        self._secret, self._scope = secret, scope
        self._known: dict[tuple[str, str], str] = {}
        self._shift = DateShift(dates, random.Random(draw(secret, scope, "shift")))  # noqa: S311 - seeded by a secret

    def replacement(self, span: Span, text: str) -> str:
        """Return the surrogate for one identifier of `text`; equal identifiers get equal surrogates."""
        original = text[span.start : span.end]
        surrogate = self._replacement(span, original, text[max(0, span.start - 40) : span.start])
        return f"[{span.kind.upper()}]" if _same(surrogate, original) else surrogate

    def _replacement(self, span: Span, original: str, before: str) -> str:
        match span.kind:
            case "date":
                year = re.search(r"(?:18|19)[0-9]{2}", original)
                if year and int(year[0]) <= LATEST_BIRTH_YEAR and BIRTH_LABEL.search(before):
                    return OVER_89
                return self._shift.apply(original)
            case "age":
                return "90-or-older" if "-" in original else OVER_89
            case "name":
                name = WORD.sub(lambda m: m[0] if _is_kept(m[0]) else self._word(m[0]), original)
                # A name may consist only of words that are usually kept, such as the surname Van.
                return WORD.sub(lambda m: self._word(m[0]), original) if _same(name, original) else name
            case "place":
                return self._place(original)
            case "phone" | "fax":
                return _in_layout_of(self._number("phone", original), original)
            case kind if kind in ID_KINDS or kind == "ssn":
                return _in_layout_of(self._number(kind, original), original)
            case kind:
                return self._number(kind, original)

    def _number(self, kind: str, original: str) -> str:
        """Return the surrogate of a number or address, which differs from the original in its letters or digits."""
        key = (kind, _normalized(original))
        if key not in self._known:
            for attempt in range(20):
                number = draw(self._secret, self._scope, *key, str(attempt))
                self._known[key] = _coded(kind, original, number)
                if not _same(self._known[key], original):
                    break
        return self._known[key]

    def _word(self, word: str) -> str:
        key = ("word", word.lower())
        if key not in self._known:
            number = draw(self._secret, self._scope, *key)
            if len(word) == 1:
                choices = [c for c in INITIALS if c.lower() != key[1]]
                self._known[key] = choices[number % len(choices)]
            else:
                name = synthetic_name(number % NAME_COUNT)
                if name.lower() == key[1]:
                    name = synthetic_name((number + 1) % NAME_COUNT)
                self._known[key] = name
        return _with_case_of(self._known[key], word)

    def _place(self, original: str) -> str:
        if re.fullmatch(r"[0-9]{5}(?:-[0-9]{4})?", original):
            return ("000" if original[:3] in SMALL_ZIP3 else original[:3]) + "XX"
        if re.fullmatch(r"[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}", original):
            return re.sub(r"[A-Z]", "X", re.sub(r"[0-9]", "0", original))
        text = WORD.sub(lambda m: m[0] if GENERIC_WORD.fullmatch(m[0]) else self._word(m[0]), original)
        text = re.sub(r"[0-9]+", lambda m: self._number("other", m[0]), text)
        # A place may consist only of words that are usually kept, such as Memorial Hospital.
        return WORD.sub(lambda m: self._word(m[0]), original) if _same(text, original) else text


def _coded(kind: str, original: str, number: int) -> str:
    """Return the surrogate of a number or address, in a reserved form; `number` is random."""
    number, n = divmod(number, 99)
    n += 1
    match kind:
        case "phone" if len(original_digits := digits(original)) >= 7:
            lead = original_digits[:-7]
            if original.startswith("+"):
                lead = lead[:2] + "0" * len(lead[2:])
            elif len(lead) >= 3:
                lead = lead[:-3] + str(201 + number % 789)
            return _fill_digits(original, f"{lead}55501{n:02}")
        case "ssn" if len(digits(original)) == 9:
            number, group = divmod(number, 89)
            return _fill_digits(original, f"000{10 + group}{1000 + number % 8999}")
        case "email":
            name = synthetic_name(number % NAME_COUNT).lower()
            return f"{name} at example dot org" if "@" not in original else f"{name}@example.org"
        case "url":
            scheme = re.match(r"(?i)[a-z]+://", original)
            return f"{scheme[0] if scheme else 'www.'}example.org/{n:02}"
        case "ip":
            return f"2001:db8::{n:x}" if ":" in original else f"192.0.2.{n}"
        case "photo":
            stem, dot, end = original.rpartition(".")
            return _zeroed(stem, n) + dot + end
        case _:
            return _zeroed(original, n)


def _same(surrogate: str, original: str) -> bool:
    """Return whether both have the same letters and digits; false if the original has none."""
    return bool(wanted := _normalized(original)) and _normalized(surrogate) == wanted


def _is_kept(word: str) -> bool:
    """Return whether a word of a name does not identify a person: a title, or a particle such as "van"."""
    return word.lower() in TITLES or re.fullmatch(PARTICLES, word) is not None


def _normalized(original: str) -> str:
    """Return only the letters and digits, in lower case, so that spellings of one identifier are equal."""
    return "".join(c for c in original.lower() if c.isalnum())


def _zeroed(original: str, count: int) -> str:
    """Return the original with X or x for letters and zero for digits, and `count` in the last one or two digits."""
    number = digits(original)
    count %= 10 ** min(2, len(number) - 1) if number else 1
    return _fill_digits(
        re.sub(LETTER, lambda m: "X" if m[0].isupper() else "x", original),
        f"{count:0{len(number)}}"[-len(number) :] if number else "",
    )


def _fill_digits(layout: str, number: str) -> str:
    """Return `layout` with its digits replaced, in order, by those of `number`."""
    remaining = iter(number)
    return re.sub(r"[0-9]", lambda m: next(remaining, "0"), layout)


def _in_layout_of(surrogate: str, original: str) -> str:
    """Return the surrogate with the punctuation of `original`, if both have as many letters and digits."""
    characters = iter([c for c in surrogate if c.isalnum()])
    if sum(c.isalnum() for c in surrogate) != sum(c.isalnum() for c in original):
        return surrogate
    return "".join(next(characters) if c.isalnum() else c for c in original)


def _with_case_of(name: str, like: str) -> str:
    return name.upper() if like.isupper() and len(like) > 1 else name.lower() if like.islower() else name
