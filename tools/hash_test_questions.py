"""Write the hashes of published test questions, which packages/data ships, from the files of the exams.

    uv run python tools/hash_test_questions.py DATA [OUT]

OUT is by default the file in packages/data. It contains no text of a question. The same files give the same bytes.
DATA holds mmlu/test/*.csv, medqa/5opt/{test,dev}.jsonl, pubmedqa/{ori_pqal,test_ground_truth}.json,
medmcqa/dev.json.gz, usmle_sample/medalpaca_format/, usmle_sample/clinical_camel/step_exams.jsonl, and the published
medical_meadow_original/medical_meadow_mmmlu.json, a copy of the test split of MMLU.
"""

from __future__ import annotations

import gzip
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medalpaca_data.core.cli import run
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import read_json, write_bytes
from medalpaca_data.core.records import read_records
from medalpaca_data.exams.item import Item
from medalpaca_data.exams.known_questions import (
    KNOWN_QUESTIONS,
    PIECE_WORDS,
    SHORT_PIECE_WORDS,
    pack,
    question_pieces,
    words_of,
)
from medalpaca_data.exams.layouts import read_exam

OUT = Path(__file__).parents[1] / "packages/data/src/medalpaca_data/exams" / KNOWN_QUESTIONS
# If its options have at least this many words together, they identify a question without its stem.
OPTIONS = 12
# Words of the abstract that are added to a PubMedQA question that is too short to identify.
ABSTRACT = 40
FIRST_OPTION = re.compile(r"\n\(?A[:)]")


@dataclass(frozen=True, slots=True)
class Question:
    """Words of a test question: its stem, all its options in order, and the correct option; () if not known."""

    stem: tuple[str, ...]
    options: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()


def main(arguments: list[str]) -> None:
    """Read every exam, write the hashes, and print the number of questions per test set.

    `arguments` are DATA and, optionally, OUT. Raises UserError for another number of arguments or an unreadable file.
    """
    if not 1 <= len(arguments) <= 2:
        raise UserError("usage: hash_test_questions.py DATA [OUT]")
    data = Path(arguments[0])
    sets = {
        "USMLE sample": [*_items(data / "usmle_sample/medalpaca_format"), *_clinical_camel(data)],
        "MMLU test": [*_mmlu(data), *_mmmlu(data)],
        "MedQA test": list(_items(data / "medqa/5opt/test.jsonl")),
        "MedQA dev": list(_items(data / "medqa/5opt/dev.jsonl")),
        "PubMedQA test": list(_pubmedqa(data)),
        "MedMCQA dev": list(_medmcqa(data)),
    }
    generic = _generic(question for questions in sets.values() for question in questions)
    seen: set[tuple[int, ...]] = set()
    packed = []
    for name, questions in sets.items():
        pieces = []
        lost = 0
        for question in questions:
            forms = [question_pieces(form) for form in _forms(question, generic)]
            lost += not any(forms)
            new = [form for form in dict.fromkeys(forms) if form and form not in seen]
            pieces += new
            seen.update(new)
        packed.append((name, pieces))
        sys.stdout.write(
            f"{name}: {len(questions)} questions, {len(pieces)} entries, {lost} too short to tell\n"
        )
    content = pack(packed)
    out = Path(arguments[1]) if len(arguments) > 1 else OUT
    write_bytes(out, content)
    sys.stdout.write(f"{out.name}: {len(content)} bytes\n")


def _forms(question: Question, generic: frozenset[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield the word sequences by which a question is detected.

    A stem of eight or more words that occurs in no other question is enough. Otherwise they are the stem with its
    options, the options alone, and the stem with its answer, as far as each is long enough.
    """
    stem, options, answer = question.stem, question.options, question.answer
    if len(stem) >= PIECE_WORDS and stem not in generic:
        yield stem
        return
    whole = stem + options
    if options or len(stem) > SHORT_PIECE_WORDS:
        yield whole
    if len(options) >= OPTIONS and options not in generic:
        yield options
    if answer and len(stem + answer) >= PIECE_WORDS:
        yield stem + answer


def _generic(questions: Iterable[Question]) -> frozenset[tuple[str, ...]]:
    """Return stems and options that also occur in other questions, so that they do not identify one alone.

    Only stems of 8 to 15 words are examined. They are generic if each of their 8-word runs occurs in a question with
    other options. Options are generic if they belong to several stems.
    """
    of_run: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    of_options: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    short = set()
    for question in questions:
        of_options[question.options].add(question.stem)
        for run_ in _runs(question.stem):
            of_run[run_].add(question.options)
        if PIECE_WORDS <= len(question.stem) < 2 * PIECE_WORDS:
            short.add(question.stem)
    stems = {stem for stem in short if all(len(of_run[run_]) > 1 for run_ in _runs(stem))}
    return frozenset(stems | {options for options, stems in of_options.items() if len(stems) > 1})


def _runs(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (words[i : i + PIECE_WORDS] for i in range(len(words) - PIECE_WORDS + 1))


def _words(*texts: str) -> tuple[str, ...]:
    return tuple(word for text in texts for word in words_of(text))


# Readers of the exam files.


def _items(path: Path) -> Iterator[Question]:
    return (_question(item) for item in read_exam(path).items)


def _question(item: Item) -> Question:
    return Question(
        _words(item.question), _words(*item.options.values()), _words(item.options.get(item.answer, ""))
    )


def _mmlu(data: Path) -> Iterator[Question]:
    for file in sorted((data / "mmlu/test").glob("*.csv")):
        yield from _items(file)


def _mmmlu(data: Path) -> Iterator[Question]:
    """Yield the questions of the copy of the test split in Medical Meadow: "Q:stem? \\nA:...;B:...;C:...;D:..."."""
    for record in read_json(data / "medical_meadow_original/medical_meadow_mmmlu.json"):
        yield _lettered(record["input"])


def _clinical_camel(data: Path) -> Iterator[Question]:
    for _, record in read_records(data / "usmle_sample/clinical_camel/step_exams.jsonl"):
        yield _lettered(record["text"])


def _lettered(text: str) -> Question:
    """Return a question from a text in which lettered options follow the stem; without them, only a stem."""
    text = text.removeprefix("Q:")
    first = FIRST_OPTION.search(text)
    stem, options = (text[: first.start()], text[first.start() :]) if first else (text, "")
    return Question(_words(stem), _words(options))


def _pubmedqa(data: Path) -> Iterator[Question]:
    records = read_json(data / "pubmedqa/ori_pqal.json")
    for number in read_json(data / "pubmedqa/test_ground_truth.json"):
        stem = _words(records[number]["QUESTION"])
        # A question of at most four words does not identify the record; the beginning of its abstract does.
        yield Question(
            stem, _words(*records[number]["CONTEXTS"])[:ABSTRACT] if len(stem) <= SHORT_PIECE_WORDS else ()
        )


def _medmcqa(data: Path) -> Iterator[Question]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dev.json"
        file.write_bytes(gzip.decompress((data / "medmcqa/dev.json.gz").read_bytes()))
        yield from _items(file)


if __name__ == "__main__":
    run(lambda arguments: main(list(arguments)))
