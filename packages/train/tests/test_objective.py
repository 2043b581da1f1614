"""The loss is the plain one, whatever the batch looks like and whatever the model does to its logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from medalpaca_train import loss
from medalpaca_train.hardware import Hardware
from medalpaca_train.loss import Objective, forward, learned_hidden, learned_logits, linear_cross_entropy
from medalpaca_train.packing import padded
from medalpaca_train.tokenize import Sample

CPU = torch.device("cpu")
SIZE = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}


def samples() -> list[Sample]:
    draw = np.random.default_rng(0)
    shapes = ((5, 2), (17, 9), (11, 0), (23, 20), (8, 7))
    return [Sample(str(n), draw.integers(0, 64, n).astype(np.int32), given) for n, given in shapes]


def llama() -> Any:
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZE, **HEADS))


@pytest.mark.parametrize("one_pass", [True, False])
def test_equals_the_library_loss(one_pass: bool) -> None:
    model, row = llama(), samples()[1]
    ids = torch.from_numpy(row.ids.astype(np.int64))[None]
    labels = ids.clone()
    labels[:, : row.given] = -100
    expected = model(input_ids=ids, labels=labels).loss * row.supervised
    objective = Objective(model, Hardware(CPU, "fp32", ""), packing=False, one_pass=one_pass)
    assert objective.summed(padded([row], CPU)).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("Llama", {}),
        ("Granite", {"logits_scaling": 8.0}),
        ("Gemma2", {"final_logit_softcapping": 0.5, "sliding_window": 4}),
        ("Qwen3", {}),
    ],
)
def test_picked_logits_are_the_models_own(kind: str, extra: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZE, **HEADS, **extra)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    batch = padded(samples(), CPU)
    whole = forward(model, batch).flatten(0, 1)[batch.positions]
    picked = learned_logits(model, batch)
    assert picked.shape == (sum(row.supervised for row in samples()), 64)
    torch.testing.assert_close(picked, whole, rtol=1e-5, atol=1e-6)


def test_a_single_row_learned_whole() -> None:
    model, row = llama(), samples()[2]
    batch = padded([row], CPU)
    assert learned_logits(model, batch).shape == (row.length - 1, 64)
    assert learned_hidden(model, batch).shape == (row.length - 1, 16)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("chunk", [3, 7, 1000])
@pytest.mark.parametrize("frozen", [False, True])
def test_one_pass_loss_is_plain_cross_entropy(
    dtype: torch.dtype, chunk: int, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loss.CHUNK, "cpu", chunk)
    torch.manual_seed(0)
    hidden = torch.randn(20, 8, dtype=dtype, requires_grad=True)
    weight = torch.randn(50, 8, dtype=dtype, requires_grad=not frozen)
    targets = torch.randint(0, 50, (20,))
    wanted = [hidden] if frozen else [hidden, weight]
    plain = functional.cross_entropy(
        (hidden @ weight.T).float() if dtype == torch.bfloat16 else hidden @ weight.T,
        targets,
        reduction="sum",
    )
    ours = linear_cross_entropy(hidden, weight, targets)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(ours, plain.to(ours.dtype), rtol=tolerance, atol=0)
    for one, two in zip(
        torch.autograd.grad(ours / 3, wanted), torch.autograd.grad(plain / 3, wanted), strict=True
    ):
        assert one.dtype == two.dtype == dtype
        assert float((one - two).norm() / two.norm()) < tolerance
    with torch.no_grad():
        torch.testing.assert_close(
            linear_cross_entropy(hidden, weight, targets), ours.detach(), rtol=tolerance, atol=0
        )


def test_extreme_logits_stay_finite() -> None:
    hidden = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0], [0.0]], requires_grad=True)
    lost = linear_cross_entropy(hidden, weight, torch.tensor([1, 1]))
    assert lost.item() == pytest.approx(2e4)
    lost.backward()
    assert torch.isfinite(weight.grad).all()  # type: ignore[arg-type]


def test_logits_of_a_whole_batch_never_exist() -> None:
    """Peak of what the loss allocates, of 4 million logits: those of one chunk and little more."""
    hidden = torch.randn(4096, 8, requires_grad=True)
    weight = torch.randn(1024, 8, requires_grad=True)
    targets = torch.zeros(4096, dtype=torch.long)
    with torch.profiler.profile(profile_memory=True) as profile:
        linear_cross_entropy(hidden, weight, targets).backward()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest <= loss.CHUNK["cpu"] * 1024 * 4
