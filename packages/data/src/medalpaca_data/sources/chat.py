"""Conversations: lists of turns in the layouts of chat training, of which a row takes the first question and answer.

A Meadow row is one question and one answer, and every later answer leans on the turns before it. Put into `input` these
would be asked in a form that no exam and no demo asks in, so later exchanges are left out by rule, each counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from ..core.files import is_text
from ..core.row import Row
from .base import About, LeftOut, Name, PlainFile, Record, Reject, row_split

TURNS = ("messages", "conversations", "conversation")
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
LATER = "later exchange of a conversation"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says. `role` is system, user or assistant."""

    role: str
    text: str


class Chat(PlainFile):
    """`turns` names the column that holds the turns, where it is not called messages or conversations.

    What the system says is the row's instruction, and the question its input; without it the question is the
    instruction.
    """

    about: ClassVar[About] = About(
        title="any file of conversations, on disk or on the hub: the first question of each and its answer",
        format=".json .jsonl (.gz) .parquet: messages [{role, content}], conversations [{from, value}], "
        "or prompt and completion as lists of turns",
        get="yours, or a dataset on the Hugging Face hub (hub:, revision:, file:)",
        licence="whatever the file's is: say it with licence:",
        size="any",
        rows="any: one per conversation",
        default=False,
        remark="later exchanges are left out and counted; who wrote the answers is yours to declare",
    )

    kind: Literal["chat"] = "chat"
    name: Name = "chat"
    split: Literal["train", "dev", "none"] = "none"
    turns: str | None = Field(default=None, min_length=1)

    def take(self, value: Any, file: str, place: str) -> Iterator[Record]:
        """The first exchange's row, and a reject by rule for every exchange after it."""
        yield from super().take(value, file, place)
        try:
            talk = self._talk(value)
        except ValueError:
            return
        answers = [turn for turn in talk if turn.role == "assistant"]
        for number, _ in enumerate(answers[1:], 2):
            yield Reject(file, f"{place} exchange {number}", LATER, None, by_rule=True)

    def row(self, record: Any, source_id: str) -> Row:
        system, question, answer = _first(self._talk(record))
        return self.make(
            source_id=source_id,
            instruction=system or question,
            input=question if system else "",
            output=answer,
            split=row_split(record.get("split"), self.split),
        )

    def _talk(self, record: Any) -> list[Turn]:
        if not isinstance(record, Mapping):
            raise ValueError("not an object with turns in it")
        names = (self.turns,) if self.turns else TURNS
        found = next((record[name] for name in names if record.get(name)), None)
        if found is None and not self.turns:
            found = _both(record.get("prompt"), record.get("completion"))
        if not isinstance(found, list) or not found:
            raise ValueError("no list of turns")
        return [_turn(turn) for turn in found]


def _both(prompt: Any, completion: Any) -> Any:
    """Prompt and completion as one list of turns, where both are lists."""
    return prompt + completion if isinstance(prompt, list) and isinstance(completion, list) else None


def _turn(value: Any) -> Turn:
    if not isinstance(value, Mapping):
        raise ValueError("a turn that is no object")
    role = ROLES.get(str(value.get("role") or value.get("from")).lower())
    if role is None:
        raise LeftOut("a turn that is neither a question nor an answer (a tool?)")
    text = value.get("content") if value.get("content") is not None else value.get("value")
    if isinstance(text, list):
        if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in text):
            raise LeftOut("a turn that is not text alone")
        text = "\n".join(part["text"] for part in text)
    if not isinstance(text, str):
        raise ValueError("a turn without text")
    if not is_text(text):
        raise ValueError("half a surrogate pair, which is no text")
    return Turn(role, text.strip())


def _first(talk: list[Turn]) -> tuple[str, str, str]:
    """(what the system says, the first question, its answer)."""
    system = talk[0].text if talk[0].role == "system" else ""
    exchange = talk[1:3] if talk[0].role == "system" else talk[:2]
    if [turn.role for turn in exchange] != ["user", "assistant"]:
        raise ValueError("does not begin with a question and its answer")
    question, answer = (turn.text for turn in exchange)
    if not question or not answer:
        raise ValueError("an empty question or answer")
    return system, question, answer
