"""Option scores equal those of lm-eval's `HFLM` on the same directories."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lm_eval.models.huggingface import HFLM

from medalpaca_demo.engine import Engine
from medalpaca_demo.inference import compute_option_scores, encode, encode_pair
from medalpaca_demo.job import SIDES, Request

PROMPT = "### Instruction:\nWhich vitamin is lacking in scurvy?\n\n### Response:\n"
LETTERS = ("A", "B", "C", "D", "E")
TEXTS = ("Vitamin C", "A rash of the trunk, fever and cough", "37 °C", "β")
LONG = "### Instruction:\n" + "The anterior wall of the heart. " * 80 + "\n\n### Response:\n"


@pytest.mark.parametrize(("scoring", "choices"), [("letter", LETTERS), ("text", TEXTS), ("text", TEXTS[:2])])
@pytest.mark.parametrize("prompt", [PROMPT, PROMPT + "  ", "A question?"])
def test_numbers_equal_lm_eval(
    loaded_engine: Engine,
    harness_loglikelihoods: Any,
    scoring: Any,
    choices: tuple[str, ...],
    prompt: str,
) -> None:
    job = loaded_engine.submit(Request(prompt=prompt, choices=choices, scoring=scoring, max_new_tokens=1))
    scores = list(job.watch(interval=0))[-1].scores
    for side in SIDES:
        expected = np.array(harness_loglikelihoods(side, prompt, choices))
        assert scores[side].loglikelihoods == pytest.approx(expected, abs=1e-4)
        compared = expected if scoring == "letter" else expected / np.array([float(len(c)) for c in choices])
        assert scores[side].chosen == int(np.argmax(compared))
        assert scores[side].shares == pytest.approx(np.exp(compared) / np.exp(compared).sum(), abs=1e-4)
    assert scores["base"].loglikelihoods != pytest.approx(scores["tuned"].loglikelihoods, abs=1e-2)


def test_a_long_prompt_is_truncated_as_in_lm_eval(loaded_engine: Engine, harness_loglikelihoods: Any) -> None:
    from medalpaca_demo.inference import score_options

    engine = loaded_engine

    request = Request(prompt=LONG, choices=TEXTS, scoring="text")
    assert len(encode(engine._tokenizer, LONG)) > engine.max_length
    scores = score_options(engine._pair, engine._tokenizer, request, engine.max_length)
    for side in SIDES:
        expected = harness_loglikelihoods(side, LONG, TEXTS)
        assert scores[side].loglikelihoods == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("context", [PROMPT, "no space at the end", "spaces   ", "<s>" + PROMPT])
def test_tokens_equal_lm_eval(plain: SimpleNamespace, harness: dict[str, HFLM], context: str) -> None:
    for choice in LETTERS + TEXTS:
        assert encode_pair(plain.tokenizer, context, choice) == harness["base"]._encode_pair(context, choice)
    assert encode(plain.tokenizer, context) == harness["base"].tok_encode(context)


def test_max_length_equals_lm_eval(loaded_engine: Engine, harness: dict[str, HFLM]) -> None:
    assert loaded_engine.max_length == harness["base"].max_length


def test_length_normalisation_applies_to_texts_only() -> None:
    values, choices = (-2.0, -3.0), ("ab", "abcdef")
    assert compute_option_scores(values, choices, "letter").chosen == 0
    assert compute_option_scores(values, choices, "text").chosen == 1


def test_total_probability_of_all_options() -> None:
    scores = compute_option_scores((math.log(0.02), math.log(0.01)), ("A", "B"), "letter")
    assert scores.shares == pytest.approx((2 / 3, 1 / 3))
    assert scores.total_probability == pytest.approx(0.03)


def test_shares_of_very_unlikely_options_sum_to_one() -> None:
    scores = compute_option_scores((-5000.0, -5001.0), ("A", "B"), "letter")
    assert sum(scores.shares) == pytest.approx(1.0)
