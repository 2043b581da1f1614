"""What a report shows of the prompt: one logged prompt verbatim, or, of an exam that is not ours, the template."""

from __future__ import annotations

from typing import Any, get_args

from medalpaca_data.exams.asked import Asking, Generated, Scoring, ask, exam_prompt_id
from medalpaca_data.exams.item import Item
from medalpaca_data.ground.errors import CheckFailed

from ..logged.run import Run
from ..logged.sample import records
from ..verdict.clean import is_bundled


def prompt(run: Run) -> dict[str, Any]:
    """The first logged item's prompt. An exam that is not bundled may be confidential: no text of it is shown.

    Raises CheckFailed when the logged prompt does not follow the template that its prompt_id names.
    """
    _, record = next(records(run.samples[0]))
    doc, asked = record["doc"], record["arguments"]["gen_args_0"]["arg_0"]
    bundled = is_bundled(run)
    shown = {
        "item": str(doc["item_id"]),
        "verbatim": bundled,
        "wrapped": asked != doc["prompt"],
        "writing": record["arguments"]["gen_args_0"]["arg_1"] if run.generated else None,
    }
    if bundled:
        return shown | {"text": asked}
    every: tuple[Asking, ...] = (*get_args(Scoring), *get_args(Generated))
    scoring = next((known for known in every if known == run.scoring), None)
    if scoring is None or exam_prompt_id(scoring) != run.prompt_id:
        return shown | {"text": None}
    marked = Item(
        id="",
        question="{question}",
        options={letter: f"{{option {letter}}}" for letter in doc["letters"]},
        answer=doc["letters"][0],
    )
    text = ask(marked, scoring).prompt
    start, _, rest = text.partition("{question}")
    end = rest.rpartition("}")[2]
    if not (doc["prompt"].startswith(start) and doc["prompt"].endswith(end)):
        raise CheckFailed(
            f"{run.samples[0]}: item {shown['item']} was not asked with the prompt {run.prompt_id} that it names"
        )
    return shown | {"text": text}
