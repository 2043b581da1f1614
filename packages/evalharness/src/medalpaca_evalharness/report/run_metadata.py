"""Metadata of the evaluated runs, from their results files, and the fixed sentences of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medalpaca_data.core.files import read_json

from ..results import Run

# Settings needed to repeat a run: name in the report -> keys in the results file of lm-eval.
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


def side_metadata(run: Run) -> dict[str, Any]:
    """Return names, hashes, date (UTC) and settings of one evaluated model.

    A model with a hash is named by the last part of its path or hub id, since the hash identifies it. Other models are
    named in full. Settings that the results file does not have are None.
    """
    results = read_json(run.file)
    return {
        "model": run.model,
        "base": _short_name(run.base, run.base_sha256),
        "base_sha256": run.base_sha256,
        "adapter": _short_name(run.adapter, run.adapter_sha256),
        "adapter_sha256": run.adapter_sha256,
        "examined": _utc_time(results.get("date")),
        "limited": run.limited,
        "settings": {name: _lookup(results, keys) for name, keys in SETTINGS.items()},
    }


def exam_metadata(run: Run) -> dict[str, Any]:
    """Return name, hash and size of the exam, how the items were scored, and counts of options and correct letters."""
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


def _short_name(name: str | None, sha256: str | None) -> str | None:
    return Path(name).name if name and sha256 else name


def _utc_time(value: Any) -> str | None:
    if not isinstance(value, int | float):
        return None
    return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")


def _lookup(value: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


NOT_CLINICAL = (
    "An exam score is not a clinical validation. It does not show that a model may be used on patients."
)
ONE_EXAM = (
    "The {what} holds for this exam and this prompt. Another prompt, or another order of the options, can change "
    "scores by more than training does."
)
WRONG_KEYS = (
    "Exams contain wrong answer keys: some items may have been scored against a wrong answer{same_for_all}."
)
RANDOM_SAMPLE = "Intervals{and_tests} assume that the items are a random sample of all possible questions."
EXTRACTED_BY_RULES = (
    "Fixed rules extracted the answers from the generated text. An answer that the rules do not find counts "
    "as wrong."
)
SAMPLED_ANSWERS = (
    "Answers were drawn at random. Another run of the same model gives other answers; the intervals do not include "
    "this variation."
)

NO_STRESS = (
    "robustness{of}: other orders of the options, preference for letters by their position, the options without the "
    "question, and the question without the options"
)
NO_ORDERS = (
    "other orders of the options, and preference for letters by their position (the prompt does not show "
    "the options)"
)
NO_FREE_TEXT = "free-text answers: options were scored by their log-likelihood, nothing was generated"
NO_CONFIDENCE = (
    "how sure a model is of its answers: it generated them, so the options have no probabilities to calibrate"
)
REASONING = "whether the generated reasoning is correct: only the letter was compared with the key"
SAFETY = (
    "safety, refusal of harmful requests, privacy, bias between groups of patients, and languages other than "
    "the exam's"
)
PRETRAINING = "whether the exam was part of the base model's own pre-training data"
NO_ROWS = "overlap of the exam with the training data of a tuned model (no --meadow was given)"


def limits(run: Run, models: int, *, includes_runs: bool = False) -> list[str]:
    """Return sentences with the limits of a report on `models` models that were evaluated as `run` was.

    `includes_runs`: the intervals include the variance between runs.
    """
    single = models == 1
    sentences = [
        NOT_CLINICAL,
        ONE_EXAM.format(what="score" if single else "verdict"),
        WRONG_KEYS.format(same_for_all="" if single else ", in the same way for all models"),
        RANDOM_SAMPLE.format(and_tests="" if single else " and tests"),
    ]
    if run.generated:
        sentences.append(EXTRACTED_BY_RULES)
    if run.sampled and not includes_runs:
        sentences.append(SAMPLED_ANSWERS)
    return sentences


def not_tested(
    run: Run, *, overlap: bool, without_stress: Sequence[str], models: int, orders_tested: bool
) -> list[str]:
    """Return phrases for the properties that a report on `models` models, evaluated as `run` was, does not cover.

    `overlap`: training data were checked for exam questions. `without_stress`: names of the models without a stress
    result. `orders_tested`: the stress results contain other orders of the options.
    """
    all_without = len(without_stress) == models
    sentences = []
    if without_stress:
        sentences.append(NO_STRESS.format(of="" if all_without else f" of {' and '.join(without_stress)}"))
    if not orders_tested and not all_without:
        sentences.append(NO_ORDERS)
    sentences += [NO_CONFIDENCE, REASONING] if run.generated else [NO_FREE_TEXT]
    sentences += [SAFETY, PRETRAINING]
    if not overlap:
        sentences.append(NO_ROWS)
    return sentences
