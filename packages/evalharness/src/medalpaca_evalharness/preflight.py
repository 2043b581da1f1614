"""Checks inside lm-eval: exam and weights before the model is loaded, prompts before inference.

The import hook of `lm_eval_plugin` calls them. With `MEDALPACA_NO_AUTOLOAD=1`, the tasks check exam, model and adapter
only after the model has been loaded, and the prompts are not checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from medalpaca_data.core.errors import UserError, one_line

from .fewshot import FEWSHOT, check_num_fewshot
from .model_identity import identify_model
from .sent_prompt import was_sent
from .served_models import check_longest_prompt, check_served_call, check_server, is_served
from .task_data import TASKS, find_tasks, prepare_task

# Number of item ids that an error lists.
MAX_LISTED = 5


def before_model(call: Mapping[str, Any]) -> None:
    """Check base model and adapter of a `simple_evaluate` call, and the exam of each of its MedAlpaca tasks.

    Model and adapter are checked whatever the tasks are. `call` holds the arguments by name. Raises UserError as
    `refuse_caches`, `check_num_fewshot`, `prepare_task` and `identify_model` do.
    """
    refuse_caches(call)
    names = find_tasks(call.get("tasks"))
    check_served_call(call, names)
    if not names:
        identify_model(_metadata(call))
        return
    if (limit := call.get("limit")) is not None and limit <= 0:
        raise UserError(f"--limit {limit:g}: allowed are numbers above 0")
    metadata, number = _metadata(call), call.get("num_fewshot")
    for name in names:
        if FEWSHOT not in metadata:
            check_num_fewshot(name, TASKS[name].scoring, number, None)
    for name in names:
        check_num_fewshot(name, TASKS[name].scoring, number, prepare_task(name, metadata).examples)


def refuse_caches(call: Mapping[str, Any]) -> None:
    """Raise UserError if a `simple_evaluate` or `evaluate` call uses a cache of lm-eval, which is read as a pickle.

    Whoever can write the file of a cache can run code in the process that reads it (CVE-2024-35515).
    """
    for option in ("use_cache", "cache_requests"):
        if value := call.get(option):
            raise UserError(
                f"--{option} {value}: lm-eval reads its caches as pickles, which can run code; remove --{option}"
            )


def before_inference(call: Mapping[str, Any]) -> None:
    """Check the prompts of the MedAlpaca tasks in an `evaluate` call: their lengths and special tokens.

    lm-eval truncates a long prompt from the left, which removes the instruction and the start of the question. The
    filters of tasks with generated answers also get a check whether a text has the maximal number of tokens. Nothing
    is done for a model without `max_length` or `tok_encode`. The server of a served model is probed. Raises UserError
    as `check_prompts`, `check_server` and `check_longest_prompt` do, and for the protocol of 2023 with a chat template.
    """
    lm, tasks = call["lm"], call["task_dict"].get("tasks", {})
    checked = {name: task for name, task in tasks.items() if name in TASKS}
    refuse_caches(call)
    _check_samples(call.get("samples"), tasks, checked)
    templated = bool(call.get("apply_chat_template"))
    if templated and (names := [name for name in checked if TASKS[name].scoring == "protocol_2023"]):
        raise UserError(
            f"{names[0]}: the protocol of 2023 has no chat template; remove --apply_chat_template"
        )
    for name, task in checked.items():
        with_rules = TASKS[name].generates and TASKS[name].scoring != "protocol_2023"
        if with_rules and (token := _think_end_token(lm)):
            _pass_to_filters(task, think_end_token=token)
        if TASKS[name].generates and hasattr(lm, "is_full"):
            _pass_to_filters(task, is_full=lm.is_full)
    served = is_served(lm)
    if served:
        check_server(lm, list(checked))
    limit = getattr(lm, "max_length", None)
    if not isinstance(limit, int) or not hasattr(lm, "tok_encode"):
        return
    for name, task in checked.items():
        rows = _task_docs(task, call.get("limit"))
        max_new_tokens = _max_new_tokens(task) if TASKS[name].generates else 0
        if framed := bool(call.get("system_instruction") or task.config.num_fewshot) and not (
            served and templated
        ):
            rows = [row | {"prompt": _sent_prompt(lm, task, row, call)} for row in rows]
            _check_instruction(name, call.get("system_instruction"), rows[0]["prompt"])
        if served and not _counts_tokens(lm):
            check_longest_prompt(name, lm, rows, max_new_tokens=max_new_tokens)
            continue
        check_prompts(name, lm, rows, max_new_tokens=max_new_tokens, templated=templated and not framed)
        if max_new_tokens:
            _pass_limit_to_filters(lm, task, max_new_tokens)


def _check_samples(samples: Any, tasks: Mapping[str, Any], checked: Mapping[str, Any]) -> None:
    """Raise UserError for a task in `--samples` that is not evaluated, or for an index without an item.

    lm-eval evaluates all items of a task that `--samples` does not name. `checked` holds the tasks of this package.
    """
    if not checked or not isinstance(samples, Mapping):
        return
    if unknown := [name for name in samples if name not in tasks]:
        raise UserError(f"--samples names {unknown[0]!r}; the run evaluates {', '.join(tasks)}")
    for name, task in checked.items():
        n = len(task.eval_docs)
        if wrong := [i for i in samples.get(name, ()) if not isinstance(i, int) or not 0 <= i < n]:
            raise UserError(f"--samples: {name} has no item {wrong[0]!r}; allowed are 0 to {n - 1}")


def check_prompts(
    name: str,
    lm: Any,
    rows: Sequence[Mapping[str, Any]],
    *,
    max_new_tokens: int = 0,
    templated: bool = False,
) -> None:
    """Check that all prompts fit the model's context, and that the first one has no wrong special tokens.

    `name` begins the message of an error. Each of `rows` has `item_id`, `prompt`, `choices` and `scoring`.
    `max_new_tokens` is the number of tokens to generate; 0 for scored options. `templated` applies the chat template of
    the tokenizer. Raises UserError for a prompt that is too long, two start tokens, an end token, or a chat template
    that cannot be rendered.
    """
    limit = int(lm.max_length)
    # The last token of an option is never an input; every token of a generated answer may be.
    fits = limit - max_new_tokens if max_new_tokens else limit + 1
    lengths: dict[str, int] = {}
    for row in rows:
        length = _longest_input(lm, row, limit - max_new_tokens, templated, bool(max_new_tokens))
        lengths[row["item_id"]] = max(lengths.get(row["item_id"], 0), length)
    too_long = {item: n for item, n in lengths.items() if n > fits}
    if too_long:
        kept = f" minus {max_new_tokens} for the answer" if max_new_tokens else ""
        advice = ", or --gen_kwargs max_gen_toks= for a shorter answer" if max_new_tokens else ""
        raise UserError(
            f"{name}: {len(too_long)} of {len(lengths)} items do not fit the model's {limit} tokens{kept} "
            f"(longest {max(too_long.values())}: {', '.join(list(too_long)[:MAX_LISTED])}"
            f"{', ...' if len(too_long) > MAX_LISTED else ''}); lm-eval would truncate their beginnings; "
            f"use a model with a longer context, or give max_length= in --model_args if it allows more{advice}"
        )
    _check_special_tokens(name, lm, rows[0], templated)


def _metadata(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the tasks will receive: the model arguments and the metadata of the task manager or the call."""
    from lm_eval.utils import simple_parse_args_string

    model_args = call.get("model_args") or {}
    parsed = simple_parse_args_string(model_args) if isinstance(model_args, str) else dict(model_args)
    if (manager := call.get("task_manager")) is not None:
        # A task manager that the caller made may not contain the model arguments.
        return parsed | (manager.metadata or {})
    return parsed | (call.get("metadata") or {})


def _task_docs(task: Any, limit: float | None) -> list[dict[str, Any]]:
    from lm_eval.evaluator_utils import get_sample_size

    size = get_sample_size(task, limit)
    rows = list(task.eval_docs)
    return rows[: int(size)] if size else rows


def _sent_prompt(lm: Any, task: Any, row: Mapping[str, Any], call: Mapping[str, Any]) -> str:
    """Return the text that lm-eval sends for a document: with system instruction, examples and chat template."""
    templated = bool(call.get("apply_chat_template"))
    with _as_user_error():
        return str(
            task.fewshot_context(
                row,
                num_fewshot=task.config.num_fewshot or 0,
                system_instruction=call.get("system_instruction"),
                apply_chat_template=templated,
                fewshot_as_multiturn=bool(call.get("fewshot_as_multiturn")),
                chat_template=lm.apply_chat_template if templated else None,
            )
        )


def _check_instruction(name: str, instruction: str | None, text: str) -> None:
    """Raise UserError if `text`, the sent prompt, lacks the system instruction, because the chat template drops it."""
    if instruction and not was_sent(instruction, text):
        raise UserError(
            f"{name}: the tokenizer's chat template drops the system instruction; remove --system_instruction or "
            "--apply_chat_template, or use another tokenizer="
        )


def _max_new_tokens(task: Any) -> int:
    """Return the maximal number of tokens that lm-eval generates for a document of the task."""
    from lm_eval.models.utils import normalize_gen_kwargs

    return int(normalize_gen_kwargs(task.config.generation_kwargs)["max_gen_toks"])


def _pass_limit_to_filters(lm: Any, task: Any, max_new_tokens: int) -> None:
    """Pass a length check to the filters of a task, because lm-eval does not report truncated texts."""
    special = len(_encode(lm, ""))

    def is_full(text: str) -> bool:
        # Decoding and encoding again may merge the last token with its neighbour, or split it.
        return len(_encode(lm, text)) - special >= max_new_tokens - 1

    _pass_to_filters(task, is_full=is_full)


def _think_end_token(lm: Any) -> str | None:
    """Return the text of the model argument `think_end_token`, which may be the id of a token."""
    token = getattr(lm, "think_end_token", None)
    if isinstance(token, int):
        return str(lm.tok_decode([token], skip_special_tokens=False)) or None
    return token or None


def _pass_to_filters(task: Any, **arguments: Any) -> None:
    # There is no public access to the filters of a task.
    for ensemble in task._filters:
        ensemble.filters = [
            partial(
                made.func,
                **(made.keywords | {"filter_fn": partial(made.keywords["filter_fn"], **arguments)}),
            )
            for made in ensemble.filters
        ]


def _longest_input(lm: Any, row: Mapping[str, Any], limit: int, templated: bool, generates: bool) -> int:
    """Return the number of tokens of the prompt with its longest option; 0 if its bytes show that it fits `limit`."""
    # Letters have one token each, so one of them is enough.
    choices = row["choices"][-1:] if row["scoring"] == "letter" else row["choices"]
    if generates:
        choices = [""]
    texts = [_render_context(lm, row["prompt"], templated) + choice for choice in choices]
    # A text has at most as many tokens as bytes; 8 more allow for start and end tokens.
    return max(len(_encode(lm, text)) if len(text.encode()) + 8 > limit else 0 for text in texts)


def _check_special_tokens(name: str, lm: Any, row: Mapping[str, Any], templated: bool) -> None:
    """Check that the prompt of `row` begins with at most one start token and does not end with an end token.

    After an end token, lm-eval would score the wrong tokens as the answer. Raises UserError.
    """
    start = getattr(getattr(lm, "tokenizer", None), "bos_token_id", None)
    end = getattr(getattr(lm, "tokenizer", None), "eos_token_id", None)
    tokens = _encode(lm, _render_context(lm, row["prompt"], templated))
    if end is not None and tokens[-1:] == [end]:
        raise UserError(
            f"{name}: the tokenizer ends every text with an end token, so lm-eval would score the wrong tokens; "
            "set add_eos_token to false in its tokenizer_config.json"
        )
    if start is not None and tokens[:2] == [start, start]:
        raise UserError(
            f"{name}: prompts would begin with two start tokens; remove add_bos_token from --model_args, "
            "or use a chat template without a start token"
        )


def _render_context(lm: Any, prompt: str, templated: bool) -> str:
    if not templated:
        return prompt
    messages = [{"role": "user", "content": prompt}]
    with _as_user_error():
        rendered = lm.apply_chat_template(messages)
        if not isinstance(rendered, str) and hasattr(lm.tokenizer, "apply_chat_template"):
            # The server applies the template; the tokenizer's own shows the length.
            rendered = lm.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return rendered if isinstance(rendered, str) else prompt


@contextmanager
def _as_user_error() -> Iterator[None]:
    """Raise UserError for an error of a chat template, including those of jinja's sandbox."""
    from jinja2 import TemplateError

    try:
        yield
    # ValueError: the tokenizer has no chat template.
    except (TemplateError, OverflowError, ValueError) as error:
        raise UserError(
            f"the tokenizer's chat template cannot be rendered ({one_line(error)[:160]}); "
            "remove --apply_chat_template, or use another tokenizer="
        ) from None


def _counts_tokens(lm: Any) -> bool:
    """Return whether `tok_encode` gives token ids; without a tokenizer, some models return the text itself."""
    encoded = lm.tok_encode("a")
    return not isinstance(encoded, str) and not any(isinstance(one, str) for one in encoded)


def _encode(lm: Any, text: str) -> list[int]:
    encoded = lm.tok_encode(text)
    return list(encoded[0]) if encoded and isinstance(encoded[0], list) else list(encoded)
