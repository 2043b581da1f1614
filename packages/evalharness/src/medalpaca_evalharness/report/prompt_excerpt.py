"""The prompt that a report shows: as sent, or its template."""

from __future__ import annotations

from typing import Any, get_args

from medalpaca_data.core.errors import CheckFailed
from medalpaca_data.exams.item import Generated, Item, PromptStyle, Scoring, exam_prompt, exam_prompt_id

from ..contamination_split import has_bundled_exam
from ..results import Run
from ..samples import read_samples
from ..sent_prompt import PLACE, frame, sent_text, without_examples


def prompt_excerpt(run: Run) -> dict[str, Any]:
    """Return the first sent prompt of a bundled exam, otherwise the template without the exam's texts.

    Both include what surrounds the prompt: the chat template and the system instruction, but not the texts of
    examples. "wrapped": there is such text; "writing": the generation settings. An exam that is not bundled may be
    confidential, so none of its texts is shown. "text" is None if the prompt is of another version of this package.
    Raises CheckFailed if the logged prompt does not follow the template that its prompt_id names.
    """
    _, record = next(read_samples(run.samples[0]))
    doc, sent = record["doc"], run.sent
    bundled = has_bundled_exam(run)
    excerpt = {
        "item": str(doc["item_id"]),
        "verbatim": bundled,
        "wrapped": sent_text(record) != doc["prompt"],
        "writing": record["arguments"]["gen_args_0"]["arg_1"] if run.generated else None,
        "sent_prompt_id": run.sent_prompt_id,
        "chat_template_sha256": sent.chat_template,
        "system_instruction": sent.system_instruction,
        "num_fewshot": sent.num_fewshot,
        "fewshot": sent.fewshot,
        "fewshot_sha256": sent.fewshot_sha256,
    }
    scorings: tuple[PromptStyle, ...] = (*get_args(Scoring), *get_args(Generated))
    scoring = next((known for known in scorings if known == run.scoring), None)
    if scoring is None or (not bundled and exam_prompt_id(scoring) != run.prompt_id):
        return excerpt | {"text": None}
    placeholders = Item(
        id="",
        question="{question}",
        options={letter: f"{{option {letter}}}" for letter in doc["letters"]},
        answer=doc["letters"][0],
    )
    template = exam_prompt(placeholders, scoring).prompt
    start, _, rest = template.partition("{question}")
    surrounding = frame(record)
    if sent.num_fewshot:
        surrounding = without_examples(surrounding, start, sent.num_fewshot)
    before, _, after = surrounding.rpartition(PLACE)
    if bundled:
        return excerpt | {
            "text": f"{before}{doc['prompt']}{after}" if sent.num_fewshot else sent_text(record)
        }
    end = rest.rpartition("}")[2]
    if not (doc["prompt"].startswith(start) and doc["prompt"].endswith(end)):
        raise CheckFailed(
            f"{run.samples[0]}: the prompt of item {excerpt['item']} does not follow the template of its "
            f"prompt_id {run.prompt_id}; run lm_eval again"
        )
    return excerpt | {"text": f"{before}{template}{after}"}
