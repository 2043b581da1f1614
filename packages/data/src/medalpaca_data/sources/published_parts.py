"""What is known of the published parts of Medical Meadow, and how a row of each is repaired."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..exams.item import Item
from ..row import Row

GPT = "gpt-3.5-turbo (2023, prompt never published)"

LONGEST_OPTIONS = 20_000  # characters of a printed dict that are parsed


@dataclass(frozen=True, slots=True)
class Part:
    """One published part: the instruction that all its rows share (None: each has its own), its licence, its author."""

    instruction: re.Pattern[str] | None
    licence: str
    generator: str | None = None


_QUESTION = re.compile("Answer this question truthfully")
PARTS: Mapping[str, Part] = {
    "medical_flashcards": Part(_QUESTION, "cc (no version stated)", GPT),
    "wikidoc": Part(_QUESTION, "CC BY-SA 3.0 (WikiDoc); tagged cc", GPT),
    "wikidoc_patient_information": Part(_QUESTION, "CC BY-SA 3.0 (WikiDoc); tagged cc"),
    "mediqa": Part(None, "CC0 1.0 (upstream)"),
    "cord19": Part(re.compile("Please summ[ae]ri[sz]e the given abstract to a title"), "of each paper"),
    "medqa": Part(
        re.compile("Please answer with one of the option in the bracket"), "MIT (upstream repository)"
    ),
    "health_advice": Part(
        re.compile(re.escape("Question: is this a 2) strong advice, 1) weak advice 0) no advice?")),
        "none stated (upstream repository)",
    ),
}
NOT_BUILT: Mapping[str, str] = {
    "mmmlu": "is the test split of MMLU; kind mmlu builds from dev and val",
    "pubmed_causal": "has every one of its labels wrong; kind pubmed_causal builds them from the corpus itself",
    "usmle_self_assessment": "is the exam; nothing is trained on it",
    "stack_exchange": "was withdrawn because it named no authors; kind stack_exchange builds it with them",
    "stackexchange": "was withdrawn because it named no authors; kind stack_exchange builds it with them",
}
ADVICE = {
    "This is no advice": "No advice",
    "This is a weak advice": "Weak advice",
    "This is a strong advice": "Strong advice",
}


def advice(row: Row) -> str:
    """The class in the words of the corpus' own source."""
    if row.output.strip() not in ADVICE:
        raise ValueError("output is none of the three classes")
    return ADVICE[row.output.strip()]


def printed_item(row: Row) -> Item:
    """The exam item of a MedQA row: `Q:question? ` and a line with the options as a printed Python dict.

    The question mark behind every question was added; `E: Text` is the answer.
    """
    question, brace, printed = row.input.partition("\n{")
    if not brace or len(printed) > LONGEST_OPTIONS:
        raise ValueError("no options in braces")
    try:
        options = ast.literal_eval("{" + printed.strip().rstrip(","))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError("the options are no printed dict") from None
    if not isinstance(options, dict) or not all(
        isinstance(text, str) for pair in options.items() for text in pair
    ):
        raise ValueError("the options are no printed dict")
    letter, _, text = row.output.partition(":")
    if options.get(letter.strip(), "").strip() != text.strip():
        raise ValueError("the answer is not the option that its letter names")
    question = question.strip().removeprefix("Q:").removesuffix("?").strip()
    return Item(id="", question=question, options=options, answer=letter.strip())
