"""Conversations in the layouts of chat training. A row is the first question and answer of a conversation.

A Meadow row is one question and one answer. Later answers depend on earlier turns, and neither the exams nor the demo
send earlier turns. Later exchanges are therefore excluded by rule and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from ..core.files import is_text
from ..core.row import Row
from .base import ExcludedError, FileSource, Name, Record, Reject, SourceInfo, parse_row_split

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
    "model": "assistant",
    "bot": "assistant",
    "doctor": "assistant",
}
LATER_EXCHANGE = "later exchange of a conversation"


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation. `role` is system, user or assistant."""

    role: str
    text: str


class Chat(FileSource):
    """A file of conversations. `turns` names the column of the turns.

    By default, this is messages, conversations or conversation, or else the lists prompt and completion are joined. If
    the first turn is a system turn, the row has it as instruction and the question as input. Otherwise the question is
    the instruction, and the input is empty. `split` applies to conversations without a split.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="any file of conversations, on disk or on the hub: the first question of each and its answer",
        format=".json .jsonl (.gz) .parquet: messages [{role, content}], conversations [{from, value}], "
        "or prompt and completion as lists of turns",
        get="your own file, or a dataset on the Hugging Face hub (hub:, revision:, file:)",
        licence="that of the file; set it with licence:",
        size="any",
        rows="any: one per conversation",
        default=False,
        remark="later exchanges are excluded and counted; set attribution: to who wrote the answers",
    )

    kind: Literal["chat"] = "chat"
    name: Name = "chat"
    split: Literal["train", "dev", "none"] = "none"
    turns: str | None = Field(default=None, min_length=1)

    def convert(self, value: Any, file: str, location: str) -> Iterator[Record]:
        """Yield the row or reject of the first exchange, and a reject by rule for every later answer."""
        yield from super().convert(value, file, location)
        try:
            turns = self._parse_turns(value)
        except ValueError:
            return
        answers = [turn for turn in turns if turn.role == "assistant"]
        for number, _ in enumerate(answers[1:], 2):
            yield Reject(file, f"{location} exchange {number}", LATER_EXCHANGE, None, by_rule=True)

    def row(self, record: Any, source_id: str) -> Row:
        system, question, answer = _first_exchange(self._parse_turns(record))
        return self.make_row(
            source_id=source_id,
            instruction=system or question,
            input=question if system else "",
            output=answer,
            split=parse_row_split(record.get("split"), self.split),
        )

    def _parse_turns(self, record: Any) -> list[Turn]:
        if not isinstance(record, Mapping):
            raise ValueError("not an object with a list of turns")
        names = (self.turns,) if self.turns else TURN_COLUMNS
        turns = next((record[name] for name in names if record.get(name)), None)
        if turns is None and not self.turns:
            turns = _join_prompt_completion(record.get("prompt"), record.get("completion"))
        if not isinstance(turns, list) or not turns:
            raise ValueError("no list of turns")
        return [_parse_turn(turn) for turn in turns]


def _join_prompt_completion(prompt: Any, completion: Any) -> Any:
    """Return prompt and completion as one list of turns, or None if one of them is not a list."""
    return prompt + completion if isinstance(prompt, list) and isinstance(completion, list) else None


def _parse_turn(value: Any) -> Turn:
    if not isinstance(value, Mapping):
        raise ValueError("a turn that is not an object")
    role = ROLES.get(str(value.get("role") or value.get("from")).lower())
    if role is None:
        raise ExcludedError("a turn with an unknown role, such as tool")
    text = value.get("content") if value.get("content") is not None else value.get("value")
    if isinstance(text, list):
        if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in text):
            raise ExcludedError("a turn that is not only text")
        text = "\n".join(part["text"] for part in text)
    if not isinstance(text, str):
        raise ValueError("a turn without text")
    if not is_text(text):
        raise ValueError("not valid Unicode (half a surrogate pair)")
    return Turn(role, text.strip())


def _first_exchange(turns: list[Turn]) -> tuple[str, str, str]:
    """Return the text of the system turn or "", the first question, and its answer.

    Raises ValueError if the conversation does not begin with a question and its answer, or if one of them is empty.
    """
    system = turns[0].text if turns[0].role == "system" else ""
    exchange = turns[1:3] if turns[0].role == "system" else turns[:2]
    if [turn.role for turn in exchange] != ["user", "assistant"]:
        raise ValueError("the conversation does not begin with a question and its answer")
    question, answer = (turn.text for turn in exchange)
    if not question or not answer:
        raise ValueError("an empty question or answer")
    return system, question, answer
