"""Who was examined, with what: the part of a report that is copied from the results file."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medalpaca_data.ground.files import read_json

from ..logged.run import Run

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
