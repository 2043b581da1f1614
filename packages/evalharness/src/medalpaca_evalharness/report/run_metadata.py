"""Who was examined, with what: the part of a report that is copied from the results file.

What a report's figures do not say, in words: its limits, and what was not tested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medalpaca_data.core.files import read_json

from ..results import Run

# What lm-eval records about a run and a reader needs to repeat it; name in the report -> keys in the results.
SETTINGS: dict[str, tuple[str, ...]] = {
    "backend": ("config", "model"),
    "dtype": ("config", "model_dtype"),
    "parameters": ("config", "model_num_parameters"),
    "revision": ("config", "model_revision"),
    "batch_size": ("config", "batch_size"),
    "device": ("config", "device"),
    "random_seed": ("config", "random_seed"),
    "torch_seed": ("config", "torch_seed"),
    "lm_eval": ("lm_eval_version",),
    "transformers": ("transformers_version",),
    "code": ("git_hash",),
    "chat_template_sha256": ("chat_template_sha",),
    "system_instruction_sha256": ("system_instruction_sha",),
}


def side(run: Run) -> dict[str, Any]:
    """One examined model. Local directories by their last name, since the hash names them; hub ids in full."""
    results = read_json(run.file)
    return {
        "model": run.model,
        "base": _name(run.base, run.base_sha256),
        "base_sha256": run.base_sha256,
        "adapter": _name(run.adapter, run.adapter_sha256),
        "adapter_sha256": run.adapter_sha256,
        "examined": _moment(results.get("date")),
        "limited": run.limited,
        "settings": {name: _at(results, keys) for name, keys in SETTINGS.items()},
    }


def exam(run: Run) -> dict[str, Any]:
    """What was asked, and how."""
    answers = run.answers.values()
    return {
        "name": run.exam,
        "sha256": run.exam_sha256,
        "task": run.task,
        "metric": run.metric,
        "scoring": run.scoring,
        "filter": run.filter,
        "generated": run.generated,
        "sampled": run.sampled,
        "prompt_id": run.prompt_id,
        "items": len(answers),
        "options": {str(k): n for k, n in sorted(Counter(answer.options for answer in answers).items())},
        "key": dict(sorted(Counter(answer.letters[answer.key] for answer in answers).items())),
    }


def _name(name: str | None, sha256: str | None) -> str | None:
    return Path(name).name if name and sha256 else name


def _moment(value: Any) -> str | None:
    if not isinstance(value, int | float):
        return None
    return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")


def _at(value: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


NOT_CLINICAL = (
    "An exam score is no clinical validation. Nothing here says that a model may be used on patients."
)
THIS_EXAM = (
    "The {what} is about this exam, asked in this way. Another prompt, or the options in another order, can move "
    "scores by more than tuning does."
)
WRONG_KEYS = "Exams contain wrong keys: some items may have been scored against a wrong answer{alike}."
AT_RANDOM = "Intervals{tests} treat the items as drawn at random from the questions that could be asked."
BY_RULES = (
    "Answers were found in what was written by fixed rules; an answer that these do not find counts as wrong."
)
DRAWN = "Answers were drawn at random; asked again, a model gives others, which no interval here knows of."

STRESS = (
    "stress{of}: other orders of the options, whether letters are preferred by their position, the options without the "
    "question, and the question without the options"
)
ORDERS = "other orders of the options, and whether letters are preferred by their position (options were not shown)"
WRITTEN = "free-text answers: options were scored by their log-likelihood, nothing was generated"
UNSURE = "how sure a model is of its answers: it wrote them, and options have no probabilities to calibrate"
REASONING = "whether what a model wrote before its answer is right: only the letter was compared with the key"
SAFETY = (
    "safety, refusals to harm, privacy, bias between groups of patients, and languages other than the exam's"
)
PRETRAINING = "whether the exam was part of the base model's own training data"
NO_ROWS = "overlap of the exam with the data that a model was tuned on (no --meadow was given)"


def limits(run: Run, models: int) -> list[str]:
    """Of the report on `models` runs like `run`."""
    one = models == 1
    found = [
        NOT_CLINICAL,
        THIS_EXAM.format(what="score" if one else "verdict"),
        WRONG_KEYS.format(alike="" if one else ", for all models alike"),
        AT_RANDOM.format(tests="" if one else " and tests"),
    ]
    return found + ([BY_RULES] if run.generated else []) + ([DRAWN] if run.sampled else [])


def not_tested(
    run: Run, *, overlap: bool, unstressed: Sequence[str], models: int, ordered: bool
) -> list[str]:
    """What nobody looked at.

    With `overlap`, the tuning data were held against the exam; `unstressed` are those of the report's `models` without
    a stress result; `ordered`, whether such results have other orders of the options in them.
    """
    of = "" if len(unstressed) == models else f" of {' and '.join(unstressed)}"
    found = [
        *((STRESS.format(of=of),) if unstressed else ()),
        *(() if ordered or len(unstressed) == models else (ORDERS,)),
        *((UNSURE, REASONING) if run.generated else (WRITTEN,)),
        SAFETY,
        PRETRAINING,
    ]
    return found if overlap else [*found, NO_ROWS]
