"""Surrogates: texts that replace identifiers, the same one for the same identifier throughout a record.

Surrogates have forms that are reserved for examples or never issued, so that the rules recognise them afterwards:
telephone numbers end in 555-01xx (North American fiction); addresses are in example.org (RFC 2606), 192.0.2.0/24
(RFC 5737) or 2001:db8::/32 (RFC 3849); social security numbers begin with 000; other numbers are zeros and a counter
in the layout of the original. Synthetic names are made of syllables; none of them is in the lists of real names.
Dates are shifted, and have no such form.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from ..core.files import sha256_bytes
from .dates import BIRTH_LABEL, LATEST_BIRTH_YEAR, DateShift
from .places import FACILITY, SMALL_ZIP3, STREET_TYPES
from .rules import LETTER, PARTICLES, Span, digits

SYNTHETIC_HEADS = [
    "Bralv", "Cromd", "Drelk", "Fruv", "Glanv", "Jorv", "Krolb", "Lurd", "Morv", "Nelv", "Plav", "Quilb", "Rolv",
    "Sorb", "Trolv", "Vulb", "Wrenv", "Yolv", "Zelb", "Skelv",
]  # fmt: skip
SYNTHETIC_TAILS = [
    "ado", "ambrix", "anto", "eddo", "elno", "emlo", "endix", "erno", "iddo", "ilmo", "imbo", "inno", "orro",
    "oddo", "ombix", "ulvo", "undo", "urno",
]  # fmt: skip
SYNTHETIC_NAME = re.compile(
    rf"(?:(?:{'|'.join(SYNTHETIC_HEADS)})(?:{'|'.join(SYNTHETIC_TAILS)}))+", re.IGNORECASE
)


def synthetic_name(draw: int) -> str:
    """Return the synthetic name with the number `draw`; numbers from 360 on give names of two or more parts."""
    draw, tail = divmod(draw, len(SYNTHETIC_TAILS))
    more, head = divmod(draw, len(SYNTHETIC_HEADS))
    name = SYNTHETIC_HEADS[head] + SYNTHETIC_TAILS[tail]
    return name + synthetic_name(more - 1).lower() if more else name


SHORT_NAME_COUNT = len(SYNTHETIC_HEADS) * len(SYNTHETIC_TAILS)


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
    """Return whether the text has the form of a surrogate of this kind; false for dates and ages, which have none."""
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
        case "date" | "age":
            return False
        case _:
            return _is_counter(text.rpartition(".")[0] if kind == "photo" else text)


def _is_counter(text: str) -> bool:
    """Return whether all letters are X and all digits zero, except the last two digits."""
    number = digits(text)
    plain = bool(text) and all(c in "xX" for c in text if c.isalpha())
    return plain and (not number or number.startswith("0")) and not number[:-2].strip("0")


class Surrogates:
    """Draw and store the surrogates of one record, whose id is `record`.

    They depend only on `seed`, `record`, the texts, and `spans`, the identifiers in each text.
    """

    def __init__(self, record: str, seed: int, texts: Sequence[str], spans: Sequence[Sequence[Span]]) -> None:
        self._random = random.Random(sha256_bytes(f"{seed}\x1f{record}".encode()))  # noqa: S311 - not a secret
        self._known: dict[tuple[str, str], str] = {}
        self._text = "\n".join(texts).lower()
        self._names = self._random.sample(range(SHORT_NAME_COUNT), SHORT_NAME_COUNT)
        self._count = self._random.randrange(1, 60)
        self._names_used = 0
        dates = [
            text[s.start : s.end]
            for text, found in zip(texts, spans, strict=True)
            for s in found
            if s.kind == "date"
        ]
        self._shift = DateShift(dates, self._random)

    def replacement(self, span: Span, text: str) -> str:
        """Return the surrogate for one identifier of `text`; equal identifiers get equal surrogates."""
        original = text[span.start : span.end]
        match span.kind:
            case "date":
                year = re.search(r"(?:18|19)[0-9]{2}", original)
                if (
                    year
                    and int(year[0]) <= LATEST_BIRTH_YEAR
                    and BIRTH_LABEL.search(text[max(0, span.start - 40) : span.start])
                ):
                    return OVER_89
                return self._shift.apply(original)
            case "age":
                return "90-or-older" if "-" in original else OVER_89
            case "name":
                return self._name(original)
            case "place":
                return self._place(original)
        key = (span.kind if span.kind not in ("phone", "fax") else "phone", _normalized(original))
        if key not in self._known:
            self._known[key] = self._draw_unused(span.kind, original)
        surrogate = self._known[key]
        return (
            _in_layout_of(surrogate, original)
            if span.kind in ID_KINDS | {"ssn", "phone", "fax"}
            else surrogate
        )

    def _draw_unused(self, kind: str, original: str) -> str:
        """Return a surrogate that does not occur in the record; after 200 attempts, the last one drawn."""
        for _ in range(200):
            self._count = self._count % 99 + 1
            surrogate = self._draw(kind, original)
            if surrogate.lower() not in self._text:
                return surrogate
        return surrogate

    def _draw(self, kind: str, original: str) -> str:
        n = self._count
        match kind:
            case "phone" | "fax" if len(number := digits(original)) >= 7:
                lead = number[:-7]
                if original.startswith("+"):
                    lead = lead[:2] + "0" * len(lead[2:])
                elif len(lead) >= 3:
                    lead = lead[:-3] + str(self._random.randrange(201, 990))
                return _fill_digits(original, f"{lead}55501{n:02}")
            case "ssn" if len(digits(original)) == 9:
                return _fill_digits(
                    original, f"000{self._random.randrange(10, 99)}{self._random.randrange(1000, 9999)}"
                )
            case "email":
                name = self._draw_name().lower()
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

    def _draw_name(self) -> str:
        while True:
            number = self._names_used
            self._names_used += 1
            name = synthetic_name(
                self._names[number % SHORT_NAME_COUNT] + SHORT_NAME_COUNT * (number // SHORT_NAME_COUNT)
            )
            if name.lower() not in self._text:
                return name

    def _name(self, original: str) -> str:
        return WORD.sub(self._word, original)

    def _word(self, match: re.Match[str]) -> str:
        word = match[0]
        lower = word.lower()
        if _is_kept(word):
            return word
        key = ("word", lower)
        if key not in self._known:
            if len(word) == 1:
                self._known[key] = self._random.choice([c for c in INITIALS if c.lower() != lower])
            else:
                self._known[key] = self._draw_name()
        return _with_case_of(self._known[key], word)

    def _place(self, original: str) -> str:
        if re.fullmatch(r"[0-9]{5}(?:-[0-9]{4})?", original):
            return ("000" if original[:3] in SMALL_ZIP3 else original[:3]) + "XX"
        if re.fullmatch(r"[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}", original):
            return re.sub(r"[A-Z]", "X", re.sub(r"[0-9]", "0", original))
        text = WORD.sub(lambda m: m[0] if GENERIC_WORD.fullmatch(m[0]) else self._word(m), original)
        return re.sub(r"[0-9]+", lambda m: self._number(m[0]), text)

    def _number(self, number: str) -> str:
        key = ("number", number)
        if key not in self._known:
            self._known[key] = self._draw_unused("other", number)
        return self._known[key]


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
