"""Test `exam stress` on models whose weights give known answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.exam import load_exam
from medalpaca_evalharness import cli
from medalpaca_evalharness.stress import run as stress
from medalpaca_evalharness.stress.figures import find_problems, stress_figures
from medalpaca_evalharness.stress.perturbations import perturb
from medalpaca_evalharness.stress.rephrased import chat_prompt, rephrase
from medalpaca_evalharness.stress.result import read_stress
from medalpaca_evalharness.stress.run import StressConfig

CASES = 12  # items of the small exam
WIDTH = 16


# Models with known answers --------------------------------------------------------------------


@pytest.fixture(scope="session")
def known(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make a one-layer Llama whose tokens are all alike, except those that begin the exam's items ("Case 7:").

    Attention is uniform, so the last position sees the mean of all tokens. `letters[n]` is what case n adds to it;
    `always` is the letter that every other token adds.
    """

    def make(always: str = "", letters: str = "") -> Path:
        directory = tmp_path_factory.mktemp("known")
        tokenizer = AutoTokenizer.from_pretrained(tiny)
        tokenizer.add_tokens([f"Case {n}:" for n in range(CASES)])
        tokenizer.save_pretrained(directory)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=1024, bos_token_id=0, eos_token_id=1,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" not in name:
                    parameter.zero_()
            attention = model.model.layers[0].self_attn
            for linear in (attention.v_proj, attention.o_proj):
                linear.weight.copy_(torch.eye(WIDTH))
            tokens, head = model.model.embed_tokens.weight, model.lm_head.weight
            tokens[:, 0] = 1
            if always:
                head[tokenizer.convert_tokens_to_ids(always), 0] = 1
            for at, letter in enumerate("ABCDEF", 1):
                head[tokenizer.convert_tokens_to_ids(letter), at] = 100
            for n, letter in enumerate(letters):
                case = tokenizer.convert_tokens_to_ids(f"Case {n}:")
                tokens[case] = 0
                tokens[case, "ABCDEF".index(letter) + 1] = 1
        model.save_pretrained(directory)
        return directory

    return make


@pytest.fixture
def keys(write_exam) -> tuple[Path, str]:
    """Write the small exam and return it with its key."""
    exam = write_exam()
    return exam, "".join(item.answer for item in load_exam(exam).items)


def run(out: Path, base: Path, tuned: Path | None = None, **options: Any) -> stress.Stress:
    return stress.run_stress(
        StressConfig(base=str(base), tuned=tuned and str(tuned), out=out, device="cpu", **options)
    )


def test_a_model_that_always_answers_a_and_one_that_memorised_the_exam(known, keys, tmp_path):
    exam, key = keys
    made = run(tmp_path / "out", known(always="A"), known(letters=key), exam=str(exam))
    found = stress_figures(made)
    base, tuned = found.sides["base"], found.sides["tuned"]
    assert base.orders is not None
    assert tuned.orders is not None
    assert base.orders.position_bias is not None
    assert base.orders.position_bias.index == pytest.approx(1)
    assert base.orders.position_bias.favoured == "A"
    assert (base.published.count, base.orders.robust.count) == (key.count("A"), 0)
    assert base.orders.memorisation_gap is not None
    assert base.orders.memorisation_gap.value == pytest.approx(0)
    assert tuned.published.value == 1
    assert tuned.orders.robust.value == 0
    assert tuned.orders.memorisation_gap is not None
    assert tuned.orders.memorisation_gap.value == pytest.approx(1)
    assert tuned.orders.position_bias is not None
    assert tuned.orders.position_bias.index < 0.5
    # It recalls the letter without the options; without the question, all scores are equal and it takes the first.
    assert tuned.question_only is not None
    assert tuned.options_only is not None
    assert (tuned.question_only.value, tuned.options_only.count) == (1, key.count("A"))
    assert found.difference is not None
    assert found.difference.memorisation_gap is not None
    assert found.difference.memorisation_gap.value == pytest.approx(1)


@pytest.mark.parametrize("scoring", ["letter", "text"])
def test_every_score_equals_that_of_the_variant_alone(tiny, adapter, write_exam, tmp_path, scoring):
    exam = write_exam(steps={1: 4})
    made = run(tmp_path / "out", tiny, adapter, exam=str(exam), scoring=scoring)
    chat = chat_prompt(AutoTokenizer.from_pretrained(tiny))
    assert chat is not None
    for side, models in (("base", {}), ("tuned", {"peft": str(adapter)})):
        alone = HFLM(pretrained=str(tiny), **models, device="cpu", batch_size=1)
        for item, scored in zip(load_exam(exam).items, made.items, strict=True):
            asked = rephrase(perturb(item, scoring), chat).prompts
            assert len(asked) == len(scored.variants)
            for one, row in zip(asked, scored.scores[side], strict=True):
                requests = [Instance("loglikelihood", {}, (one.prompt, text), 0) for text in one.choices]
                stock = [found[0] for found in alone.loglikelihood(requests, disable_tqdm=True)]
                lengths = [len(text) if scoring == "text" else 1 for text in one.choices]
                assert [score * n for score, n in zip(row, lengths, strict=True)] == pytest.approx(
                    stock, abs=1e-4
                )
    assert made.items[0].scores["base"] != made.items[0].scores["tuned"]


def test_a_stopped_run_continues(tiny, write_exam, tmp_path):
    exam, small = str(write_exam()), {"tokens_per_batch": 64}
    whole = run(tmp_path / "whole", tiny, exam=exam)
    seen: list[int] = []

    def stop(side: str, done: int, of: int) -> None:
        seen.append(done)
        if done >= 5:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    config = StressConfig(base=str(tiny), exam=exam, out=out, device="cpu", model_args=small)
    with pytest.raises(KeyboardInterrupt):
        stress.run_stress(config, stop)
    assert seen[0] == 0
    assert 5 <= seen[-1] < CASES
    assert sorted(file.name for file in out.iterdir()) == ["partial-base.jsonl"]
    with (out / "partial-base.jsonl").open("a") as file:
        file.write('{"asked": "half a li')
    again: list[int] = []
    found = stress.run_stress(config, lambda side, done, of: again.append(done))
    assert again[0] == seen[-1]
    assert again[-1] == CASES
    assert sorted(file.name for file in out.iterdir()) == ["stress.json"]
    assert [one.item for one in found.items] == [one.item for one in whole.items]
    for one, other in zip(found.items, whole.items, strict=True):
        for row, expected in zip(one.scores["base"], other.scores["base"], strict=True):
            assert row == pytest.approx(expected, abs=1e-4)


def test_partial_scores_of_another_model_are_refused(tiny, tiny_of_other_size, write_exam, tmp_path):
    exam = str(write_exam(steps={1: 4}))

    def stop(side: str, done: int, of: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stress.run_stress(StressConfig(base=str(tiny), exam=exam, out=tmp_path / "out", device="cpu"), stop)
    with pytest.raises(UserError, match=r"partial-base.jsonl: belongs to an unfinished run of another model"):
        run(tmp_path / "out", tiny_of_other_size, exam=exam)


# The command ------------------------------------------------------------------------------------------------


def test_the_command(tiny, adapter, write_exam, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    exam, out = str(write_exam(steps={1: 4, 2: 3})), tmp_path / "out"
    command = ["stress", str(tiny), str(adapter), "--exam", exam, "--out", str(out), "--device", "cpu"]
    assert cli.main([*command, "--limit", "5"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-1] == str(out / "stress.json")
    for phrase in (
        "correct in every order",
        "position bias",
        "Base: ",
        "Tuned: ",
        "Difference: ",
        "only 5 of the exam's 7",
    ):
        assert phrase in printed.out
    assert "base: 5 of 5 items" in printed.err
    assert "remedy" not in printed.out + printed.err + (out / "stress.json").read_text()
    made, stated = read_stress(out)
    assert made.limited
    assert made.sides["base"].adapter is None
    assert made.sides["tuned"].adapter == str(adapter)
    assert list(find_problems(made, stated, load_exam(exam))) == []
    with pytest.raises(UserError, match=r"stress.json: already exists"):
        cli.main(command)


def test_an_adapter_alone_finds_its_base(tiny, adapter, write_exam, tmp_path, capsys):
    exam = str(write_exam(steps={1: 4}))
    command = [
        "stress",
        str(adapter),
        "--exam",
        exam,
        "--out",
        str(tmp_path / "out"),
        "--device",
        "cpu",
        "--json",
    ]
    assert cli.main(command) == 0
    shown = json.loads(capsys.readouterr().out)
    made, stated = read_stress(tmp_path / "out")
    assert shown == stated
    assert list(made.sides) == ["base", "tuned"]
    assert made.sides["base"].base == str(tiny)


def test_the_bundled_pocket_exam_is_scored_by_text(tiny, tmp_path, capsys):
    command = ["stress", str(tiny), "--exam", "medalpaca_pocket", "--limit", "3", "--out", str(tmp_path)]
    assert cli.main([*command, "--device", "cpu"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "not tested in other orders: all items: options are not shown when their texts are scored" in printed
    )
    assert read_stress(tmp_path)[0].scoring == "text"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exam": "/no/such/exam"}, "/no/such/exam: no such exam"),
        ({"base": "/no/model"}, "/no/model: no such model directory"),
        ({"tuned": "/no/adapter"}, "/no/adapter: no such adapter directory"),
        ({"limit": 0}, "--limit 0: must be 1 or more"),
        ({"model_args": {"peft": "x"}}, "--model_args peft="),
        ({"model_args": {"max_length": 200}}, "8 of 12 items do not fit the model's 200 tokens"),
    ],
)
def test_bad_input_is_refused_in_one_line(tiny, write_exam, tmp_path, options, message):
    config = StressConfig(base=str(tiny), exam=str(write_exam()), out=tmp_path / "out", device="cpu")
    with pytest.raises(UserError, match=message) as raised:
        stress.run_stress(replace(config, **options))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_without_an_exam(tiny, tmp_path, monkeypatch):
    monkeypatch.delenv("MEDALPACA_EXAM", raising=False)
    with pytest.raises(UserError, match="no exam given; pass --exam PATH"):
        run(tmp_path, tiny)


# Changed results ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return an exam of four items and the `stress.json` of a run of it."""
    directory = tmp_path_factory.mktemp("written")
    rows = [
        {"id": f"q{n}", "question": f"Question {n}?", "answer": "ABCD"[n],
         "options": {letter: f"remedy {letter}{n}" for letter in "ABCD"}}
        for n in range(4)
    ]  # fmt: skip
    exam = directory / "exam.jsonl"
    exam.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(directory / "out", tiny, exam=str(exam))
    return exam, (directory / "out" / "stress.json").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: None, None),
        (lambda value: value["items"][0]["scores"]["base"][0].reverse(), "figures.sides.base"),
        (lambda value: value["items"][1].update(key=2), "item q1: correct option"),
        (lambda value: value["figures"]["sides"]["base"]["orders"]["robust"].update(count=4), "robust.count: 4 in"),
        (lambda value: value["figures"].pop("difference"), "figures.difference: missing"),
        (lambda value: value["figures"].pop("sides"), "figures.sides: missing in the file"),
        (lambda value: value["items"].pop(), "figures.sides.base.published.n: 4 in the file, 3 recomputed"),
        (lambda value: value["items"].pop(1), "items are not the first 3 items of the exam"),
        (lambda value: value.update(exam_items=3), "exam_items is 3, the exam has 4 items"),
        (lambda value: value["items"][2].update(asked_sha256="0" * 64), "item q2: correct option, orders or texts"),
        (lambda value: value["items"][2]["variants"].insert(1, value["items"][2]["variants"].pop(2)), "item q2"),
        (lambda value: value.update(exam_sha256="0" * 64), "the result holds 000000000000"),
        (lambda value: value.update(stress_id="stress-letter-other"), "stress_id is stress-letter-other"),
        (lambda value: value["items"][0].update(item="q9"), "items are not the first 4 items of the exam"),
    ],
)  # fmt: skip
def test_a_changed_result_is_found(written, tmp_path, change, message):
    exam, content = written
    value = json.loads(content)
    change(value)
    (tmp_path / "stress.json").write_text(json.dumps(value))
    found = list(find_problems(*read_stress(tmp_path), load_exam(exam)))
    assert any(message in problem for problem in found) if message else not found
