"""Checks that the bootstrap makes inside lm-eval: before a model is loaded, and before it is asked.

Without the bootstrap (`MEDALPACA_NO_AUTOLOAD=1`) the tasks still check exam, model and adapter themselves,
but after the model has been loaded; the check of lengths is then missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from medalpaca_data.core.errors import UserError, one_line
from medalpaca_data.core.offline import is_sealed

from .model_identity import identify_model
from .task_data import prepare_task
from .task_list import TASKS, find_tasks

MAX_LISTED = 5  # item ids named in an error


def before_model(call: Mapping[str, Any]) -> None:
    """Find and check what the MedAlpaca tasks among those of a `simple_evaluate` call need.

    Sealed, model and adapter are checked whatever is asked of them. `call` holds the call's arguments by name. Raises
    UserError.
    """
    if ours := find_tasks(call.get("tasks")):
        metadata = _metadata(call)
        for name in ours:
            prepare_task(name, metadata)
    elif is_sealed():
        identify_model(_metadata(call))


def before_inference(call: Mapping[str, Any]) -> None:
    """Refuse an `evaluate` call whose prompts the model would not see whole, or not in the tokens of training.

    lm-eval cuts what is too long from the left, which takes away the instruction and the question's start.
    Raises UserError.
    """
    lm, tasks = call["lm"], call["task_dict"].get("tasks", {})
    ours = {name: task for name, task in tasks.items() if name in TASKS}
    templated = bool(call.get("apply_chat_template"))
    if templated and (old := [name for name in ours if TASKS[name].scoring == "protocol_2023"]):
        raise UserError(f"{old[0]}: the protocol of 2023 had no chat template; drop --apply_chat_template")
    limit = getattr(lm, "max_length", None)
    if not isinstance(limit, int) or not hasattr(lm, "tok_encode"):
        return
    for name, task in ours.items():
        rows = _task_docs(task, call.get("limit"))
        room = _max_new_tokens(task) if TASKS[name].generates else 0
        check_prompts(name, lm, rows, room=room, templated=templated)
        if room:
            _pass_limit_to_filters(lm, task, room)


def check_prompts(
    name: str,
    lm: Any,
    rows: Sequence[Mapping[str, Any]],
    *,
    room: int = 0,
    templated: bool = False,
) -> None:
    """Refuse prompts that the model would not see whole, or with marks that do not belong there.

    Each of `rows` has `item_id`, `prompt`, `choices` and `scoring`; `room` is for tokens to be written. Raises
    UserError.
    """
    limit = int(lm.max_length)
    # Of an option's text, the last token is never an input; of a written answer, every token may be.
    fits = limit - room if room else limit + 1
    lengths: dict[str, int] = {}
    for row in rows:
        length = _longest_input(lm, row, limit - room, templated, bool(room))
        lengths[row["item_id"]] = max(lengths.get(row["item_id"], 0), length)
    too_long = {item: n for item, n in lengths.items() if n > fits}
    if too_long:
        kept = f" less {room} for the answer" if room else ""
        advice = ", or --gen_kwargs max_gen_toks= for a shorter answer" if room else ""
        raise UserError(
            f"{name}: {len(too_long)} of {len(lengths)} items do not fit the model's {limit} tokens{kept} "
            f"(longest {max(too_long.values())}: {', '.join(list(too_long)[:MAX_LISTED])}"
            f"{', ...' if len(too_long) > MAX_LISTED else ''}); lm-eval would cut their beginnings off; "
            f"use a model with a longer context, or give max_length= in --model_args if it allows more{advice}"
        )
    _check_special_tokens(name, lm, rows[0], templated)


def _metadata(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata that `simple_evaluate` will hand to the tasks, and the model's arguments."""
    from lm_eval.utils import simple_parse_args_string

    model_args = call.get("model_args") or {}
    parsed = simple_parse_args_string(model_args) if isinstance(model_args, str) else dict(model_args)
    if (manager := call.get("task_manager")) is not None:
        # Whoever made the manager need not have told it what the model is loaded with.
        return parsed | (manager.metadata or {})
    return parsed | (call.get("metadata") or {})


def _task_docs(task: Any, limit: float | None) -> list[dict[str, Any]]:
    from lm_eval.evaluator_utils import get_sample_size

    size = get_sample_size(task, limit)
    rows = list(task.eval_docs)
    return rows[: int(size)] if size else rows


def _max_new_tokens(task: Any) -> int:
    """How many tokens lm-eval lets the model write."""
    from lm_eval.models.utils import normalize_gen_kwargs

    return int(normalize_gen_kwargs(task.config.generation_kwargs)["max_gen_toks"])


def _pass_limit_to_filters(lm: Any, task: Any, room: int) -> None:
    """Let the task's filters know which texts are as long as they could be: lm-eval itself tells nobody."""
    marks = len(_encode(lm, ""))

    def cut(text: str) -> bool:
        # The last token may have been merged with, or split from, its neighbour by writing it as text.
        return len(_encode(lm, text)) - marks >= room - 1

    for ensemble in task._filters:  # there is no other way to a task's filters
        ensemble.filters = [
            partial(
                made.func, **(made.keywords | {"filter_fn": partial(made.keywords["filter_fn"], cut=cut)})
            )
            for made in ensemble.filters
        ]


def _longest_input(lm: Any, row: Mapping[str, Any], limit: int, templated: bool, generates: bool) -> int:
    """Tokens of the prompt, with its longest option if one follows; less where it cannot possibly matter."""
    # Letters are one token each, so one stands for all.
    choices = row["choices"][-1:] if row["scoring"] == "letter" else row["choices"]
    if generates:
        choices = [""]
    texts = [_render_context(lm, row["prompt"], templated) + choice for choice in choices]
    # No tokenizer makes more tokens than bytes; 8 is room for start and end tokens.
    return max(len(_encode(lm, text)) if len(text.encode()) + 8 > limit else 0 for text in texts)


def _check_special_tokens(name: str, lm: Any, row: Mapping[str, Any], templated: bool) -> None:
    """One start token at most, and no end token: with one, lm-eval would take the wrong tokens for the answer."""
    start = getattr(getattr(lm, "tokenizer", None), "bos_token_id", None)
    end = getattr(getattr(lm, "tokenizer", None), "eos_token_id", None)
    tokens = _encode(lm, _render_context(lm, row["prompt"], templated))
    if end is not None and tokens[-1:] == [end]:
        raise UserError(
            f"{name}: the tokenizer ends every text with an end token, so lm-eval would score the wrong tokens; "
            "switch add_eos_token off in its tokenizer_config.json"
        )
    if start is not None and tokens[:2] == [start, start]:
        raise UserError(
            f"{name}: prompts would begin with two start tokens; drop add_bos_token from --model_args, "
            "or the chat template that writes one"
        )


def _render_context(lm: Any, prompt: str, templated: bool) -> str:
    from jinja2 import TemplateError

    if not templated:
        return prompt
    try:
        return str(lm.apply_chat_template([{"role": "user", "content": prompt}]))
    except (TemplateError, OverflowError) as error:  # the sandbox's, too
        raise UserError(
            f"the tokenizer's chat template cannot be rendered ({one_line(error)[:160]}); drop --apply_chat_template, "
            "or take another tokenizer="
        ) from None


def _encode(lm: Any, text: str) -> list[int]:
    encoded = lm.tok_encode(text)
    return list(encoded[0]) if encoded and isinstance(encoded[0], list) else list(encoded)
