"""Checks whether two runs may be compared, and notes on what limits their comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from medalpaca_data.core.errors import CheckFailed

from .results import Run

LIMITED_NOTE = "only part of the exam was evaluated (--limit or --samples)"
SAMPLED_NOTE = "answers were drawn at random; the test does not account for the variation between seeds"
# Number of item ids that an error lists.
MAX_LISTED = 5


def check_comparable(base: Run, tuned: Run) -> None:
    """Raise CheckFailed if exam, task, metric, prompt, items or texts differ, or the base models on the hub."""
    if base.exam_sha256 != tuned.exam_sha256:
        raise CheckFailed(
            f"different exams: base ran exam {base.exam} ({base.exam_sha256[:12]}), "
            f"tuned {tuned.exam} ({tuned.exam_sha256[:12]}); evaluate both on the same exam"
        )
    if base.task != tuned.task or base.metric != tuned.metric:
        raise CheckFailed(
            f"different tasks: base ran {base.task} ({base.metric}), tuned {tuned.task} ({tuned.metric}); "
            "choose the same task with --task"
        )
    if base.generated and base.version != tuned.version:
        raise CheckFailed(
            f"different rules of answer extraction: base ran version {base.version} of {base.task}, tuned version "
            f"{tuned.version}; evaluate both with the same version of this package"
        )
    if base.prompt_id != tuned.prompt_id:
        raise CheckFailed(
            f"different prompts: base ran with prompt {base.prompt_id}, tuned with {tuned.prompt_id}; "
            "evaluate both with the same version of this package"
        )
    if base.answers.keys() != tuned.answers.keys():
        only = [
            f"{len(ids)} only in {side} ({_list_ids(ids)})"
            for side, ids in (
                ("base", base.answers.keys() - tuned.answers.keys()),
                ("tuned", tuned.answers.keys() - base.answers.keys()),
            )
            if ids
        ]
        raise CheckFailed(
            f"different item sets: {', '.join(only)}; evaluate both models on the same steps, without --limit"
        )
    regrouped = [item for item, answer in base.answers.items() if answer.group != tuned.answers[item].group]
    if regrouped:
        raise CheckFailed(
            f"different groups of {len(regrouped)} items ({_list_ids(regrouped)}); evaluate both models on the same "
            "exam file"
        )
    changed = [
        item for item, answer in base.answers.items() if answer.input_hash != tuned.answers[item].input_hash
    ]
    if changed:
        options = base.sent.differences(tuned.sent)
        named = f", by {', '.join(options)}" if options else ""
        raise CheckFailed(
            f"different texts shown for {len(changed)} items ({_list_ids(changed)}){named}; "
            "use --apply_chat_template, --system_instruction and --num_fewshot "
            "for both models or for neither, with the same tokenizer="
            + (" and the same --gen_kwargs" if base.generated else "")
        )

    if tuned.adapter and not _same_base(base, tuned) and _is_hub_id(base.base) and _is_hub_id(tuned.base):
        raise CheckFailed(
            f"different bases: base ran {base.base}, the adapter of tuned ran on {tuned.base}; "
            "evaluate the adapter and its own base model"
        )


def _same_base(base: Run, tuned: Run) -> bool:
    """Return whether both runs have the same base model: by SHA-256 if both have one, else by name."""
    if base.base_sha256 and tuned.base_sha256:
        return base.base_sha256 == tuned.base_sha256
    return (base.base or "").removesuffix("@main") == (tuned.base or "").removesuffix("@main")


def _is_hub_id(name: str | None) -> bool:
    return name is not None and name.count("/") == 1 and not name.startswith((".", "~", "/"))


def _list_ids(ids: Iterable[str]) -> str:
    shown = sorted(ids)
    return ", ".join(shown[:MAX_LISTED]) + (", ..." if len(shown) > MAX_LISTED else "")


def list_notes(base: Run, tuned: Run) -> list[str]:
    """Return the notes that limit the verdict, such as different settings of the two runs."""
    notes = []
    if base.limited or tuned.limited:
        notes.append(LIMITED_NOTE)
    if base.sampled or tuned.sampled:
        notes.append(SAMPLED_NOTE)
    if base.cached or tuned.cached:
        notes.append(
            "a run used --use_cache, whose entries do not name the model; make sure that the two runs shared no cache"
        )
    same_base = _same_base(base, tuned)
    adapters = [(run.adapter_sha256 or run.adapter) for run in (base, tuned)]
    if same_base and base.base and adapters[0] == adapters[1]:
        notes.append("both runs evaluated the same weights")
    elif tuned.adapter and not same_base:
        notes.append("the base model of the tuned run is not the model of the base run")
    if base.setup and tuned.setup and (differing := _describe_differences(base.setup, tuned.setup)):
        notes.append(f"the two runs have different settings (base / tuned): {differing}")
    return notes


def _describe_differences(base: Mapping[str, str], tuned: Mapping[str, str]) -> str:
    keys = [key for key in sorted(base.keys() | tuned.keys()) if base.get(key) != tuned.get(key)]
    return ", ".join(f"{key} {base.get(key, 'not set')} / {tuned.get(key, 'not set')}" for key in keys)
