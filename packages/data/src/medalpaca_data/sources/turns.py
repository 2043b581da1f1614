"""Turns of conversations, in the layouts of OpenAI, ShareGPT and LLaMA-Factory, and prompts with earlier turns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.case_columns import TURN_COLUMNS as TURN_COLUMNS
from ..core.case_columns import is_empty
from ..core.errors import UserError
from ..core.files import is_text, parse_json
from .base import ExcludedError

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "patient": "user",
    "student": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "doctor": "assistant",
    "physician": "assistant",
    "teacher": "assistant",
    "function_call": "call",
    "tool_call": "call",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "function_response": "tool",
    "ipython": "tool",
}
# Roles of people. Beside another name for the same role, such as doctor beside assistant, their role is ambiguous.
PEOPLE = frozenset({"patient", "student", "doctor", "physician", "teacher"})
KNOWN_ROLES = (
    "system, user, human, patient, student, assistant, gpt, ai, bot, model, doctor, physician, teacher, tool"
)
MAX_ROLE_LENGTH = 30
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


def parse_turns(values: Sequence[Any], *, show_role: bool = False) -> list[Turn]:
    """Return the turns of a list of objects.

    Raises ValueError if one of them is not a turn, has no text or an unknown role, or if a role is ambiguous. With
    `show_role`, the message has the role found. It may be the name of a person, so it is not shown for patient text.
    """
    _refuse_ambiguous_roles(values)
    return [turn for number, value in enumerate(values, 1) for turn in _parse_turn(value, number, show_role)]


def _role_name(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError("a turn that is not an object")
    name = value.get("role") if value.get("role") is not None else value.get("from")
    return name.strip().lower() if isinstance(name, str) else name


def _refuse_ambiguous_roles(values: Sequence[Any]) -> None:
    names: dict[str, set[str]] = {}
    for name in map(_role_name, values):
        if isinstance(name, str) and name in ROLES:
            names.setdefault(ROLES[name], set()).add(name)
    for role, found in names.items():
        if len(found) > 1 and found & PEOPLE:
            raise ValueError(
                f"the roles {' and '.join(sorted(found))} in one conversation are both {role}; rename them to user and "
                "assistant"
            )


def _parse_role(name: Any, show_role: bool) -> str:
    if isinstance(name, str) and name in ROLES:
        return ROLES[name]
    if name is None or name == "":
        raise ValueError(f"a turn without a role; known are {KNOWN_ROLES}")
    if not isinstance(name, str):
        raise ValueError(f"the role of a turn is {type(name).__name__}, not text; known are {KNOWN_ROLES}")
    found = f" {name!r}" if show_role and len(name) <= MAX_ROLE_LENGTH and is_text(name) else ""
    raise ValueError(f"a turn with the unknown role{found}; known are {KNOWN_ROLES}; rename it")


def _parse_turn(value: Any, number: int, show_role: bool) -> Iterator[Turn]:
    role = _parse_role(_role_name(value), show_role)
    calls = [call for key in CALL_KEYS for call in _parse_calls(value.get(key))]
    text = _parse_text(value, role)
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


def _parse_text(value: Mapping[str, Any], role: str) -> str | None:
    key = _text_key(value)
    text = value[key] if key else None
    if isinstance(text, Mapping) and role in ("call", "tool"):
        text = _as_json(text)
    elif isinstance(text, list):
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
    """Return each call of a tool as NAME(ARGUMENTS): a text of arguments as the file has it, other values as JSON."""
    texts = []
    for call in calls if isinstance(calls, list) else [] if is_empty(calls) else [calls]:
        function = call.get("function") or call if isinstance(call, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str) or not name.strip():
            raise ValueError("a call of a tool without a name")
        arguments = function.get("arguments")
        if arguments is None:
            arguments = ""
        text = f"{name}({arguments if isinstance(arguments, str) else _as_json(arguments)})"
        if not is_text(text):
            raise ValueError(NOT_UNICODE)
        texts.append(text)
    return texts


def _as_json(value: Any) -> str:
    # A Parquet file may have values that JSON has not, such as dates.
    return json.dumps(value, ensure_ascii=False, default=str)


def parse_json_list(value: Any) -> Any:
    """Return the list in a text that is a JSON list, as cells of CSV files have it, and any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        parsed = parse_json(value, "")
    except UserError:
        return value
    return parsed if isinstance(parsed, list) else value


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
