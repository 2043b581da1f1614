"""Checks of a model's answer against the original row: numbers, units, limits, drug names, negations, options, words.

In this module, the source is the three texts of the original row. Numbers are compared in a normal form: 1,000 mcg
equals 1000 ug. Every run of digits counts, also inside a word (CD4, B12), and so do number words and Roman numerals.
Drug names are recognised by their stems and by a list.

The checks are heuristics: an accepted answer may still be wrong, and a correct one may be refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

import yaml

from ..clean_text import find_row_fault
from ..core.row import TEXTS
from .prompts import Prompt, Texts

_UNIT_TABLE = yaml.safe_load(files(__package__).joinpath("amounts.yaml").read_text(encoding="utf-8"))
NUMBER_WORDS: Mapping[str, str] = {word: str(number) for word, number in _UNIT_TABLE["numbers"].items()}
LOOSE_NUMBER_WORDS: Mapping[str, str] = {word: str(number) for word, number in _UNIT_TABLE["loose"].items()}
UNITS: Mapping[str, str] = {name: unit for unit, names in _UNIT_TABLE["units"].items() for name in names}
RATE_WORDS: Mapping[str, str] = _UNIT_TABLE["every"]
ROMAN_CONTEXTS, ROMAN_LIKE_ABBREVIATIONS = (
    frozenset(_UNIT_TABLE["named"]),
    frozenset(_UNIT_TABLE["abbreviations"]),
)

_UNIT = "(?:" + "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True)) + ")(?![a-z])"
_PER = rf"(?:\s?/\s?|\s(?:per|an?|each|every)\s)(?:{_UNIT})"
_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)"
NUMBER = re.compile(_NUMBER)
MEASURED = re.compile(
    rf"(?P<low>{_NUMBER})(?:(?P<lowunit>\s?{_UNIT})?\s?(?:-|\bto\b|\band\b|\bor\b)\s?(?P<high>{_NUMBER}))?"
    rf"[\s-]?(?P<unit>{_UNIT})(?P<per>(?:{_PER})*)(?P<daily>\s(?:{'|'.join(RATE_WORDS)}))?"
)
BELOW = r"<=?|less than|fewer than|lower than|below|under|up to|at most|no more than"
ABOVE = r">=?|more than|greater than|higher than|above|over|exceeding|at least|no less than"
LIMIT = re.compile(rf"(?:(?P<below>{BELOW})|(?P<above>{ABOVE}))\s?(?:or equal to\s)?(?P<number>{_NUMBER})")
NO_MORE = re.compile(r"\bno(?:t)? (?:more|greater|higher) than\b|\bnot (?:above|over|exceeding)\b")
NO_LESS = re.compile(r"\bno(?:t)? (?:less|fewer|lower) than\b|\bnot (?:below|under)\b")
THOUSANDS = re.compile(r"(?<![0-9.,])([1-9][0-9]{0,2})((?:,[0-9]{3})+)(?![0-9])")
ROMAN = re.compile(r"[IVX]{1,5}")
# In lower case, mM would be read as millimetre.
MILLIMOLAR = re.compile(r"(?<=[\d ])mM\b")
ROMAN_VALUES = {"I": 1, "V": 5, "X": 10}
SUPERSCRIPT_DIGITS = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
SIGN_TABLE = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-"),
    ord("\u2264"): "<=",
    ord("\u2265"): ">=",
    ord("\u2044"): "/",
}


@dataclass(frozen=True, slots=True)
class Amounts:
    """The amounts in a text: numbers, (number, unit) pairs, and limits as ("<" or ">", number).

    "<" stands for any upper limit, such as "at most", and ">" for any lower one.
    """

    numbers: frozenset[str]
    measured: frozenset[tuple[str, str]]
    limits: frozenset[tuple[str, str]] = field(default=frozenset())


def read_amounts(text: str, *, source: bool = False) -> Amounts:
    """Return the amounts in a text.

    With `source=True`, ambiguous words ("single") and numerals ("IV") count as numbers as well. Otherwise such a
    numeral counts only after a word such as "type".
    """
    plain = normalize_numbers(text)
    numbers = set(map(normalize_number, NUMBER.findall(plain)))
    for word in re.findall(r"[^\W\d_]+", plain.lower()):
        if word in NUMBER_WORDS or (source and word in LOOSE_NUMBER_WORDS):
            numbers.add(NUMBER_WORDS.get(word) or LOOSE_NUMBER_WORDS[word])
    numbers.update(_roman_numbers(plain, source))
    lower = plain.lower()
    return Amounts(frozenset(numbers), frozenset(_measured(lower)), frozenset(_limits(lower)))


def normalize_numbers(text: str) -> str:
    """Return the text with ASCII digits and signs, and without thousands separators.

    Superscript digits get a caret (10^2), and fraction characters become digits with a slash (1/2).
    """
    # NFKC would turn 10\u00b2 into 102.
    text = SUPERSCRIPT_DIGITS.sub(lambda power: f"^{power[0]}", text)
    text = unicodedata.normalize("NFKC", text).translate(SIGN_TABLE)
    if not text.isascii():
        text = "".join(_spell_out_digit(sign) for sign in text)
    text = MILLIMOLAR.sub("mmol/l", text)
    return THOUSANDS.sub(lambda match: match[1] + match[2].replace(",", ""), text)


def normalize_number(number: str) -> str:
    """Return a number without leading zeros and without trailing zeros after the point."""
    integer, point, decimals = number.partition(".")
    integer, decimals = integer.lstrip("0") or "0", decimals.rstrip("0")
    return f"{integer}.{decimals}" if point and decimals else integer


def _spell_out_digit(sign: str) -> str:
    if sign.isascii() or not sign.isnumeric():
        return sign
    if sign.isdecimal():
        return str(unicodedata.decimal(sign))
    return f" {unicodedata.numeric(sign):g} "


def _roman_numbers(text: str, source: bool) -> Iterator[str]:
    words = re.findall(r"[A-Za-z0-9]+", text)
    for before, word in zip(["", *words], words, strict=False):
        if ROMAN.fullmatch(word):
            named = before.lower().removesuffix("s") in ROMAN_CONTEXTS
            if source or named or word not in ROMAN_LIKE_ABBREVIATIONS:
                yield str(_roman(word))


def _roman(numeral: str) -> int:
    digits = [ROMAN_VALUES[sign] for sign in numeral]
    return sum(-a if a < b else a for a, b in zip(digits, [*digits[1:], 0], strict=True))


def _measured(text: str) -> Iterator[tuple[str, str]]:
    """Yield (number, unit) pairs; the lower end of a range gets the unit of the upper end unless it has its own."""
    for match in MEASURED.finditer(text):
        units = [UNITS[match["unit"]]]
        units += [UNITS[unit] for unit in re.findall(rf"(?:/|\s)\s?({_UNIT})", match["per"])]
        if match["daily"]:
            units.append(RATE_WORDS[match["daily"].strip()])
        unit = "/".join(units)
        low_unit = (match["lowunit"] or "").strip()
        yield normalize_number(match["low"]), UNITS[low_unit] if low_unit and match["high"] else unit
        if match["high"]:
            yield normalize_number(match["high"]), unit


def _limits(text: str) -> Iterator[tuple[str, str]]:
    text = NO_LESS.sub("at least", NO_MORE.sub("at most", text))
    by_number: defaultdict[str, set[str]] = defaultdict(set)
    for match in LIMIT.finditer(text):
        by_number[normalize_number(match["number"])].add("<" if match["below"] else ">")
    return ((side, number) for number, sides in by_number.items() for side in sides)


_DRUG_TABLE = yaml.safe_load(files(__package__).joinpath("drug_names.yaml").read_text(encoding="utf-8"))
DRUG_NAMES = frozenset(_DRUG_TABLE["names"])
# At least three letters come before a stem, so that "April" is not an ACE inhibitor.
DRUG_STEM = re.compile(
    rf"[a-z]{{3,}}(?:{'|'.join(_DRUG_TABLE['ends'])})s?|(?:{'|'.join(_DRUG_TABLE['begins'])})[a-z]{{3,}}"
)
DRUG_WORD = re.compile(r"[a-z]+")


def find_drug_names(text: str) -> set[str]:
    """Return the words that are in the list of drug names or have a drug stem, in lower case and without a final s."""
    return {
        word.removesuffix("s")
        for word in set(DRUG_WORD.findall(text.lower()))
        if word.removesuffix("s") in DRUG_NAMES or DRUG_STEM.fullmatch(word)
    }


# Smallest shares of content words that must also occur elsewhere: words of the new answer in the source; of each of its
# long sentences, so that an added sentence is noticed; of the new question in the source; of a short original answer in
# the new row.
MIN_ANSWER_OVERLAP, MIN_SENTENCE_OVERLAP, MIN_QUESTION_OVERLAP, MIN_KEPT_OVERLAP = 0.75, 0.6, 0.6, 0.5
# Smallest number of content words of a sentence that is checked on its own.
LONG_SENTENCE = 4
# Of an original answer of at most this many words, the share MIN_KEPT_OVERLAP must be kept.
SHORT_ANSWER = 30
# An original answer with at most this many different numbers must keep all of them. Numbers with a unit must always be
# kept.
FEW_NUMBERS = 3
# Smallest and largest number of words of a question. MAX_GROWTH times the words of the original one are allowed, too.
QUESTION_WORDS = (2, 60)
# The longest answer has MAX_GROWTH times the characters of its source, and EXTRA_CHARACTERS more.
MAX_GROWTH, EXTRA_CHARACTERS = 1.5, 80

WORD = re.compile(r"[^\W\d_]{3,}")
SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|\n+")
OPTION_LETTER = re.compile(r"\(?([A-Z])(?:\)|[.:](?=\s|$)|$)")
OPTION = re.compile(r"^\s*\(?([A-Z])[).:]\s*(\S.*?)\s*$", re.MULTILINE)
NEGATION = re.compile(
    r"\b(?:no|not|never|none|nor|neither|without|cannot|except|avoid\w*|absen\w+|contraindicat\w+|lacks?|lacking|"
    r"fails?|unless|incorrect|false|least likely)\b|n't\b",
    re.IGNORECASE,
)
SOURCE_MENTION = re.compile(
    r"\bflash ?cards?\b|\b(?:this|the) (?:card|passage|paragraph|excerpt|section|source text)\b|"
    r"\bthe (?:above|given|following|provided) (?:text|passage|section|paragraph|statement|information)\b|"
    r"\baccording to the (?:text|section)\b|\b(?:mentioned|described) (?:above|here)\b",
    re.IGNORECASE,
)
_CONTENT_TABLE = yaml.safe_load(files(__package__).joinpath("content_words.yaml").read_text(encoding="utf-8"))
STOP_WORDS, ENDINGS = frozenset(_CONTENT_TABLE["stop"].split()), tuple(_CONTENT_TABLE["endings"])
# Fewest letters that remain of a word when its ending is removed.
MIN_STEM = 4


def find_fault(before: Texts, answer: Texts, prompt: Prompt) -> str | None:
    """Return why the answer of a model is refused, or None if it is accepted.

    `before` has the three texts of the original row, and `answer` the texts that the prompt requests (`prompt.asks`).
    The reason names the first kind of fault that is found and quotes no text.
    """
    after = prompt.apply(before, answer)
    written = "\n".join(answer[name] for name in prompt.asks)
    source = "\n".join(before[name] for name in TEXTS)
    return (
        _shape_fault(before, answer, after, prompt)
        or _number_fault(source, written, before["output"], "\n".join(after[name] for name in TEXTS))
        or (
            "a drug that the source does not name"
            if find_drug_names(written) - find_drug_names(source)
            else None
        )
        or _letter_fault(before, after)
        or _meaning_fault(source, before, answer, after)
    )


def _shape_fault(before: Texts, answer: Texts, after: Texts, prompt: Prompt) -> str | None:
    if question := answer.get("question"):
        longest = max(QUESTION_WORDS[1], MAX_GROWTH * len(before["instruction"].split()))
        if not QUESTION_WORDS[0] <= len(question.split()) <= longest:
            return "a question too short or too long"
        if "?" not in question and not _options(question):
            return "no question mark"
    if (
        len(answer.get("answer", ""))
        > MAX_GROWTH * sum(len(before[name]) for name in TEXTS) + EXTRA_CHARACTERS
    ):
        return "an answer too long"
    # If the prompt removes the input, the original instruction is a task that may mention a card. The new question may
    # not mention one.
    sources = [before[name] for name in TEXTS if name != "instruction" or prompt.keeps_input]
    if _source_mentions(answer.values()) - _source_mentions(sources):
        return "it mentions its source text"
    return find_row_fault(after["instruction"], after["input"], after["output"])


def _number_fault(source: str, written: str, output: str, row: str) -> str | None:
    new, given = read_amounts(written), read_amounts(source, source=True)
    if new.numbers - given.numbers:
        return "a number that the source lacks"
    if new.measured - given.measured:
        return "a number with another unit"
    for side, number in new.limits:
        other = "<" if side == ">" else ">"
        if (other, number) in given.limits and (side, number) not in given.limits:
            return "a limit with the opposite direction"
    key, now = read_amounts(output), read_amounts(row, source=True)
    if key.measured - now.measured or (len(key.numbers) <= FEW_NUMBERS and key.numbers - now.numbers):
        return "a number of the source is missing"
    return None


def _letter_fault(before: Texts, after: Texts) -> str | None:
    """Return the fault if a row whose answer is the letter of an option changes its letter or options, else None."""
    options = _options("\n".join((before["instruction"], before["input"])))
    correct = OPTION_LETTER.match(before["output"].strip())
    if len(options) < 2 or correct is None or correct[1] not in options:
        return None
    letter = OPTION_LETTER.match(after["output"].strip())
    if letter is None or letter[1] != correct[1]:
        return "another option letter than that of the source"
    if _options("\n".join((after["instruction"], after["input"]))) != options:
        return "options changed"
    return None


def _meaning_fault(source: str, before: Texts, answer: Texts, after: Texts) -> str | None:
    known = set(content_stems(source))
    if "answer" in answer and not _is_covered(answer["answer"], known):
        return "words that the source lacks"
    if "question" in answer and _overlap(content_stems(answer["question"]), known) < MIN_QUESTION_OVERLAP:
        return "a question about something else"
    if "answer" not in answer:
        return None
    if bool(NEGATION.search(source)) != bool(NEGATION.search("\n".join(after.values()))):
        return "a negation lost or added"
    old = content_stems(before["output"])
    if (
        len(before["output"].split()) <= SHORT_ANSWER
        and _overlap(old, set(content_stems("\n".join(after.values())))) < MIN_KEPT_OVERLAP
    ):
        return "the source's answer is missing"
    question, reply = (" ".join(answer.get(name, "").lower().split()) for name in ("question", "answer"))
    if len(reply) > 3 and reply.rstrip(".") in question and not _options(answer.get("question", "")):
        return "a question that gives its answer away"
    return None


def content_stems(text: str) -> list[str]:
    """Return the stems of the content words of a text, in order and with repetitions.

    A content word has three or more letters and is not a stop word.
    """
    return [_stem(word) for word in WORD.findall(text.lower()) if word not in STOP_WORDS]


def _is_covered(answer: str, known: set[str]) -> bool:
    sentences = [content_stems(sentence) for sentence in SENTENCE_END.split(answer)]
    words = [word for sentence in sentences for word in sentence]
    return _overlap(words, known) >= MIN_ANSWER_OVERLAP and all(
        _overlap(sentence, known) >= MIN_SENTENCE_OVERLAP
        for sentence in sentences
        if len(sentence) >= LONG_SENTENCE
    )


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    ending = next((end for end in ENDINGS if word.endswith(end) and len(word) - len(end) >= MIN_STEM), "")
    return word[: len(word) - len(ending)]


def _source_mentions(texts: Iterable[str]) -> set[str]:
    return {mention.lower() for text in texts for mention in SOURCE_MENTION.findall(text)}


def _overlap(words: Sequence[str], known: set[str]) -> float:
    return sum(word in known for word in words) / len(words) if words else 1.0


def _options(text: str) -> dict[str, str]:
    return {letter: " ".join(option.split()) for letter, option in OPTION.findall(text)}
