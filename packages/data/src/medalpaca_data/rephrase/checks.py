"""Whether an answer says what its source says, no more and no less, as far as rules can tell.

They look at numbers, units, limits, drugs, negations, a gold letter and words. What they pass may still be wrong; what
they refuse is asked again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files

import yaml

from ..clean_text import fault as row_fault
from ..row import TEXTS
from .amounts import amounts
from .drug_names import drug_names
from .prompt import Prompt, Texts

ENTAILED = 0.75  # of an answer's content words must stand in the source
SENTENCE = 0.6  # of each of its sentences', so that one that was added does not hide among the others
LONG = 4  # content words of a sentence that is looked at by itself
RELATED = 0.6  # of a question's
KEPT = 0.5  # of a short answer's content words must stand in what became of it
SHORT = 30  # words of an answer that can be kept
FEW = 3  # numbers in an answer that are all kept; of more, those with a unit
QUESTION = (2, 60)  # words; more where the source's own question is long
GROWTH, ROOM = 1.5, 80  # an answer may have this many times the source's characters, and some more

WORD = re.compile(r"[^\W\d_]{3,}")
SENTENCES = re.compile(r"(?<=[.!?;])\s+|\n+")
LETTER = re.compile(r"\(?([A-Z])(?:\)|[.:](?=\s|$)|$)")
OPTION = re.compile(r"^\s*\(?([A-Z])[).:]\s*(\S.*?)\s*$", re.MULTILINE)
NEGATION = re.compile(
    r"\b(?:no|not|never|none|nor|neither|without|cannot|except|avoid\w*|absen\w+|contraindicat\w+|lacks?|lacking|"
    r"fails?|unless|incorrect|false|least likely)\b|n't\b",
    re.IGNORECASE,
)
ABOUT_ITSELF = re.compile(
    r"\bflash ?cards?\b|\b(?:this|the) (?:card|passage|paragraph|excerpt|section|source text)\b|"
    r"\bthe (?:above|given|following|provided) (?:text|passage|section|paragraph|statement|information)\b|"
    r"\baccording to the (?:text|section)\b|\b(?:mentioned|described) (?:above|here)\b",
    re.IGNORECASE,
)
_TABLE = yaml.safe_load(files(__package__).joinpath("content_words.yaml").read_text(encoding="utf-8"))
STOP, ENDINGS = frozenset(_TABLE["stop"].split()), tuple(_TABLE["endings"])
STEM = 4  # letters that an ending leaves


def fault(before: Texts, answer: Texts, prompt: Prompt) -> str | None:
    """Why an answer (`question`, `answer`: those asked for) is refused; None when it is not.

    `before` is the row as it was, and the only source. Reasons name a kind of fault and quote nothing.
    """
    after = prompt.applied(before, answer)
    written = "\n".join(answer[name] for name in prompt.asks)
    source = "\n".join(before[name] for name in TEXTS)
    return (
        _shape(before, answer, after, prompt)
        or _numbers(source, written, before["output"], "\n".join(after[name] for name in TEXTS))
        or ("a drug that the source does not name" if drug_names(written) - drug_names(source) else None)
        or _letter(before, after)
        or _meaning(source, before, answer, after)
    )


def _shape(before: Texts, answer: Texts, after: Texts, prompt: Prompt) -> str | None:
    if question := answer.get("question"):
        longest = max(QUESTION[1], GROWTH * len(before["instruction"].split()))
        if not QUESTION[0] <= len(question.split()) <= longest:
            return "a question too short or too long"
        if "?" not in question and not _options(question):
            return "no question mark"
    if len(answer.get("answer", "")) > GROWTH * sum(len(before[name]) for name in TEXTS) + ROOM:
        return "an answer too long"
    # An instruction that goes with its input was a task, not text: it may speak of a card, its successor not.
    told = [before[name] for name in TEXTS if name != "instruction" or prompt.keeps_input]
    if _itself(answer.values()) - _itself(told):
        return "it speaks of its source"
    return row_fault(after["instruction"], after["input"], after["output"])


def _numbers(source: str, written: str, output: str, row: str) -> str | None:
    told, given = amounts(written), amounts(source, source=True)
    if told.numbers - given.numbers:
        return "a number that the source lacks"
    if told.measured - given.measured:
        return "a number with another unit"
    for side, number in told.limits:
        other = "<" if side == ">" else ">"
        if (other, number) in given.limits and (side, number) not in given.limits:
            return "a limit turned round"
    key, now = amounts(output), amounts(row, source=True)
    if key.measured - now.measured or (len(key.numbers) <= FEW and key.numbers - now.numbers):
        return "a number of the source is missing"
    return None


def _letter(before: Texts, after: Texts) -> str | None:
    """A row whose answer is the letter of an option keeps its letter, and its options."""
    options = _options("\n".join((before["instruction"], before["input"])))
    gold = LETTER.match(before["output"].strip())
    if len(options) < 2 or gold is None or gold[1] not in options:
        return None
    found = LETTER.match(after["output"].strip())
    if found is None or found[1] != gold[1]:
        return "another letter than the gold one"
    if _options("\n".join((after["instruction"], after["input"]))) != options:
        return "options changed"
    return None


def _meaning(source: str, before: Texts, answer: Texts, after: Texts) -> str | None:
    known = set(content(source))
    if "answer" in answer and not _entailed(answer["answer"], known):
        return "words that the source lacks"
    if "question" in answer and _share(content(answer["question"]), known) < RELATED:
        return "a question about something else"
    if "answer" not in answer:
        return None
    if bool(NEGATION.search(source)) != bool(NEGATION.search("\n".join(after.values()))):
        return "a negation lost or added"
    old = content(before["output"])
    if len(before["output"].split()) <= SHORT and _share(old, set(content("\n".join(after.values())))) < KEPT:
        return "the source's answer is missing"
    question, told = (" ".join(answer.get(name, "").lower().split()) for name in ("question", "answer"))
    if len(told) > 3 and told.rstrip(".") in question and not _options(answer.get("question", "")):
        return "a question that gives its answer away"
    return None


def content(text: str) -> list[str]:
    """The stems of a text's content words."""
    return [_stem(word) for word in WORD.findall(text.lower()) if word not in STOP]


def _entailed(answer: str, known: set[str]) -> bool:
    sentences = [content(sentence) for sentence in SENTENCES.split(answer)]
    words = [word for sentence in sentences for word in sentence]
    return _share(words, known) >= ENTAILED and all(
        _share(sentence, known) >= SENTENCE for sentence in sentences if len(sentence) >= LONG
    )


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    ending = next((end for end in ENDINGS if word.endswith(end) and len(word) - len(end) >= STEM), "")
    return word[: len(word) - len(ending)]


def _itself(texts: Iterable[str]) -> set[str]:
    return {found.lower() for text in texts for found in ABOUT_ITSELF.findall(text)}


def _share(words: Sequence[str], known: set[str]) -> float:
    return sum(word in known for word in words) / len(words) if words else 1.0


def _options(text: str) -> dict[str, str]:
    return {letter: " ".join(option.split()) for letter, option in OPTION.findall(text)}
