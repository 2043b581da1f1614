"""What a server sent: the completion in a response's body, and the JSON object in its text. It may be any bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..clean_text import clean_text
from ..ground.files import is_text

THOUGHT = re.compile(r"^.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
OPENINGS = 20  # places at which an object is looked for in running text


@dataclass(frozen=True, slots=True)
class Completion:
    """The text that a model wrote, and what it took. Tokens are 0 where the server does not say."""

    text: str
    cut: bool  # at max_tokens
    prompt_tokens: int
    completion_tokens: int


def read_body(body: bytes) -> Completion:
    """The completion in a response. Raises ValueError where there is none: such a body is a fault of the line."""
    value = _json(body)
    if not isinstance(value, dict):
        raise ValueError("no object")
    choices = value.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ValueError("no completion in it")
    text = message.get("content")
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Completion(
        text=text if isinstance(text, str) else "",
        cut=choice.get("finish_reason") == "length",
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def read_answer(completion: Completion, asks: Sequence[str]) -> dict[str, str]:
    """The texts asked for, by key. Raises ValueError with the kind of fault."""
    if completion.cut:
        raise ValueError("cut off at max_tokens")
    text = THOUGHT.sub("", completion.text)
    if not text.strip():
        raise ValueError("an empty answer")
    found = next((value for value in _objects(text) if all(name in value for name in asks)), None)
    if found is None:
        raise ValueError("no JSON object with " + " and ".join(asks))
    answer = {}
    for name in asks:
        part = found[name]
        if not isinstance(part, str) or not is_text(part):
            raise ValueError(f"its {name} is not text")
        answer[name], _ = clean_text(part)
        if not answer[name]:
            raise ValueError(f"an empty {name}")
    return answer


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The objects in a text: all of it, what stands in a fence, or what begins at a brace."""
    for part in (text, *FENCE.findall(text)):
        try:
            value = _json(part)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
    decoder = json.JSONDecoder()
    at = text.find("{")
    for _ in range(OPENINGS):
        if at < 0:
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            if isinstance(value, dict):
                yield value
        at = text.find("{", end)


def _json(data: bytes | str) -> Any:
    try:
        return json.loads(data.decode() if isinstance(data, bytes) else data)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 40 else 0
