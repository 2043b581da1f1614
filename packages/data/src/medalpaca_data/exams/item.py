"""The exam item, its prompts, an exam before exclusion of items, and the conversion of record values to item fields.

The evaluation tasks, training on exam rows and the demo use the same prompts.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ..core.errors import UserError
from ..core.files import is_text, sha256_bytes, sha256_json
from ..core.prompt import PROMPT_ID, render

LETTERS = string.ascii_uppercase
# Names of the bundled exams.
POCKET = "medalpaca_pocket"
VIGNETTES = "medalpaca_vignettes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One single-best-answer question.

    `options` maps letters to texts in the order in which they are shown; `answer` is the letter of the correct one.
    `step` is the USMLE Step, None if there is none. `subject` of a MedQA item is its part, "step1" or "step2&3".
    `group` names items that belong together, such as questions on one vignette; it is not part of the exam's hash.
    `image` is the name or URL of a picture. An item that was just read may be unscorable, for instance without options.
    `fault` is the reason why the reader could not determine the correct option, None if it could. `place` is the line
    or row of an item without an id of its own. `lacks_case`: the cell of the case is empty, below a filled one.
    """

    id: str
    question: str
    options: Mapping[str, str]
    answer: str
    step: int | None = None
    subject: str | None = None
    image: str | None = None
    fault: str | None = None
    group: str | None = field(default=None, compare=False)
    place: str = field(default="", compare=False)
    lacks_case: bool = field(default=False, compare=False)

    @property
    def chance(self) -> float:
        """Return the expected accuracy of guessing: 1 / number of options."""
        return 1 / len(self.options)


@dataclass(frozen=True, slots=True)
class RawExam:
    """All items of an exam file or directory, before exclusion of those that cannot be scored.

    `source_sha256` is the hash of the files, `images` the ids of items whose question needs a picture. `invalid` lists
    (location, reason) of records that are no items. `file` is the path, for messages. `unread` counts the values of
    columns that were not read, by column; `changes` the items whose text was joined or cut, by change.
    """

    name: str
    items: tuple[Item, ...]
    source_sha256: str
    images: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    invalid: tuple[tuple[str, str], ...] = ()
    file: str = ""
    unread: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, int] = field(default_factory=dict)


def content_item_id(question: str, options: Iterable[str]) -> str:
    """Return an id computed from question and options, for layouts that have no ids."""
    return f"item-{sha256_bytes(chr(31).join((question, *options)).encode())[:12]}"


def required_value(record: Any, name: str, where: str) -> Any:
    """Return `record[name]`. Raises UserError with the location `where` if it is missing or null."""
    if not isinstance(record, Mapping):
        raise UserError(f"{where}: not an object with keys")
    if record.get(name) is None:
        raise UserError(f"{where}: no key {name!r}; found: {', '.join(map(str, record)) or 'none'}")
    return record[name]


def required_text(record: Any, name: str, where: str) -> str:
    """Return the text `record[name]`. Raises UserError if it is missing, null, or not text that UTF-8 can encode."""
    value = required_value(record, name, where)
    if not isinstance(value, str):
        raise UserError(f"{where}: {name!r} is {type(value).__name__}, not text")
    return encodable_text(value, name, where)


def optional_text(record: Mapping[str, Any], name: str, where: str) -> str | None:
    """Return the text or number `record[name]` as text, or None if it is missing or empty.

    Raises UserError for another type.
    """
    value = record.get(name)
    if value in (None, ""):
        return None
    if not isinstance(value, str | int | float):
        raise UserError(f"{where}: {name!r} is {type(value).__name__}, not text")
    return encodable_text(str(value), name, where)


def encodable_text(text: str, name: str, where: str) -> str:
    """Return `text`. Raises UserError if UTF-8 cannot encode it."""
    if not is_text(text):
        raise UserError(f"{where}: {name!r} is not valid Unicode (half a surrogate pair)")
    return text


def step_number(value: Any, where: str) -> int | None:
    """Return a step as a number, or None if it is missing. Raises UserError if it is no whole number."""
    if (
        value is None
        or value != value
        or (isinstance(value, str) and value.strip().casefold() in ("", "nan"))
    ):
        return None
    text = "" if isinstance(value, bool) else str(value).strip()
    if not re.fullmatch(r"[+-]?\d{1,9}(?:\.0*)?", text):
        raise UserError(f"{where}: 'step' is {value!r}, not a whole number such as 1")
    return int(text.partition(".")[0])


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
