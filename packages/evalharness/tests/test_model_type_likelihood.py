"""The core: (context, continuation) in token ids, against one whole forward pass for each."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from medalpaca_evalharness.model import likelihood
from medalpaca_evalharness.model.likelihood import score, score_batches

VOCABULARY = 50
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(1)
    made = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=256, **SIZES)).eval()
    for parameter in made.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(8)  # far from uniform, so that what is attended to shows in the answer
    return made


@torch.no_grad()
def one_by_one(model: Any, requests: Any, longest: int = 256) -> list[tuple[float, bool]]:
    found = []
    for context, continuation in requests:
        tokens = (context + continuation)[-(longest + 1) :]
        logits = model(torch.tensor([tokens[:-1]])).logits[0, -len(continuation) :]
        wanted = torch.tensor(continuation)
        likelihood = torch.log_softmax(logits, -1)[range(len(wanted)), wanted].sum()
        found.append((float(likelihood), bool((logits.argmax(-1) == wanted).all())))
    return found


def same(found: Any, expected: Any) -> None:
    assert [one[0] for one in found] == pytest.approx([one[0] for one in expected], abs=1e-4)
    assert [one[1] for one in found] == [one[1] for one in expected]


def words(rng: random.Random, n: int) -> list[int]:
    return [rng.randrange(VOCABULARY) for _ in range(n)]


def questions(seed: int, beginning: int = 0, n: int = 8) -> list[tuple[list[int], list[int]]]:
    rng = random.Random(seed)
    start = words(rng, beginning)
    found = []
    for _ in range(n):
        context = start + words(rng, rng.randint(1, 60))
        found += [(context, words(rng, rng.randint(1, 9))) for _ in range(rng.choice([1, 2, 5, 26]))]
    rng.shuffle(found)
    return found


@pytest.mark.parametrize("tokens", [1, 100, 4096])
def test_scores_equal_separate_passes(model, tokens):
    requests = questions(seed=1)
    same(score(model, requests, tokens=tokens), one_by_one(model, requests))


def test_greedy_flag(model):
    context = [3, 1, 4, 1, 5]
    greedy = model.generate(torch.tensor([context]), max_new_tokens=4, do_sample=False, pad_token_id=0)
    continuation = greedy[0, len(context) :].tolist()
    other = [*continuation[:-1], (continuation[-1] + 1) % VOCABULARY]
    found = score(model, [(context, continuation), (context, other), (context, continuation[:1])])
    assert [one[1] for one in found] == [True, False, True]
    same(found, one_by_one(model, [(context, continuation), (context, other), (context, continuation[:1])]))


def test_an_option_that_is_the_beginning_of_another(model):
    requests = [([1, 2, 3], option) for option in ([4], [4, 5], [4, 5, 6], [4, 5, 7], [4])]
    same(score(model, requests), one_by_one(model, requests))


def test_long_sequences_are_truncated_from_the_left(model):
    requests = [([*words(random.Random(2), 90)], [5] * n) for n in (1, 3, 39, 40)]
    same(score(model, requests, longest=40), one_by_one(model, requests, longest=40))


def test_a_common_beginning_is_encoded_once_for_many_rows(model):
    requests = questions(seed=3, beginning=123)
    whole = sum(len(context) for context in {tuple(context) for context, _ in requests})
    passes: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, given: passes.append(given["input_ids"].numel()), with_kwargs=True
    )
    try:
        batches = list(score_batches(model, requests, tokens=100))
    finally:
        hook.remove()
    assert any("prefix" in batch.methods for batch in batches)
    assert passes.count(123) == 1
    assert sum(passes) < 0.75 * whole
    same(score(model, requests, tokens=100), one_by_one(model, requests))


def test_a_scored_beginning_is_no_prefix(model):
    """Unconditional requests of acc_mutual_info have nothing but the start token before them."""
    requests = [*questions(seed=4, beginning=120), ([7], [1, 2, 3]), ([7], [1])]
    requests += [(context[:100], context[100:110]) for context, _ in requests[:3]]
    same(score(model, requests, tokens=100), one_by_one(model, requests))


def test_the_output_layer_sees_only_needed_positions(model):
    requests = [(words(random.Random(5), 100), [option]) for option in range(26)]
    seen: list[tuple[int, ...]] = []
    hook = model.lm_head.register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape)))
    try:
        score(model, requests)
    finally:
        hook.remove()
    assert seen == [(1, 1, VOCABULARY)]


def test_hooks_are_removed(model):
    before = model(torch.tensor([[1, 2, 3]])).logits
    score(model, questions(seed=6))
    with pytest.raises(ValueError, match="context and continuation"):
        score(model, [([1], [])])
    assert torch.equal(model(torch.tensor([[1, 2, 3]])).logits, before)
    assert not model.lm_head._forward_pre_hooks


def test_batches_are_halved_when_memory_runs_out(model):
    requests = questions(seed=7)
    expected = one_by_one(model, requests)

    def no_room(_: Any, __: Any, given: dict[str, Any]) -> None:
        if given["input_ids"].shape[0] > 2:
            raise torch.OutOfMemoryError("no room")

    hook = model.register_forward_pre_hook(no_room, with_kwargs=True)
    try:
        same(score(model, requests), expected)
    finally:
        hook.remove()


def test_logits_are_limited(model, monkeypatch):
    monkeypatch.setattr(likelihood, "MAX_LOGITS", 20 * VOCABULARY)
    requests = questions(seed=8)
    rows: list[int] = []
    hook = model.lm_head.register_forward_hook(lambda _, __, output: rows.append(output.shape[1]))
    try:
        found = score(model, requests)
    finally:
        hook.remove()
    assert len(rows) > 3
    same(found, one_by_one(model, requests))


def test_parallel_residuals_and_another_name_of_the_head():
    torch.manual_seed(2)
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(vocab_size=VOCABULARY, max_position_embeddings=256, **SIZES)
    ).eval()
    requests = questions(seed=9, beginning=100)
    same(score(model, requests, tokens=100), one_by_one(model, requests))


def test_no_requests():
    assert score(None, []) == []
