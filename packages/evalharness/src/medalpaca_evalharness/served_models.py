"""Models behind a server in lm-eval (`--model local-completions`, `openai-chat-completions` and their like).

Their weights are not on this machine, so a result names them as `MODEL @ HOST (no hash)`. Before the first item, one
probe checks the server (see `server_probe`). Lengths of prompts are counted in tokens, by the tokenizer or the server.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from medalpaca_data.core.errors import UserError, one_line
from medalpaca_data.core.offline import masked_address

from .server_probe import Reply, echo_fault
from .task_data import TASKS

# End of the names of model types of lm-eval that send requests to a server.
SERVED_SUFFIX = "completions"
# Packages of lm-eval's extra "api".
API_PACKAGES = ("aiohttp", "requests", "tenacity", "tqdm")
# The length that lm-eval assumes if `max_length` is not in the model arguments, minus one token.
ASSUMED_LENGTH = 2047


def is_served(lm: Any) -> bool:
    """Return whether `lm` is a model of lm-eval that sends requests to a server."""
    return any(parent.__name__ == "TemplateAPI" for parent in type(lm).__mro__)


def check_served_call(call: Mapping[str, Any], names: Sequence[str]) -> None:
    """Check a `simple_evaluate` call with a served model before the model is loaded; `names` are the MedAlpaca tasks.

    If the model type has an address of its own, it is added to the metadata, which the tasks receive. Raises UserError
    if packages are missing, and for a chat server with a task that scores options or without a chat template.
    """
    model = call.get("model")
    if not isinstance(model, str) or not model.endswith(SERVED_SUFFIX):
        return
    if missing := [name for name in API_PACKAGES if find_spec(name) is None]:
        raise UserError(
            f"--model {model} needs {', '.join(missing)}, not installed: uv pip install 'lm-eval[api]'"
        )
    if not names:
        return
    if "chat" in model:
        if scored := [name for name in names if not TASKS[name].generates]:
            raise UserError(
                f"{scored[0]}: a chat server reports no probabilities of options; "
                f"use --tasks {generated_task(scored[0])}, which only needs generated text"
            )
        if not call.get("apply_chat_template"):
            raise UserError(f"--model {model}: a chat server needs messages; add --apply_chat_template")
    address = _default_address(model)
    for metadata in (getattr(call.get("task_manager"), "metadata", None), call.get("metadata")):
        if isinstance(metadata, dict) and address:
            metadata.setdefault("base_url", address)


def _default_address(model: str) -> str:
    from lm_eval.api.registry import get_model

    parameter = inspect.signature(get_model(model).__init__).parameters.get("base_url")
    return parameter.default if parameter and isinstance(parameter.default, str) else ""


def generated_task(name: str) -> str:
    """Return the task with generated answers for the exam of task `name`; medalpaca_exam_gen if it has none."""
    task = re.sub(r"^medalpaca_usmle(_text)?", "medalpaca_usmle_gen", name)
    return task if task in TASKS and TASKS[task].generates else "medalpaca_exam_gen"


def check_server(lm: Any, names: Sequence[str]) -> None:
    """Probe the server of `lm` if one of the tasks `names` scores options.

    Raises UserError if the server cannot be reached, or if its log-probabilities are not real.
    """
    scored = [name for name in names if not TASKS[name].generates]
    if not scored:
        return

    def echo(text: str) -> Reply:
        ids = lm.tok_encode(text)
        return Reply(_send(lm, [ids], generate=False), len(ids))

    if getattr(lm, "tokenizer", None) is None:
        fault = "lm-eval needs tokenizer= in --model_args to score options"
    else:
        fault = echo_fault(echo)
    if fault:
        raise UserError(
            f"{scored[0]}: {_host(lm)} (model {lm.model}) cannot score options: {fault}; "
            f"or use --tasks {generated_task(scored[0])}, which only needs generated text"
        )


def check_longest_prompt(
    name: str, lm: Any, rows: Sequence[Mapping[str, Any]], *, max_new_tokens: int
) -> None:
    """Send the longest prompt of task `name` for one token; the server counts its tokens.

    Only for a model without tokenizer. A limit is compared if `max_length` was given. Raises UserError if the server
    rejects the prompt, or if prompt and answer exceed the limit.
    """
    row = max(rows, key=lambda one: len(one["prompt"].encode()))
    message = lm.apply_chat_template([{"role": "user", "content": row["prompt"]}])
    settings = {"max_gen_toks": 1, "temperature": 0, "until": []}
    body = _send(lm, [message if "Chat" in type(lm).__name__ else row["prompt"]], gen_kwargs=settings)
    if body is None:
        raise UserError(
            f"{name}: {_host(lm)} (model {lm.model}) rejects the longest prompt, item {row['item_id']}; "
            "the lines above have its message; use a model with a longer context"
        )
    usage = body.get("usage") if isinstance(body, dict) else None
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if not isinstance(tokens, int):
        logging.getLogger("lm_eval.medalpaca").warning(
            "%s: %s does not report numbers of tokens, so lengths of prompts are not checked", name, _host(lm)
        )
    elif lm.max_length != ASSUMED_LENGTH and tokens + max_new_tokens > lm.max_length + 1:
        raise UserError(
            f"{name}: item {row['item_id']} has {tokens} tokens, and {max_new_tokens} for the answer do not fit "
            f"max_length={lm.max_length + 1}; raise max_length= if the server allows more, "
            "or give --gen_kwargs max_gen_toks= for a shorter answer"
        )


def _send(lm: Any, messages: list[Any], **settings: Any) -> Any:
    """Return the server's answer to one request as lm-eval sends it; None if the server rejects the request."""
    from requests.exceptions import HTTPError, RequestException

    try:
        return lm.model_call(messages=messages, **settings)
    except HTTPError as error:
        status = getattr(error.response, "status_code", 0)
        if status in (400, 413, 422, 500, 501):
            return None
        raise UserError(f"{_host(lm)}: HTTP {status}; check base_url=, model= and the API key") from None
    except (RequestException, ValueError) as error:
        text = masked_address(one_line(error))[:160]
        raise UserError(f"{_host(lm)}: no valid answer ({text}); is the server running?") from None


def _host(lm: Any) -> str:
    return urlsplit(str(lm.base_url)).netloc.rpartition("@")[2]
