"""Prompts of exam items, shared by the evaluation tasks, training on exam rows, and the demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..core.errors import UserError
from ..core.files import sha256_json
from ..core.prompt import PROMPT_ID, render
from .item import Item

# Scored by the log-likelihood of each choice.
Scoring = Literal["letter", "text"]
# Scored by the generated text.
Generated = Literal["reasoning", "protocol_2023"]
PromptStyle = Literal[Scoring, Generated]

LETTER_INSTRUCTION = "Answer this multiple choice question with the letter of the correct option."
REASONING_INSTRUCTION = (
    "Answer this multiple choice question. Think it through step by step, then finish with a line of its own that "
    'says "Answer: " and the letter of the correct option.'
)
# Prompt of the 2023 reference implementation, whose introduction, headings and answer prefix differ.
PROTOCOL_2023 = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
    "\n\n### Instruction:\nAnswer this multiple choice question."
    "\n\n### Input:\n{input}"
    "\n\n### Response:\nThe Answer to the question is:"
)


@dataclass(frozen=True, slots=True)
class ExamPrompt:
    """The complete prompt of an item, and one choice (a letter or a text) per option, in the order of the options."""

    prompt: str
    choices: tuple[str, ...]


def exam_input(item: Item) -> str:
    """Return the question and its lettered options, one per line."""
    return "\n".join((item.question.strip(), *(f"{letter}: {text}" for letter, text in item.options.items())))


def exam_prompt(item: Item, scoring: PromptStyle) -> ExamPrompt:
    """Return prompt and choices of an item in a prompt style, `scoring`.

    letter: the prompt shows the options; the choices are their letters.
    text: the prompt is the question only; the choices are the texts of the options.
    reasoning, protocol_2023: the prompt shows the options; the choices are the letters to extract from the
    generated text.
    Raises UserError for another style.
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
    raise UserError(f"scoring={scoring!r}: allowed: {', '.join(get_args(PromptStyle))}")


def exam_prompt_id(scoring: PromptStyle) -> str:
    """Return the id of a prompt style: its name and 12 digits of a SHA-256 of its texts.

    Scores with different ids are not comparable.
    """
    example = Item(id="", question="{question}", options={"A": "{a}", "B": "{b}"}, answer="A")
    rendered = exam_prompt(example, scoring)
    return f"{scoring}-{sha256_json([PROMPT_ID, rendered.prompt, rendered.choices])[:12]}"
