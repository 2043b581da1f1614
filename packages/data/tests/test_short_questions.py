"""Questions of fewer than 8 words are found by their place and their options, and not in answers that equal them."""

from __future__ import annotations

import gzip
import json
import re
import tarfile

import pytest

from medalpaca_data.check import as_json, check
from medalpaca_data.cli import main
from medalpaca_data.core.records import read_rows
from medalpaca_data.exams.contamination import coverage, hits, too_short
from medalpaca_data.exams.exam import Exam, exclude_unscorable, load_exam
from medalpaca_data.exams.item import Item, RawExam

DRUG = "Carbamazepine."
TERM = "Gingivitis"
NOUNS = "Guiding planes are:"
SHORT = "Which nerve supplies the deltoid muscle?"
LONG = "Which of the following nerves supplies the deltoid muscle?"
GENERAL = "Which of the following statements is true?"
OPTIONS = {"A": "Axillary nerve", "B": "All of the above", "C": "Median nerve", "D": "Ulnar nerve"}
LINES = "\n".join(f"{letter}. {text}" for letter, text in OPTIONS.items())
ONE_LINE = " ".join(f"({letter}) {text}" for letter, text in OPTIONS.items())


def exam(*questions: str, options: dict[str, str] = OPTIONS) -> Exam:
    items = (Item(id=question, question=question, options=options, answer="A") for question in questions)
    return exclude_unscorable(RawExam("x", tuple(items), ""))


def is_found(question: str, asked: str, answer: str = "C", options: dict[str, str] = OPTIONS) -> bool:
    [item] = coverage(exam(question, options=options), [("Something else.\n", "x"), (asked, answer)])
    assert (item.coverage, item.token_coverage, item.text_index) in ((0.0, 0.0, None), (1.0, 1.0, 1))
    return item.coverage == 1.0


@pytest.mark.parametrize("question", [DRUG, TERM, NOUNS, SHORT, GENERAL])
@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("{}\n", "C"),
        ("Answer this question truthfully\n{}", "C"),
        ("Question: {}\n", "C"),
        ("**Question:** {}\n\n**Answer:**", "C"),
        ("Question 12. {} Answer:\n", "C"),
        ("Answer the following.\r\nQ: {}\r\nA:\n", "C"),
        ("3. {}\n", "C"),
        (f"{{}}\n{LINES}", "C"),
        (f"{{}} {ONE_LINE}\n", "C"),
        (f"Answer with a letter.\nQ: {{}} Options: {'; '.join(OPTIONS.values())}", "C"),
        ("A pupil reads {} and thinks for a long time\n", "Axillary nerve"),
        ("A pupil reads {} and thinks for a long time\n", "The correct answer is C: Median nerve"),
        ("A pupil reads {} and thinks for a long time\n", "B. All of the above"),
        ("Write an exam question.\n", f"Here is one. {{}}\n{LINES}"),
    ],
)
def test_a_short_question_is_found_in_every_layout(question, asked, answer):
    assert is_found(question, asked.format(question), answer.format(question))


@pytest.mark.parametrize(
    ("question", "asked", "answer"),
    [
        # The words are an answer, or in one.
        (DRUG, "What is given against trigeminal neuralgia?\n", "Carbamazepine."),
        (DRUG, "Name three drugs.\n", "Phenytoin\nCarbamazepine\nValproate"),
        (SHORT, "Tell me something.\n", "Which nerve supplies the deltoid muscle? It is good to know."),
        (GENERAL, "What did the teacher say?\n", GENERAL),
        # The words are in a question, but are not the question.
        (DRUG, "Does carbamazepine lower sodium?\n", "Yes."),
        (DRUG, "My daughter takes phenytoin, carbamazepine, and aspirin. Is that safe?\n", "Ask her doctor."),
        (DRUG, "Which drug helps?\nA. Carbamazepine\nB. Phenytoin\nC. Valproate", "A"),
        (TERM, "My gums bleed. Gingivitis was the diagnosis of my dentist. What helps?\n", "Brushing."),
        (TERM, "Medication: aspirin. Diagnosis: Gingivitis. Age: 30.\n", "Brushing."),
        # Words that contain the question.
        ("Pain", "Where does paint or Spain come from?\n", "Axillary nerve"),
        (SHORT, "Which nerve supplies the deltoid muscles of a horse?\n", "C"),
        # A general question with other options.
        (GENERAL, f"A man of 40 has fever. {GENERAL}\nA. He is ill\nB. He is well", "A: He is ill"),
        (GENERAL, f"A man of 40 has fever. {GENERAL}\nA. He is ill\nB. All of the above", "A"),
        # Two of the options in a list, or one far away, are no evidence for a question that is too short.
        (
            TERM,
            "Name lesions.\n",
            f"{TERM} is one, among others. Injuries of median and ulnar nerve: ulnar nerve, median nerve.",
        ),
        (TERM, "Is Gingivitis bad?\n", f"No. {'It is a common finding. ' * 30} Axillary nerve"),
    ],
)
def test_the_words_of_a_short_question_alone_are_no_question(question, asked, answer):
    assert not is_found(question, asked, answer)


def test_a_vague_question_needs_more_than_one_option():
    """The end of another question, whose answer is an option: "What is the next step?", "Take an ECG."."""
    options = {"A": "ECG", "B": "MRI", "C": "CT"}
    asked = "A man has chest pain. What is the next step?"
    assert not is_found("Next step?", asked, "Take an ECG.", options)
    assert is_found("Next step?", "Next step?", "Take an ECG.", options)
    assert is_found("Next step?", f"{asked} A. ECG B. MRI C. CT", "A", options)


def test_five_words_are_enough_inside_a_line_and_four_are_not():
    assert is_found(
        "What supplies the deltoid muscle?", "We wonder what supplies the deltoid muscle of cats\n"
    )
    assert not is_found("What supplies deltoid muscle?", "We wonder what supplies deltoid muscle of cats\n")


def test_one_option_beside_is_enough_in_an_answer_if_the_question_has_five_words():
    near = f"Ask: {SHORT} One may think of the axillary nerve."
    far = f"Ask: {SHORT} {'One may think for long. ' * 40} Axillary nerve."
    assert is_found(SHORT, "Write.\n", near)
    assert not is_found(SHORT, "Write.\n", far)


def test_general_options_count_together_or_as_the_whole_answer():
    options = {"A": "Yes", "B": "No"}
    assert is_found(TERM, f"Mark it: {TERM} Yes / No\n", "x", options)
    assert is_found(TERM, f"Well, {TERM} now\n", "No", options)
    assert not is_found(TERM, f"Well, {TERM} now\n", "No, it is not what we think", options)


def test_a_plain_text_is_a_question():
    texts = [f"a {SHORT} b", "Question: carbamazepine", "b carbamazepine"]
    assert [(hit.row, hit.item_id) for hit in hits([exam(SHORT, DRUG)], texts, 0.5)] == [
        (0, SHORT),
        (1, DRUG),
    ]


def test_the_items_that_are_too_short_are_those_of_few_or_general_words():
    short = {DRUG, TERM, NOUNS, GENERAL, "What is the most likely diagnosis?", "???", "Which is longest?"}
    assert too_short(exam(*short, SHORT, LONG).items) == short
    # Eight words are an n-gram, general or not.
    assert too_short(exam("Which of the following statements is not true?").items) == set()


def test_check_prints_and_counts_the_items_that_are_too_short(write, row, capsys):
    items = [
        {"id": str(n), "question": question, "options": OPTIONS, "answer": "A"}
        for n, question in enumerate((SHORT, DRUG, GENERAL))
    ]
    file = write("exam.jsonl", items)
    rows = write("rows.jsonl", [row(0, output=DRUG), row(1, input=f"Question: {SHORT}")])
    found = as_json(check(rows, str(file)))
    assert found["too_short"] == 2
    assert [(item["coverage"], item["too_short"], item["row"]) for item in found["items"]] == [
        (1.0, False, 2),
        (0.0, True, None),
        (0.0, True, None),
    ]
    main(["check", str(rows), "--exam", str(file)])
    assert "Too short to judge: 2 of 3 items" in " ".join(capsys.readouterr().out.split())


def test_the_build_drops_questions_and_keeps_answers_that_equal_them(write, row, tmp_path):
    items = [
        {"id": str(n), "question": question, "options": OPTIONS, "answer": "A"}
        for n, question in enumerate((SHORT, DRUG))
    ]
    write("exam.jsonl", items)
    write(
        "rows.jsonl",
        [row(0, output=DRUG), row(1, input=f"Question: {SHORT}"), row(2, input=f"{DRUG}\n{LINES}")],
    )
    recipe = {
        "name": "short",
        "sources": [{"kind": "alpaca", "name": "s", "path": "rows.jsonl", "licence": "CC0-1.0"}],
        "exams": ["exam.jsonl"],
        "validation": 0,
    }
    out = tmp_path / "out"
    main(["build", str(write("recipe.yaml", json.dumps(recipe))), f"out={out}"])
    assert [row.output for row in read_rows(out)] == [DRUG]
    ledger = json.loads((out / "ledger.json").read_text())
    [entry] = ledger["exams"]
    assert (entry["items"], entry["too_short"]) == (2, 1)
    assert "2 items, 1 too short to judge" in (out / "README.md").read_text()


# Real questions and texts ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def medmcqa(real, tmp_path_factory) -> Exam:
    file = tmp_path_factory.mktemp("medmcqa") / "dev.json"
    file.write_bytes(gzip.decompress((real / "medmcqa/dev.json.gz").read_bytes()))
    return load_exam(file, images="keep")


def lettered(item: Item, layout: str, separator: str) -> str:
    return separator.join(layout.format(letter, text) for letter, text in item.options.items())


@pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("layout", "missed"),
    [
        (lambda i: (f"{i.question}\n", i.answer), {1: 0, 8: 0}),
        (lambda i: (f"Question: {i.question}\n", i.answer), {1: 0, 8: 0}),
        (lambda i: (f"{i.question}\n{lettered(i, '{}. {}', chr(10))}\n", i.answer), {1: 0, 8: 0}),
        (lambda i: (f"{i.question} {lettered(i, '({}) {}', ' ')}\n", i.answer), {1: 0, 8: 0}),
        (lambda i: (f"Answer the following.\nQ: {i.question}\nA:\n", i.options[i.answer]), {1: 0, 8: 0}),
        (lambda i: (f"Choose.\n{i.question}\n{lettered(i, '{}: {}', chr(10))}", i.answer), {1: 0, 8: 0}),
        (lambda i: (f"A pupil reads {i.question} and thinks about it\n", i.options[i.answer]), {1: 0, 8: 0}),
        # Nothing but the words of a question that is too short to judge: all others are found.
        (lambda i: (f"A pupil reads {i.question} and thinks about it\n", i.answer), {1: 254, 8: 33}),
    ],
)
def test_every_question_of_medmcqa_is_found_in_its_layouts(medmcqa, layout, missed, step):
    items = medmcqa.items[::step]
    assert len(items) == {1: 4179, 8: 523}[step]
    part = exclude_unscorable(RawExam("part", items, ""))
    lost = {item.item_id for item in coverage(part, map(layout, items)) if item.coverage < 0.5}
    assert len(lost) == missed[step]
    assert lost <= too_short(items)


@pytest.fixture(scope="module")
def nutrition(real) -> Exam:
    """An exam with short stems, such as "Crohn's disease:", that equal lines of answers of MedQuAD."""
    return load_exam(real / "mmlu/test/nutrition_test.csv")


def test_no_short_question_is_found_in_real_rows_without_it(medmcqa, nutrition, real):
    rows = []
    for name in ("wikidoc_patient_info/medical_meadow_small.json", "chatdoctor/chatdoctor5k.json.gz"):
        data = (real / name).read_bytes()
        rows += json.loads(gzip.decompress(data) if name.endswith(".gz") else data)
    parts = [(f"{row['instruction']}\n{row['input']}", row["output"]) for row in rows]
    assert len(parts) == 5942 + 5452
    assert list(hits([medmcqa, nutrition], parts, 0.5)) == []


@pytest.mark.slow
def test_no_short_question_is_found_in_medquad(medmcqa, nutrition, real):
    pair = re.compile(r"<Question[^>]*>(.*?)</Question>\s*<Answer>(.*?)</Answer>", re.DOTALL)
    with tarfile.open(real / "medquad/MedQuAD_577bd37_subsets1-9.tar.gz") as archive:
        files = (archive.extractfile(member) for member in archive if member.isfile())
        parts = [found for file in files if file for found in pair.findall(file.read().decode())]
    assert len(parts) > 16_000
    assert list(hits([medmcqa, nutrition], parts, 0.5)) == []
