"""Turns of conversations, in the layouts of OpenAI, ShareGPT and LLaMA-Factory, and prompts with earlier turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.case_columns import is_empty
from ..core.files import is_text
from .base import ExcludedError

TURN_COLUMNS = ("messages", "conversations", "conversation")
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "patient": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "doctor": "assistant",
    "function_call": "call",
    "tool_call": "call",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "function_response": "tool",
    "ipython": "tool",
}
LABELS = {
    "system": "System",
    "user": "User",
    "assistant": "Assistant",
    "call": "Assistant calls a tool",
    "tool": "Tool",
}
TEXT_KEYS = ("content", "value", "text")
CALL_KEYS = ("tool_calls", "function_call")
# Keys with which a layout marks an assistant turn that must not be learned: OpenAI, Axolotl, ms-swift.
LEARN_KEYS = ("weight", "train", "loss")
TURN_KEYS = frozenset({"role", "from", *CALL_KEYS, *LEARN_KEYS, "tool_call_id"})
NOT_UNICODE = "not valid Unicode (half a surrogate pair)"


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation.

    `role` is system, user, assistant, call (of a tool, by the assistant) or tool (its result). `learned` is false for
    an assistant turn that the file marks as not to be learned. `number` is the position in the list of turns, from 1.
    """

    role: str
    text: str
    learned: bool = True
    number: int = 0


def parse_turns(values: Sequence[Any]) -> list[Turn]:
    """Return the turns of a list of objects. Raises ValueError if one of them is not a turn, or has no text."""
    return [turn for number, value in enumerate(values, 1) for turn in _parse_turn(value, number)]


def _parse_turn(value: Any, number: int) -> Iterator[Turn]:
    if not isinstance(value, Mapping):
        raise ValueError("a turn that is not an object")
    name = value.get("role") if value.get("role") is not None else value.get("from")
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise ValueError("a turn with an unknown role; known are system, user, assistant and tool")
    calls = [call for key in CALL_KEYS for call in _parse_calls(value.get(key))]
    text = _parse_text(value)
    if text is None and not calls:
        raise ValueError("a turn without text")
    if not text and not calls and role in ("user", "assistant"):
        raise ValueError("an empty question or answer")
    if text:
        yield Turn(role, text, _is_learned(value), number)
    for call in calls:
        yield Turn("call", call, number=number)


def _text_key(value: Mapping[str, Any]) -> str | None:
    return next((key for key in TEXT_KEYS if value.get(key) is not None), None)


def _parse_text(value: Mapping[str, Any]) -> str | None:
    key = _text_key(value)
    text = value[key] if key else None
    if isinstance(text, list):
        text = "\n".join(map(_parse_part, text))
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{key!r} of a turn is {type(text).__name__}, not text")
    if text is not None and not is_text(text):
        raise ValueError(NOT_UNICODE)
    return text and text.strip()


def _parse_part(part: Any) -> str:
    """Return the text of a part of a turn. Raises ExcludedError for a part that is not text, such as a picture."""
    text = part.get("text") if isinstance(part, Mapping) else part
    if not isinstance(text, str):
        raise ExcludedError("a turn that is not only text")
    return text


def _parse_calls(calls: Any) -> list[str]:
    """Return each call of a tool as NAME(ARGUMENTS), the arguments as the file has them."""
    texts = []
    for call in calls if isinstance(calls, list) else [] if is_empty(calls) else [calls]:
        function = call.get("function") or call if isinstance(call, Mapping) else None
        parts = [function.get(key) for key in ("name", "arguments")] if isinstance(function, Mapping) else []
        if len(parts) != 2 or not all(isinstance(part, str) and is_text(part) for part in parts):
            raise ExcludedError("a call of a tool without name and arguments as text")
        texts.append(f"{parts[0]}({parts[1]})")
    return texts


def _is_learned(value: Mapping[str, Any]) -> bool:
    learned = True
    for key in LEARN_KEYS:
        mark = value.get(key)
        if mark is None:
            continue
        if str(mark) not in ("0", "0.0", "False", "1", "1.0", "True"):
            raise ValueError(f"{key!r} of a turn is not 0 or 1")
        learned = learned and str(mark) in ("1", "1.0", "True")
    return learned


def unread_turn_keys(values: Any) -> Iterator[str]:
    """Yield the keys of turns that are not read and have content."""
    for value in values if isinstance(values, list) else ():
        if isinstance(value, Mapping):
            text_key = _text_key(value)
            for key, inner in value.items():
                if key not in TURN_KEYS and key != text_key and not is_empty(inner):
                    yield str(key)


def parse_history(value: Any, column: str) -> list[Turn]:
    """Return the turns of a list of [question, answer] pairs, as LLaMA-Factory has them, or of a list of turns.

    Raises ValueError for any other value; `column` names it in the message.
    """
    if isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value):
        return parse_turns(value)
    turns = []
    for pair in value if isinstance(value, list) else [value]:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(
                f"{column!r} is {type(value).__name__}, not text or a list of question and answer"
            )
        for role, text in zip(("user", "assistant"), pair, strict=True):
            if not isinstance(text, str):
                raise ValueError(f"a text of {column!r} is {type(text).__name__}, not text")
            if not is_text(text):
                raise ValueError(NOT_UNICODE)
            if text.strip():
                turns.append(Turn(role, text.strip()))
    return turns


def join_texts(*texts: str) -> str:
    """Return the texts that are not empty, with a blank line between."""
    return "\n\n".join(text for text in texts if text)


def make_prompt(system: str, context: str, turns: Sequence[Turn]) -> tuple[str, str]:
    """Return the instruction and the input of a row whose answer follows `turns`.

    A single turn is the question itself; it is the input if there is a system text. Of several turns, the last is the
    input. The turns before it are in the instruction, so that two rows of a conversation are no near-duplicates, which
    must have equal instructions.
    """
    if len(turns) == 1:
        question = turns[0].text
        return (system, join_texts(context, question)) if system else (question, context)
    *earlier, last = (f"{LABELS[turn.role]}: {turn.text}" for turn in turns)
    return join_texts(system, context, *earlier), last
