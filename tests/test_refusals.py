"""Whatever is wrong: one clear line, exit code 2, no traceback; in every command that could meet it."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

GOOD = {"instruction": "Q?", "input": "", "output": "A"}


def assert_refused(done, *parts):
    assert done.returncode == 2, done.stdout + done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert all(part in line for part in parts), done.stderr


pytestmark = pytest.mark.slow  # every case starts a command, and most of them lm_eval


@pytest.fixture
def broken(tmp_path):
    """Files with one fault each."""
    good = json.dumps(GOOD)
    (tmp_path / "broken.jsonl").write_text("\n".join([*[good] * 16, '{"instruction": ', good]))
    (tmp_path / "unanswered.json").write_text(json.dumps([GOOD, {"instruction": "Q?"}]))
    (tmp_path / "good.json").write_text(json.dumps([GOOD]))
    item = {"id": "1", "question": "Q?", "options": {}, "answer": "A"}
    (tmp_path / "unscorable.jsonl").write_text(json.dumps(item))
    return tmp_path


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.fixture
def pickled(pair, tmp_path):
    """A model directory whose weights are a pickle, and the file that loading it would write."""
    folder = tmp_path / "pickled"
    shutil.copytree(pair.base, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    return folder


@pytest.mark.parametrize(
    ("file", "parts"),
    [
        ("nowhere.json", ["nowhere.json", "no such"]),
        ("broken.jsonl", ["broken.jsonl line 17", "not valid JSON"]),
        ("unanswered.json", ["unanswered.json row 2", "no key 'output'"]),
    ],
)
def test_bad_rows(command, pair, broken, file, parts):
    assert_refused(command("data", "check", broken / file, "--exam", "medalpaca_pocket"), *parts)
    out = broken / "run"
    assert_refused(
        command("train", "lora", f"model={pair.base}", f"data={broken / file}", f"out={out}"), *parts
    )
    assert not out.exists()


def test_an_unknown_recipe_key_names_the_nearest(command, pair, broken):
    wanted = ["'learning_rat'", "'learning_rate'"]
    assert_refused(
        command("train", "lora", f"model={pair.base}", f"data={pair.rows}", "learning_rat=1"), *wanted
    )
    assert_refused(command("data", "build", "pocket", "out=x", "valdation=0"), "'valdation'", "'validation'")


def test_an_exam_with_no_scorable_item(command, pair, broken):
    exam = broken / "unscorable.jsonl"
    wanted = ["none of the", "items can be scored"]
    assert_refused(command("data", "check", broken / "good.json", "--exam", exam), *wanted)
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


def test_a_pickle_where_weights_are_expected(command, pair, pickled, tmp_path):
    wanted = ["pytorch_model.bin", "refused"]
    assert_refused(
        command("train", "lora", f"model={pickled}", f"data={pair.rows}", f"out={tmp_path / 'r'}"), *wanted
    )
    assert_refused(command("demo", "--base", pickled, "--adapter", pair.run, "--exam", pair.exam), *wanted)
    model = f"pretrained={pickled}"
    assert_refused(
        command("lm_eval", "--model", "hf", "--model_args", model, "--tasks", "medalpaca_pocket"), *wanted
    )
    assert not (tmp_path / "exploded").exists()
