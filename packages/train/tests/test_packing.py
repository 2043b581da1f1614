"""Packed training is one-by-one training: the same gradients on every architecture, and the known traps."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from medalpaca_train.hardware import Hardware
from medalpaca_train.loss import choose_objective
from medalpaca_train.packing import alike, packed, padded
from medalpaca_train.tokenize import Sample

CPU = Hardware(torch.device("cpu"), "fp32", "")
SIZE = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Mistral": {"sliding_window": 8},
    "Qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "Qwen3": {"head_dim": 8},
    "Gemma": {"head_dim": 8},
    "Gemma3Text": {
        "head_dim": 8,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "Phi3": {"sliding_window": 8},
    "Olmo2": {},
    "GPTNeoX": {},
}
LENGTHS = ((5, 2), (17, 9), (11, 0), (11, 4), (23, 20), (2, 1), (40, 7))


def make(kind: str, **extra: Any) -> Any:
    torch.manual_seed(0)
    settings: dict[str, Any] = SIZE | HEADS | ENDS | ARCHITECTURES.get(kind, {}) | extra
    if kind == "GPTNeoX":
        del settings["num_key_value_heads"]
    config = getattr(transformers, f"{kind}Config")(**settings)
    return getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")(config)


def samples() -> list[Sample]:
    draw = np.random.default_rng(0)
    return [Sample(str(i), draw.integers(3, 64, n).astype(np.int32), g) for i, (n, g) in enumerate(LENGTHS)]


def one_by_one(model: Any, rows: list[Sample]) -> torch.Tensor:
    """The reference: each row alone through the model's own forward, in its own attention."""
    total = torch.zeros(())
    for row in rows:
        ids = torch.from_numpy(row.ids.astype(np.int64))
        logits = model(input_ids=ids[None, :-1], use_cache=False).logits[0]
        start = max(row.given, 1)
        total = total + functional.cross_entropy(logits[start - 1 :], ids[start:], reduction="sum")
    return total


def gradients(model: Any, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two).norm() / two.norm())


class NoDetours(TorchFunctionMode):
    """Models go through fp32 in norms, softmax and positions; in fp64 that would be all one could measure."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = args[0].dtype if isinstance(args[0] if args else None, torch.Tensor) else None
        wide = kind == torch.float64
        if kind in (torch.float64, torch.int64) and function is torch.Tensor.float:
            return args[0].double()  # places are whole numbers at first
        if wide and function is torch.Tensor.to and torch.float32 in args:
            args = tuple(torch.float64 if value is torch.float32 else value for value in args)
        if wide and kwargs.get("dtype") is torch.float32:
            kwargs = kwargs | {"dtype": torch.float64}
        return function(*args, **kwargs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_packed_gradients_are_those_of_one_by_one(kind: str, dtype: torch.dtype) -> None:
    model, rows = make(kind).to(dtype), samples()
    with NoDetours() if dtype == torch.float64 else nullcontext():
        expected = gradients(model, one_by_one(model, rows))
        verdict = choose_objective(model, rows, CPU)
        assert verdict.reasons == []
        assert (verdict.objective.packing, verdict.objective.one_pass) == (True, True)
        found = gradients(model, sum(verdict.objective.losses(rows), torch.zeros(())))
    assert distance(found, expected) < (1e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("kind", ["Llama", "Gemma3Text"])
def test_gradient_checkpointing_changes_nothing(kind: str) -> None:
    model, rows = make(kind), samples()
    expected = gradients(model, one_by_one(model, rows))
    objective = choose_objective(model, rows, CPU).objective
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    assert distance(gradients(model, next(objective.losses(rows))), expected) < 1e-6


def test_trap_cache_on() -> None:
    """A packed row in stock attention with the model's default cache is wrong without a word; ours is not."""
    model, rows = make("Llama"), samples()
    assert model.config.use_cache
    expected = gradients(model, one_by_one(model, rows))
    assert distance(gradients(model, stock(model, rows, use_cache=True)), expected) > 0.1
    assert (
        distance(gradients(model, next(choose_objective(model, rows, CPU).objective.losses(rows))), expected)
        < 1e-6
    )


def test_trap_mask_of_ones() -> None:
    """So is one with an attention mask of ones; there is none in our batches."""
    model, rows = make("Llama"), samples()
    expected = gradients(model, one_by_one(model, rows))
    ones = torch.ones(1, sum(row.length - 1 for row in rows), dtype=torch.long)
    assert (
        distance(gradients(model, stock(model, rows, use_cache=False, attention_mask=ones)), expected) > 0.1
    )
    assert distance(gradients(model, stock(model, rows, use_cache=False)), expected) < 1e-6
    assert "attention_mask" not in (packed(rows, CPU.device).packing or {})


def stock(model: Any, rows: list[Sample], **options: Any) -> torch.Tensor:
    """The loss of a packed row as others compute it: positions only, the library's own attention."""
    batch = packed(rows, CPU.device)
    assert batch.packing is not None
    logits = model(batch.inputs, position_ids=batch.packing["position_ids"], **options).logits[0]
    return functional.cross_entropy(logits[batch.positions], batch.targets, reduction="sum")


@pytest.mark.parametrize("kind", ["Mistral", "Qwen2", "Gemma3Text", "Phi3"])
def test_trap_window_shorter_than_a_document(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the window matters here, and that an attention which ignored it would be found out."""
    from medalpaca_train import attention, loss

    model, rows = make(kind), samples()
    expected = gradients(model, one_by_one(model, rows))
    whole = attention.packed_attention

    def boundless(*args: Any, sliding_window: Any = None, **others: Any) -> Any:
        return whole(*args, **others)

    monkeypatch.setattr(attention, "packed_attention", boundless)
    verdict = loss.choose_objective(model, rows, CPU)
    assert not verdict.objective.packing
    (reason,) = verdict.reasons
    assert "alone" in reason
    assert distance(gradients(model, sum(verdict.objective.losses(rows), torch.zeros(()))), expected) < 1e-6
    model.set_attn_implementation(attention.NAME)
    wrong = verdict.objective.summed(packed(rows, CPU.device))
    assert distance(gradients(model, wrong), expected) > 1e-3


SLOWER: list[tuple[str, dict[str, Any], bool, bool, str]] = [
    ("Gemma2", {"head_dim": 8, "sliding_window": 8}, False, False, "caps its attention scores"),
    ("Granite", {"logits_scaling": 8.0}, True, False, "scaling or soft-capping"),
    ("Cohere", {"logit_scale": 0.25}, True, False, "scaling or soft-capping"),
    ("Phi", {"num_key_value_heads": 4}, True, False, "has a bias"),
    ("Mamba", {"state_size": 4, "use_mambapy": False}, False, True, ""),
    ("Bloom", {"n_head": 4}, False, True, ""),
]


@pytest.mark.parametrize(("kind", "extra", "packing", "one_pass", "why"), SLOWER, ids=[s[0] for s in SLOWER])
def test_what_the_fast_path_would_get_wrong_takes_a_right_one(
    kind: str, extra: dict[str, Any], packing: bool, one_pass: bool, why: str
) -> None:
    model, rows = make(kind, **extra), samples()
    expected = gradients(model, one_by_one(model, rows))
    verdict = choose_objective(model, rows, CPU)
    assert (verdict.objective.packing, verdict.objective.one_pass) == (packing, one_pass)
    assert len(verdict.reasons) == (not packing) + (not one_pass)
    assert why in "".join(verdict.reasons)
    found = gradients(model, sum(verdict.objective.losses(rows), torch.zeros(())))
    assert distance(found, expected) < 1e-6


def test_a_soft_cap_far_above_the_first_logits_is_seen() -> None:
    model = make("Gemma2", head_dim=8, attn_logit_softcapping=None, final_logit_softcapping=3e3)
    assert not choose_objective(model, samples(), CPU).objective.one_pass


def test_adapter_on_the_output_layer_is_not_trained_around() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        make("Llama"), LoraConfig(target_modules=["lm_head", "q_proj"], task_type="CAUSAL_LM")
    )
    verdict = choose_objective(model, samples(), CPU)
    assert (verdict.objective.packing, verdict.objective.one_pass) == (True, False)


def test_a_window_beyond_every_document_keeps_the_fast_path() -> None:
    assert choose_objective(make("Mistral", sliding_window=4096), samples(), CPU).reasons == []


def test_one_sample_only() -> None:
    assert choose_objective(make("Llama"), samples()[1:2], CPU).reasons == []


def test_groups_of_like_length_waste_little() -> None:
    lengths = [8 + (i * 7919) % 92 for i in range(200)]
    groups = alike(range(200), lengths)
    assert sorted(i for group in groups for i in group) == list(range(200))
    assert all(min(lengths[i] for i in group) >= 0.8 * max(lengths[i] for i in group) for group in groups)


def test_no_token_is_padding_when_packed() -> None:
    rows = samples()
    batch = packed(rows, CPU.device)
    assert batch.inputs.numel() == sum(row.length - 1 for row in rows)
    assert len(batch.targets) == sum(row.supervised for row in rows)
    assert padded(rows, CPU.device).packing is None
