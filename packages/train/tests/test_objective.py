"""The loss is the plain one, whatever the batch looks like and whatever the model does to its logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from medalpaca_train.batches import collate
from medalpaca_train.objective import learned_logits, summed_loss
from medalpaca_train.tokens import Sample

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


def gradients(model: Any) -> torch.Tensor:
    flat = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    model.zero_grad()
    return flat


def test_padded_batch_equals_one_by_one() -> None:
    model, rows = llama(), samples()
    together = summed_loss(model, collate(rows, CPU))
    together.backward()
    padded = gradients(model)
    alone = sum(summed_loss(model, collate([row], CPU)) for row in rows)
    assert isinstance(alone, torch.Tensor)
    alone.backward()
    single = gradients(model)
    assert together.item() == pytest.approx(alone.item(), rel=1e-6)
    assert float((padded - single).norm() / single.norm()) < 1e-6


def test_equals_the_library_loss() -> None:
    model, row = llama(), samples()[1]
    ids = torch.from_numpy(row.ids.astype(np.int64))[None]
    labels = ids.clone()
    labels[:, : row.given] = -100
    expected = model(input_ids=ids, labels=labels).loss * row.supervised
    assert summed_loss(model, collate([row], CPU)).item() == pytest.approx(expected.item(), rel=1e-6)


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
    batch = collate(samples(), CPU)
    whole = model(input_ids=batch.inputs, use_cache=False).logits.flatten(0, 1)[batch.positions]
    picked = learned_logits(model, batch)
    assert picked.shape == (sum(row.supervised for row in samples()), 64)
    torch.testing.assert_close(picked, whole, rtol=1e-5, atol=1e-6)


def test_a_single_row_learned_whole() -> None:
    model = llama()
    row = samples()[2]
    batch = collate([row], CPU)
    assert learned_logits(model, batch).shape == (row.length - 1, 64)
