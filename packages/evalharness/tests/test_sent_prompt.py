"""What was sent: examples from a declared file, system instruction, chat template, and requests of another exam."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.exams.exam import load_exam
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.comparison import compare
from medalpaca_evalharness.report.prompt_excerpt import prompt_excerpt
from medalpaca_evalharness.results import read_run
from medalpaca_evalharness.sent_prompt import PLACE, SentPrompt, frame, without_examples

LETTER = "Answer this multiple choice question with the letter of the correct option."


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    file = tmp_path / "examples.jsonl"
    rows = [
        {"question": f"Example {n}?", "A": f"yes {n}", "B": f"no {n}", "answer": "BA"[n % 2]}
        for n in range(3)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def ask(evaluate, answering, save, write_exam, tmp_path):
    """Return a function that evaluates a model that answers A, and saves the run."""
    exam = write_exam()

    def make(name: str, task: str = "medalpaca_exam", examples: Path | None = None, **options) -> Path:
        metadata = {"exam": str(exam)} | ({"fewshot": str(examples)} if examples else {})
        results = evaluate(answering(lambda doc: 0), task, metadata, **options)
        made = save(results, tmp_path / name)
        # lm-eval's command line records it there.
        file = next(made.rglob("results_*.json"))
        recorded = {"system_instruction": options.get("system_instruction")}
        file.write_text(json.dumps(json.loads(file.read_text()) | recorded))
        return made

    return make


def test_examples_come_first_and_are_part_of_the_prompts_identity(ask, examples):
    run = read_run(ask("shots", examples=examples, num_fewshot=2))
    assert run.sent.num_fewshot == 2
    assert run.sent.fewshot == "examples"
    assert run.sent.fewshot_sha256 == load_exam(examples).sha256
    assert run.sent.frames == (
        f"### Instruction:\n{LETTER}\n\nExample 0?\nA: yes 0\nB: no 0\n\n### Response:\nB\n\n"
        f"### Instruction:\n{LETTER}\n\nExample 1?\nA: yes 1\nB: no 1\n\n### Response:\nA\n\n"
        "{prompt}",
    )
    assert run.sent_prompt_id.startswith(f"{run.prompt_id}+")
    excerpt = prompt_excerpt(run)
    assert excerpt["text"].startswith("[2 examples: not printed]\n\n### Instruction:\nAnswer this multiple")
    assert "Example" not in excerpt["text"]
    assert excerpt["fewshot_sha256"] == run.sent.fewshot_sha256
    plain = read_run(ask("plain"))
    assert plain.sent_prompt_id == plain.prompt_id
    with pytest.raises(CheckFailed, match=r"different texts shown for 12 items .* by --num_fewshot 0 / 2"):
        compare(plain, run)


def test_the_answer_of_an_example_fits_the_task(ask, examples):
    text = read_run(ask("text", "medalpaca_exam_text", examples, num_fewshot=1)).sent.frames[0]
    assert text == "### Instruction:\nExample 0?\n\n### Response:\nno 0\n\n{prompt}"


@pytest.mark.parametrize(
    ("task", "number", "declared", "message"),
    [
        (
            "medalpaca_exam",
            5,
            False,
            "--num_fewshot 5: medalpaca_exam has no examples of its own; name a file",
        ),
        ("medalpaca_exam", 4, True, "--num_fewshot 4: examples has 3 scorable items; allowed are 1 to 3"),
        ("medalpaca_exam", -1, True, "--num_fewshot -1: allowed are 0 and positive numbers"),
        ("medalpaca_exam", None, True, "metadata names 'fewshot', but no example would be shown"),
        ("medalpaca_usmle_2023", 1, True, "the protocol of 2023 has no examples; remove --num_fewshot"),
    ],
)
def test_examples_that_cannot_be_shown_are_refused(ask, examples, task, number, declared, message):
    with pytest.raises(UserError) as error:
        ask("refused", task, examples if declared else None, num_fewshot=number)
    assert message in str(error.value)


def test_examples_that_are_in_the_exam_are_refused(ask, examples):
    examples.write_text(
        examples.read_text()
        + json.dumps({"question": "CASE 3 : which one", "A": "x", "B": "y", "answer": "A"})
    )
    with pytest.raises(UserError, match=r"1 questions of exam exam are among the examples .*step1-4"):
        ask("same", examples=examples, num_fewshot=1)


def test_a_system_instruction_is_shown_and_a_chat_template_not_claimed(ask, capsys):
    asked = ask("system", system_instruction="You are a physician.")
    run = read_run(asked)
    # lm-eval puts nothing between the two.
    assert run.sent.frames == ("You are a physician.{prompt}",)
    assert run.sent.chat_template is None
    assert main(["show", str(asked)]) == 0
    printed = capsys.readouterr().out
    assert 'with the system instruction "You are a physician."' in printed
    assert run.sent_prompt_id in printed
    page = asked.with_suffix(".html")
    assert main(["report", str(asked), "--out", str(page)]) == 0
    shown = page.read_text().partition('<script type="application/json"')[0]
    assert "<q>You are a physician.</q>" in shown
    assert "<pre>You are a physician.### Instruction:" in shown
    assert "chat template" not in shown
    assert main(["verify", str(page)]) == 0
    assert "system.json: the same report" in capsys.readouterr().out


def test_a_recorded_instruction_that_was_not_sent_is_not_claimed(ask):
    asked = ask("dropped")
    file = next(asked.rglob("results_*.json"))
    results = json.loads(file.read_text()) | {"system_instruction": "You are a physician."}
    file.write_text(json.dumps(results))
    assert read_run(asked).sent.system_instruction is None


def test_requests_of_another_exam_are_found(ask, evaluate, answering, save, write_exam, tmp_path):
    """As `--cache_requests` makes them: the documents are those of one exam, the texts those of another."""
    asked = ask("cached")
    other = save(
        evaluate(answering(lambda doc: 0), "medalpaca_exam", {"exam": str(write_exam("other", " today"))}),
        tmp_path / "another",
    )
    samples, others = (next(path.rglob("samples_*")) for path in (asked, other))
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in (samples, others)]
    for row, foreign in zip(*rows, strict=True):
        row["arguments"], row["prompt_hash"] = foreign["arguments"], foreign["prompt_hash"]
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows[0]))
    for command in (["show", str(asked)], ["compare", str(asked), str(asked)]):
        with pytest.raises(
            CheckFailed, match=r"12 of 12 items .* does not contain the prompt of the document"
        ):
            main(command)


def test_a_prompt_that_its_question_does_not_give_is_found(ask):
    asked = ask("edited")
    samples = next(asked.rglob("samples_*"))
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    rows[4]["doc"]["question"] += " Really?"
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        CheckFailed, match=r"1 of 12 items \(step2-1\): its prompt is not the one that letter-"
    ):
        read_run(asked)


def test_messages_for_a_server():
    doc = {"prompt": 'Say "é".\nNow:\n'}
    sent = json.dumps(
        [{"role": "system", "content": "Be short."}, {"role": "user", "content": 'Say "é".\nNow:'}]
    )
    record = {"doc": doc, "arguments": {"gen_args_0": {"arg_0": [sent], "arg_1": {}}}}
    assert frame(record) == sent.replace('Say \\"\\u00e9\\".\\nNow:', PLACE)
    assert without_examples(frame(record), "### I", 1).startswith("[1 example: not printed]\n\n{prompt}")


def test_other_frames_are_other_prompts():
    frames = ("{prompt}", "a {prompt}", "b {prompt}")
    ids = [SentPrompt(frames=(text,)).prompt_id("letter-0") for text in frames]
    assert ids[0] == "letter-0"
    assert len(set(ids)) == 3
    assert len(ids[1]) == len("letter-0+") + 12
