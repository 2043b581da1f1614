"""Numbers, and numbers with their units, in the one form in which texts are compared: 1,000 mcg is 1000 ug.

Every run of digits counts, also inside a word (CD4, B12), and so do number words, fractions and Roman numerals. What
is read out of an answer is never more lenient than what is read out of its source.

Names of drugs in a text, by their stems and from a list: enough to see one that was made up, not a dictionary.

Whether an answer says what its source says, no more and no less, as far as rules can tell.

They look at numbers, units, limits, drugs, negations, a gold letter and words. What they pass may still be wrong; what
they refuse is asked again.
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

from ..clean_text import find_row_fault as row_fault
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
MILLIMOLAR = re.compile(r"(?<=[\d ])mM\b")  # mm in lower case, like a millimetre
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
    """What a text says in numbers."""

    numbers: frozenset[str]
    measured: frozenset[tuple[str, str]]  # (number, unit)
    limits: frozenset[tuple[str, str]] = field(default=frozenset())  # ("<" or ">", number)


def read_amounts(text: str, *, source: bool = False) -> Amounts:
    """The amounts in a text. Of a `source` also those that its looser words and Roman numerals may stand for."""
    plain = normalize_numbers(text)
    numbers = set(map(normalize_number, NUMBER.findall(plain)))
    for word in re.findall(r"[^\W\d_]+", plain.lower()):
        if word in NUMBER_WORDS or (source and word in LOOSE_NUMBER_WORDS):
            numbers.add(NUMBER_WORDS.get(word) or LOOSE_NUMBER_WORDS[word])
    numbers.update(_roman_numbers(plain, source))
    lower = plain.lower()
    return Amounts(frozenset(numbers), frozenset(_measured(lower)), frozenset(_limits(lower)))


def normalize_numbers(text: str) -> str:
    """ASCII digits and signs, no thousands separators; every other character that stands for a number spelt out."""
    text = SUPERSCRIPT_DIGITS.sub(lambda power: f"^{power[0]}", text)  # 10\u00b2 is not 102
    text = unicodedata.normalize("NFKC", text).translate(SIGN_TABLE)
    if not text.isascii():
        text = "".join(_spell_out_digit(sign) for sign in text)
    text = MILLIMOLAR.sub("mmol/l", text)
    return THOUSANDS.sub(lambda found: found[1] + found[2].replace(",", ""), text)


def normalize_number(number: str) -> str:
    """A number without leading and trailing zeros."""
    whole, dot, part = number.partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    return f"{whole}.{part}" if dot and part else whole


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
    """Numbers with units; both ends of a range have its unit."""
    for found in MEASURED.finditer(text):
        units = [UNITS[found["unit"]]]
        units += [UNITS[unit] for unit in re.findall(rf"(?:/|\s)\s?({_UNIT})", found["per"])]
        if found["daily"]:
            units.append(RATE_WORDS[found["daily"].strip()])
        unit = "/".join(units)
        low_unit = (found["lowunit"] or "").strip()
        yield normalize_number(found["low"]), UNITS[low_unit] if low_unit and found["high"] else unit
        if found["high"]:
            yield normalize_number(found["high"]), unit


def _limits(text: str) -> Iterator[tuple[str, str]]:
    text = NO_LESS.sub("at least", NO_MORE.sub("at most", text))
    by_number: defaultdict[str, set[str]] = defaultdict(set)
    for found in LIMIT.finditer(text):
        by_number[normalize_number(found["number"])].add("<" if found["below"] else ">")
    return ((side, number) for number, sides in by_number.items() for side in sides)


_DRUG_TABLE = yaml.safe_load(files(__package__).joinpath("drug_names.yaml").read_text(encoding="utf-8"))
DRUG_NAMES = frozenset(_DRUG_TABLE["names"])
# Three letters before a stem, so that April is no ACE inhibitor.
DRUG_STEM = re.compile(
    rf"[a-z]{{3,}}(?:{'|'.join(_DRUG_TABLE['ends'])})s?|(?:{'|'.join(_DRUG_TABLE['begins'])})[a-z]{{3,}}"
)
DRUG_WORD = re.compile(r"[a-z]+")


def find_drug_names(text: str) -> set[str]:
    """The words that are, or look like, names of drugs; lower case, without the s of a plural."""
    return {
        word.removesuffix("s")
        for word in set(DRUG_WORD.findall(text.lower()))
        if word.removesuffix("s") in DRUG_NAMES or DRUG_STEM.fullmatch(word)
    }


MIN_ANSWER_OVERLAP = 0.75  # of an answer's content words must stand in the source
MIN_SENTENCE_OVERLAP = (
    0.6  # of each of its sentences', so that one that was added does not hide among the others
)
LONG_SENTENCE = 4  # content words of a sentence that is looked at by itself
MIN_QUESTION_OVERLAP = 0.6  # of a question's
MIN_KEPT_OVERLAP = 0.5  # of a short answer's content words must stand in what became of it
SHORT_ANSWER = 30  # words of an answer that can be kept
FEW_NUMBERS = 3  # numbers in an answer that are all kept; of more, those with a unit
QUESTION_WORDS = (2, 60)  # words; more where the source's own question is long
MAX_GROWTH, EXTRA_CHARACTERS = (
    1.5,
    80,
)  # an answer may have this many times the source's characters, and some more

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
MIN_STEM = 4  # letters that an ending leaves


def find_fault(before: Texts, answer: Texts, prompt: Prompt) -> str | None:
    """Why an answer (`question`, `answer`: those asked for) is refused; None when it is not.

    `before` is the row as it was, and the only source. Reasons name a kind of fault and quote nothing.
    """
    after = prompt.applied(before, answer)
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
    # An instruction that goes with its input was a task, not text: it may speak of a card, its successor not.
    told = [before[name] for name in TEXTS if name != "instruction" or prompt.keeps_input]
    if _source_mentions(answer.values()) - _source_mentions(told):
        return "it speaks of its source"
    return row_fault(after["instruction"], after["input"], after["output"])


def _number_fault(source: str, written: str, output: str, row: str) -> str | None:
    told, given = read_amounts(written), read_amounts(source, source=True)
    if told.numbers - given.numbers:
        return "a number that the source lacks"
    if told.measured - given.measured:
        return "a number with another unit"
    for side, number in told.limits:
        other = "<" if side == ">" else ">"
        if (other, number) in given.limits and (side, number) not in given.limits:
            return "a limit turned round"
    key, now = read_amounts(output), read_amounts(row, source=True)
    if key.measured - now.measured or (len(key.numbers) <= FEW_NUMBERS and key.numbers - now.numbers):
        return "a number of the source is missing"
    return None


def _letter_fault(before: Texts, after: Texts) -> str | None:
    """A row whose answer is the letter of an option keeps its letter, and its options."""
    options = _options("\n".join((before["instruction"], before["input"])))
    gold = OPTION_LETTER.match(before["output"].strip())
    if len(options) < 2 or gold is None or gold[1] not in options:
        return None
    found = OPTION_LETTER.match(after["output"].strip())
    if found is None or found[1] != gold[1]:
        return "another letter than the gold one"
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
    question, told = (" ".join(answer.get(name, "").lower().split()) for name in ("question", "answer"))
    if len(told) > 3 and told.rstrip(".") in question and not _options(answer.get("question", "")):
        return "a question that gives its answer away"
    return None


def content_stems(text: str) -> list[str]:
    """The stems of a text's content words."""
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
    return {found.lower() for text in texts for found in SOURCE_MENTION.findall(text)}


def _overlap(words: Sequence[str], known: set[str]) -> float:
    return sum(word in known for word in words) / len(words) if words else 1.0


def _options(text: str) -> dict[str, str]:
    return {letter: " ".join(option.split()) for letter, option in OPTION.findall(text)}
