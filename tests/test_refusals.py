"""Wrong exams and adapters: one line, exit code 2, no traceback; in every command that reads them."""

import json

import pytest


def assert_refused(done, *parts):
    assert done.returncode == 2, done.stdout + done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert all(part in line for part in parts), done.stderr


pytestmark = pytest.mark.slow  # every case starts a command, and most of them lm_eval


def test_an_exam_with_no_scorable_item(command, pair, tmp_path):
    (tmp_path / "good.json").write_text(json.dumps([{"instruction": "Q?", "input": "", "output": "A"}]))
    exam = tmp_path / "unscorable.jsonl"
    exam.write_text(json.dumps({"id": "1", "question": "Q?", "options": {}, "answer": "A"}))
    wanted = ["none of the", "items can be scored"]
    assert_refused(command("data", "check", tmp_path / "good.json", "--exam", exam), *wanted)
    assert_refused(command("exam", "inspect", exam), *wanted)
    assert_refused(command("demo", "--base", pair.base, "--adapter", pair.run, "--exam", exam), *wanted)
    asked = ("--model", "hf", "--model_args", f"pretrained={pair.base}", "--tasks", "medalpaca_usmle")
    assert_refused(command("lm_eval", *asked, MEDALPACA_EXAM=str(exam)), *wanted)


def test_no_exam_at_all_says_what_to_do(command, pair):
    done = command(
        "lm_eval", "--model", "hf", "--model_args", f"pretrained={pair.base}", "--tasks", "medalpaca_usmle"
    )
    assert_refused(done, "MEDALPACA_EXAM")


def test_an_adapter_of_another_base(command, pair):
    wanted = ["adapter of another base"]
    assert_refused(command("demo", "--base", pair.other, "--adapter", pair.run, "--exam", pair.exam), *wanted)
    model = f"pretrained={pair.other},peft={pair.run}"
    assert_refused(
        command("lm_eval", "--model", "hf", "--model_args", model, "--tasks", "medalpaca_pocket"), *wanted
    )
