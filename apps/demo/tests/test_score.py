"""The bars show lm-eval's numbers: held against `HFLM` itself, on the same two directories."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from medalpaca_demo.engine import Engine
from medalpaca_demo.inference import encode, encode_pair, rate
from medalpaca_demo.job import ARMS, Request

PROMPT = "### Instruction:\nWhich vitamin is lacking in scurvy?\n\n### Response:\n"
LETTERS = ("A", "B", "C", "D", "E")
TEXTS = ("Vitamin C", "A rash of the trunk, fever and cough", "37 °C", "β")
LONG = "### Instruction:\n" + "The anterior wall of the heart. " * 80 + "\n\n### Response:\n"


@pytest.fixture(scope="module")
def harness(pair: tuple[Path, Path]) -> dict[str, HFLM]:
    base, adapter = (str(path) for path in pair)
    common = {"pretrained": base, "device": "cpu", "batch_size": 4}
    return {"base": HFLM(**common), "tuned": HFLM(**common, peft=adapter)}


def harness_numbers(model: HFLM, prompt: str, choices: tuple[str, ...]) -> list[float]:
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=(prompt, choice), idx=i)
        for i, choice in enumerate(choices)
    ]
    return [value for value, _ in model.loglikelihood(requests, disable_tqdm=True)]


@pytest.mark.parametrize(("scoring", "choices"), [("letter", LETTERS), ("text", TEXTS), ("text", TEXTS[:2])])
@pytest.mark.parametrize("prompt", [PROMPT, PROMPT + "  ", "A question?"])
def test_numbers_equal_lm_eval(
    engine: Engine, harness: dict[str, HFLM], scoring: Any, choices: tuple[str, ...], prompt: str
) -> None:
    job = engine.submit(Request(prompt=prompt, choices=choices, scoring=scoring, max_new_tokens=1))
    scores = list(job.watch(every=0))[-1].scores
    for arm in ARMS:
        theirs = np.array(harness_numbers(harness[arm], prompt, choices))
        assert scores[arm].loglikelihoods == pytest.approx(theirs, abs=1e-4)
        compared = theirs if scoring == "letter" else theirs / np.array([float(len(c)) for c in choices])
        assert scores[arm].chosen == int(np.argmax(compared))
        assert scores[arm].shares == pytest.approx(np.exp(compared) / np.exp(compared).sum(), abs=1e-4)
    assert scores["base"].loglikelihoods != pytest.approx(scores["tuned"].loglikelihoods, abs=1e-2)


def test_a_prompt_that_does_not_fit_is_cut_as_lm_eval_cuts_it(
    engine: Engine, harness: dict[str, HFLM]
) -> None:
    from medalpaca_demo.inference import score_options

    request = Request(prompt=LONG, choices=TEXTS, scoring="text")
    assert len(encode(engine._tokenizer, LONG)) > engine.max_length
    scores = score_options(engine._arms, engine._tokenizer, request, engine.max_length)
    for arm in ARMS:
        theirs = harness_numbers(harness[arm], LONG, TEXTS)
        assert scores[arm].loglikelihoods == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("context", [PROMPT, "no space at the end", "spaces   ", "<s>" + PROMPT])
def test_tokens_equal_lm_eval(plain: SimpleNamespace, harness: dict[str, HFLM], context: str) -> None:
    for choice in LETTERS + TEXTS:
        assert encode_pair(plain.tokenizer, context, choice) == harness["base"]._encode_pair(context, choice)
    assert encode(plain.tokenizer, context) == harness["base"].tok_encode(context)


def test_a_length_of_context_is_found_where_lm_eval_finds_it(
    engine: Engine, harness: dict[str, HFLM]
) -> None:
    assert engine.max_length == harness["base"].max_length


def test_length_counts_for_texts_only() -> None:
    values, choices = (-2.0, -3.0), ("ab", "abcdef")
    assert rate(values, choices, "letter").chosen == 0
    assert rate(values, choices, "text").chosen == 1


def test_the_mass_says_how_much_the_options_hold_together() -> None:
    scores = rate((math.log(0.02), math.log(0.01)), ("A", "B"), "letter")
    assert scores.shares == pytest.approx((2 / 3, 1 / 3))
    assert scores.mass == pytest.approx(0.03)


def test_very_unlikely_options_still_add_up_to_one() -> None:
    scores = rate((-5000.0, -5001.0), ("A", "B"), "letter")
    assert sum(scores.shares) == pytest.approx(1.0)
