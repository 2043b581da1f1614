"""Conversations in the layouts of chat training. A row is one answer of a conversation with all turns before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from ..core.row import Row, parse_row
from .base import ExcludedError, Name, Record, Reject, SourceInfo
from .columns import ORIGIN_COLUMNS, LayoutSource
from .turns import TURN_COLUMNS, Turn, join_texts, make_prompt, parse_json_list, parse_turns, unread_turn_keys

PROMPT_COLUMNS = ("prompt", "completion")
# Reasons for turns that do not become the answer of a row.
NOT_LEARNED = "an answer of weight 0 is not learned"
TOOL_CALL = "a call of a tool is not learned"
NO_QUESTION = "an answer without a question before it is not learned"
NO_ANSWER = "a turn after the last answer is not used"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation: its system text, its case, and its turns.

    `answers` are the positions in `turns` of the answers that become rows. `excluded` has a reason for each other
    position whose turn is in no prompt or is an answer that is not learned. `repairs` are the kinds of changes.
    """

    system: str
    context: str
    turns: list[Turn]
    answers: list[int]
    excluded: dict[int, str]
    repairs: tuple[str, ...] = ()


class Chat(LayoutSource):
    """A file of conversations. `turns` names the column of the turns.

    By default, this is messages, conversations or conversation, or else the lists prompt and completion are joined.
    Each answer is a row whose prompt has all turns before it; the rows of a conversation have one group. The system
    text, from a turn or a column, is the instruction. Columns such as `context` are joined to the question, unless
    `ignore` names them. An answer of weight 0 is only in the prompt of later answers. `split` applies to conversations
    without a split.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="any file of conversations, on disk or on the hub: each answer with all turns before it",
        format=".json .jsonl (.gz) .parquet: messages [{role, content}], conversations [{from, value}], "
        "or prompt and completion as lists of turns; lists of turns in .csv as JSON text",
        get="your own file, or a dataset on the Hugging Face hub (hub:, revision:, file:)",
        licence="that of the file; set it with licence:",
        size="any",
        rows="any: one per answer",
        default=False,
        remark="answers of weight 0 and calls of tools are not learned; set attribution: to who wrote the answers",
    )

    kind: Literal["chat"] = "chat"
    name: Name = "chat"
    split: Literal["train", "dev", "none"] = "none"
    turns: str | None = Field(default=None, min_length=1)

    def convert(self, value: Any, file: str, location: str) -> Iterator[Record]:
        """Yield a row for every answer, and a reject by rule for every turn that is not learned or not used."""
        *repairs, first = super().convert(value, file, location)
        yield from repairs
        yield first
        if isinstance(first, Reject):
            return
        conversation = self._parse(value)
        for number, position in list(enumerate(conversation.answers, 1))[1:]:
            source_id = f"{file} {location} answer {number}"
            yield self._make_row(value, conversation, position, source_id, f"{file} {location}")
        for position, reason in conversation.excluded.items():
            turn = conversation.turns[position]
            record = {"role": turn.role, "text": turn.text}
            yield Reject(file, f"{location} turn {turn.number}", reason, record, by_rule=True)

    def row(self, record: Any, source_id: str) -> Row:
        """Return the row of the first answer that is learned."""
        conversation = self._parse(record)
        return self._make_row(record, conversation, conversation.answers[0], source_id, source_id)

    def unread(self, record: Mapping[str, Any]) -> Iterable[str]:
        try:
            columns = self._turn_lists(record)
            case = self.read_case(record, columns, is_chat=True)
        except ValueError:
            # The record is rejected, and the reject file has all its columns.
            return ()
        keys = [f"{column}.{key}" for column, turns in columns.items() for key in unread_turn_keys(turns)]
        read = {*columns, *case.columns, *ORIGIN_COLUMNS}
        return [*self.unread_apart_from(record, read), *keys]

    def repairs(self, record: Any) -> Iterable[str]:
        return self._parse(record).repairs

    def fits(self, record: Mapping[str, Any]) -> bool:
        names = (self.turns,) if self.turns else TURN_COLUMNS
        return any(name in record for name in names) or (not self.turns and _has_prompt_lists(record))

    def layout_message(self, columns: list[str]) -> str:
        found = self.show_headings(columns)
        if self.turns:
            message = f"no list of turns in column {self.turns!r}; the file has: {found}"
            return f"{message}; correct the column name in the key 'turns'"
        return (
            f"no list of turns; columns found: {found}; known: {', '.join(TURN_COLUMNS)}, prompt + completion (as "
            "lists); name the column of the turns with turns:, or use kind: alpaca with fields: for instruction rows"
        )

    def _turn_lists(self, record: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the columns with the turns and their lists, which may be JSON text, as in a CSV file.

        Raises ValueError if there is none with a list that is not empty.
        """
        names = (self.turns,) if self.turns else TURN_COLUMNS
        column = next((name for name in names if record.get(name)), None)
        if column is None and not self.turns and _has_prompt_lists(record):
            return {name: record[name] for name in PROMPT_COLUMNS}
        if column is None:
            raise ValueError("no list of turns")
        turns = parse_json_list(record[column])
        if isinstance(turns, str):
            raise ValueError(
                f"{column!r} is text that is no JSON list of turns; write the turns as a JSON list"
            )
        if not isinstance(turns, list):
            raise ValueError(f"{column!r} is {type(turns).__name__}, not a list of turns")
        return {column: turns}

    def _parse(self, record: Any) -> Conversation:
        if not isinstance(record, Mapping):
            raise ValueError("not an object with a list of turns")
        columns = self._turn_lists(record)
        case = self.read_case(record, columns, is_chat=True)
        # The roles of prompt and completion are those of one conversation.
        values = [value for turns in columns.values() for value in turns]
        turns = [*case.history, *parse_turns(values, show_role=not self.private)]
        while turns and turns[0].role == "system":
            case.add_system(turns.pop(0).text)
        conversation = _find_answers(join_texts(*case.system), case.context(), turns)
        return replace(conversation, repairs=tuple(case.repairs))

    def _make_row(
        self,
        record: Mapping[str, Any],
        conversation: Conversation,
        position: int,
        source_id: str,
        location: str,
    ) -> Row:
        turns = conversation.turns
        instruction, text = make_prompt(conversation.system, conversation.context, turns[:position])
        origin = {name: record.get(name) for name in ORIGIN_COLUMNS}
        row = parse_row({**origin, "instruction": instruction, "input": text, "output": turns[position].text})
        # `data trace` finds a group by its location in lower case.
        own = f"{self.name}:{location.lower()}" if len(conversation.answers) > 1 else None
        return self.with_origin(row, source_id, self.split, row.group or own)


def _has_prompt_lists(record: Mapping[str, Any]) -> bool:
    return all(isinstance(record.get(name), list) for name in PROMPT_COLUMNS)


def _find_answers(system: str, context: str, turns: list[Turn]) -> Conversation:
    """Return the conversation with the positions of its answers. Raises ValueError if no answer can be learned."""
    answers: list[int] = []
    excluded: dict[int, str] = {}
    questions = 0
    for position, turn in enumerate(turns):
        questions += turn.role == "user"
        if turn.role == "call":
            excluded[position] = TOOL_CALL
        elif turn.role == "assistant" and not questions:
            excluded[position] = NO_QUESTION
        elif turn.role == "assistant" and not turn.learned:
            excluded[position] = NOT_LEARNED
        elif turn.role == "assistant":
            answers.append(position)
    if not answers:
        if NOT_LEARNED in excluded.values():
            raise ExcludedError("every answer of the conversation has weight 0")
        raise ValueError("the conversation has no question with an answer")
    unused = range(answers[-1] + 1, len(turns))
    excluded |= {position: NO_ANSWER for position in unused if position not in excluded}
    return Conversation(system, context, turns, answers, dict(sorted(excluded.items())))
