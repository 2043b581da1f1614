"""Numbers, and numbers with their units, in the one form in which texts are compared: 1,000 mcg is 1000 ug.

Every run of digits counts, also inside a word (CD4, B12), and so do number words, fractions and Roman numerals. What
is read out of an answer is never more lenient than what is read out of its source.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files

import yaml

_TABLE = yaml.safe_load(files(__package__).joinpath("amounts.yaml").read_text(encoding="utf-8"))
WORDS: Mapping[str, str] = {word: str(number) for word, number in _TABLE["numbers"].items()}
LOOSE: Mapping[str, str] = {word: str(number) for word, number in _TABLE["loose"].items()}
UNITS: Mapping[str, str] = {name: unit for unit, names in _TABLE["units"].items() for name in names}
EVERY: Mapping[str, str] = _TABLE["every"]
NAMED, ABBREVIATIONS = frozenset(_TABLE["named"]), frozenset(_TABLE["abbreviations"])

_UNIT = "(?:" + "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True)) + ")(?![a-z])"
_PER = rf"(?:\s?/\s?|\s(?:per|an?|each|every)\s)(?:{_UNIT})"
_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)"
NUMBER = re.compile(_NUMBER)
MEASURED = re.compile(
    rf"(?P<low>{_NUMBER})(?:(?P<lowunit>\s?{_UNIT})?\s?(?:-|\bto\b|\band\b|\bor\b)\s?(?P<high>{_NUMBER}))?"
    rf"[\s-]?(?P<unit>{_UNIT})(?P<per>(?:{_PER})*)(?P<daily>\s(?:{'|'.join(EVERY)}))?"
)
BELOW = r"<=?|less than|fewer than|lower than|below|under|up to|at most|no more than"
ABOVE = r">=?|more than|greater than|higher than|above|over|exceeding|at least|no less than"
LIMIT = re.compile(rf"(?:(?P<below>{BELOW})|(?P<above>{ABOVE}))\s?(?:or equal to\s)?(?P<number>{_NUMBER})")
NO_MORE = re.compile(r"\bno(?:t)? (?:more|greater|higher) than\b|\bnot (?:above|over|exceeding)\b")
NO_LESS = re.compile(r"\bno(?:t)? (?:less|fewer|lower) than\b|\bnot (?:below|under)\b")
THOUSANDS = re.compile(r"(?<![0-9.,])([1-9][0-9]{0,2})((?:,[0-9]{3})+)(?![0-9])")
ROMAN = re.compile(r"[IVX]{1,5}")
MILLIMOLAR = re.compile(r"(?<=[\d ])mM\b")  # mm in lower case, like a millimetre
VALUES = {"I": 1, "V": 5, "X": 10}
RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
SIGNS = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-"),
    ord("\u2264"): "<=",
    ord("\u2265"): ">=",
    ord("\u2044"): "/",
}


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a text says in numbers."""

    numbers: frozenset[str]
    measured: frozenset[tuple[str, str]]  # (number, unit)
    limits: frozenset[tuple[str, str]] = field(default=frozenset())  # ("<" or ">", number)


def amounts(text: str, *, source: bool = False) -> Amounts:
    """The amounts in a text. Of a `source` also those that its looser words and Roman numerals may stand for."""
    plain = plain_form(text)
    numbers = set(map(value, NUMBER.findall(plain)))
    for word in re.findall(r"[^\W\d_]+", plain.lower()):
        if word in WORDS or (source and word in LOOSE):
            numbers.add(WORDS.get(word) or LOOSE[word])
    numbers.update(_romans(plain, source))
    lower = plain.lower()
    return Amounts(frozenset(numbers), frozenset(_measured(lower)), frozenset(_limits(lower)))


def plain_form(text: str) -> str:
    """ASCII digits and signs, no thousands separators; every other character that stands for a number spelt out."""
    text = RAISED.sub(lambda power: f"^{power[0]}", text)  # 10\u00b2 is not 102
    text = unicodedata.normalize("NFKC", text).translate(SIGNS)
    if not text.isascii():
        text = "".join(_digit(sign) for sign in text)
    text = MILLIMOLAR.sub("mmol/l", text)
    return THOUSANDS.sub(lambda found: found[1] + found[2].replace(",", ""), text)


def value(number: str) -> str:
    """A number without leading and trailing zeros."""
    whole, dot, part = number.partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    return f"{whole}.{part}" if dot and part else whole


def _digit(sign: str) -> str:
    if sign.isascii() or not sign.isnumeric():
        return sign
    if sign.isdecimal():
        return str(unicodedata.decimal(sign))
    return f" {unicodedata.numeric(sign):g} "


def _romans(text: str, source: bool) -> Iterator[str]:
    words = re.findall(r"[A-Za-z0-9]+", text)
    for before, word in zip(["", *words], words, strict=False):
        if ROMAN.fullmatch(word):
            named = before.lower().removesuffix("s") in NAMED
            if source or named or word not in ABBREVIATIONS:
                yield str(_roman(word))


def _roman(numeral: str) -> int:
    digits = [VALUES[sign] for sign in numeral]
    return sum(-a if a < b else a for a, b in zip(digits, [*digits[1:], 0], strict=True))


def _measured(text: str) -> Iterator[tuple[str, str]]:
    """Numbers with units; both ends of a range have its unit."""
    for found in MEASURED.finditer(text):
        units = [UNITS[found["unit"]]]
        units += [UNITS[unit] for unit in re.findall(rf"(?:/|\s)\s?({_UNIT})", found["per"])]
        if found["daily"]:
            units.append(EVERY[found["daily"].strip()])
        unit = "/".join(units)
        low_unit = (found["lowunit"] or "").strip()
        yield value(found["low"]), UNITS[low_unit] if low_unit and found["high"] else unit
        if found["high"]:
            yield value(found["high"]), unit


def _limits(text: str) -> Iterator[tuple[str, str]]:
    text = NO_LESS.sub("at least", NO_MORE.sub("at most", text))
    by_number: defaultdict[str, set[str]] = defaultdict(set)
    for found in LIMIT.finditer(text):
        by_number[value(found["number"])].add("<" if found["below"] else ">")
    return ((side, number) for number, sides in by_number.items() for side in sides)
