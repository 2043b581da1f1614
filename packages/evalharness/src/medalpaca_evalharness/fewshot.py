"""Examples for few-shot prompts: read from a file that the user names, and checked against the exam.

The file is an exam of its own, under "fewshot" in `--metadata`. `--num_fewshot N` takes its first N items, for every
question in the same order. Their answers follow the prompts directly, as those of the tasks do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.words import words
from medalpaca_data.exams.contamination import coverage
from medalpaca_data.exams.exam import Exam, load_exam
from medalpaca_data.exams.item import PromptStyle

# The key of `--metadata`, and the split of the documents.
FEWSHOT = "fewshot"
# Number of item ids that an error lists.
MAX_LISTED = 5


def load_examples(name: str, metadata: Mapping[str, Any], exam: Exam) -> Exam | None:
    """Return the examples that `metadata` names for the task `name`, or None if it names none.

    Raises UserError if the file cannot be read, or if a question of `exam` is among the examples.
    """
    path = metadata.get(FEWSHOT)
    if path is None:
        return None
    if not isinstance(path, str):
        raise UserError(f"{name}: metadata {FEWSHOT!r} is {path!r}; expected a string")
    examples = load_exam(Path(path).expanduser())
    if shared := find_shared_items(exam, examples):
        more = ", ..." if len(shared) > MAX_LISTED else ""
        raise UserError(
            f"{name}: {len(shared)} questions of exam {exam.name} are among the examples in {path} "
            f"({', '.join(shared[:MAX_LISTED])}{more}); remove them from the examples"
        )
    return examples


def find_shared_items(exam: Exam, examples: Exam) -> list[str]:
    """Return the ids of the items of `exam` whose question, or half of its word 13-grams, is in an example."""
    # Imported here, because the module also imports rich.
    from medalpaca_data.check import HALF

    stems = {" ".join(words(item.question)) for item in examples.items}
    covered = {
        item.item_id
        for item in coverage(exam, (item.question for item in examples.items))
        if item.coverage >= HALF
    }
    return [item.id for item in exam.items if item.id in covered or " ".join(words(item.question)) in stems]


def check_num_fewshot(name: str, scoring: PromptStyle, requested: Any, examples: Exam | None) -> None:
    """Raise UserError if the task `name` cannot show the number of examples that `--num_fewshot` requests.

    `requested` is None without the option.
    """
    number = requested or 0
    if number < 0:
        raise UserError(f"--num_fewshot {number}: allowed are 0 and positive numbers")
    if number and scoring == "protocol_2023":
        raise UserError(f"{name}: the protocol of 2023 has no examples; remove --num_fewshot")
    if number and examples is None:
        raise UserError(
            f"--num_fewshot {number}: {name} has no examples of its own; name a file of questions that are not in "
            f"""the exam: --metadata '{{"{FEWSHOT}": "PATH", ...}}', or remove --num_fewshot"""
        )
    if examples is None:
        return
    if not number:
        raise UserError(
            f"{name}: metadata names {FEWSHOT!r}, but no example would be shown; add --num_fewshot N, or remove it"
        )
    if number > len(examples.items):
        raise UserError(
            f"--num_fewshot {number}: {examples.name} has {len(examples.items)} scorable items; "
            f"allowed are 1 to {len(examples.items)}"
        )


def example_answer(doc: Mapping[str, Any]) -> str:
    """Return the answer that follows the prompt of an example: a letter, an option's text, or an answer line.

    lm-eval calls it as `doc_to_target` of the few-shot configuration.
    """
    if doc["scoring"] == "reasoning":
        return f"Answer: {doc['letters'][doc['gold']]}"
    return str(doc["choices"][doc["gold"]])
