"""How an exam item is asked: one way for lm_eval, for training on exam rows, and for the demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..core.errors import UserError
from ..core.files import sha256_json
from ..core.prompt import PROMPT_ID, render
from .item import Item

Scoring = Literal["letter", "text"]  # by the log-likelihood of what may follow
Generated = Literal["reasoning", "protocol_2023"]  # by what the model writes
PromptStyle = Literal[Scoring, Generated]

LETTER_INSTRUCTION = "Answer this multiple choice question with the letter of the correct option."
REASONING_INSTRUCTION = (
    "Answer this multiple choice question. Think it through step by step, then finish with a line of its own that "
    'says "Answer: " and the letter of the correct option.'
)
# What the reference implementation of 2023 asked; its template differs from ours in primer, headings and prefix.
PROTOCOL_2023 = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
    "\n\n### Instruction:\nAnswer this multiple choice question."
    "\n\n### Input:\n{input}"
    "\n\n### Response:\nThe Answer to the question is:"
)


@dataclass(frozen=True, slots=True)
class ExamPrompt:
    """A question as the model gets it: the whole prompt, and one continuation per option, in option order."""

    prompt: str
    choices: tuple[str, ...]


def exam_input(item: Item) -> str:
    """Question and lettered options, one per line."""
    return "\n".join((item.question.strip(), *(f"{letter}: {text}" for letter, text in item.options.items())))


def exam_prompt(item: Item, scoring: PromptStyle) -> ExamPrompt:
    """`letter`: options are shown and a letter follows. `text`: the question alone, and an option's text follows.

    `reasoning` and `protocol_2023`: options are shown and the model writes; choices are the letters to find in that.
    """
    match scoring:
        case "letter":
            return ExamPrompt(render(LETTER_INSTRUCTION, exam_input(item)), tuple(item.options))
        case "text":
            return ExamPrompt(render(item.question), tuple(text.strip() for text in item.options.values()))
        case "reasoning":
            return ExamPrompt(render(REASONING_INSTRUCTION, exam_input(item)), tuple(item.options))
        case "protocol_2023":
            lines = (item.question, *(f"{letter}: {text}" for letter, text in item.options.items()))
            return ExamPrompt(PROTOCOL_2023.replace("{input}", "\n".join(lines)), tuple(item.options))
    raise UserError(f"scoring={scoring!r}: one of {', '.join(get_args(PromptStyle))}")


def exam_prompt_id(scoring: PromptStyle) -> str:
    """Names the way of asking in everything that quotes a score: results with different ids are not comparable."""
    example = Item(id="", question="{question}", options={"A": "{a}", "B": "{b}"}, answer="A")
    asked = exam_prompt(example, scoring)
    return f"{scoring}-{sha256_json([PROMPT_ID, asked.prompt, asked.choices])[:12]}"
