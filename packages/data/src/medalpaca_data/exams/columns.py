"""Columns of exam records: which column holds what, and the conversion of one record to an item."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..core.case_columns import case_kind, is_case_number, is_placeholder, is_repeated, join_case_texts
from ..core.errors import UserError
from .answers import (
    AnswerForms,
    Options,
    answer_forms,
    answer_numbers,
    find_answer,
    is_blank,
    label_options,
    read_options,
    single_spaced,
)
from .fields import ExamFields
from .item import LETTERS, Item, content_item_id, encodable_text, optional_text, required_text, step_number
from .media import IMAGE_COLUMNS, media

# The same case as a list of single statements, used only if no other column has the case.
FACTS = "facts"
# A column beside the question.
STEM = "stem"
REPEATED_OPTIONS = re.compile(r"\n?\s*Answer Choices:\s*", re.IGNORECASE)


class Record(Mapping[str, Any]):
    """One record of an exam, which notes the keys that were read.

    A key that is not found exactly is found without regard to case and outer white space, if only one is alike.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._folded: dict[str, list[str]] = {}
        for key in values:
            self._folded.setdefault(str(key).strip().casefold(), []).append(key)
        self.read: set[str] = set()

    def _key(self, name: object) -> str | None:
        if name in self._values:
            return str(name)
        alike = self._folded.get(str(name).strip().casefold(), [])
        return alike[0] if len(alike) == 1 else None

    def __getitem__(self, name: str) -> Any:
        key = self._key(name)
        if key is None:
            raise KeyError(name)
        self.read.add(key)
        return self._values[key]

    def __contains__(self, name: object) -> bool:
        return self._key(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def peek(self, name: str) -> Any:
        """Return a value, None if there is none, without noting the key."""
        key = self._key(name)
        return None if key is None else self._values[key]

    def unread(self) -> list[str]:
        """Return the keys with a value that were not read."""
        return [
            str(key) for key, value in self._values.items() if key not in self.read and not is_blank(value)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of a layout by their meaning.

    `options` is one column, or several with one option each. A record without the column "options" has the columns A,
    B, ... instead. `answers` must agree with each other; a number in one of them counts from `bases[column]`. Without
    `id`, question and options determine the id.
    """

    question: str = "question"
    options: str | tuple[str, ...] = "options"
    answers: tuple[str, ...] = ("answer",)
    bases: Mapping[str, int] | None = None
    id: str | None = None
    step: str | None = None
    subject: str | None = None
    group: str | None = None
    image: tuple[str, ...] = IMAGE_COLUMNS
    # Columns with the case; () stands for those that `is_case_column` finds.
    case: tuple[str, ...] = ()
    # Whether the first answer column holds letters only.
    letters: bool = True
    # The number of the first option in the first answer column, as the user set it; "text": answers are texts.
    answer_base: Literal[0, 1, "text"] | None = None

    @classmethod
    def from_fields(cls, fields: ExamFields) -> Columns:
        """Return the columns that `fields:` names."""
        return cls(
            question=fields.question,
            options=fields.options,
            answers=(fields.answer,),
            answer_base=fields.answer_base,
            id=fields.id,
            step=fields.step,
            subject=fields.subject,
            group=fields.group,
            image=(fields.image,) if fields.image else IMAGE_COLUMNS,
            case=(fields.context,) if isinstance(fields.context, str) else fields.context,
            letters=False,
        )


def forms_of(columns: Columns, records: Sequence[Mapping[str, Any]]) -> AnswerForms:
    """Return the forms of the answers in all records."""
    if columns.letters:
        return AnswerForms(letters=True)
    forms = answer_forms(Record(record).get(columns.answers[0]) for record in records)
    if columns.answer_base is not None:
        return replace(forms, base=columns.answer_base)
    if len(columns.answers) == 1 and not columns.bases and (base := _find_base(columns, records)) is not None:
        return replace(forms, base=base, base_is_found=True)
    return forms


def _find_base(columns: Columns, records: Sequence[Mapping[str, Any]]) -> Literal[0, 1] | None:
    """Return the number of the first option if the answers show it: 0 if one is 0, 1 if one is the last option's.

    That answer must not be the text of one of its options. No answer may be beyond the last option. Without such an
    answer, or with both, the base is not known.
    """
    shown: set[tuple[int, int]] = set()
    widest = 0
    for values in records:
        record = Record(values)
        try:
            options = _read_options(record, columns, "")
        except UserError:
            continue
        count = len(options.texts)
        widest = max(widest, count)
        numbers = answer_numbers(record.get(columns.answers[0]))
        if not numbers or not count:
            continue
        number = numbers[0]
        if str(number) in options.labels or number > count:
            return None
        if str(number) not in map(str.strip, options.texts.values()):
            shown.add((number, count))
    # An item with fewer options than others may have lost the last one, which shows nothing.
    has_zero, has_last = any(number == 0 for number, _ in shown), (widest, widest) in shown
    return None if has_zero == has_last else 0 if has_zero else 1


def read_item(
    record: Record, where: str, columns: Columns, forms: AnswerForms, changes: Counter[str]
) -> Item:
    """Return the item of a record, and count in `changes` what was joined or cut.

    Raises UserError if the record is no item.
    """
    done: list[str] = []
    options = _read_options(record, columns, where)
    question = _cut_options(required_text(record, columns.question, where), options.texts, done)
    question = join_case(record, question, columns, where, done)
    bases = columns.bases or {}
    answers = [(record[name], bases.get(name)) for name in columns.answers if name in record]
    answer, fault = find_answer(answers, options, forms)
    if fault is None and answers and answer_numbers(answers[0][0]):
        if forms.base_is_found:
            cause = "0" if forms.base == 0 else "the number of the last option"
            done.append(f"number of the answer counted from {forms.base}, because another answer is {cause}")
        if forms.mixed:
            done.append("answer is a number, but other answers are letters or texts")
    item = Item(
        id=(optional_text(record, columns.id, where) if columns.id else None)
        or content_item_id(question, options.texts.values()),
        question=question,
        options=options.texts,
        answer=answer,
        step=step_number(record.get(columns.step), where) if columns.step else None,
        subject=optional_text(record, columns.subject, where) if columns.subject else None,
        group=optional_text(record, columns.group, where) if columns.group else None,
        image=media(record, columns.image),
        fault=fault,
    )
    changes.update(done)
    return item


def _read_options(record: Record, columns: Columns, where: str) -> Options:
    if columns.options == "options" and "options" not in record:
        return _lettered_columns(record, where)
    if isinstance(columns.options, str):
        value = record.get(columns.options)
        return Options({}) if is_blank(value) else read_options(value, where)
    names = [name for name in columns.options if name in record]
    return _option_columns([(name, record[name]) for name in names], where)


def _lettered_columns(record: Record, where: str) -> Options:
    """Return the options of the columns A, B, ..., also those of small letters as far as they follow each other."""
    capitals = {str(key).strip() for key in record}
    names: list[str] = []
    for n, letter in enumerate(LETTERS):
        if letter in record and (letter in capitals or len(names) == n):
            names.append(letter)
        elif letter in capitals:
            raise UserError(f"{where}: two columns have the heading {letter!r}; rename one")
    return _option_columns([(name, record[name]) for name in names], where)


def _option_columns(pairs: list[tuple[str, Any]], where: str) -> Options:
    while pairs and is_blank(pairs[-1][1]):
        pairs.pop()
    options = label_options(pairs, where)
    # Headings such as "Option A": the letter in the heading must be that of the option.
    in_order = list(options.texts) == list(LETTERS[: len(pairs)])
    if pairs and len(pairs[0][0]) > 1 and not options.labels and not in_order:
        found = ", ".join(name for name, _ in pairs)
        raise UserError(f"{where}: the option columns {found} are not in the order of their letters")
    return options


def is_case_column(name: str) -> bool:
    """Return whether a column with this name has the case of a question: `vignette`, `clinicalCase`, `stem`.

    In an exam, `system` is the body system, which is no case, and `history` is the case of the patient.
    """
    return case_kind(str(name)) in ("context", "history") or str(name).strip().casefold() == STEM


def case_columns(record: Record, columns: Columns) -> list[str]:
    """Return the columns of a record that can have the case."""
    options = (columns.options,) if isinstance(columns.options, str) else columns.options
    others = (
        columns.question,
        columns.id,
        columns.step,
        columns.subject,
        columns.group,
        *options,
        *columns.answers,
    )
    taken = {name.strip().casefold() for name in others if name}
    names = columns.case or filter(is_case_column, record)
    return [name for name in names if name in record and name.strip().casefold() not in taken]


class EmptyCases:
    """Finds items without a case below items with one, as a table with merged cells gives them."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._has_case_above = False

    def mark(self, item: Item, record: Record) -> Item:
        """Return the item of the next record, marked if its case is empty. The first records may have no case."""
        names = case_columns(record, self._columns)
        is_empty = all(is_blank(record.peek(name)) for name in names)
        self._has_case_above = self._has_case_above or not is_empty
        return replace(item, lacks_case=bool(names) and is_empty and self._has_case_above)


def join_case(record: Record, question: str, columns: Columns, where: str, done: list[str]) -> str:
    """Return `question` after the text of all case columns that it does not contain yet; list them in `done`."""
    parts = _case_texts(record, case_columns(record, columns), where, done)
    parts = parts or _case_texts(record, [FACTS] if FACTS in record else [], where, done)
    joined: list[tuple[str, str]] = []
    for name, text in parts:
        if _is_contained(text, question) or any(is_repeated(text, earlier) for _, earlier in joined):
            done.append(f"{name!r} not joined, because the question contains it")
        else:
            done.append(f"{name!r} joined before the question")
            joined.append((name, text))
    return "\n\n".join(filter(None, (join_case_texts(joined), question)))


def _is_contained(text: str, question: str) -> bool:
    """Return whether the question contains a case, or begins with it if it is a short sentence."""
    text, question = single_spaced(text), single_spaced(question)
    return is_repeated(text, question) or (text.endswith((".", "!")) and question.startswith(f"{text} "))


def _case_texts(record: Record, names: Sequence[str], where: str, done: list[str]) -> list[tuple[str, str]]:
    texts = [(name, _case_text(record, name, where, done)) for name in names]
    return [(name, text) for name, text in texts if text]


def _case_text(record: Record, name: str, where: str, done: list[str]) -> str:
    """Return a case as text; a list of texts gives one line each. A number alone is no case and is not read.

    A placeholder such as nan is read as empty and listed in `done`.
    """
    value = record.peek(name)
    if is_blank(value) or is_case_number(value):
        return ""
    value = record[name]
    if is_placeholder(name, value):
        done.append(f"{name!r} with a placeholder such as nan read as empty")
        return ""
    lines = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(line, str) for line in lines):
        raise UserError(f"{where}: {name!r} is {type(value).__name__}; allowed: text or a list of texts")
    return encodable_text("\n".join(line.strip() for line in lines if line.strip()), name, where)


def _cut_options(question: str, options: Mapping[str, str], done: list[str]) -> str:
    """Return `question` without "Answer Choices: (A) ..." at its end, if that repeats exactly the options."""
    matches = list(REPEATED_OPTIONS.finditer(question))
    if not matches or not options:
        return question
    tail = question[matches[-1].end() :]
    repeated = " ".join(f"({letter}) {text}" for letter, text in options.items())
    if single_spaced(tail) != single_spaced(repeated):
        done.append("options repeated in the question differ from the options; not cut")
        return question
    done.append("options repeated at the end of the question cut")
    return question[: matches[-1].start()].rstrip()
