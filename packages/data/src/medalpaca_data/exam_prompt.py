"""How an exam item is asked: one way for lm_eval, for training on exam rows, and for the demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .exam import Item
from .ground.errors import UserError
from .ground.files import sha256_json
from .prompt import PROMPT_ID, render

Scoring = Literal["letter", "text"]

LETTER_INSTRUCTION = "Answer this multiple choice question with the letter of the correct option."


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the model gets it: the whole prompt, and one continuation per option, in option order."""

    prompt: str
    choices: tuple[str, ...]


def exam_input(item: Item) -> str:
    """Question and lettered options, one per line."""
    return "\n".join((item.question.strip(), *(f"{letter}: {text}" for letter, text in item.options.items())))


def ask(item: Item, scoring: Scoring) -> Asked:
    """`letter`: options are shown and a letter follows. `text`: the question alone, and an option's text follows."""
    match scoring:
        case "letter":
            return Asked(render(LETTER_INSTRUCTION, exam_input(item)), tuple(item.options))
        case "text":
            return Asked(render(item.question), tuple(text.strip() for text in item.options.values()))
    raise UserError(f"scoring={scoring!r}: one of {', '.join(get_args(Scoring))}")


def exam_prompt_id(scoring: Scoring) -> str:
    """Names the way of asking in everything that quotes a score: results with different ids are not comparable."""
    example = Item(id="", question="{question}", options={"A": "{a}", "B": "{b}"}, answer="A")
    asked = ask(example, scoring)
    return f"{scoring}-{sha256_json([PROMPT_ID, asked.prompt, asked.choices])[:12]}"
