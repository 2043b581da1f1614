"""Decontamination of exam questions of fewer than 8 words, which are too short for n-grams.

The words of such a question also occur where it is not meant: "Carbamazepine." is a question and, elsewhere, an answer.
Their place in the text, and the options beside them, decide whether a text contains the question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from ..core.words import words
from .item import Item

# A question of at least this many words is found inside a line. Measured on rows without the exams: 32 questions of 1
# to 3 words, 5 of 4, and 2 of 5 to 7 words occur inside lines of other questions, apart from general ones.
MIN_INSIDE_WORDS = 5
# Words of which general questions and options consist, such as "Which of the following is true?".
_GENERAL = (
    "a about above all an and answer any appropriate are as at be below best both by can cause choice choose condition "
    "correct describes diagnosis disease do does except false first following for from given has have how in incorrect "
    "initial is it least likely management most next no none not of on one option options or patient question "
    "regarding right s select should statement statements step that the these this to treatment true was were what "
    "when which who why will with would wrong yes you"
)
GENERAL_WORDS = frozenset(_GENERAL.split())
# Options beside a question: largest distance, in characters, apart from the options themselves.
NEAR = 300
# The same for a single option that follows the question, or begins the answer: "The correct answer is C".
IMMEDIATE = 25
# Options that must follow a question that is too short.
OPTIONS_BESIDE = 3
# Fewest characters of an option that counts alone.
MIN_OPTION_LENGTH = 3

# Beginnings of a question: a line, also with a number; a label such as "Question 5:"; the end of a sentence, but not
# the letter of an option ("A. ").
_LINE = r"^[^\S\n]*[\"'\u201c\u2018(\[#>\s]*\**(?:\d+[.):][^\w\n]*)?"
_LABEL = (
    r"\b(?i:question|query|problem|mcq|q|following|please answer|answer this|input|user|human)"
    r"[^\w\n]*(?:n[or]\b[^\w\n]*)?\d*[^\w\n]*[^\w\s,;][^\w\n]*"
)
_SENTENCE = r"(?<=[^\W\d_]{2}[.?!])[^\w\n]*[^\S\n][\"'\u201c\u2018(\[*]*"
# Ends of a question: the end of the line or sentence; for a part of the beginnings, also before a capital letter.
_END = r"(?!\w)[^\w\n]*(?:(?i:answer)[^\w\n]*)?$|[^\w\n,;]*[.?!:](?=\s)"
_CAPITAL = r"[^\w\n,;]*\s[\"'\u201c\u2018(\[*]*(?=[A-Z])"


class Passage:
    """A text in which short questions are searched: the question part of a row, and its answer or ""."""

    def __init__(self, question: str, answer: str) -> None:
        self.question = "\n".join(question.splitlines())
        # The words between single spaces, so that a search finds whole words only.
        self.spaced_question = _spaced(question)
        self.spaced = self.spaced_question + _spaced(answer)[1:]


@dataclass(frozen=True)
class ShortQuestion:
    """The words of a short question, and its options as words between single spaces."""

    question: tuple[str, ...]
    options: tuple[str, ...]

    @classmethod
    def of(cls, item: Item) -> ShortQuestion:
        """Return the short question of an exam item."""
        options = {_spaced(text) for text in item.options.values()} - {" "}
        return cls(tuple(words(item.question)), tuple(sorted(options)))

    @property
    def too_short(self) -> bool:
        """Return whether the words alone do not identify the question inside a line."""
        return len(self.question) < MIN_INSIDE_WORDS or _is_general(self.question)

    def is_in(self, passage: Passage) -> bool:
        """Return whether the passage contains the question, in one of these ways.

        - The words are in the question part, unless the question is too short.
        - They are a line or a sentence of the question part, or follow a label such as "Question:".
        - Options of the item are beside them, in any part.
        """
        stem = f" {' '.join(self.question)} "
        asked = stem in passage.spaced_question
        if asked and (not self.too_short or self._alone.search(passage.question)):
            return True
        if not any(option in passage.spaced for option in self.options):
            return False
        at = passage.spaced.find(stem)
        while at >= 0:
            if self._options_beside(passage, at + len(stem) - 1):
                return True
            at = passage.spaced.find(stem, at + 1)
        return False

    def _options_beside(self, passage: Passage, end: int) -> bool:
        """Return whether options follow the question, whose words end at `end`, or begin the answer."""
        text, answer = passage.spaced, len(passage.spaced_question) - 1
        room = NEAR + sum(map(len, self.options))
        following = [option for option in self.options if option in text[end : end + room]]
        if len(following) >= min(OPTIONS_BESIDE, len(self.options)):
            return True
        if not self.too_short and any(map(_is_specific, following)):
            return True
        places = (end, answer) if end <= answer else (end,)
        # "Next step?" is the end of many questions, and its answer that of others.
        is_vague = len(self.question) < MIN_INSIDE_WORDS and _is_general(self.question)
        if not is_vague and any(
            option in text[place : place + IMMEDIATE + len(option)] and _is_specific(option)
            for place in places
            for option in self.options
        ):
            return True
        # A general option, such as "All of the above", that is the whole answer, also after its letter.
        return end <= answer and re.sub(r"^ [a-z] (?=\w)", " ", text[answer:]) in self.options

    @cached_property
    def _alone(self) -> re.Pattern[str]:
        """Return the pattern of a line or sentence that consists of the question, also after a label.

        A sentence of general words may belong to any question.
        """
        gap = r"\W+"
        stem = f"(?i:{gap.join(map(re.escape, self.question))})"
        pattern = f"(?:{_LINE}|{_LABEL}){stem}(?:{_END})"
        if not _is_general(self.question):
            pattern += f"|(?:{_LABEL}|{_SENTENCE}){stem}(?:{_END}|{_CAPITAL})"
        return re.compile(pattern, re.MULTILINE)


def _spaced(text: str) -> str:
    """Return the words of a text, each between single spaces; " " if there are none."""
    return "".join((" ", *(f"{word} " for word in words(text))))


def _is_general(some: tuple[str, ...] | list[str]) -> bool:
    return GENERAL_WORDS.issuperset(some)


def _is_specific(option: str) -> bool:
    return len(option) - 2 >= MIN_OPTION_LENGTH and not _is_general(option.split())
