"""The canary test: its statistics, the synthetic patients, and that it distinguishes memorised from unknown numbers."""

from __future__ import annotations

import io
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from medalpaca_data.core.errors import UserError
from medalpaca_train.canary import (
    add_to_card,
    answer_likelihoods,
    chance_exposure,
    exposure,
    fisher_p_value,
    make_patients,
    rank,
    run_canary_test,
    summarize,
)
from medalpaca_train.cli import main
from medalpaca_train.recipe import CanaryTest, parse_canary_arguments
from medalpaca_train.tokenize import encode

# The measure ------------------------------------------------------------------------------------------------------


def test_rank_counts_from_the_most_likely() -> None:
    assert rank(-1.0, [-2.0, -3.0]) == 1
    assert rank(-2.0, [-1.0, -3.0]) == 2
    # The middle of three equal ones.
    assert rank(-2.0, [-2.0, -2.0]) == 2


def test_exposure_of_known_ranks() -> None:
    """log2 |R| - log2 rank: 10 bits for the first of 1,024, none for the last, one for the middle."""
    assert exposure(1, 1024) == 10
    assert exposure(512, 1024) == 1
    assert exposure(1024, 1024) == 0
    with pytest.raises(ValueError, match="rank 0 of 4"):
        exposure(0, 4)


@given(st.lists(st.floats(-100, 0), min_size=1, max_size=50), st.floats(-100, 0))
def test_exposure_is_between_zero_and_the_maximum(others: list[float], secret: float) -> None:
    assert 0 <= exposure(rank(secret, others), len(others) + 1) <= math.log2(len(others) + 1)


def test_chance_exposure_is_the_mean_over_all_ranks() -> None:
    # The first rank has 1 bit, the last none.
    assert chance_exposure(2) == 0.5
    assert chance_exposure(100_000) == pytest.approx(math.log2(math.e), abs=1e-3)


def test_fishers_method_on_known_values() -> None:
    """One rank is its own p-value; for two, the product p gives p (1 - ln p)."""
    assert fisher_p_value([5], 100) == pytest.approx(0.05)
    product = 0.05 * 0.2
    assert fisher_p_value([5, 20], 100) == pytest.approx(product * (1 - math.log(product)))
    assert fisher_p_value([100, 100], 100) == 1.0


def test_p_values_are_calibrated_under_chance() -> None:
    draw = random.Random(0)
    values = [fisher_p_value([draw.randint(1, 1024) for _ in range(4)], 1024) for _ in range(4000)]
    for level in (0.01, 0.1, 0.5):
        share = sum(value <= level for value in values) / len(values)
        assert share < level + 4 * math.sqrt(level * (1 - level) / len(values))
        assert share > level / 2


def groups(control: tuple[float, int], added: tuple[float, int]) -> list[dict[str, Any]]:
    return [
        {"repeats": repeats, "p_by_chance": p, "extracted": extracted}
        for repeats, (p, extracted) in ((0, control), (10, added))
    ]


def test_summary() -> None:
    memorised = summarize(groups((0.4, 0), (1e-9, 3)))
    assert "10 copies or more in the data are memorised" in memorised
    assert "reproduces 3 of them" in memorised
    assert "no proof that none is memorised" in summarize(groups((0.4, 0), (0.2, 0)))
    assert "this test is not valid" in summarize(groups((1e-9, 0), (1e-9, 3)))


def test_likelihoods_are_those_of_the_whole_text(base: Path, tokenizer: Any) -> None:
    """With the prompt encoded once, likelihoods equal those of each full text alone."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base).eval()
    [patient, *_] = make_patients(CanaryTest(candidates=9))
    longer = replace(patient.row, output="123-456-789")
    rows = [patient.row, *patient.candidates, longer]
    samples = list(encode(rows, tokenizer, max_tokens=256, loss="answer").samples)
    assert len({sample.length for sample in samples}) > 1
    for sample, (likelihood, greedy) in zip(samples, answer_likelihoods(model, samples), strict=True):
        ids = torch.as_tensor(sample.ids.astype("int64"))
        with torch.inference_mode():
            logits = model(input_ids=ids[None]).logits[0, sample.prompt_length - 1 : -1]
        answer = ids[sample.prompt_length :]
        alone = logits.log_softmax(-1).gather(-1, answer[:, None]).sum()
        assert likelihood == pytest.approx(float(alone), abs=1e-4)
        assert greedy == bool((logits.argmax(-1) == answer).all())


# Synthetic patients --------------------------------------------------------------------------------------------------


def test_patients_are_deterministic_and_distinct() -> None:
    test = CanaryTest(repeats=(1, 5), patients=3, candidates=20)
    one, two = list(make_patients(test)), list(make_patients(test))
    assert one == two != list(make_patients(test.model_copy(update={"canary_seed": 1})))
    assert [patient.repeats for patient in one] == [0, 0, 0, 1, 1, 1, 5, 5, 5]
    assert len({patient.row.input for patient in one}) == 9
    for patient in one:
        numbers = {patient.row.output, *(other.output for other in patient.candidates)}
        assert len(numbers) == 20
        assert {(other.instruction, other.input) for other in patient.candidates} == {
            (patient.row.instruction, patient.row.input)
        }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one recipe or one finished run"),
        (["lora", "full"], "give one recipe or one finished run"),
        (["lora", "model=m", "data=d", "repeats=[10,1]"], "increasing numbers"),
        (
            ["lora", "model=m", "data=d", "patients=100"],
            "400 patients .control included. are more than the 180 names",
        ),
        (["lora", "model=m", "data=d", "pateints=3"], "unknown key 'pateints'"),
        (["nowhere"], "no recipe 'nowhere'"),
        (["."], "not a finished run"),
    ],
)
def test_bad_arguments(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        main(["canary", *words])


def test_canary_of_a_run(
    run_training: Callable[..., tuple[Path, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = run_training(max_steps=2)
    capsys.readouterr()
    before = (run / "README.md").read_text()
    words = [str(run), "repeats=[3]", "patients=2", "candidates=32", "max_steps=2"]
    folder = run.with_name("run-canary")
    assert main(["canary", *words, "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"out": str(folder), **json.loads((folder / "canary.json").read_text())}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len((folder / "rows.jsonl").read_text().splitlines()) == 6 + 24
    result = json.loads((run / "canary.json").read_text())
    control, added = result["groups"]
    assert (control["repeats"], control["patients"], added["repeats"], added["patients"]) == (0, 2, 3, 2)
    # A second test replaces the section of the card.
    card = (run / "README.md").read_text()
    assert card.startswith(before.rstrip())
    add_to_card(run / "README.md", result)
    assert (run / "README.md").read_text() == card
    assert card.count("## Memorisation") == 1
    assert f"| 3 | 2 | {added['exposure_bits']:.1f} |" in card
    assert "canary test: synthetic patients added to" in (folder / "run" / "README.md").read_text()
    assert result["verdict"] in " ".join(shown.err.split())
    # The added files do not make it a run of another recipe.
    assert "is a finished run" in run_training(max_steps=2)[1]


@pytest.mark.slow
def test_tiny_model_memorises_numbers_with_many_copies(run_training: Callable[..., tuple[Path, str]]) -> None:
    """Numbers with 200 copies are above chance, those of the control are not."""
    run, _ = run_training(max_steps=2)
    words = [str(run), "repeats=[200]", "patients=2", "candidates=128", "max_steps=150", "save_every=1000"]
    folder = run_canary_test(parse_canary_arguments(words), Console(file=io.StringIO(), width=160))
    control, added = json.loads((folder / "canary.json").read_text())["groups"]
    assert control["p_by_chance"] > 0.001 > added["p_by_chance"]
    assert control["extracted"] == 0


@pytest.mark.slow
def test_pocket_model_memorises_numbers_with_many_copies(tmp_path: Path) -> None:
    """The pocket model, trained by its own recipe, memorises numbers with 100 copies and none of the control."""
    import os
    import subprocess
    import sys

    command = [Path(sys.executable).with_name("train"), "canary", "pocket", "repeats=[100]", "patients=6"]
    environment = {**os.environ, "MEDALPACA_HOME": str(tmp_path), "MEDALPACA_SEALED": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [file] = tmp_path.rglob("canary.json")
    control, added = json.loads(file.read_text())["groups"]
    assert added["p_by_chance"] < 1e-6
    assert added["exposure_bits"] > 5
    assert control["p_by_chance"] > 0.001
    assert control["extracted"] == 0
    assert "are memorised" in " ".join(done.stdout.split())
